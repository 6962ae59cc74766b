import { describe, expect, it } from 'vitest';
import {
  pskAuth,
  signedOctets,
} from '../../../../packages/ipsec-node/src/ike/crypto/auth-octets.js';
import {
  applyPpk,
  deriveChildKeys,
  deriveIkeKeys,
  deriveNextIkeKeys,
  deriveRekeyedIkeKeys,
  type IkeKeys,
  type IkeSuite,
  ikeSuiteOf,
  intAuth,
  intAuthStep,
} from '../../../../packages/ipsec-node/src/ike/crypto/key-schedule.js';
import { prfOf, prfPlus } from '../../../../packages/ipsec-node/src/ike/crypto/prf.js';
import type { Transform } from '../../../../packages/ipsec-node/src/sad/transform.js';
import { readVectors, type VectorRecord } from '../../../oracle/vector-file.js';

const PRF_NUMBERS: ReadonlyMap<string, number> = new Map([
  ['PRF_HMAC_SHA1', 2],
  ['PRF_AES128_XCBC', 4],
  ['PRF_HMAC_SHA2_256', 5],
  ['PRF_HMAC_SHA2_384', 6],
  ['PRF_HMAC_SHA2_512', 7],
  ['PRF_AES128_CMAC', 8],
]);

const CIPHERS: ReadonlyMap<string, readonly Transform[]> = new Map([
  ['ENCR_AES_GCM_16-256', [{ type: 'encryption', id: 20, keyBits: 256 }]],
  ['ENCR_AES_GCM_16-128', [{ type: 'encryption', id: 20, keyBits: 128 }]],
  ['ENCR_CHACHA20_POLY1305', [{ type: 'encryption', id: 28, keyBits: null }]],
  [
    'ENCR_AES_CBC-256+AUTH_HMAC_SHA2_256_128',
    [
      { type: 'encryption', id: 12, keyBits: 256 },
      { type: 'integrity', id: 12, keyBits: null },
    ],
  ],
]);

function suiteOf(prf: number, transforms: readonly Transform[]): IkeSuite {
  const suite = ikeSuiteOf({
    protocol: 'ike',
    transforms: [...transforms, { type: 'prf', id: prf, keyBits: null }],
  });
  if (suite === null) throw new Error('no suite');
  return suite;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const joined = (keys: IkeKeys): string =>
  [keys.skD, keys.skAi, keys.skAr, keys.skEi, keys.skEr, keys.skPi, keys.skPr].map(hex).join('');

interface Case {
  readonly vector: VectorRecord;
  readonly suite: IkeSuite;
  readonly spis: { readonly spiInitiator: bigint; readonly spiResponder: bigint };
}

const CASES: readonly Case[] = readVectors('ikev2-keyschedule-generated').vectors.map((vector) => ({
  vector,
  suite: suiteOf(
    PRF_NUMBERS.get(vector.text('prf')) ?? -1,
    CIPHERS.get(vector.text('ike_suite')) ?? [],
  ),
  spis: {
    spiInitiator: vector.hex('spi_i').readBigUInt64BE(),
    spiResponder: vector.hex('spi_r').readBigUInt64BE(),
  },
}));

function keysOf({ vector, suite, spis }: Case): IkeKeys {
  return deriveIkeKeys(suite, {
    ni: vector.hex('ni'),
    nr: vector.hex('nr'),
    ...spis,
    secret: vector.hex('g_ir'),
  });
}

describe.each(CASES.map((each) => [each.vector.text('id'), each] as const))('%s', (_id, each) => {
  const { vector, suite, spis } = each;

  it('has the seven secrets', () => {
    const keys = keysOf(each);
    expect({
      sk_d: hex(keys.skD),
      sk_ai: hex(keys.skAi),
      sk_ar: hex(keys.skAr),
      sk_ei: hex(keys.skEi),
      sk_er: hex(keys.skEr),
      sk_pi: hex(keys.skPi),
      sk_pr: hex(keys.skPr),
    }).toEqual({
      sk_d: vector.text('sk_d'),
      sk_ai: vector.text('sk_ai'),
      sk_ar: vector.text('sk_ar'),
      sk_ei: vector.text('sk_ei'),
      sk_er: vector.text('sk_er'),
      sk_pi: vector.text('sk_pi'),
      sk_pr: vector.text('sk_pr'),
    });
  });

  it('authenticates by a shared key, both ways', () => {
    const keys = keysOf(each);
    const initiator = signedOctets(suite.prf, {
      message: vector.hex('real_message1'),
      nonce: vector.hex('nr'),
      idBody: vector.hex('idi_rest'),
      skP: keys.skPi,
      intAuth: null,
    });
    const responder = signedOctets(suite.prf, {
      message: vector.hex('real_message2'),
      nonce: vector.hex('ni'),
      idBody: vector.hex('idr_rest'),
      skP: keys.skPr,
      intAuth: null,
    });
    const psk = vector.hex('psk');
    expect(hex(pskAuth(suite.prf, psk, initiator))).toBe(vector.text('auth_i_psk'));
    expect(hex(pskAuth(suite.prf, psk, responder))).toBe(vector.text('auth_r_psk'));
  });

  it('has the keys of its first child, for every suite', () => {
    const suites = vector.record('child_keymat');
    const { skD } = keysOf(each);
    const names = [
      'ENCR_AES_GCM_16-256',
      'ENCR_AES_GCM_16-128',
      'ENCR_AES_CBC-256+AUTH_HMAC_SHA2_256_128',
      'ENCR_AES_CBC-128+AUTH_HMAC_SHA2_256_128',
      'ENCR_AES_CBC-256+AUTH_HMAC_SHA2_512_256',
      'ENCR_CHACHA20_POLY1305',
      'ENCR_AES_CCM_16-256',
      'ENCR_NULL_AUTH_AES_GMAC-256',
      'ENCR_AES_CTR-256+AUTH_HMAC_SHA2_384_192',
    ];
    for (const name of names) {
      const expected = suites.record(name);
      const child = deriveChildKeys(suite.prf, skD, {
        ni: vector.hex('ni'),
        nr: vector.hex('nr'),
        secrets: [],
        encryptionKeyLen: expected.hex('i_to_r_encr').length,
        integrityKeyLen: expected.hex('i_to_r_integ').length,
      });
      expect(hex(child.initiatorToResponder.encryption), name).toBe(expected.text('i_to_r_encr'));
      expect(hex(child.initiatorToResponder.integrity), name).toBe(expected.text('i_to_r_integ'));
      expect(hex(child.responderToInitiator.encryption), name).toBe(expected.text('r_to_i_encr'));
      expect(hex(child.responderToInitiator.integrity), name).toBe(expected.text('r_to_i_integ'));
    }
  });

  it('has the keys of a child with a key exchange of its own', () => {
    const expected = vector.record('child_pfs');
    const child = deriveChildKeys(suite.prf, keysOf(each).skD, {
      ni: expected.hex('ni'),
      nr: expected.hex('nr'),
      secrets: [expected.hex('g_ir_new')],
      encryptionKeyLen: 36,
      integrityKeyLen: 0,
    });
    expect(
      hex(child.initiatorToResponder.encryption) + hex(child.responderToInitiator.encryption),
    ).toBe(expected.text('keymat_72'));
  });

  it('has the keys of the IKE SA that replaces it', () => {
    const fresh = vector.record('child_pfs');
    const input = { ni: fresh.hex('ni'), nr: fresh.hex('nr'), ...spis };
    const keys = deriveRekeyedIkeKeys(suite.prf, keysOf(each).skD, suite, {
      ...input,
      secrets: [fresh.hex('g_ir_new')],
    });
    const seed = Buffer.concat([input.ni, input.nr, vector.hex('spi_i'), vector.hex('spi_r')]);
    const skeyseed = vector.hex('ike_rekey_skeyseed');
    expect(joined(keys)).toBe(hex(prfPlus(suite.prf, skeyseed, seed, joined(keys).length / 2)));
  });

  it('mixes a post-quantum preshared key in', () => {
    const expected = vector.record('rfc8784_ppk');
    const before = keysOf(each);
    const keys = applyPpk(suite.prf, before, expected.hex('ppk'));
    expect(hex(keys.skD)).toBe(expected.text('sk_d'));
    expect(hex(keys.skPi)).toBe(expected.text('sk_pi'));
    expect(hex(keys.skPr)).toBe(expected.text('sk_pr'));
    before.wipe();
    expect(joined(before)).toMatch(/^0*$/);
    expect([keys.skAi, keys.skAr, keys.skEi, keys.skEr].map(hex)).toEqual(
      ['sk_ai', 'sk_ar', 'sk_ei', 'sk_er'].map((name) => vector.text(name)),
    );
  });

  it('has the keys after an additional key exchange', () => {
    const expected = vector.record('rfc9370_addke');
    const keys = deriveNextIkeKeys(suite, keysOf(each).skD, {
      ni: vector.hex('ni'),
      nr: vector.hex('nr'),
      ...spis,
      secret: expected.hex('sk1'),
    });
    expect(joined(keys)).toBe(expected.text('keymat1'));
  });
});

describe.each(
  readVectors('ikev2-multiple-key-exchanges-generated').vectors.map(
    (vector) => [vector.text('id'), vector] as const,
  ),
)('several key exchanges: %s', (_id, vector) => {
  const oldPrf = prfOf(vector.number('old_prf'));
  if (oldPrf === null) throw new Error('no PRF');
  const secrets = vector.list('secrets').map((each) => Buffer.from(String(each), 'hex'));
  const ni = vector.hex('ni');
  const nr = vector.hex('nr');

  it('rekey an IKE SA, also to another PRF', () => {
    const keys = deriveRekeyedIkeKeys(
      oldPrf,
      vector.hex('sk_d'),
      suiteOf(vector.number('new_prf'), CIPHERS.get('ENCR_AES_GCM_16-256') ?? []),
      {
        ni,
        nr,
        spiInitiator: vector.hex('spi_i').readBigUInt64BE(),
        spiResponder: vector.hex('spi_r').readBigUInt64BE(),
        secrets,
      },
    );
    expect(joined(keys)).toBe(vector.text('rekeyed_aes256gcm'));
  });

  it('make a child', () => {
    const input = { ni, nr, secrets, encryptionKeyLen: 32, integrityKeyLen: 32 };
    const child = deriveChildKeys(oldPrf, vector.hex('sk_d'), input);
    const { initiatorToResponder: there, responderToInitiator: back } = child;
    expect(
      [there.encryption, there.integrity, back.encryption, back.integrity].map(hex).join(''),
    ).toBe(vector.text('child_cbc256_sha256'));
  });

  it('are authenticated with the rest (IntAuth)', () => {
    const expected = vector.record('int_auth');
    const bytes = (name: string) =>
      expected.list(name).map((each) => Buffer.from(String(each), 'hex'));
    const associated = bytes('a');
    const plaintext = bytes('p');
    let value: Uint8Array | null = null;
    const steps = bytes('sk_p').map((skP, index) => {
      const a = associated[index] ?? Buffer.alloc(0);
      value = intAuthStep(oldPrf, skP, value, a, plaintext[index] ?? Buffer.alloc(0));
      return hex(value);
    });
    expect(steps).toEqual(expected.list('steps'));
    const [first = '', second = ''] = steps;
    const both = intAuth(Buffer.from(first, 'hex'), Buffer.from(second, 'hex'), 3);
    expect(hex(both)).toBe(`${first}${second}00000003`);
    const octets = signedOctets(oldPrf, {
      message: Buffer.of(1),
      nonce: Buffer.of(2),
      idBody: Buffer.of(3),
      skP: Buffer.alloc(20),
      intAuth: both,
    });
    expect(hex(octets).endsWith(hex(both))).toBe(true);
  });
});

describe('suites', () => {
  const prf: Transform = { type: 'prf', id: 5, keyBits: null };
  const gcm: Transform = { type: 'encryption', id: 20, keyBits: 256 };

  it('are made of a PRF and a cipher', () => {
    const none = (transforms: readonly Transform[]) => ikeSuiteOf({ protocol: 'ike', transforms });
    expect(none([prf])).toBeNull();
    expect(none([gcm])).toBeNull();
    expect(none([gcm, { ...prf, id: 99 }])).toBeNull();
    expect(none([{ ...gcm, id: 99 }, prf])).toBeNull();
    expect(none([gcm, prf])?.prf.id).toBe(5);
  });

  it('are not rekeyed without a secret', () => {
    const suite = suiteOf(5, [gcm]);
    const input = {
      ni: Buffer.alloc(16),
      nr: Buffer.alloc(16),
      spiInitiator: 1n,
      spiResponder: 2n,
    };
    expect(() =>
      deriveRekeyedIkeKeys(suite.prf, Buffer.alloc(32), suite, { ...input, secrets: [] }),
    ).toThrow(RangeError);
  });
});
