import { describe, expect, it } from 'vitest';
import { SUITE_NAMES } from '../../../packages/ipsec-node/src/sad/suite.js';
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
    for (const suite of SUITE_NAMES) {
      expect(tunnelMtuBytes({ outerMtuBytes, outerFamily, encapsulation, suite })).toBe(inner);
    }
  });

  it('fits, and one more does not', () => {
    const sealed = (inner: number): number => 20 + 8 + 8 + 8 + Math.ceil((inner + 2) / 4) * 4 + 16;
    for (let outerMtuBytes = 576; outerMtuBytes <= 1600; outerMtuBytes += 1) {
      const suite = 'aes256gcm16';
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
