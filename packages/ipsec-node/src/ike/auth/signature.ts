/**
 * Signatures in AUTH payloads: RFC 7296 method 1, RFC 4754 methods 9 to 11, RFC 7427 method 14.
 *
 *     method 14:  +-----------+----------------------+-----------+
 *                 | length: 1 | AlgorithmIdentifier  | signature |
 *                 +-----------+----------------------+-----------+
 *
 * An AlgorithmIdentifier is never taken apart: it is one of those below, byte for byte, or refused.
 */
import { isSameBytes } from '../../pad/distinguished-name.js';
import type { RsaSignature } from '../../pad/pad-entry.js';
import type { HashName, KeyKind, SignatureScheme } from '../crypto/public-key.js';

/** Hash algorithms of RFC 7427 section 7 and RFC 8420. SHA-1 (1) is neither said nor taken. */
export const HASH_NUMBERS = { sha256: 2, sha384: 3, sha512: 4, identity: 5 } as const;

/** What our SIGNATURE_HASH_ALGORITHMS says. */
export const SUPPORTED_HASHES: readonly number[] = Object.values(HASH_NUMBERS);

/** Authentication methods (RFC 7296 section 3.8). */
export const AUTH_METHODS = {
  rsa: 1,
  sharedKey: 2,
  ecdsaP256: 9,
  ecdsaP384: 10,
  ecdsaP521: 11,
  digitalSignature: 14,
} as const;

interface NamedScheme {
  readonly scheme: SignatureScheme;
  readonly keys: readonly KeyKind[];
  /** Number in SIGNATURE_HASH_ALGORITHMS. */
  readonly hash: number;
  /** AlgorithmIdentifier in DER. The first is the one that is sent. */
  readonly identifiers: readonly Uint8Array[];
}

const HASHES: readonly HashName[] = ['sha256', 'sha384', 'sha512'];

/**
 * RSASSA-PSS with the hash, MGF1 with the same hash, and a salt of its length. RFC 7427 appendix
 * A.4.3 has NULL parameters and the trailer field, which DER leaves out where it is the default: so it
 * is sent, as strongSwan does, and libreswan takes nothing else. RFC 4055 section 2.1 lets the NULL be
 * absent. All other parameters are refused, the empty and the default ones first of all (RFC 8247
 * section 3.2.1).
 */
function pssIdentifiers(hash: HashName): readonly Uint8Array[] {
  const oid = `06096086480165030402${{ sha256: '01', sha384: '02', sha512: '03' }[hash]}`;
  const salt = { sha256: '20', sha384: '30', sha512: '40' }[hash];
  const [pss, mgf1] = ['06092a864886f70d01010a', '06092a864886f70d010108'];
  return [
    `3041${pss}3034a00f300d${oid}0500a11c301a${mgf1}300d${oid}0500a2030201${salt}`,
    `3046${pss}3039a00f300d${oid}0500a11c301a${mgf1}300d${oid}0500a2030201${salt}a303020101`,
    `3042${pss}3035a00d300b${oid}a11a3018${mgf1}300b${oid}a2030201${salt}a303020101`,
    `303d${pss}3030a00d300b${oid}a11a3018${mgf1}300b${oid}a2030201${salt}`,
  ].map(fromHex);
}

/** RFC 7427 appendix A.1; RFC 4055 section 5: the NULL may be absent. */
function pkcs1Identifiers(hash: HashName): readonly Uint8Array[] {
  const oid = `06092a864886f70d0101${{ sha256: '0b', sha384: '0c', sha512: '0d' }[hash]}`;
  return [`300d${oid}0500`, `300b${oid}`].map(fromHex);
}

/** RFC 7427 appendix A.3. */
function ecdsaIdentifiers(hash: HashName): readonly Uint8Array[] {
  return [fromHex(`300a06082a8648ce3d0403${{ sha256: '02', sha384: '03', sha512: '04' }[hash]}`)];
}

/** In the order in which they are preferred, for each kind of key. */
const SCHEMES: readonly NamedScheme[] = [
  ...HASHES.map(
    (hash): NamedScheme => ({
      scheme: { kind: 'rsa-pss', hash },
      keys: ['rsa'],
      hash: HASH_NUMBERS[hash],
      identifiers: pssIdentifiers(hash),
    }),
  ),
  ...HASHES.map(
    (hash): NamedScheme => ({
      scheme: { kind: 'rsa-pkcs1', hash },
      keys: ['rsa'],
      hash: HASH_NUMBERS[hash],
      identifiers: pkcs1Identifiers(hash),
    }),
  ),
  ...HASHES.map(
    (hash): NamedScheme => ({
      scheme: { kind: 'ecdsa', hash, form: 'der' },
      keys: ['p256', 'p384', 'p521'],
      hash: HASH_NUMBERS[hash],
      identifiers: ecdsaIdentifiers(hash),
    }),
  ),
  // RFC 8420 section 3: the identifier has no parameters, the hash is the identity.
  {
    scheme: { kind: 'eddsa' },
    keys: ['ed25519'],
    hash: HASH_NUMBERS.identity,
    identifiers: [fromHex('300506032b6570')],
  },
  {
    scheme: { kind: 'eddsa' },
    keys: ['ed448'],
    hash: HASH_NUMBERS.identity,
    identifiers: [fromHex('300506032b6571')],
  },
];

/** The hash that is as strong as the curve (RFC 4754 section 3). */
const CURVE_HASHES: Readonly<Partial<Record<KeyKind, HashName>>> = {
  p256: 'sha256',
  p384: 'sha384',
  p521: 'sha512',
};

/** How we sign, and how that is said. */
export type SignatureChoice =
  | {
      readonly kind: 'chosen';
      readonly method: number;
      readonly scheme: SignatureScheme;
      /** What stands before the signature in the AUTH payload's data. */
      readonly prefix: Uint8Array;
    }
  | { readonly kind: 'refused'; readonly reason: string };

/**
 * Chooses how to sign for a peer that sent these SIGNATURE_HASH_ALGORITHMS; none: it knows the
 * methods before RFC 7427 alone.
 */
export function chooseSignature(
  key: KeyKind,
  hashes: readonly number[],
  rsaSignature: RsaSignature = 'pss',
): SignatureChoice {
  if (hashes.length === 0) return chooseOldMethod(key);
  const wanted = CURVE_HASHES[key] ?? 'sha256';
  const possible = SCHEMES.filter(
    (each) =>
      each.keys.includes(key) &&
      hashes.includes(each.hash) &&
      each.scheme.kind !== (rsaSignature === 'pss' ? 'rsa-pkcs1' : 'rsa-pss'),
  );
  const found =
    possible.find(({ scheme }) => scheme.kind !== 'eddsa' && scheme.hash === wanted) ??
    // Without the one that fits: the strongest, which is the last.
    possible.at(-1);
  const identifier = found?.identifiers[0];
  if (found === undefined || identifier === undefined) {
    return {
      kind: 'refused',
      reason: `no hash for our ${keyName(key)} key is among those the peer takes (${hashes
        .map(hashNumberName)
        .join(', ')})`,
    };
  }
  return {
    kind: 'chosen',
    method: AUTH_METHODS.digitalSignature,
    scheme: found.scheme,
    prefix: Uint8Array.of(identifier.length, ...identifier),
  };
}

function chooseOldMethod(key: KeyKind): SignatureChoice {
  const prefix = new Uint8Array(0);
  if (key === 'rsa') {
    // RFC 7296 section 3.8 leaves the hash open; SHA-1 is not signed with: docs/decisions/0029.
    const scheme: SignatureScheme = { kind: 'rsa-pkcs1', hash: 'sha256' };
    return { kind: 'chosen', method: AUTH_METHODS.rsa, scheme, prefix };
  }
  const old = OLD_ECDSA.find((each) => each.key === key);
  if (old === undefined) {
    return {
      kind: 'refused',
      reason:
        `the peer did not say that it knows RFC 7427 (no SIGNATURE_HASH_ALGORITHMS), and ` +
        `${keyName(key)} signatures need it`,
    };
  }
  return { kind: 'chosen', method: old.method, scheme: ecdsaFixed(old.hash), prefix };
}

/** RFC 4754 section 3: one curve and one hash for each method. */
const OLD_ECDSA: readonly {
  readonly method: number;
  readonly key: KeyKind;
  readonly hash: HashName;
}[] = [
  { method: AUTH_METHODS.ecdsaP256, key: 'p256', hash: 'sha256' },
  { method: AUTH_METHODS.ecdsaP384, key: 'p384', hash: 'sha384' },
  { method: AUTH_METHODS.ecdsaP521, key: 'p521', hash: 'sha512' },
];

function ecdsaFixed(hash: HashName): SignatureScheme {
  return { kind: 'ecdsa', hash, form: 'fixed' };
}

/** What a peer's AUTH payload says it is: any of these schemes over the signature. */
export type SignatureReading =
  | {
      readonly kind: 'read';
      readonly schemes: readonly SignatureScheme[];
      readonly signature: Uint8Array;
    }
  | { readonly kind: 'refused'; readonly reason: string };

/** Reads the data of an AUTH payload for a key of this kind. Total. */
export function readSignature(key: KeyKind, method: number, data: Uint8Array): SignatureReading {
  if (method === AUTH_METHODS.digitalSignature) return readDigitalSignature(key, data);
  if (method === AUTH_METHODS.rsa) {
    if (key !== 'rsa') return wrongKey('RSA (method 1)', key);
    // The hash is not said. It is not read out of the signature either: each is tried, whole.
    const schemes = HASHES.map((hash): SignatureScheme => ({ kind: 'rsa-pkcs1', hash }));
    return { kind: 'read', schemes, signature: data };
  }
  const old = OLD_ECDSA.find((each) => each.method === method);
  if (old === undefined) {
    return refusedReading(`authentication method ${method} is not a signature that is known`);
  }
  if (old.key !== key) return wrongKey(`${keyName(old.key)} (method ${method})`, key);
  return { kind: 'read', schemes: [ecdsaFixed(old.hash)], signature: data };
}

function readDigitalSignature(key: KeyKind, data: Uint8Array): SignatureReading {
  const length = data[0] ?? 0;
  const identifier = data.subarray(1, 1 + length);
  const signature = data.subarray(1 + length);
  if (length === 0 || identifier.length !== length || signature.length === 0) {
    return refusedReading('the signature is cut short');
  }
  const found = SCHEMES.find(({ identifiers }) =>
    identifiers.some((each) => isSameBytes(each, identifier)),
  );
  if (found === undefined) return refusedReading(unknownIdentifier(identifier));
  if (!found.keys.includes(key)) return wrongKey(schemeName(found.scheme), key);
  return { kind: 'read', schemes: [found.scheme], signature };
}

/** Algorithms that are known and refused, by the start of their identifier's OID. */
const REFUSED_OIDS: readonly (readonly [hex: string, name: string])[] = [
  ['06092a864886f70d010105', 'RSA with SHA-1, which is not taken'],
  ['06092a864886f70d010104', 'RSA with MD5, which is not taken'],
  ['06072a8648ce3d0401', 'ECDSA with SHA-1, which is not taken'],
  [
    '06092a864886f70d01010a',
    'RSASSA-PSS with other parameters than a SHA-2 hash, MGF1 with the same, and a salt of its length',
  ],
];

function unknownIdentifier(identifier: Uint8Array): string {
  const hex = Buffer.from(identifier).toString('hex');
  const named = REFUSED_OIDS.find(([oid]) => hex.includes(oid));
  return named === undefined
    ? `signature algorithm ${hex.slice(0, 64)} is not known`
    : `the signature is ${named[1]}`;
}

function wrongKey(scheme: string, key: KeyKind): SignatureReading {
  return refusedReading(`the signature is ${scheme}, but the key is ${keyName(key)}`);
}

function refusedReading(reason: string): SignatureReading {
  return { kind: 'refused', reason };
}

function schemeName(scheme: SignatureScheme): string {
  return scheme.kind === 'eddsa' ? 'EdDSA' : `${scheme.kind} with ${scheme.hash}`;
}

/** A kind of key, for people. */
export function keyName(key: KeyKind): string {
  return {
    rsa: 'RSA',
    p256: 'ECDSA P-256',
    p384: 'ECDSA P-384',
    p521: 'ECDSA P-521',
    ed25519: 'Ed25519',
    ed448: 'Ed448',
  }[key];
}

function hashNumberName(hash: number): string {
  const names: Readonly<Record<number, string>> = {
    1: 'SHA-1',
    2: 'SHA-256',
    3: 'SHA-384',
    4: 'SHA-512',
    5: 'identity',
  };
  return names[hash] ?? String(hash);
}

function fromHex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'));
}
