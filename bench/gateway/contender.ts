import type { GatewayEnd, Topology } from './topology.js';

/** What is said about a contender beside its figures. */
export interface ContenderFacts {
  readonly version: string;
  readonly algorithm: string;
}

export interface RunningContender {
  readonly facts: ContenderFacts;
  readonly alive: () => boolean;
  readonly stop: () => Promise<void>;
}

/** Something that carries packets between the two gateways of a topology. */
export interface Contender {
  /** As in the tables and in `--only`. */
  readonly name: string;
  /** One line for the plot and the documents. */
  readonly title: string;
  /** Null when it can run here, otherwise one line that names what to install. May build. */
  prepare(signal: AbortSignal): Promise<string | null>;
  /**
   * Joins the gateways. Returns as soon as the programs run: the bench itself waits until the path
   * stands. Routes between the two subnets are the contender's to install.
   */
  start(gatewayA: GatewayEnd, gatewayB: GatewayEnd, topology: Topology): Promise<RunningContender>;
}
