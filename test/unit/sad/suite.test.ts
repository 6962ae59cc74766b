import { describe, expect, it } from 'vitest';
import {
  encryptionKeyLen,
  integrityKeyLen,
  keyMaterialLen,
  keyMaterialParts,
  SUITE_NAMES,
  SUITES,
  suiteOfTransforms,
} from '../../../packages/ipsec-node/src/sad/suite.js';
import type { Transform } from '../../../packages/ipsec-node/src/sad/transform.js';

const encryption = (id: number, keyBits: number | null): Transform => ({
  type: 'encryption',
  id,
  keyBits,
});
const integrity = (id: number): Transform => ({ type: 'integrity', id, keyBits: null });

describe('the table of suites', () => {
  // RFC 4106 8.1, RFC 7634 2; RFC 3602 2.1 with RFC 4868 2.1.1 and 2.3, RFC 2404 2 and 3.
  it.each([
    ['aes128gcm16', 20, 0, 8, 16],
    ['aes256gcm16', 36, 0, 8, 16],
    ['chacha20poly1305', 36, 0, 8, 16],
    ['aes128-sha1', 16, 20, 16, 12],
    ['aes192-sha1', 24, 20, 16, 12],
    ['aes256-sha1', 32, 20, 16, 12],
    ['aes128-sha256', 16, 32, 16, 16],
    ['aes192-sha256', 24, 32, 16, 16],
    ['aes256-sha256', 32, 32, 16, 16],
    ['aes128-sha384', 16, 48, 16, 24],
    ['aes192-sha384', 24, 48, 16, 24],
    ['aes256-sha384', 32, 48, 16, 24],
    ['aes128-sha512', 16, 64, 16, 32],
    ['aes192-sha512', 24, 64, 16, 32],
    ['aes256-sha512', 32, 64, 16, 32],
  ] as const)('%s: keys of %d and %d bytes, IV %d, ICV %d', (name, first, second, iv, icv) => {
    expect(encryptionKeyLen(name)).toBe(first);
    expect(integrityKeyLen(name)).toBe(second);
    expect(keyMaterialLen(name)).toBe(first + second);
    expect(SUITES[name]).toMatchObject({ name, ivLen: iv, icvLen: icv });
    expect(SUITES[name].legacy).toBe(name.endsWith('sha1'));
  });

  it('has no other, and the legacy ones come last', () => {
    expect(SUITE_NAMES).toHaveLength(15);
    const legacy = SUITE_NAMES.map((name) => SUITES[name].legacy);
    expect(legacy.indexOf(true)).toBe(12);
  });

  it('says in words what the keying material is', () => {
    expect(keyMaterialParts('aes128gcm16')).toBe('16 of cipher key, then 4 of salt');
    expect(keyMaterialParts('aes256-sha384')).toBe('32 of cipher key, then 48 of integrity key');
  });
});

describe('a suite of transforms, by IANA numbers', () => {
  it.each([
    [encryption(20, 128), null, 'aes128gcm16'],
    [encryption(20, 256), null, 'aes256gcm16'],
    [encryption(28, null), null, 'chacha20poly1305'],
    [encryption(12, 128), integrity(12), 'aes128-sha256'],
    [encryption(12, 192), integrity(13), 'aes192-sha384'],
    [encryption(12, 256), integrity(14), 'aes256-sha512'],
    [encryption(12, 256), integrity(2), 'aes256-sha1'],
    // No suite: an AEAD with an integrity, a cipher without, what the datapath lacks, other types.
    [encryption(20, 256), integrity(12), null],
    [encryption(12, 256), null, null],
    [encryption(20, 192), null, null],
    [encryption(12, 256), integrity(5), null],
    [encryption(12, null), integrity(12), null],
    [encryption(3, null), integrity(12), null],
    [{ type: 'prf', id: 5, keyBits: null }, null, null],
    [encryption(12, 256), { type: 'prf', id: 5, keyBits: null }, null],
  ] as const)('%o and %o: %s', (cipher, hash, wanted) => {
    expect(suiteOfTransforms(cipher, hash)).toBe(wanted);
  });
});
