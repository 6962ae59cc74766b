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
  /** Its own address is that of scene.ts, on `wan0`; the protected network is on `lan0`. */
  readonly namespace: Namespace;
  /** The only processor that it and its threads may use. */
  readonly cpu: number;
}

/** How late an event loop ran what was due, in milliseconds. */
export interface LoopDelay {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface RunningResponder {
  readonly pid: number;
  /** What was not as it comes from the box, for the result. */
  readonly settings: string;
  /** Since it was asked last; null: it has no event loop. */
  loopDelay(): Promise<LoopDelay | null>;
  /** Why it is not running any more; null: it runs. */
  fault(): string | null;
  stop(): Promise<void>;
}
