/**
 * Sets of packets as unions of boxes, with exact intersection and subtraction: what an entry leaves
 * to those after it, and one packet as a witness of any statement about two entries.
 */
import { type AddressFamily, maxAddress } from '../net/ip-address.js';
import { hasPorts, isIcmp } from '../net/next-layer-protocol.js';
import type { PacketDirection, SpdPacket } from './packet.js';
import { readSelector, type Selector, type SelectorNumberRange } from './selector.js';

interface Interval {
  readonly first: bigint;
  readonly last: bigint;
}

/**
 * Axes: local address, remote address, protocol, then local and remote port, or ICMP type and code.
 * A packet without ports has the value {@link ABSENT} on the last two.
 */
interface Box {
  readonly family: AddressFamily;
  readonly axes: readonly [Interval, Interval, Interval, Interval, Interval];
}

/** A set of packets of one direction; the boxes may overlap. */
export type Region = readonly Box[];

/** Comparisons of boxes that a look at one whole SPD may take: a second or two. */
export const REGION_WORK_MAX = 30_000_000;

/** Thrown where a {@link RegionBudget} is used up; whoever made the budget catches it. */
export class RegionBudgetExceeded extends Error {}

/** Bounds the work of a series of operations on regions, whose size can grow as a power. */
export class RegionBudget {
  #left: number;

  constructor(work: number = REGION_WORK_MAX) {
    this.#left = work;
  }

  /** @throws RegionBudgetExceeded */
  spend(work: number): void {
    this.#left -= work;
    if (this.#left < 0) throw new RegionBudgetExceeded();
  }
}

const ABSENT = 65_536n;
const ICMP_LAST = 255n;
const EVERY_PORT: Interval = { first: 0n, last: ABSENT };
const EVERY_PROTOCOL: Interval = { first: 0n, last: 255n };
const FAMILIES: readonly AddressFamily[] = [4, 6];

/** The packets that a selector matches. Empty where local and remote share no family. */
export function regionOf(selector: Selector): Region {
  const read = readSelector(selector);
  const boxes: Box[] = [];
  for (const family of FAMILIES) {
    const every = [{ family, first: 0n, last: maxAddress(family) }];
    const locals = read.local.length === 0 ? every : read.local.filter((r) => r.family === family);
    const remotes =
      read.remote.length === 0 ? every : read.remote.filter((r) => r.family === family);
    const { protocol } = selector;
    const protocols =
      protocol === 'any' ? EVERY_PROTOCOL : { first: BigInt(protocol), last: BigInt(protocol) };
    const icmp = protocol !== 'any' && isIcmp(protocol);
    for (const local of locals) {
      for (const remote of remotes) {
        for (const a of intervalsOf(icmp ? selector.icmpTypes : selector.localPorts)) {
          for (const b of intervalsOf(icmp ? selector.icmpCodes : selector.remotePorts)) {
            boxes.push({ family, axes: [interval(local), interval(remote), protocols, a, b] });
          }
        }
      }
    }
  }
  return boxes;
}

/**
 * What both hold.
 *
 * @throws RegionBudgetExceeded
 */
export function intersectRegions(a: Region, b: Region, budget: RegionBudget): Region {
  budget.spend(a.length * b.length);
  const boxes: Box[] = [];
  for (const x of a) {
    for (const y of b) {
      if (overlap(x, y)) boxes.push(intersectBoxes(x, y));
    }
  }
  return boxes;
}

/**
 * What `from` holds and `what` does not.
 *
 * @throws RegionBudgetExceeded
 */
export function subtractRegion(from: Region, what: Region, budget: RegionBudget): Region {
  let rest: readonly Box[] = from;
  for (const hole of what) {
    budget.spend(rest.length);
    if (!rest.some((box) => overlap(box, hole))) continue;
    const next = rest.flatMap((box) => (overlap(box, hole) ? subtractBox(box, hole) : [box]));
    budget.spend(next.length * 4);
    rest = next;
  }
  return rest;
}

/**
 * One packet of the region; null where the region is empty or holds only impossible packets. Of
 * several it takes one that people can read: documentation addresses, or hosts of a named network.
 */
export function witnessOf(region: Region, direction: PacketDirection): SpdPacket | null {
  let best: SpdPacket | null = null;
  let bestScore = -1;
  for (const box of region) {
    const packet = packetOf(box, direction);
    if (packet === null) continue;
    const addresses =
      isReadable(box.axes[0], LOCAL_WISHES) && isReadable(box.axes[1], REMOTE_WISHES) ? 2 : 0;
    const score = addresses + (packet.ports === null ? 0 : 1);
    if (score > bestScore) {
      best = packet;
      bestScore = score;
    }
    if (score === 3) break;
  }
  return best;
}

// RFC 5737 and RFC 3849: addresses of documentation prefixes.
const LOCAL_WISHES = [0xc000_020an, (0x2001_0db8n << 96n) + 10n];
const REMOTE_WISHES = [0xcb00_7107n, (0x2001_0db8n << 96n) + 7n];
const NAMED_NETWORK_MAX = 1n << 24n;

function isReadable(interval: Interval, wishes: readonly bigint[]): boolean {
  return wishes.some((wish) => holds(interval, wish)) || isNamedNetwork(interval);
}

function isNamedNetwork({ first, last }: Interval): boolean {
  return first !== 0n && last - first < NAMED_NETWORK_MAX;
}

function holds(interval: Interval, value: bigint): boolean {
  return interval.first <= value && value <= interval.last;
}

function packetOf(box: Box, direction: PacketDirection): SpdPacket | null {
  const [locals, remotes, protocols, a, b] = box.axes;
  const protocol = choose(protocols, [6n, 17n, 1n, 58n]);
  const number = Number(protocol);
  const local = { family: box.family, value: chooseAddress(locals, LOCAL_WISHES) };
  const remote = { family: box.family, value: chooseAddress(remotes, REMOTE_WISHES) };
  const outbound = direction === 'outbound';
  const ends = outbound
    ? { source: local, destination: remote }
    : { source: remote, destination: local };
  const bare = { ...ends, protocol: number, ports: null, icmp: null };
  const fragment = a.last === ABSENT && b.last === ABSENT;
  if (hasPorts(number)) {
    // A packet has both ports or, as a later fragment, neither.
    if (a.first === ABSENT || b.first === ABSENT) return fragment ? bare : null;
    const localPort = Number(choose(a, [40_000n, 1024n]));
    const remotePort = Number(choose(b, [40_000n, 1024n]));
    const ports = outbound
      ? { source: localPort, destination: remotePort }
      : { source: remotePort, destination: localPort };
    return { ...bare, ports };
  }
  if (isIcmp(number)) {
    if (a.first > ICMP_LAST || b.first > ICMP_LAST) return fragment ? bare : null;
    const type = Number(choose(a, number === 1 ? [8n] : [128n]));
    return { ...bare, icmp: { type, code: Number(b.first) } };
  }
  return bare;
}

/** The first of the wishes that the interval holds, else its first value. */
function choose(from: Interval, wishes: readonly bigint[]): bigint {
  return wishes.find((wish) => holds(from, wish)) ?? from.first;
}

/** A host of a network rather than the network's own address, where there is room. */
function chooseAddress(from: Interval, wishes: readonly bigint[]): bigint {
  const fallback = from.last - from.first >= 2n ? from.first + 1n : from.first;
  return isNamedNetwork(from) ? fallback : (wishes.find((wish) => holds(from, wish)) ?? fallback);
}

const AXES = [0, 1, 2, 3, 4] as const;

function overlap(x: Box, y: Box): boolean {
  if (x.family !== y.family) return false;
  for (const axis of AXES) {
    if (x.axes[axis].last < y.axes[axis].first) return false;
    if (y.axes[axis].last < x.axes[axis].first) return false;
  }
  return true;
}

/** Of two boxes that overlap. */
function intersectBoxes(x: Box, y: Box): Box {
  const on = (axis: (typeof AXES)[number]): Interval => intersect(x.axes[axis], y.axes[axis]);
  return { family: x.family, axes: [on(0), on(1), on(2), on(3), on(4)] };
}

/** Cuts the hole out of a box that it overlaps, axis by axis: at most two pieces an axis. */
function subtractBox(box: Box, hole: Box): Box[] {
  const common = intersectBoxes(box, hole);
  const pieces: Box[] = [];
  let core = box.axes;
  for (const axis of AXES) {
    const whole = core[axis];
    const cut = common.axes[axis];
    if (whole.first < cut.first) {
      pieces.push(withAxis(box.family, core, axis, { first: whole.first, last: cut.first - 1n }));
    }
    if (cut.last < whole.last) {
      pieces.push(withAxis(box.family, core, axis, { first: cut.last + 1n, last: whole.last }));
    }
    core = withAxis(box.family, core, axis, cut).axes;
  }
  return pieces;
}

function withAxis(
  family: AddressFamily,
  axes: Box['axes'],
  axis: 0 | 1 | 2 | 3 | 4,
  value: Interval,
): Box {
  const at = (index: number, old: Interval): Interval => (index === axis ? value : old);
  return {
    family,
    axes: [at(0, axes[0]), at(1, axes[1]), at(2, axes[2]), at(3, axes[3]), at(4, axes[4])],
  };
}

function intersect(a: Interval, b: Interval): Interval {
  return {
    first: a.first > b.first ? a.first : b.first,
    last: a.last < b.last ? a.last : b.last,
  };
}

function intervalsOf(ranges: readonly SelectorNumberRange[]): readonly Interval[] {
  if (ranges.length === 0) return [EVERY_PORT];
  return ranges.map(({ from, to }) => ({ first: BigInt(from), last: BigInt(to) }));
}

function interval(range: { readonly first: bigint; readonly last: bigint }): Interval {
  return { first: range.first, last: range.last };
}
