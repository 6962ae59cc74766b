/**
 * Known-answer tests of every algorithm that can be negotiated, for the start of a daemon: an
 * OpenSSL that was built without one, or an addon for another machine, shows before a peer does.
 */
import { createHash, createPrivateKey, type KeyObject } from 'node:crypto';
import { TRANSFORMS, type Transform, type TransformInfo } from '../../sad/transform.js';
import { computeKeyExchange, keyExchangeInfo } from './key-exchange.js';
import {
  CURVE_ANSWERS,
  type CurveAnswer,
  KEM_ANSWERS,
  type KemAnswer,
  MODP_ANSWERS,
  PRF_ANSWERS,
  SK_ANSWERS,
  SK_HEAD_LEN,
  SK_KEY_START,
  SK_PADDED,
  type SkAnswer,
} from './known-answers.js';
import { mlKemEncapsulate, mlKemEncapsulationKey } from './native.js';
import { prfOf } from './prf.js';
import { skCipherOf } from './sk-cipher.js';

const bytes = (text: string): Buffer => Buffer.from(text, 'hex');
const isHex = (value: Uint8Array | null, text: string): boolean =>
  value !== null && Buffer.from(value).toString('hex') === text;
const isSha256 = (value: Uint8Array | null, text: string): boolean =>
  value !== null && createHash('sha256').update(value).digest('hex') === text;
/** start, start + 1, ... */
const counting = (start: number, length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => start + index);

/**
 * Runs all of them: about 0.2 s. Resolves with the keywords of the algorithms that failed, or that
 * have no known answer; empty where all is well. Never rejects.
 */
export async function selfTest(): Promise<readonly string[]> {
  const failed: string[] = [];
  for (const info of TRANSFORMS) {
    const isGood = await passes(info).catch(() => false);
    if (!isGood) failed.push(info.keyword);
  }
  return failed;
}

async function passes(info: TransformInfo): Promise<boolean> {
  switch (info.type) {
    case 'prf':
      return prfPasses(info.id);
    case 'encryption':
    case 'integrity': {
      const answer = SK_ANSWERS.find((each) =>
        info.type === 'encryption'
          ? each.encryption === info.id && each.keyBits === info.keyBits
          : each.integrity === info.id,
      );
      return answer !== undefined && skPasses(answer);
    }
    case 'key-exchange':
      return keyExchangePasses(info.id);
  }
}

function prfPasses(id: number): boolean {
  const answer = PRF_ANSWERS.get(id);
  const prf = prfOf(id);
  if (answer === undefined || prf === null) return false;
  const [key, data, out] = answer;
  return isHex(prf.compute(bytes(key), bytes(data)), out);
}

function skPasses({ encryption, keyBits, integrity, body }: SkAnswer): boolean {
  const mac: Transform | null =
    integrity === null ? null : { type: 'integrity', id: integrity, keyBits: null };
  const cipher = skCipherOf({ type: 'encryption', id: encryption, keyBits }, mac);
  if (cipher === null) return false;
  const keys = {
    encryption: counting(SK_KEY_START, cipher.keyLen),
    integrity: counting(SK_KEY_START, cipher.integrityKeyLen),
  };
  const head = counting(0, SK_HEAD_LEN);
  const sealed = cipher.seal(keys, counting(0, cipher.ivLen), head, bytes(SK_PADDED));
  const altered = bytes(body);
  altered.writeUInt8(altered.readUInt8(altered.length - 1) ^ 1, altered.length - 1);
  return (
    isHex(sealed, body) &&
    isHex(cipher.open(keys, head, bytes(body)), SK_PADDED) &&
    cipher.open(keys, head, altered) === null
  );
}

async function keyExchangePasses(method: number): Promise<boolean> {
  const modp = MODP_ANSWERS.get(method);
  if (modp !== undefined) {
    const peerValue = Buffer.alloc(keyExchangeInfo(method)?.responderLen ?? 0);
    peerValue.writeUInt8(3, peerValue.length - 1);
    return isSha256(await secretOf(method, counting(1, 32), peerValue), modp);
  }
  const curve = CURVE_ANSWERS.find((each) => each.method === method);
  if (curve !== undefined) {
    return isHex(await secretOf(method, keyOf(curve), bytes(curve.peer)), curve.secret);
  }
  const kem = KEM_ANSWERS.find((each) => each.method === method);
  return kem !== undefined && kemPasses(kem);
}

async function kemPasses({ method, bits, ...answer }: KemAnswer): Promise<boolean> {
  const key = mlKemEncapsulationKey(bits, counting(0, 64));
  if (key === null || !isSha256(key, answer.key)) return false;
  const sealed = mlKemEncapsulate(bits, key, counting(0, 32));
  if (sealed === null || !isHex(sealed.secret, answer.secret)) return false;
  const secret = await secretOf(method, counting(0, 64), sealed.ciphertext);
  return isSha256(sealed.ciphertext, answer.ciphertext) && isHex(secret, answer.secret);
}

async function secretOf(
  method: number,
  privateValue: KeyObject | Uint8Array,
  peerValue: Uint8Array,
): Promise<Uint8Array | null> {
  const result = await computeKeyExchange({ kind: 'agree', method, privateValue, peerValue });
  return result.kind === 'agree' ? result.secret : null;
}

function keyOf({ curve, d, x, y }: CurveAnswer): KeyObject {
  const text = (hex: string): string => bytes(hex).toString('base64url');
  const shared = { crv: curve, d: text(d), x: text(x) };
  const key = y === null ? { kty: 'OKP', ...shared } : { kty: 'EC', ...shared, y: text(y) };
  return createPrivateKey({ key, format: 'jwk' });
}
