import {
  constants,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign as nodeSign,
  verify as nodeVerify,
} from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  type AuthTask,
  computeAuth,
} from '../../../../packages/ipsec-node/src/ike/auth/compute-auth.ts';
import {
  chooseSignature,
  readSignature,
  SUPPORTED_HASHES,
} from '../../../../packages/ipsec-node/src/ike/auth/signature.ts';
import type { KeyKind } from '../../../../packages/ipsec-node/src/ike/crypto/public-key.ts';
import type { ComputeResult } from '../../../../packages/ipsec-node/src/ike/compute.ts';
import { repositoryRoot } from '../../../lab/registry.ts';

const vectors = (name: string) =>
  JSON.parse(readFileSync(`${repositoryRoot}/test/vectors/${name}.json`, 'utf8'));
const ecdsaVectors: {
  auth_method: number;
  curve: string;
  public_xy: string;
  message: string;
  auth_payload_rfc7296: string;
}[] = vectors('ikev2-ecdsa-auth-rfc4754').vectors;
const wycheproof: {
  file: string;
  scheme: string;
  hash: string | null;
  groups: {
    publicKeyDer: string;
    tests: [number, string, string, 'valid' | 'invalid' | 'acceptable'][];
  }[];
}[] = vectors('wycheproof-signatures').files;
const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'));
const octets = bytes('00112233445566778899aabbccddeeff');

const KEYS: Readonly<Record<KeyKind, { publicKey: KeyObject; privateKey: KeyObject }>> = {
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  p256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  p384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  p521: generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  ed25519: generateKeyPairSync('ed25519'),
  ed448: generateKeyPairSync('ed448'),
};
const KINDS = Object.keys(KEYS) as KeyKind[];
const spki = (key: KeyObject): Uint8Array =>
  new Uint8Array(key.export({ format: 'der', type: 'spki' }));

async function signed(privateKey: KeyObject, hashes: readonly number[]): Promise<ComputeResult> {
  return await computeAuth({
    kind: 'sign',
    credential: { privateKey, certificates: [] },
    octets,
    hashes,
  });
}

function verifyTask(
  publicKey: Uint8Array,
  method: number,
  data: Uint8Array,
  message = octets,
): AuthTask {
  return { kind: 'verify', publicKey, octets: message, method, data };
}

describe('the AlgorithmIdentifier of a signature', () => {
  const identifiers: { name: string; der: string }[] = vectors(
    'ikev2-rfc7427-algorithm-identifiers',
  ).vectors;
  const identifier = (name: string): string => {
    const found = identifiers.find((each) => each.name === name);
    if (found === undefined) throw new Error(`${name} is not in RFC 7427 appendix A`);
    return found.der;
  };

  it.each([
    ['rsa', 'sha256WithRSAEncryption', [2], 'pkcs1'],
    ['rsa', 'sha384WithRSAEncryption', [3], 'pkcs1'],
    ['rsa', 'sha512WithRSAEncryption', [4], 'pkcs1'],
    ['p256', 'ecdsa-with-sha256', [1, 2, 3, 4], 'pss'],
    ['p384', 'ecdsa-with-sha384', [1, 2, 3, 4], 'pss'],
    ['p521', 'ecdsa-with-sha512', [1, 2, 3, 4], 'pss'],
    ['p521', 'ecdsa-with-sha256', [2], 'pss'],
  ] as const)('of %s is that of RFC 7427: %s', (key, name, hashes, padding) => {
    const choice = chooseSignature(key, hashes, padding);
    expect(choice.kind).toBe('chosen');
    if (choice.kind !== 'chosen') return;
    expect(choice.method).toBe(14);
    const der = identifier(name);
    expect(Buffer.from(choice.prefix).toString('hex')).toBe(
      (der.length / 2).toString(16).padStart(2, '0') + der,
    );
  });

  it('of Ed25519 and Ed448 is that of RFC 8420 appendix A', () => {
    for (const [key, hex] of [
      ['ed25519', '07300506032b6570'],
      ['ed448', '07300506032b6571'],
    ] as const) {
      const choice = chooseSignature(key, [2, 5]);
      expect(choice.kind === 'chosen' && Buffer.from(choice.prefix).toString('hex')).toBe(hex);
      expect(chooseSignature(key, [2, 3, 4]).kind).toBe('refused');
    }
  });

  it.each([
    'sha1WithRSAEncryption',
    'dsa-with-sha1',
    'dsa-with-sha256',
    'ecdsa-with-sha1',
    'RSASSA-PSS with Empty Parameters',
    'RSASSA-PSS with Default Parameters',
  ])('is refused: %s', (name) => {
    const der = identifier(name);
    const data = bytes(`${(der.length / 2).toString(16).padStart(2, '0')}${der}00`);
    for (const key of KINDS) expect(readSignature(key, 14, data).kind).toBe('refused');
  });

  it('of RSASSA-PSS is the one that OpenSSL writes, without the trailer field', () => {
    // AlgorithmIdentifier of a certificate that OpenSSL 3.0 signed with -sigopt
    // rsa_padding_mode:pss, rsa_pss_saltlen:digest and each of the three hashes. strongSwan sends
    // these, libreswan takes no others.
    for (const [number, hash, salt] of [
      [2, '01', '20'],
      [3, '02', '30'],
      [4, '03', '40'],
    ] as const) {
      const oid = `06096086480165030402${hash}0500`;
      const der =
        `304106092a864886f70d01010a3034a00f300d${oid}` +
        `a11c301a06092a864886f70d010108300d${oid}a2030201${salt}`;
      const choice = chooseSignature('rsa', [number]);
      expect(choice.kind === 'chosen' && Buffer.from(choice.prefix).toString('hex')).toBe(
        `43${der}`,
      );
      expect(readSignature('rsa', 14, bytes(`43${der}00`)).kind).toBe('read');
    }
  });

  it('of RSASSA-PSS is taken as RFC 7427 writes it, with the trailer field', () => {
    const der = identifier('RSASSA-PSS with SHA-256');
    const length = (der.length / 2).toString(16);
    expect(readSignature('rsa', 14, bytes(`${length}${der}00`)).kind).toBe('read');
  });

  it('is refused with any byte changed', () => {
    for (const key of ['rsa', 'p256', 'ed25519'] as const) {
      const choice = chooseSignature(key, SUPPORTED_HASHES);
      if (choice.kind !== 'chosen') throw new Error(choice.reason);
      const data = new Uint8Array([...choice.prefix, 1, 2, 3]);
      expect(readSignature(key, 14, data).kind).toBe('read');
      for (let at = 0; at < choice.prefix.length; at += 1) {
        for (const bit of [1, 0x80]) {
          const changed = new Uint8Array(data);
          changed[at] = (changed[at] ?? 0) ^ bit;
          const reading = readSignature(key, 14, changed);
          // One bit makes another hash of the same family here and there; never the same one.
          if (reading.kind === 'read') {
            expect(reading.schemes).not.toEqual([choice.scheme]);
          }
        }
      }
    }
  });
});

describe('a signature of ours', () => {
  it.each(KINDS)('by %s is one for OpenSSL, and comes back verified', async (kind) => {
    const { publicKey, privateKey } = KEYS[kind];
    const result = await signed(privateKey, SUPPORTED_HASHES);
    if (result.kind !== 'sign') throw new Error('not signed');
    expect(result.method).toBe(14);
    const raw = result.data.subarray(1 + (result.data[0] ?? 0));
    const hash = { rsa: 'sha256', p256: 'sha256', p384: 'sha384', p521: 'sha512' }[kind as 'rsa'];
    const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
    expect(
      nodeVerify(hash ?? null, octets, { key: publicKey, ...(kind === 'rsa' ? pss : {}) }, raw),
    ).toBe(true);
    expect(await computeAuth(verifyTask(spki(publicKey), 14, result.data))).toEqual({
      kind: 'verify',
    });
    const other = await computeAuth(
      verifyTask(spki(publicKey), 14, result.data, new Uint8Array([...octets, 0])),
    );
    expect(other.kind).toBe('refused');
  });

  it('for a peer without RFC 7427 is of methods 1 and 9 to 11', async () => {
    for (const [kind, method] of [
      ['rsa', 1],
      ['p256', 9],
      ['p384', 10],
      ['p521', 11],
    ] as const) {
      const { publicKey, privateKey } = KEYS[kind];
      const result = await signed(privateKey, []);
      expect(result).toMatchObject({ kind: 'sign', method });
      if (result.kind !== 'sign') continue;
      expect(await computeAuth(verifyTask(spki(publicKey), method, result.data))).toEqual({
        kind: 'verify',
      });
    }
    expect(await signed(KEYS.ed25519.privateKey, [])).toMatchObject({
      kind: 'refused',
      reason: expect.stringContaining('SIGNATURE_HASH_ALGORITHMS'),
    });
  });

  it('is refused where no hash is common, and by a key that is too weak', async () => {
    expect(await signed(KEYS.rsa.privateKey, [1])).toMatchObject({
      kind: 'refused',
      reason: 'no hash for our RSA key is among those the peer takes (SHA-1)',
    });
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
    expect(await signed(weak, [2])).toMatchObject({
      kind: 'refused',
      reason: 'our own key is an RSA key of 1024 bits: at least 2048',
    });
  });
});

describe('a signature of the peer', () => {
  it.each(ecdsaVectors)('is that of RFC 4754 section 8, method $auth_method', async (vector) => {
    const half = vector.public_xy.length / 2;
    const part = (hex: string): string => Buffer.from(hex, 'hex').toString('base64url');
    const crv = { secp256r1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }[vector.curve];
    const key = createPublicKey({
      format: 'jwk',
      key: {
        kty: 'EC',
        crv: crv ?? '',
        x: part(vector.public_xy.slice(0, half)),
        y: part(vector.public_xy.slice(half)),
      },
    });
    const payload = bytes(vector.auth_payload_rfc7296);
    expect(payload[4]).toBe(vector.auth_method);
    const data = payload.subarray(8);
    const verify = async (method: number, from: Uint8Array): Promise<string> =>
      (await computeAuth(verifyTask(spki(key), method, from, bytes(vector.message)))).kind;
    expect(await verify(vector.auth_method, data)).toBe('verify');
    for (const method of [0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 255]) {
      if (method !== vector.auth_method) expect(await verify(method, data)).toBe('refused');
    }
    const zero = new Uint8Array(data.length);
    const halves = [
      new Uint8Array([...zero.subarray(0, data.length / 2), ...data.subarray(data.length / 2)]),
      new Uint8Array([...data.subarray(0, data.length / 2), ...zero.subarray(data.length / 2)]),
    ];
    for (const wrong of [
      new Uint8Array(0),
      zero,
      ...halves,
      data.subarray(1),
      data.subarray(0, -1),
      new Uint8Array([...data, 0]),
      new Uint8Array(data.length).fill(255),
    ]) {
      expect(await verify(vector.auth_method, wrong)).toBe('refused');
    }
  });

  it('of method 1 is taken with SHA-2, and not with SHA-1 or MD5', async () => {
    const { publicKey, privateKey } = KEYS.rsa;
    for (const hash of ['sha256', 'sha384', 'sha512']) {
      const data = new Uint8Array(nodeSign(hash, octets, privateKey));
      expect(await computeAuth(verifyTask(spki(publicKey), 1, data))).toEqual({ kind: 'verify' });
    }
    for (const hash of ['sha1', 'md5', 'sha224']) {
      const data = new Uint8Array(nodeSign(hash, octets, privateKey));
      expect((await computeAuth(verifyTask(spki(publicKey), 1, data))).kind).toBe('refused');
    }
  });

  it('by another PSS salt or MGF1 than its name says is refused', async () => {
    const { publicKey, privateKey } = KEYS.rsa;
    const choice = chooseSignature('rsa', [2]);
    if (choice.kind !== 'chosen') throw new Error(choice.reason);
    for (const saltLength of [0, 20, 31, 33, 64, 222]) {
      const raw = nodeSign('sha256', octets, {
        key: privateKey,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength,
      });
      const data = new Uint8Array([...choice.prefix, ...raw]);
      expect((await computeAuth(verifyTask(spki(publicKey), 14, data))).kind).toBe('refused');
    }
    const pkcs1 = nodeSign('sha256', octets, privateKey);
    const data = new Uint8Array([...choice.prefix, ...pkcs1]);
    expect((await computeAuth(verifyTask(spki(publicKey), 14, data))).kind).toBe('refused');
  });

  it('by a key that is not taken is refused by name', async () => {
    const keys: readonly (readonly [KeyObject, string])[] = [
      [generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey, 'an RSA key of 1024 bits'],
      [
        generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 }).publicKey,
        'the public exponent 3',
      ],
      [
        generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey,
        'another curve than P-256',
      ],
      [
        generateKeyPairSync('dsa', { modulusLength: 2048, divisorLength: 256 }).publicKey,
        '1.2.840.10040.4.1',
      ],
      [generateKeyPairSync('x25519').publicKey, '1.3.101.110'],
    ];
    for (const [key, reason] of keys) {
      expect(await computeAuth(verifyTask(spki(key), 14, octets))).toMatchObject({
        kind: 'refused',
        reason: expect.stringContaining(reason),
      });
    }
    for (const garbage of ['', '00', '3000', '30820000']) {
      expect((await computeAuth(verifyTask(bytes(garbage), 14, octets))).kind).toBe('refused');
    }
  });

  it('by a degenerate RSA or EC key is refused', async () => {
    const rsa = (n: bigint, e: bigint): Uint8Array => {
      const hex = (value: bigint): string => {
        const text = value.toString(16);
        return text.length % 2 === 0 ? text : `0${text}`;
      };
      const text = (value: bigint): string => Buffer.from(hex(value), 'hex').toString('base64url');
      try {
        return spki(
          createPublicKey({ format: 'jwk', key: { kty: 'RSA', n: text(n), e: text(e) } }),
        );
      } catch {
        return new Uint8Array(0);
      }
    };
    const n = (1n << 2047n) + 1n;
    for (const key of [
      rsa(n, 0n),
      rsa(n, 1n),
      rsa(n, 65_536n),
      rsa(0n, 65_537n),
      rsa(n - 1n, 65_537n),
    ]) {
      for (const data of [new Uint8Array(256), new Uint8Array(256).fill(1)]) {
        for (const method of [1, 14]) {
          expect((await computeAuth(verifyTask(key, method, data))).kind).toBe('refused');
        }
      }
    }
    // A P-256 key whose point is that at infinity (one zero byte), and one off the curve.
    const algorithm = '301306072a8648ce3d020106082a8648ce3d030107';
    for (const point of ['03020000', `03420004${'01'.repeat(64)}`]) {
      const body = algorithm + point;
      const key = bytes(`30${(body.length / 2).toString(16).padStart(2, '0')}${body}`);
      expect((await computeAuth(verifyTask(key, 9, new Uint8Array(64).fill(1)))).kind).toBe(
        'refused',
      );
    }
  });
});

describe('Wycheproof', () => {
  const prefixes: Readonly<Record<string, string>> = {
    'rsa-pkcs1 sha256': '0f300d06092a864886f70d01010b0500',
    'rsa-pkcs1 sha384': '0f300d06092a864886f70d01010c0500',
    'ecdsa-der sha256': '0c300a06082a8648ce3d040302',
    'ecdsa-der sha384': '0c300a06082a8648ce3d040303',
    'ecdsa-der sha512': '0c300a06082a8648ce3d040304',
    'eddsa null': '07300506032b6570',
    'rsa-pss sha256':
      '43304106092a864886f70d01010a3034a00f300d06096086480165030402010500' +
      'a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120',
    'rsa-pss sha384':
      '43304106092a864886f70d01010a3034a00f300d06096086480165030402020500' +
      'a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130',
  };
  const oldMethods: Readonly<Record<string, number>> = { sha256: 9, sha384: 10, sha512: 11 };

  it.each(wycheproof)('$file', async (file) => {
    const isOld = file.scheme === 'ecdsa-fixed';
    const method = isOld ? (oldMethods[file.hash ?? ''] ?? 0) : 14;
    const prefix = isOld ? '' : prefixes[`${file.scheme} ${file.hash}`];
    if (prefix === undefined) throw new Error(`${file.scheme} ${file.hash}`);
    const wrong: string[] = [];
    let count = 0;
    for (const { publicKeyDer, tests } of file.groups) {
      const key = createPublicKey({
        key: Buffer.from(publicKeyDer, 'hex'),
        format: 'der',
        type: 'spki',
      });
      const exponent = key.asymmetricKeyDetails?.publicExponent;
      for (const [id, message, signature, result] of tests) {
        // "Acceptable" is a DigestInfo without its NULL: the re-encoded block is another.
        // Keys with another exponent than the usual one are refused, whatever they signed.
        const isTaken = result === 'valid' && (exponent ?? 65_537n) === 65_537n;
        const expected = isTaken ? 'verify' : 'refused';
        const data = bytes(prefix + signature);
        const task = verifyTask(bytes(publicKeyDer), method, data, bytes(message));
        const actual = await computeAuth(task);
        count += 1;
        if (actual.kind !== expected) wrong.push(`${id}: ${result}, ${actual.kind}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(count).toBeGreaterThan(100);
  });
});
