import type { Selector } from './selector.js';

/** What an SPD entry does with a packet (RFC 4301 section 4.4.1). */
export type SpdAction = 'PROTECT' | 'BYPASS' | 'DISCARD';

/** Which packets an entry speaks of, as seen from our side. */
export type SpdDirection = 'both' | 'outbound' | 'inbound';

/** One ordered SPD entry (RFC 4301 section 4.4.1). */
export interface SpdEntry {
  /** Unique, stable over reloads: SAs name the entry they serve by it. */
  readonly name: string;
  readonly direction: SpdDirection;
  readonly selector: Selector;
  readonly action: SpdAction;
  /** True for the entries that the product itself puts at the head. */
  readonly builtin: boolean;
}
