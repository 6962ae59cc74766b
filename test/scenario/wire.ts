/** What may be read on the wire between the gateways. */

import type { CapturedPacket } from '../lab/pcap.ts';

const UDP = 17;
const ESP = 50;

export interface WirePacket {
  readonly captured: CapturedPacket;
  readonly version: 4 | 6;
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  /** Behind the IP header. */
  readonly payload: Buffer;
  readonly hopLimit: number;
}

function address6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2));
  return groups.map((group) => group.toString(16)).join(':');
}

/** The IP packets of a capture, without the padding of short frames. */
export function ipPackets(packets: readonly CapturedPacket[]): readonly WirePacket[] {
  return packets.flatMap((captured): readonly WirePacket[] => {
    const { ip } = captured;
    const version = (ip[0] ?? 0) >> 4;
    if (version === 4 && ip.length >= 20) {
      const headerLen = ((ip[0] ?? 0) & 15) * 4;
      return [
        {
          captured,
          version,
          source: [...ip.subarray(12, 16)].join('.'),
          destination: [...ip.subarray(16, 20)].join('.'),
          protocol: ip.readUInt8(9),
          payload: ip.subarray(headerLen, Math.max(ip.readUInt16BE(2), headerLen)),
          hopLimit: ip.readUInt8(8),
        },
      ];
    }
    if (version === 6 && ip.length >= 40) {
      return [
        {
          captured,
          version,
          source: address6(ip.subarray(8, 24)),
          destination: address6(ip.subarray(24, 40)),
          protocol: ip.readUInt8(6),
          payload: ip.subarray(40, 40 + ip.readUInt16BE(4)),
          hopLimit: ip.readUInt8(7),
        },
      ];
    }
    return [];
  });
}

function isOfSite(address: string): boolean {
  return /^10\.[12]\.0\.|^fd0[12]:/.test(address);
}

/** Both addresses of a packet between the sites, wherever they lie in a frame: ICMP errors quote. */
const QUOTED = [
  [Buffer.from('0a0100', 'hex'), Buffer.from('0a0200', 'hex'), 4],
  [Buffer.from(`fd01${'00'.repeat(12)}`, 'hex'), Buffer.from(`fd02${'00'.repeat(12)}`, 'hex'), 16],
] as const;

function quotesSites(frame: Buffer): boolean {
  return QUOTED.some(([a, b, step]) =>
    [
      [a, b],
      [b, a],
    ].some(([first, second]) => {
      if (first === undefined || second === undefined) return false;
      for (let at = frame.indexOf(first); at >= 0; at = frame.indexOf(first, at + 1)) {
        if (frame.subarray(at + step, at + step + second.length).equals(second)) return true;
      }
      return false;
    }),
  );
}

/**
 * The packets that policy protects and that are readable all the same: from or to an inner address,
 * with an inner packet quoted, or with one of the markers.
 */
export function inClear(
  packets: readonly CapturedPacket[],
  markers: readonly string[],
): readonly WirePacket[] {
  const needles = markers.map((marker) => Buffer.from(marker));
  return ipPackets(packets).filter(
    ({ captured, source, destination }) =>
      isOfSite(source) ||
      isOfSite(destination) ||
      needles.some((needle) => captured.frame.includes(needle)) ||
      quotesSites(captured.frame),
  );
}

export interface EspPacket {
  readonly wire: WirePacket;
  readonly spi: number;
  readonly sequence: number;
  /** The explicit IV of the suites with a counter, 8 bytes. */
  readonly iv: string;
}

/** ESP, raw or in UDP. */
export function espPackets(packets: readonly CapturedPacket[], port = 4500): readonly EspPacket[] {
  return ipPackets(packets).flatMap((wire): readonly EspPacket[] => {
    let esp = wire.payload;
    if (wire.protocol === UDP) {
      const ports = [esp.readUInt16BE(0), esp.readUInt16BE(2)];
      if (!ports.includes(port)) return [];
      esp = esp.subarray(8);
    } else if (wire.protocol !== ESP) return [];
    if (esp.length < 16 || esp.readUInt32BE(0) === 0) return [];
    return [
      {
        wire,
        spi: esp.readUInt32BE(0),
        sequence: esp.readUInt32BE(4),
        iv: esp.subarray(8, 16).toString('hex'),
      },
    ];
  });
}

export function describePacket({ source, destination, protocol }: WirePacket): string {
  return `${source} > ${destination} protocol ${protocol}`;
}
