import type * as nodeCrypto from 'node:crypto';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type * as native from '../../../../packages/ipsec-node/src/ike/crypto/native.js';
import type * as transform from '../../../../packages/ipsec-node/src/sad/transform.js';
import { TRANSFORMS } from '../../../../packages/ipsec-node/src/sad/transform.js';

const SELF_TEST = '../../../../packages/ipsec-node/src/ike/crypto/self-test.js';
const TRANSFORM = '../../../../packages/ipsec-node/src/sad/transform.js';
const NATIVE = '../../../../packages/ipsec-node/src/ike/crypto/native.js';

/** The self-test over modules that are loaded afresh, mocks and all. */
async function failures(): Promise<readonly string[]> {
  const { selfTest } = await import(SELF_TEST);
  return selfTest();
}

function altered(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(bytes);
  copy.set([(copy.at(0) ?? 0) ^ 1]);
  return copy;
}

afterEach(() => {
  vi.doUnmock('node:crypto');
  vi.doUnmock(NATIVE);
  vi.doUnmock(TRANSFORM);
  vi.resetModules();
});

describe('the self-test', () => {
  it('passes', async () => {
    expect(await failures()).toEqual([]);
  });

  it('names what the addon does wrong', async () => {
    vi.doMock(NATIVE, async (importOriginal) => {
      const real = await importOriginal<typeof native>();
      return {
        ...real,
        aesXcbc: (key: Uint8Array, data: Uint8Array) => altered(real.aesXcbc(key, data)),
        mlKemDecapsulate: () => new Uint8Array(32),
      };
    });
    expect(await failures()).toEqual(['prfaesxcbc', 'aesxcbc', 'mlkem768', 'mlkem1024']);
  });

  it('names everything that an addon which is not there leaves out', async () => {
    const missing = () => {
      throw new Error('not for this platform');
    };
    vi.doMock(NATIVE, () => ({
      ML_KEM_SEED_LEN: 64,
      ML_KEM_RANDOMNESS_LEN: 32,
      aesCmac: missing,
      aesXcbc: missing,
      mlKemEncapsulationKey: missing,
      mlKemEncapsulate: missing,
      mlKemDecapsulate: missing,
    }));
    expect(await failures()).toEqual([
      'prfaesxcbc',
      'prfaescmac',
      'aesxcbc',
      'aescmac',
      'mlkem768',
      'mlkem1024',
    ]);
  });

  it('names what OpenSSL does wrong', async () => {
    vi.doMock('node:crypto', async (importOriginal) => {
      const real = await importOriginal<typeof nodeCrypto>();
      return {
        ...real,
        createHmac: (hash: string, key: Uint8Array) =>
          real.createHmac(hash === 'sha384' ? 'sha3-384' : hash, key),
        diffieHellman: (options: Parameters<typeof real.diffieHellman>[0]) =>
          altered(real.diffieHellman(options)),
      };
    });
    const found = await failures();
    expect(found).toEqual(['prfsha384', 'sha384', 'ecp256', 'ecp384', 'ecp521', 'x25519', 'x448']);
  });

  it('fails an algorithm without a known answer', async () => {
    vi.doMock(TRANSFORM, async (importOriginal) => ({
      ...(await importOriginal<typeof transform>()),
      TRANSFORMS: TRANSFORMS.map((row) =>
        row.keyword === 'x448' ? { ...row, id: 33, keyword: 'x33' } : row,
      ),
    }));
    expect(await failures()).toEqual(['x33']);
  });
});
