import { describe, expect, it } from 'vitest';
import { prfOf, prfPlus } from '../../../../packages/ipsec-node/src/ike/crypto/prf.js';
import type { Prf } from '../../../../packages/ipsec-node/src/ike/crypto/prf.js';
import { readVectors } from '../../../oracle/vector-file.js';

const NUMBERS: ReadonlyMap<string, number> = new Map([
  ['PRF_HMAC_SHA1', 2],
  ['PRF_AES128_XCBC', 4],
  ['PRF_HMAC_SHA2_256', 5],
  ['PRF_HMAC_SHA2_384', 6],
  ['PRF_HMAC_SHA2_512', 7],
  ['PRF_AES128_CMAC', 8],
  ['PRF-HMAC-SHA-256', 5],
  ['PRF-HMAC-SHA-384', 6],
  ['PRF-HMAC-SHA-512', 7],
]);

function prf(number: number): Prf {
  const found = prfOf(number);
  if (found === null) throw new Error(`no PRF ${number}`);
  return found;
}

const named = (name: string): Prf => prf(NUMBERS.get(name) ?? -1);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('PRFs', () => {
  it('give what RFC 2202 prints', () => {
    for (const vector of readVectors('hmac-sha1-rfc2202').vectors) {
      const output = named(vector.text('prf')).compute(vector.hex('key'), vector.hex('data'));
      expect(hex(output), vector.text('id')).toBe(vector.text('digest'));
    }
  });

  it('give what RFC 4868 prints', () => {
    let count = 0;
    for (const vector of readVectors('hmac-sha2-rfc4868').vectors) {
      const outputs = vector.record('outputs');
      for (const name of NUMBERS.keys()) {
        if (!outputs.has(name)) continue;
        count += 1;
        const output = named(name).compute(vector.hex('key'), vector.hex('data'));
        expect(hex(output), `${vector.text('id')} ${name}`).toBe(outputs.text(name));
      }
    }
    expect(count).toBeGreaterThan(18);
  });

  it.each(['aes-cmac-rfc4493-rfc4494-rfc4615', 'aes-xcbc-rfc3566-rfc4434'])(
    'take keys of any length: %s',
    (file) => {
      const { vectors } = readVectors(file);
      const variable = vectors.filter((vector) => vector.has('prf'));
      expect(variable.map((vector) => vector.hex('key').length)).toContain(18);
      for (const vector of variable) {
        const output = named(vector.text('alg')).compute(vector.hex('key'), vector.hex('data'));
        expect(hex(output), vector.text('id')).toBe(vector.text('prf'));
      }
      const number = file.startsWith('aes-cmac') ? 8 : 4;
      for (const vector of vectors.filter((each) => each.has('mac'))) {
        const output = prf(number).compute(vector.hex('key'), vector.hex('data'));
        expect(hex(output), vector.text('id')).toBe(vector.text('mac'));
      }
    },
  );

  it('agree with Wycheproof on HMAC and AES-CMAC', () => {
    let invalid = 0;
    for (const vector of readVectors('wycheproof-mac').vectors) {
      const key = vector.hex('key');
      // As PRF, AES-CMAC takes other keys than AES-128-CMAC has.
      if (vector.number('prf') === 8 && key.length !== 16) continue;
      const output = prf(vector.number('prf')).compute(key, vector.hex('msg'));
      const tag = hex(output.subarray(0, vector.number('tag_bits') / 8));
      const isValid = vector.text('result') === 'valid';
      if (!isValid) invalid += 1;
      expect(tag === vector.text('tag'), vector.text('id')).toBe(isValid);
    }
    expect(invalid).toBeGreaterThan(20);
  });

  it('read their parts as one', () => {
    const data = Buffer.from('one two three');
    for (const number of [2, 4, 5, 6, 7, 8]) {
      const key = Buffer.alloc(20, number);
      const whole = prf(number).compute(key, data);
      const inParts = prf(number).compute(key, data.subarray(0, 3), data.subarray(3));
      expect(hex(inParts)).toBe(hex(whole));
      expect(whole.length).toBe(prf(number).outputLen);
    }
  });

  it('are not made up for numbers that this version does not have', () => {
    for (const number of [0, 1, 3, 9, 65535]) expect(prfOf(number)).toBeNull();
  });
});

describe('prf+', () => {
  it('gives what CAVP and ACVP have', () => {
    const { vectors } = readVectors('ikev2-kdf-cavp-acvp');
    for (const vector of vectors) {
      const algorithm = named(vector.text('prf'));
      if (vector.has('output')) {
        const expected = vector.text('output');
        const output = prfPlus(
          algorithm,
          vector.hex('skeyseed'),
          vector.hex('seed'),
          expected.length / 2,
        );
        expect(hex(output), vector.text('id')).toBe(expected);
      }
      if (vector.has('g_ir')) {
        const output = algorithm.compute(vector.hex('ni_nr'), vector.hex('g_ir'));
        expect(hex(output), vector.text('id')).toBe(vector.text('skeyseed'));
      }
    }
    expect(vectors.some((vector) => vector.has('output'))).toBe(true);
  });

  it('ends where its counter ends', () => {
    const algorithm = prf(5);
    const most = 255 * algorithm.outputLen;
    expect(prfPlus(algorithm, Buffer.alloc(32), Buffer.alloc(1), most).length).toBe(most);
    expect(() => prfPlus(algorithm, Buffer.alloc(32), Buffer.alloc(1), most + 1)).toThrow(
      RangeError,
    );
  });
});
