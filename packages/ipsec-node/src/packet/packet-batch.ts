import { UsageError } from '../errors.js';
import { dropReasonNames } from './native.js';

/** Outer IPv6 and UDP headers, ESP header and the longest IV. */
const HEADROOM_BYTES = 40 + 8 + 8 + 16;
/** Padding to a block, Pad Length, Next Header and the longest ICV. */
const TAILROOM_BYTES = 15 + 2 + 32;
const CELL_ALIGNMENT_BYTES = 64;
const WORDS = 5;
const START = 0;
const LENGTH = 1;
const CELL_START = 2;
const CELL_END = 3;
const STATUS = 4;
/** 1 GiB: descriptors hold 32-bit offsets, and nobody wants more in one call. */
const ARENA_BYTES_MAX = 2 ** 30;

let reasonNames: readonly string[] | undefined;

/** The name of a refusal; docs/drops.md has a row for each. */
export function dropReasonOfStatus(status: number): string | null {
  if (status === 0) return null;
  reasonNames ??= dropReasonNames();
  return reasonNames[status - 1] ?? `status ${status}`;
}

export interface PacketBatchOptions {
  /** How many packets fit. */
  readonly packets: number;
  /** Largest packet that may be pushed, in bytes; room for headers and trailers is added. */
  readonly bytesPerPacket: number;
  /** Room behind each packet for TFC padding, in bytes. */
  readonly paddingBytes?: number;
}

/**
 * Packets in one arena, each in a cell with headroom and tailroom for what encapsulation adds, so
 * that a whole batch is processed in place by one native call.
 *
 * After a call each packet has a reason (`reason(i)`, null where it was processed), and
 * `packet(i)` is what it became. A batch is reused with `clear()`.
 */
export class PacketBatch {
  /** All cells. Shared with the native code during a call only. */
  readonly arena: Uint8Array;
  /** Five words a packet: start, length, cell start, cell end, status. */
  readonly descriptors: Uint32Array;
  readonly capacity: number;
  readonly bytesPerPacket: number;
  readonly #cellBytes: number;
  #length = 0;

  /** @throws UsageError IPSEC_ERR_USAGE where the sizes are not positive or ask for over 1 GiB. */
  constructor(options: PacketBatchOptions) {
    const { packets, bytesPerPacket, paddingBytes = 0 } = options;
    for (const [name, value, max] of [
      ['packets', packets, 65_536],
      ['bytesPerPacket', bytesPerPacket, 65_535],
    ] as const) {
      if (!Number.isInteger(value) || value < 1 || value > max) {
        throw new UsageError('IPSEC_ERR_USAGE', `${name} is ${value}; accepted: 1 to ${max}.`);
      }
    }
    const wanted = HEADROOM_BYTES + bytesPerPacket + paddingBytes + TAILROOM_BYTES;
    this.#cellBytes = Math.ceil(wanted / CELL_ALIGNMENT_BYTES) * CELL_ALIGNMENT_BYTES;
    if (packets * this.#cellBytes > ARENA_BYTES_MAX) {
      throw new UsageError(
        'IPSEC_ERR_USAGE',
        `${packets} packets of ${bytesPerPacket} bytes need more than 1 GiB; use smaller batches.`,
      );
    }
    this.capacity = packets;
    this.bytesPerPacket = bytesPerPacket;
    this.arena = new Uint8Array(packets * this.#cellBytes);
    this.descriptors = new Uint32Array(packets * WORDS);
  }

  /** How many packets are in the batch. */
  get length(): number {
    return this.#length;
  }

  /**
   * Copies a packet into the next cell and returns its index.
   *
   * @throws UsageError IPSEC_ERR_USAGE where the batch is full or the packet does not fit.
   */
  push(packet: Uint8Array): number {
    // What arrives sealed is longer than what was pushed at the other end by the headroom at most.
    const most = this.#cellBytes - HEADROOM_BYTES;
    if (this.#length === this.capacity) {
      throw new UsageError(
        'IPSEC_ERR_USAGE',
        `The batch holds ${this.capacity} packets: it is full.`,
      );
    }
    if (packet.length > this.#cellBytes) {
      throw new UsageError(
        'IPSEC_ERR_USAGE',
        `A packet of ${packet.length} bytes does not fit a cell of ${this.#cellBytes}; make the batch with a larger bytesPerPacket.`,
      );
    }
    const index = this.#length;
    this.#length += 1;
    const cellStart = index * this.#cellBytes;
    const start = cellStart + (packet.length <= most ? HEADROOM_BYTES : 0);
    this.arena.set(packet, start);
    const at = index * WORDS;
    this.descriptors[at + START] = start;
    this.descriptors[at + LENGTH] = packet.length;
    this.descriptors[at + CELL_START] = cellStart;
    this.descriptors[at + CELL_END] = cellStart + this.#cellBytes;
    this.descriptors[at + STATUS] = 0;
    return index;
  }

  #word(index: number, word: number): number {
    if (!Number.isInteger(index) || index < 0 || index >= this.#length) {
      throw new UsageError(
        'IPSEC_ERR_USAGE',
        `There is no packet ${index}; the batch holds ${this.#length}.`,
      );
    }
    return this.descriptors[index * WORDS + word] ?? 0;
  }

  /** The bytes of a packet: a view, valid until the next call or `clear()`. */
  packet(index: number): Uint8Array {
    const start = this.#word(index, START);
    return this.arena.subarray(start, start + this.#word(index, LENGTH));
  }

  /** Why a packet was refused by the last call; null where it was processed. */
  reason(index: number): string | null {
    return dropReasonOfStatus(this.#word(index, STATUS));
  }

  /** The packets that the last call processed, in order. */
  *processed(): Generator<Uint8Array> {
    for (let index = 0; index < this.#length; index += 1) {
      if (this.#word(index, STATUS) === 0) yield this.packet(index);
    }
  }

  /** Empties the batch; the arena stays. */
  clear(): void {
    this.#length = 0;
  }
}
