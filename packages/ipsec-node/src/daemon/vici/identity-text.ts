/** Identities and hosts of PAD entries in one line, as strongSwan's messages have them. */
import type { IdentityPattern } from '../../pad/identity.js';
import { formatIdentityPattern } from '../../pad/identity-text.js';
import type { PeerHost } from '../../pad/pad-entry.js';
import { formatAddresses } from '../../spd/selector.js';

/** strongSwan's word for whoever and wherever. */
export const ANYBODY = '%any';

/** Writes what an identity must be. */
export function patternText(pattern: IdentityPattern): string {
  return pattern.kind === 'any' ? ANYBODY : formatIdentityPattern(pattern);
}

/** Writes where a peer may be. */
export function hostText(host: PeerHost): string {
  switch (host.kind) {
    case 'address':
      return host.address;
    case 'dns-name':
      return host.name;
    case 'range':
      return formatAddresses([host.range]);
    case 'any':
      return ANYBODY;
  }
}
