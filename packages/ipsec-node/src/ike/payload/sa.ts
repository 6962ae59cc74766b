/**
 * The Security Association payload (RFC 7296 section 3.3): proposals, each with transforms, each
 * with attributes.
 *
 *     | Last Substruc |   RESERVED    |        Proposal Length        |
 *     | Proposal Num  |  Protocol ID  |    SPI Size   |Num  Transforms|
 *     ~                        SPI (variable)                         ~
 *     ~                        <Transforms>                           ~
 *
 *     | Last Substruc |   RESERVED    |        Transform Length       |
 *     |Transform Type |   RESERVED    |          Transform ID         |
 *     ~                      Transform Attributes                     ~
 */
import { type Transform, TRANSFORM_TYPE_NUMBERS, type TransformType } from '../../sad/transform.js';
import { IKE_LIMITS } from '../limits.js';
import { NOTIFY } from '../notify.js';
import type { PayloadOf, WireProposal } from './payload.js';
import { isSpiLen } from './protocol.js';
import type { PayloadReader } from './reader.js';
import { type PayloadWriter, refuseToEncode } from './writer.js';

const LAST = 0;
const MORE_PROPOSALS = 2;
const MORE_TRANSFORMS = 3;
const PROPOSAL_HEADER_LEN = 8;
const TRANSFORM_HEADER_LEN = 8;
/** Attribute Format: set where the value is in the header itself. */
const ATTRIBUTE_SHORT = 0x8000;
const ATTRIBUTE_KEY_LENGTH = 14;

const TYPES: readonly TransformType[] = [
  'encryption',
  'prf',
  'integrity',
  'key-exchange',
  'sequence-numbers',
  'additional-key-exchange-1',
  'additional-key-exchange-2',
  'additional-key-exchange-3',
  'additional-key-exchange-4',
  'additional-key-exchange-5',
  'additional-key-exchange-6',
  'additional-key-exchange-7',
];
const TYPE_OF_NUMBER: ReadonlyMap<number, TransformType> = new Map(
  TYPES.map((type) => [TRANSFORM_TYPE_NUMBERS[type], type]),
);

/** SPIs are views of the bytes read. */
export function parseSa(reader: PayloadReader): PayloadOf<'sa'> | null {
  const proposals: WireProposal[] = [];
  let transformCount = 0;
  let more = true;
  while (more && reader.refusal === null) {
    more = parseLastSubstruc(reader, MORE_PROPOSALS);
    reader.skip(1);
    const len = reader.uint16();
    if (len < PROPOSAL_HEADER_LEN) return reader.refuse('a proposal shorter than its header');
    const body = reader.sub(len - 4);
    const number = body.uint8();
    const protocolId = body.uint8();
    const spiLen = body.uint8();
    const count = body.uint8();
    const spi = body.bytes(spiLen);
    if (!isSpiLen(protocolId, spiLen)) return reader.refuse('an SPI of a wrong length');
    if (count === 0) return reader.refuse('a proposal without transforms');
    transformCount += count;
    // An offer that is not looked at to its end is not accepted, which is what the peer hears.
    if (transformCount > IKE_LIMITS.transformMax) {
      return reader.refuse('too many transforms', NOTIFY.NO_PROPOSAL_CHOSEN);
    }
    const { transforms, unknownTransformCount } = parseTransforms(body, count);
    proposals.push({ number, protocolId, spi, transforms, unknownTransformCount });
  }
  if (reader.left > 0) return reader.refuse('bytes after the last proposal');
  return { type: 'sa', proposals };
}

/** Whether another substructure follows: `more`, where the last one has 0. */
function parseLastSubstruc(reader: PayloadReader, more: number): boolean {
  const value = reader.uint8();
  if (value !== LAST && value !== more) reader.refuse('a wrong Last Substruc field');
  return value === more;
}

function parseTransforms(
  reader: PayloadReader,
  count: number,
): Pick<WireProposal, 'transforms' | 'unknownTransformCount'> {
  const transforms: Transform[] = [];
  let unknownTypeCount = 0;
  const unusable = new Set<TransformType>();
  for (let index = 0; index < count && reader.refusal === null; index += 1) {
    const more = parseLastSubstruc(reader, MORE_TRANSFORMS);
    if (more !== index + 1 < count) reader.refuse('a wrong number of transforms');
    reader.skip(1);
    const len = reader.uint16();
    if (len < TRANSFORM_HEADER_LEN) reader.refuse('a transform shorter than its header');
    const body = reader.sub(len - 4);
    const type = TYPE_OF_NUMBER.get(body.uint8());
    body.skip(1);
    const id = body.uint16();
    const attributes = parseAttributes(body);
    if (type === undefined) unknownTypeCount += 1;
    else if (attributes.hasUnknown) unusable.add(type);
    else transforms.push({ type, id, keyBits: attributes.keyBits });
  }
  if (reader.left > 0) reader.refuse('bytes after the last transform');
  // A type that has unusable transforms alone is as one that is not known: nothing can be chosen.
  for (const { type } of transforms) unusable.delete(type);
  return { transforms, unknownTransformCount: unknownTypeCount + unusable.size };
}

function parseAttributes(reader: PayloadReader): {
  readonly keyBits: number | null;
  readonly hasUnknown: boolean;
} {
  let keyBits: number | null = null;
  let hasUnknown = false;
  while (reader.left > 0) {
    const type = reader.uint16();
    const isShort = (type & ATTRIBUTE_SHORT) !== 0;
    const value = reader.uint16();
    if (!isShort) reader.skip(value);
    // RFC 7296 section 3.3.5: a fixed-length attribute is never sent in the long form.
    if (isShort && (type & ~ATTRIBUTE_SHORT) === ATTRIBUTE_KEY_LENGTH) {
      if (keyBits !== null) reader.refuse('two key lengths in one transform');
      keyBits = value;
    } else {
      hasUnknown = true;
    }
  }
  return { keyBits, hasUnknown };
}

export function encodeSa(writer: PayloadWriter, payload: PayloadOf<'sa'>): void {
  const { proposals } = payload;
  if (proposals.length === 0) refuseToEncode('an SA payload without proposals');
  for (const [index, proposal] of proposals.entries()) {
    const { spi, transforms } = proposal;
    if (!isSpiLen(proposal.protocolId, spi.length)) refuseToEncode('an SPI of a wrong length');
    if (transforms.length === 0) refuseToEncode('a proposal without transforms');
    if (proposal.unknownTransformCount !== 0) refuseToEncode('transforms that were not read');
    const start = writer.length;
    writer
      .uint8(index + 1 < proposals.length ? MORE_PROPOSALS : LAST)
      .zeroes(3)
      .uint8(proposal.number)
      .uint8(proposal.protocolId)
      .uint8(spi.length)
      .uint8(transforms.length)
      .bytes(spi);
    for (const [at, transform] of transforms.entries()) {
      encodeTransform(writer, transform, at + 1 < transforms.length);
    }
    writer.patchUint16(start + 2, writer.length - start);
  }
}

function encodeTransform(writer: PayloadWriter, transform: Transform, more: boolean): void {
  const { type, id, keyBits } = transform;
  writer
    .uint8(more ? MORE_TRANSFORMS : LAST)
    .zeroes(1)
    .uint16(TRANSFORM_HEADER_LEN + (keyBits === null ? 0 : 4))
    .uint8(TRANSFORM_TYPE_NUMBERS[type])
    .zeroes(1)
    .uint16(id);
  if (keyBits !== null) writer.uint16(ATTRIBUTE_SHORT | ATTRIBUTE_KEY_LENGTH).uint16(keyBits);
}
