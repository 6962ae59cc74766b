import type { NotifyPayload, Payload, PayloadOf } from '../payload/payload.js';

/** The first payload of a type; null: there is none. */
export function findPayload<T extends Payload['type']>(
  payloads: readonly Payload[],
  type: T,
): PayloadOf<T> | null {
  for (const payload of payloads) if (isOf(payload, type)) return payload;
  return null;
}

/** All payloads of a type, in order. */
export function allPayloads<T extends Payload['type']>(
  payloads: readonly Payload[],
  type: T,
): readonly PayloadOf<T>[] {
  return payloads.filter((payload): payload is PayloadOf<T> => isOf(payload, type));
}

function isOf<T extends Payload['type']>(payload: Payload, type: T): payload is PayloadOf<T> {
  return payload.type === type;
}

/** The first notification of a type; null: there is none. */
export function findNotify(payloads: readonly Payload[], notify: number): NotifyPayload | null {
  return allPayloads(payloads, 'notify').find((payload) => payload.notify === notify) ?? null;
}

/** The first error notification (RFC 7296 section 3.10.1: types below 16384). */
export function findError(payloads: readonly Payload[]): NotifyPayload | null {
  return allPayloads(payloads, 'notify').find(({ notify }) => notify < 16_384) ?? null;
}

/** Two bytes as a number: the group of INVALID_KE_PAYLOAD. */
export function numberOf(data: Uint8Array): number | null {
  const [high, low] = data;
  return data.length === 2 && high !== undefined && low !== undefined ? high * 256 + low : null;
}

/** The other way round. */
export function twoBytes(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}
