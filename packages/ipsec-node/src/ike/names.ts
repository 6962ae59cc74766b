import {
  EXCHANGE_NUMBERS,
  type ExchangeName,
  type NotifyPayload,
  type Payload,
} from './payload/payload.js';

/** The name of a known exchange type. */
export function exchangeName(exchange: number): ExchangeName | null {
  for (const [name, number] of Object.entries(EXCHANGE_NUMBERS)) {
    if (number === exchange && isExchangeName(name)) return name;
  }
  return null;
}

function isExchangeName(name: string): name is ExchangeName {
  return Object.hasOwn(EXCHANGE_NUMBERS, name);
}

/** A notification without an SPI. */
export function notifyPayload(notify: number, data: Uint8Array = new Uint8Array(0)): NotifyPayload {
  return { type: 'notify', protocolId: 0, spi: new Uint8Array(0), notify, data };
}

/** Deletes the IKE SA that it is sent in, with all its children (RFC 7296 section 3.11). */
export const DELETE_IKE_SA: Payload = { type: 'delete', protocolId: 1, spis: [] };
