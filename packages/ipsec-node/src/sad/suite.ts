import { type Transform, transformInfo } from './transform.js';

/** AES-GCM (RFC 4106) and ChaCha20-Poly1305 (RFC 7634): cipher, ICV and nonce layout together. */
export type AeadSuiteName = 'aes128gcm16' | 'aes256gcm16' | 'chacha20poly1305';
/** AES-CBC (RFC 3602), then HMAC over what was encrypted (RFC 4868; SHA-1: RFC 2404). */
export type CbcSuiteName =
  `${'aes128' | 'aes192' | 'aes256'}-${'sha1' | 'sha256' | 'sha384' | 'sha512'}`;
/** An ESP suite, named as strongSwan names its proposal. */
export type SuiteName = AeadSuiteName | CbcSuiteName;

/** The sizes of a suite, all in bytes. */
export interface Suite {
  readonly name: SuiteName;
  readonly cipherKeyLen: number;
  /** Follows the cipher key in the keying material; never sent. 0 where there is none. */
  readonly saltLen: number;
  /** Comes last in the keying material; 0 for an AEAD. */
  readonly integrityKeyLen: number;
  readonly ivLen: number;
  readonly icvLen: number;
  /** What the payload with its trailer is a multiple of. */
  readonly alignment: number;
  /** True where one nonce used twice under one key gives the plaintext and the ICV key away. */
  readonly counterMode: boolean;
  /** True where RFC 8221 section 6 advises against it. */
  readonly legacy: boolean;
  /** What fixes these numbers. */
  readonly authority: string;
}

// RFC 4106 section 8.1: the AES key followed by a 4-octet salt; RFC 7634 section 2: the same of a
// 256-bit key. Both: an IV of 8 octets, the whole ICV, and RFC 4303 section 2.4's alignment.
const aead = (name: AeadSuiteName, cipherKeyLen: number, authority: string): Suite => ({
  name,
  cipherKeyLen,
  saltLen: 4,
  integrityKeyLen: 0,
  ivLen: 8,
  icvLen: 16,
  alignment: 4,
  counterMode: true,
  legacy: false,
  authority,
});

// RFC 4868 section 2.1.1 and 2.3, RFC 2404 section 2 and 3.
const HASHES = {
  sha1: { integrityKeyLen: 20, icvLen: 12, legacy: true },
  sha256: { integrityKeyLen: 32, icvLen: 16, legacy: false },
  sha384: { integrityKeyLen: 48, icvLen: 24, legacy: false },
  sha512: { integrityKeyLen: 64, icvLen: 32, legacy: false },
} as const;

// RFC 3602 section 2.4 and 3: blocks of 16 octets, and an IV of one.
const cbc = (bits: 128 | 192 | 256, hash: keyof typeof HASHES): Suite => ({
  name: `aes${bits}-${hash}`,
  cipherKeyLen: bits / 8,
  saltLen: 0,
  ivLen: 16,
  alignment: 16,
  counterMode: false,
  authority: hash === 'sha1' ? 'RFC 3602 and RFC 2404' : 'RFC 3602 and RFC 4868',
  ...HASHES[hash],
});

/** The suites of this version. */
export const SUITES: Readonly<Record<SuiteName, Suite>> = {
  aes256gcm16: aead('aes256gcm16', 32, 'RFC 4106 section 8.1'),
  aes128gcm16: aead('aes128gcm16', 16, 'RFC 4106 section 8.1'),
  chacha20poly1305: aead('chacha20poly1305', 32, 'RFC 7634 section 2'),
  'aes256-sha256': cbc(256, 'sha256'),
  'aes256-sha384': cbc(256, 'sha384'),
  'aes256-sha512': cbc(256, 'sha512'),
  'aes192-sha256': cbc(192, 'sha256'),
  'aes192-sha384': cbc(192, 'sha384'),
  'aes192-sha512': cbc(192, 'sha512'),
  'aes128-sha256': cbc(128, 'sha256'),
  'aes128-sha384': cbc(128, 'sha384'),
  'aes128-sha512': cbc(128, 'sha512'),
  'aes256-sha1': cbc(256, 'sha1'),
  'aes192-sha1': cbc(192, 'sha1'),
  'aes128-sha1': cbc(128, 'sha1'),
};

/** The names of the AEAD suites, strongest AES first. */
export const AEAD_SUITE_NAMES: readonly AeadSuiteName[] = [
  'aes256gcm16',
  'aes128gcm16',
  'chacha20poly1305',
];

/** The names of all suites of this version: the AEADs first, the legacy ones last. */
export const SUITE_NAMES: readonly SuiteName[] = Object.values(SUITES).map(({ name }) => name);

/** Bytes of a suite's encryption key, with the salt of an AEAD: where keying material begins. */
export function encryptionKeyLen(suite: SuiteName): number {
  return SUITES[suite].cipherKeyLen + SUITES[suite].saltLen;
}

/** Bytes of a suite's integrity key, which follows the encryption key; 0 for an AEAD. */
export function integrityKeyLen(suite: SuiteName): number {
  return SUITES[suite].integrityKeyLen;
}

/**
 * Returns the length in bytes of a suite's keying material for one direction: encryption key, then
 * integrity key (RFC 7296 section 2.17).
 */
export function keyMaterialLen(suite: SuiteName): number {
  return encryptionKeyLen(suite) + integrityKeyLen(suite);
}

/** Says in words what a suite's keying material is made of. */
export function keyMaterialParts(suite: SuiteName): string {
  const { cipherKeyLen, saltLen, integrityKeyLen: integrity } = SUITES[suite];
  const second = saltLen > 0 ? `${saltLen} of salt` : `${integrity} of integrity key`;
  return `${cipherKeyLen} of cipher key, then ${second}`;
}

/**
 * The suite that negotiated transforms make; null for a pair that no suite of this version is. An
 * AEAD has no integrity transform (RFC 7296 section 3.3.3).
 */
export function suiteOfTransforms(
  encryption: Transform,
  integrity: Transform | null,
): SuiteName | null {
  const cipher = transformInfo(encryption);
  const hash = integrity === null ? null : transformInfo(integrity);
  if (cipher?.type !== 'encryption') return null;
  if (integrity !== null && hash?.type !== 'integrity') return null;
  if (cipher.aead !== (hash === null)) return null;
  const name = hash === null ? cipher.keyword : `${cipher.keyword}-${hash.keyword}`;
  return SUITE_NAMES.find((suite) => suite === name) ?? null;
}
