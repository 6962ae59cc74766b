import { EventEmitter } from 'node:events';
import type { Clock, Milliseconds } from '../clock.js';
import type {
  Dataplane,
  DataplaneEvent,
  DataplaneFacts,
  DataplaneOptions,
  SaState,
} from '../dataplane/dataplane.js';
import { InternalError } from '../errors.js';
import type { Logger } from '../log.js';
import { formatSpi } from '../sad/spi.js';
import type { SaParameters } from '../sad/sa.js';
import type { Spd } from '../spd/spd.js';
import type { KeptKeys } from './capture/capture-keys.js';
import type { IkeDriver } from './ike/ike-driver.js';
import { AuditLog } from './audit.js';
import { DurableState } from './durable-state.js';
import { Reservations } from './reservations.js';
import type {
  CountersSnapshot,
  GatewayState,
  GatewayStatus,
  PolicySnapshot,
  SaSnapshot,
} from './snapshot.js';

/** Faults that are kept for `status`; the oldest go first. */
export const FAULT_COUNT_MAX = 32;

/** What a daemon is made of: compiled values and the things that touch the world. */
export interface DaemonParts {
  readonly name: string;
  readonly version: string;
  readonly spd: Spd;
  /** Manually keyed SAs. The daemon zeroes their keys once they are installed. */
  readonly sas: readonly SaParameters[];
  readonly options: DataplaneOptions;
  readonly stateDirectory: string;
  /** Path of the control socket, for `status`; null where there is none. */
  readonly control: string | null;
  /** Where keys of SAs are kept for captures; null or absent: nowhere. */
  readonly keptKeys?: KeptKeys | null;
  /** Negotiates SAs; absent where the configuration has no peers. */
  readonly ike?: IkeDriver;
  /** Installs the guard before anything is opened; resolves with whether one stood before. */
  readonly closeFirst?: () => Promise<boolean>;
  readonly dataplane: Dataplane;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What a daemon tells, by event. */
export interface DaemonEvents {
  /** Refused packets that RFC 4301 and RFC 4303 want audited; not rate-limited. */
  audit: [event: Extract<DataplaneEvent, { kind: 'audit' }>];
  /** A packet wanted an SA and there is none. */
  acquire: [event: Extract<DataplaneEvent, { kind: 'acquire' }>];
  expire: [event: Extract<DataplaneEvent, { kind: 'expire' }>];
  firstUse: [event: Extract<DataplaneEvent, { kind: 'firstUse' }>];
  /** Somebody removed the guard; it was put back. */
  guard: [event: Extract<DataplaneEvent, { kind: 'guard' }>];
  /** A worker ended. Packets that policy protects are dropped until a restart. */
  fault: [event: Extract<DataplaneEvent, { kind: 'fault' }>];
}

/**
 * The control plane of one gateway: it composes SPD, SAs and dataplane, keeps the durable numbers
 * of manual SAs, and turns what the datapath reports into log lines and events.
 */
export class Daemon extends EventEmitter<DaemonEvents> {
  private state: GatewayState = 'starting';
  private facts: DataplaneFacts | undefined;
  private durable: DurableState | undefined;
  private reservations: Reservations | undefined;
  private readonly audit: AuditLog;
  private readonly installed: SaParameters[] = [];
  /** SAs that the datapath was asked to add, with success or without. */
  private readonly attempted = new Set<SaParameters>();
  private readonly faults: string[] = [];
  private lostEventCount = 0n;
  /** SPD entries that packets wanted an SA for; the SPD bounds their number. */
  private readonly wantedBy = new Set<string>();
  private readonly since: Date;
  private readonly startedAt: Milliseconds;
  private stopping: Promise<void> | undefined;
  private sadQuery: Promise<readonly SaState[]> | undefined;

  private currentSpd: Spd;

  private constructor(private readonly parts: DaemonParts) {
    super();
    this.currentSpd = parts.spd;
    this.audit = new AuditLog(parts.clock, parts.log);
    this.since = parts.clock.wallTime();
    this.startedAt = parts.clock.now();
  }

  /**
   * Starts everything, or undoes what was begun and throws.
   *
   * The order is docs/closing.md: numbers on disk, devices and the wider guard, SPD, inbound SAs,
   * outbound SAs. There is no moment in which a packet that policy protects could leave in clear.
   */
  static async start(parts: DaemonParts): Promise<Daemon> {
    const daemon = new Daemon(parts);
    try {
      await daemon.run();
      return daemon;
    } catch (error) {
      await daemon.stop().catch((second: unknown) => {
        parts.log.error('Undoing a failed start failed too.', { reason: String(second) });
      });
      throw error;
    }
  }

  private async run(): Promise<void> {
    const { dataplane, spd, sas, options, clock, log } = this.parts;
    const firstNumbers = new Map<SaParameters, { sequenceNumber: bigint; reservedUpTo: bigint }>();
    if (sas.length > 0) {
      this.durable = await DurableState.open(this.parts.stateDirectory, clock);
      const reservations = await this.durable.begin(sas);
      for (const [index, sa] of sas.entries()) {
        const reservation = reservations[index];
        if (reservation !== undefined) firstNumbers.set(sa, reservation);
      }
      this.reservations = new Reservations(this.durable, dataplane, clock, log);
    }
    // Before devices and sockets, which may be refused: a start that fails leaves nothing in clear.
    const guardTakenOver = await this.parts.closeFirst?.();
    dataplane.onEvents((events) => this.handleEvents(events));
    const facts = await dataplane.open(options);
    // What the dataplane finds is then the guard of this start.
    this.facts = guardTakenOver === undefined ? facts : { ...facts, guardTakenOver };
    await dataplane.replaceSpd(spd);
    // An SA that receives exists before the one that sends: what the peer answers is understood.
    const inOrder = [...sas].sort((a, b) => rank(a) - rank(b));
    for (const sa of inOrder) {
      const first = firstNumbers.get(sa);
      if (first === undefined) {
        throw new InternalError('IPSEC_ERR_INTERNAL', 'A manual SA has no reservation.');
      }
      this.attempted.add(sa);
      await dataplane.addSa({ ...sa, ...first });
      this.parts.keptKeys?.keepSa(sa);
      sa.key.fill(0);
      this.installed.push(sa);
    }
    this.reservations?.watchIdle();
    await this.parts.ike?.start();
    this.state = 'running';
  }

  /** Puts another SPD in force, atomically: guard and classifier move together. */
  async replaceSpd(spd: Spd): Promise<void> {
    await this.parts.dataplane.replaceSpd(spd);
    this.currentSpd = spd;
  }

  private handleEvents(events: readonly DataplaneEvent[]): void {
    for (const event of events) this.handleEvent(event);
  }

  private handleEvent(event: DataplaneEvent): void {
    const { log, ike } = this.parts;
    ike?.handleDataplaneEvent(event);
    switch (event.kind) {
      case 'reserveLow':
        this.reservations?.handleReserveLow(event);
        break;
      case 'audit':
        this.audit.record(event);
        this.emit('audit', event);
        break;
      case 'acquire':
        // Every packet may ask; one line for each entry says enough where nobody negotiates.
        if (ike === undefined && !this.wantedBy.has(event.entry)) {
          log.warn('A packet wants an SA and there is none; it is dropped, and so are the next.', {
            entry: event.entry,
          });
        }
        this.wantedBy.add(event.entry);
        this.emit('acquire', event);
        break;
      case 'expire':
        if (ike !== undefined) {
          // It is rekeyed, and that is told.
          this.emit('expire', event);
          break;
        }
        log[event.hard ? 'error' : 'warn'](
          event.hard
            ? 'An SA has used all its sequence numbers and stopped. Put new keys on both ends.'
            : 'An SA will soon have used all its sequence numbers. Put new keys on both ends.',
          { direction: event.id.direction, spi: event.id.spi },
        );
        this.emit('expire', event);
        break;
      case 'firstUse':
        log[ike === undefined ? 'info' : 'debug']('The first packet of the peer came through.', {
          spi: formatSpi(event.id.spi),
        });
        this.emit('firstUse', event);
        break;
      case 'guard':
        log.warn('The guard was disturbed.', { what: event.what });
        this.emit('guard', event);
        break;
      case 'fault':
        this.state = this.state === 'running' ? 'failed' : this.state;
        this.keepFault(`worker ${event.worker}: ${event.reason}`);
        log.error('A worker of the datapath ended; what policy protects stays closed.', {
          worker: event.worker,
          reason: event.reason,
        });
        this.emit('fault', event);
        break;
      case 'lost':
        this.lostEventCount += event.count;
        log.warn('The datapath produced more events than could be delivered.', {
          count: event.count,
        });
        break;
      case 'ike':
      case 'mapping':
        // For the driver of IKE alone; where there is none, the datapath has counted it.
        break;
    }
  }

  private keepFault(text: string): void {
    this.faults.push(text);
    if (this.faults.length > FAULT_COUNT_MAX) this.faults.shift();
  }

  /** The SPD in force. */
  get spd(): Spd {
    return this.currentSpd;
  }

  /** Manual SAs and negotiated ones. */
  private saParameters(): readonly SaParameters[] {
    return [...this.installed, ...(this.parts.ike?.installedSas() ?? [])];
  }

  /** The gateway as a whole. */
  status(): GatewayStatus {
    const { clock, options } = this.parts;
    const spd = this.currentSpd;
    return {
      name: this.parts.name,
      state: this.state,
      version: this.parts.version,
      pid: process.pid,
      since: this.since,
      uptimeMs: clock.now() - this.startedAt,
      control: this.parts.control,
      onStop: options.onStop,
      unprotected: options.unprotectedInterfaces,
      ikePort: options.ikePort,
      port: options.port,
      facts: this.facts ?? {
        interface: options.interface.name,
        mtu: options.interface.mtu,
        offload: options.offload,
        notes: [],
        guardTakenOver: false,
      },
      spdVersion: spd.version,
      policyCount: spd.entries.length,
      saCount: this.saParameters().length,
      faults: [...this.faults],
      lostEventCount: this.lostEventCount,
    };
  }

  /** Every SA: its parameters and what packets did to it. Never a key. */
  async sas(): Promise<readonly SaSnapshot[]> {
    // Queries that come together share one answer of the datapath.
    this.sadQuery ??= this.parts.dataplane.querySad().finally(() => {
      this.sadQuery = undefined;
    });
    const states = new Map((await this.sadQuery).map((sa) => [nameOf(sa), sa] as const));
    return this.saParameters().flatMap((sa) => {
      const state = states.get(nameOf(sa));
      return state === undefined ? [] : [snapshotOf(sa, state)];
    });
  }

  /** The SPD in order, built-in entries included. */
  policies(): readonly PolicySnapshot[] {
    const served = new Map<string, number>();
    for (const sa of this.saParameters()) served.set(sa.entry, (served.get(sa.entry) ?? 0) + 1);
    return this.currentSpd.entries.map((entry, index) => ({
      index,
      name: entry.name,
      direction: entry.direction,
      action: entry.action,
      selector: entry.selector,
      builtin: entry.builtin,
      saCount: served.get(entry.name) ?? 0,
    }));
  }

  /** All counters, and the refusals of single SAs. */
  async counters(): Promise<CountersSnapshot> {
    const [{ counters, drops }, sas] = await Promise.all([
      this.parts.dataplane.counters(),
      this.sas(),
    ]);
    const dropsBySa = sas.filter((sa) => Object.keys(sa.drops).length > 0);
    return { counters, drops, dropsBySa: dropsBySa.map(({ id, drops }) => ({ id, drops })) };
  }

  /** Stops in the order of docs/closing.md. Idempotent; all callers wait for the one stop. */
  stop(): Promise<void> {
    this.stopping ??= this.shutDown();
    return this.stopping;
  }

  private async shutDown(): Promise<void> {
    const { dataplane, log } = this.parts;
    this.state = 'stopping';
    const failures: unknown[] = [];
    const attempt = async (step: () => Promise<void>): Promise<void> => {
      try {
        await step();
      } catch (error) {
        failures.push(error);
        log.error('A step of the stop failed; the rest goes on.', { reason: String(error) });
      }
    };
    // The peers are told first, while what they answer still comes in.
    await attempt(async () => this.parts.ike?.stop());
    await attempt(async () => this.reservations?.stop());
    const finals: { id: SaState['id']; last: bigint }[] = [];
    // The SA that sends ends first: nothing asks the peer for an answer that is not understood.
    for (const sa of [...this.installed].sort((a, b) => rank(b) - rank(a))) {
      await attempt(async () => {
        const { id, sequenceNumber } = await dataplane.deleteSa(sa.id);
        finals.push({ id, last: sequenceNumber });
      });
    }
    this.installed.length = 0;
    // A start that failed used no number of the SAs it did not come to: a service that is restarted
    // over and over must not use a key up.
    for (const sa of this.parts.sas) {
      if (!this.attempted.has(sa)) finals.push({ id: sa.id, last: 0n });
    }
    await attempt(async () => this.durable?.settle(finals));
    await attempt(() => dataplane.close());
    for (const sa of this.parts.sas) sa.key.fill(0);
    await attempt(async () => this.durable?.close());
    this.audit.close();
    this.state = 'stopped';
    if (failures.length > 0) throw failures[0];
  }
}

function rank(sa: SaParameters): number {
  return sa.id.direction === 'inbound' ? 0 : 1;
}

function nameOf(sa: { readonly id: SaState['id'] }): string {
  return `${sa.id.direction} ${sa.id.spi}`;
}

function snapshotOf(sa: SaParameters, state: SaState): SaSnapshot {
  return {
    id: sa.id,
    entry: sa.entry,
    suite: sa.suite,
    mode: sa.mode,
    local: sa.local,
    remote: sa.remote,
    localPort: sa.localPort,
    remotePort: sa.remotePort,
    encapsulation: sa.encapsulation,
    selector: sa.selector,
    esn: sa.esn,
    replayWindow: sa.replayWindow,
    sequenceNumber: state.sequenceNumber,
    reservedUpTo: state.reservedUpTo,
    packets: state.packets,
    bytes: state.bytes,
    ageMs: state.ageMs,
    idleMs: state.idleMs,
    drops: state.drops,
  };
}
