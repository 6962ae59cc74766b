/** Policies and packets over a small world, so that they meet often. */
import fc from 'fast-check';
import type { IpAddress } from '../../../packages/ipsec-node/src/net/ip-address.js';
import { hasPorts, isIcmp } from '../../../packages/ipsec-node/src/net/next-layer-protocol.js';
import type { SpdPacket } from '../../../packages/ipsec-node/src/spd/packet.js';
import { type Selector, selectorRangeOf } from '../../../packages/ipsec-node/src/spd/selector.js';
import type { SpdEntry } from '../../../packages/ipsec-node/src/spd/spd-entry.js';

const BASE = { 4: 0x0a00_0000n, 6: 0x2001_0db8n << 96n } as const;
const PROTOCOLS = [1, 6, 17, 47, 58, 132];

const address = (family: 4 | 6): fc.Arbitrary<IpAddress> =>
  fc.integer({ min: 0, max: 15 }).map((low) => ({ family, value: BASE[family] + BigInt(low) }));

const addressRange = fc
  .tuple(
    fc.constantFrom<4 | 6>(4, 6),
    fc.integer({ min: 0, max: 15 }),
    fc.integer({ min: 0, max: 15 }),
  )
  .map(([family, a, b]) =>
    selectorRangeOf({
      family,
      first: BASE[family] + BigInt(Math.min(a, b)),
      last: BASE[family] + BigInt(Math.max(a, b)),
    }),
  );

const addresses = fc.array(addressRange, { maxLength: 2 });

const numberRanges = fc.array(
  fc
    .tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 9 }))
    .map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) })),
  { maxLength: 2 },
);

export const selectors: fc.Arbitrary<Selector> = fc
  .record({
    local: addresses,
    remote: addresses,
    protocol: fc.constantFrom<number | 'any'>('any', 'any', ...PROTOCOLS),
    a: numberRanges,
    b: numberRanges,
  })
  .map(({ local, remote, protocol, a, b }) => {
    const ports = protocol !== 'any' && hasPorts(protocol);
    const icmp = protocol !== 'any' && isIcmp(protocol);
    return {
      local,
      remote,
      protocol,
      localPorts: ports ? a : [],
      remotePorts: ports ? b : [],
      icmpTypes: icmp ? a : [],
      icmpCodes: icmp ? b : [],
    };
  });

export const entries: fc.Arbitrary<SpdEntry[]> = fc
  .array(
    fc.record({
      direction: fc.constantFrom('both', 'outbound', 'inbound'),
      action: fc.constantFrom('PROTECT', 'BYPASS', 'DISCARD'),
      selector: selectors,
    }),
    { maxLength: 6 },
  )
  .map((list) => list.map((entry, index) => ({ ...entry, name: `p${index}`, builtin: false })));

export const packets: fc.Arbitrary<SpdPacket> = fc
  .tuple(fc.constantFrom<4 | 6>(4, 6), fc.constantFrom(...PROTOCOLS), fc.boolean())
  .chain(([family, protocol, isFragment]) =>
    fc
      .record({
        source: address(family),
        destination: address(family),
        a: fc.integer({ min: 0, max: 10 }),
        b: fc.integer({ min: 0, max: 10 }),
      })
      .map(({ source, destination, a, b }) => ({
        source,
        destination,
        protocol,
        ports: hasPorts(protocol) && !isFragment ? { source: a, destination: b } : null,
        icmp: isIcmp(protocol) && !isFragment ? { type: a, code: b } : null,
      })),
  );
