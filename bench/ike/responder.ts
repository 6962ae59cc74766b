import type { Namespace } from '../../test/lab/namespace.ts';

/** Who answers: named in the report, started in a namespace, told apart by its processor time. */
export interface IkeResponder {
  readonly name: string;
  readonly title: string;
  /** Null where it can run here, else what is missing. */
  missing(): string | null;
  start(options: ResponderOptions): Promise<RunningResponder>;
}

export interface ResponderOptions {
  readonly namespace: Namespace;
  /** Its own address. Any peer with the pre-shared key and a name under `.example` is answered. */
  readonly address: string;
  readonly psk: string;
  readonly proposal: string;
  /** The only processor that it may use. */
  readonly cpu: number;
}

export interface RunningResponder {
  readonly pid: number;
  /** IKE SAs that it holds. */
  count(): Promise<number>;
  stop(): Promise<void>;
}
