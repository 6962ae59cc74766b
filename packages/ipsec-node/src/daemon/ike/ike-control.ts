/**
 * What commands ask of the part that runs IKE: the seam between control socket and IKE driver.
 * Types only.
 */
import type { Milliseconds } from '../../clock.js';
import type { IkeEvent, IkeSaSnapshot } from '../../ike/action.js';
import type { Pad } from '../../pad/pad.js';
import type { PadEntry } from '../../pad/pad-entry.js';
import type { SpdEntry } from '../../spd/spd-entry.js';

/** Which child and peer to bring up. A child alone is looked up in the PAD. */
export interface InitiateRequest {
  readonly child: string | null;
  readonly peer: string | null;
}

/** Which SAs a command speaks of; what is null does not narrow. At least one is not null. */
export interface SaChoice {
  /** Name of a child. */
  readonly child: string | null;
  /** Number of one child, as in its snapshot. */
  readonly childId: number | null;
  /** Name of a PAD entry. */
  readonly peer: string | null;
  /** Number of one IKE SA, as in its snapshot. */
  readonly ikeSa: number | null;
}

export interface RekeyRequest extends SaChoice {
  /** Authenticated anew instead of rekeyed. Only where no child is chosen. */
  readonly reauth: boolean;
}

export interface TerminateRequest extends SaChoice {
  /** Without waiting for the peer's answer to the Delete. */
  readonly force: boolean;
}

/** `refused` says why it did not happen, in one sentence; null: it did. */
export interface CommandOutcome {
  readonly refused: string | null;
}

export interface RekeyOutcome extends CommandOutcome {
  /** SAs that the choice speaks of. */
  readonly matched: number;
}

export interface TerminateOutcome extends RekeyOutcome {
  readonly terminated: number;
}

/** A peer that was given over the control socket, and the policy that its children need. */
export interface LoadedPeer {
  /** Its secrets are its own: whoever takes the entry wipes them when it is replaced or unloaded. */
  readonly padEntry: PadEntry;
  /** One PROTECT entry for each child, in order; `name` is the child's. */
  readonly spdEntries: readonly SpdEntry[];
}

/** An event with its moment. */
export interface TimedRefusal {
  readonly at: Date;
  readonly event: Extract<IkeEvent, { kind: 'refused' }>;
}

/**
 * The IKE of a running gateway. Snapshots never wait for an exchange; commands resolve when the
 * exchange that they ask for has ended, or when `timeoutMs` has passed (`null`: they do not wait).
 */
export interface IkeControl {
  ikeSas(): readonly IkeSaSnapshot[];
  /** One of them; null where it is gone. Does not make a snapshot of the others. */
  ikeSa(id: number): IkeSaSnapshot | null;
  /** PAD in force: what the file says, then what was loaded. */
  pad(): Pad;
  initiate(request: InitiateRequest, timeoutMs: Milliseconds | null): Promise<CommandOutcome>;
  rekey(request: RekeyRequest): Promise<RekeyOutcome>;
  terminate(request: TerminateRequest, timeoutMs: Milliseconds | null): Promise<TerminateOutcome>;
  /** Events as they happen, after the snapshots show them. Returns what ends the subscription. */
  onEvent(listener: (event: IkeEvent, at: Date) => void): () => void;
  /** The last refusals of each peer entry, oldest first; bounded. */
  refusals(): readonly TimedRefusal[];
  /**
   * Applies the edited file, or changes nothing. One sentence for each change.
   *
   * @throws ConfigError
   */
  reload(): Promise<{ readonly changes: readonly string[] }>;
  /**
   * Adds a peer that is not in the file, or replaces one that was loaded before. SAs of a replaced
   * one stay where their terms did not change.
   *
   * @throws UsageError where the name of the peer or of a child is taken by the file.
   */
  loadPeer(peer: LoadedPeer): Promise<void>;
  /**
   * Takes back what {@link loadPeer} added; false where nothing of that name was loaded. Its SAs
   * stay until they end; they are not negotiated again.
   */
  unloadPeer(name: string): Promise<boolean>;
}
