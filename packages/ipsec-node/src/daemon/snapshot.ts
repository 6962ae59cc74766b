import type { DataplaneFacts, SaId } from '../dataplane/dataplane.js';
import type { SuiteName } from '../sad/suite.js';
import type { Selector } from '../spd/selector.js';
import type { SpdAction, SpdDirection } from '../spd/spd-entry.js';

/** What a gateway is doing. `failed`: a worker ended; what policy protects stays closed. */
export type GatewayState = 'starting' | 'running' | 'failed' | 'stopping' | 'stopped';

/** The gateway as a whole, at one moment. */
export interface GatewayStatus {
  readonly name: string;
  readonly state: GatewayState;
  readonly version: string;
  readonly pid: number;
  readonly since: Date;
  readonly uptimeMs: number;
  readonly control: string | null;
  readonly onStop: 'guard' | 'open';
  /** Interfaces of the unprotected side, and the UDP ports of IKE and of ESP in UDP. */
  readonly unprotected: readonly string[];
  readonly ikePort: number;
  readonly port: number;
  readonly facts: DataplaneFacts;
  readonly spdVersion: number;
  readonly policyCount: number;
  readonly saCount: number;
  /** What went wrong since the start, latest last; bounded. */
  readonly faults: readonly string[];
  /** Events that the datapath could not deliver. */
  readonly lostEventCount: bigint;
}

/** One direction of one SA, at one moment: what it is, and what packets did to it. */
export interface SaSnapshot {
  readonly id: SaId;
  readonly entry: string;
  readonly suite: SuiteName;
  readonly mode: 'tunnel' | 'transport';
  readonly local: string;
  readonly remote: string;
  readonly localPort: number;
  readonly remotePort: number;
  readonly encapsulation: 'udp' | 'esp';
  readonly selector: Selector;
  readonly esn: boolean;
  readonly replayWindow: number;
  readonly sequenceNumber: bigint;
  readonly reservedUpTo: bigint | null;
  readonly packets: bigint;
  readonly bytes: bigint;
  readonly ageMs: number;
  readonly idleMs: number | null;
  readonly drops: Readonly<Record<string, bigint>>;
}

/** One SPD entry in its place. */
export interface PolicySnapshot {
  /** Zero-based place in the SPD. */
  readonly index: number;
  readonly name: string;
  readonly direction: SpdDirection;
  readonly action: SpdAction;
  readonly selector: Selector;
  readonly builtin: boolean;
  /** SAs that serve it. */
  readonly saCount: number;
}

/** All counters, at one moment. */
export interface CountersSnapshot {
  readonly counters: Readonly<Record<string, bigint>>;
  readonly drops: Readonly<Record<string, bigint>>;
  /** Refused packets of single SAs; only SAs and reasons that occurred. */
  readonly dropsBySa: readonly {
    readonly id: SaId;
    readonly drops: Readonly<Record<string, bigint>>;
  }[];
}
