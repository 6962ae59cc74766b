/**
 * Two IKE endpoints, one virtual clock and a network that does what it is told. Slow work is done by
 * the product's own crypto or by what a test gives in its place, in no time as the virtual clock
 * sees it unless told otherwise. Nothing here waits for real time.
 *
 * {@link Simulation.run} serves every kind of work; {@link Simulation.runNow} is the same without a
 * promise, for tests that run many thousand times, and takes work that is done at once alone.
 */
import { createHash } from 'node:crypto';
import type {
  Effect,
  EffectResult,
  IkeAction,
  IkeDatagram,
  IkeEvent,
  IkeSaSnapshot,
} from '../../packages/ipsec-node/src/ike/action.js';
import { computeKeyExchange } from '../../packages/ipsec-node/src/ike/crypto/key-exchange.js';
import {
  IkeEndpoint,
  type IkeEndpointOptions,
  type PeerPath,
} from '../../packages/ipsec-node/src/ike/endpoint.js';
import type { ComputeResult, ComputeTask } from '../../packages/ipsec-node/src/ike/compute.js';
import type { Pad } from '../../packages/ipsec-node/src/pad/pad.js';
import type { SaIdentifier, SaParameters } from '../../packages/ipsec-node/src/sad/sa.js';
import { SimulatedDatapath } from './simulated-datapath.js';

export const ADDRESS = { a: '192.0.2.1', b: '192.0.2.2' } as const;
export type Side = keyof typeof ADDRESS;
export const SIDES: readonly Side[] = ['a', 'b'];
export const other = (side: Side): Side => (side === 'a' ? 'b' : 'a');

/** What happens to one datagram: nothing comes, one or more copies come, each after this long. */
export type Fate = readonly number[];
/** A millisecond on the way. */
export const DELIVERED: Fate = [1];

/** Bytes that are the same in every run of one seed. */
export function seededRandom(seed: string): (length: number) => Uint8Array {
  let counter = 0;
  let pool = Buffer.alloc(0);
  return (length) => {
    while (pool.length < length) {
      const parts = [pool, createHash('sha512').update(`${seed} ${counter}`).digest()];
      counter += 1;
      pool = Buffer.concat(parts);
    }
    const bytes = Uint8Array.from(pool.subarray(0, length));
    pool = pool.subarray(length);
    return bytes;
  };
}

export interface SimulationOptions {
  readonly pads: Readonly<Record<Side, Pad>>;
  readonly seed?: string;
  readonly limits?: IkeEndpointOptions['limits'];
  /** Decides on each datagram in the order sent; delivered where it is left out. */
  readonly fate?: (datagram: IkeDatagram, from: Side, index: number) => Fate;
  /** What a datagram looks like when it arrives, where a NAT is on the way; null: it is dropped. */
  readonly translate?: (datagram: IkeDatagram, from: Side) => IkeDatagram | null;
  /** Refuses to install these SAs. */
  readonly refuseInstall?: (side: Side, sas: readonly SaParameters[]) => string | null;
  /** Refuses to give this SA another endpoint. */
  readonly refuseUpdate?: (side: Side, id: SaIdentifier) => string | null;
  /** Does work in the place of the product's crypto; null: the product's does it. */
  readonly compute?: (side: Side, task: ComputeTask) => ComputeResult | null;
  /** How long an effect takes; at once where it is left out. */
  readonly effectMs?: (side: Side, effect: Effect) => number;
  readonly random?: (side: Side) => (length: number) => Uint8Array;
  readonly resolve?: (name: string) => readonly string[];
  readonly revealKeys?: boolean;
}

interface Due {
  readonly at: number;
  readonly order: number;
  /** Which datagram it is, and to whom; null: no datagram. */
  readonly label: string | null;
  readonly run: () => void;
}

export class Simulation {
  now = 1_000;
  endpoints: Readonly<Record<Side, IkeEndpoint>>;
  datapaths: Readonly<Record<Side, SimulatedDatapath>> = {
    a: new SimulatedDatapath(),
    b: new SimulatedDatapath(),
  };
  readonly events: { readonly side: Side; readonly at: number; readonly event: IkeEvent }[] = [];
  /** Every datagram that was sent, delivered or not, as it left. */
  readonly sent: { readonly from: Side; readonly at: number; readonly datagram: IkeDatagram }[] =
    [];
  /** Every action that changed SAs in place. */
  readonly updates: {
    readonly side: Side;
    readonly update: Extract<IkeAction, { kind: 'update' }>;
  }[] = [];
  /** NAT keepalives. */
  readonly keepalives: { readonly side: Side; readonly at: number }[] = [];
  /** Packets that could not be sent, or were not understood, and when. */
  readonly lost: { readonly from: Side; readonly at: number; readonly why: string }[] = [];
  fate: SimulationOptions['fate'];
  translate: SimulationOptions['translate'];
  /** Entries over which both sides send a packet at every step; see {@link watchTraffic}. */
  private watched: string[] = [];
  private readonly due: Due[] = [];
  /** Inputs that made something happen, in order: two runs with the same are the same run. */
  private history = '';
  /** Work that is done by promises, and is waited for before time goes on. */
  private slow: Promise<void>[] = [];
  private order = 0;
  private commands = 0;

  constructor(private readonly options: SimulationOptions) {
    this.fate = options.fate;
    this.translate = options.translate;
    this.endpoints = { a: this.endpoint('a'), b: this.endpoint('b') };
  }

  path(side: Side): PeerPath {
    return { local: ADDRESS[side], remote: ADDRESS[other(side)] };
  }

  /** Does what an endpoint asks for, in order. */
  perform(side: Side, actions: readonly IkeAction[]): void {
    for (const action of actions) this.performOne(side, action);
  }

  private performOne(side: Side, action: IkeAction): void {
    switch (action.kind) {
      case 'send':
        this.transmit(side, action.datagram);
        break;
      case 'effect': {
        const after = this.options.effectMs?.(side, action.effect) ?? 0;
        const result = this.effect(side, action.effect);
        const resume = (outcome: EffectResult): void =>
          this.schedule(after, () =>
            this.perform(side, this.endpoints[side].handleResult(action.id, outcome, this.now)),
          );
        if (result instanceof Promise) this.slow.push(result.then(resume));
        else resume(result);
        break;
      }
      case 'delete':
        this.datapaths[side].delete(action.sas);
        break;
      case 'event':
        this.events.push({ side, at: this.now, event: action.event });
        break;
      case 'update':
        this.updates.push({ side, update: action });
        for (const id of action.sas) {
          const refused = this.options.refuseUpdate?.(side, id) ?? null;
          if (refused === null) continue;
          this.schedule(0, () =>
            this.perform(side, this.endpoints[side].handleFailure(id, refused, this.now)),
          );
        }
        break;
      case 'keepalive':
        this.keepalives.push({ side, at: this.now });
    }
  }

  private effect(side: Side, effect: Effect): EffectResult | Promise<EffectResult> {
    switch (effect.kind) {
      case 'compute': {
        const { task } = effect;
        const given = this.options.compute?.(side, task) ?? null;
        if (given !== null) return { kind: 'compute', result: given };
        if (task.kind === 'generate' || task.kind === 'agree' || task.kind === 'respond') {
          return computeKeyExchange(task).then((result) => ({ kind: 'compute', result }));
        }
        return { kind: 'compute', result: { kind: 'refused', reason: 'not simulated' } };
      }
      case 'install': {
        // The datapath does what it is told in order; that it is done may be told later.
        const refused = this.options.refuseInstall?.(side, effect.sas) ?? null;
        if (refused === null) this.datapaths[side].install(effect.sas);
        return { kind: 'install', refused };
      }
      case 'query':
        return { kind: 'query', sas: this.datapaths[side].query(effect.sas, this.now) };
    }
  }

  private transmit(from: Side, datagram: IkeDatagram): void {
    const index = this.sent.length;
    this.sent.push({ from, at: this.now, datagram });
    const fate = this.fate?.(datagram, from, index) ?? DELIVERED;
    if (fate.length === 0) return;
    const arriving = this.translate === undefined ? datagram : this.translate(datagram, from);
    if (arriving === null) return;
    for (const delay of fate) this.inject(other(from), arriving, delay, `${from}${index}`);
  }

  /** A datagram that arrives at a side after `delay`, as if the other had sent it. */
  inject(to: Side, datagram: IkeDatagram, delay = 1, label: string | null = null): void {
    const arriving = {
      local: datagram.remote,
      localPort: datagram.remotePort,
      remote: datagram.local,
      remotePort: datagram.localPort,
      payload: Uint8Array.from(datagram.payload),
    };
    const arrive = (): void => {
      const actions = this.endpoints[to].handleDatagram(arriving, this.now);
      if (actions.length > 0) this.history += ` ${label}`;
      this.perform(to, actions);
    };
    this.schedule(delay, arrive, label);
  }

  /** Has something done after `delay`. */
  schedule(delay: number, run: () => void, label: string | null = null): void {
    this.order += 1;
    const due = { at: this.now + delay, order: this.order, label, run };
    const before = this.due.findIndex(({ at }) => at > due.at);
    if (before < 0) this.due.push(due);
    else this.due.splice(before, 0, due);
  }

  /**
   * What happened and what is on its way, in order, but for the moments: where two runs have the same
   * mark, what follows is the same too.
   */
  get mark(): string {
    return `${this.history} | ${this.due.map(({ label }) => label ?? '').join(' ')}`;
  }

  private endpoint(side: Side, life = ''): IkeEndpoint {
    const { options } = this;
    return new IkeEndpoint({
      pad: options.pads[side],
      ports: { ike: 500, nat: 4500 },
      random: options.random?.(side) ?? seededRandom(`${options.seed ?? 'seed'} ${side}${life}`),
      ...(options.limits === undefined ? {} : { limits: options.limits }),
      ...(options.resolve === undefined ? {} : { resolve: options.resolve }),
      revealKeys: options.revealKeys ?? false,
    });
  }

  /** A side dies without a word and comes again, knowing nothing. */
  restart(side: Side): void {
    this.endpoints = { ...this.endpoints, [side]: this.endpoint(side, ' again') };
    this.datapaths = { ...this.datapaths, [side]: new SimulatedDatapath() };
  }

  /** Forgets what happened, for another run from where this one came to rest. */
  forget(): void {
    this.history = '';
    for (const list of [this.sent, this.events, this.lost, this.updates]) list.length = 0;
  }

  /** Whether a datagram or an effect is on its way. */
  get isUnderWay(): boolean {
    return this.due.length > 0;
  }

  /** The next thing that happens by `until`; false: there is none. */
  private step(until: number): boolean {
    const { a, b } = this.endpoints;
    const first = this.due[0];
    const next = Math.min(
      first?.at ?? Infinity,
      a.nextTimeout() ?? Infinity,
      b.nextTimeout() ?? Infinity,
    );
    if (next > until || next === Infinity) return false;
    this.now = Math.max(this.now, next);
    if (first !== undefined && first.at <= this.now) {
      this.due.shift();
      first.run();
    } else {
      for (const side of SIDES) {
        const due = this.endpoints[side].nextTimeout();
        if (due !== null && due <= this.now) {
          const actions = this.endpoints[side].handleTimeout(this.now);
          if (actions.length > 0) this.history += ` t${side}`;
          this.perform(side, actions);
        }
      }
    }
    return true;
  }

  /** Runs all that happens until `until`, in order. */
  async runUntil(until: number): Promise<void> {
    for (let steps = 0; ; steps += 1) {
      if (steps > 100_000) throw new Error('the simulation does not come to rest');
      while (this.slow.length > 0) await Promise.all(this.slow.splice(0));
      if (!this.step(until)) break;
      while (this.slow.length > 0) await Promise.all(this.slow.splice(0));
      this.exchangePackets();
    }
    this.now = until;
  }

  async run(span: number): Promise<void> {
    await this.runUntil(this.now + span);
  }

  /** As {@link run}, where all work is done at once. */
  runNow(span: number): void {
    const until = this.now + span;
    for (let steps = 0; this.step(until); steps += 1) {
      if (this.slow.length > 0) throw new Error('work that is not done at once');
      if (steps > 100_000) throw new Error('the simulation does not come to rest');
      this.exchangePackets();
    }
    this.now = until;
  }

  /** From here on both sides send a packet over each entry after every step; what is lost is noted. */
  watchTraffic(entries: readonly string[]): void {
    this.watched = [...entries];
  }

  private exchangePackets(): void {
    for (const entry of this.watched) {
      for (const from of SIDES) this.sendPacket(from, entry);
    }
  }

  /** One packet from one side to the other; false: it was lost. */
  sendPacket(from: Side, entry: string): boolean {
    const sending = this.datapaths[from].sending(entry);
    const to = other(from);
    const lose = (why: string): false => {
      this.lost.push({ from, at: this.now, why });
      return false;
    };
    if (sending === null) return lose('no SA to send by');
    const receiving = this.datapaths[to].inbound.get(sending.id.spi);
    if (receiving === undefined) return lose(`the peer has no SA ${sending.id.spi}`);
    if (Buffer.compare(receiving.key, sending.key) !== 0) return lose('the two keys differ');
    if (this.datapaths[to].receive(receiving, this.now)) {
      this.perform(to, this.endpoints[to].handleFirstUse(receiving.id.spi, this.now));
    }
    return true;
  }

  // ---------------------------------------------------------------- commands and looks

  /**
   * Starts a child and returns the number under which its end is told. `before`: other addresses of
   * the peer, which are tried first.
   */
  initiate(side: Side, child: string | null, peer: string, before: readonly string[] = []): number {
    const command = this.command();
    const path = this.path(side);
    const paths = [...before.map((remote) => ({ ...path, remote })), path];
    this.perform(
      side,
      this.endpoints[side].initiate({ peer, child, packet: null, paths, command }, this.now),
    );
    return command;
  }

  /** A number for a command whose end is asked for by {@link outcome}. */
  command(): number {
    this.commands += 1;
    return this.commands;
  }

  rekeyChild(side: Side, index = 0): number {
    const child = this.children(side)[index];
    if (child === undefined) throw new Error(`${side} has no child ${index}`);
    const command = this.command();
    this.perform(side, this.endpoints[side].rekeyChild(child.id, command, this.now));
    return command;
  }

  rekeyIkeSa(side: Side): number {
    const command = this.command();
    const { id } = this.establishedSa(side);
    this.perform(side, this.endpoints[side].rekeyIkeSa(id, command, this.now));
    return command;
  }

  /** Has a side ask whether the other lives. */
  probe(side: Side): void {
    const { id } = this.establishedSa(side);
    this.perform(side, this.endpoints[side].probe(id, this.now));
  }

  terminateChild(side: Side, index = 0): number {
    const child = this.children(side)[index];
    if (child === undefined) throw new Error(`${side} has no child ${index}`);
    const command = this.command();
    this.perform(side, this.endpoints[side].terminateChild(child.id, command, this.now));
    return command;
  }

  terminateIkeSa(side: Side, force = false): number {
    const command = this.command();
    const { id } = this.establishedSa(side);
    this.perform(side, this.endpoints[side].terminateIkeSa(id, { force, command }, this.now));
    return command;
  }

  private establishedSa(side: Side): IkeSaSnapshot {
    const [sa] = this.ikeSas(side).filter(({ state }) => state === 'established');
    if (sa === undefined) throw new Error(`${side} has no IKE SA`);
    return sa;
  }

  /** How a command ended; undefined: it has not yet. */
  outcome(command: number): string | null | undefined {
    for (const { event } of this.events) {
      if (event.kind === 'command-done' && event.command === command) return event.refused;
    }
    return undefined;
  }

  ikeSas(side: Side): readonly IkeSaSnapshot[] {
    return this.endpoints[side].snapshots(this.now);
  }

  children(side: Side): IkeSaSnapshot['children'] {
    return this.ikeSas(side)
      .flatMap(({ children }) => children)
      .filter(({ state }) => state === 'installed' || state === 'rekeying');
  }

  eventsOf<K extends IkeEvent['kind']>(
    side: Side,
    kind: K,
  ): readonly Extract<IkeEvent, { kind: K }>[] {
    return this.events.flatMap(({ side: of, event }) =>
      of === side && isKind(event, kind) ? [event] : [],
    );
  }
}

function isKind<K extends IkeEvent['kind']>(
  event: IkeEvent,
  kind: K,
): event is Extract<IkeEvent, { kind: K }> {
  return event.kind === kind;
}
