/**
 * Tunnel-mode ESP (RFC 4303) over node:crypto, one packet at a time and one step after the other.
 *
 *     outer IP | [UDP] | SPI | Sequence Number | IV | payload TFC padding Pad-Length Next-Header | ICV
 *                      `---- additional data --'      `------------ encrypted --------------'
 */

import { createCipheriv, createDecipheriv, createHmac, type CipherGCMTypes } from 'node:crypto';
import {
  type Endpoints,
  ipv4Packet,
  ipv6Packet,
  MalformedPacket,
  type ParsedPacket,
  parsePacket,
  PROTOCOL,
  udpDatagram,
  withEcn,
} from './packet.ts';
import type { OracleReplayWindow } from './replay-window.ts';
import { flowOf, type OracleSelector, selectorMatches } from './spd.ts';

export const AEADS = ['aes128gcm16', 'aes256gcm16', 'chacha20poly1305'] as const;
export const CBC_SUITES = (['aes128', 'aes192', 'aes256'] as const).flatMap((cipher) =>
  (['sha1', 'sha256', 'sha384', 'sha512'] as const).map((hash) => `${cipher}-${hash}` as const),
);
export type OracleAead = (typeof AEADS)[number];
export type OracleSuite = OracleAead | (typeof CBC_SUITES)[number];
export const SUITES: readonly OracleSuite[] = [...AEADS, ...CBC_SUITES];

const HEADER_LEN = 8;

export interface OracleSa {
  readonly spi: number;
  readonly suite: OracleSuite;
  /** The cipher's key alone: 16, 24 or 32 octets. */
  readonly key: Uint8Array;
  /** What follows it: 4 octets of salt, or the key of the HMAC. */
  readonly salt: Uint8Array;
  readonly esn: boolean;
}

export interface OracleTunnel {
  readonly source: string;
  readonly destination: string;
  /** RFC 3948 encapsulation; raw ESP without it. */
  readonly udp?: { readonly sourcePort: number; readonly destinationPort: number };
  /** IPv4 outside: what the DF bit is. IPv6 inside counts as DF set. Default 'copy'. */
  readonly dontFragment?: 'copy' | 'set' | 'clear';
  /** Default 64. */
  readonly ttl?: number;
  /** RFC 6040 section 4.1. Default 'normal'. */
  readonly ecn?: 'normal' | 'compatibility';
}

export type Refusal =
  | 'short'
  | 'no-sa'
  | 'seq-zero'
  | 'too-old'
  | 'duplicate'
  | 'integrity'
  | 'malformed'
  | 'dummy'
  | 'mode'
  | 'ecn'
  | 'selector'
  | 'fragment';

/** A packet that is not to be delivered, and why. */
export class Refused extends Error {
  constructor(
    readonly reason: Refusal,
    detail = '',
  ) {
    super(detail === '' ? reason : `${reason}: ${detail}`);
  }
}

interface Cipher {
  readonly name: CipherGCMTypes | 'chacha20-poly1305';
  readonly keyLen: number;
}

const CIPHERS: Readonly<Record<OracleAead, Cipher>> = {
  aes128gcm16: { name: 'aes-128-gcm', keyLen: 16 },
  aes256gcm16: { name: 'aes-256-gcm', keyLen: 32 },
  chacha20poly1305: { name: 'chacha20-poly1305', keyLen: 32 },
};

/** AES-CBC (RFC 3602) with HMAC (RFC 4868, RFC 2404). */
interface CbcHmac {
  readonly cipher: string;
  readonly keyLen: number;
  readonly hash: string;
  readonly hashKeyLen: number;
  readonly icvLen: number;
}

const HMACS: Readonly<Record<string, readonly [hashKeyLen: number, icvLen: number]>> = {
  sha1: [20, 12],
  sha256: [32, 16],
  sha384: [48, 24],
  sha512: [64, 32],
};

function cbcHmac(suite: OracleSuite): CbcHmac | undefined {
  const match = /^aes(128|192|256)-(sha\d+)$/.exec(suite);
  if (match === null) return undefined;
  const [, bits = '', hash = ''] = match;
  const [hashKeyLen, icvLen] = HMACS[hash] ?? [0, 0];
  return { cipher: `aes-${bits}-cbc`, keyLen: Number(bits) / 8, hash, hashKeyLen, icvLen };
}

/** A key for a suite, every octet the same. */
export function sampleKeys(suite: OracleSuite, octet: number): Pick<OracleSa, 'key' | 'salt'> {
  const cbc = cbcHmac(suite);
  const keyLen = cbc?.keyLen ?? (suite === 'aes128gcm16' ? 16 : 32);
  const salt = cbc === undefined ? Buffer.from('a0b1c2d3', 'hex') : Buffer.alloc(cbc.hashKeyLen, 3);
  return { key: Buffer.alloc(keyLen, octet), salt };
}

const ivLenOf = (sa: OracleSa): number => (cbcHmac(sa.suite) === undefined ? 8 : 16);
const icvLenOf = (sa: OracleSa): number => cbcHmac(sa.suite)?.icvLen ?? 16;

/** Where the payload begins. */
export const frontLenOf = (sa: OracleSa): number => HEADER_LEN + ivLenOf(sa);

// RFC 4303 section 3.3.2.1: over the packet up to the ICV; section 2.2.1: then the high half.
function hmacOf(sa: OracleSa, cbc: CbcHmac, covered: Uint8Array, sequence: bigint): Buffer {
  if (sa.key.length !== cbc.keyLen || sa.salt.length !== cbc.hashKeyLen) {
    throw new Error(`${sa.suite} wants keys of ${cbc.keyLen} and ${cbc.hashKeyLen} octets`);
  }
  const hmac = createHmac(cbc.hash, sa.salt).update(covered);
  if (sa.esn) hmac.update(octets64(sequence).subarray(0, 4));
  return hmac.digest().subarray(0, cbc.icvLen);
}

// One literal type is enough for the compiler: both AEADs have the same calls in node:crypto.
function cipherName(sa: OracleSa): CipherGCMTypes {
  const cipher = CIPHERS[AEADS.find((name) => name === sa.suite) ?? 'aes128gcm16'];
  if (sa.key.length !== cipher.keyLen || sa.salt.length !== 4) {
    throw new Error(`${sa.suite} wants a key of ${cipher.keyLen} octets and a salt of 4`);
  }
  return cipher.name as CipherGCMTypes;
}

/** A 64-bit number as 8 octets, most significant first. */
export function octets64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

// RFC 4106 section 5: with ESN the additional data holds all 64 bits of the number.
function additionalData(sa: OracleSa, sequence: bigint): Buffer {
  const spi = Buffer.alloc(4);
  spi.writeUInt32BE(sa.spi);
  const number = octets64(sequence);
  return Buffer.concat([spi, sa.esn ? number : number.subarray(4)]);
}

export interface SealOptions {
  readonly sequence: bigint;
  /** Default: the sequence number as 8 octets; of a CBC suite, after 8 octets of zero. */
  readonly iv?: Uint8Array;
  /** Octets of TFC padding after the payload (RFC 4303 section 2.7). */
  readonly tfcLen?: number;
  /** Blocks of this size are filled; 4 is the least (RFC 4303 section 2.4). */
  readonly alignment?: number;
  /** The whole trailer instead of a right one: padding, Pad Length, Next Header. */
  readonly trailer?: Uint8Array;
}

/** Padding 1, 2, 3 ..., then Pad Length and Next Header, for a payload of that length. */
export function espTrailer(payloadLen: number, nextHeader: number, alignment = 4): Buffer {
  const padLen = (alignment - ((payloadLen + 2) % alignment)) % alignment;
  return Buffer.from([...Array.from({ length: padLen }, (_, i) => i + 1), padLen, nextHeader]);
}

/** ESP header, IV, ciphertext, ICV around any octets. */
export function sealEsp(
  sa: OracleSa,
  payload: Uint8Array,
  nextHeader: number,
  options: SealOptions,
): Buffer {
  const cbc = cbcHmac(sa.suite);
  const number = octets64(options.sequence);
  const iv = options.iv ?? (cbc === undefined ? number : Buffer.concat([Buffer.alloc(8), number]));
  const body = Buffer.concat([payload, Buffer.alloc(options.tfcLen ?? 0)]);
  const alignment = options.alignment ?? (cbc === undefined ? 4 : 16);
  const trailer = options.trailer ?? espTrailer(body.length, nextHeader, alignment);
  const header = Buffer.alloc(HEADER_LEN);
  header.writeUInt32BE(sa.spi, 0);
  header.writeUInt32BE(Number(options.sequence % 2n ** 32n), 4);
  if (cbc !== undefined) {
    const encryption = createCipheriv(cbc.cipher, sa.key, iv).setAutoPadding(false);
    const sealed = [encryption.update(body), encryption.update(trailer), encryption.final()];
    const covered = Buffer.concat([header, iv, ...sealed]);
    return Buffer.concat([covered, hmacOf(sa, cbc, covered, options.sequence)]);
  }
  const cipher = createCipheriv(cipherName(sa), sa.key, Buffer.concat([sa.salt, iv]), {
    authTagLength: 16,
  });
  cipher.setAAD(additionalData(sa, options.sequence));
  const sealed = Buffer.concat([cipher.update(body), cipher.update(trailer), cipher.final()]);
  return Buffer.concat([header, iv, sealed, cipher.getAuthTag()]);
}

export interface OpenedEsp {
  readonly sequence: bigint;
  readonly iv: Buffer;
  /** Payload and TFC padding. */
  readonly body: Buffer;
  readonly padding: Buffer;
  readonly nextHeader: number;
}

/** The plaintext with its trailer still on. Throws Refused 'integrity' when the ICV is wrong. */
export function decryptEsp(sa: OracleSa, esp: Uint8Array, sequence: bigint): Buffer {
  const packet = Buffer.from(esp);
  const [frontLen, icvLen] = [frontLenOf(sa), icvLenOf(sa)];
  if (packet.length < frontLen + icvLen) throw new Refused('short');
  const iv = packet.subarray(HEADER_LEN, frontLen);
  const cbc = cbcHmac(sa.suite);
  if (cbc !== undefined) {
    const icv = hmacOf(sa, cbc, packet.subarray(0, -icvLen), sequence);
    if (!icv.equals(packet.subarray(-icvLen))) throw new Refused('integrity');
    const sealed = packet.subarray(frontLen, -icvLen);
    if (sealed.length % 16 !== 0) return Buffer.alloc(0);
    const decryption = createDecipheriv(cbc.cipher, sa.key, iv).setAutoPadding(false);
    return Buffer.concat([decryption.update(sealed), decryption.final()]);
  }
  const decipher = createDecipheriv(cipherName(sa), sa.key, Buffer.concat([sa.salt, iv]), {
    authTagLength: icvLen,
  });
  decipher.setAAD(additionalData(sa, sequence));
  decipher.setAuthTag(packet.subarray(-icvLen));
  const plain = decipher.update(packet.subarray(frontLen, -icvLen));
  try {
    return Buffer.concat([plain, decipher.final()]);
  } catch {
    throw new Refused('integrity');
  }
}

/** Decrypts, and takes the trailer off. `sequence` has all 64 bits when the SA uses ESN. */
export function openEsp(sa: OracleSa, esp: Uint8Array, sequence: bigint): OpenedEsp {
  const plain = decryptEsp(sa, esp, sequence);
  const iv = Buffer.from(esp).subarray(HEADER_LEN, frontLenOf(sa));
  if (plain.length < 2) throw new Refused('malformed', 'no room for a trailer');
  const nextHeader = plain.readUInt8(plain.length - 1);
  const padLen = plain.readUInt8(plain.length - 2);
  const bodyLen = plain.length - 2 - padLen;
  if (bodyLen < 0) throw new Refused('malformed', 'Pad Length past the payload');
  const padding = plain.subarray(bodyLen, bodyLen + padLen);
  // RFC 4303 section 2.4: the receiver should look at the padding: 1, 2, 3, ...
  if (padding.some((octet, index) => octet !== index + 1)) {
    throw new Refused('malformed', 'padding is not 1, 2, 3, ...');
  }
  return { sequence, iv, body: plain.subarray(0, bodyLen), padding, nextHeader };
}

/** Everything outside the ESP header: what RFC 4301 section 5.1.2 and RFC 6040 make of the inner. */
export function outerPacket(tunnel: OracleTunnel, inner: ParsedPacket, esp: Uint8Array): Buffer {
  const ends: Endpoints = {
    source: tunnel.source,
    destination: tunnel.destination,
    sourcePort: tunnel.udp?.sourcePort ?? 0,
    destinationPort: tunnel.udp?.destinationPort ?? 0,
  };
  // RFC 3948 section 2.1: the UDP checksum is sent as zero.
  const payload = tunnel.udp === undefined ? esp : udpDatagram(ends, esp, 'zero');
  const protocol = tunnel.udp === undefined ? PROTOCOL.esp : PROTOCOL.udp;
  const ecn = tunnel.ecn === 'compatibility' ? 0 : inner.ecn;
  const trafficClass = inner.dscp * 4 + ecn;
  const { source, destination } = tunnel;
  const ttl = tunnel.ttl ?? 64;
  if (source.includes(':')) {
    return ipv6Packet({
      source,
      destination,
      nextHeader: protocol,
      payload,
      trafficClass,
      hopLimit: ttl,
    });
  }
  const choice = tunnel.dontFragment ?? 'copy';
  const dontFragment = choice === 'set' || (choice === 'copy' && inner.dontFragment);
  return ipv4Packet({ source, destination, protocol, payload, trafficClass, ttl, dontFragment });
}

/** A whole outer packet for a whole inner one. */
export function encapsulate(
  sa: OracleSa,
  tunnel: OracleTunnel,
  inner: Uint8Array,
  options: SealOptions,
): Buffer {
  const parsed = parsePacket(inner);
  const nextHeader = parsed.version === 4 ? PROTOCOL.ipv4 : PROTOCOL.ipv6;
  return outerPacket(tunnel, parsed, sealEsp(sa, inner, nextHeader, options));
}

/** RFC 6040 section 4.2, figure 4; undefined: the packet is dropped. */
export function decapsulatedEcn(inner: number, outer: number): number | undefined {
  const [notEct, ect1, , ce] = [0, 1, 2, 3];
  if (outer === ce) return inner === notEct ? undefined : ce;
  if (outer === ect1 && inner === 2) return ect1;
  return inner;
}

/** What UDP port 4500 brought (RFC 3948 sections 2.2 and 2.3). */
export function demultiplexUdp(payload: Uint8Array): 'keepalive' | 'ike' | 'esp' | 'short' {
  if (payload.length === 1 && payload[0] === 0xff) return 'keepalive';
  // An IKE header is 28 octets after the marker of 4; an ESP packet has at least SPI and number.
  if (payload.length < 4) return 'short';
  const marker = Buffer.from(payload).readUInt32BE(0) === 0;
  if (marker) return payload.length > 4 ? 'ike' : 'short';
  return payload.length < HEADER_LEN ? 'short' : 'esp';
}

export interface EspInOuter {
  readonly outer: ParsedPacket;
  readonly esp: Buffer;
  readonly udp: boolean;
}

/** Takes ESP out of an outer IP packet, raw or in UDP. Throws Refused 'mode' where there is none. */
export function espOf(outerBytes: Uint8Array): EspInOuter {
  const outer = parsePacket(outerBytes);
  // RFC 4303 section 3.4.1: reassembly comes before ESP; a fragment that arrives is discarded.
  if (outer.fragmentOffset > 0 || outer.moreFragments) throw new Refused('fragment');
  if (outer.protocol === PROTOCOL.esp) return { outer, esp: outer.payload, udp: false };
  if (outer.protocol !== PROTOCOL.udp) throw new Refused('mode', `protocol ${outer.protocol}`);
  return { outer, esp: outer.payload.subarray(8), udp: true };
}

export interface InboundOptions {
  /** What the inner packet may be (RFC 4301 section 5.2 step 4); anything when left out. */
  readonly selectors?: readonly OracleSelector[];
  /** The ECN field of the outer header; Not-ECT when left out. */
  readonly outerEcn?: number;
}

export interface Delivered {
  readonly sequence: bigint;
  /** The inner packet without TFC padding, its ECN field as RFC 6040 makes it. */
  readonly inner: Buffer;
  readonly tfcLen: number;
}

/** One inbound SA with its window. Each refusal throws Refused and leaves the right state behind. */
export class OracleInboundSa {
  constructor(
    readonly sa: OracleSa,
    readonly window: OracleReplayWindow,
    readonly options: InboundOptions = {},
  ) {}

  receive(esp: Uint8Array): Delivered {
    const packet = Buffer.from(esp);
    if (packet.length < frontLenOf(this.sa) + icvLenOf(this.sa)) throw new Refused('short');
    if (packet.readUInt32BE(0) !== this.sa.spi) throw new Refused('no-sa');
    const low = packet.readUInt32BE(4);
    const outcome = this.window.receive(low, (sequence) => this.#authenticates(packet, sequence));
    if (outcome !== 'accept') throw new Refused(outcome);
    // RFC 4303 section 3.4.3: all below is of an authenticated packet; its number stays used.
    const sequence = this.#committed(low);
    const opened = openEsp(this.sa, packet, sequence);
    return { sequence, ...this.#deliver(opened) };
  }

  #authenticates(packet: Buffer, sequence: bigint): boolean {
    try {
      decryptEsp(this.sa, packet, sequence);
      return true;
    } catch (error) {
      if (error instanceof Refused && error.reason === 'integrity') return false;
      throw error;
    }
  }

  // After the commit the number lies within the window, so the inference gives it again.
  #committed(low: number): bigint {
    return this.window.infer(low);
  }

  #deliver(opened: OpenedEsp): Omit<Delivered, 'sequence'> {
    const { nextHeader, body } = opened;
    // RFC 4303 section 2.6: a packet with Next Header 59 is a dummy and is discarded.
    if (nextHeader === PROTOCOL.noNextHeader) throw new Refused('dummy');
    if (nextHeader === 0 || nextHeader === 255) throw new Refused('malformed', 'Next Header');
    if (nextHeader !== PROTOCOL.ipv4 && nextHeader !== PROTOCOL.ipv6) {
      throw new Refused('mode', `Next Header ${nextHeader}`);
    }
    const inner = this.#parse(body);
    if (inner.version !== (nextHeader === PROTOCOL.ipv4 ? 4 : 6)) {
      throw new Refused('malformed', 'Next Header and IP version differ');
    }
    const packet = body.subarray(0, inner.totalLen);
    const { selectors, outerEcn } = this.options;
    const flow = flowOf(inner, 'inbound');
    if (selectors !== undefined && !selectors.some((s) => selectorMatches(s, flow))) {
      throw new Refused('selector');
    }
    const ecn = decapsulatedEcn(inner.ecn, outerEcn ?? 0);
    if (ecn === undefined) throw new Refused('ecn');
    return {
      inner: ecn === inner.ecn ? packet : withEcn(packet, ecn),
      tfcLen: body.length - inner.totalLen,
    };
  }

  #parse(body: Buffer): ParsedPacket {
    try {
      return parsePacket(body);
    } catch (error) {
      if (error instanceof MalformedPacket) throw new Refused('malformed', error.message);
      throw error;
    }
  }
}
