import { createHash } from 'node:crypto';
import { ml_kem1024, ml_kem768 } from '@noble/post-quantum/ml-kem.js';
import { describe, expect, it } from 'vitest';
import {
  aesCmac,
  aesXcbc,
  type MlKemBits,
  mlKemDecapsulate,
  mlKemEncapsulate,
  mlKemEncapsulationKey,
} from '../../../../packages/ipsec-node/src/ike/crypto/native.js';
import { readVectors, type VectorRecord } from '../../../oracle/vector-file.js';

const hex = (bytes: Uint8Array | null | undefined): string =>
  bytes === null || bytes === undefined ? 'none' : Buffer.from(bytes).toString('hex');
const sha256 = (bytes: Uint8Array | null | undefined): string =>
  bytes === null || bytes === undefined ? 'none' : createHash('sha256').update(bytes).digest('hex');
const bitsOf = (vector: VectorRecord): MlKemBits => (vector.number('method') === 36 ? 768 : 1024);

describe('ML-KEM of the addon', () => {
  const { vectors } = readVectors('wycheproof-mlkem');

  it('makes the keys of Wycheproof', () => {
    const found = vectors.filter((vector) => vector.text('kind') === 'keygen');
    expect(new Set(found.map(bitsOf))).toEqual(new Set([768, 1024]));
    for (const vector of found) {
      const key = mlKemEncapsulationKey(bitsOf(vector), vector.hex('seed'));
      expect(sha256(key), vector.text('id')).toBe(vector.text('ek_sha256'));
    }
  });

  it('encapsulates as Wycheproof does', () => {
    const found = vectors.filter((vector) => vector.text('kind') === 'encapsulate');
    expect(new Set(found.map(bitsOf))).toEqual(new Set([768, 1024]));
    for (const vector of found) {
      const sealed = mlKemEncapsulate(bitsOf(vector), vector.hex('ek'), vector.hex('m'));
      const isValid = vector.text('result') === 'valid';
      expect(hex(sealed?.secret), vector.text('id')).toBe(isValid ? vector.text('K') : 'none');
      if (isValid) expect(sha256(sealed?.ciphertext)).toBe(vector.text('c_sha256'));
    }
  });

  it('decapsulates as Wycheproof does', () => {
    const found = vectors.filter((vector) => vector.text('kind') === 'decapsulate');
    expect(new Set(found.map(bitsOf))).toEqual(new Set([768, 1024]));
    for (const vector of found) {
      const secret = mlKemDecapsulate(bitsOf(vector), vector.hex('seed'), vector.hex('c'));
      const isValid = vector.text('result') === 'valid';
      expect(hex(secret), vector.text('id')).toBe(isValid ? vector.text('K') : 'none');
    }
  });

  it.each([
    [768, ml_kem768],
    [1024, ml_kem1024],
  ] as const)('%i: understands another implementation and is understood', (bits, other) => {
    for (let round = 0; round < 20; round += 1) {
      const seed = createHash('sha512').update(`seed ${bits} ${round}`).digest();
      const randomness = createHash('sha256').update(`randomness ${bits} ${round}`).digest();
      const theirs = other.keygen(seed);
      const key = mlKemEncapsulationKey(bits, seed);
      expect(hex(key)).toBe(hex(theirs.publicKey));

      const ours = mlKemEncapsulate(bits, theirs.publicKey, randomness);
      if (ours === null) throw new Error('refused');
      expect(hex(other.decapsulate(ours.ciphertext, theirs.secretKey))).toBe(hex(ours.secret));

      const sealed = other.encapsulate(theirs.publicKey);
      expect(hex(mlKemDecapsulate(bits, seed, sealed.cipherText))).toBe(hex(sealed.sharedSecret));

      // FIPS 203 section 6.3: an altered ciphertext gives one and the same other secret.
      sealed.cipherText.set([(sealed.cipherText.at(round) ?? 0) ^ 1], round);
      const rejected = mlKemDecapsulate(bits, seed, sealed.cipherText);
      expect(hex(rejected)).not.toBe(hex(sealed.sharedSecret));
      expect(hex(rejected)).toBe(hex(other.decapsulate(sealed.cipherText, theirs.secretKey)));
    }
  });

  it('takes no argument of another length', () => {
    for (const bits of [768, 1024] as const) {
      const key = mlKemEncapsulationKey(bits, Buffer.alloc(64));
      if (key === null) throw new Error('no key');
      for (const length of [0, 63, 65]) {
        expect(mlKemEncapsulationKey(bits, Buffer.alloc(length))).toBeNull();
        expect(mlKemDecapsulate(bits, Buffer.alloc(length), Buffer.alloc(1088))).toBeNull();
      }
      for (const length of [0, 31, 33]) {
        expect(mlKemEncapsulate(bits, key, Buffer.alloc(length))).toBeNull();
      }
      expect(mlKemEncapsulate(bits, key.subarray(1), Buffer.alloc(32))).toBeNull();
      expect(mlKemEncapsulate(bits, Buffer.concat([key, key]), Buffer.alloc(32))).toBeNull();
      expect(mlKemDecapsulate(bits, Buffer.alloc(64), Buffer.alloc(100))).toBeNull();
    }
  });
});

describe('AES MACs of the addon', () => {
  it.each([
    ['aes-cmac-rfc4493-rfc4494-rfc4615', aesCmac],
    ['aes-xcbc-rfc3566-rfc4434', aesXcbc],
  ] as const)('%s', (file, mac) => {
    const vectors = readVectors(file).vectors.filter((vector) => vector.has('mac'));
    expect(vectors.length).toBeGreaterThan(3);
    for (const vector of vectors) {
      const output = mac(vector.hex('key'), vector.hex('data'));
      expect(hex(output), vector.text('id')).toBe(vector.text('mac'));
      expect(hex(output.subarray(0, 12))).toBe(vector.text('mac96'));
    }
    for (const length of [0, 15, 17, 24, 32]) {
      expect(() => mac(Buffer.alloc(length), Buffer.alloc(3))).toThrow(RangeError);
    }
  });
});
