/**
 * Messages under the keys of an IKE SA: the Encrypted payload (RFC 7296 section 3.14) and, where a
 * message is too long for one datagram, Encrypted Fragment payloads (RFC 7383).
 */
import { concatBytes } from './bytes.js';
import type { IkeKeys } from './crypto/key-schedule.js';
import { padSk, type SkCipher, type SkKeys, unpadSk } from './crypto/sk-cipher.js';
import { fragmentPlaintext } from './fragmentation.js';
import { encodeEncryptedHead, encodeMessage, encodePayloads } from './payload/codec.js';
import type { IkeHeader, Payload, ReceivedMessage } from './payload/payload.js';

/** IKE header and generic payload header. */
const HEAD_LEN = 28 + 4;
const FRAGMENT_FIELDS_LEN = 4;

export interface SealOptions {
  /** Null: in clear. */
  readonly cipher: SkCipher | null;
  readonly keys: IkeKeys | null;
  /** Whether the sender is the original initiator: which keys are used. */
  readonly fromInitiator: boolean;
  readonly nextIv: (cipher: SkCipher) => Uint8Array;
  /** Bytes of a datagram past which the message is fragmented; null: never. */
  readonly fragmentBytes: number | null;
}

/** The datagrams of one message: one, or its fragments in order. */
export function sealMessage(
  header: IkeHeader,
  payloads: readonly Payload[],
  options: SealOptions,
): readonly Uint8Array[] {
  const { cipher, keys } = options;
  if (cipher === null || keys === null) return [encodeMessage(header, payloads)];
  const { first, bytes } = encodePayloads(payloads);
  const overhead = HEAD_LEN + cipher.ivLen + cipher.icvLen + cipher.blockLen;
  const room = options.fragmentBytes;
  const seal = (
    firstPayload: number,
    plaintext: Uint8Array,
    fragment: { readonly number: number; readonly total: number } | null,
  ): Uint8Array => {
    const padded = padSk(plaintext, cipher.blockLen);
    const bodyLen = cipher.ivLen + padded.length + cipher.icvLen;
    const head = encodeEncryptedHead(header, firstPayload, bodyLen, fragment);
    const body = cipher.seal(
      skKeys(keys, options.fromInitiator),
      options.nextIv(cipher),
      head,
      padded,
    );
    return concatBytes(head, body);
  };
  if (room === null || overhead + bytes.length <= room) return [seal(first, bytes, null)];
  const parts = fragmentPlaintext(bytes, room - overhead - FRAGMENT_FIELDS_LEN);
  return parts.map((part, index) =>
    // RFC 7383 section 2.5: Next Payload is that of the whole in the first fragment, else zero.
    seal(index === 0 ? first : 0, part, { number: index + 1, total: parts.length }),
  );
}

/** The plaintext of a protected message or fragment; null where nobody with the keys made it. */
export function openBody(
  cipher: SkCipher,
  keys: IkeKeys,
  fromInitiator: boolean,
  message: ReceivedMessage,
): Uint8Array | null {
  if (message.encrypted === null) return null;
  const { bodyOffset } = message.encrypted;
  const padded = cipher.open(
    skKeys(keys, fromInitiator),
    message.bytes.subarray(0, bodyOffset),
    message.bytes.subarray(bodyOffset),
  );
  return padded === null ? null : unpadSk(padded);
}

function skKeys(keys: IkeKeys, fromInitiator: boolean): SkKeys {
  return fromInitiator
    ? { encryption: keys.skEi, integrity: keys.skAi }
    : { encryption: keys.skEr, integrity: keys.skAr };
}
