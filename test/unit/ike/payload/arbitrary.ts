/** Headers and payloads of any legal content, for properties. */
import fc from 'fast-check';
import {
  type IkeHeader,
  type Payload,
  PAYLOAD_NUMBERS,
  type TrafficSelector,
  type WireProposal,
} from '../../../../packages/ipsec-node/src/ike/payload/payload.js';
import {
  type Transform,
  TRANSFORM_TYPE_NUMBERS,
  type TransformType,
} from '../../../../packages/ipsec-node/src/sad/transform.js';
import { formatIpAddress } from '../../../../packages/ipsec-node/src/net/ip-address.js';

const octet = fc.integer({ min: 0, max: 255 });
const short = fc.integer({ min: 0, max: 65_535 });
const bytes = (minLength: number, maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength, maxLength });
const spi64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

export const arbitraryHeader: fc.Arbitrary<IkeHeader> = fc.record({
  spiInitiator: spi64,
  spiResponder: spi64,
  exchange: octet,
  majorVersion: fc.constant(2),
  minorVersion: fc.integer({ min: 0, max: 15 }),
  isResponse: fc.boolean(),
  isInitiator: fc.boolean(),
  isHigherVersion: fc.boolean(),
  messageId: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
});

const isTransformType = (text: string): text is TransformType => text in TRANSFORM_TYPE_NUMBERS;
const transform: fc.Arbitrary<Transform> = fc.record({
  type: fc.constantFrom(...Object.keys(TRANSFORM_TYPE_NUMBERS).filter(isTransformType)),
  id: short,
  keyBits: fc.option(short),
});

const proposal: fc.Arbitrary<WireProposal> = fc
  .constantFrom<[number, number]>([1, 0], [1, 8], [2, 4], [3, 4], [200, 3])
  .chain(([protocolId, spiLen]) =>
    fc.record({
      number: octet,
      protocolId: fc.constant(protocolId),
      spi: bytes(spiLen, spiLen),
      unknownTransformCount: fc.constant(0),
      transforms: fc.array(transform, { minLength: 1, maxLength: 8 }),
    }),
  );

const ports: fc.Arbitrary<readonly [number, number]> = fc.oneof(
  fc.tuple(short, short).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const),
  fc.constantFrom([0, 65_535] as const, [65_535, 0] as const),
);

export const arbitraryTrafficSelector: fc.Arbitrary<TrafficSelector> = fc
  .constantFrom<4 | 6>(4, 6)
  .chain((family) => {
    const value = fc.bigInt({ min: 0n, max: family === 4 ? 2n ** 32n - 1n : 2n ** 128n - 1n });
    return fc.tuple(octet, ports, value, value).map(([protocol, [startPort, endPort], a, b]) => ({
      family,
      protocol,
      startPort,
      endPort,
      from: formatIpAddress({ family, value: a < b ? a : b }),
      to: formatIpAddress({ family, value: a < b ? b : a }),
    }));
  });

const known: readonly number[] = Object.values(PAYLOAD_NUMBERS);

const arbitraryPayload: fc.Arbitrary<Payload> = fc.oneof(
  fc.record({
    type: fc.constant('sa' as const),
    proposals: fc.array(proposal, { minLength: 1, maxLength: 4 }),
  }),
  fc.record({ type: fc.constant('ke' as const), method: short, data: bytes(1, 64) }),
  fc.record({
    type: fc.constantFrom('id-initiator' as const, 'id-responder' as const),
    idType: octet,
    data: bytes(0, 40),
  }),
  fc.record({
    type: fc.constantFrom('certificate' as const, 'certificate-request' as const),
    encoding: octet,
    data: bytes(0, 40),
  }),
  fc.record({ type: fc.constant('authentication' as const), method: octet, data: bytes(0, 40) }),
  fc.record({ type: fc.constant('nonce' as const), data: bytes(16, 256) }),
  fc.record({
    type: fc.constant('notify' as const),
    protocolId: octet,
    spi: bytes(0, 8),
    notify: short,
    data: bytes(0, 40),
  }),
  fc.record({
    type: fc.constant('delete' as const),
    protocolId: fc.constantFrom(2, 3),
    spis: fc.array(bytes(4, 4), { minLength: 1, maxLength: 5 }),
  }),
  fc.constant({ type: 'delete' as const, protocolId: 1, spis: [] }),
  fc.record({ type: fc.constant('vendor-id' as const), data: bytes(0, 40) }),
  fc.record({
    type: fc.constantFrom('ts-initiator' as const, 'ts-responder' as const),
    selectors: fc.array(arbitraryTrafficSelector, { minLength: 1, maxLength: 6 }),
    unknownCount: fc.constant(0),
  }),
  fc.record({
    type: fc.constant('configuration' as const),
    cfgType: octet,
    attributes: fc.array(
      fc.record({ type: fc.integer({ min: 0, max: 32_767 }), value: bytes(0, 20) }),
      { maxLength: 6 },
    ),
  }),
  fc.record({ type: fc.constant('eap' as const), data: bytes(4, 40) }),
  fc.record({
    type: fc.constant('unknown' as const),
    number: octet.filter((number) => !known.includes(number)),
    critical: fc.constant(false),
    data: bytes(0, 40),
  }),
);

const MANY: readonly Payload['type'][] = [
  'certificate',
  'certificate-request',
  'notify',
  'delete',
  'vendor-id',
  'configuration',
  'eap',
  'unknown',
];

/** Payloads of one message: those of which there is one come once (RFC 7296 appendix C). */
export const arbitraryPayloads = (maxLength: number): fc.Arbitrary<readonly Payload[]> =>
  fc
    .array(arbitraryPayload, { maxLength })
    .map((payloads) =>
      payloads.filter(
        ({ type }, at) =>
          MANY.includes(type) || payloads.findIndex((other) => other.type === type) === at,
      ),
    );
