import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatIcmpType, icmpTypeNumber } from '../../../packages/ipsec-node/src/net/icmp-type.js';
import {
  formatProtocol,
  hasPorts,
  isIcmp,
  parseProtocol,
} from '../../../packages/ipsec-node/src/net/next-layer-protocol.js';
import {
  formatNumberRange,
  parsePortRange,
  tryParseNumberRange,
} from '../../../packages/ipsec-node/src/net/port-range.js';
import {
  formatAddressAndPort,
  parseUdpEndpoint,
  tryParseAddressAndPort,
} from '../../../packages/ipsec-node/src/net/udp-endpoint.js';

describe('ports', () => {
  it('are read back from their text', () => {
    const port = fc.integer({ min: 0, max: 65_535 });
    fc.assert(
      fc.property(port, port, (a, b) => {
        const range = { from: Math.min(a, b), to: Math.max(a, b) };
        expect(parsePortRange(formatNumberRange(range))).toEqual(range);
      }),
    );
  });

  it.each(['', '-1', '65536', '80-', '-80', '80-79', '8e3', '80,443', 'http', '0x50'])(
    '%j are none',
    (text) => {
      expect(() => parsePortRange(text)).toThrow(
        expect.objectContaining({ code: 'IPSEC_ERR_PORT_SYNTAX' }),
      );
    },
  );

  it('the wrong way round suggest the right one', () => {
    expect(tryParseNumberRange('9-3', 255)).toEqual({
      ok: false,
      reason: 'the first end is above the second',
      suggestion: '3-9',
    });
  });
});

describe('protocols', () => {
  // IANA Assigned Internet Protocol Numbers.
  it.each([
    ['icmp', 1],
    ['tcp', 6],
    ['udp', 17],
    ['gre', 47],
    ['esp', 50],
    ['ah', 51],
    ['icmpv6', 58],
    ['sctp', 132],
    ['TCP', 6],
    ['253', 253],
    ['0', 0],
  ])('%s is %d', (text, number) => {
    expect(parseProtocol(text)).toBe(number);
  });

  it.each(['', 'tpc', '256', '-1', '1.5'])('%j is none', (text) => {
    expect(() => parseProtocol(text)).toThrow(
      expect.objectContaining({ code: 'IPSEC_ERR_PROTOCOL_UNKNOWN' }),
    );
  });

  it('are read back from their text', () => {
    for (let number = 0; number <= 255; number += 1) {
      expect(parseProtocol(formatProtocol(number))).toBe(number);
    }
  });

  it('know who has ports and who has types', () => {
    expect([6, 17, 33, 132, 136].every(hasPorts)).toBe(true);
    expect([1, 47, 50, 58].some(hasPorts)).toBe(false);
    expect([1, 58].every(isIcmp)).toBe(true);
  });

  it('have ICMP types of their own', () => {
    expect(icmpTypeNumber(1, 'echo-request')).toBe(8);
    expect(icmpTypeNumber(58, 'echo-request')).toBe(128);
    expect(icmpTypeNumber(6, 'echo-request')).toBeNull();
    expect(formatIcmpType(58, 135)).toBe('neighbour-solicitation');
    expect(formatIcmpType(1, 200)).toBe('200');
  });
});

describe('endpoints', () => {
  it.each(['192.0.2.1:4500', '[2001:db8::1]:4500', '192.0.2.1', '2001:db8::1'])('%s', (text) => {
    const endpoint = tryParseAddressAndPort(text);
    expect(endpoint).not.toBeNull();
    if (endpoint !== null) expect(formatAddressAndPort(endpoint)).toBe(text);
  });

  it.each(['', '192.0.2.1:', '192.0.2.1:65536', '[192.0.2.1]:80', '[2001:db8::1', ':443', 'a:1'])(
    '%j is none',
    (text) => expect(tryParseAddressAndPort(text)).toBeNull(),
  );

  it('need their port', () => {
    expect(() => parseUdpEndpoint('192.0.2.1')).toThrow(
      expect.objectContaining({ code: 'IPSEC_ERR_ADDRESS_SYNTAX' }),
    );
    expect(parseUdpEndpoint('[::1]:500').port).toBe(500);
  });
});
