/**
 * The pseudorandom functions of IKE (RFC 7296 sections 2.13 and 3.3.2) and prf+.
 */
import { createHmac } from 'node:crypto';
import { aesCmac, aesXcbc } from './native.js';

/** A PRF; it accepts keys of any length. */
export interface Prf {
  /** IANA number (transform type 2). */
  readonly id: number;
  readonly outputLen: number;
  /** The preferred length: that of SK_d, SK_pi and SK_pr. */
  readonly keyLen: number;
  /** The PRF over the parts, one after the other. The result is the caller's. */
  compute(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array;
}

const AES_KEY_LEN = 16;

function hmacPrf(id: number, hash: string, outputLen: number): Prf {
  return {
    id,
    outputLen,
    // RFC 7296 section 2.13: for HMAC, the output of the hash function.
    keyLen: outputLen,
    compute(key, ...parts) {
      const mac = createHmac(hash, key);
      for (const part of parts) mac.update(part);
      return mac.digest();
    },
  };
}

function aesPrf(
  id: number,
  mac: (key: Uint8Array, data: Uint8Array) => Uint8Array,
  fixedKey: (key: Uint8Array) => Uint8Array,
): Prf {
  return {
    id,
    outputLen: 16,
    keyLen: AES_KEY_LEN,
    compute(key, ...parts) {
      const data = Buffer.concat(parts);
      const used = key.length === AES_KEY_LEN ? key : fixedKey(key);
      const output = mac(used, data);
      data.fill(0);
      if (used !== key) used.fill(0);
      return output;
    },
  };
}

const ZERO_KEY: Uint8Array = new Uint8Array(AES_KEY_LEN);

const PRFS: readonly Prf[] = [
  hmacPrf(2, 'sha1', 20),
  aesPrf(4, aesXcbc, (key) => {
    // RFC 4434 section 2: a short key is padded with zeros, a long one goes through the PRF with
    // the key zero.
    if (key.length > AES_KEY_LEN) return aesXcbc(ZERO_KEY, key);
    const padded = new Uint8Array(AES_KEY_LEN);
    padded.set(key);
    return padded;
  }),
  hmacPrf(5, 'sha256', 32),
  hmacPrf(6, 'sha384', 48),
  hmacPrf(7, 'sha512', 64),
  // RFC 4615 section 3: every other length goes through AES-CMAC with the key zero.
  aesPrf(8, aesCmac, (key) => aesCmac(ZERO_KEY, key)),
];

/** The PRF of an IANA number; null for one that this version does not have. */
export function prfOf(id: number): Prf | null {
  return PRFS.find((prf) => prf.id === id) ?? null;
}

/**
 * The first `length` bytes of prf+(key, seed) (RFC 7296 section 2.13).
 *
 * @throws RangeError past 255 times the PRF's output, where prf+ is not defined.
 */
export function prfPlus(prf: Prf, key: Uint8Array, seed: Uint8Array, length: number): Uint8Array {
  const count = Math.ceil(length / prf.outputLen);
  if (count > 255) throw new RangeError('prf+ is not defined beyond 255 outputs of the PRF.');
  const output = new Uint8Array(length);
  let last: Uint8Array = new Uint8Array(0);
  for (let index = 0; index < count; index += 1) {
    const next = prf.compute(key, last, seed, Uint8Array.of(index + 1));
    last.fill(0);
    last = next;
    const at = index * prf.outputLen;
    output.set(last.subarray(0, length - at), at);
  }
  last.fill(0);
  return output;
}
