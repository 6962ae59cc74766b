/**
 * The Encrypted payload (RFC 7296 section 3.14) and the Encrypted Fragment payload (RFC 7383
 * section 2.5), from outside: where the body is, and the bytes before it, which are associated
 * data (RFC 5282 section 5.1).
 *
 *     | Next Payload  |C|  RESERVED   |         Payload Length        |
 *     |        Fragment Number        |        Total Fragments        |  SKF alone
 *     |                 IV, ciphertext, padding, ICV                  |
 */
import {
  FRAGMENT_FIELDS_LEN,
  GENERIC_HEADER_LEN,
  encodeHeader,
  IKE_HEADER_LEN,
  type PayloadFrame,
} from './header.js';
import { type EncryptedPart, type IkeHeader, PAYLOAD_NUMBERS } from './payload.js';
import { PayloadWriter, refuseToEncode } from './writer.js';

export function isEncrypted(payload: number): boolean {
  return payload === PAYLOAD_NUMBERS.encrypted || payload === PAYLOAD_NUMBERS['encrypted-fragment'];
}

/** Reads the payload whose generic header was read. */
export function parseEncrypted(payload: number, frame: PayloadFrame): EncryptedPart | null {
  const { body, nextPayload: firstPayload } = frame;
  if (payload === PAYLOAD_NUMBERS.encrypted) {
    return { firstPayload, bodyOffset: body.offset, fragment: null };
  }
  const number = body.uint16();
  const total = body.uint16();
  // RFC 7383 section 2.6: a fragment that fails these tests is silently discarded.
  if (number === 0 || number > total) return body.refuse('an impossible fragment number', null);
  return { firstPayload, bodyOffset: body.offset, fragment: { number, total } };
}

/**
 * Writes the IKE header and the header of the Encrypted (Fragment) payload: the associated data.
 * `bodyLen` bytes of IV, ciphertext and ICV follow; `first` is the first payload inside.
 */
export function encodeEncryptedHead(
  header: IkeHeader,
  first: number,
  bodyLen: number,
  fragment: { readonly number: number; readonly total: number } | null,
): Uint8Array {
  const fieldsLen = fragment === null ? 0 : FRAGMENT_FIELDS_LEN;
  const payloadLen = GENERIC_HEADER_LEN + fieldsLen + bodyLen;
  const payload = fragment === null ? 'encrypted' : 'encrypted-fragment';
  const writer = new PayloadWriter();
  encodeHeader(writer, header, PAYLOAD_NUMBERS[payload], IKE_HEADER_LEN + payloadLen);
  writer.uint8(first).uint8(0).uint16(payloadLen);
  if (fragment !== null) {
    if (fragment.number === 0 || fragment.number > fragment.total) {
      refuseToEncode(`fragment ${fragment.number} of ${fragment.total}`);
    }
    if (fragment.number > 1 && first !== 0) refuseToEncode('a later fragment with a payload type');
    writer.uint16(fragment.number).uint16(fragment.total);
  }
  return writer.finish();
}
