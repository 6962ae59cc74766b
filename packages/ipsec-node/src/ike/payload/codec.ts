/**
 * IKE messages to values and back (RFC 7296 section 3). Reading is total: any bytes give a value or
 * a fault, in time and memory bounded by their length and by IKE_LIMITS. Byte fields of what is
 * read are views of the bytes given: whoever keeps one longer than the message copies it.
 */
import { IKE_LIMITS } from '../limits.js';
import { NOTIFY } from '../notify.js';
import { encodeCp, parseCp } from './cp.js';
import {
  encodeAuth,
  encodeCert,
  encodeEap,
  encodeId,
  encodeKe,
  encodeNonce,
  parseAuth,
  parseCert,
  parseEap,
  parseId,
  parseKe,
  parseNonce,
} from './data.js';
import { encodeDelete, parseDelete } from './delete.js';
import {
  encodeFrame,
  encodeHeader,
  IKE_HEADER_LEN,
  parseFrame,
  parseHeader,
  type PayloadFrame,
} from './header.js';
import { encodeNotify, parseNotify } from './notify.js';
import {
  type EncryptedPart,
  type IkeHeader,
  type Payload,
  PAYLOAD_NUMBERS,
  type ReceivedMessage,
} from './payload.js';
import { NO_BYTES, PayloadReader, type Refusal } from './reader.js';
import { encodeSa, parseSa } from './sa.js';
import { isEncrypted, parseEncrypted } from './sk.js';
import { encodeTs, parseTs } from './ts.js';
import { PayloadWriter, refuseToEncode } from './writer.js';

export { encodeEncryptedHead } from './sk.js';

const MAJOR_VERSION = 2;

export interface ParseFault {
  /** For people; holds nothing of the message. */
  readonly reason: string;
  /** Notify message type that the peer may be told; null: nothing. */
  readonly notify: number | null;
  /** Notification data: the type octet of a critical payload, say. */
  readonly data: Uint8Array;
  /** Null where not even the header could be read. */
  readonly header: IkeHeader | null;
}

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly fault: ParseFault };

/** Reads a datagram without its non-ESP marker: all that is not encrypted. */
export function parseDatagram(bytes: Uint8Array): Parsed<ReceivedMessage> {
  const reader = new PayloadReader(bytes);
  const { header, firstPayload, messageLen } = parseHeader(reader);
  if (reader.refusal !== null) return failed({ ...reader.refusal, notify: null }, null);
  const fault = headerFault(header, messageLen, bytes.length);
  if (fault !== null) return failed(fault, header);
  const chain = parseChain(reader, firstPayload, true);
  if (reader.refusal !== null) return failed(reader.refusal, header);
  return { ok: true, value: { header, bytes, ...chain } };
}

/** Reads the payloads inside an Encrypted payload, after decryption and without padding. */
export function parsePayloads(firstPayload: number, bytes: Uint8Array): Parsed<readonly Payload[]> {
  const reader = new PayloadReader(bytes);
  const { payloads } = parseChain(reader, firstPayload, false);
  if (reader.refusal !== null) return failed(reader.refusal, null);
  return { ok: true, value: payloads };
}

function failed(refusal: Refusal, header: IkeHeader | null): Parsed<never> {
  // RFC 7296 section 2.21: nothing is sent in answer to a response.
  const notify = header?.isResponse === true ? null : refusal.notify;
  return { ok: false, fault: { reason: refusal.reason, notify, data: refusal.data, header } };
}

function headerFault(header: IkeHeader, messageLen: number, len: number): Refusal | null {
  if (header.majorVersion !== MAJOR_VERSION) {
    // RFC 7296 section 2.5: a higher version is answered with the highest that we speak.
    const notify = header.majorVersion > MAJOR_VERSION ? NOTIFY.INVALID_MAJOR_VERSION : null;
    return { reason: `IKE version ${header.majorVersion}`, notify, data: NO_BYTES };
  }
  if (messageLen !== len) {
    return { reason: 'a Length field unlike the datagram', notify: null, data: NO_BYTES };
  }
  if (len > IKE_LIMITS.messageBytesMax) {
    return { reason: 'too long', notify: null, data: NO_BYTES };
  }
  return null;
}

/** Of these a message has one at most (RFC 7296 appendix C): a second is one that nobody checks. */
const SINGLE: ReadonlySet<number> = new Set([
  PAYLOAD_NUMBERS.sa,
  PAYLOAD_NUMBERS.ke,
  PAYLOAD_NUMBERS.nonce,
  PAYLOAD_NUMBERS['id-initiator'],
  PAYLOAD_NUMBERS['id-responder'],
  PAYLOAD_NUMBERS.authentication,
  PAYLOAD_NUMBERS['ts-initiator'],
  PAYLOAD_NUMBERS['ts-responder'],
]);

/** Reads payload after payload; what was read is of use only where the reader has no fault. */
function parseChain(
  reader: PayloadReader,
  firstPayload: number,
  isOutside: boolean,
): { readonly payloads: readonly Payload[]; readonly encrypted: EncryptedPart | null } {
  const payloads: Payload[] = [];
  let encrypted: EncryptedPart | null = null;
  const singles = new Set<number>();
  let next = firstPayload;
  let count = 0;
  while (next !== PAYLOAD_NUMBERS.none && reader.refusal === null) {
    count += 1;
    if (count > IKE_LIMITS.payloadMax) {
      reader.refuse('too many payloads');
      break;
    }
    const frame = parseFrame(reader);
    if (isOutside && isEncrypted(next)) {
      // RFC 7296 section 3.14: it is the last payload; its Next Payload is the first inside.
      encrypted = parseEncrypted(next, frame);
      break;
    }
    if (singles.has(next)) reader.refuse('two payloads of a type of which there is one');
    if (SINGLE.has(next)) singles.add(next);
    const payload = parsePayload(next, frame);
    if (payload !== null) payloads.push(payload);
    next = frame.nextPayload;
  }
  if (reader.left > 0) reader.refuse('bytes after the last payload');
  return { payloads, encrypted };
}

function parsePayload(number: number, frame: PayloadFrame): Payload | null {
  const { body } = frame;
  if (body.refusal !== null) return null;
  // RFC 7296 section 2.5: the critical bit of a payload type that is known means nothing.
  switch (number) {
    case PAYLOAD_NUMBERS.sa:
      return parseSa(body);
    case PAYLOAD_NUMBERS.ke:
      return parseKe(body);
    case PAYLOAD_NUMBERS['id-initiator']:
      return parseId(body, 'id-initiator');
    case PAYLOAD_NUMBERS['id-responder']:
      return parseId(body, 'id-responder');
    case PAYLOAD_NUMBERS.certificate:
      return parseCert(body, 'certificate');
    case PAYLOAD_NUMBERS['certificate-request']:
      return parseCert(body, 'certificate-request');
    case PAYLOAD_NUMBERS.authentication:
      return parseAuth(body);
    case PAYLOAD_NUMBERS.nonce:
      return parseNonce(body);
    case PAYLOAD_NUMBERS.notify:
      return parseNotify(body);
    case PAYLOAD_NUMBERS.delete:
      return parseDelete(body);
    case PAYLOAD_NUMBERS['vendor-id']:
      return { type: 'vendor-id', data: body.rest() };
    case PAYLOAD_NUMBERS['ts-initiator']:
      return parseTs(body, 'ts-initiator');
    case PAYLOAD_NUMBERS['ts-responder']:
      return parseTs(body, 'ts-responder');
    case PAYLOAD_NUMBERS.configuration:
      return parseCp(body);
    case PAYLOAD_NUMBERS.eap:
      return parseEap(body);
    case PAYLOAD_NUMBERS.encrypted:
    case PAYLOAD_NUMBERS['encrypted-fragment']:
      return body.refuse('an Encrypted payload inside another');
    default:
      return parseUnknown(number, frame);
  }
}

function parseUnknown(number: number, { critical, body }: PayloadFrame): Payload | null {
  if (critical) {
    return body.refuse(
      `critical payload ${number}`,
      NOTIFY.UNSUPPORTED_CRITICAL_PAYLOAD,
      Uint8Array.of(number),
    );
  }
  return { type: 'unknown', number, critical, data: body.rest() };
}

/** Writes a message in clear. */
export function encodeMessage(header: IkeHeader, payloads: readonly Payload[]): Uint8Array {
  const { first, bytes } = encodePayloads(payloads);
  const writer = new PayloadWriter();
  encodeHeader(writer, header, first, IKE_HEADER_LEN + bytes.length);
  return writer.bytes(bytes).finish();
}

/** Writes a chain of payloads, and the type number of the first: 0 where there is none. */
export function encodePayloads(payloads: readonly Payload[]): {
  readonly first: number;
  readonly bytes: Uint8Array;
} {
  if (payloads.length > IKE_LIMITS.payloadMax) refuseToEncode('too many payloads');
  const writer = new PayloadWriter();
  const numbers = payloads.map(numberOf);
  for (const [index, payload] of payloads.entries()) {
    const critical = payload.type === 'unknown' && payload.critical;
    encodeFrame(writer, numbers[index + 1] ?? PAYLOAD_NUMBERS.none, critical, () =>
      encodeBody(writer, payload),
    );
  }
  return { first: numbers[0] ?? PAYLOAD_NUMBERS.none, bytes: writer.finish() };
}

function numberOf(payload: Payload): number {
  if (payload.type !== 'unknown') return PAYLOAD_NUMBERS[payload.type];
  const known: readonly number[] = Object.values(PAYLOAD_NUMBERS);
  if (known.includes(payload.number)) refuseToEncode('a known payload as an unknown one');
  return payload.number;
}

function encodeBody(writer: PayloadWriter, payload: Payload): void {
  switch (payload.type) {
    case 'sa':
      return encodeSa(writer, payload);
    case 'ke':
      return encodeKe(writer, payload);
    case 'id-initiator':
    case 'id-responder':
      return encodeId(writer, payload);
    case 'certificate':
    case 'certificate-request':
      return encodeCert(writer, payload);
    case 'authentication':
      return encodeAuth(writer, payload);
    case 'nonce':
      return encodeNonce(writer, payload);
    case 'notify':
      return encodeNotify(writer, payload);
    case 'delete':
      return encodeDelete(writer, payload);
    case 'ts-initiator':
    case 'ts-responder':
      return encodeTs(writer, payload);
    case 'configuration':
      return encodeCp(writer, payload);
    case 'eap':
      return encodeEap(writer, payload);
    case 'vendor-id':
    case 'unknown':
      writer.bytes(payload.data);
  }
}
