import { describe, expect, it } from 'vitest';
import {
  AEAD_SUITE_NAMES,
  SUITE_NAMES,
  SUITES,
} from '../../../packages/ipsec-node/src/sad/suite.js';
import { tunnelMtuBytes } from '../../../packages/ipsec-node/src/sad/tunnel-mtu.js';

describe('the largest inner packet', () => {
  // Counted by hand: outer header, UDP 8, ESP header 8, IV 8, ICV 16; inner packet and two bytes of
  // trailer end on a 4-byte boundary (RFC 4303 section 2.4).
  it.each([
    [1500, 4, 'udp', 1438],
    [1500, 6, 'udp', 1418],
    [1500, 4, 'esp', 1446],
    [1500, 6, 'esp', 1426],
    [1280, 6, 'udp', 1198],
    [9000, 4, 'udp', 8938],
    [1501, 4, 'udp', 1438],
    [1504, 4, 'udp', 1442],
  ] as const)('outer %d, IPv%d, %s: %d', (outerMtuBytes, outerFamily, encapsulation, inner) => {
    for (const suite of AEAD_SUITE_NAMES) {
      expect(tunnelMtuBytes({ outerMtuBytes, outerFamily, encapsulation, suite })).toBe(inner);
    }
  });

  // Counted by hand: the same with an IV of 16, the ICV of RFC 4868 or RFC 2404, and blocks of 16
  // (RFC 3602 section 2.4).
  it.each([
    ['aes128-sha256', 1500, 4, 'udp', 1422],
    ['aes256-sha256', 1500, 6, 'udp', 1406],
    ['aes256-sha384', 1500, 4, 'udp', 1422],
    ['aes256-sha512', 1500, 4, 'udp', 1406],
    ['aes256-sha512', 1500, 6, 'esp', 1390],
    ['aes192-sha1', 1500, 4, 'esp', 1438],
    ['aes256-sha256', 1280, 6, 'udp', 1182],
  ] as const)(
    '%s, outer %d, IPv%d, %s: %d',
    (suite, outerMtuBytes, outerFamily, encapsulation, inner) => {
      expect(tunnelMtuBytes({ outerMtuBytes, outerFamily, encapsulation, suite })).toBe(inner);
    },
  );

  it.each(SUITE_NAMES)('fits, and one more does not: %s', (suite) => {
    const block = AEAD_SUITE_NAMES.some((name) => name === suite) ? 4 : 16;
    const iv = block === 4 ? 8 : 16;
    const sealed = (inner: number): number =>
      20 + 8 + 8 + iv + Math.ceil((inner + 2) / block) * block + SUITES[suite].icvLen;
    for (let outerMtuBytes = 576; outerMtuBytes <= 1600; outerMtuBytes += 1) {
      const inner = tunnelMtuBytes({ outerMtuBytes, outerFamily: 4, encapsulation: 'udp', suite });
      expect(sealed(inner)).toBeLessThanOrEqual(outerMtuBytes);
      expect(sealed(inner + 1)).toBeGreaterThan(outerMtuBytes);
    }
  });

  it('does not exist where the headers alone are larger', () => {
    expect(() =>
      tunnelMtuBytes({
        outerMtuBytes: 60,
        outerFamily: 4,
        encapsulation: 'udp',
        suite: 'aes128gcm16',
      }),
    ).toThrow(expect.objectContaining({ code: 'IPSEC_ERR_INTERNAL' }));
  });
});
