import type { Clock, Milliseconds } from '../clock.js';
import { UsageError } from '../errors.js';
import type {
  CountersValue,
  Dataplane,
  DataplaneEvent,
  DataplaneFacts,
  DataplaneOptions,
  IkeDatagram,
  IkePath,
  PacketValue,
  SaEndpointValue,
  SaId,
  SaState,
  SaValue,
  SpdValue,
} from './dataplane.js';
import { endpointFault, requireSource, saFault } from './sa-fault.js';

/** Most events that wait for their handler; more are counted as lost. */
const EVENT_COUNT_MAX = 4096;
/** Numbers asked for at a time when a reservation runs low. */
const OUTBOUND_AHEAD = 2n ** 20n;
const INBOUND_AHEAD_MIN = 64n;

/** Packets of one SPD entry that wait for its SA, those of all entries, and for how long. */
const HOLD_PER_ENTRY_COUNT = 64;
const HOLD_COUNT = 1_024;
const HOLD_MS = 10_000;
/** A changed mapping of one SA, and an acquire of one entry, are told once in this time. */
const MAPPING_INTERVAL_MS = 5_000;
const ACQUIRE_INTERVAL_MS = 1_000;
/** RFC 7296 section 3.1: a shorter datagram is no IKE message. */
const IKE_HEADER_BYTES = 28;
const MARKER_BYTES = 4;

/** Why a packet went nowhere, in the names of docs/drops.md. */
export type MemoryDropReason =
  | 'no_sa_outbound'
  | 'hold_full'
  | 'hold_expired'
  | 'short'
  | 'sequence_not_reserved'
  | 'no_sa'
  | 'replay_duplicate'
  | 'replay_too_old'
  | 'replay_not_reserved';

/** Datagrams that the dataplane sent, as they are on the wire. */
export interface WireDatagram extends IkePath {
  readonly bytes: Uint8Array;
}

/** ESP that a packet of {@link MemoryDataplane.offer} became. */
export interface SentEsp {
  readonly spi: number;
  readonly to: SaEndpointValue;
}

/** What became of a packet that a host behind the gateway sent. */
export type Offered =
  | ({ readonly kind: 'sent' } & SentEsp)
  | { readonly kind: 'held' }
  | { readonly kind: 'dropped'; readonly reason: MemoryDropReason };

interface HeldPacket {
  readonly entry: string;
  readonly at: Milliseconds;
}

interface MemorySa {
  value: SaValue;
  /** Counts the SAs: the newest of an entry carries its packets. */
  readonly added: number;
  mappingToldAt: Milliseconds | null;
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
  private readonly keepalives: IkePath[] = [];
  private readonly esp: SentEsp[] = [];
  private addedCount = 0;
  private held: HeldPacket[] = [];
  private readonly acquiredAt = new Map<string, Milliseconds>();

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

  /** Paths that keepalives were sent on. */
  get keepalivesSent(): readonly IkePath[] {
    return this.keepalives;
  }

  /** ESP that packets of `offer` became, in order. */
  get espSent(): readonly SentEsp[] {
    return this.esp;
  }

  /** How many packets wait for an SA. */
  get heldCount(): number {
    this.expireHeld();
    return this.held.length;
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
    this.held = [];
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
    await this.addSas([sa]);
  }

  async addSas(sas: readonly SaValue[]): Promise<void> {
    this.requireOpen();
    const taken = new Set(this.sad.keys());
    for (const sa of sas) {
      this.requireAddable(sa, taken);
      taken.add(keyOf(sa.id));
    }
    for (const sa of sas) this.install(sa);
  }

  private requireAddable(sa: SaValue, taken: ReadonlySet<string>): void {
    const fault = saFault(sa);
    if (fault !== null) {
      throw new UsageError('IPSEC_ERR_SA_INVALID', `The SA cannot be added: ${fault}.`, {
        fields: { direction: sa.id.direction, spi: sa.id.spi },
      });
    }
    if (taken.has(keyOf(sa.id))) {
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
  }

  private install(sa: SaValue): void {
    this.addedCount += 1;
    const installed: MemorySa = {
      value: { ...sa, key: Uint8Array.from(sa.key) },
      added: this.addedCount,
      mappingToldAt: null,
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
    };
    this.sad.set(keyOf(sa.id), installed);
    if (sa.id.direction === 'inbound') return;
    this.expireHeld();
    const released = this.held.filter(({ entry }) => entry === sa.entry);
    this.held = this.held.filter(({ entry }) => entry !== sa.entry);
    for (const _ of released) this.carry(installed);
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

  async updateSa(id: SaId, change: SaEndpointValue): Promise<void> {
    const sa = this.find(id);
    const fault = endpointFault(change);
    if (fault !== null) {
      throw new UsageError('IPSEC_ERR_SA_INVALID', `The SA cannot be changed: ${fault}.`, {
        fields: { direction: id.direction, spi: id.spi },
      });
    }
    sa.value = { ...sa.value, ...endpointOf(change) };
    sa.mappingToldAt = null;
  }

  async deleteSa(id: SaId): Promise<SaState> {
    const sa = this.find(id);
    this.sad.delete(keyOf(id));
    sa.value.key.fill(0);
    return this.stateOf(sa);
  }

  async deleteSas(ids: readonly SaId[]): Promise<readonly SaState[]> {
    this.requireOpen();
    const known = ids.filter((id) => this.sad.has(keyOf(id)));
    return Promise.all(known.map((id) => this.deleteSa(id)));
  }

  async querySas(ids: readonly SaId[]): Promise<readonly SaState[]> {
    this.requireOpen();
    return ids.flatMap((id) => {
      const sa = this.sad.get(keyOf(id));
      return sa === undefined ? [] : [this.stateOf(sa)];
    });
  }

  async querySad(): Promise<readonly SaState[]> {
    this.requireOpen();
    return [...this.sad.values()].map((sa) => this.stateOf(sa));
  }

  async sendIke(datagrams: readonly IkeDatagram[]): Promise<void> {
    const options = this.requireOpen();
    for (const datagram of datagrams) requireSource(datagram, [options.ikePort, options.port]);
    this.sent.push(...datagrams);
  }

  async sendKeepalive(paths: readonly IkePath[]): Promise<void> {
    const options = this.requireOpen();
    for (const path of paths) requireSource(path, [options.port]);
    this.keepalives.push(...paths);
  }

  /** All that was sent besides ESP, as bytes of UDP. */
  get wire(): readonly WireDatagram[] {
    const marked = (datagram: IkeDatagram): Uint8Array =>
      datagram.localPort === this.options?.port
        ? Uint8Array.from([0, 0, 0, 0, ...datagram.payload])
        : datagram.payload;
    return [
      ...this.sent.map((datagram) => ({ ...datagram, bytes: marked(datagram) })),
      ...this.keepalives.map((path) => ({ ...path, bytes: Uint8Array.of(0xff) })),
    ];
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

  /** A packet that an SPD entry protects: sent by the newest SA, or it waits for one. */
  offer(entry: string, packet: PacketValue): Offered {
    const options = this.requireOpen();
    const newest = [...this.sad.values()]
      .filter((sa) => sa.value.id.direction === 'outbound' && sa.value.entry === entry)
      .sort((a, b) => b.added - a.added)[0];
    if (newest !== undefined) return this.carry(newest);
    const now = this.clock.now();
    const toldAt = this.acquiredAt.get(entry);
    if (toldAt === undefined || now - toldAt >= ACQUIRE_INTERVAL_MS) {
      this.acquiredAt.set(entry, now);
      this.inject({ kind: 'acquire', entry, packet });
    }
    if (!options.ike) {
      return { kind: 'dropped', reason: this.drop(undefined, 'no_sa_outbound', 1n) };
    }
    this.expireHeld();
    const ofEntry = this.held.filter((held) => held.entry === entry).length;
    if (ofEntry >= HOLD_PER_ENTRY_COUNT || this.held.length >= HOLD_COUNT) {
      return { kind: 'dropped', reason: this.drop(undefined, 'hold_full', 1n) };
    }
    this.held.push({ entry, at: now });
    return { kind: 'held' };
  }

  private carry(sa: MemorySa): Offered {
    const { spi } = sa.value.id;
    if (this.transmit(spi, 1n) === 0n) return { kind: 'dropped', reason: 'sequence_not_reserved' };
    const sent = { spi, to: endpointOf(sa.value) };
    this.esp.push(sent);
    return { kind: 'sent', ...sent };
  }

  private expireHeld(): void {
    const now = this.clock.now();
    const kept = this.held.filter(({ at }) => now - at < HOLD_MS);
    const expired = this.held.length - kept.length;
    if (expired > 0) this.drop(undefined, 'hold_expired', BigInt(expired));
    this.held = kept;
  }

  /** Receives a datagram that is not ESP, as it is on the wire: told where it is IKE. */
  receiveDatagram({ bytes, ...path }: WireDatagram): void {
    const marker = path.localPort === this.options?.port ? MARKER_BYTES : 0;
    if (bytes.length === 1 && bytes[0] === 0xff && marker > 0) return;
    const isMarked = bytes.subarray(0, marker).every((byte) => byte === 0);
    if (!isMarked || bytes.length < marker + IKE_HEADER_BYTES) {
      this.drop(undefined, isMarked ? 'short' : 'no_sa', 1n);
      return;
    }
    this.inject({ kind: 'ike', datagrams: [{ ...path, payload: bytes.slice(marker) }] });
  }

  /**
   * Receives one authentic packet on an inbound SA, from its peer's endpoint or another: `null` when
   * accepted, else why not.
   */
  receive(
    spi: number,
    sequenceNumber: bigint,
    bytes = 100n,
    from?: Pick<IkePath, 'remote' | 'remotePort'>,
  ): MemoryDropReason | null {
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
    if (from !== undefined) this.tellMapping(sa, from);
    return null;
  }

  private tellMapping(sa: MemorySa, from: Pick<IkePath, 'remote' | 'remotePort'>): void {
    const { encapsulation, remote, remotePort, id } = sa.value;
    if (encapsulation !== 'udp') return;
    if (remote === from.remote && remotePort === from.remotePort) return;
    const now = this.clock.now();
    if (sa.mappingToldAt !== null && now - sa.mappingToldAt < MAPPING_INTERVAL_MS) return;
    sa.mappingToldAt = now;
    this.inject({ kind: 'mapping', id, remote: from.remote, remotePort: from.remotePort });
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

  private requireOpen(): DataplaneOptions {
    if (this.state === 'open' && this.options !== null) return this.options;
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

function endpointOf(value: SaEndpointValue): SaEndpointValue {
  const { local, remote, encapsulation, localPort, remotePort } = value;
  return { local, remote, encapsulation, localPort, remotePort };
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
