/**
 * Writing pcapng (draft-ietf-opsawg-pcapng): a Section Header Block, an Interface Description Block
 * for each interface, an Enhanced Packet Block for each packet. Little-endian; times in microseconds.
 *
 *     block: type 4 | total length 4 | body, padded to 4 | total length 4
 */

/** Link types (draft-ietf-opsawg-pcaplinktype). */
export const LINK_TYPE = {
  /** An Ethernet frame. */
  ethernet: 1,
  /** A bare IPv4 or IPv6 packet. */
  ip: 101,
} as const;

/** One interface of a capture. */
export interface CapturedInterface {
  readonly name: string;
  readonly description: string;
  readonly linkType: (typeof LINK_TYPE)[keyof typeof LINK_TYPE];
}

const BLOCK = { section: 0x0a0d0d0a, interface: 1, packet: 6 } as const;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const OPTION = { end: 0, sectionProgram: 4, interfaceName: 2, interfaceDescription: 3 } as const;
/** 0: packets are not cut. */
const SNAP_LEN = 0;

function padded(bytes: Uint8Array): Buffer {
  const whole = Buffer.alloc((bytes.length + 3) & ~3);
  whole.set(bytes);
  return whole;
}

function block(type: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const whole = Buffer.alloc(12 + body.length);
  whole.writeUInt32LE(type, 0);
  whole.writeUInt32LE(whole.length, 4);
  body.copy(whole, 8);
  whole.writeUInt32LE(whole.length, whole.length - 4);
  return whole;
}

function option(code: number, text: string): Buffer {
  const value = Buffer.from(text, 'utf8');
  const head = Buffer.alloc(4);
  head.writeUInt16LE(code, 0);
  head.writeUInt16LE(value.length, 2);
  return Buffer.concat([head, padded(value)]);
}

const END_OF_OPTIONS = Buffer.alloc(4);

/** The first blocks of a file. */
export function pcapngHead(program: string, interfaces: readonly CapturedInterface[]): Buffer {
  const section = Buffer.alloc(16);
  section.writeUInt32LE(BYTE_ORDER_MAGIC, 0);
  section.writeUInt16LE(1, 4);
  // Version 1.0; the length of the section is not known ahead.
  section.writeBigInt64LE(-1n, 8);
  const blocks = [
    block(BLOCK.section, section, option(OPTION.sectionProgram, program), END_OF_OPTIONS),
  ];
  for (const { name, description, linkType } of interfaces) {
    const body = Buffer.alloc(8);
    body.writeUInt16LE(linkType, 0);
    body.writeUInt32LE(SNAP_LEN, 4);
    blocks.push(
      block(
        BLOCK.interface,
        body,
        option(OPTION.interfaceName, name),
        option(OPTION.interfaceDescription, description),
        END_OF_OPTIONS,
      ),
    );
  }
  return Buffer.concat(blocks);
}

/** One packet. `atMicroseconds` counts from 1970. */
export function pcapngPacket(
  interfaceIndex: number,
  atMicroseconds: bigint,
  bytes: Uint8Array,
): Buffer {
  const head = Buffer.alloc(20);
  head.writeUInt32LE(interfaceIndex, 0);
  head.writeUInt32LE(Number(atMicroseconds >> 32n), 4);
  head.writeUInt32LE(Number(atMicroseconds & 0xffff_ffffn), 8);
  head.writeUInt32LE(bytes.length, 12);
  head.writeUInt32LE(bytes.length, 16);
  return block(BLOCK.packet, head, padded(bytes));
}
