/**
 * Frames as the attacker sees and makes them: Ethernet, IPv4, UDP, and the ESP packets in them.
 * Written for the demo alone, so that what it measures does not rest on the code that it shows.
 *
 * ```text
 * Ethernet 14 | IPv4 20 | UDP 8 | ESP: SPI 4, sequence number 4, IV 8, ciphertext, ICV 16
 *                               | IKE: SPIs 8 and 8, next payload, version, exchange, flags, ...
 * ```
 */

export const ETHERNET_LEN = 14;
export const IPV4_LEN = 20;
export const UDP_LEN = 8;
/** SPI, sequence number, IV. */
export const ESP_FRONT_LEN = 16;
export const ESP_ICV_LEN = 16;
/** RFC 3948 section 2: the port of ESP in UDP; IKE is there too, behind four zero bytes. */
export const ESP_PORT = 4500;
/** RFC 7296 section 2. */
export const IKE_PORT = 500;

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_ARP = 0x0806;
/** RFC 7296 section 3.1. */
const IKE_HEADER_LEN = 28;
const IKE_NEXT_PAYLOAD_AT = 16;
const IKE_FLAGS_AT = 19;
const IKE_RESPONSE_FLAG = 0x20;
/** RFC 7296 sections 3.2 and 3.10: a Notify payload, and the type of the notify in the first one. */
const NOTIFY_PAYLOAD = 41;
const FIRST_NOTIFY_TYPE_AT = IKE_HEADER_LEN + 6;
const NOTIFY_COOKIE = 16390;
const PROTOCOL_UDP = 17;
const PROTOCOL_ESP = 50;

/** One ESP packet, SPI through ICV. */
export interface EspPacket {
  readonly spi: number;
  /** The low half. */
  readonly sequenceNumber: number;
  readonly bytes: Uint8Array;
  /** Bytes of the outer IP packet that carries it. */
  readonly outerLen: number;
}

/** One IKE message (RFC 7296 section 3.1). */
export interface IkeMessage {
  readonly bytes: Uint8Array;
  readonly isResponse: boolean;
  /** Whether it answers that a cookie is wanted first (RFC 7296 section 2.6). */
  readonly isCookie: boolean;
}

/** What a frame on the wire is. */
export type Sighting =
  | { readonly kind: 'esp'; readonly packets: readonly EspPacket[] }
  | { readonly kind: 'ike'; readonly message: IkeMessage }
  /** RFC 3948 section 2.3. */
  | { readonly kind: 'keepalive' }
  | { readonly kind: 'arp' }
  | { readonly kind: 'other' };

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Tells what a frame is. A frame longer than the MTU is a super-packet that the kernel has not cut
 * yet: it is ESP only where it can be cut into ESP packets of one SPI whose numbers count up.
 */
export function look(frame: Uint8Array, mtuBytes: number): Sighting {
  if (frame.length < ETHERNET_LEN + IPV4_LEN) return { kind: 'other' };
  const view = viewOf(frame);
  const ethertype = view.getUint16(12);
  if (ethertype === ETHERTYPE_ARP) return { kind: 'arp' };
  if (ethertype !== ETHERTYPE_IPV4) return { kind: 'other' };
  const headerLen = (view.getUint8(ETHERNET_LEN) & 15) * 4;
  const protocol = view.getUint8(ETHERNET_LEN + 9);
  let front = ETHERNET_LEN + headerLen;
  if (protocol === PROTOCOL_UDP) {
    if (frame.length < front + UDP_LEN) return { kind: 'other' };
    const [from, to] = [view.getUint16(front), view.getUint16(front + 2)];
    front += UDP_LEN;
    const payload = frame.subarray(front);
    if (from === IKE_PORT || to === IKE_PORT) return ike(payload);
    if (to !== ESP_PORT) return { kind: 'other' };
    if (payload.length === 1 && payload[0] === 0xff) return { kind: 'keepalive' };
    // RFC 3948 section 2.2: SPI 0 marks what is not ESP.
    if (payload.length > 4 && view.getUint32(front) === 0) return ike(payload.subarray(4));
  } else if (protocol !== PROTOCOL_ESP) return { kind: 'other' };
  const packets = cut(frame.subarray(front), front - ETHERNET_LEN, mtuBytes);
  return packets === undefined ? { kind: 'other' } : { kind: 'esp', packets };
}

function ike(bytes: Uint8Array): Sighting {
  if (bytes.length < IKE_HEADER_LEN) return { kind: 'other' };
  const view = viewOf(bytes);
  const isResponse = (view.getUint8(IKE_FLAGS_AT) & IKE_RESPONSE_FLAG) !== 0;
  const isCookie =
    isResponse &&
    view.getUint8(IKE_NEXT_PAYLOAD_AT) === NOTIFY_PAYLOAD &&
    bytes.length >= FIRST_NOTIFY_TYPE_AT + 2 &&
    view.getUint16(FIRST_NOTIFY_TYPE_AT) === NOTIFY_COOKIE;
  return { kind: 'ike', message: { bytes, isResponse, isCookie } };
}

function cut(
  payload: Uint8Array,
  outerHeadersLen: number,
  mtuBytes: number,
): readonly EspPacket[] | undefined {
  const view = viewOf(payload);
  if (payload.length < ESP_FRONT_LEN + ESP_ICV_LEN) return undefined;
  const spi = view.getUint32(0);
  if (spi === 0) return undefined;
  const first = view.getUint32(4);
  const step =
    outerHeadersLen + payload.length <= mtuBytes ? payload.length : segmentLen(payload, spi, first);
  if (step === undefined || outerHeadersLen + step > mtuBytes) return undefined;
  const packets: EspPacket[] = [];
  for (let at = 0; at < payload.length; at += step) {
    const bytes = payload.subarray(at, at + step);
    if (bytes.length < ESP_FRONT_LEN + ESP_ICV_LEN) return undefined;
    const sequenceNumber = (first + packets.length) >>> 0;
    if (view.getUint32(at) !== spi || view.getUint32(at + 4) !== sequenceNumber) return undefined;
    packets.push({ spi, sequenceNumber, bytes, outerLen: outerHeadersLen + bytes.length });
  }
  return packets;
}

/** Where the ESP header with the next number begins. */
function segmentLen(payload: Uint8Array, spi: number, first: number): number | undefined {
  const next = Buffer.alloc(8);
  next.writeUInt32BE(spi, 0);
  next.writeUInt32BE((first + 1) >>> 0, 4);
  const at = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).indexOf(next, 8);
  return at < 0 ? undefined : at;
}

/** RFC 1071. */
export function internetChecksum(...parts: readonly Uint8Array[]): number {
  const bytes = Buffer.concat(parts);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) {
    sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export function ipv4Bytes(address: string): Uint8Array {
  return Uint8Array.from(address.split('.'), Number);
}

/** Addresses and ports of a UDP packet. */
export interface UdpPath {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** An IPv4 packet with a UDP datagram in it, all checksums right. */
export function udpPacket(path: UdpPath, payload: Uint8Array): Uint8Array {
  const source = ipv4Bytes(path.source);
  const destination = ipv4Bytes(path.destination);
  const udp = Buffer.alloc(UDP_LEN + payload.length);
  udp.writeUInt16BE(path.sourcePort, 0);
  udp.writeUInt16BE(path.destinationPort, 2);
  udp.writeUInt16BE(udp.length, 4);
  udp.set(payload, UDP_LEN);
  const pseudo = Uint8Array.of(...source, ...destination, 0, PROTOCOL_UDP, ...udp.subarray(4, 6));
  udp.writeUInt16BE(internetChecksum(pseudo, udp) || 0xffff, 6);
  const ip = Buffer.alloc(IPV4_LEN);
  ip[0] = 0x45;
  ip.writeUInt16BE(IPV4_LEN + udp.length, 2);
  // Don't Fragment.
  ip[6] = 0x40;
  ip[8] = 64;
  ip[9] = PROTOCOL_UDP;
  ip.set(source, 12);
  ip.set(destination, 16);
  ip.writeUInt16BE(internetChecksum(ip), 10);
  return Buffer.concat([ip, udp]);
}

/** Puts an IPv4 packet into a frame. */
export function frameOf(ethernet: EthernetPath, packet: Uint8Array): Uint8Array {
  return Buffer.concat([
    macBytes(ethernet.destination),
    macBytes(ethernet.source),
    Uint8Array.of(ETHERTYPE_IPV4 >>> 8, ETHERTYPE_IPV4 & 255),
    packet,
  ]);
}

/** Link addresses, as `02:00:00:00:00:01`. */
export interface EthernetPath {
  readonly source: string;
  readonly destination: string;
}

function macBytes(address: string): Uint8Array {
  return Uint8Array.from(address.split(':'), (digits) => Number.parseInt(digits, 16));
}
