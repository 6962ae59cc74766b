import type { SelectorAddressRange } from '../spd/selector.js';
import type { Identity } from './identity.js';

/** How a peer proves its identity (RFC 4301 section 4.4.3.2). */
export type AuthenticationMethod = 'pre-shared-key' | 'certificate' | 'eap';

/** One entry of the PAD: who a peer may be, how it proves it, which Child SAs it may have. */
export interface PadEntry {
  readonly name: string;
  /** Where the peer may be found; empty: anywhere. */
  readonly addresses: readonly SelectorAddressRange[];
  readonly localIdentity: Identity;
  readonly remoteIdentity: Identity;
  readonly localAuthentication: AuthenticationMethod;
  readonly remoteAuthentication: AuthenticationMethod;
  /** Names of the SPD entries that the peer may have Child SAs for (RFC 4301 section 4.4.3.4). */
  readonly spdEntries: readonly string[];
}
