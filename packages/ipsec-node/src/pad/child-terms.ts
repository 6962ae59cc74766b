import type { Milliseconds } from '../clock.js';
import type { Proposal } from '../sad/proposal.js';
import type { Selector } from '../spd/selector.js';

/** What becomes of a Child SA or of a peer that was closed or is dead. */
export type Aftermath =
  /** Nothing: what policy protects is dropped until somebody asks for an SA. */
  | 'clear'
  /** The next packet asks for a new one. */
  | 'trap'
  /** It is negotiated again at once, with back-off. */
  | 'restart';

/** What a peer may have a Child SA for, and on which terms (RFC 4301 sections 4.4.1, 4.4.3.4). */
export interface ChildTerms {
  /** Name of the SPD entry, and of the child. */
  readonly name: string;
  readonly mode: 'tunnel' | 'transport';
  /** The entry's selector, seen from our side. */
  readonly selector: Selector;
  /** ESP proposals in order of preference; more than one key exchange type means PFS choices. */
  readonly proposals: readonly Proposal[];
  /** start: negotiated at once; trap: by the first packet; none: only by command or by the peer. */
  readonly start: 'start' | 'trap' | 'none';
  readonly onClose: Aftermath;
  readonly lifetime: {
    /** Rekeyed after this long less jitter; gone at `hardMs`. */
    readonly rekeyMs: Milliseconds;
    readonly hardMs: Milliseconds;
    /** Of either direction; 0: no such limit. */
    readonly rekeyBytes: bigint;
    readonly rekeyPackets: bigint;
  };
  /** One child for all ranges of the entry, or one for each local-remote pair (for peers that want that). */
  readonly selectorsPerChild: 'all' | 'one';
  readonly replayWindow: number;
  readonly tfcPadToBytes: number;
  readonly dontFragment: 'copy' | 'set' | 'clear';
}
