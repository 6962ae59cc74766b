/**
 * The corpus of malformed IKE_SA_INIT requests (test/vectors/malformed-ike-init-corpus.json), for
 * the codec's tests and for those of a running endpoint.
 */
import { readVectors } from '../../oracle/vector-file.ts';

/** What a responder that has AES-256-GCM, PRF-SHA2-256 and groups 31, 19, 14, 15 does. */
export type CorpusExpectation =
  /** Silence or INVALID_SYNTAX, and nothing kept. */
  | { readonly kind: 'ignore' }
  | { readonly kind: 'respond' }
  /** This notification, by its registry name. */
  | { readonly kind: 'notify'; readonly name: string }
  /** The key exchange fails: no keys, no IKE SA. */
  | { readonly kind: 'fail' }
  /** An answer or NO_PROPOSAL_CHOSEN, in bounded time. */
  | { readonly kind: 'bounded' };

export interface CorpusEntry {
  readonly id: string;
  readonly message: Buffer;
  readonly expect: CorpusExpectation;
  readonly why: string;
}

/**
 * Entries that are well-formed as messages: what is wrong shows only to who knows the exchange, the
 * state or the group.
 */
export const EXCHANGE_LEVEL: readonly RegExp[] = [
  /^exchange-/,
  /^flags-/,
  /^rspi-nonzero$/,
  /^no-nonce$/,
  /^empty$/,
  /^ke-len-33$/,
  /^ke-p256-compressed$/,
  /^ke-modp\d+-(short|long)$/,
];

export function isExchangeLevel(entry: CorpusEntry): boolean {
  return EXCHANGE_LEVEL.some((pattern) => pattern.test(entry.id));
}

export function readIkeCorpus(): readonly CorpusEntry[] {
  const { vectors } = readVectors('malformed-ike-init-corpus');
  const control = vectors.find((vector) => vector.text('id') === 'ok');
  if (control === undefined) throw new Error('the corpus has no control');
  const good = control.hex('message');
  return vectors.map((vector) => {
    const id = vector.text('id');
    return {
      id,
      message: vector.has('message') && !isBuilt(id) ? vector.hex('message') : build(id, good),
      expect: expectationOf(vector.text('expect')),
      why: vector.text('why'),
    };
  });
}

const BUILT = ['payloads-16000-empty', 'sa-256-proposals'];

/** The corpus gives a description and a length in the place of a long message. */
function isBuilt(id: string): boolean {
  return BUILT.includes(id);
}

function build(id: string, good: Buffer): Buffer {
  const header = Buffer.from(good.subarray(0, 28));
  if (id === 'payloads-16000-empty') {
    const vendorId = 43;
    header.writeUInt8(vendorId, 16);
    const empty = Buffer.from([vendorId, 0, 0, 4]);
    const body = Buffer.concat(Array.from({ length: 16_000 }, () => empty));
    body.writeUInt8(0, body.length - 4);
    return withLength(Buffer.concat([header, body]), 64_028);
  }
  // The control's SA payload is a header of 4 and one proposal of 36 octets.
  const proposal = good.subarray(32, 68);
  const proposals = Array.from({ length: 256 }, (_, index) => {
    const copy = Buffer.from(proposal);
    copy.writeUInt8(index < 255 ? 2 : 0, 0);
    copy.writeUInt8((index + 1) % 256, 4);
    return copy;
  });
  const sa = Buffer.from(good.subarray(28, 32));
  sa.writeUInt16BE(4 + 256 * 36, 2);
  return withLength(Buffer.concat([header, sa, ...proposals, good.subarray(68)]), 9_324);
}

function withLength(message: Buffer, expected: number): Buffer {
  if (message.length !== expected) throw new Error(`${message.length} octets, not ${expected}`);
  message.writeUInt32BE(message.length, 24);
  return message;
}

function expectationOf(text: string): CorpusExpectation {
  if (text === 'ignore') return { kind: 'ignore' };
  if (text === 'respond:IKE_SA_INIT') return { kind: 'respond' };
  if (text.startsWith('notify:')) return { kind: 'notify', name: text.slice('notify:'.length) };
  if (text.startsWith('fail SA')) return { kind: 'fail' };
  if (text.startsWith('respond or NO_PROPOSAL_CHOSEN')) return { kind: 'bounded' };
  throw new Error(`an expectation that is not known: ${text}`);
}

/** A generator of whole numbers below a bound, with a seed, so that a failure can be repeated. */
export function seededNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** A message changed in one to four places, sometimes with its Length field put right again. */
export function mutate(message: Uint8Array, random: (below: number) => number): Buffer {
  let bytes = Buffer.from(message);
  for (let count = 1 + random(4); count > 0; count -= 1) {
    const at = random(bytes.length + 1);
    switch (random(6)) {
      case 0:
        bytes = bytes.subarray(0, at);
        break;
      case 1:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(random(bytes.length + 1))]);
        break;
      case 2:
        bytes = Buffer.concat([bytes, Buffer.alloc(random(64), random(256))]);
        break;
      case 3:
        // A length or count that looks right or nearly so.
        if (at + 2 <= bytes.length) bytes.writeUInt16BE(random(80), at);
        break;
      case 4:
        if (at < bytes.length) bytes.writeUInt8([0, 1, 4, 7, 8, 127, 128, 255][random(8)] ?? 0, at);
        break;
      default:
        if (at < bytes.length) bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << random(8)), at);
    }
  }
  // Without it most mutations would end at the first check.
  if (bytes.length >= 28 && random(4) > 0) bytes.writeUInt32BE(bytes.length, 24);
  return bytes;
}
