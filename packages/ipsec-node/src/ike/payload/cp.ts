/**
 * The Configuration payload (RFC 7296 section 3.15).
 *
 *     |   CFG Type    |                    RESERVED                   |
 *     ~                   Configuration Attributes                    ~
 *
 *     |R|         Attribute Type      |            Length             |
 *     ~                             Value                             ~
 */
import { IKE_LIMITS } from '../limits.js';
import type { ConfigurationAttribute, PayloadOf } from './payload.js';
import type { PayloadReader } from './reader.js';
import type { PayloadWriter } from './writer.js';

const TYPE_MASK = 0x7fff;

/** Values are views. */
export function parseCp(reader: PayloadReader): PayloadOf<'configuration'> | null {
  const cfgType = reader.uint8();
  reader.skip(3);
  const attributes: ConfigurationAttribute[] = [];
  while (reader.left > 0) {
    if (attributes.length >= IKE_LIMITS.attributeMax) {
      return reader.refuse('too many configuration attributes');
    }
    const type = reader.uint16() & TYPE_MASK;
    attributes.push({ type, value: reader.bytes(reader.uint16()) });
  }
  return { type: 'configuration', cfgType, attributes };
}

export function encodeCp(writer: PayloadWriter, payload: PayloadOf<'configuration'>): void {
  writer.uint8(payload.cfgType).zeroes(3);
  for (const { type, value } of payload.attributes) {
    writer
      .uint16(type & TYPE_MASK)
      .uint16(value.length)
      .bytes(value);
  }
}
