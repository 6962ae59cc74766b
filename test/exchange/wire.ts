/**
 * Two sides whose datagrams go only when a test says so, by name, in the order that it says: for
 * collisions. Times in between are short: nothing is sent again unless the test lets time pass.
 */
import type { IkeDatagram } from '../../packages/ipsec-node/src/ike/action.js';
import { spiOf } from '../../packages/ipsec-node/src/ike/bytes.js';
import { findPayload } from '../../packages/ipsec-node/src/ike/exchange/find.js';
import type { IkeLimits } from '../../packages/ipsec-node/src/ike/limits.js';
import type { ChildTerms } from '../../packages/ipsec-node/src/pad/child-terms.js';
import type { Pad } from '../../packages/ipsec-node/src/pad/pad.js';
import type { PadEntry } from '../../packages/ipsec-node/src/pad/pad-entry.js';
import { arrow, Eavesdropper, type OpenMessage } from './eavesdropper.js';
import { pads } from './peers.js';
import {
  DELIVERED,
  other,
  seededRandom,
  type Side,
  SIDES,
  Simulation,
  type SimulationOptions,
} from './simulator.js';
import { toyKeyExchange } from './toy-key-exchange.js';

/** No rekey begins by itself. */
export const FOR_EVER = 1e12;

export interface ToyOptions {
  readonly seed?: string;
  readonly a?: Partial<PadEntry>;
  readonly b?: Partial<PadEntry>;
  readonly both?: Partial<PadEntry>;
  readonly child?: Partial<ChildTerms>;
  readonly limits?: Partial<IkeLimits>;
  readonly nonces?: NonceOrder;
  readonly more?: Partial<SimulationOptions>;
}

/**
 * Whose next nonce is lower than all others: who loses a collision (RFC 7296 section 2.8.1), where
 * it is set before both ask.
 */
export interface NonceOrder {
  next: Side | null;
}

/** Random bytes; what a nonce is taken from (32 bytes at a time) begins low once, else high. */
function randomOf(side: Side, seed: string, order: NonceOrder) {
  const random = seededRandom(`${seed} ${side}`);
  return (length: number): Uint8Array => {
    const bytes = random(length);
    if (length === 32) {
      bytes[0] = order.next === side ? 0x01 : 0x80 | (bytes[0] ?? 0);
      if (order.next === side) order.next = null;
    }
    return bytes;
  };
}

/** Two sides that have the toy key exchange and nothing that happens by itself. */
export function toySimulation(options: ToyOptions = {}): Simulation {
  const { seed = 'seed', limits, nonces = { next: null } } = options;
  const work = {
    a: toyKeyExchange(seededRandom(`${seed} work a`)),
    b: toyKeyExchange(seededRandom(`${seed} work b`)),
  };
  return new Simulation({
    pads: toyPads(options),
    compute: (side, task) => work[side](task),
    random: (side) => randomOf(side, seed, nonces),
    ...(limits === undefined ? {} : { limits }),
    ...options.more,
  });
}

function toyPads(options: ToyOptions): Readonly<Record<Side, Pad>> {
  const lifetime = { rekeyMs: FOR_EVER, hardMs: FOR_EVER * 2, rekeyBytes: 0n, rekeyPackets: 0n };
  return pads({
    ...(options.a === undefined ? {} : { a: options.a }),
    ...(options.b === undefined ? {} : { b: options.b }),
    both: { rekeyMs: FOR_EVER, hardMs: FOR_EVER * 2, ...options.both },
    child: { lifetime, ...options.child },
  });
}

function entryOf(pad: Pad): PadEntry {
  const [entry] = pad.entries;
  if (entry === undefined) throw new Error('a PAD without entries');
  return entry;
}

interface Held {
  readonly from: Side;
  readonly datagram: IkeDatagram;
  readonly message: OpenMessage | null;
}

export class Wire {
  readonly eavesdropper = new Eavesdropper();
  /** All messages since the two connected, in the notation of the RFC. */
  readonly arrows: string[] = [];
  private readonly held: Held[] = [];
  private readonly offered: Readonly<Record<Side, number[]>> = { a: [], b: [] };
  private isHolding = false;

  private constructor(
    readonly simulation: Simulation,
    private readonly entries: Readonly<Record<Side, PadEntry>>,
  ) {
    simulation.fate = (datagram, from) => {
      const message = this.eavesdropper.observe(datagram);
      const text = message === null ? 'unreadable' : arrow(message);
      const proposals =
        message === null ? [] : (findPayload(message.payloads, 'sa')?.proposals ?? []);
      if (message?.header.isResponse === false) {
        this.offered[from].push(...proposals.map(({ spi }) => spiOf(spi) ?? 0));
      }
      this.arrows.push(`${from} --> ${other(from)} ${text}`);
      if (!this.isHolding) return DELIVERED;
      this.held.push({ from, datagram, message });
      return [];
    };
  }

  /** Two that are connected by `a`, with one child whose traffic is watched. */
  static connected(options: ToyOptions & { readonly loser?: Side } = {}): Wire {
    const nonces: NonceOrder = { next: null };
    const wire = Wire.idle({ nonces, ...options });
    const { simulation } = wire;
    simulation.initiate('a', 'net', 'b');
    simulation.runNow(10_000);
    if (simulation.children('b').length !== 1) throw new Error('the two did not connect');
    simulation.forget();
    wire.arrows.length = 0;
    wire.isHolding = true;
    nonces.next = options.loser ?? null;
    simulation.watchTraffic(['net']);
    return wire;
  }

  /** Two that do not know each other yet; nothing is held. */
  static idle(options: ToyOptions = {}): Wire {
    const { a, b } = toyPads(options);
    return new Wire(toySimulation(options), { a: entryOf(a), b: entryOf(b) });
  }

  /** The PAD entry that a side began with. */
  entry(side: Side): PadEntry {
    return this.entries[side];
  }

  /** Gives a side another PAD. */
  replacePad(side: Side, entry: PadEntry): void {
    const { endpoints, now } = this.simulation;
    this.simulation.perform(side, endpoints[side].replacePad({ entries: [entry] }, now));
  }

  /** From here on messages wait until they are delivered by name. */
  hold(): void {
    this.isHolding = true;
  }

  /** Delivers the oldest message that waits from a side; its kind is checked where it is given. */
  deliver(from: Side, kind = ''): void {
    const { datagram } = this.take(from, kind);
    this.simulation.inject(other(from), datagram, 0);
    this.simulation.runNow(1);
  }

  /** Drops the oldest message that waits from a side. */
  drop(from: Side, kind = ''): void {
    this.take(from, kind);
  }

  /** Takes the oldest message of a side away, to be delivered later by {@link put}. */
  take(from: Side, kind = ''): Held {
    this.simulation.runNow(0);
    const at = this.held.findIndex((each) => each.from === from);
    const [taken] = at < 0 ? [] : this.held.splice(at, 1);
    if (taken === undefined) throw new Error(`nothing waits from ${from}`);
    const text = taken.message === null ? 'unreadable' : arrow(taken.message);
    if (!text.includes(kind)) throw new Error(`from ${from} waits ${text}, not ${kind}`);
    return taken;
  }

  put(held: Held): void {
    this.simulation.inject(other(held.from), held.datagram, 0);
    this.simulation.runNow(1);
  }

  /** Lets time pass with whatever waits held: messages are sent again. */
  pass(span: number): void {
    this.simulation.runNow(span);
  }

  /** What waits from a side. */
  waiting(from: Side): readonly string[] {
    return this.held
      .filter((each) => each.from === from)
      .map(({ message }) => (message === null ? 'unreadable' : arrow(message)));
  }

  /** Delivers all that waits and all that comes, until both sides are at rest. */
  settle(): void {
    this.isHolding = false;
    for (const { from, datagram } of this.held.splice(0)) {
      this.simulation.inject(other(from), datagram, 1);
    }
    this.simulation.runNow(700_000);
  }

  /** Inbound SPI of the one child of a side that is up. */
  spi(side: Side): number {
    const [child, ...more] = this.simulation.children(side);
    if (child === undefined || more.length > 0) throw new Error(`${side} has not one child`);
    return child.inbound;
  }

  /** Inbound SPIs that a side has offered in requests of its own. */
  asked(side: Side): readonly number[] {
    return this.offered[side];
  }

  /** Whether the one IKE SA that is up was begun by this side. */
  isInitiator(side: Side): boolean {
    const [sa, ...more] = this.simulation
      .ikeSas(side)
      .filter(({ state }) => state === 'established');
    if (sa === undefined || more.length > 0) throw new Error(`${side} has not one IKE SA`);
    return sa.isInitiator;
  }

  /** Events of both sides that say that something went wrong. */
  get troubles(): readonly string[] {
    return SIDES.flatMap((side) => [
      ...this.simulation.eventsOf(side, 'detail').map(({ text }) => `${side}: ${text}`),
      ...this.simulation.eventsOf(side, 'child-down').map(({ reason }) => `${side}: ${reason}`),
      ...this.simulation.eventsOf(side, 'peer-down').map(({ reason }) => `${side}: ${reason}`),
    ]);
  }
}
