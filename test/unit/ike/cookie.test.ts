import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { CookieJar, type CookieRequest } from '../../../packages/ipsec-node/src/ike/cookie.js';
import { IKE_LIMITS } from '../../../packages/ipsec-node/src/ike/limits.js';

const REQUEST: CookieRequest = {
  remote: '192.0.2.1',
  remotePort: 500,
  spiInitiator: 0x0102030405060708n,
  nonce: new Uint8Array(32).fill(7),
};

/** A jar whose secrets are 1, 2, 3 ... over and over. */
function jar(): CookieJar {
  let made = 0;
  return new CookieJar((len) => {
    made += 1;
    return new Uint8Array(len).fill(made);
  });
}

describe('D01: a cookie', () => {
  it('is the version of the secret and an HMAC-SHA-256, made anew by node:crypto', () => {
    const bound = Buffer.concat([
      Buffer.from([0, 32]),
      REQUEST.nonce,
      Buffer.from([4]),
      Buffer.from('00000000000000000000000000000000'.slice(0, 24) + 'c0000201', 'hex'),
      Buffer.from([0x01, 0xf4]),
      Buffer.from('0102030405060708', 'hex'),
    ]);
    const mac = createHmac('sha256', Buffer.alloc(32, 1)).update(bound).digest();
    const expected = Buffer.concat([Buffer.from([0, 0, 0, 1]), mac]);
    expect(Buffer.from(jar().make(REQUEST, 0))).toEqual(expected);
    // RFC 7296 section 2.6: 1 to 64 octets.
    expect(expected.length).toBeLessThanOrEqual(64);
  });

  it('is good for its request alone: nonce, address, port and SPI', () => {
    const own = jar();
    const cookie = own.make(REQUEST, 0);
    expect(own.verify(cookie, REQUEST, 1)).toBe(true);
    const others: readonly Partial<CookieRequest>[] = [
      { remote: '192.0.2.2' },
      { remote: '::c000:201' },
      { remotePort: 501 },
      { spiInitiator: 0x0102030405060709n },
      { nonce: new Uint8Array(32).fill(8) },
      { nonce: new Uint8Array(31).fill(7) },
    ];
    for (const change of others) {
      expect(own.verify(cookie, { ...REQUEST, ...change }, 1)).toBe(false);
    }
  });

  it('is refused with any bit changed, cut, longer, or made by another jar', () => {
    const own = jar();
    const cookie = own.make(REQUEST, 0);
    for (let bit = 0; bit < cookie.length * 8; bit += 1) {
      const changed = cookie.slice();
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(own.verify(changed, REQUEST, 1)).toBe(false);
    }
    for (const len of [0, 1, 4, cookie.length - 1]) {
      expect(own.verify(cookie.slice(0, len), REQUEST, 1)).toBe(false);
    }
    expect(own.verify(new Uint8Array([...cookie, 0]), REQUEST, 1)).toBe(false);
    const stranger = new CookieJar((len) => new Uint8Array(len).fill(99));
    expect(stranger.verify(cookie, REQUEST, 1)).toBe(false);
  });

  it('outlives one change of the secret and not two', () => {
    const own = jar();
    const ms = IKE_LIMITS.cookieSecretMs;
    const old = own.make(REQUEST, 0);
    expect(own.verify(old, REQUEST, ms - 1)).toBe(true);
    const next = own.make(REQUEST, ms);
    expect(Buffer.from(next)).not.toEqual(Buffer.from(old));
    expect(own.verify(old, REQUEST, 2 * ms - 1)).toBe(true);
    expect(own.verify(old, REQUEST, 2 * ms)).toBe(false);
    expect(own.verify(next, REQUEST, 2 * ms)).toBe(true);
    expect(own.verify(next, REQUEST, 10 * ms)).toBe(false);
  });
});
