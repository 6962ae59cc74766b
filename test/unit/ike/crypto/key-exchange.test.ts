import { getDiffieHellman } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  checkPublicValue,
  computeKeyExchange,
  keyExchangeInfo,
} from '../../../../packages/ipsec-node/src/ike/crypto/key-exchange.js';
import { KEM_IDS, TRANSFORMS } from '../../../../packages/ipsec-node/src/sad/transform.js';
import { readVectors, type VectorRecord } from '../../../oracle/vector-file.js';
import { ecpKey, hex, montgomeryKey, outcome } from './key-exchange-fixture.js';

const METHODS: readonly number[] = TRANSFORMS.filter((row) => row.type === 'key-exchange').map(
  (row) => row.id,
);
const MODP: ReadonlyMap<number, string> = new Map([
  [2, 'modp2'],
  [5, 'modp5'],
  [14, 'modp14'],
  [15, 'modp15'],
  [16, 'modp16'],
  [17, 'modp17'],
  [18, 'modp18'],
]);
const isEcp = (method: number): boolean => method >= 19 && method <= 21;
const isMontgomery = (method: number): boolean => method === 31 || method === 32;

describe('MODP groups', () => {
  const { vectors } = readVectors('ikev2-modp-groups');

  it.each(vectors.map((vector) => [vector.text('id'), vector] as const))(
    '%s: prime and secrets are those of RFC 3526',
    async (_id, vector) => {
      const method = vector.number('dh_group');
      expect(hex(getDiffieHellman(MODP.get(method) ?? '').getPrime())).toBe(vector.text('prime'));
      for (const [own, other] of [
        ['i', 'r'],
        ['r', 'i'],
      ]) {
        const privateValue = vector.hex(`${own}_private`);
        const result = await computeKeyExchange({
          kind: 'agree',
          method,
          privateValue,
          peerValue: vector.hex(`${other}_public`),
        });
        expect(outcome(result)).toBe(vector.text('shared_secret'));
        expect(privateValue.every((octet) => octet === 0)).toBe(true);
      }
    },
  );

  it('keep the zeros in front of a secret', async () => {
    // 2^1 mod p: a secret of one octet, as long as the modulus all the same.
    const peerValue = Buffer.alloc(256);
    peerValue.writeUInt8(2, 255);
    const privateValue = Buffer.of(1);
    const result = await computeKeyExchange({ kind: 'agree', method: 14, privateValue, peerValue });
    expect(outcome(result)).toBe(hex(peerValue));
  });

  it('take 2 to p - 2 and nothing else', async () => {
    for (const [method, group] of MODP) {
      const prime = BigInt(`0x${getDiffieHellman(group).getPrime('hex')}`);
      const length = keyExchangeInfo(method)?.publicLen ?? 0;
      const value = (integer: bigint) =>
        Buffer.from(integer.toString(16).padStart(2 * length, '0'), 'hex');
      const allOnes = Buffer.alloc(length, 0xff);
      for (const bad of [
        value(0n),
        value(1n),
        value(prime - 1n),
        value(prime),
        value(prime + 1n),
        allOnes,
      ]) {
        expect(checkPublicValue(method, bad, 'initiator')).not.toBeNull();
        const result = await computeKeyExchange({ kind: 'respond', method, peerValue: bad });
        expect(outcome(result)).toMatch(/^refused: /);
      }
      for (const good of [2n, prime - 2n]) {
        expect(checkPublicValue(method, value(good), 'responder')).toBeNull();
      }
    }
  });
});

describe('elliptic curves', () => {
  const { vectors } = readVectors('ikev2-key-agreement-ec');

  it('give the secrets of RFC 5903, and the KE payloads carry x and y', async () => {
    const ecp = vectors.filter((vector) => vector.has('ke_i_payload'));
    expect(ecp.map((vector) => vector.number('dh_group'))).toEqual([19, 20, 21]);
    for (const vector of ecp) {
      const method = vector.number('dh_group');
      for (const [own, other] of [
        ['i', 'r'],
        ['r', 'i'],
      ]) {
        // RFC 7296 section 3.4: generic header, method, two reserved octets, the value.
        const peerValue = vector.hex(`ke_${other}_payload`).subarray(8);
        const result = await computeKeyExchange({
          kind: 'agree',
          method,
          privateValue: ecpKey(method, vector.hex(`${own}_private`)),
          peerValue,
        });
        expect(outcome(result), vector.text('id')).toBe(vector.text('shared_secret_x'));
      }
    }
  });

  it('give the secrets of RFC 7748 and RFC 8031', async () => {
    let count = 0;
    for (const vector of vectors) {
      const method = vector.number('dh_group');
      if (!isMontgomery(method)) continue;
      const [scalar, peer, expected] = vector.has('scalar')
        ? ['scalar', 'u', 'output']
        : ['i_private', 'r_public', 'shared_secret'];
      if (!vector.has(scalar) || !vector.has(peer) || !vector.has(expected)) continue;
      count += 1;
      const result = await computeKeyExchange({
        kind: 'agree',
        method,
        privateValue: montgomeryKey(method, vector.hex(scalar)),
        peerValue: vector.hex(peer),
      });
      expect(outcome(result), vector.text('id')).toBe(vector.text(expected));
    }
    expect(count).toBeGreaterThanOrEqual(5);
  });

  it('agree with Wycheproof on X25519 and X448; zero secrets are refused', async () => {
    let refused = 0;
    for (const vector of readVectors('wycheproof-xdh').vectors) {
      const method = vector.number('method');
      const result = await computeKeyExchange({
        kind: 'agree',
        method,
        privateValue: montgomeryKey(method, vector.hex('private')),
        peerValue: vector.hex('public'),
      });
      const isZero = vector.list('flags').includes('ZeroSharedSecret');
      const isTaken = vector.text('result') !== 'invalid' && !isZero;
      if (!isTaken) refused += 1;
      expect(outcome(result), vector.text('id')).toMatch(
        isTaken ? new RegExp(`^${vector.text('shared')}$`) : /^refused: /,
      );
    }
    expect(refused).toBeGreaterThan(20);
  });

  it('agree with Wycheproof on the ECP groups; what is not on the curve is refused', async () => {
    const count = { taken: 0, offCurve: 0 };
    for (const vector of readVectors('wycheproof-ecdh').vectors) {
      const method = vector.number('method');
      const point = vector.hex('public');
      // RFC 5903 section 7: x | y, so there is no octet that says how a point is written.
      const isPlain = point.at(0) === 4;
      const result = await computeKeyExchange({
        kind: 'agree',
        method,
        privateValue: ecpKey(method, vector.hex('private')),
        peerValue: isPlain ? point.subarray(1) : point,
      });
      const isTaken = vector.text('result') === 'valid' && isPlain;
      if (isTaken) count.taken += 1;
      else if (isPlain) count.offCurve += 1;
      expect(outcome(result), vector.text('id')).toMatch(
        isTaken ? new RegExp(`^${vector.text('shared')}$`) : /^refused: /,
      );
    }
    expect(count.taken).toBeGreaterThan(90);
    expect(count.offCurve).toBeGreaterThan(15);
  });

  it('take no coordinates at or past the prime, and no zero', async () => {
    // The generator of P-256 (SEC 2 section 2.4.2), and its prime.
    const prime = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
    const x = 0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n;
    const y = 0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n;
    // (5, y5) is on the curve, and 5 + p still fits into 32 octets.
    const y5 = 0x459243b9aa581806fe913bce99817ade11ca503c64d9a3c533415c083248fbccn;
    const coordinate = (integer: bigint) => integer.toString(16).padStart(64, '0');
    const respond = async (...coordinates: readonly bigint[]) =>
      outcome(
        await computeKeyExchange({
          kind: 'respond',
          method: 19,
          peerValue: Buffer.from(coordinates.map(coordinate).join(''), 'hex'),
        }),
      );
    expect(await respond(x, y)).toMatch(/^[0-9a-f]{64}$/);
    expect(await respond(5n, y5)).toMatch(/^[0-9a-f]{64}$/);
    expect(await respond(5n + prime, y5)).toMatch(/^refused: /);
    expect(await respond(x, prime - y)).toMatch(/^[0-9a-f]{64}$/);
    expect(await respond(x, y + 1n)).toMatch(/^refused: /);
    expect(await respond(0n, 0n)).toMatch(/^refused: /);
    expect(await respond(prime, y)).toMatch(/^refused: /);
  });
});

describe.each(METHODS.map((method) => [method]))('method %i', (method) => {
  const isKem = KEM_IDS.has(method);

  it('gives both sides one secret, and never the same twice', async () => {
    const info = keyExchangeInfo(method);
    const secrets = new Set<string>();
    const values = new Set<string>();
    for (const _ of [1, 2]) {
      const initiator = await computeKeyExchange({ kind: 'generate', method });
      if (initiator.kind !== 'generate') throw new Error(outcome(initiator));
      expect(initiator.publicValue.length).toBe(info?.publicLen);
      const peerValue = initiator.publicValue;
      const responder = await computeKeyExchange({ kind: 'respond', method, peerValue });
      if (responder.kind !== 'respond') throw new Error(outcome(responder));
      expect(responder.publicValue.length).toBe(info?.responderLen);
      const result = await computeKeyExchange({
        kind: 'agree',
        method,
        privateValue: initiator.privateValue,
        peerValue: responder.publicValue,
      });
      expect(outcome(result)).toBe(hex(responder.secret));
      secrets.add(outcome(result));
      values.add(hex(initiator.publicValue)).add(hex(responder.publicValue));
    }
    expect(secrets.size).toBe(2);
    expect(values.size).toBe(4);
  });

  it('refuses values that are short, long, empty, zero or all ones', async () => {
    const info = keyExchangeInfo(method);
    expect(info?.kem).toBe(isKem);
    const sides = [
      ['initiator', info?.publicLen ?? 0],
      ['responder', info?.responderLen ?? 0],
    ] as const;
    for (const [from, length] of sides) {
      const pair = await computeKeyExchange({ kind: 'generate', method });
      if (pair.kind !== 'generate') throw new Error(outcome(pair));
      const lengths = [Buffer.alloc(0), Buffer.alloc(length - 1, 3), Buffer.alloc(length + 1, 3)];
      // 2^255 - 1 is a number like another on X25519, and so is any ciphertext of a KEM.
      const numbers = [Buffer.alloc(length), Buffer.alloc(length, 0xff)];
      const taken = isMontgomery(method) ? numbers.slice(1) : [];
      if (isKem) taken.push(...(from === 'responder' ? numbers : numbers.slice(0, 1)));
      for (const peerValue of [...lengths, ...numbers]) {
        const result = await (from === 'initiator'
          ? computeKeyExchange({ kind: 'respond', method, peerValue })
          : computeKeyExchange({
              kind: 'agree',
              method,
              privateValue:
                pair.privateValue instanceof Uint8Array
                  ? new Uint8Array(pair.privateValue)
                  : pair.privateValue,
              peerValue,
            }));
        const where = `${from} ${peerValue.length} ${peerValue.at(0)}`;
        if (taken.includes(peerValue)) expect(outcome(result), where).toMatch(/^[0-9a-f]+$/);
        else expect(outcome(result), where).toMatch(/^refused: /);
        if (lengths.includes(peerValue)) {
          expect(checkPublicValue(method, peerValue, from)).not.toBeNull();
        }
      }
    }
  });

  it('consumes the private value also where the peer is wrong', async () => {
    const pair = await computeKeyExchange({ kind: 'generate', method });
    if (pair.kind !== 'generate') throw new Error(outcome(pair));
    const { privateValue } = pair;
    expect(privateValue instanceof Uint8Array).toBe(!isEcp(method) && !isMontgomery(method));
    const peerValue = Buffer.alloc(1);
    await computeKeyExchange({ kind: 'agree', method, privateValue, peerValue });
    if (privateValue instanceof Uint8Array) {
      expect(privateValue.every((octet) => octet === 0)).toBe(true);
    }
  });
});

describe('ML-KEM', () => {
  const { vectors } = readVectors('wycheproof-mlkem');
  const ofKind = (kind: string): readonly VectorRecord[] =>
    vectors.filter((vector) => vector.text('kind') === kind);

  it('decapsulates as Wycheproof does, altered ciphertexts too', async () => {
    for (const vector of ofKind('decapsulate')) {
      const result = await computeKeyExchange({
        kind: 'agree',
        method: vector.number('method'),
        privateValue: vector.hex('seed'),
        peerValue: vector.hex('c'),
      }).catch((error: unknown) => error);
      if (vector.text('result') === 'valid') {
        expect(result, vector.text('id')).toMatchObject({ kind: 'agree' });
        expect(result, vector.text('id')).toHaveProperty('secret', vector.hex('K'));
      } else expect(result, vector.text('id')).not.toMatchObject({ kind: 'agree' });
    }
  });

  it('refuses encapsulation keys that are not reduced', async () => {
    const bad = ofKind('encapsulate').filter((vector) => vector.text('result') === 'invalid');
    expect(bad.length).toBeGreaterThan(8);
    for (const vector of bad) {
      const result = await computeKeyExchange({
        kind: 'respond',
        method: vector.number('method'),
        peerValue: vector.hex('ek'),
      });
      expect(outcome(result), vector.text('id')).toMatch(/^refused: /);
    }
  });
});

describe('methods that this version does not have', () => {
  it('have no sizes and no secrets', async () => {
    for (const method of [0, 1, 22, 28, 35, 65535]) {
      expect(keyExchangeInfo(method)).toBeNull();
      expect(checkPublicValue(method, Buffer.alloc(32), 'initiator')).not.toBeNull();
      expect(outcome(await computeKeyExchange({ kind: 'generate', method }))).toMatch(/^refused/);
    }
  });
});
