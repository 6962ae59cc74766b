/**
 * The Delete payload (RFC 7296 section 3.11).
 *
 *     | Protocol ID   |   SPI Size    |          Num of SPIs          |
 *     ~               Security Parameter Index(es) (SPI)              ~
 */
import { IKE_LIMITS } from '../limits.js';
import type { PayloadOf } from './payload.js';
import { PROTOCOL_ID } from './protocol.js';
import type { PayloadReader } from './reader.js';
import { type PayloadWriter, refuseToEncode } from './writer.js';

const SPI_LEN = 4;

/** SPIs are views. */
export function parseDelete(reader: PayloadReader): PayloadOf<'delete'> | null {
  const protocolId = reader.uint8();
  const spiLen = reader.uint8();
  const count = reader.uint16();
  const spis: Uint8Array[] = [];
  // RFC 7296 section 3.11: for the IKE SA itself there is no SPI, the header has it.
  if (protocolId === PROTOCOL_ID.ike) {
    if (spiLen !== 0 || count !== 0) return reader.refuse('a Delete of the IKE SA with SPIs');
  } else {
    if (spiLen !== SPI_LEN) return reader.refuse('an SPI of a wrong length');
    if (count > IKE_LIMITS.deleteMax) return reader.refuse('too many SPIs in one Delete');
    for (let index = 0; index < count; index += 1) spis.push(reader.bytes(SPI_LEN));
  }
  if (reader.left > 0) return reader.refuse('bytes after the last SPI');
  return { type: 'delete', protocolId, spis };
}

export function encodeDelete(writer: PayloadWriter, payload: PayloadOf<'delete'>): void {
  const { protocolId, spis } = payload;
  const isIke = protocolId === PROTOCOL_ID.ike;
  if (isIke ? spis.length > 0 : spis.length === 0) refuseToEncode('a Delete of nothing');
  writer
    .uint8(protocolId)
    .uint8(isIke ? 0 : SPI_LEN)
    .uint16(spis.length);
  for (const spi of spis) {
    if (spi.length !== SPI_LEN) refuseToEncode('an SPI of a wrong length');
    writer.bytes(spi);
  }
}
