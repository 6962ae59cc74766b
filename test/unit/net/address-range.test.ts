import { BlockList } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatAddressRange,
  intersectRanges,
  parseAddressRange,
  prefixesOf,
  prefixLenOf,
  rangeContains,
  tryParseAddressRange,
} from '../../../packages/ipsec-node/src/net/address-range.js';
import { formatIpAddress } from '../../../packages/ipsec-node/src/net/ip-address.js';

const ipv4Range = fc
  .tuple(fc.bigInt({ min: 0n, max: 0xffff_ffffn }), fc.bigInt({ min: 0n, max: 0xffff_ffffn }))
  .map(([a, b]) => ({ family: 4 as const, first: a < b ? a : b, last: a < b ? b : a }));
const ipv6Range = fc
  .tuple(
    fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }),
    fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }),
  )
  .map(([a, b]) => ({ family: 6 as const, first: a < b ? a : b, last: a < b ? b : a }));
const range = fc.oneof(ipv4Range, ipv6Range);

describe('an address range', () => {
  it.each([
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['10.0.0.0-10.255.255.255', '10.0.0.0/8'],
    ['10.3.0.10-10.3.0.99', '10.3.0.10-10.3.0.99'],
    ['10.3.0.10 - 10.3.0.99', '10.3.0.10-10.3.0.99'],
    ['192.0.2.1', '192.0.2.1'],
    ['192.0.2.1/32', '192.0.2.1'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['2001:DB8::/32', '2001:db8::/32'],
    ['2001:db8::1-2001:db8::ff', '2001:db8::1-2001:db8::ff'],
    ['::/0', '::/0'],
  ])('%s is %s', (text, canonical) => {
    expect(formatAddressRange(parseAddressRange(text))).toBe(canonical);
  });

  it.each([
    [
      '10.1.2.3/16',
      'host bits are set: the network is 10.1.0.0/16, the single address is 10.1.2.3',
      '10.1.0.0/16',
    ],
    [
      '2001:db8::1/64',
      'host bits are set: the network is 2001:db8::/64, the single address is 2001:db8::1',
      '2001:db8::/64',
    ],
    ['10.0.0.9-10.0.0.1', 'the first end is above the second', '10.0.0.1-10.0.0.9'],
    ['10.0.0.1-::1', 'the two ends are of different families', undefined],
    ['10.0.0.0/33', 'the prefix length of an IPv4 address is 0..32', undefined],
    ['::/129', 'the prefix length of an IPv6 address is 0..128', undefined],
    ['10.0.0.0/08', 'the prefix length of an IPv4 address is 0..32', undefined],
    ['10.0.0.0/255.0.0.0', 'the prefix length of an IPv4 address is 0..32', undefined],
    ['10.0.0.256', 'each of the four numbers is 0..255 and has no leading zero', undefined],
    ['branch.example', 'names are not resolved here: write the address', undefined],
    ['10.0.0', 'it is not an IPv4 or IPv6 address', undefined],
  ])('%s is none: %s', (text, reason, suggestion) => {
    const result = tryParseAddressRange(text);
    expect(result).toEqual({
      ok: false,
      fault: suggestion === undefined ? { reason } : { reason, suggestion },
    });
    expect(() => parseAddressRange(text)).toThrow(
      expect.objectContaining({ code: 'IPSEC_ERR_ADDRESS_SYNTAX' }),
    );
  });

  it('is read back from its text', () => {
    fc.assert(
      fc.property(range, (value) => {
        expect(parseAddressRange(formatAddressRange(value))).toEqual(value);
      }),
    );
  });

  it('holds what node:net says it holds', () => {
    fc.assert(
      fc.property(ipv4Range, fc.bigInt({ min: 0n, max: 0xffff_ffffn }), (value, address) => {
        const text = (number: bigint): string => formatIpAddress({ family: 4, value: number });
        const list = new BlockList();
        list.addRange(text(value.first), text(value.last), 'ipv4');
        const single = { family: 4 as const, first: address, last: address };
        expect(rangeContains(value, single)).toBe(list.check(text(address), 'ipv4'));
        expect(intersectRanges(value, single) !== null).toBe(list.check(text(address), 'ipv4'));
      }),
    );
  });

  it('is the sum of its prefixes, which touch and do not overlap', () => {
    fc.assert(
      fc.property(range, (value) => {
        const prefixes = prefixesOf(value);
        expect(prefixes[0]?.first).toBe(value.first);
        expect(prefixes.at(-1)?.last).toBe(value.last);
        for (const [index, prefix] of prefixes.entries()) {
          expect(prefixLenOf(prefix)).not.toBeNull();
          const next = prefixes[index + 1];
          if (next !== undefined) expect(next.first).toBe(prefix.last + 1n);
        }
        expect(prefixes.length).toBeLessThanOrEqual(value.family === 4 ? 62 : 254);
      }),
    );
  });
});
