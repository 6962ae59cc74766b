/**
 * Negotiation of traffic (RFC 7296 section 2.9): selectors of the SPD as traffic selectors and
 * back, and what an offer and an SPD entry have in common. All of it is seen from our side: local
 * is TSi where we are the initiator of the exchange, TSr where we are the responder.
 */
import { formatProtocol, hasPorts, isIcmp } from '../net/next-layer-protocol.js';
import type { PacketFields } from '../spd/packet.js';
import {
  formatAddresses,
  formatNumbers,
  formatSelector,
  type Selector,
  selectorRangeOf,
} from '../spd/selector.js';
import type { Difference } from './action.js';
import type { TrafficSelector } from './payload/payload.js';
import { TRAFFIC_SELECTOR_MAX } from './payload/ts.js';
import {
  type Box,
  boxContains,
  EVERY_PORT,
  intersectNumbers,
  intersectSide,
  isEveryPort,
  numbersCover,
  productOf,
  rangesCover,
  readBox,
  selectorOfSides,
  type Side,
  sidesOf,
  withoutContained,
} from './traffic-selector-box.js';

/** The selectors of the two TS payloads. */
export interface TrafficSelectors {
  readonly local: readonly TrafficSelector[];
  readonly remote: readonly TrafficSelector[];
}

/**
 * Why a selector cannot be negotiated as it is; null: it can. To be asked when a configuration is
 * checked: {@link trafficSelectorsOf} offers less than such a selector, never more.
 */
export function selectorFault(selector: Selector): string | null {
  const { protocol } = selector;
  if (protocol === 0) return 'protocol 0 means any protocol in IKE';
  const hasNumbers = selector.localPorts.length + selector.remotePorts.length > 0;
  if (hasNumbers && (protocol === 'any' || !hasPorts(protocol))) {
    return 'ports go with a protocol that has ports';
  }
  const sides = sidesOf(selector);
  if (liveFamilies(sides).length === 0) return 'local and remote share no address family';
  const count = (side: Side): number => side.ranges.length * side.ports.length;
  if (Math.max(count(sides.local), count(sides.remote)) <= TRAFFIC_SELECTOR_MAX) return null;
  return `ranges times ports are more than the ${TRAFFIC_SELECTOR_MAX} traffic selectors of one payload`;
}

function liveFamilies({ local, remote }: { local: Side; remote: Side }): readonly number[] {
  const families = new Set(local.ranges.map(({ family }) => family));
  return remote.ranges.map(({ family }) => family).filter((family) => families.has(family));
}

/**
 * Writes a selector as traffic selectors: each range with each port range. ANY addresses are the
 * whole of each family that the other side has too. The type and code of ICMP stand on both sides
 * (RFC 4301 section 4.4.1.3). Empty where {@link selectorFault} finds no way to say it, and cut at
 * 255 a side.
 */
export function trafficSelectorsOf(selector: Selector): TrafficSelectors {
  const protocol = selector.protocol === 'any' ? 0 : selector.protocol;
  const sides = sidesOf(selector);
  const families = liveFamilies(sides);
  const isSpeakable = selector.protocol !== 0;
  const write = (side: Side): readonly TrafficSelector[] => {
    const ports = hasPorts(protocol) || isIcmp(protocol) ? side.ports : anyPorts(side.ports);
    if (!isSpeakable) return [];
    return side.ranges
      .filter(({ family }) => families.includes(family))
      .flatMap((range) =>
        ports.map((port) => ({
          family: range.family,
          protocol,
          startPort: port.from,
          endPort: port.to,
          ...selectorRangeOf(range),
        })),
      )
      .slice(0, TRAFFIC_SELECTOR_MAX);
  };
  return { local: write(sides.local), remote: write(sides.remote) };
}

/** RFC 7296 section 3.13.1: without a protocol that has ports, the only ports are all of them. */
function anyPorts(ports: Side['ports']): Side['ports'] {
  return ports.every(isEveryPort) ? ports : [];
}

/**
 * Reads an answer as one selector. Null where one selector cannot say it: ports that differ from
 * range to range, several protocols, OPAQUE ports.
 */
export function selectorOf(
  local: readonly TrafficSelector[],
  remote: readonly TrafficSelector[],
): Selector | null {
  const locals = readAll(local);
  const remotes = readAll(remote);
  if (locals === null || remotes === null) return null;
  const protocol = commonProtocol(locals, remotes);
  if (protocol === null) return null;
  const halves = [locals, remotes].map((boxes) => {
    const own = withoutContained(boxes.map((box) => ({ ...box, protocol })));
    const [seed] = own;
    return seed === undefined ? null : productOf(own, seed);
  });
  const [a, b] = halves;
  if (!a?.isWhole || !b?.isWhole) return null;
  const made = selectorOfSides(protocol, a.side, b.side);
  return made?.isWhole === true ? made.selector : null;
}

function readAll(selectors: readonly TrafficSelector[]): readonly Box[] | null {
  const boxes: Box[] = [];
  for (const selector of selectors) {
    const box = readBox(selector);
    if (box === null) return null;
    boxes.push(box);
  }
  return boxes.length === 0 ? null : withoutContained(boxes);
}

/** The one protocol that two sides speak of: 0 for any, null where there are several. */
function commonProtocol(local: readonly Box[], remote: readonly Box[]): number | null {
  const named = new Set([...local, ...remote].map(({ protocol }) => protocol));
  named.delete(0);
  const [protocol, second] = named;
  if (protocol === undefined) return 0;
  if (second !== undefined) return null;
  const isNamedBy = (boxes: readonly Box[]): boolean =>
    boxes.every((box) => box.protocol === protocol);
  return isNamedBy(local) || isNamedBy(remote) ? protocol : null;
}

export interface Narrowed extends TrafficSelectors {
  readonly selector: Selector;
  /** Whether the peer asked for more. */
  readonly narrowed: boolean;
}

/**
 * What an offer and our entry have in common, as one selector (RFC 7296 section 2.9). Null: nothing.
 *
 * The first selectors of an offer are what the peer wants most, and are in the result wherever the
 * entry lets them. With `first.present` they are those of the packet that asks for the SA: an entry
 * that does not let them in whole is not the one, and the result is null.
 */
export function narrow(
  ours: Selector,
  local: readonly TrafficSelector[],
  remote: readonly TrafficSelector[],
  first: { readonly present: boolean },
): Narrowed | null {
  const locals = readUsable(local);
  const remotes = readUsable(remote);
  const wanted = wantedPair(local, remote);
  let fallback: Selector | null = null;
  for (const protocol of protocolCandidates(ours, locals, remotes, wanted)) {
    const selector = narrowTo(protocol, ours, { locals, remotes, wanted });
    if (selector === null) continue;
    if (wanted !== null && holdsPair(selector, wanted)) {
      return result(ours, selector, local, remote);
    }
    fallback ??= selector;
  }
  return fallback === null || first.present ? null : result(ours, fallback, local, remote);
}

/**
 * Whether the first selectors of an offer are those of a packet: one address each, and more
 * selectors after them that hold them.
 */
export function hasPacketSelectors(
  local: readonly TrafficSelector[],
  remote: readonly TrafficSelector[],
): boolean {
  return [local, remote].every((selectors) => {
    const boxes = readUsable(selectors);
    const [first] = selectors;
    const packet = first === undefined ? null : readBox(first);
    if (packet === null || packet.range.first !== packet.range.last) return false;
    return boxes.slice(1).some((box) => boxContains(box, packet));
  });
}

interface Pair {
  readonly local: Box;
  readonly remote: Box;
}

interface Offer {
  readonly locals: readonly Box[];
  readonly remotes: readonly Box[];
  readonly wanted: Pair | null;
}

function readUsable(selectors: readonly TrafficSelector[]): readonly Box[] {
  return selectors.slice(0, TRAFFIC_SELECTOR_MAX).flatMap((selector) => readBox(selector) ?? []);
}

function wantedPair(
  local: readonly TrafficSelector[],
  remote: readonly TrafficSelector[],
): Pair | null {
  const [a, b] = [local[0], remote[0]];
  if (a === undefined || b === undefined) return null;
  const [first, second] = [readBox(a), readBox(b)];
  if (first === null || second === null || first.range.family !== second.range.family) return null;
  return { local: first, remote: second };
}

/** Protocols that are tried at most: an offer can name 255, each at a cost. */
const PROTOCOL_MAX = 16;

/** Protocols to try: the widest first, then that of the first selectors, then what else is named. */
function protocolCandidates(
  ours: Selector,
  locals: readonly Box[],
  remotes: readonly Box[],
  wanted: Pair | null,
): readonly number[] {
  if (ours.protocol !== 'any') return ours.protocol === 0 ? [] : [ours.protocol];
  const first = wanted === null ? 0 : wanted.local.protocol || wanted.remote.protocol;
  const named = [...locals, ...remotes].map(({ protocol }) => protocol);
  return [...new Set([0, first, ...named])].slice(0, PROTOCOL_MAX);
}

function narrowTo(protocol: number, ours: Selector, offer: Offer): Selector | null {
  const sides = sidesOf(ours);
  const local = commonBoxes(protocol, sides.local, offer.locals, offer.wanted?.local);
  const remote = commonBoxes(protocol, sides.remote, offer.remotes, offer.wanted?.remote);
  const seeds = seedsOf(protocol, local, remote);
  if (seeds === null) return null;
  const [number] = intersectNumbers([seeds.local.ports], [seeds.remote.ports]);
  const isLive = (others: readonly Box[]) => (box: Box) =>
    others.some(({ range }) => range.family === box.range.family);
  const made = selectorOfSides(
    protocol,
    productOf(local.filter(isLive(remote)), seeds.local).side,
    productOf(remote.filter(isLive(local)), seeds.remote).side,
    number?.from,
  );
  return made?.selector ?? null;
}

/** What the offer and one half of our entry share; first what holds the first selector. */
function commonBoxes(
  protocol: number,
  own: Side,
  boxes: readonly Box[],
  wanted: Box | undefined,
): readonly Box[] {
  const same = boxes.filter((box) => box.protocol === 0 || box.protocol === protocol);
  const theirs = withoutContained(same.map((box) => ({ ...box, protocol })));
  const rank = (box: Box): number =>
    wanted !== undefined && boxContains(box, { ...wanted, protocol }) ? 0 : 1;
  const byRank = (a: Box, b: Box): number => rank(a) - rank(b);
  // Sorted before too: the intersection is cut at its largest size.
  const both = withoutContained(intersectSide([...theirs].sort(byRank), own));
  return [...both].sort(byRank);
}

/** The first two boxes that one packet can be in: what is taken is built around them. */
function seedsOf(protocol: number, locals: readonly Box[], remotes: readonly Box[]): Pair | null {
  for (const local of locals) {
    const remote = remotes.find(
      ({ range, ports }) =>
        range.family === local.range.family &&
        // The type and code of ICMP are named by either half or by both.
        (!isIcmp(protocol) || intersectNumbers([ports], [local.ports]).length > 0),
    );
    if (remote !== undefined) return { local, remote };
  }
  return null;
}

function holdsPair(selector: Selector, pair: Pair): boolean {
  const sides = sidesOf(selector);
  const named = pair.local.protocol || pair.remote.protocol;
  if (selector.protocol !== 'any' && selector.protocol !== named) return false;
  const ports = icmpPorts(pair, named);
  return (
    rangesCover(sides.local.ranges, [pair.local.range]) &&
    rangesCover(sides.remote.ranges, [pair.remote.range]) &&
    numbersCover(sides.local.ports, ports?.local ?? [pair.local.ports]) &&
    numbersCover(sides.remote.ports, ports?.remote ?? [pair.remote.ports])
  );
}

/** For ICMP what both halves name is meant, wherever it stands. */
function icmpPorts(
  pair: Pair,
  protocol: number,
): { local: Side['ports']; remote: Side['ports'] } | null {
  if (!isIcmp(protocol)) return null;
  const both = intersectNumbers([pair.local.ports], [pair.remote.ports]);
  return { local: both, remote: both };
}

function result(
  ours: Selector,
  made: Selector,
  local: readonly TrafficSelector[],
  remote: readonly TrafficSelector[],
): Narrowed {
  const answer = trafficSelectorsOf(made);
  // A value of its own: what was found out about the other one while it was made goes with that.
  const selector = {
    ...made,
    local: isSameRanges(made.local, ours.local) ? ours.local : made.local,
    remote: isSameRanges(made.remote, ours.remote) ? ours.remote : made.remote,
  };
  return { selector, ...answer, narrowed: asksForMore(made, local, remote) };
}

function isSameRanges(a: Selector['local'], b: Selector['local']): boolean {
  return (
    a.length === b.length &&
    a.every(({ from, to }, index) => from === b[index]?.from && to === b[index].to)
  );
}

/** Whether an offer holds traffic that a selector does not. */
function asksForMore(
  selector: Selector,
  local: readonly TrafficSelector[],
  remote: readonly TrafficSelector[],
): boolean {
  const locals = readAll(local);
  const remotes = readAll(remote);
  // What we have no word for cannot be in the answer.
  if (locals === null || remotes === null) return true;
  const sides = sidesOf(selector);
  const { protocol } = selector;
  if (protocol !== 'any') {
    const isAny = (box: Box): boolean => box.protocol === 0;
    const isOther = (box: Box): boolean => box.protocol !== 0 && box.protocol !== protocol;
    if ([...locals, ...remotes].some(isOther)) return true;
    if (locals.some(isAny) && remotes.some(isAny)) return true;
  }
  const families = liveFamilies({ local: sideOfBoxes(locals), remote: sideOfBoxes(remotes) });
  const isCovered = (boxes: readonly Box[], side: Side, other: readonly Box[]): boolean => {
    const live = boxes.filter(({ range }) => families.includes(range.family));
    const ranges = live.map(({ range }) => range);
    if (!rangesCover(side.ranges, ranges)) return false;
    const isIcmpOnly = protocol !== 'any' && isIcmp(protocol);
    const isElsewhere = isIcmpOnly && !other.some(({ ports }) => isEveryPort(ports));
    if (isElsewhere && live.every(({ ports }) => isEveryPort(ports))) return true;
    return numbersCover(
      side.ports,
      live.map(({ ports }) => ports),
    );
  };
  return !isCovered(locals, sides.local, remotes) || !isCovered(remotes, sides.remote, locals);
}

function sideOfBoxes(boxes: readonly Box[]): Side {
  return { ranges: boxes.map(({ range }) => range), ports: [EVERY_PORT] };
}

/** Whether every packet of `inner` is one of `outer`: an answer may narrow and never widen. */
export function isWithin(inner: Selector, outer: Selector): boolean {
  if (outer.protocol !== 'any' && outer.protocol !== inner.protocol) return false;
  const [a, b] = [sidesOf(inner), sidesOf(outer)];
  const families = liveFamilies(a);
  const live = (side: Side): Side['ranges'] =>
    side.ranges.filter(({ family }) => families.includes(family));
  if (families.length === 0) return false;
  return (
    rangesCover(b.local.ranges, live(a.local)) &&
    rangesCover(b.remote.ranges, live(a.remote)) &&
    numbersCover(b.local.ports, a.local.ports) &&
    numbersCover(b.remote.ports, a.remote.ports)
  );
}

/** The traffic selectors of one outbound packet, to go first in an offer (RFC 7296 section 2.9). */
export function packetSelectors(packet: PacketFields): {
  readonly local: TrafficSelector;
  readonly remote: TrafficSelector;
} {
  const { protocol } = packet;
  const port = (own: number): { startPort: number; endPort: number } => {
    if (isIcmp(protocol)) {
      const number = packet.icmpType * 256 + packet.icmpCode;
      return { startPort: number, endPort: number };
    }
    if (hasPorts(protocol) && packet.hasPorts) return { startPort: own, endPort: own };
    return { startPort: EVERY_PORT.from, endPort: EVERY_PORT.to };
  };
  const family = packet.source.includes(':') ? 6 : 4;
  const selector = (address: string, own: number): TrafficSelector => ({
    family,
    protocol,
    ...port(own),
    from: address,
    to: address,
  });
  return {
    local: selector(packet.source, packet.sourcePort),
    remote: selector(packet.destination, packet.destinationPort),
  };
}

/** Traffic selectors of transport mode, as this host sees the addresses. */
export interface TransportSelectors extends TrafficSelectors {
  /** The addresses as they came: what checksums of the peer's packets were made with. */
  readonly originalLocal: string;
  readonly originalRemote: string;
}

/**
 * Puts the addresses of the IKE SA in the place of those that a NAT has hidden (RFC 7296 section
 * 2.23.1), for initiator and responder alike. Null where a side has not exactly one address: that
 * is no transport mode.
 */
export function transportSelectors(
  offered: TrafficSelectors,
  endpoint: { readonly local: string; readonly remote: string },
  nat: { readonly local: boolean; readonly remote: boolean },
): TransportSelectors | null {
  const originalLocal = onlyAddress(offered.local);
  const originalRemote = onlyAddress(offered.remote);
  if (originalLocal === null || originalRemote === null) return null;
  const move = (selectors: readonly TrafficSelector[], address: string) => {
    const family = address.includes(':') ? (6 as const) : (4 as const);
    return selectors.map((selector) => ({ ...selector, family, from: address, to: address }));
  };
  return {
    local: nat.local ? move(offered.local, endpoint.local) : offered.local,
    remote: nat.remote ? move(offered.remote, endpoint.remote) : offered.remote,
    originalLocal,
    originalRemote,
  };
}

function onlyAddress(selectors: readonly TrafficSelector[]): string | null {
  const address = selectors[0]?.from ?? null;
  return selectors.every(({ from, to }) => from === address && to === address) ? address : null;
}

/** Selectors that one side of a difference shows at most. */
const SHOWN_MAX = 8;

/**
 * Where an offer and an entry share nothing, field by field, each side in the words of the file.
 * One line with the whole of both where each field alone would do.
 */
export function selectorDifferences(
  ours: Selector,
  local: readonly TrafficSelector[],
  remote: readonly TrafficSelector[],
): readonly Difference[] {
  const locals = readUsable(local);
  const remotes = readUsable(remote);
  const sides = sidesOf(ours);
  const isIcmpOnly = ours.protocol !== 'any' && isIcmp(ours.protocol);
  const differences: Difference[] = [];
  const add = (field: string, mine: string, theirs: string): void => {
    differences.push({ field, ours: mine, theirs });
  };
  const halves = [
    { field: 'local', boxes: locals, side: sides.local, own: ours.local, ports: ours.localPorts },
    {
      field: 'remote',
      boxes: remotes,
      side: sides.remote,
      own: ours.remote,
      ports: ours.remotePorts,
    },
  ];
  for (const { field, boxes, side, own } of halves) {
    const anyPort = boxes.map((box) => ({ ...box, ports: EVERY_PORT }));
    if (intersectSide(anyPort, { ...side, ports: [EVERY_PORT] }).length > 0) continue;
    add(field, formatAddresses(own), formatBoxes(boxes));
  }
  if (
    protocolCandidates(ours, locals, remotes, null).every((each) => !speaks(each, locals, remotes))
  ) {
    const named = new Set([...locals, ...remotes].map(({ protocol }) => protocol || 'any'));
    const theirs = [...named].slice(0, SHOWN_MAX).map((each) => formatProtocol(each));
    add('protocol', formatProtocol(ours.protocol), theirs.join(', '));
  } else {
    for (const { field, boxes, side, ports } of halves) {
      const theirs = boxes.map((box) => box.ports);
      if (intersectNumbers(theirs, side.ports).length > 0) continue;
      if (isIcmpOnly) add('icmpType', formatNumbers(ours.icmpTypes), formatIcmp(theirs));
      else add(`${field}Port`, formatNumbers(ports), formatNumbers(theirs.slice(0, SHOWN_MAX)));
      if (isIcmpOnly) break;
    }
  }
  if (differences.length > 0) return differences;
  const theirs = `local ${formatBoxes(locals)}, remote ${formatBoxes(remotes)}`;
  return [{ field: 'selector', ours: formatSelector(ours), theirs }];
}

function speaks(protocol: number, locals: readonly Box[], remotes: readonly Box[]): boolean {
  return [locals, remotes].every((boxes) =>
    boxes.some((box) => box.protocol === 0 || box.protocol === protocol),
  );
}

function formatBoxes(boxes: readonly Box[]): string {
  if (boxes.length === 0) return 'nothing that is known';
  const shown = boxes.slice(0, SHOWN_MAX).map(({ range }) => selectorRangeOf(range));
  const rest = boxes.length - shown.length;
  return rest === 0 ? formatAddresses(shown) : `${formatAddresses(shown)} and ${rest} more`;
}

function formatIcmp(ports: readonly { readonly from: number; readonly to: number }[]): string {
  const types = ports.slice(0, SHOWN_MAX).map(({ from, to }) => ({ from: from >> 8, to: to >> 8 }));
  return formatNumbers(types);
}
