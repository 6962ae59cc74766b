import { type Transform, transformInfo } from './transform.js';

/** A combined-mode ESP suite: cipher, ICV and nonce layout together. */
export type SuiteName = 'aes128gcm16' | 'aes256gcm16' | 'chacha20poly1305';

/** The sizes of a suite, all in bytes. */
export interface Suite {
  readonly name: SuiteName;
  readonly cipherKeyLen: number;
  /** Follows the cipher key in the keying material; never sent. */
  readonly saltLen: number;
  readonly ivLen: number;
  readonly icvLen: number;
  /** True where one nonce used twice under one key gives the plaintext and the ICV key away. */
  readonly counterMode: boolean;
  /** What fixes these numbers. */
  readonly authority: string;
}

/** The suites of this version, strongest AES first. */
export const SUITES: Readonly<Record<SuiteName, Suite>> = {
  // RFC 4106 section 8.1: the keying material is the AES key followed by a 4-octet salt.
  aes256gcm16: {
    name: 'aes256gcm16',
    cipherKeyLen: 32,
    saltLen: 4,
    ivLen: 8,
    icvLen: 16,
    counterMode: true,
    authority: 'RFC 4106 section 8.1',
  },
  aes128gcm16: {
    name: 'aes128gcm16',
    cipherKeyLen: 16,
    saltLen: 4,
    ivLen: 8,
    icvLen: 16,
    counterMode: true,
    authority: 'RFC 4106 section 8.1',
  },
  // RFC 7634 section 2: a 256-bit key followed by a 32-bit salt.
  chacha20poly1305: {
    name: 'chacha20poly1305',
    cipherKeyLen: 32,
    saltLen: 4,
    ivLen: 8,
    icvLen: 16,
    counterMode: true,
    authority: 'RFC 7634 section 2',
  },
};

/** The names of the suites of this version. */
export const SUITE_NAMES: readonly SuiteName[] = ['aes256gcm16', 'aes128gcm16', 'chacha20poly1305'];

/** Returns the length in bytes of a suite's keying material: cipher key and salt. */
export function keyMaterialLen(suite: SuiteName): number {
  return SUITES[suite].cipherKeyLen + SUITES[suite].saltLen;
}

/** The suite that negotiated transforms name; null where this version has none for them. */
export function suiteOfTransforms(
  encryption: Transform,
  integrity: Transform | null,
): SuiteName | null {
  const name = transformInfo(encryption)?.keyword;
  return integrity === null ? (SUITE_NAMES.find((suite) => suite === name) ?? null) : null;
}

/** Bytes of the cipher's part of the keying material (RFC 7296 section 2.17), salt included. */
export function encryptionKeyLen(suite: SuiteName): number {
  return SUITES[suite].cipherKeyLen + SUITES[suite].saltLen;
}

/** Bytes of the integrity algorithm's part; 0 for a combined mode. */
export function integrityKeyLen(suite: SuiteName): number {
  return keyMaterialLen(suite) - encryptionKeyLen(suite);
}
