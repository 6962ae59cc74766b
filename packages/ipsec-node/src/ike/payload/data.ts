/**
 * The payloads that are a few fixed fields and then data (RFC 7296 sections 3.4 to 3.9, 3.12 and
 * 3.16). The data is a view of the bytes read; what it means is for others.
 *
 *     KE        |   Diffie-Hellman Group Num    |           RESERVED            | data
 *     IDi, IDr  |   ID Type     |                 RESERVED                      | data
 *     CERT      | Cert Encoding | data
 *     CERTREQ   | Cert Encoding | data
 *     AUTH      | Auth Method   |                RESERVED                       | data
 *     Ni, Nr    data
 *     V         data
 *     EAP       data, from the Code on
 */
import type { PayloadOf } from './payload.js';
import type { PayloadReader } from './reader.js';
import { type PayloadWriter, refuseToEncode } from './writer.js';

// RFC 7296 section 3.9: a nonce has 16 to 256 octets.
const NONCE_LEN_MIN = 16;
const NONCE_LEN_MAX = 256;
/** Code, Identifier and Length (RFC 3748 section 4). */
const EAP_LEN_MIN = 4;

export function parseKe(reader: PayloadReader): PayloadOf<'ke'> | null {
  const method = reader.uint16();
  reader.skip(2);
  const data = reader.rest();
  return data.length === 0
    ? reader.refuse('a KE payload without data')
    : { type: 'ke', method, data };
}

export function encodeKe(writer: PayloadWriter, payload: PayloadOf<'ke'>): void {
  if (payload.data.length === 0) refuseToEncode('a KE payload without data');
  writer.uint16(payload.method).zeroes(2).bytes(payload.data);
}

type IdType = 'id-initiator' | 'id-responder';

export function parseId(reader: PayloadReader, type: IdType): PayloadOf<IdType> {
  const idType = reader.uint8();
  reader.skip(3);
  return { type, idType, data: reader.rest() };
}

export function encodeId(writer: PayloadWriter, payload: PayloadOf<IdType>): void {
  writer.uint8(payload.idType).zeroes(3).bytes(payload.data);
}

type CertType = 'certificate' | 'certificate-request';

export function parseCert(reader: PayloadReader, type: CertType): PayloadOf<CertType> {
  const encoding = reader.uint8();
  return { type, encoding, data: reader.rest() };
}

export function encodeCert(writer: PayloadWriter, payload: PayloadOf<CertType>): void {
  writer.uint8(payload.encoding).bytes(payload.data);
}

export function parseAuth(reader: PayloadReader): PayloadOf<'authentication'> {
  const method = reader.uint8();
  reader.skip(3);
  return { type: 'authentication', method, data: reader.rest() };
}

export function encodeAuth(writer: PayloadWriter, payload: PayloadOf<'authentication'>): void {
  writer.uint8(payload.method).zeroes(3).bytes(payload.data);
}

export function parseNonce(reader: PayloadReader): PayloadOf<'nonce'> | null {
  const data = reader.rest();
  return isNonceLen(data.length)
    ? { type: 'nonce', data }
    : reader.refuse('a nonce of a wrong length');
}

export function encodeNonce(writer: PayloadWriter, payload: PayloadOf<'nonce'>): void {
  if (!isNonceLen(payload.data.length)) refuseToEncode('a nonce of a wrong length');
  writer.bytes(payload.data);
}

function isNonceLen(len: number): boolean {
  return len >= NONCE_LEN_MIN && len <= NONCE_LEN_MAX;
}

export function parseEap(reader: PayloadReader): PayloadOf<'eap'> | null {
  const data = reader.rest();
  return data.length < EAP_LEN_MIN
    ? reader.refuse('an EAP message shorter than its header')
    : { type: 'eap', data };
}

export function encodeEap(writer: PayloadWriter, payload: PayloadOf<'eap'>): void {
  if (payload.data.length < EAP_LEN_MIN) refuseToEncode('an EAP message shorter than its header');
  writer.bytes(payload.data);
}
