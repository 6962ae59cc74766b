/**
 * The Notify payload (RFC 7296 section 3.10).
 *
 *     |  Protocol ID  |   SPI Size    |      Notify Message Type      |
 *     ~                Security Parameter Index (SPI)                 ~
 *     ~                       Notification Data                       ~
 */
import type { NotifyPayload } from './payload.js';
import type { PayloadReader } from './reader.js';
import type { PayloadWriter } from './writer.js';

/** SPI and data are views. The SPI may have any length: what to make of it is the type's matter. */
export function parseNotify(reader: PayloadReader): NotifyPayload {
  const protocolId = reader.uint8();
  const spiLen = reader.uint8();
  const notify = reader.uint16();
  const spi = reader.bytes(spiLen);
  return { type: 'notify', protocolId, spi, notify, data: reader.rest() };
}

export function encodeNotify(writer: PayloadWriter, payload: NotifyPayload): void {
  writer
    .uint8(payload.protocolId)
    .uint8(payload.spi.length)
    .uint16(payload.notify)
    .bytes(payload.spi)
    .bytes(payload.data);
}
