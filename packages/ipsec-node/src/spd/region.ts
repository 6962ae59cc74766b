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

/** Past this many boxes a region is not split further. */
export const REGION_BOXES_MAX = 5_000;

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

/** What both hold. */
export function intersectRegions(a: Region, b: Region): Region {
  const boxes: Box[] = [];
  for (const x of a) {
    for (const y of b) {
      const both = intersectBoxes(x, y);
      if (both !== null) boxes.push(both);
    }
  }
  return boxes;
}

/**
 * What `from` holds and `what` does not; null where it would take more than
 * {@link REGION_BOXES_MAX} boxes to say.
 */
export function subtractRegion(from: Region, what: Region): Region | null {
  let rest: readonly Box[] = from;
  for (const hole of what) {
    const next: Box[] = [];
    for (const box of rest) {
      next.push(...subtractBox(box, hole));
      if (next.length > REGION_BOXES_MAX) return null;
    }
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

function intersectBoxes(x: Box, y: Box): Box | null {
  if (x.family !== y.family) return null;
  const local = intersect(x.axes[0], y.axes[0]);
  const remote = intersect(x.axes[1], y.axes[1]);
  const protocol = intersect(x.axes[2], y.axes[2]);
  const a = intersect(x.axes[3], y.axes[3]);
  const b = intersect(x.axes[4], y.axes[4]);
  if (local === null || remote === null || protocol === null || a === null || b === null) {
    return null;
  }
  return { family: x.family, axes: [local, remote, protocol, a, b] };
}

/** Cuts the hole out axis by axis: at most two pieces an axis. */
function subtractBox(box: Box, hole: Box): Box[] {
  const common = intersectBoxes(box, hole);
  if (common === null) return [box];
  const pieces: Box[] = [];
  let core = box.axes;
  for (const axis of [0, 1, 2, 3, 4] as const) {
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

function intersect(a: Interval, b: Interval): Interval | null {
  const first = a.first > b.first ? a.first : b.first;
  const last = a.last < b.last ? a.last : b.last;
  return first <= last ? { first, last } : null;
}

function intervalsOf(ranges: readonly SelectorNumberRange[]): readonly Interval[] {
  if (ranges.length === 0) return [EVERY_PORT];
  return ranges.map(({ from, to }) => ({ first: BigInt(from), last: BigInt(to) }));
}

function interval(range: { readonly first: bigint; readonly last: bigint }): Interval {
  return { first: range.first, last: range.last };
}
