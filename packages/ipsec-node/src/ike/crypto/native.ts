/**
 * What IKE needs and node:crypto lacks, from the addon: ML-KEM, AES-CMAC, AES-XCBC. The only
 * importer of the native module in `ike`. It is loaded at the first call, so importing the package
 * loads no native code.
 */
import { createRequire } from 'node:module';
import type * as native from '../../../native/index.js';
import { ResourceError } from '../../errors.js';

type Addon = typeof native;

let loaded: Addon | null = null;

function isAddon(module: unknown): module is Addon {
  return typeof module === 'object' && module !== null && 'validatePath' in module;
}

/** @throws ResourceError where there is no addon for this platform. */
function addon(): Addon {
  if (loaded !== null) return loaded;
  try {
    const module: unknown = createRequire(import.meta.url)('../../../native/index.js');
    if (!isAddon(module)) throw new Error('It is another version than this package.');
    loaded = module;
    return module;
  } catch (cause) {
    throw new ResourceError(
      'IPSEC_ERR_NATIVE_UNAVAILABLE',
      `The native datapath cannot be loaded on ${process.platform} ${process.arch}.`,
      { cause },
    );
  }
}

/** The parameter sets of ML-KEM that IKE uses (draft-ietf-ipsecme-ikev2-mlkem). */
export type MlKemBits = 768 | 1024;

/** Length of a private key of ML-KEM in its seed form (FIPS 203 section 7.1: d | z). */
export const ML_KEM_SEED_LEN = 64;
/** Length of the randomness that one encapsulation takes. */
export const ML_KEM_RANDOMNESS_LEN = 32;

/** The encapsulation key of a seed; null where the seed has not 64 bytes. */
export function mlKemEncapsulationKey(bits: MlKemBits, seed: Uint8Array): Uint8Array | null {
  return addon().mlKemEncapsulationKey(bits, seed);
}

/** Null where FIPS 203 section 7.2 refuses the key: its length, or a coefficient past q. */
export function mlKemEncapsulate(
  bits: MlKemBits,
  key: Uint8Array,
  randomness: Uint8Array,
): { readonly ciphertext: Uint8Array; readonly secret: Uint8Array } | null {
  return addon().mlKemEncapsulate(bits, key, randomness);
}

/** Null where seed or ciphertext have a wrong length; a wrong ciphertext gives another secret. */
export function mlKemDecapsulate(
  bits: MlKemBits,
  seed: Uint8Array,
  ciphertext: Uint8Array,
): Uint8Array | null {
  return addon().mlKemDecapsulate(bits, seed, ciphertext);
}

/** AES-128-CMAC (RFC 4493): 16 bytes. The key has 16 bytes. */
export function aesCmac(key: Uint8Array, data: Uint8Array): Uint8Array {
  return macOf(addon().aesCmac(key, data));
}

/** AES-XCBC-MAC (RFC 3566) before it is cut to 96 bits: 16 bytes. The key has 16 bytes. */
export function aesXcbc(key: Uint8Array, data: Uint8Array): Uint8Array {
  return macOf(addon().aesXcbc(key, data));
}

function macOf(mac: Uint8Array | null): Uint8Array {
  if (mac === null) throw new RangeError('An AES MAC takes a key of 16 bytes.');
  return mac;
}

/** Certificates for path validation; all DER. */
export interface PathRequest {
  /** Leaf first. */
  readonly certificates: readonly Uint8Array[];
  readonly anchors: readonly Uint8Array[];
  readonly crls: readonly Uint8Array[];
  /** Every certificate must be known to be good; else none may be known to be revoked. */
  readonly knownGood: boolean;
  readonly time: Date;
  /** The leaf is for signing OCSP answers; else for IKE. */
  readonly ocspSigning: boolean;
}

export type PathResult =
  | {
      readonly kind: 'path';
      /** Leaf first, without the anchor. */
      readonly certificates: readonly Uint8Array[];
      readonly anchorIndex: number;
    }
  | {
      readonly kind: 'refused';
      /** `expired`, `revoked`, `unknown-issuer`, ...: path_validation.rs has them all. */
      readonly why: string;
      /** Seconds since 1970, where the reason has a time. */
      readonly atSeconds: number | null;
      readonly detail: string;
    };

/** Path validation by RFC 5280 section 6. */
export function validatePath(request: PathRequest): PathResult {
  const reply = addon().validatePath({
    certificates: [...request.certificates],
    anchors: [...request.anchors],
    crls: [...request.crls],
    knownGood: request.knownGood,
    timeSeconds: Math.floor(request.time.getTime() / 1000),
    ocspSigning: request.ocspSigning,
  });
  if (reply.refused === undefined) {
    return { kind: 'path', certificates: reply.path, anchorIndex: reply.anchorIndex };
  }
  const { refused: why, atSeconds = null, detail } = reply;
  return { kind: 'refused', why, atSeconds, detail };
}
