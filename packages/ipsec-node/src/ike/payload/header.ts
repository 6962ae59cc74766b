/**
 * The IKE header and the generic payload header (RFC 7296 sections 3.1 and 3.2).
 *
 *                          1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                       IKE SA Initiator's SPI                  |
 *     |                                                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                       IKE SA Responder's SPI                  |
 *     |                                                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  Next Payload | MjVer | MnVer | Exchange Type |     Flags     |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                          Message ID                           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                            Length                             |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 *     | Next Payload  |C|  RESERVED   |         Payload Length        |
 */
import type { IkeHeader } from './payload.js';
import type { PayloadReader } from './reader.js';
import { type PayloadWriter, refuseToEncode } from './writer.js';

export const IKE_HEADER_LEN = 28;
export const GENERIC_HEADER_LEN = 4;
/** Fragment Number and Total Fragments. */
export const FRAGMENT_FIELDS_LEN = 4;

const CRITICAL = 0x80;
const FLAG_INITIATOR = 0x08;
const FLAG_VERSION = 0x10;
const FLAG_RESPONSE = 0x20;

export interface HeaderFields {
  readonly header: IkeHeader;
  readonly firstPayload: number;
  /** The Length field: of the whole message. */
  readonly messageLen: number;
}

/** Reads the header as it is; the reader's fault tells where it was cut off. */
export function parseHeader(reader: PayloadReader): HeaderFields {
  const spiInitiator = reader.uint64();
  const spiResponder = reader.uint64();
  const firstPayload = reader.uint8();
  const version = reader.uint8();
  const exchange = reader.uint8();
  const flags = reader.uint8();
  const messageId = reader.uint32();
  const messageLen = reader.uint32();
  return {
    header: {
      spiInitiator,
      spiResponder,
      exchange,
      majorVersion: version >> 4,
      minorVersion: version & 0xf,
      // RFC 7296 section 3.1: the other bits are reserved and ignored on receipt.
      isResponse: (flags & FLAG_RESPONSE) !== 0,
      isInitiator: (flags & FLAG_INITIATOR) !== 0,
      isHigherVersion: (flags & FLAG_VERSION) !== 0,
      messageId,
    },
    firstPayload,
    messageLen,
  };
}

/** Writes the header with the given first payload and length of the message. */
export function encodeHeader(
  writer: PayloadWriter,
  header: IkeHeader,
  firstPayload: number,
  messageLen: number,
): void {
  if (header.majorVersion > 15 || header.minorVersion > 15) refuseToEncode('version past 15');
  writer
    .uint64(header.spiInitiator)
    .uint64(header.spiResponder)
    .uint8(firstPayload)
    .uint8(header.majorVersion * 16 + header.minorVersion)
    .uint8(header.exchange)
    .uint8(
      (header.isResponse ? FLAG_RESPONSE : 0) |
        (header.isInitiator ? FLAG_INITIATOR : 0) |
        (header.isHigherVersion ? FLAG_VERSION : 0),
    )
    .uint32(header.messageId)
    .uint32(messageLen);
}

/** The next payload of a chain: its header is read, its body is a reader of its own. */
export interface PayloadFrame {
  readonly nextPayload: number;
  readonly critical: boolean;
  readonly body: PayloadReader;
}

export function parseFrame(reader: PayloadReader): PayloadFrame {
  const nextPayload = reader.uint8();
  const critical = (reader.uint8() & CRITICAL) !== 0;
  const len = reader.uint16();
  if (len < GENERIC_HEADER_LEN) reader.refuse('a payload shorter than its header');
  return { nextPayload, critical, body: reader.sub(len - GENERIC_HEADER_LEN) };
}

/** Writes a payload whose body `body` writes. */
export function encodeFrame(
  writer: PayloadWriter,
  nextPayload: number,
  critical: boolean,
  body: () => void,
): void {
  const start = writer.length;
  writer
    .uint8(nextPayload)
    .uint8(critical ? CRITICAL : 0)
    .uint16(0);
  body();
  writer.patchUint16(start + 2, writer.length - start);
}
