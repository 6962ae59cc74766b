/** What an IKE SA asks of its endpoint, and the values that both speak of. */
import type { Milliseconds } from '../clock.js';
import type { Pad } from '../pad/pad.js';
import type { Effect, EffectResult, IkeAction } from './action.js';
import type { ChildSa } from './child-sa.js';
import type { Exchange, Reply } from './exchange/step.js';
import type { IkeSa } from './ike-sa.js';
import type { IkeLimits } from './limits.js';
import type { Payload, ReceivedMessage } from './payload/payload.js';
import type { TimerQueue } from './timer-queue.js';

/** What an IKE SA asks of the endpoint that it belongs to. */
export interface IkeHost {
  readonly now: Milliseconds;
  readonly limits: IkeLimits;
  readonly timers: TimerQueue;
  readonly pad: Pad;
  /** UDP ports of IKE, and of IKE with ESP behind a NAT: 500 and 4500. */
  readonly ports: { readonly ike: number; readonly nat: number };
  random(length: number): Uint8Array;
  emit(action: IkeAction): void;
  /** Asks for work; `resume` is called with its outcome, never at once. */
  begin(effect: Effect, resume: (result: EffectResult) => void): void;
  nextNumber(): number;
  /** An inbound SPI that no SA uses (RFC 4303 section 2.1). */
  allocateSpi(): number;
  releaseSpi(spi: number): void;
  allocateIkeSpi(): bigint;
  /** Makes an IKE SA findable by its SPI. */
  adopt(sa: IkeSa): void;
  /** Whatever is learned of the peer's path from a message that is authentic. */
  followPath(sa: IkeSa, message: ReceivedMessage): void;
  /** The IKE SA is gone. `end` decides what becomes of its peer. */
  release(sa: IkeSa, end: IkeSaEnd): void;
  /** Makes a child findable by its inbound SPI; null: it is gone. */
  indexChild(spi: number, child: ChildSa | null): void;
  /** A child has come up, in place of another where `predecessor` is one. */
  childUp(child: ChildSa, predecessor: ChildSa | null): void;
  /** The datapath has not what a child needs: it is deleted, and the peer told. */
  giveUpChild(child: ChildSa, reason: string): void;
  /** A rekey of this child by the peer has come to nothing: it is to be rekeyed in its time. */
  childStays(child: ChildSa): void;
  /** `successor` has taken the place of an IKE SA: it is to be rekeyed in its time. */
  ikeRekeyed(successor: IkeSa): void;
  /** Bytes that wait in reassembly changed by this much; false: there is no room. */
  reserveFragmentBytes(change: number): boolean;
}

/** Why an IKE SA is gone. */
export type IkeSaEnd =
  /** By command, by our reload, or replaced by a rekey. */
  | 'ours'
  /** The peer deleted it. */
  | 'peer'
  /** No answer, or it came to nothing. */
  | 'dead';

/** What the two found out about each other in IKE_SA_INIT. */
export interface PeerAbilities {
  fragmentation: boolean;
  hashes: readonly number[];
  intermediate: boolean;
  ppk: boolean;
  mobike: boolean;
  /** Vendor IDs, hexadecimal, bounded: for people. */
  vendorIds: readonly string[];
}

/** One rekey of an IKE SA: its nonces, and the IKE SA that it made. */
export interface IkeRekey {
  readonly nonces: readonly Uint8Array[];
  readonly successor: IkeSa | null;
}

/** A CREATE_CHILD_SA that goes on in IKE_FOLLOWUP_KE exchanges (RFC 9370 section 2.2.4). */
export interface Followup {
  /** The ADDITIONAL_KEY_EXCHANGE data that names it. */
  readonly link: Uint8Array;
  next(payloads: readonly Payload[]): Exchange<Reply>;
  /** It will never come: gives back what was kept for it. */
  abandon(): void;
}
