/**
 * IPv4, IPv6, UDP, TCP and ICMP packets written and read the obvious way, for the oracle and for
 * tests. Nothing here is shared with the product: a mistake there must not be repeated here.
 */

export const PROTOCOL = {
  hopByHop: 0,
  icmp: 1,
  ipv4: 4,
  tcp: 6,
  udp: 17,
  ipv6: 41,
  routing: 43,
  fragment: 44,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  noNextHeader: 59,
  destinationOptions: 60,
  mobility: 135,
} as const;

/** Parses an IPv4 dotted quad or an IPv6 text (with `::`) to its 4 or 16 bytes. */
export function addressBytes(text: string): Buffer {
  if (!text.includes(':')) {
    const parts = text.split('.').map(Number);
    if (parts.length !== 4 || parts.some((p) => !Number.isInteger(p) || p < 0 || p > 255)) {
      throw new Error(`not an IPv4 address: ${text}`);
    }
    return Buffer.from(parts);
  }
  const [left = '', right, more] = text.split('::');
  if (more !== undefined) throw new Error(`not an IPv6 address: ${text}`);
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const head = groups(left);
  const tail = right === undefined ? [] : groups(right);
  const missing = 8 - head.length - tail.length;
  if (right === undefined ? missing !== 0 : missing < 1) {
    throw new Error(`not an IPv6 address: ${text}`);
  }
  const all = [...head, ...Array.from({ length: missing }, () => '0'), ...tail];
  const bytes = Buffer.alloc(16);
  all.forEach((group, index) => {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) throw new Error(`not an IPv6 address: ${text}`);
    bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2);
  });
  return bytes;
}

/** Writes 4 or 16 bytes as an address; IPv6 without `::` (eight groups, no leading zeros). */
export function addressText(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes);
  if (buffer.length === 4) return [...buffer].join('.');
  return Array.from({ length: 8 }, (_, i) => buffer.readUInt16BE(i * 2).toString(16)).join(':');
}

/** The Internet checksum (RFC 1071) over the concatenation of the chunks. */
export function internetChecksum(...chunks: readonly Uint8Array[]): number {
  const data = Buffer.concat(chunks);
  let sum = 0;
  for (let i = 0; i < data.length; i += 2) {
    sum += data.readUInt8(i) * 256 + (i + 1 < data.length ? data.readUInt8(i + 1) : 0);
  }
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return 0xffff - sum;
}

export interface Ipv4Fields {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly payload: Uint8Array;
  /** The whole octet: DSCP and ECN. */
  readonly trafficClass?: number;
  readonly identification?: number;
  readonly dontFragment?: boolean;
  readonly moreFragments?: boolean;
  /** In octets; a multiple of 8. */
  readonly fragmentOffset?: number;
  readonly ttl?: number;
  /** Padded with zeros to a multiple of four octets. */
  readonly options?: Uint8Array;
}

export function ipv4Packet(fields: Ipv4Fields): Buffer {
  const options = Buffer.alloc(Math.ceil((fields.options?.length ?? 0) / 4) * 4);
  options.set(fields.options ?? []);
  const header = Buffer.alloc(20 + options.length);
  header.writeUInt8(0x40 + header.length / 4, 0);
  header.writeUInt8(fields.trafficClass ?? 0, 1);
  header.writeUInt16BE(header.length + fields.payload.length, 2);
  header.writeUInt16BE(fields.identification ?? 0, 4);
  header.writeUInt16BE(
    (fields.dontFragment === true ? 0x4000 : 0) +
      (fields.moreFragments === true ? 0x2000 : 0) +
      (fields.fragmentOffset ?? 0) / 8,
    6,
  );
  header.writeUInt8(fields.ttl ?? 64, 8);
  header.writeUInt8(fields.protocol, 9);
  header.set(addressBytes(fields.source), 12);
  header.set(addressBytes(fields.destination), 16);
  header.set(options, 20);
  header.writeUInt16BE(internetChecksum(header), 10);
  return Buffer.concat([header, fields.payload]);
}

export interface Ipv6Fields {
  readonly source: string;
  readonly destination: string;
  readonly nextHeader: number;
  readonly payload: Uint8Array;
  readonly trafficClass?: number;
  readonly flowLabel?: number;
  readonly hopLimit?: number;
}

export function ipv6Packet(fields: Ipv6Fields): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt32BE(
    6 * 2 ** 28 + (fields.trafficClass ?? 0) * 2 ** 20 + (fields.flowLabel ?? 0),
    0,
  );
  header.writeUInt16BE(fields.payload.length, 4);
  header.writeUInt8(fields.nextHeader, 6);
  header.writeUInt8(fields.hopLimit ?? 64, 7);
  header.set(addressBytes(fields.source), 8);
  header.set(addressBytes(fields.destination), 24);
  return Buffer.concat([header, fields.payload]);
}

export interface IpFields {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly payload: Uint8Array;
  readonly trafficClass?: number;
  readonly ttl?: number;
}

/** An IPv4 or an IPv6 packet, as the source address says. */
export function ipPacket(fields: IpFields): Buffer {
  const { protocol, ttl, ...rest } = fields;
  if (!fields.source.includes(':')) return ipv4Packet(fields);
  return ipv6Packet({
    ...rest,
    nextHeader: protocol,
    ...(ttl === undefined ? {} : { hopLimit: ttl }),
  });
}

function pseudoHeader(source: string, destination: string, protocol: number, len: number): Buffer {
  const addresses = Buffer.concat([addressBytes(source), addressBytes(destination)]);
  if (addresses.length === 8) {
    return Buffer.concat([addresses, Buffer.from([0, protocol, len >> 8, len & 0xff])]);
  }
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(len, 0);
  tail.writeUInt8(protocol, 7);
  return Buffer.concat([addresses, tail]);
}

export interface Endpoints {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** A UDP header and payload. `checksum: 'zero'` leaves it out, as RFC 3948 section 2.1 wants. */
export function udpDatagram(
  ends: Endpoints,
  payload: Uint8Array,
  checksum: 'computed' | 'zero' = 'computed',
): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(ends.sourcePort, 0);
  header.writeUInt16BE(ends.destinationPort, 2);
  header.writeUInt16BE(8 + payload.length, 4);
  if (checksum === 'computed') {
    const sum = internetChecksum(
      pseudoHeader(ends.source, ends.destination, PROTOCOL.udp, 8 + payload.length),
      header,
      payload,
    );
    // RFC 768: a computed zero is sent as all ones.
    header.writeUInt16BE(sum === 0 ? 0xffff : sum, 6);
  }
  return Buffer.concat([header, payload]);
}

export const TCP_FLAG = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32 } as const;

export interface TcpFields {
  readonly sequence?: number;
  readonly acknowledgment?: number;
  readonly flags?: number;
  readonly window?: number;
  /** Padded with End of Option List to a multiple of four octets. */
  readonly options?: Uint8Array;
}

export function tcpSegment(ends: Endpoints, payload: Uint8Array, fields: TcpFields = {}): Buffer {
  const options = Buffer.alloc(Math.ceil((fields.options?.length ?? 0) / 4) * 4);
  options.set(fields.options ?? []);
  const header = Buffer.alloc(20 + options.length);
  header.writeUInt16BE(ends.sourcePort, 0);
  header.writeUInt16BE(ends.destinationPort, 2);
  header.writeUInt32BE(fields.sequence ?? 0, 4);
  header.writeUInt32BE(fields.acknowledgment ?? 0, 8);
  header.writeUInt8((header.length / 4) * 16, 12);
  header.writeUInt8(fields.flags ?? TCP_FLAG.ack, 13);
  header.writeUInt16BE(fields.window ?? 0xffff, 14);
  header.set(options, 20);
  header.writeUInt16BE(
    internetChecksum(
      pseudoHeader(ends.source, ends.destination, PROTOCOL.tcp, header.length + payload.length),
      header,
      payload,
    ),
    16,
  );
  return Buffer.concat([header, payload]);
}

export interface IcmpFields {
  readonly source: string;
  readonly destination: string;
  readonly type: number;
  readonly code?: number;
  /** The four octets after the checksum. */
  readonly rest?: number;
  readonly body?: Uint8Array;
}

/** An ICMP or ICMPv6 message, as the source address says. */
export function icmpMessage(fields: IcmpFields): Buffer {
  const body = fields.body ?? Buffer.alloc(0);
  const header = Buffer.alloc(8);
  header.writeUInt8(fields.type, 0);
  header.writeUInt8(fields.code ?? 0, 1);
  header.writeUInt32BE(fields.rest ?? 0, 4);
  const pseudo = fields.source.includes(':')
    ? pseudoHeader(fields.source, fields.destination, PROTOCOL.icmpv6, 8 + body.length)
    : Buffer.alloc(0);
  header.writeUInt16BE(internetChecksum(pseudo, header, body), 2);
  return Buffer.concat([header, body]);
}

/** A whole UDP packet: IP header, UDP header, payload. */
export function udpPacket(
  ends: Endpoints,
  payload: Uint8Array,
  ip: Partial<IpFields> = {},
): Buffer {
  return ipPacket({
    ...ip,
    source: ends.source,
    destination: ends.destination,
    protocol: PROTOCOL.udp,
    payload: udpDatagram(ends, payload),
  });
}

/** A whole TCP packet: IP header, TCP header, payload. */
export function tcpPacket(
  ends: Endpoints,
  payload: Uint8Array,
  fields: TcpFields = {},
  ip: Partial<IpFields> = {},
): Buffer {
  return ipPacket({
    ...ip,
    source: ends.source,
    destination: ends.destination,
    protocol: PROTOCOL.tcp,
    payload: tcpSegment(ends, payload, fields),
  });
}

/** A whole ICMP or ICMPv6 echo request. */
export function echoRequest(
  source: string,
  destination: string,
  body: Uint8Array,
  sequence = 1,
): Buffer {
  const six = source.includes(':');
  return ipPacket({
    source,
    destination,
    protocol: six ? PROTOCOL.icmpv6 : PROTOCOL.icmp,
    payload: icmpMessage({ source, destination, type: six ? 128 : 8, rest: sequence, body }),
  });
}

export interface ParsedPacket {
  readonly version: 4 | 6;
  /** The IP header alone: with options, without extension headers. */
  readonly headerLen: number;
  /** As the header says: IPv4 Total Length, or 40 more than IPv6 Payload Length. */
  readonly totalLen: number;
  readonly source: string;
  readonly destination: string;
  readonly trafficClass: number;
  readonly ecn: 0 | 1 | 2 | 3;
  readonly dscp: number;
  readonly ttl: number;
  readonly dontFragment: boolean;
  readonly identification: number;
  /** In octets. */
  readonly fragmentOffset: number;
  readonly moreFragments: boolean;
  readonly flowLabel: number;
  /** The protocol after every extension header. */
  readonly protocol: number;
  /** What follows the last header, within totalLen. */
  readonly payload: Buffer;
  readonly headerChecksumValid: boolean;
  /** Undefined for a protocol without ports, a later fragment, or a payload cut too short. */
  readonly sourcePort: number | undefined;
  readonly destinationPort: number | undefined;
  readonly icmpType: number | undefined;
  readonly icmpCode: number | undefined;
}

export class MalformedPacket extends Error {}

function refuse(why: string): never {
  throw new MalformedPacket(why);
}

const EXTENSION_COUNT_MAX = 8;

interface UpperLayer {
  readonly protocol: number;
  readonly offset: number;
  readonly fragmentOffset: number;
  readonly moreFragments: boolean;
  readonly identification: number;
}

function walkExtensionHeaders(packet: Buffer, totalLen: number): UpperLayer {
  let protocol = packet.readUInt8(6);
  let offset = 40;
  let fragmentOffset = 0;
  let moreFragments = false;
  let identification = 0;
  for (let count = 0; ; count += 1) {
    const upper = { protocol, offset, fragmentOffset, moreFragments, identification };
    const generic = [PROTOCOL.hopByHop, PROTOCOL.routing, PROTOCOL.destinationOptions, 135];
    const isFragment = protocol === PROTOCOL.fragment;
    if (!isFragment && !generic.some((known) => known === protocol)) return upper;
    // What follows a later fragment's header is data, whatever its Next Header says.
    if (fragmentOffset > 0) return upper;
    if (count === EXTENSION_COUNT_MAX) refuse('too many extension headers');
    if (protocol === PROTOCOL.hopByHop && count > 0) refuse('hop-by-hop options not first');
    if (offset + 8 > totalLen) refuse('extension header cut short');
    const len = isFragment ? 8 : 8 + 8 * packet.readUInt8(offset + 1);
    if (offset + len > totalLen) refuse('extension header past the packet');
    if (isFragment) {
      const word = packet.readUInt16BE(offset + 2);
      fragmentOffset = word - (word % 8);
      moreFragments = word % 2 === 1;
      identification = packet.readUInt32BE(offset + 4);
    }
    protocol = packet.readUInt8(offset);
    offset += len;
  }
}

function checkIpv4Options(packet: Buffer, headerLen: number): void {
  for (let at = 20; at < headerLen; ) {
    const kind = packet.readUInt8(at);
    if (kind === 0) return;
    if (kind === 1) {
      at += 1;
      continue;
    }
    if (at + 2 > headerLen) refuse('option without length');
    const len = packet.readUInt8(at + 1);
    if (len < 2 || at + len > headerLen) refuse('option past the header');
    at += len;
  }
}

function upperFields(
  protocol: number,
  payload: Buffer,
  fragmentOffset: number,
): Pick<ParsedPacket, 'sourcePort' | 'destinationPort' | 'icmpType' | 'icmpCode'> {
  const none = {
    sourcePort: undefined,
    destinationPort: undefined,
    icmpType: undefined,
    icmpCode: undefined,
  };
  if (fragmentOffset > 0) return none;
  const withPorts: readonly number[] = [PROTOCOL.tcp, PROTOCOL.udp, 33, 132, 136];
  if (withPorts.includes(protocol) && payload.length >= 4) {
    return {
      ...none,
      sourcePort: payload.readUInt16BE(0),
      destinationPort: payload.readUInt16BE(2),
    };
  }
  const isIcmp = protocol === PROTOCOL.icmp || protocol === PROTOCOL.icmpv6;
  if (isIcmp && payload.length >= 2) {
    return { ...none, icmpType: payload.readUInt8(0), icmpCode: payload.readUInt8(1) };
  }
  return none;
}

/**
 * Reads one IP packet. Octets after the length that the header names are ignored.
 * Throws MalformedPacket for a header that contradicts itself or the octets given.
 */
export function parsePacket(bytes: Uint8Array): ParsedPacket {
  const packet = Buffer.from(bytes);
  if (packet.length < 20) refuse('shorter than an IPv4 header');
  const version = packet.readUInt8(0) >> 4;
  if (version === 4) return parseIpv4(packet);
  if (version === 6) return parseIpv6(packet);
  return refuse(`IP version ${version}`);
}

function parseIpv4(packet: Buffer): ParsedPacket {
  const headerLen = (packet.readUInt8(0) % 16) * 4;
  const totalLen = packet.readUInt16BE(2);
  if (headerLen < 20) refuse('IHL below 5');
  if (totalLen < headerLen) refuse('Total Length below the header');
  if (totalLen > packet.length) refuse('Total Length past the octets received');
  checkIpv4Options(packet, headerLen);
  const trafficClass = packet.readUInt8(1);
  const fragmentWord = packet.readUInt16BE(6);
  const fragmentOffset = (fragmentWord % 0x2000) * 8;
  const protocol = packet.readUInt8(9);
  const payload = packet.subarray(headerLen, totalLen);
  return {
    version: 4,
    headerLen,
    totalLen,
    source: addressText(packet.subarray(12, 16)),
    destination: addressText(packet.subarray(16, 20)),
    trafficClass,
    ecn: ecnOf(trafficClass),
    dscp: trafficClass >> 2,
    ttl: packet.readUInt8(8),
    dontFragment: (fragmentWord & 0x4000) !== 0,
    moreFragments: (fragmentWord & 0x2000) !== 0,
    fragmentOffset,
    identification: packet.readUInt16BE(4),
    flowLabel: 0,
    protocol,
    payload,
    headerChecksumValid: internetChecksum(packet.subarray(0, headerLen)) === 0,
    ...upperFields(protocol, payload, fragmentOffset),
  };
}

function parseIpv6(packet: Buffer): ParsedPacket {
  if (packet.length < 40) refuse('shorter than an IPv6 header');
  const totalLen = 40 + packet.readUInt16BE(4);
  if (totalLen > packet.length) refuse('Payload Length past the octets received');
  if (totalLen === 40 && packet.readUInt8(6) === PROTOCOL.hopByHop) refuse('jumbogram');
  const first = packet.readUInt32BE(0);
  const trafficClass = (first >>> 20) & 0xff;
  const upper = walkExtensionHeaders(packet, totalLen);
  const payload = packet.subarray(upper.offset, totalLen);
  return {
    version: 6,
    headerLen: 40,
    totalLen,
    source: addressText(packet.subarray(8, 24)),
    destination: addressText(packet.subarray(24, 40)),
    trafficClass,
    ecn: ecnOf(trafficClass),
    dscp: trafficClass >> 2,
    ttl: packet.readUInt8(7),
    dontFragment: true,
    moreFragments: upper.moreFragments,
    fragmentOffset: upper.fragmentOffset,
    identification: upper.identification,
    flowLabel: first & 0xfffff,
    protocol: upper.protocol,
    payload,
    headerChecksumValid: true,
    ...upperFields(upper.protocol, payload, upper.fragmentOffset),
  };
}

function ecnOf(trafficClass: number): 0 | 1 | 2 | 3 {
  const bits = trafficClass % 4;
  return bits === 0 ? 0 : bits === 1 ? 1 : bits === 2 ? 2 : 3;
}

/** True when the UDP, TCP, ICMP or ICMPv6 checksum is right, or absent (UDP zero in IPv4). */
export function upperChecksumValid(bytes: Uint8Array): boolean {
  const packet = parsePacket(bytes);
  const known: readonly number[] = [PROTOCOL.tcp, PROTOCOL.udp, PROTOCOL.icmp, PROTOCOL.icmpv6];
  if (!known.includes(packet.protocol)) return true;
  if (packet.protocol === PROTOCOL.udp && packet.payload.readUInt16BE(6) === 0) {
    return packet.version === 4;
  }
  const pseudo =
    packet.protocol === PROTOCOL.icmp
      ? Buffer.alloc(0)
      : pseudoHeader(packet.source, packet.destination, packet.protocol, packet.payload.length);
  return internetChecksum(pseudo, packet.payload) === 0;
}

/** A copy with another ECN field; the IPv4 header checksum is made anew. */
export function withEcn(bytes: Uint8Array, ecn: number): Buffer {
  const packet = Buffer.from(bytes);
  const { version, headerLen, trafficClass } = parsePacket(packet);
  const octet = trafficClass - (trafficClass % 4) + ecn;
  if (version === 4) {
    packet.writeUInt8(octet, 1);
    packet.writeUInt16BE(0, 10);
    packet.writeUInt16BE(internetChecksum(packet.subarray(0, headerLen)), 10);
  } else {
    packet.writeUInt8(0x60 + (octet >> 4), 0);
    packet.writeUInt8((octet % 16) * 16 + (packet.readUInt8(1) % 16), 1);
  }
  return packet;
}
