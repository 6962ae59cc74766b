/**
 * Key exchange methods (RFC 7296 transform type 4): MODP (RFC 3526), ECP (RFC 5903), X25519 and
 * X448 (RFC 8031), ML-KEM (draft-ietf-ipsecme-ikev2-mlkem). Private values serve once: `agree`
 * consumes them, `respond` never shows its own (RFC 7296 section 2.12).
 */
import {
  createDiffieHellman,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  getDiffieHellman,
  KeyObject,
  randomBytes,
} from 'node:crypto';
import type { ComputeResult, ComputeTask, PrivateValue } from '../compute.js';
import {
  ML_KEM_RANDOMNESS_LEN,
  ML_KEM_SEED_LEN,
  type MlKemBits,
  mlKemDecapsulate,
  mlKemEncapsulate,
  mlKemEncapsulationKey,
} from './native.js';

/** Sizes of a method. */
export interface KeyExchangeInfo {
  /** Bytes of the initiator's value in the KE payload. */
  readonly publicLen: number | null;
  /** Bytes of the responder's: the same, but for a KEM a ciphertext. */
  readonly responderLen: number;
  readonly kem: boolean;
}

/** The tasks of this file. */
export type KeyExchangeTask = Extract<
  ComputeTask,
  { readonly kind: 'generate' | 'agree' | 'respond' }
>;

interface ModpMethod {
  readonly kind: 'modp';
  /** Name of the group in node:crypto. */
  readonly group: string;
  readonly valueLen: number;
}
interface EcpMethod {
  readonly kind: 'ecp';
  /** Name of the curve in a JWK. */
  readonly curve: 'P-256' | 'P-384' | 'P-521';
  /** Bytes of x and y together. */
  readonly valueLen: number;
}
interface MontgomeryMethod {
  readonly kind: 'montgomery';
  readonly curve: 'X25519' | 'X448';
  readonly valueLen: number;
}
interface KemMethod {
  readonly kind: 'kem';
  readonly bits: MlKemBits;
  readonly valueLen: number;
  readonly ciphertextLen: number;
}
type Method = ModpMethod | EcpMethod | MontgomeryMethod | KemMethod;

const modp = (group: string, bits: number): ModpMethod => ({
  kind: 'modp',
  group,
  valueLen: bits / 8,
});

/** By IANA number. */
const METHODS: ReadonlyMap<number, Method> = new Map<number, Method>([
  [2, modp('modp2', 1024)],
  [5, modp('modp5', 1536)],
  [14, modp('modp14', 2048)],
  [15, modp('modp15', 3072)],
  [16, modp('modp16', 4096)],
  [17, modp('modp17', 6144)],
  [18, modp('modp18', 8192)],
  [19, { kind: 'ecp', curve: 'P-256', valueLen: 64 }],
  [20, { kind: 'ecp', curve: 'P-384', valueLen: 96 }],
  [21, { kind: 'ecp', curve: 'P-521', valueLen: 132 }],
  [31, { kind: 'montgomery', curve: 'X25519', valueLen: 32 }],
  [32, { kind: 'montgomery', curve: 'X448', valueLen: 56 }],
  [36, { kind: 'kem', bits: 768, valueLen: 1184, ciphertextLen: 1088 }],
  [37, { kind: 'kem', bits: 1024, valueLen: 1568, ciphertextLen: 1568 }],
]);

/** Null for a method that this version does not have. */
export function keyExchangeInfo(method: number): KeyExchangeInfo | null {
  const found = METHODS.get(method);
  if (found === undefined) return null;
  const kem = found.kind === 'kem';
  return {
    publicLen: found.valueLen,
    responderLen: kem ? found.ciphertextLen : found.valueLen,
    kem,
  };
}

/**
 * What can be told of a peer's value without a private one: its length, and for MODP its range.
 * Null: nothing is wrong. The rest, that it is a point of the curve or a valid key of the KEM, shows
 * in {@link computeKeyExchange}.
 *
 * @param from Who sent the value.
 */
export function checkPublicValue(
  method: number,
  value: Uint8Array,
  from: 'initiator' | 'responder',
): string | null {
  const found = METHODS.get(method);
  if (found === undefined) return `Key exchange method ${method} is not known.`;
  const length =
    found.kind === 'kem' && from === 'responder' ? found.ciphertextLen : found.valueLen;
  if (value.length !== length) {
    return `The key exchange value has ${value.length} bytes where method ${method} has ${length}.`;
  }
  if (found.kind !== 'modp') return null;
  // RFC 6989 section 2.1: 1 < r < p - 1. These primes are safe ones, so that is all.
  const integer = integerOf(value);
  return integer > 1n && integer < parametersOf(found).prime - 1n
    ? null
    : 'The Diffie-Hellman value is not between 2 and p - 2.';
}

interface ModpParameters {
  readonly primeBytes: Uint8Array;
  readonly prime: bigint;
  readonly generator: Uint8Array;
}

/** By the name of the group. Kept, since OpenSSL tests the prime of `modp2` each time: 70 ms. */
const modpParameters = new Map<string, ModpParameters>();

function parametersOf({ group }: ModpMethod): ModpParameters {
  const known = modpParameters.get(group);
  if (known !== undefined) return known;
  const instance = getDiffieHellman(group);
  const primeBytes = instance.getPrime();
  const found = { primeBytes, prime: integerOf(primeBytes), generator: instance.getGenerator() };
  modpParameters.set(group, found);
  return found;
}

function integerOf(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
}

/**
 * Does a task at once where that costs less than handing it to a thread: X25519, a seventh of a
 * millisecond (docs/decisions/0043). Null: it is not such a task, and nothing was done.
 */
export function computeQuickly(task: ComputeTask): ComputeResult | null {
  switch (task.kind) {
    case 'generate':
    case 'agree':
    case 'respond':
      return task.method === X25519 ? exchangeKeys(task) : null;
    default:
      return null;
  }
}

const X25519 = 31;

/**
 * Does one task, of any length: for threads. Nothing that a peer sends makes it fail: a bad value is
 * `refused`. The private value of `agree` is wiped where it is bytes.
 *
 * @throws ResourceError where the addon is missing, for ML-KEM.
 */
export async function computeKeyExchange(task: KeyExchangeTask): Promise<ComputeResult> {
  return exchangeKeys(task);
}

function exchangeKeys(task: KeyExchangeTask): ComputeResult {
  const method = METHODS.get(task.method);
  if (method === undefined) return refused(`Key exchange method ${task.method} is not known.`);
  if (task.kind === 'generate') return { kind: 'generate', ...generate(method) };
  const from = task.kind === 'respond' ? 'initiator' : 'responder';
  const fault = checkPublicValue(task.method, task.peerValue, from);
  if (task.kind === 'agree') {
    try {
      if (fault !== null) return refused(fault);
      const secret = agree(method, task.privateValue, task.peerValue);
      return secret === null ? refused(BAD_VALUE) : { kind: 'agree', secret };
    } finally {
      wipe(task.privateValue);
    }
  }
  if (fault !== null) return refused(fault);
  if (method.kind === 'kem') return encapsulate(method, task.peerValue);
  const pair = generate(method);
  const secret = agree(method, pair.privateValue, task.peerValue);
  wipe(pair.privateValue);
  return secret === null
    ? refused(BAD_VALUE)
    : { kind: 'respond', publicValue: pair.publicValue, secret };
}

const BAD_VALUE = 'The key exchange value is not one of its method.';

function refused(reason: string): ComputeResult {
  return { kind: 'refused', reason };
}

function wipe(value: PrivateValue): void {
  // A KeyObject's bytes belong to OpenSSL, which clears them when it is collected.
  if (!(value instanceof KeyObject)) value.fill(0);
}

interface Pair {
  readonly publicValue: Uint8Array;
  readonly privateValue: PrivateValue;
}

function generate(method: Method): Pair {
  switch (method.kind) {
    case 'modp': {
      // OpenSSL takes exponents of twice the group's strength.
      const group = getDiffieHellman(method.group);
      return {
        publicValue: leftPad(group.generateKeys(), method.valueLen),
        privateValue: group.getPrivateKey(),
      };
    }
    case 'ecp': {
      const pair = generateKeyPairSync('ec', { namedCurve: method.curve });
      return { publicValue: rawOf(pair.publicKey), privateValue: pair.privateKey };
    }
    case 'montgomery': {
      const pair =
        method.curve === 'X25519' ? generateKeyPairSync('x25519') : generateKeyPairSync('x448');
      return { publicValue: rawOf(pair.publicKey), privateValue: pair.privateKey };
    }
    case 'kem': {
      const seed = randomBytes(ML_KEM_SEED_LEN);
      const publicValue = mlKemEncapsulationKey(method.bits, seed);
      if (publicValue === null) throw new RangeError('The seed of ML-KEM has a wrong length.');
      return { publicValue, privateValue: seed };
    }
  }
}

/** The value in a KE payload: x | y (RFC 5903 section 7), or the one coordinate (RFC 8031). */
function rawOf(key: KeyObject): Uint8Array {
  const { x = '', y = '' } = key.export({ format: 'jwk' });
  return Buffer.concat([Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
}

/** The shared secret; null where the peer's value has the right length but is no good. */
function agree(
  method: Method,
  privateValue: PrivateValue,
  peerValue: Uint8Array,
): Uint8Array | null {
  if (method.kind === 'modp' || method.kind === 'kem') {
    if (privateValue instanceof KeyObject) throw new TypeError('The private value is bytes here.');
    if (method.kind === 'kem') return mlKemDecapsulate(method.bits, privateValue, peerValue);
    const { primeBytes, generator } = parametersOf(method);
    const own = createDiffieHellman(primeBytes, generator);
    own.setPrivateKey(privateValue);
    return leftPad(own.computeSecret(peerValue), method.valueLen);
  }
  if (!(privateValue instanceof KeyObject)) {
    throw new TypeError('The private value is a KeyObject here.');
  }
  const publicKey = publicKeyOf(method, peerValue);
  if (publicKey === null) return null;
  try {
    const secret = diffieHellman({ privateKey: privateValue, publicKey });
    // RFC 8031 section 3: an all-zero result is refused. On ECP, zero is an x like another.
    const isRefused = method.kind === 'montgomery' && secret.every((octet) => octet === 0);
    return isRefused ? null : secret;
  } catch {
    // OpenSSL refuses points of small order by itself.
    return null;
  }
}

/** RFC 6989 section 2.3: x and y are below p and on the curve; OpenSSL looks when it imports. */
function publicKeyOf(method: EcpMethod | MontgomeryMethod, value: Uint8Array): KeyObject | null {
  const text = (start: number, end: number) =>
    Buffer.from(value.subarray(start, end)).toString('base64url');
  const half = method.valueLen / 2;
  const key =
    method.kind === 'ecp'
      ? { kty: 'EC', crv: method.curve, x: text(0, half), y: text(half, method.valueLen) }
      : { kty: 'OKP', crv: method.curve, x: text(0, method.valueLen) };
  try {
    return createPublicKey({ key, format: 'jwk' });
  } catch {
    return null;
  }
}

function encapsulate(method: KemMethod, key: Uint8Array): ComputeResult {
  const randomness = randomBytes(ML_KEM_RANDOMNESS_LEN);
  const sealed = mlKemEncapsulate(method.bits, key, randomness);
  randomness.fill(0);
  // FIPS 203 section 7.2: the modulus check.
  if (sealed === null) return refused(BAD_VALUE);
  return { kind: 'respond', publicValue: sealed.ciphertext, secret: sealed.secret };
}

/** RFC 7296 section 2.14: as long as the modulus, zeros in front. */
function leftPad(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length === length) return bytes;
  const padded = new Uint8Array(length);
  padded.set(bytes, length - bytes.length);
  return padded;
}
