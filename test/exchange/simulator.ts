/**
 * Two IKE endpoints, one virtual clock and a network that does what it is told. Slow work is done by
 * the product's own crypto, at once as the virtual clock sees it. Nothing here waits for real time.
 */
import { createHash } from 'node:crypto';
import type {
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
import type { SaParameters } from '../../packages/ipsec-node/src/sad/sa.js';

export const ADDRESS = { a: '192.0.2.1', b: '192.0.2.2' } as const;
export type Side = keyof typeof ADDRESS;
const other = (side: Side): Side => (side === 'a' ? 'b' : 'a');

/** What happens to one datagram: nothing comes, one or more copies come, each after this long. */
export type Fate = readonly number[];
/** A millisecond on the way. */
export const DELIVERED: Fate = [1];

/** Bytes that are the same in every run of one seed. */
export function seededRandom(seed: string): (length: number) => Uint8Array {
  let counter = 0;
  return (length) => {
    const parts: Buffer[] = [];
    for (let have = 0; have < length; have += 32) {
      parts.push(createHash('sha256').update(`${seed} ${counter}`).digest());
      counter += 1;
    }
    return new Uint8Array(Buffer.concat(parts).subarray(0, length));
  };
}

export interface SimulationOptions {
  readonly pads: Readonly<Record<Side, Pad>>;
  readonly seed?: string;
  readonly limits?: IkeEndpointOptions['limits'];
  /** Decides on each datagram in the order sent; delivered where it is left out. */
  readonly fate?: (datagram: IkeDatagram, from: Side, index: number) => Fate;
  /** Refuses to install these SAs. */
  readonly refuseInstall?: (side: Side, sas: readonly SaParameters[]) => string | null;
  /** Work that is not a key exchange: signatures and chains. */
  readonly compute?: (task: ComputeTask) => Promise<ComputeResult>;
  readonly revealKeys?: boolean;
}

interface Arrival {
  readonly at: number;
  readonly order: number;
  readonly to: Side;
  readonly datagram: IkeDatagram;
}

/** The datapath of one side, as far as it matters: which SAs there are, the newest last. */
export class SimulatedDatapath {
  readonly inbound = new Map<number, SaParameters>();
  readonly outbound: SaParameters[] = [];
  readonly used = new Set<number>();

  /** The SA that a packet of an entry leaves by. */
  sending(entry: string): SaParameters | null {
    return this.outbound.findLast((sa) => sa.entry === entry) ?? null;
  }
}

export class Simulation {
  now = 1_000;
  readonly endpoints: Readonly<Record<Side, IkeEndpoint>>;
  readonly datapaths: Readonly<Record<Side, SimulatedDatapath>> = {
    a: new SimulatedDatapath(),
    b: new SimulatedDatapath(),
  };
  readonly events: { readonly side: Side; readonly at: number; readonly event: IkeEvent }[] = [];
  /** Every datagram that was sent, delivered or not. */
  readonly sent: { readonly from: Side; readonly at: number; readonly datagram: IkeDatagram }[] =
    [];
  /** Packets that could not be sent, or were not understood, and when. */
  readonly lost: { readonly from: Side; readonly at: number; readonly why: string }[] = [];
  /** Entries over which both sides send a packet at every step; see {@link watchTraffic}. */
  private watched: string[] = [];
  private readonly arrivals: Arrival[] = [];
  private order = 0;
  private commands = 0;

  constructor(private readonly options: SimulationOptions) {
    const endpoint = (side: Side): IkeEndpoint =>
      new IkeEndpoint({
        pad: options.pads[side],
        ports: { ike: 500, nat: 4500 },
        random: seededRandom(`${options.seed ?? 'seed'} ${side}`),
        ...(options.limits === undefined ? {} : { limits: options.limits }),
        revealKeys: options.revealKeys ?? false,
      });
    this.endpoints = { a: endpoint('a'), b: endpoint('b') };
  }

  path(side: Side): PeerPath {
    return { local: ADDRESS[side], remote: ADDRESS[other(side)] };
  }

  /** Does what an endpoint asks for. Effects are finished before this resolves. */
  async perform(side: Side, actions: readonly IkeAction[]): Promise<void> {
    for (const action of actions) await this.performOne(side, action);
  }

  private async performOne(side: Side, action: IkeAction): Promise<void> {
    switch (action.kind) {
      case 'send':
        this.transmit(side, action.datagram);
        break;
      case 'effect': {
        const result = await this.effect(side, action.effect);
        await this.perform(side, this.endpoints[side].handleResult(action.id, result, this.now));
        break;
      }
      case 'delete':
        for (const { direction, spi } of action.sas) {
          const { inbound, outbound } = this.datapaths[side];
          if (direction === 'inbound') inbound.delete(spi);
          else {
            const index = outbound.findIndex(({ id }) => id.spi === spi);
            if (index >= 0) outbound.splice(index, 1);
          }
        }
        break;
      case 'event':
        this.events.push({ side, at: this.now, event: action.event });
        break;
      case 'update':
      case 'keepalive':
        break;
    }
  }

  private async effect(
    side: Side,
    effect: Extract<IkeAction, { kind: 'effect' }>['effect'],
  ): Promise<EffectResult> {
    switch (effect.kind) {
      case 'compute': {
        const { task } = effect;
        const isKeyExchange =
          task.kind === 'generate' || task.kind === 'agree' || task.kind === 'respond';
        const result = isKeyExchange
          ? await computeKeyExchange(task)
          : await (this.options.compute?.(task) ??
              Promise.resolve<ComputeResult>({ kind: 'refused', reason: 'not simulated' }));
        return { kind: 'compute', result };
      }
      case 'install': {
        const refused = this.options.refuseInstall?.(side, effect.sas) ?? null;
        if (refused === null) {
          const { inbound, outbound } = this.datapaths[side];
          for (const sa of effect.sas) {
            if (sa.id.direction === 'inbound') inbound.set(sa.id.spi, sa);
            else outbound.push(sa);
          }
        }
        return { kind: 'install', refused };
      }
      case 'query':
        return {
          kind: 'query',
          sas: effect.sas.map((id) => ({ id, packets: 0n, bytes: 0n, idleMs: null })),
        };
    }
  }

  private transmit(from: Side, datagram: IkeDatagram): void {
    const index = this.sent.length;
    this.sent.push({ from, at: this.now, datagram });
    const fate = this.options.fate?.(datagram, from, index) ?? DELIVERED;
    for (const delay of fate) this.inject(other(from), datagram, delay);
  }

  /** A datagram that arrives at a side after `delay`, as if the other had sent it. */
  inject(to: Side, datagram: IkeDatagram, delay = 1): void {
    this.order += 1;
    this.arrivals.push({
      at: this.now + delay,
      order: this.order,
      to,
      datagram: {
        local: datagram.remote,
        localPort: datagram.remotePort,
        remote: datagram.local,
        remotePort: datagram.localPort,
        payload: Uint8Array.from(datagram.payload),
      },
    });
    this.arrivals.sort((x, y) => x.at - y.at || x.order - y.order);
  }

  /** Runs all that happens until `until`, in order. */
  async runUntil(until: number): Promise<void> {
    for (let steps = 0; ; steps += 1) {
      if (steps > 100_000) throw new Error('the simulation does not come to rest');
      const times = [
        this.arrivals[0]?.at,
        this.endpoints.a.nextTimeout(),
        this.endpoints.b.nextTimeout(),
      ].filter((at): at is number => at != null);
      const next = Math.min(...times);
      if (times.length === 0 || next > until) break;
      this.now = Math.max(this.now, next);
      const arrival = this.arrivals[0];
      if (arrival !== undefined && arrival.at <= this.now) {
        this.arrivals.shift();
        await this.perform(
          arrival.to,
          this.endpoints[arrival.to].handleDatagram(arrival.datagram, this.now),
        );
      } else {
        for (const side of ['a', 'b'] as const) {
          const due = this.endpoints[side].nextTimeout();
          if (due !== null && due <= this.now) {
            await this.perform(side, this.endpoints[side].handleTimeout(this.now));
          }
        }
      }
      await this.exchangePackets();
    }
    this.now = until;
  }

  async run(span: number): Promise<void> {
    await this.runUntil(this.now + span);
  }

  /** From here on both sides send a packet over each entry after every step; what is lost is noted. */
  watchTraffic(entries: readonly string[]): void {
    this.watched = [...entries];
  }

  private async exchangePackets(): Promise<void> {
    for (const entry of this.watched) {
      for (const from of ['a', 'b'] as const) await this.sendPacket(from, entry);
    }
  }

  /** One packet from one side to the other; false: it was lost. */
  async sendPacket(from: Side, entry: string): Promise<boolean> {
    const sending = this.datapaths[from].sending(entry);
    const to = this.datapaths[other(from)];
    if (sending === null) {
      this.lost.push({ from, at: this.now, why: 'no SA to send by' });
      return false;
    }
    const receiving = to.inbound.get(sending.id.spi);
    if (receiving === undefined) {
      this.lost.push({ from, at: this.now, why: `the peer has no SA ${sending.id.spi}` });
      return false;
    }
    if (!Buffer.from(receiving.key).equals(Buffer.from(sending.key))) {
      this.lost.push({ from, at: this.now, why: 'the two keys differ' });
      return false;
    }
    if (!to.used.has(receiving.id.spi)) {
      to.used.add(receiving.id.spi);
      const receiver = other(from);
      await this.perform(
        receiver,
        this.endpoints[receiver].handleFirstUse(receiving.id.spi, this.now),
      );
    }
    return true;
  }

  // ---------------------------------------------------------------- commands and looks

  /** Starts a child and returns the number under which its end is told. */
  async initiate(side: Side, child: string | null, peer: string): Promise<number> {
    this.commands += 1;
    const command = this.commands;
    const paths = [this.path(side)];
    await this.perform(
      side,
      this.endpoints[side].initiate({ peer, child, packet: null, paths, command }, this.now),
    );
    return command;
  }

  async rekeyChild(side: Side, index = 0): Promise<void> {
    const child = this.children(side)[index];
    if (child === undefined) throw new Error(`${side} has no child ${index}`);
    await this.perform(side, this.endpoints[side].rekeyChild(child.id, null, this.now));
  }

  async rekeyIkeSa(side: Side): Promise<void> {
    const [sa] = this.ikeSas(side).filter(({ state }) => state === 'established');
    if (sa === undefined) throw new Error(`${side} has no IKE SA`);
    await this.perform(side, this.endpoints[side].rekeyIkeSa(sa.id, null, this.now));
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
