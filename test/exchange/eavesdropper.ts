/**
 * One who sees every datagram and can open and make each: the toy key exchange hides nothing. Tests
 * read the arrows of an exchange by it, and change what a peer says.
 */
import type { IkeDatagram } from '../../packages/ipsec-node/src/ike/action.js';
import { ikeSpiOf } from '../../packages/ipsec-node/src/ike/bytes.js';
import {
  deriveIkeKeys,
  deriveRekeyedIkeKeys,
  type IkeKeys,
  type IkeSuite,
  ikeSuiteOf,
} from '../../packages/ipsec-node/src/ike/crypto/key-schedule.js';
import { findPayload } from '../../packages/ipsec-node/src/ike/exchange/find.js';
import { formatNotify } from '../../packages/ipsec-node/src/ike/notify.js';
import { padSk } from '../../packages/ipsec-node/src/ike/crypto/sk-cipher.js';
import {
  encodeEncryptedHead,
  parseDatagram,
  parsePayloads,
} from '../../packages/ipsec-node/src/ike/payload/codec.js';
import {
  EXCHANGE_NUMBERS,
  type IkeHeader,
  type Payload,
} from '../../packages/ipsec-node/src/ike/payload/payload.js';
import { openBody, sealMessage } from '../../packages/ipsec-node/src/ike/sealing.js';
import { toySecret } from './toy-key-exchange.js';

/** A message with what is inside its Encrypted payload. */
export interface OpenMessage {
  readonly header: IkeHeader;
  readonly payloads: readonly Payload[];
}

/** One payload as bytes, its generic header apart. */
export interface Frame {
  readonly number: number;
  /** The critical bit and seven reserved ones. */
  readonly flags: number;
  readonly body: Uint8Array;
}

interface Keyed {
  readonly suite: IkeSuite;
  readonly keys: IkeKeys;
}

const SHORT: Partial<Record<Payload['type'], string>> = {
  sa: 'SA',
  ke: 'KE',
  nonce: 'N',
  'id-initiator': 'IDi',
  'id-responder': 'IDr',
  authentication: 'AUTH',
  'ts-initiator': 'TSi',
  'ts-responder': 'TSr',
  delete: 'D',
};

export class Eavesdropper {
  private readonly keyed = new Map<string, Keyed>();
  /** Requests that made or may make keys, by who asked and its message ID. */
  private readonly asked = new Map<string, OpenMessage>();
  private ivs = 0n;

  /** Opens a datagram, and learns the keys that come of it; null: it is not for us to read. */
  observe(datagram: IkeDatagram): OpenMessage | null {
    const message = this.open(datagram.payload);
    if (message !== null) this.learn(message);
    return message;
  }

  /** Opens a datagram. */
  open(payload: Uint8Array): OpenMessage | null {
    const parsed = parseDatagram(payload);
    if (!parsed.ok) return null;
    const { header, payloads, encrypted } = parsed.value;
    if (encrypted === null) return { header, payloads };
    const keyed = this.keyed.get(nameOf(header));
    if (keyed === undefined || encrypted.fragment !== null) return null;
    const { suite, keys } = keyed;
    const plaintext = openBody(suite.cipher, keys, header.isInitiator, parsed.value);
    if (plaintext === null) return null;
    const inside = parsePayloads(encrypted.firstPayload, plaintext);
    return inside.ok ? { header, payloads: inside.value } : null;
  }

  /** The bytes of a message, sealed by the keys of whoever its header says is the sender. */
  seal(header: IkeHeader, payloads: readonly Payload[]): Uint8Array {
    const isFirst = header.exchange === EXCHANGE_NUMBERS.IKE_SA_INIT;
    return this.sealBy(isFirst ? undefined : this.keyed.get(nameOf(header)), header, payloads);
  }

  /** The same, where even a message of IKE_SA_INIT is protected once there are keys. */
  sealAlways(header: IkeHeader, payloads: readonly Payload[]): Uint8Array {
    return this.sealBy(this.keyed.get(nameOf(header)), header, payloads);
  }

  /** The fragments of a message of that many octets (RFC 7383), each of at most `fragmentBytes`. */
  sealFragments(header: IkeHeader, length: number, fragmentBytes: number): readonly Uint8Array[] {
    const keyed = this.keyed.get(nameOf(header));
    if (keyed === undefined) throw new Error('an IKE SA without keys');
    return sealMessage(header, [{ type: 'vendor-id', data: new Uint8Array(length) }], {
      cipher: keyed.suite.cipher,
      keys: keyed.keys,
      fromInitiator: header.isInitiator,
      nextIv: (cipher) => this.nextIv(cipher.ivLen),
      fragmentBytes,
    });
  }

  // Far from the counter of who sends by these keys.
  private nextIv(length: number): Uint8Array {
    this.ivs += 1n;
    const iv = new Uint8Array(length);
    new DataView(iv.buffer).setBigUint64(0, 2n ** 63n + this.ivs);
    return iv;
  }

  private sealBy(
    keyed: Keyed | undefined,
    header: IkeHeader,
    payloads: readonly Payload[],
  ): Uint8Array {
    const isClear = keyed === undefined;
    const [bytes] = sealMessage(header, payloads, {
      cipher: isClear ? null : keyed.suite.cipher,
      keys: isClear ? null : keyed.keys,
      fromInitiator: header.isInitiator,
      nextIv: (cipher) => this.nextIv(cipher.ivLen),
      fragmentBytes: null,
    });
    if (bytes === undefined) throw new Error('a message without bytes');
    return bytes;
  }

  /** The payloads of a datagram as bytes, to be changed in ways that no codec writes. */
  frames(payload: Uint8Array): { readonly header: IkeHeader; readonly frames: Frame[] } | null {
    const parsed = parseDatagram(payload);
    if (!parsed.ok) return null;
    const { header, encrypted } = parsed.value;
    if (encrypted === null) return { header, frames: cut(payload[16] ?? 0, payload.subarray(28)) };
    const keyed = this.keyed.get(nameOf(header));
    if (keyed === undefined) return null;
    const { suite, keys } = keyed;
    const plaintext = openBody(suite.cipher, keys, header.isInitiator, parsed.value);
    return plaintext === null ? null : { header, frames: cut(encrypted.firstPayload, plaintext) };
  }

  /** The datagram of such payloads; in clear where the IKE SA of the header has no keys. */
  sealFrames(header: IkeHeader, frames: readonly Frame[]): Uint8Array {
    const first = frames[0]?.number ?? 0;
    const bytes = Buffer.concat(
      frames.map(({ flags, body }, at) => {
        const head = Buffer.from([frames[at + 1]?.number ?? 0, flags, 0, 0]);
        head.writeUInt16BE((4 + body.length) & 0xffff, 2);
        return Buffer.concat([head, body]);
      }),
    );
    const keyed = this.keyed.get(nameOf(header));
    if (header.exchange === EXCHANGE_NUMBERS.IKE_SA_INIT || keyed === undefined) {
      const clear = Buffer.concat([Buffer.from(this.seal(header, [])).subarray(0, 28), bytes]);
      clear.writeUInt8(first, 16);
      clear.writeUInt32BE(clear.length, 24);
      return clear;
    }
    const { cipher } = keyed.suite;
    const { keys } = keyed;
    const padded = padSk(bytes, cipher.blockLen);
    const bodyLen = cipher.ivLen + padded.length + cipher.icvLen;
    const head = encodeEncryptedHead(header, first, bodyLen, null);
    const iv = this.nextIv(cipher.ivLen);
    const { skEi, skAi, skEr, skAr } = keys;
    const own = header.isInitiator
      ? { encryption: skEi, integrity: skAi }
      : { encryption: skEr, integrity: skAr };
    return Buffer.concat([head, cipher.seal(own, iv, head, padded)]);
  }

  private learn({ header, payloads }: OpenMessage): void {
    const of = `${nameOf({ ...header, spiResponder: 0n })} ${header.isInitiator !== header.isResponse}`;
    const key = `${of} ${header.exchange} ${header.messageId}`;
    if (!header.isResponse) {
      this.asked.set(key, { header, payloads });
      return;
    }
    const request = this.asked.get(key);
    const sa = findPayload(payloads, 'sa');
    const [keI, keR] = [request?.payloads ?? [], payloads].map((list) => findPayload(list, 'ke'));
    const [ni, nr] = [request?.payloads ?? [], payloads].map((list) => findPayload(list, 'nonce'));
    const [answer] = sa?.proposals ?? [];
    if (request === undefined || answer === undefined || !keI || !keR || !ni || !nr) return;
    const suite = ikeSuiteOf({ protocol: 'ike', transforms: answer.transforms });
    if (answer.protocolId !== 1 || suite === null) return;
    const secret = toySecret(keI.data, keR.data);
    const nonces = { ni: ni.data, nr: nr.data };
    if (header.exchange === EXCHANGE_NUMBERS.IKE_SA_INIT) {
      const { spiInitiator, spiResponder } = header;
      const keys = deriveIkeKeys(suite, { ...nonces, spiInitiator, spiResponder, secret });
      this.keyed.set(nameOf(header), { suite, keys });
      return;
    }
    const old = this.keyed.get(nameOf(header));
    const [offered] = findPayload(request.payloads, 'sa')?.proposals ?? [];
    const spiInitiator = offered === undefined ? null : ikeSpiOf(offered.spi);
    const spiResponder = ikeSpiOf(answer.spi);
    if (old === undefined || spiInitiator === null || spiResponder === null) return;
    const input = { ...nonces, spiInitiator, spiResponder, secrets: [secret] };
    const keys = deriveRekeyedIkeKeys(old.suite.prf, old.keys.skD, suite, input);
    this.keyed.set(nameOf({ spiInitiator, spiResponder }), { suite, keys });
  }
}

function cut(firstPayload: number, bytes: Uint8Array): Frame[] {
  const frames: Frame[] = [];
  let number = firstPayload;
  for (let at = 0; number !== 0 && at + 4 <= bytes.length; ) {
    const length = ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0);
    frames.push({ number, flags: bytes[at + 1] ?? 0, body: bytes.slice(at + 4, at + length) });
    number = bytes[at] ?? 0;
    at += length;
  }
  return frames;
}

function nameOf(header: Pick<IkeHeader, 'spiInitiator' | 'spiResponder'>): string {
  return `${header.spiInitiator} ${header.spiResponder}`;
}

/** A message in the notation of the RFC: what kind of exchange, and the payloads that decide. */
export function arrow({ header, payloads }: OpenMessage): string {
  const names = Object.entries(EXCHANGE_NUMBERS);
  const exchange = names.find(([, number]) => number === header.exchange)?.[0] ?? 'unknown';
  const parts = payloads.map((payload) => {
    if (payload.type === 'notify') return `N(${formatNotify(payload.notify)})`;
    if (payload.type === 'delete') return payload.protocolId === 1 ? 'D(IKE)' : 'D';
    return SHORT[payload.type] ?? payload.type;
  });
  return `${exchange} {${parts.join(', ')}}`;
}
