/**
 * Asymmetric keys of AUTH payloads and certificates: which ones are taken, and signatures by them.
 * The mathematics is node:crypto's; what is refused before it is asked stands here.
 */
import {
  constants,
  createPublicKey,
  ECDH,
  type KeyObject,
  sign as signBytes,
  type SignKeyObjectInput,
  verify as verifyBytes,
} from 'node:crypto';
import { AsnConvert } from '@peculiar/asn1-schema';
import { SubjectPublicKeyInfo } from '@peculiar/asn1-x509';

/** The keys that IKE signs with here: RSA, and the curves of RFC 4754 and RFC 8420. */
export type KeyKind = 'rsa' | 'p256' | 'p384' | 'p521' | 'ed25519' | 'ed448';

export type HashName = 'sha256' | 'sha384' | 'sha512';

/** How octets are signed, apart from how that is named on the wire. */
export type SignatureScheme =
  | { readonly kind: 'rsa-pss' | 'rsa-pkcs1'; readonly hash: HashName }
  /** `der`: the SEQUENCE of two INTEGERs; `fixed`: r and s in as many bytes as the curve has. */
  | { readonly kind: 'ecdsa'; readonly hash: HashName; readonly form: 'der' | 'fixed' }
  | { readonly kind: 'eddsa' };

const CURVES: Readonly<Record<string, KeyKind>> = {
  prime256v1: 'p256',
  secp384r1: 'p384',
  secp521r1: 'p521',
};

/** RFC 8247 section 4.1.1 sets the least; the greatest bounds the work of a verification. */
export const RSA_BITS_MIN = 2_048;
export const RSA_BITS_MAX = 8_192;
export const RSA_EXPONENT_MIN = 65_537n;
const RSA_EXPONENT_MAX = (1n << 33n) - 1n;

export type KeyJudgement =
  | { readonly kind: 'taken'; readonly key: KeyKind }
  | { readonly kind: 'refused'; readonly reason: string };

/** Whether a key, public or private, is of a kind and strength that is taken. */
export function judgeKey(key: KeyObject): KeyJudgement {
  const details = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'rsa':
      return judgeRsa(details.modulusLength ?? 0, details.publicExponent ?? 0n);
    case 'ec': {
      const curve = details.namedCurve ?? 'an unnamed curve';
      const kind = CURVES[curve];
      return kind === undefined
        ? refused(`an ECDSA key on ${curve}: only P-256, P-384 and P-521 are taken`)
        : { kind: 'taken', key: kind };
    }
    case 'ed25519':
    case 'ed448':
      return { kind: 'taken', key: key.asymmetricKeyType };
    default:
      return refused(`a key of type ${key.asymmetricKeyType ?? 'secret'}, which IKE cannot use`);
  }
}

function judgeRsa(bits: number, exponent: bigint): KeyJudgement {
  if (bits < RSA_BITS_MIN) return refused(`an RSA key of ${bits} bits: at least ${RSA_BITS_MIN}`);
  if (bits > RSA_BITS_MAX) return refused(`an RSA key of ${bits} bits: at most ${RSA_BITS_MAX}`);
  // A small exponent is what the forgeries of PKCS#1 v1.5 signatures live on.
  if (exponent < RSA_EXPONENT_MIN || exponent > RSA_EXPONENT_MAX || exponent % 2n === 0n) {
    return refused(`an RSA key with the public exponent ${exponent}: 65537 is usual`);
  }
  return { kind: 'taken', key: 'rsa' };
}

function refused(reason: string): KeyJudgement {
  return { kind: 'refused', reason };
}

export type PublicKeyReading =
  | { readonly kind: 'taken'; readonly key: KeyKind; readonly object: KeyObject }
  | { readonly kind: 'refused'; readonly reason: string };

const UNREADABLE = { kind: 'refused', reason: 'a public key that cannot be read' } as const;

/** Algorithms of a SubjectPublicKeyInfo that are handed to node:crypto. */
const ID_EC_PUBLIC_KEY = '1.2.840.10045.2.1';
const KEY_ALGORITHMS: ReadonlySet<string> = new Set([
  '1.2.840.113549.1.1.1',
  ID_EC_PUBLIC_KEY,
  '1.3.101.112',
  '1.3.101.113',
]);
/** Parameters of an EC key that name its curve (RFC 5480 section 2.1.1), as they are encoded. */
const CURVE_PARAMETERS: Readonly<Record<string, string>> = {
  '06082a8648ce3d030107': 'prime256v1',
  '06052b81040022': 'secp384r1',
  '06052b81040023': 'secp521r1',
};

/** Reads a DER SubjectPublicKeyInfo, a stranger's as a rule, and judges the key in it. Total. */
export function importPublicKey(spki: Uint8Array): PublicKeyReading {
  try {
    const { algorithm, subjectPublicKey } = AsnConvert.parse(spki, SubjectPublicKeyInfo);
    if (!KEY_ALGORITHMS.has(algorithm.algorithm)) {
      return { kind: 'refused', reason: `a key of algorithm ${algorithm.algorithm}` };
    }
    if (algorithm.algorithm === ID_EC_PUBLIC_KEY) {
      const fault = curveFault(algorithm.parameters, new Uint8Array(subjectPublicKey));
      if (fault !== null) return { kind: 'refused', reason: fault };
    }
    const object = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    const judgement = judgeKey(object);
    return judgement.kind === 'refused' ? judgement : { ...judgement, object };
  } catch {
    return UNREADABLE;
  }
}

/**
 * Looks at an EC key before it becomes a KeyObject: node:crypto takes a point that is not on its
 * curve, and ends the whole process when it is asked for the name of the curve (Node.js 20).
 */
function curveFault(parameters: ArrayBuffer | null | undefined, point: Uint8Array): string | null {
  const encoded = Buffer.from(parameters ?? new ArrayBuffer(0)).toString('hex');
  const curve = CURVE_PARAMETERS[encoded];
  if (curve === undefined) return 'an ECDSA key on another curve than P-256, P-384 and P-521';
  // RFC 5480 section 2.2: uncompressed; neither compressed nor the point at infinity.
  if (point[0] !== 4) return 'an ECDSA key whose point is not written uncompressed';
  // Throws where the point is not on the curve.
  ECDH.convertKey(point, curve);
  return null;
}

/** Signs. The key has been judged, and the scheme is one of its kind. */
export function sign(key: KeyObject, scheme: SignatureScheme, octets: Uint8Array): Uint8Array {
  const signature = signBytes(hashOf(scheme), octets, options(key, scheme));
  return new Uint8Array(signature);
}

/** Whether a signature is right; false also for one of any wrong form. */
export function verify(
  key: KeyObject,
  scheme: SignatureScheme,
  octets: Uint8Array,
  signature: Uint8Array,
): boolean {
  try {
    return verifyBytes(hashOf(scheme), octets, options(key, scheme), signature);
  } catch {
    return false;
  }
}

function hashOf(scheme: SignatureScheme): HashName | null {
  return scheme.kind === 'eddsa' ? null : scheme.hash;
}

function options(key: KeyObject, scheme: SignatureScheme): SignKeyObjectInput {
  switch (scheme.kind) {
    case 'rsa-pss':
      // RFC 8247 section 3.2.1: the salt is as long as the hash; MGF1 is with the same hash.
      return {
        key,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
      };
    case 'rsa-pkcs1':
      return { key, padding: constants.RSA_PKCS1_PADDING };
    case 'ecdsa':
      return { key, dsaEncoding: scheme.form === 'der' ? 'der' : 'ieee-p1363' };
    case 'eddsa':
      return { key };
  }
}
