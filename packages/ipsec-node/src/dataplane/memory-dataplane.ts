import type { Clock, Milliseconds } from '../clock.js';
import { UsageError } from '../errors.js';
import type {
  CountersValue,
  Dataplane,
  DataplaneEvent,
  DataplaneFacts,
  DataplaneOptions,
  IkeDatagram,
  SaId,
  SaState,
  SaValue,
  SpdValue,
} from './dataplane.js';
import { saFault } from './sa-fault.js';

/** Most events that wait for their handler; more are counted as lost. */
const EVENT_COUNT_MAX = 4096;
/** Numbers asked for at a time when a reservation runs low. */
const OUTBOUND_AHEAD = 2n ** 20n;
const INBOUND_AHEAD_MIN = 64n;

/** Why a packet went nowhere, in the names of docs/drops.md. */
export type MemoryDropReason =
  | 'no_sa_outbound'
  | 'sequence_not_reserved'
  | 'no_sa'
  | 'replay_duplicate'
  | 'replay_too_old'
  | 'replay_not_reserved';

interface MemorySa {
  value: SaValue;
  readonly addedAt: Milliseconds;
  lastPacketAt: Milliseconds | null;
  sequenceNumber: bigint;
  reservedUpTo: bigint | null;
  packets: bigint;
  bytes: bigint;
  /** Numbers accepted within the window below the right edge. */
  readonly accepted: Set<bigint>;
  readonly drops: Map<string, bigint>;
  /** A reservation was asked for and has not come yet. */
  reserveAsked: boolean;
}

/**
 * The dataplane without packets: it keeps SPD and SAD, reserves and refuses as the contract says,
 * and lets a test say what happens on the wire.
 */
export class MemoryDataplane implements Dataplane {
  private state: 'new' | 'open' | 'closed' = 'new';
  private handler: (events: readonly DataplaneEvent[]) => void = () => {};
  private queue: DataplaneEvent[] = [];
  private lost = 0n;
  private flushing = false;
  private readonly sad = new Map<string, MemorySa>();
  private spdValue: SpdValue = { version: 0, entries: [] };
  private options: DataplaneOptions | null = null;
  private readonly drops = new Map<string, bigint>();
  private readonly sent: IkeDatagram[] = [];

  constructor(private readonly clock: Clock) {}

  /** The SPD in force. */
  get spd(): SpdValue {
    return this.spdValue;
  }

  /** What it was opened with; `null` before. */
  get opened(): DataplaneOptions | null {
    return this.options;
  }

  /** IKE datagrams that were sent. */
  get ikeSent(): readonly IkeDatagram[] {
    return this.sent;
  }

  onEvents(handler: (events: readonly DataplaneEvent[]) => void): void {
    this.handler = handler;
  }

  async open(options: DataplaneOptions): Promise<DataplaneFacts> {
    if (this.state === 'open') {
      throw new UsageError('IPSEC_ERR_USAGE', 'The dataplane is open already.');
    }
    this.state = 'open';
    this.options = options;
    return {
      interface: options.interface.name,
      mtu: options.interface.mtu,
      offload: options.offload,
      notes: [],
      guardTakenOver: false,
    };
  }

  async close(): Promise<void> {
    this.state = 'closed';
    for (const sa of this.sad.values()) sa.value.key.fill(0);
    this.sad.clear();
    this.queue = [];
  }

  async replaceSpd(spd: SpdValue): Promise<void> {
    this.requireOpen();
    const names = new Set<string>();
    for (const entry of spd.entries) {
      if (names.has(entry.name)) {
        throw new UsageError('IPSEC_ERR_SPD_INVALID', `Two SPD entries are named ${entry.name}.`, {
          fields: { entry: entry.name },
        });
      }
      names.add(entry.name);
    }
    this.spdValue = spd;
  }

  async addSa(sa: SaValue): Promise<void> {
    this.requireOpen();
    const fault = saFault(sa);
    if (fault !== null) {
      throw new UsageError('IPSEC_ERR_SA_INVALID', `The SA cannot be added: ${fault}.`, {
        fields: { direction: sa.id.direction, spi: sa.id.spi },
      });
    }
    if (this.sad.has(keyOf(sa.id))) {
      throw new UsageError('IPSEC_ERR_SA_EXISTS', 'An SA with this direction and SPI exists.', {
        fields: { direction: sa.id.direction, spi: sa.id.spi },
      });
    }
    const entry = this.spdValue.entries.find((candidate) => candidate.name === sa.entry);
    if (entry === undefined || entry.action !== 'PROTECT') {
      throw new UsageError(
        'IPSEC_ERR_SPD_ENTRY_UNKNOWN',
        `No PROTECT entry of the SPD is named ${sa.entry}.`,
        { fields: { entry: sa.entry } },
      );
    }
    this.sad.set(keyOf(sa.id), {
      value: { ...sa, key: Uint8Array.from(sa.key) },
      addedAt: this.clock.now(),
      lastPacketAt: null,
      sequenceNumber:
        sa.id.direction === 'outbound' ? lastUsedBefore(sa.sequenceNumber) : sa.sequenceNumber,
      reservedUpTo: sa.reservedUpTo,
      packets: 0n,
      bytes: 0n,
      accepted: new Set(),
      drops: new Map(),
      reserveAsked: false,
    });
  }

  async reserve(id: SaId, upTo: bigint): Promise<bigint> {
    const sa = this.find(id);
    if (sa.reservedUpTo === null) {
      throw new UsageError('IPSEC_ERR_SA_INVALID', 'This SA has no durable reservation.', {
        fields: { direction: id.direction, spi: id.spi },
      });
    }
    const lowest = id.direction === 'outbound' ? sa.reservedUpTo : sa.sequenceNumber;
    sa.reservedUpTo = upTo > lowest ? upTo : lowest;
    sa.reserveAsked = false;
    return sa.reservedUpTo;
  }

  async updateSa(
    id: SaId,
    change: { readonly remote: string; readonly remotePort: number },
  ): Promise<void> {
    const sa = this.find(id);
    const value = { ...sa.value, remote: change.remote, remotePort: change.remotePort };
    const fault = saFault(value);
    if (fault !== null) {
      throw new UsageError('IPSEC_ERR_SA_INVALID', `The SA cannot be changed: ${fault}.`, {
        fields: { direction: id.direction, spi: id.spi },
      });
    }
    sa.value = value;
  }

  async deleteSa(id: SaId): Promise<SaState> {
    const sa = this.find(id);
    this.sad.delete(keyOf(id));
    sa.value.key.fill(0);
    return this.stateOf(sa);
  }

  async querySad(): Promise<readonly SaState[]> {
    this.requireOpen();
    return [...this.sad.values()].map((sa) => this.stateOf(sa));
  }

  async sendIke(datagrams: readonly IkeDatagram[]): Promise<void> {
    this.requireOpen();
    this.sent.push(...datagrams);
  }

  async counters(): Promise<CountersValue> {
    this.requireOpen();
    return { counters: sumsOf(this.sad.values()), drops: Object.fromEntries(this.drops) };
  }

  /**
   * Sends packets through an outbound SA: returns how many went out under its reservation.
   * Asks for more numbers when fewer than a quarter of a block is left.
   */
  transmit(spi: number, count: bigint, bytesPerPacket = 100n): bigint {
    const sa = this.sad.get(keyOf({ direction: 'outbound', spi }));
    if (sa === undefined) {
      this.drop(undefined, 'no_sa_outbound', count);
      return 0n;
    }
    const room = sa.reservedUpTo === null ? count : sa.reservedUpTo - sa.sequenceNumber;
    const sent = count < room ? count : room;
    sa.sequenceNumber += sent;
    this.count(sa, sent, bytesPerPacket);
    if (sent < count) this.drop(sa, 'sequence_not_reserved', count - sent);
    if (sa.reservedUpTo !== null && sa.reservedUpTo - sa.sequenceNumber < OUTBOUND_AHEAD / 4n) {
      this.askReserve(sa, sa.sequenceNumber + OUTBOUND_AHEAD);
    }
    return sent;
  }

  /** Receives one authentic packet on an inbound SA: `null` when accepted, else why not. */
  receive(spi: number, sequenceNumber: bigint, bytes = 100n): MemoryDropReason | null {
    const sa = this.sad.get(keyOf({ direction: 'inbound', spi }));
    if (sa === undefined) return this.drop(undefined, 'no_sa', 1n);
    const window = BigInt(sa.value.replayWindow);
    const bottom = sa.sequenceNumber - window;
    // The edge that an SA starts with stands for a full window: all up to it is refused.
    if (sequenceNumber <= bottom || sequenceNumber <= sa.value.sequenceNumber) {
      return this.drop(sa, 'replay_too_old', 1n);
    }
    if (sa.accepted.has(sequenceNumber)) return this.drop(sa, 'replay_duplicate', 1n);
    if (sa.reservedUpTo !== null) {
      const ahead = (sequenceNumber - sa.sequenceNumber) * 2n;
      const wanted = sequenceNumber + (ahead > INBOUND_AHEAD_MIN ? ahead : INBOUND_AHEAD_MIN);
      if (sequenceNumber > sa.reservedUpTo) {
        this.askReserve(sa, wanted);
        return this.drop(sa, 'replay_not_reserved', 1n);
      }
      if (sa.reservedUpTo - sequenceNumber < INBOUND_AHEAD_MIN / 4n) this.askReserve(sa, wanted);
    }
    sa.accepted.add(sequenceNumber);
    if (sequenceNumber > sa.sequenceNumber) sa.sequenceNumber = sequenceNumber;
    for (const number of sa.accepted) {
      if (number <= sa.sequenceNumber - window) sa.accepted.delete(number);
    }
    if (sa.packets === 0n) this.inject({ kind: 'firstUse', id: sa.value.id });
    this.count(sa, 1n, bytes);
    return null;
  }

  /** Produces an event, as the datapath would. Delivered in order, never within a verb's reply. */
  inject(event: DataplaneEvent): void {
    if (this.queue.length >= EVENT_COUNT_MAX) this.lost += 1n;
    else this.queue.push(event);
    if (this.flushing) return;
    this.flushing = true;
    setImmediate(() => {
      this.flushing = false;
      if (this.state !== 'open') return;
      const events = this.queue;
      this.queue = [];
      if (this.lost > 0n) events.push({ kind: 'lost', count: this.lost });
      this.lost = 0n;
      if (events.length > 0) this.handler(events);
    });
  }

  private requireOpen(): void {
    if (this.state === 'open') return;
    const when = this.state === 'closed' ? 'closed' : 'not open yet';
    throw new UsageError('IPSEC_ERR_CLOSED', `The dataplane is ${when}.`);
  }

  private find(id: SaId): MemorySa {
    this.requireOpen();
    const sa = this.sad.get(keyOf(id));
    if (sa !== undefined) return sa;
    throw new UsageError('IPSEC_ERR_SA_UNKNOWN', 'There is no SA with this direction and SPI.', {
      fields: { direction: id.direction, spi: id.spi },
    });
  }

  private stateOf(sa: MemorySa): SaState {
    const now = this.clock.now();
    return {
      id: sa.value.id,
      entry: sa.value.entry,
      sequenceNumber: sa.sequenceNumber,
      reservedUpTo: sa.reservedUpTo,
      packets: sa.packets,
      bytes: sa.bytes,
      ageMs: now - sa.addedAt,
      idleMs: sa.lastPacketAt === null ? null : now - sa.lastPacketAt,
      drops: Object.fromEntries(sa.drops),
    };
  }

  private count(sa: MemorySa, packets: bigint, bytesPerPacket: bigint): void {
    if (packets === 0n) return;
    sa.packets += packets;
    sa.bytes += packets * bytesPerPacket;
    sa.lastPacketAt = this.clock.now();
  }

  private drop(
    sa: MemorySa | undefined,
    reason: MemoryDropReason,
    count: bigint,
  ): MemoryDropReason {
    this.drops.set(reason, (this.drops.get(reason) ?? 0n) + count);
    sa?.drops.set(reason, (sa.drops.get(reason) ?? 0n) + count);
    return reason;
  }

  private askReserve(sa: MemorySa, wanted: bigint): void {
    if (sa.reserveAsked) return;
    sa.reserveAsked = true;
    this.inject({ kind: 'reserveLow', id: sa.value.id, used: sa.sequenceNumber, wanted });
  }
}

function keyOf(id: SaId): string {
  return `${id.direction} ${id.spi}`;
}

function lastUsedBefore(first: bigint): bigint {
  return first > 0n ? first - 1n : 0n;
}

function sumsOf(sas: Iterable<MemorySa>): Readonly<Record<string, bigint>> {
  let sealed = 0n;
  let opened = 0n;
  for (const sa of sas) {
    if (sa.value.id.direction === 'outbound') sealed += sa.packets;
    else opened += sa.packets;
  }
  return { esp_sealed: sealed, esp_opened: opened };
}
