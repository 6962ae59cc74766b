/**
 * Library mode: ESP, anti-replay and policy over packets that you bring. No sockets, no TUN, no
 * privileges, and no thread.
 *
 * @example
 * ```ts
 * import { InboundSa, OutboundSa, PacketBatch } from 'ipsec-node/packet';
 *
 * const batch = new PacketBatch({ packets: 256, bytesPerPacket: 2048 });
 * batch.push(ipPacket);
 * outbound.encapsulate(batch); // batch.packet(0) is the outer packet
 * inbound.decapsulate(batch); // and the inner one again
 * ```
 */
import { UsageError } from '../errors.js';
import type { SpdEntry } from '../spd/spd-entry.js';
import { NativeInboundSa, NativeOutboundSa, NativeReplayWindow, NativeSpd } from './native.js';
import { dropReasonOfStatus, type PacketBatch } from './packet-batch.js';
import {
  construct,
  type InboundSaOptions,
  nativeSaOf,
  nativeSelectorOf,
  type OutboundSaOptions,
} from './sa-options.js';

export { PacketBatch, type PacketBatchOptions } from './packet-batch.js';
export type {
  InboundSaOptions,
  OutboundSaOptions,
  SaOptions,
  SaSelectorOptions,
} from './sa-options.js';

/** Seals IP packets into outer packets: tunnel mode ESP (RFC 4303), raw or in UDP (RFC 3948). */
export class OutboundSa {
  readonly #native: NativeOutboundSa;

  /** @throws UsageError IPSEC_ERR_SA_INVALID where an option is out of range. */
  constructor(options: OutboundSaOptions) {
    const sa = nativeSaOf(options, true);
    this.#native = construct(() => new NativeOutboundSa(sa));
  }

  /**
   * Seals every packet of the batch in place, in one native call. Returns how many were sealed; the
   * others have a `batch.reason`, and their sequence numbers are not used again.
   */
  encapsulate(batch: PacketBatch): number {
    return this.#native.encapsulate(batch.arena, batch.descriptors, batch.length);
  }

  /**
   * Makes a dummy packet (RFC 4303 section 2.6) of each entry of the batch, whatever bytes it holds:
   * the receiver opens, counts and discards it.
   */
  encapsulateDummies(batch: PacketBatch): number {
    return this.#native.dummy(batch.arena, batch.descriptors, batch.length);
  }

  /** The last sequence number used; 0 before the first packet. */
  get sequenceNumber(): bigint {
    return this.#native.sequenceNumber;
  }
}

/** Opens outer packets: anti-replay, ICV, padding, the inner packet, and the SA's selectors. */
export class InboundSa {
  readonly #native: NativeInboundSa;

  /** @throws UsageError IPSEC_ERR_SA_INVALID where an option is out of range. */
  constructor(options: InboundSaOptions) {
    const sa = nativeSaOf(options, false);
    this.#native = construct(() => new NativeInboundSa(sa));
  }

  /**
   * Opens every packet of the batch in place, in one native call. Returns how many may be delivered;
   * the others have a `batch.reason`, and their bytes mean nothing.
   */
  decapsulate(batch: PacketBatch): number {
    return this.#native.decapsulate(batch.arena, batch.descriptors, batch.length);
  }

  /** The right edge of the anti-replay window. */
  get sequenceNumber(): bigint {
    return this.#native.sequenceNumber;
  }
}

export interface ReplayWindowOptions {
  /** A power of two from 64 to 65,536; 1,024 unless given. */
  readonly packets?: number;
  readonly esn?: boolean;
  /** All numbers up to it are refused; 0 unless given. */
  readonly rightEdge?: bigint;
}

/** An anti-replay window (RFC 4303 section 3.4.3) for packets that are opened elsewhere. */
export class ReplayWindow {
  readonly #native: NativeReplayWindow;

  /** @throws UsageError IPSEC_ERR_SA_INVALID where an option is out of range. */
  constructor(options: ReplayWindowOptions = {}) {
    const { packets = 1024, esn = false, rightEdge = 0n } = options;
    this.#native = construct(() => new NativeReplayWindow(packets, esn, rightEdge));
  }

  /** For each number (low 32 bits): null where it would be taken, else the reason. Moves nothing. */
  check(numbers: Uint32Array): (string | null)[] {
    return Array.from(this.#native.check(numbers), dropReasonOfStatus);
  }

  /**
   * Takes numbers whose packets passed their ICV, in one call: null where a number was new, else the
   * reason. The second of two equal ones is refused.
   */
  commit(numbers: Uint32Array): (string | null)[] {
    return Array.from(this.#native.commit(numbers), dropReasonOfStatus);
  }

  /** The highest number taken. */
  get rightEdge(): bigint {
    return this.#native.rightEdge;
  }
}

/** The compiled, ordered SPD (RFC 4301 section 4.4.1): the first entry that matches decides. */
export class Spd {
  readonly #native: NativeSpd;
  readonly #entries: readonly SpdEntry[];

  /** @throws UsageError IPSEC_ERR_SA_INVALID where an entry cannot be compiled. */
  constructor(entries: readonly SpdEntry[]) {
    this.#entries = [...entries];
    const native = entries.map((entry) => ({
      name: entry.name,
      outbound: entry.direction !== 'inbound',
      inbound: entry.direction !== 'outbound',
      selector: nativeSelectorOf(entry.selector),
      action: entry.action,
      builtin: entry.builtin,
    }));
    this.#native = construct(() => new NativeSpd(1, native));
  }

  /**
   * The deciding entry of each packet of a batch, in one native call; null where none matches, which
   * is DISCARD, or where the bytes are not an IP packet that policy can be applied to.
   */
  search(direction: 'outbound' | 'inbound', batch: PacketBatch): (SpdEntry | null)[] {
    if (direction !== 'outbound' && direction !== 'inbound') {
      throw new UsageError('IPSEC_ERR_USAGE', `${String(direction)} is not outbound or inbound.`);
    }
    const outbound = direction === 'outbound';
    return this.#native
      .search(outbound, batch.arena, batch.descriptors, batch.length)
      .map((position) => this.#entries[position] ?? null);
  }
}
