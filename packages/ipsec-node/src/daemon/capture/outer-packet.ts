/**
 * Frames of an outer interface: which of them are IKE or ESP, and super-frames (segmentation or
 * receive offload) cut into the packets that are on the wire, which is what Wireshark can open.
 *
 *     IPv4 or IPv6 | ESP                                   protocol 50
 *     IPv4 or IPv6 | UDP 8 | ESP or non-ESP marker, IKE    one of our ports
 */

const ETHERNET_LEN = 14;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const IPV4_LEN_MIN = 20;
const IPV6_LEN = 40;
const UDP_LEN = 8;
const PROTOCOL_UDP = 17;
const PROTOCOL_ESP = 50;
/** RFC 8200 section 4: headers that may stand before the one that is looked for. */
const EXTENSION_HEADERS: readonly number[] = [0, 43, 60];
const FRAGMENT_HEADER = 44;
/** More are not walked. */
const EXTENSION_COUNT_MAX = 8;

/** What is asked of the frames of one interface. */
export interface OuterFilter {
  /** False: frames begin with the IP header. */
  readonly hasEthernetHeader: boolean;
  /** Longest IP packet that the interface sends in one piece, in bytes. */
  readonly mtu: number;
  /** UDP ports of IKE and of ESP in UDP. */
  readonly ports: readonly number[];
}

interface Located {
  readonly ipOffset: number;
  readonly version: 4 | 6;
  readonly protocol: number;
  /** Where the header of `protocol` begins; undefined in a fragment that is not the first. */
  readonly payloadOffset: number | undefined;
}

/** The packets of a frame that are IKE or ESP; empty where it is something else. */
export function outerPackets(frame: Uint8Array, filter: OuterFilter): readonly Uint8Array[] {
  const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
  const found = locate(bytes, filter.hasEthernetHeader);
  if (found === null) return [];
  const { protocol, payloadOffset, ipOffset } = found;
  if (protocol === PROTOCOL_ESP) return [frame];
  if (protocol !== PROTOCOL_UDP) return [];
  // Whose datagram a later fragment belongs to is not known here.
  if (payloadOffset === undefined) return [frame];
  if (bytes.length < payloadOffset + UDP_LEN) return [];
  const ports = [bytes.readUInt16BE(payloadOffset), bytes.readUInt16BE(payloadOffset + 2)];
  if (!ports.some((port) => filter.ports.includes(port))) return [];
  if (bytes.length - ipOffset <= filter.mtu) return [frame];
  return cutSuperFrame(bytes, found, payloadOffset, filter.mtu) ?? [frame];
}

function locate(bytes: Buffer, hasEthernetHeader: boolean): Located | null {
  const ipOffset = hasEthernetHeader ? ETHERNET_LEN : 0;
  if (bytes.length < ipOffset + IPV4_LEN_MIN) return null;
  if (hasEthernetHeader) {
    const type = bytes.readUInt16BE(12);
    if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_IPV6) return null;
  }
  switch (bytes.readUInt8(ipOffset) >> 4) {
    case 4: {
      const headerLen = (bytes.readUInt8(ipOffset) & 15) * 4;
      const isLaterFragment = (bytes.readUInt16BE(ipOffset + 6) & 0x1fff) !== 0;
      return {
        ipOffset,
        version: 4,
        protocol: bytes.readUInt8(ipOffset + 9),
        payloadOffset: isLaterFragment ? undefined : ipOffset + headerLen,
      };
    }
    case 6:
      return locateInIpv6(bytes, ipOffset);
    default:
      return null;
  }
}

function locateInIpv6(bytes: Buffer, ipOffset: number): Located | null {
  if (bytes.length < ipOffset + IPV6_LEN) return null;
  let protocol = bytes.readUInt8(ipOffset + 6);
  let at = ipOffset + IPV6_LEN;
  let isLaterFragment = false;
  for (let count = 0; count < EXTENSION_COUNT_MAX; count += 1) {
    if (bytes.length < at + 8) break;
    if (protocol === FRAGMENT_HEADER) {
      isLaterFragment = bytes.readUInt16BE(at + 2) >> 3 !== 0;
      protocol = bytes.readUInt8(at);
      at += 8;
      if (isLaterFragment) break;
    } else if (EXTENSION_HEADERS.includes(protocol)) {
      protocol = bytes.readUInt8(at);
      at += (bytes.readUInt8(at + 1) + 1) * 8;
    } else break;
  }
  const payloadOffset = isLaterFragment ? undefined : at;
  return { ipOffset, version: 6, protocol, payloadOffset };
}

/**
 * Cuts a super-frame of ESP in UDP. The size of its pieces is not in the frame: it is where the ESP
 * header with the next sequence number begins. Null where it cannot be cut so.
 */
function cutSuperFrame(
  bytes: Buffer,
  { ipOffset, version }: Located,
  udpOffset: number,
  mtu: number,
): readonly Uint8Array[] | null {
  const start = udpOffset + UDP_LEN;
  if (bytes.length < start + 16 || bytes.readUInt32BE(start) === 0) return null;
  const next = Buffer.from(bytes.subarray(start, start + 8));
  next.writeUInt32BE((bytes.readUInt32BE(start + 4) + 1) >>> 0, 4);
  const second = bytes.indexOf(next, start + 8);
  const step = second - start;
  if (second < 0 || start - ipOffset + step > mtu) return null;
  const packets: Uint8Array[] = [];
  for (let at = start; at < bytes.length; at += step) {
    const packet = Buffer.concat([bytes.subarray(0, start), bytes.subarray(at, at + step)]);
    if (packet.length < start + 8) return null;
    finish(packet, ipOffset, udpOffset, version, packets.length);
    packets.push(packet);
  }
  return packets;
}

/** Sets the lengths and checksums of one piece. */
function finish(
  packet: Buffer,
  ipOffset: number,
  udpOffset: number,
  version: 4 | 6,
  index: number,
): void {
  const ipLen = packet.length - ipOffset;
  packet.writeUInt16BE(packet.length - udpOffset, udpOffset + 4);
  packet.writeUInt16BE(0, udpOffset + 6);
  if (version === 4) {
    packet.writeUInt16BE(ipLen, ipOffset + 2);
    packet.writeUInt16BE((packet.readUInt16BE(ipOffset + 4) + index) & 0xffff, ipOffset + 4);
    packet.writeUInt16BE(0, ipOffset + 10);
    packet.writeUInt16BE(checksum(packet.subarray(ipOffset, udpOffset)), ipOffset + 10);
    return;
  }
  packet.writeUInt16BE(ipLen - IPV6_LEN, ipOffset + 4);
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(packet.length - udpOffset, 0);
  pseudo.writeUInt32BE(PROTOCOL_UDP, 4);
  const addresses = packet.subarray(ipOffset + 8, ipOffset + IPV6_LEN);
  const sum = checksum(Buffer.concat([addresses, pseudo, packet.subarray(udpOffset)]));
  // RFC 8200 section 8.1: zero is written as ones.
  packet.writeUInt16BE(sum === 0 ? 0xffff : sum, udpOffset + 6);
}

/** RFC 1071. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) {
    sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
