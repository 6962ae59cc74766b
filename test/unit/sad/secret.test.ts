import { format, inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { Secret } from '../../../packages/ipsec-node/src/sad/secret.js';
import { formatSpi, isSpi } from '../../../packages/ipsec-node/src/sad/spi.js';

const bytes = Uint8Array.of(0xde, 0xad, 0xbe, 0xef);

describe('a secret', () => {
  it('does not print, in whatever way', () => {
    const secret = new Secret(bytes, 'file x');
    const texts = [
      String(secret),
      secret.toString(),
      JSON.stringify({ secret }),
      inspect(secret, { showHidden: true, depth: 9 }),
      inspect({ deep: [secret] }, { depth: 9 }),
      format('%s %o %O %j', secret, secret, secret, secret),
      JSON.stringify(Object.entries(secret)),
    ];
    for (const text of texts) {
      expect(text).not.toMatch(/de.?ad|222|173/i);
    }
    expect(texts[0]).toBe('[secret]');
  });

  it('is a copy, and gives copies', () => {
    const source = Uint8Array.from(bytes);
    const secret = new Secret(source, 'file x');
    source.fill(0);
    const copy = secret.reveal();
    expect([...copy]).toEqual([...bytes]);
    copy.fill(0);
    expect([...secret.reveal()]).toEqual([...bytes]);
  });

  it('is gone after wipe', () => {
    const secret = new Secret(bytes, 'file x');
    secret.wipe();
    secret.wipe();
    expect(secret.isPresent).toBe(false);
    expect(secret.byteLength).toBe(0);
    expect(() => secret.reveal()).toThrow(expect.objectContaining({ code: 'IPSEC_ERR_INTERNAL' }));
  });

  it('compares', () => {
    const secret = new Secret(bytes, 'a');
    expect(secret.equals(new Secret(bytes, 'b'))).toBe(true);
    expect(secret.equals(new Secret(bytes.subarray(1), 'b'))).toBe(false);
    expect(secret.equals(Secret.unread('b'))).toBe(false);
    expect(Secret.unread('a').equals(Secret.unread('b'))).toBe(false);
    expect(secret.isUniform).toBe(false);
    expect(new Secret(new Uint8Array(36), 'a').isUniform).toBe(true);
  });
});

describe('an SPI', () => {
  it('is 256..2^32-1', () => {
    expect([0, 1, 255, 2 ** 32, 256.5, -1, Number.NaN].some(isSpi)).toBe(false);
    expect([256, 2 ** 32 - 1].every(isSpi)).toBe(true);
    expect(formatSpi(256)).toBe('0x00000100');
  });
});
