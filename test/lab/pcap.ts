/** Capture files in the classic format of tcpdump, read and written. */

import { readFileSync, writeFileSync } from 'node:fs';

export interface CapturedPacket {
  readonly timestampSeconds: number;
  readonly linkType: number;
  /** As captured, link header and all. */
  readonly frame: Buffer;
  /** From the IP header on; empty when the frame holds no IP. */
  readonly ip: Buffer;
}

/** Raw IP: packets without a link header. */
export const LINKTYPE_RAW = 101;
const LINKTYPE_ETHERNET = 1;
const LINKTYPE_COOKED = 113;

function ipOf(linkType: number, frame: Buffer): Buffer {
  if (linkType === LINKTYPE_RAW || linkType === 12) return frame;
  const headerLen = linkType === LINKTYPE_ETHERNET ? 14 : linkType === LINKTYPE_COOKED ? 16 : 20;
  if (frame.length < headerLen) return Buffer.alloc(0);
  // LINUX_SLL2 (276) has the protocol first.
  const type = frame.readUInt16BE(headerLen === 20 ? 0 : headerLen - 2);
  return type === 0x0800 || type === 0x86dd ? frame.subarray(headerLen) : Buffer.alloc(0);
}

export function parsePcap(bytes: Uint8Array): readonly CapturedPacket[] {
  const file = Buffer.from(bytes);
  const magic = file.readUInt32LE(0);
  const little = magic === 0xa1b2c3d4 || magic === 0xa1b23c4d;
  const word = (at: number): number => (little ? file.readUInt32LE(at) : file.readUInt32BE(at));
  const fraction = word(0) === 0xa1b23c4d ? 1e9 : 1e6;
  if (word(0) !== 0xa1b2c3d4 && word(0) !== 0xa1b23c4d) throw new Error('not a capture file');
  const linkType = word(20) & 0xffff;
  const packets: CapturedPacket[] = [];
  for (let at = 24; at + 16 <= file.length; ) {
    const len = word(at + 8);
    const frame = file.subarray(at + 16, at + 16 + len);
    if (frame.length < len) break;
    const timestampSeconds = word(at) + word(at + 4) / fraction;
    packets.push({ timestampSeconds, linkType, frame, ip: ipOf(linkType, frame) });
    at += 16 + len;
  }
  return packets;
}

export function readPcap(path: string): readonly CapturedPacket[] {
  return parsePcap(readFileSync(path));
}

/** Writes IP packets, one microsecond apart. */
export function writePcap(path: string, packets: readonly Uint8Array[]): void {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(262_144, 16);
  header.writeUInt32LE(LINKTYPE_RAW, 20);
  const records = packets.flatMap((packet, index) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(index, 4);
    record.writeUInt32LE(packet.length, 8);
    record.writeUInt32LE(packet.length, 12);
    return [record, packet];
  });
  writeFileSync(path, Buffer.concat([header, ...records]));
}
