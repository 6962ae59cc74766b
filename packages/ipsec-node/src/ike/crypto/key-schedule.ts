/**
 * The keys of IKE SAs and of their children: RFC 7296 sections 2.14, 2.17 and 2.18, with additional
 * key exchanges (RFC 9370), post-quantum preshared keys (RFC 8784), and the authentication of
 * IKE_INTERMEDIATE (RFC 9242). Everything that is returned is the caller's to wipe; what is given
 * stays as it was.
 */
import { type Proposal, transformsOf } from '../../sad/proposal.js';
import { type Prf, prfOf, prfPlus } from './prf.js';
import { type SkCipher, type SkKeys, skCipherOf } from './sk-cipher.js';

/** The seven secrets of an IKE SA (RFC 7296 section 2.14). */
export interface IkeKeys {
  readonly skD: Uint8Array;
  readonly skAi: Uint8Array;
  readonly skAr: Uint8Array;
  readonly skEi: Uint8Array;
  readonly skEr: Uint8Array;
  readonly skPi: Uint8Array;
  readonly skPr: Uint8Array;
}

/** The algorithms of an IKE SA, its key exchange apart. */
export interface IkeSuite {
  readonly prf: Prf;
  readonly cipher: SkCipher;
}

/** What goes into every derivation for an IKE SA besides a secret. */
export interface IkeKeyInput {
  /** Nonces, stripped of headers. */
  readonly ni: Uint8Array;
  readonly nr: Uint8Array;
  /** SPIs of the IKE SA that the keys are for. */
  readonly spiInitiator: bigint;
  readonly spiResponder: bigint;
}

/** Keying material of a child, by direction of the exchange that made it. */
export interface ChildKeys {
  readonly initiatorToResponder: SkKeys;
  readonly responderToInitiator: SkKeys;
}

/** The suite of an agreed proposal; null where a transform is missing or not known. */
export function ikeSuiteOf(proposal: Proposal): IkeSuite | null {
  const [prfTransform] = transformsOf(proposal, 'prf');
  const [encryption] = transformsOf(proposal, 'encryption');
  const [integrity] = transformsOf(proposal, 'integrity');
  if (prfTransform === undefined || encryption === undefined) return null;
  const prf = prfOf(prfTransform.id);
  const cipher = skCipherOf(encryption, integrity ?? null);
  return prf === null || cipher === null ? null : { prf, cipher };
}

/** PRFs with a key of fixed size: AES-XCBC-PRF-128 and AES-CMAC-PRF-128. */
const FIXED_KEY_PRFS: ReadonlySet<number> = new Set([4, 8]);

/** Keys after IKE_SA_INIT. `secret` is g^ir, as long as the modulus. */
export function deriveIkeKeys(
  suite: IkeSuite,
  input: IkeKeyInput & { readonly secret: Uint8Array },
): IkeKeys {
  // RFC 7296 section 2.14: for these, 64 bits of each nonce make the key of SKEYSEED, and all bits
  // go into prf+.
  const nonceLen = FIXED_KEY_PRFS.has(suite.prf.id) ? 8 : undefined;
  const key = Buffer.concat([input.ni.subarray(0, nonceLen), input.nr.subarray(0, nonceLen)]);
  return expand(suite, suite.prf.compute(key, input.secret), input);
}

/**
 * Keys of an IKE SA that replaces another. `secrets` are those of Diffie-Hellman and of the
 * additional key exchanges, in their order.
 */
export function deriveRekeyedIkeKeys(
  oldPrf: Prf,
  oldSkD: Uint8Array,
  suite: IkeSuite,
  input: IkeKeyInput & { readonly secrets: readonly Uint8Array[] },
): IkeKeys {
  const [first, ...additional] = input.secrets;
  if (first === undefined) throw new RangeError('An IKE SA is never rekeyed without a secret.');
  // RFC 7296 section 2.18: SKEYSEED by the old SA's PRF, all after it by the new one's.
  // RFC 9370 section 2.2.4: SK(0) | Ni | Nr | SK(1) | ...
  const seed = oldPrf.compute(oldSkD, first, input.ni, input.nr, ...additional);
  return expand(suite, seed, input);
}

/** Keys after an IKE_INTERMEDIATE exchange with a key exchange in it (RFC 9370 section 2.2.2). */
export function deriveNextIkeKeys(
  suite: IkeSuite,
  previousSkD: Uint8Array,
  input: IkeKeyInput & { readonly secret: Uint8Array },
): IkeKeys {
  const seed = suite.prf.compute(previousSkD, input.secret, input.ni, input.nr);
  return expand(suite, seed, input);
}

/** Consumes `skeyseed`. */
function expand({ prf, cipher }: IkeSuite, skeyseed: Uint8Array, input: IkeKeyInput): IkeKeys {
  const spis = Buffer.alloc(16);
  spis.writeBigUInt64BE(input.spiInitiator, 0);
  spis.writeBigUInt64BE(input.spiResponder, 8);
  const seed = Buffer.concat([input.ni, input.nr, spis]);
  const { keyLen, integrityKeyLen } = cipher;
  const length = 3 * prf.keyLen + 2 * integrityKeyLen + 2 * keyLen;
  const material = prfPlus(prf, skeyseed, seed, length);
  skeyseed.fill(0);
  const next = cutter(material);
  const keys = {
    skD: next(prf.keyLen),
    skAi: next(integrityKeyLen),
    skAr: next(integrityKeyLen),
    skEi: next(keyLen),
    skEr: next(keyLen),
    skPi: next(prf.keyLen),
    skPr: next(prf.keyLen),
  };
  material.fill(0);
  return keys;
}

/** Copies pieces off the front, one after the other. */
function cutter(material: Uint8Array): (length: number) => Uint8Array {
  let at = 0;
  return (length) => {
    const piece = material.slice(at, at + length);
    at += length;
    return piece;
  };
}

/**
 * Keying material of a child (RFC 7296 section 2.17). `secrets` are those of Diffie-Hellman and of
 * the additional key exchanges in their order; empty: the child has no key exchange of its own.
 */
export function deriveChildKeys(
  prf: Prf,
  skD: Uint8Array,
  input: {
    readonly ni: Uint8Array;
    readonly nr: Uint8Array;
    readonly secrets: readonly Uint8Array[];
    readonly encryptionKeyLen: number;
    readonly integrityKeyLen: number;
  },
): ChildKeys {
  const { ni, nr, secrets, encryptionKeyLen, integrityKeyLen } = input;
  // RFC 9370 section 2.2.4: SK(0) | Ni | Nr | SK(1) | ...
  const seed = Buffer.concat([...secrets.slice(0, 1), ni, nr, ...secrets.slice(1)]);
  const material = prfPlus(prf, skD, seed, 2 * (encryptionKeyLen + integrityKeyLen));
  seed.fill(0);
  const next = cutter(material);
  const direction = (): SkKeys => ({
    encryption: next(encryptionKeyLen),
    integrity: next(integrityKeyLen),
  });
  const keys = { initiatorToResponder: direction(), responderToInitiator: direction() };
  material.fill(0);
  return keys;
}

/** Mixes a post-quantum preshared key in (RFC 8784 section 3). The result shares no bytes. */
export function applyPpk(prf: Prf, keys: IkeKeys, ppk: Uint8Array): IkeKeys {
  const mixed = (key: Uint8Array) => prfPlus(prf, ppk, key, prf.keyLen);
  return {
    skD: mixed(keys.skD),
    skAi: new Uint8Array(keys.skAi),
    skAr: new Uint8Array(keys.skAr),
    skEi: new Uint8Array(keys.skEi),
    skEr: new Uint8Array(keys.skEr),
    skPi: mixed(keys.skPi),
    skPr: mixed(keys.skPr),
  };
}

export function wipeKeys(keys: IkeKeys): void {
  for (const key of [keys.skD, keys.skAi, keys.skAr, keys.skEi, keys.skEr, keys.skPi, keys.skPr]) {
    key.fill(0);
  }
}

/**
 * IntAuth_i or IntAuth_r after one more IKE_INTERMEDIATE message (RFC 9242 section 3.3.2).
 *
 * @param skP SK_pi for messages of the initiator, SK_pr for the responder's, of the keys that
 *   protected this exchange.
 * @param previous The value after the exchange before; null in the first.
 * @param associated From the IKE header to the Encrypted payload's header, the two lengths
 *   adjusted as section 3.3.2 says.
 * @param plaintext The inner payloads; may be empty.
 */
export function intAuthStep(
  prf: Prf,
  skP: Uint8Array,
  previous: Uint8Array | null,
  associated: Uint8Array,
  plaintext: Uint8Array,
): Uint8Array {
  return prf.compute(skP, previous ?? new Uint8Array(0), associated, plaintext);
}

/** IntAuth_iN | IntAuth_rN | IKE_AUTH_MID, the end of both sides' signed octets. */
export function intAuth(
  initiator: Uint8Array,
  responder: Uint8Array,
  authMessageId: number,
): Uint8Array {
  const messageId = Buffer.alloc(4);
  messageId.writeUInt32BE(authMessageId);
  return Buffer.concat([initiator, responder, messageId]);
}
