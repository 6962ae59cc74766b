/** What the AUTH payload authenticates, and AUTH by a shared key (RFC 7296 section 2.15). */
import type { Prf } from './prf.js';

const KEY_PAD = new TextEncoder().encode('Key Pad for IKEv2');

/** The data of an AUTH payload by shared key: prf(prf(key, "Key Pad for IKEv2"), octets). */
export function pskAuth(prf: Prf, psk: Uint8Array, octets: Uint8Array): Uint8Array {
  const padded = prf.compute(psk, KEY_PAD);
  const auth = prf.compute(padded, octets);
  padded.fill(0);
  return auth;
}

export interface SignedOctetsInput {
  /** One's own first message, IKE_SA_INIT, as it was sent. */
  readonly message: Uint8Array;
  /** The other side's nonce. */
  readonly nonce: Uint8Array;
  /** The ID payload without its generic header: ID type, three reserved octets, data. */
  readonly idBody: Uint8Array;
  /** SK_pi for the initiator's octets, SK_pr for the responder's. */
  readonly skP: Uint8Array;
  /** After IKE_INTERMEDIATE exchanges: what `intAuth` made (RFC 9242 section 3.3.2). */
  readonly intAuth: Uint8Array | null;
}

/** The octets that one side signs or MACs. */
export function signedOctets(prf: Prf, input: SignedOctetsInput): Uint8Array {
  return Buffer.concat([
    input.message,
    input.nonce,
    prf.compute(input.skP, input.idBody),
    input.intAuth ?? new Uint8Array(0),
  ]);
}
