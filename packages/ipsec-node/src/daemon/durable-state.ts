import { createHash } from 'node:crypto';
import type { Clock } from '../clock.js';
import type { SaId } from '../dataplane/dataplane.js';
import { ResourceError, UsageError } from '../errors.js';
import {
  readStateFile,
  RECORD_COUNT_MAX,
  type StateRecord,
  unwritable,
  writeStateFile,
} from './state-file.js';
import { StateLock } from './state-lock.js';

/** Outbound numbers reserved ahead: what a crash costs, and how rarely the disk is written. */
export const OUTBOUND_BLOCK = 2n ** 20n;
/**
 * Inbound numbers reserved at the start. A crash costs the peer's next packets up to the ceiling,
 * so it is small; the datapath asks for more as the peer's rate shows (`reserveLow`).
 */
export const INBOUND_BLOCK = 4096n;
const SEQUENCE_MAX_32 = 2n ** 32n - 1n;
const SEQUENCE_MAX_64 = 2n ** 64n - 1n;

/** What is needed of an SA to find and keep its numbers. */
export interface DurableSa {
  readonly id: SaId;
  readonly suite: string;
  /** Cipher key then salt; only its digest is kept. */
  readonly key: Uint8Array;
  readonly esn: boolean;
}

/** What an SA may start with, on disk already. */
export interface Reservation {
  /** As `SaValue.sequenceNumber`: outbound the first to use, inbound the right edge. */
  readonly sequenceNumber: bigint;
  readonly reservedUpTo: bigint;
}

interface LiveSa {
  readonly recordKey: string;
  readonly id: SaId;
  readonly keyDigest: string;
  readonly sequenceMax: bigint;
  /** What earlier runs used: no report of the datapath takes the record below it. */
  readonly floor: bigint;
}

/**
 * The sequence numbers of manually keyed SAs, over restarts and crashes.
 *
 * A counter-mode suite fails when a key seals two packets under one number, and a receiver that
 * forgets its window accepts a recording. So a number is written down before it may be used, and
 * what was written down for a key is kept for as long as the state directory lives.
 */
export class DurableState {
  private readonly live = new Map<string, LiveSa>();
  private written: Promise<void> = Promise.resolve();
  private nextWrite: Promise<void> | undefined;

  private constructor(
    private readonly directory: string,
    private readonly lock: StateLock,
    private readonly records: Map<string, StateRecord>,
  ) {}

  /**
   * Takes the state directory for this process and reads it.
   *
   * @throws ResourceError where it is missing, not writable, damaged, or held by another gateway.
   */
  static async open(directory: string, clock: Clock): Promise<DurableState> {
    let lock: StateLock | undefined;
    try {
      lock = await StateLock.take(directory, clock);
    } catch (error) {
      throw unwritable(directory, error);
    }
    if (lock === undefined) {
      throw new ResourceError(
        'IPSEC_ERR_STATE_UNWRITABLE',
        `The state directory ${directory} is in use by a running gateway. ` +
          'Stop that one, or give each gateway a directory of its own (gateway.state).',
        { fields: { directory, reason: 'in-use', adviceInMessage: true } },
      );
    }
    try {
      const records = new Map<string, StateRecord>();
      for (const record of await readStateFile(directory)) records.set(recordKeyOf(record), record);
      return new DurableState(directory, lock, records);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /**
   * Reserves the first numbers of several SAs in one write. Resolves when they are on disk.
   *
   * @throws UsageError where one key would seal for two SAs.
   * @throws ResourceError where a key has too few numbers left, or the disk refuses.
   */
  async begin(sas: readonly DurableSa[]): Promise<readonly Reservation[]> {
    const outboundUsed = this.outboundUsedByKey();
    const reservations = sas.map((sa) => this.reserveFirst(sa, outboundUsed));
    await this.persist();
    return reservations;
  }

  private reserveFirst(sa: DurableSa, outboundUsed: ReadonlyMap<string, bigint>): Reservation {
    const keyDigest = digestOfKey(sa.key);
    const record = { direction: sa.id.direction, spi: sa.id.spi, suite: sa.suite, keyDigest };
    const recordKey = recordKeyOf(record);
    const sequenceMax = sa.esn ? SEQUENCE_MAX_64 : SEQUENCE_MAX_32;
    this.refuseSharedKey(sa.id, keyDigest);
    // The SPI is in what the ICV covers (RFC 4106 section 5), so inbound it is part of the name.
    const upTo =
      sa.id.direction === 'outbound'
        ? (outboundUsed.get(keyDigest) ?? 0n)
        : (this.records.get(recordKey)?.upTo ?? 0n);
    const block = sa.id.direction === 'outbound' ? OUTBOUND_BLOCK : INBOUND_BLOCK;
    if (sequenceMax - upTo < block) throw exhausted(sa.id, sequenceMax - upTo, sa.esn);
    if (!this.records.has(recordKey) && this.records.size >= RECORD_COUNT_MAX) {
      throw new ResourceError(
        'IPSEC_ERR_STATE_UNWRITABLE',
        `The state directory ${this.directory} keeps the numbers of ${RECORD_COUNT_MAX} keys and ` +
          'takes no more. Start a new directory together with new keys for every manual SA.',
        { fields: { directory: this.directory, reason: 'full', adviceInMessage: true } },
      );
    }
    const reservedUpTo = upTo + block;
    this.records.set(recordKey, { ...record, upTo: reservedUpTo });
    this.live.set(liveKeyOf(sa.id), { recordKey, id: sa.id, keyDigest, sequenceMax, floor: upTo });
    return {
      sequenceNumber: sa.id.direction === 'outbound' ? upTo + 1n : upTo,
      reservedUpTo,
    };
  }

  /**
   * What was used under each outbound key. The nonce of a packet comes from key and number alone
   * (RFC 4106 section 3.1), so neither another SPI nor another suite name makes a key new.
   */
  private outboundUsedByKey(): ReadonlyMap<string, bigint> {
    const used = new Map<string, bigint>();
    for (const { direction, keyDigest, upTo } of this.records.values()) {
      if (direction !== 'outbound') continue;
      used.set(keyDigest, greatest(upTo, used.get(keyDigest) ?? 0n));
    }
    return used;
  }

  private refuseSharedKey(id: SaId, keyDigest: string): void {
    if (this.live.has(liveKeyOf(id))) {
      throw new UsageError(
        'IPSEC_ERR_SA_EXISTS',
        `The numbers of the ${id.direction} SA with SPI ${hex(id.spi)} are in use already.`,
        { fields: { direction: id.direction, spi: id.spi } },
      );
    }
    for (const other of this.live.values()) {
      if (other.keyDigest !== keyDigest) continue;
      if (id.direction === 'inbound' && other.id.direction === 'inbound') continue;
      throw new UsageError(
        'IPSEC_ERR_SA_INVALID',
        `The ${id.direction} SA with SPI ${hex(id.spi)} and the ${other.id.direction} SA with SPI ` +
          `${hex(other.id.spi)} have the same key. Both ends or both SAs would use the same ` +
          'nonces, which gives the traffic away: make a key of its own for each direction.',
        {
          fields: {
            direction: id.direction,
            spi: id.spi,
            other: other.id.spi,
            adviceInMessage: true,
          },
        },
      );
    }
  }

  /**
   * Raises a reservation to what the datapath wants, at least by a block outbound, and at most to
   * the last number there is. Resolves with the number that is on disk and may be passed to
   * `Dataplane.reserve`.
   */
  async raise(id: SaId, used: bigint, wanted: bigint): Promise<bigint> {
    const live = this.live.get(liveKeyOf(id));
    const record = live && this.records.get(live.recordKey);
    if (live === undefined || record === undefined) throw unknownSa(id);
    const ahead = id.direction === 'outbound' ? used + OUTBOUND_BLOCK : wanted;
    const target = least(greatest(wanted, ahead), live.sequenceMax);
    if (target > record.upTo) this.records.set(live.recordKey, { ...record, upTo: target });
    await this.persist();
    // Read again: a later call may have raised it further before the write.
    return greatest(target, record.upTo);
  }

  /**
   * Lowers the ceiling of an inbound SA to the bound that the datapath already keeps to, so that a
   * crash costs a slow peer few packets. Never below where the SA began.
   */
  async lower(id: SaId, bound: bigint): Promise<void> {
    const live = this.live.get(liveKeyOf(id));
    const record = live && this.records.get(live.recordKey);
    if (live === undefined || record === undefined) throw unknownSa(id);
    const upTo = greatest(bound, live.floor);
    if (id.direction === 'outbound' || upTo >= record.upTo) return;
    this.records.set(live.recordKey, { ...record, upTo });
    await this.persist();
  }

  /**
   * Writes down the exact last number of an SA that was deleted, so that a clean restart costs no
   * numbers. A number past the reservation is not believed and leaves the reservation.
   */
  async settle(finals: readonly { readonly id: SaId; readonly last: bigint }[]): Promise<void> {
    for (const { id, last } of finals) {
      const live = this.live.get(liveKeyOf(id));
      const record = live && this.records.get(live.recordKey);
      if (live === undefined || record === undefined) continue;
      this.live.delete(liveKeyOf(id));
      const upTo = greatest(last, live.floor);
      if (upTo < record.upTo) this.records.set(live.recordKey, { ...record, upTo });
    }
    await this.persist();
  }

  /** One write serves all who changed something before it began. */
  private persist(): Promise<void> {
    this.nextWrite ??= this.written.then(
      () => this.write(),
      () => this.write(),
    );
    return this.nextWrite;
  }

  private write(): Promise<void> {
    this.nextWrite = undefined;
    this.written = writeStateFile(this.directory, [...this.records.values()]);
    return this.written;
  }

  /** Gives the directory back. What was reserved and not settled stays reserved. Idempotent. */
  async close(): Promise<void> {
    await (this.nextWrite ?? this.written).catch(() => undefined);
    await this.lock.release();
  }
}

/** The digest under which a key's numbers are kept: labelled, so that it is good for nothing else. */
function digestOfKey(key: Uint8Array): string {
  return createHash('sha256').update('ipsec-node sequence numbers\0').update(key).digest('hex');
}

function recordKeyOf(record: Omit<StateRecord, 'upTo'>): string {
  return `${record.direction} ${record.spi} ${record.suite} ${record.keyDigest}`;
}

function liveKeyOf(id: SaId): string {
  return `${id.direction} ${id.spi}`;
}

function hex(spi: number): string {
  return `0x${spi.toString(16).padStart(8, '0')}`;
}

function greatest(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function unknownSa(id: SaId): UsageError {
  return new UsageError(
    'IPSEC_ERR_SA_UNKNOWN',
    `No numbers are kept for an ${id.direction} SA with SPI ${hex(id.spi)}.`,
    { fields: { direction: id.direction, spi: id.spi } },
  );
}

function exhausted(id: SaId, left: bigint, esn: boolean): ResourceError {
  const advice = esn
    ? 'Put new keys on both ends.'
    : 'Put new keys on both ends, with `esn: true`, which has 2^64 numbers instead of 2^32.';
  return new ResourceError(
    'IPSEC_ERR_SA_INVALID',
    `The key of the ${id.direction} SA with SPI ${hex(id.spi)} has ${left} sequence numbers left, ` +
      `too few to start with; a number is never used twice. ${advice}`,
    {
      fields: {
        direction: id.direction,
        spi: id.spi,
        left,
        reason: 'sequence-exhausted',
        adviceInMessage: true,
      },
    },
  );
}
