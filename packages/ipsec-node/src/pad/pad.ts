import type { PadEntry } from './pad-entry.js';

/** The Peer Authorization Database (RFC 4301 section 4.4.3): ordered, the first match wins. */
export interface Pad {
  readonly entries: readonly PadEntry[];
}
