/**
 * What goes out of the IKE state machine, and what answers come back in. There is no other way
 * out: no socket, no timer, no log (docs/decisions/0023).
 */
import type { Milliseconds } from '../clock.js';
import type { SaIdentifier, SaParameters } from '../sad/sa.js';
import type { Selector } from '../spd/selector.js';
import type { ComputeResult, ComputeTask } from './compute.js';

/** An IKE message on the wire, without a non-ESP marker: port 4500 gets one from the datapath. */
export interface IkeDatagram {
  readonly local: string;
  readonly localPort: number;
  readonly remote: string;
  readonly remotePort: number;
  readonly payload: Uint8Array;
}

/** Work that the machine waits for. Its outcome comes back by `handleResult` under the same id. */
export type Effect =
  | { readonly kind: 'compute'; readonly task: ComputeTask }
  /** Installs SAs in this order, all or none. The keys are zeroed by whoever installs them. */
  | { readonly kind: 'install'; readonly sas: readonly SaParameters[] }
  /** Packets and silence of inbound SAs, to tell whether the peer lives and how much was used. */
  | { readonly kind: 'query'; readonly sas: readonly SaIdentifier[] };

export type EffectResult =
  | { readonly kind: 'compute'; readonly result: ComputeResult }
  | { readonly kind: 'install'; readonly refused: string | null }
  | { readonly kind: 'query'; readonly sas: readonly SaUse[] };

/** Use of one SA; an SA that is gone is left out. */
export interface SaUse {
  readonly id: SaIdentifier;
  readonly packets: bigint;
  readonly bytes: bigint;
  /** Since its last packet; null: none yet. */
  readonly idleMs: Milliseconds | null;
}

export type IkeAction =
  | { readonly kind: 'send'; readonly datagram: IkeDatagram }
  | { readonly kind: 'effect'; readonly id: number; readonly effect: Effect }
  | { readonly kind: 'delete'; readonly sas: readonly SaIdentifier[] }
  /** The peer's (and by MOBIKE our) endpoint changed. */
  | {
      readonly kind: 'update';
      readonly sas: readonly SaIdentifier[];
      readonly endpoint: SaEndpoint;
    }
  /** A NAT keepalive: one octet 0xFF (RFC 3948 section 2.3). */
  | { readonly kind: 'keepalive'; readonly datagram: Omit<IkeDatagram, 'payload'> }
  | { readonly kind: 'event'; readonly event: IkeEvent };

export interface SaEndpoint {
  readonly local: string;
  readonly localPort: number;
  readonly remote: string;
  readonly remotePort: number;
  readonly encapsulation: 'udp' | 'esp';
}

/** One difference of a refusal: what we have and what the peer has, in the words of the file. */
export interface Difference {
  readonly field: string;
  readonly ours: string;
  readonly theirs: string;
}

/** Which IKE SA or child an event speaks of. */
export interface IkeSubject {
  /** Number of the IKE SA in this process; 0: none was made. */
  readonly ikeSa: number;
  /** PAD entry; null: not known (yet). */
  readonly peer: string | null;
  /** The child, by the name of its SPD entry. */
  readonly child: string | null;
  readonly remote: string;
}

export type IkeEvent = IkeSubject &
  (
    | { readonly kind: 'peer-up' }
    /** `end`: who ended it; 'dead': no answer, or it came to nothing. */
    | {
        readonly kind: 'peer-down';
        readonly end: 'ours' | 'peer' | 'dead';
        readonly reason: string;
      }
    | { readonly kind: 'peer-rekeyed' }
    | { readonly kind: 'peer-moved'; readonly endpoint: SaEndpoint }
    | { readonly kind: 'child-up'; readonly inbound: number; readonly outbound: number }
    | { readonly kind: 'child-rekeyed'; readonly inbound: number; readonly outbound: number }
    | {
        readonly kind: 'child-down';
        readonly inbound: number;
        readonly end: 'ours' | 'peer' | 'dead';
        readonly reason: string;
      }
    /** A command (`initiate`, `rekey`, `terminate`) has ended. */
    | { readonly kind: 'command-done'; readonly command: number; readonly refused: string | null }
    /** The two did not agree. `closest` is the PAD entry that came closest. */
    | {
        readonly kind: 'refused';
        readonly by: 'us' | 'peer';
        /** What went over the wire, by its registry name; null: nothing. */
        readonly notify: string | null;
        readonly reason: string;
        readonly closest: string | null;
        readonly differences: readonly Difference[];
      }
    /** Legal, but it will hurt: a child that cannot be rekeyed with this peer, say. */
    | { readonly kind: 'warning'; readonly reason: string }
    | { readonly kind: 'detail'; readonly text: string }
    /** For captures: the keys of an IKE SA, only where `revealKeys` is set. */
    | { readonly kind: 'keys'; readonly keys: IkeKeyReport }
  );

/** What Wireshark needs to decrypt an IKE SA. */
export interface IkeKeyReport {
  readonly spiInitiator: bigint;
  readonly spiResponder: bigint;
  readonly encryption: string;
  readonly integrity: string;
  readonly skEi: Uint8Array;
  readonly skEr: Uint8Array;
  readonly skAi: Uint8Array;
  readonly skAr: Uint8Array;
}

/** A snapshot of one IKE SA, for `peers`, `status` and vici. No key is in it. */
export interface IkeSaSnapshot {
  readonly id: number;
  readonly peer: string | null;
  readonly state: 'connecting' | 'established' | 'rekeyed' | 'deleting';
  readonly spiInitiator: bigint;
  readonly spiResponder: bigint;
  readonly isInitiator: boolean;
  readonly endpoint: SaEndpoint;
  readonly localIdentity: string;
  readonly remoteIdentity: string;
  readonly natLocal: boolean;
  readonly natRemote: boolean;
  /** Keywords of the agreed proposal; empty before it is agreed. */
  readonly proposal: string;
  readonly hasPpk: boolean;
  readonly establishedMs: Milliseconds;
  /** Until it is rekeyed; null: not scheduled. */
  readonly rekeyInMs: Milliseconds | null;
  readonly children: readonly ChildSnapshot[];
}

export interface ChildSnapshot {
  readonly id: number;
  readonly name: string;
  readonly state: 'installing' | 'installed' | 'rekeying' | 'rekeyed' | 'deleting';
  readonly mode: 'tunnel' | 'transport';
  readonly inbound: number;
  readonly outbound: number;
  readonly proposal: string;
  readonly selector: Selector;
  readonly encapsulation: 'udp' | 'esp';
  readonly establishedMs: Milliseconds;
  readonly rekeyInMs: Milliseconds | null;
}
