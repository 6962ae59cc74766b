import { BlockList, isIP } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compareIpAddresses,
  formatIpAddress,
  parseIpAddress,
  tryParseIpAddress,
} from '../../../packages/ipsec-node/src/net/ip-address.js';

/** The WHATWG URL serialiser follows RFC 5952 but for embedded IPv4 addresses. */
function whatwg(text: string): string {
  return new URL(`http://[${text}]/`).hostname.slice(1, -1);
}

const ipv4 = fc.bigInt({ min: 0n, max: 0xffff_ffffn });
const ipv6 = fc
  .array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), {
    minLength: 8,
    maxLength: 8,
  })
  .map((groups) => groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n));

describe('canonical text', () => {
  // RFC 5952 section 4 and its examples.
  it.each([
    ['2001:0db8::0001', '2001:db8::1'],
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:DB8::ABCD', '2001:db8::abcd'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
    ['::ffff:c000:201', '::ffff:192.0.2.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['192.0.2.1', '192.0.2.1'],
  ])('%s is %s', (text, canonical) => {
    expect(formatIpAddress(parseIpAddress(text))).toBe(canonical);
  });

  it('agrees with the URL standard, where that has no embedded IPv4', () => {
    fc.assert(
      fc.property(ipv6, (value) => {
        fc.pre(value >> 32n !== 0xffffn);
        const text = formatIpAddress({ family: 6, value });
        expect(text).toBe(whatwg(text));
      }),
    );
  });

  it('is read back as the same address', () => {
    fc.assert(
      fc.property(fc.oneof(ipv4, ipv6), (value) => {
        const family = value <= 0xffff_ffffn ? 4 : 6;
        expect(parseIpAddress(formatIpAddress({ family, value }))).toEqual({ family, value });
      }),
    );
  });
});

describe('what is an address', () => {
  it.each([
    '',
    ' ',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4 ',
    '0x1.2.3.4',
    '1.2.3.-4',
    ':',
    ':::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1::2::3',
    '12345::',
    'g::',
    '::1%eth0',
    '1:2:3:4:5:6:7:8::',
    '::1.2.3',
    '1.2.3.4::',
    '::1.2.3.4:5',
    '1:2:3:4:5:6:7:1.2.3.4',
    '[::1]',
    '10.0.0.0/8',
  ])('%j is none', (text) => {
    expect(tryParseIpAddress(text)).toBeNull();
    expect(() => parseIpAddress(text)).toThrow(
      expect.objectContaining({ code: 'IPSEC_ERR_ADDRESS_SYNTAX' }),
    );
  });

  it('agrees with node:net on texts near addresses', () => {
    const near = fc
      .array(fc.constantFrom('0', '1', '25', 'ffff', 'a', ':', '::', '.', '1.2.3.4'), {
        maxLength: 12,
      })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(near, (text) => {
        expect(tryParseIpAddress(text)?.family ?? 0, text).toBe(isIP(text));
      }),
      { numRuns: 5000 },
    );
  });
});

describe('order', () => {
  it('is by value within a family, as node:net has it', () => {
    fc.assert(
      fc.property(ipv4, ipv4, (a, b) => {
        const [low, high] = a <= b ? [a, b] : [b, a];
        const list = new BlockList();
        const text = (value: bigint): string => formatIpAddress({ family: 4, value });
        list.addRange(text(low), text(high), 'ipv4');
        expect(list.check(text(a), 'ipv4') && list.check(text(b), 'ipv4')).toBe(true);
        const sign = compareIpAddresses({ family: 4, value: a }, { family: 4, value: b });
        expect(sign).toBe(a < b ? -1 : a > b ? 1 : 0);
      }),
    );
  });

  it('puts IPv4 before IPv6', () => {
    expect(compareIpAddresses(parseIpAddress('255.255.255.255'), parseIpAddress('::'))).toBe(-1);
  });
});
