/**
 * Protection of the Encrypted payload (RFC 7296 section 3.14), also of its fragments:
 *
 *     head                     | IV | ciphertext of payloads, padding, pad length | ICV
 *     associated data, in clear
 *
 * Bytes alone: counting of IVs and of messages is the caller's.
 */
import {
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  createHmac,
  timingSafeEqual,
} from 'node:crypto';
import type { Transform } from '../../sad/transform.js';
import { aesCmac, aesXcbc } from './native.js';

/** The keys of one direction: SK_e and SK_a. */
export interface SkKeys {
  /** With the salt at its end where the cipher has one. */
  readonly encryption: Uint8Array;
  /** Empty for an AEAD. */
  readonly integrity: Uint8Array;
}

export interface SkCipher {
  /** Key material for encryption, salt included. */
  readonly keyLen: number;
  readonly integrityKeyLen: number;
  readonly ivLen: number;
  readonly icvLen: number;
  /** The padded plaintext is a multiple of this. */
  readonly blockLen: number;
  /** True: each IV is random; false: it is a counter, never used twice with one key. */
  readonly needsRandomIv: boolean;
  /**
   * IV, ciphertext and ICV.
   *
   * @param head From the IKE header to the Encrypted payload's own header, lengths final.
   * @param plaintext Padded by {@link padSk}.
   */
  seal(keys: SkKeys, iv: Uint8Array, head: Uint8Array, plaintext: Uint8Array): Uint8Array;
  /** The padded plaintext; null where the ICV or a length is wrong. */
  open(keys: SkKeys, head: Uint8Array, body: Uint8Array): Uint8Array | null;
}

interface Integrity {
  readonly keyLen: number;
  readonly icvLen: number;
  mac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array;
}

const SALT_LEN = 4;
const AEAD_IV_LEN = 8;
const AEAD_ICV_LEN = 16;
const AES_BLOCK_LEN = 16;

function hmacIntegrity(hash: string, keyLen: number, icvLen: number): Integrity {
  return {
    keyLen,
    icvLen,
    mac(key, ...parts) {
      const hmac = createHmac(hash, key);
      for (const part of parts) hmac.update(part);
      return hmac.digest().subarray(0, icvLen);
    },
  };
}

function aesIntegrity(mac: (key: Uint8Array, data: Uint8Array) => Uint8Array): Integrity {
  return {
    keyLen: 16,
    icvLen: 12,
    mac: (key, ...parts) => mac(key, Buffer.concat(parts)).subarray(0, 12),
  };
}

/** By IANA number (transform type 3). */
const INTEGRITIES: ReadonlyMap<number, Integrity> = new Map([
  // RFC 2404.
  [2, hmacIntegrity('sha1', 20, 12)],
  // RFC 3566.
  [5, aesIntegrity(aesXcbc)],
  // RFC 4494.
  [8, aesIntegrity(aesCmac)],
  // RFC 4868.
  [12, hmacIntegrity('sha256', 32, 16)],
  [13, hmacIntegrity('sha384', 48, 24)],
  [14, hmacIntegrity('sha512', 64, 32)],
]);

const ENCR_AES_CBC = 12;
const ENCR_AES_GCM_16 = 20;
const ENCR_CHACHA20_POLY1305 = 28;

const GCM_NAMES: ReadonlyMap<number | null, CipherGCMTypes> = new Map([
  [128, 'aes-128-gcm'],
  [256, 'aes-256-gcm'],
]);
const CBC_KEY_BITS: ReadonlySet<number | null> = new Set([128, 192, 256]);

/**
 * The cipher of agreed transforms; null where this version does not have it, where an AEAD comes
 * with an integrity transform, or another cipher without one.
 */
export function skCipherOf(encryption: Transform, integrity: Transform | null): SkCipher | null {
  const { id, keyBits } = encryption;
  // RFC 7296 section 3.3.3: an AEAD goes with no integrity transform, or with NONE.
  const withoutIntegrity = integrity === null || integrity.id === 0;
  if (id === ENCR_AES_GCM_16) {
    const name = GCM_NAMES.get(keyBits);
    if (name === undefined || keyBits === null || !withoutIntegrity) return null;
    return aeadCipher(name, keyBits / 8);
  }
  if (id === ENCR_CHACHA20_POLY1305) {
    return keyBits === null && withoutIntegrity ? aeadCipher('chacha20-poly1305', 32) : null;
  }
  if (id === ENCR_AES_CBC) {
    const mac = integrity === null ? undefined : INTEGRITIES.get(integrity.id);
    if (!CBC_KEY_BITS.has(keyBits) || keyBits === null || mac === undefined) return null;
    return cbcCipher(keyBits, mac);
  }
  return null;
}

/** AES-GCM (RFC 5282) and ChaCha20-Poly1305 (RFC 7634): nonce = salt | IV. */
function aeadCipher(name: CipherGCMTypes | 'chacha20-poly1305', cipherKeyLen: number): SkCipher {
  const parameters = { authTagLength: AEAD_ICV_LEN };
  const split = (encryption: Uint8Array, iv: Uint8Array) => ({
    key: encryption.subarray(0, cipherKeyLen),
    nonce: Buffer.concat([encryption.subarray(cipherKeyLen), iv]),
  });
  // The names of node's overloads differ in type alone.
  const sealing = (key: Uint8Array, nonce: Uint8Array) =>
    name === 'chacha20-poly1305'
      ? createCipheriv(name, key, nonce, parameters)
      : createCipheriv(name, key, nonce, parameters);
  const opening = (key: Uint8Array, nonce: Uint8Array) =>
    name === 'chacha20-poly1305'
      ? createDecipheriv(name, key, nonce, parameters)
      : createDecipheriv(name, key, nonce, parameters);
  return {
    keyLen: cipherKeyLen + SALT_LEN,
    integrityKeyLen: 0,
    ivLen: AEAD_IV_LEN,
    icvLen: AEAD_ICV_LEN,
    // RFC 5282 section 3: no alignment is asked for.
    blockLen: 1,
    needsRandomIv: false,
    seal(keys, iv, head, plaintext) {
      const { key, nonce } = split(keys.encryption, iv);
      const cipher = sealing(key, nonce);
      cipher.setAAD(head, { plaintextLength: plaintext.length });
      const ciphertext = cipher.update(plaintext);
      return Buffer.concat([iv, ciphertext, cipher.final(), cipher.getAuthTag()]);
    },
    open(keys, head, body) {
      const ciphertextLen = body.length - AEAD_IV_LEN - AEAD_ICV_LEN;
      if (ciphertextLen < 1) return null;
      const { key, nonce } = split(keys.encryption, body.subarray(0, AEAD_IV_LEN));
      const cipher = opening(key, nonce);
      cipher.setAAD(head, { plaintextLength: ciphertextLen });
      cipher.setAuthTag(body.subarray(body.length - AEAD_ICV_LEN));
      const plaintext = cipher.update(body.subarray(AEAD_IV_LEN, AEAD_IV_LEN + ciphertextLen));
      try {
        cipher.final();
        return plaintext;
      } catch {
        plaintext.fill(0);
        return null;
      }
    },
  };
}

/** AES-CBC, then a MAC over everything before it (RFC 7296 section 3.14). */
function cbcCipher(keyBits: number, integrity: Integrity): SkCipher {
  const name = `aes-${keyBits}-cbc`;
  return {
    keyLen: keyBits / 8,
    integrityKeyLen: integrity.keyLen,
    ivLen: AES_BLOCK_LEN,
    icvLen: integrity.icvLen,
    blockLen: AES_BLOCK_LEN,
    needsRandomIv: true,
    seal(keys, iv, head, plaintext) {
      const cipher = createCipheriv(name, keys.encryption, iv).setAutoPadding(false);
      const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
      const icv = integrity.mac(keys.integrity, head, iv, ciphertext);
      return Buffer.concat([iv, ciphertext, icv]);
    },
    open(keys, head, body) {
      const icvAt = body.length - integrity.icvLen;
      const ciphertextLen = icvAt - AES_BLOCK_LEN;
      if (ciphertextLen < AES_BLOCK_LEN || ciphertextLen % AES_BLOCK_LEN !== 0) return null;
      const icv = integrity.mac(keys.integrity, head, body.subarray(0, icvAt));
      if (!timingSafeEqual(icv, body.subarray(icvAt))) return null;
      const iv = body.subarray(0, AES_BLOCK_LEN);
      const cipher = createDecipheriv(name, keys.encryption, iv).setAutoPadding(false);
      return Buffer.concat([cipher.update(body.subarray(AES_BLOCK_LEN, icvAt)), cipher.final()]);
    },
  };
}

/** Adds padding, as little as will do, and the Pad Length octet (RFC 7296 section 3.14). */
export function padSk(plaintext: Uint8Array, blockLen: number): Uint8Array {
  const padLen = blockLen - 1 - (plaintext.length % blockLen);
  const padded = new Uint8Array(plaintext.length + padLen + 1);
  padded.set(plaintext);
  padded[padded.length - 1] = padLen;
  return padded;
}

/** Takes padding of any length and content off; null where it is longer than what there is. */
export function unpadSk(padded: Uint8Array): Uint8Array | null {
  const padLen = padded.at(-1);
  if (padLen === undefined || padLen >= padded.length) return null;
  return padded.subarray(0, padded.length - 1 - padLen);
}
