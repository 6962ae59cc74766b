/**
 * The keys of IKE SAs and of their children: RFC 7296 sections 2.14, 2.17 and 2.18, with additional
 * key exchanges (RFC 9370), post-quantum preshared keys (RFC 8784), and the authentication of
 * IKE_INTERMEDIATE (RFC 9242). Everything that is returned is the caller's to wipe; what is given
 * stays as it was.
 */
import { type Proposal, transformsOf } from '../../sad/proposal.js';
import { type Prf, prfOf, prfPlus } from './prf.js';
import { type SkCipher, type SkKeys, skCipherOf } from './sk-cipher.js';

/** The algorithms of an IKE SA, its key exchange apart. */
export interface IkeSuite {
  readonly prf: Prf;
  readonly cipher: SkCipher;
}

/**
 * The seven secrets of an IKE SA (RFC 7296 section 2.14), one behind the other in one piece of memory:
 * there are as many of these as peers, and a buffer costs several times what is in it.
 */
export class IkeKeys {
  /** @param material becomes that of the keys. */
  constructor(
    private readonly material: Uint8Array,
    private readonly suite: IkeSuite,
  ) {}

  /** Bytes of all of them, for a suite. */
  static lengthFor({ prf, cipher }: IkeSuite): number {
    return 3 * prf.keyLen + 2 * (cipher.integrityKeyLen + cipher.keyLen);
  }

  get skD(): Uint8Array {
    return this.piece(0, this.suite.prf.keyLen);
  }

  get skAi(): Uint8Array {
    const { prf, cipher } = this.suite;
    return this.piece(prf.keyLen, cipher.integrityKeyLen);
  }

  get skAr(): Uint8Array {
    const { prf, cipher } = this.suite;
    return this.piece(prf.keyLen + cipher.integrityKeyLen, cipher.integrityKeyLen);
  }

  get skEi(): Uint8Array {
    const { prf, cipher } = this.suite;
    return this.piece(prf.keyLen + 2 * cipher.integrityKeyLen, cipher.keyLen);
  }

  get skEr(): Uint8Array {
    const { prf, cipher } = this.suite;
    return this.piece(prf.keyLen + 2 * cipher.integrityKeyLen + cipher.keyLen, cipher.keyLen);
  }

  get skPi(): Uint8Array {
    const { keyLen } = this.suite.prf;
    return this.piece(this.material.length - 2 * keyLen, keyLen);
  }

  get skPr(): Uint8Array {
    const { keyLen } = this.suite.prf;
    return this.piece(this.material.length - keyLen, keyLen);
  }

  private piece(start: number, length: number): Uint8Array {
    return this.material.subarray(start, start + length);
  }

  /** The same with other bytes; they share none. */
  copy(): IkeKeys {
    return new IkeKeys(Uint8Array.from(this.material), this.suite);
  }

  wipe(): void {
    this.material.fill(0);
  }
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

/** Suites by the transforms that they are of: many IKE SAs have the same. */
const SUITES = new Map<string, IkeSuite>();

/** The suite of an agreed proposal; null where a transform is missing or not known. */
export function ikeSuiteOf(proposal: Proposal): IkeSuite | null {
  const [prfTransform] = transformsOf(proposal, 'prf');
  const [encryption] = transformsOf(proposal, 'encryption');
  const [integrity] = transformsOf(proposal, 'integrity');
  if (prfTransform === undefined || encryption === undefined) return null;
  const name = `${prfTransform.id} ${encryption.id} ${encryption.keyBits} ${integrity?.id}`;
  const known = SUITES.get(name);
  if (known !== undefined) return known;
  const prf = prfOf(prfTransform.id);
  const cipher = skCipherOf(encryption, integrity ?? null);
  if (prf === null || cipher === null) return null;
  const suite = { prf, cipher };
  SUITES.set(name, suite);
  return suite;
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
function expand(suite: IkeSuite, skeyseed: Uint8Array, input: IkeKeyInput): IkeKeys {
  const spis = Buffer.alloc(16);
  spis.writeBigUInt64BE(input.spiInitiator, 0);
  spis.writeBigUInt64BE(input.spiResponder, 8);
  const seed = Buffer.concat([input.ni, input.nr, spis]);
  const material = prfPlus(suite.prf, skeyseed, seed, IkeKeys.lengthFor(suite));
  skeyseed.fill(0);
  return new IkeKeys(material, suite);
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
  const mixed = keys.copy();
  for (const key of [mixed.skD, mixed.skPi, mixed.skPr]) {
    const output = prfPlus(prf, ppk, key, prf.keyLen);
    key.set(output);
    output.fill(0);
  }
  return mixed;
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
