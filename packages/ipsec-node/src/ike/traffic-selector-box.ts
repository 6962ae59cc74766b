/**
 * Traffic selectors as boxes, and sets of boxes that are a product of addresses and ports: what one
 * side of a {@link Selector} can hold. The ports of ICMP are type and code as one number (RFC 4301
 * section 4.4.1.1).
 */
import { type AddressRange, intersectRanges, rangeContains } from '../net/address-range.js';
import { type AddressFamily, maxAddress, parseIpAddress } from '../net/ip-address.js';
import { hasPorts, isIcmp } from '../net/next-layer-protocol.js';
import { ICMP_MAX, PORT_MAX } from '../net/port-range.js';
import {
  readSelector,
  type Selector,
  selectorRangeOf,
  type SelectorNumberRange,
} from '../spd/selector.js';
import type { TrafficSelector } from './payload/payload.js';
import { TRAFFIC_SELECTOR_MAX } from './payload/ts.js';

/** What one traffic selector matches on its side. */
export interface Box {
  readonly range: AddressRange;
  /** 0: any. */
  readonly protocol: number;
  readonly ports: SelectorNumberRange;
}

/** The local or the remote half of a selector: every range with every one of the ports. */
export interface Side {
  readonly ranges: readonly AddressRange[];
  /** Never empty; {@link EVERY_PORT} for any. */
  readonly ports: readonly SelectorNumberRange[];
}

const ANY_NUMBER: readonly SelectorNumberRange[] = [];
export const EVERY_PORT: SelectorNumberRange = { from: 0, to: PORT_MAX };
const FAMILIES: readonly AddressFamily[] = [4, 6];
/** Types of ICMP, and codes of a type: how far apart two types are in the combined number. */
const CODES = ICMP_MAX + 1;

export function isEveryPort({ from, to }: SelectorNumberRange): boolean {
  return from === 0 && to === PORT_MAX;
}

/**
 * Reads a traffic selector. Null where a {@link Selector} has no word for it: OPAQUE ports alone,
 * or ports of a protocol that has none.
 */
export function readBox(selector: TrafficSelector): Box | null {
  const { protocol, startPort, endPort, family } = selector;
  const ports = { from: startPort, to: endPort };
  if (startPort > endPort) return null;
  if (!isEveryPort(ports) && !hasPorts(protocol) && !isIcmp(protocol)) return null;
  const first = parseIpAddress(selector.from).value;
  const last = parseIpAddress(selector.to).value;
  return { range: { family, first, last }, protocol, ports };
}

export function boxContains(outer: Box, inner: Box): boolean {
  return (
    (outer.protocol === 0 || outer.protocol === inner.protocol) &&
    numbersContain(outer.ports, inner.ports) &&
    rangeContains(outer.range, inner.range)
  );
}

/** Leaves out every box that another one holds. */
export function withoutContained(boxes: readonly Box[]): readonly Box[] {
  return boxes.filter(
    (box, index) =>
      !boxes.some(
        (other, at) =>
          at !== index && boxContains(other, box) && (at < index || !boxContains(box, other)),
      ),
  );
}

/**
 * The boxes as a product of ranges and ports, where they are one. Otherwise the largest product
 * that can be had around `seed`: its ports, with all ranges that have them.
 */
export function productOf(boxes: readonly Box[], seed: Box): { side: Side; isWhole: boolean } {
  const rangesOfPorts = new Map<string, { ports: SelectorNumberRange; ranges: AddressRange[] }>();
  for (const { ports, range } of boxes) {
    const key = `${ports.from}-${ports.to}`;
    const group = rangesOfPorts.get(key);
    if (group === undefined) rangesOfPorts.set(key, { ports, ranges: [range] });
    else group.ranges.push(range);
  }
  const groups = [...rangesOfPorts.values()];
  const [first] = groups;
  const keys = groups.map(({ ranges }) => ranges.map(rangeKey).sort().join());
  if (first !== undefined && keys.every((key) => key === keys[0])) {
    const side = { ranges: first.ranges, ports: groups.map(({ ports }) => ports) };
    return { side, isWhole: true };
  }
  const ranges = boxes
    .filter(({ ports }) => numbersContain(ports, seed.ports))
    .map(({ range }) => range);
  return { side: { ranges, ports: [seed.ports] }, isWhole: false };
}

function rangeKey({ family, first, last }: AddressRange): string {
  return `${family}:${first}-${last}`;
}

/** The two halves of a selector. Addresses that are ANY are both families. */
export function sidesOf(selector: Selector): { readonly local: Side; readonly remote: Side } {
  const read = readSelector(selector);
  const every = FAMILIES.map((family) => ({ family, first: 0n, last: maxAddress(family) }));
  const ports = (own: readonly SelectorNumberRange[]): readonly SelectorNumberRange[] => {
    if (selector.protocol !== 'any' && isIcmp(selector.protocol)) return icmpPortsOf(selector);
    return own.length === 0 ? [EVERY_PORT] : own;
  };
  return {
    local: {
      ranges: read.local.length === 0 ? every : read.local,
      ports: ports(selector.localPorts),
    },
    remote: {
      ranges: read.remote.length === 0 ? every : read.remote,
      ports: ports(selector.remotePorts),
    },
  };
}

/** Types and codes as combined numbers. */
function icmpPortsOf(selector: Selector): readonly SelectorNumberRange[] {
  const { icmpTypes, icmpCodes } = selector;
  const types = icmpTypes.length === 0 ? [{ from: 0, to: ICMP_MAX }] : icmpTypes;
  if (icmpCodes.length === 0) {
    return types.map(({ from, to }) => ({ from: from * CODES, to: to * CODES + ICMP_MAX }));
  }
  // RFC 4301 section 4.4.1.1: a range of codes is one of a single type.
  const singles = types.flatMap(({ from, to }) =>
    Array.from({ length: to - from + 1 }, (_, index) => from + index),
  );
  return singles.flatMap((type) =>
    icmpCodes.map(({ from, to }) => ({ from: type * CODES + from, to: type * CODES + to })),
  );
}

interface IcmpNumbers {
  readonly types: SelectorNumberRange;
  readonly codes: SelectorNumberRange;
}

/** A range of combined numbers as products of types and codes: at most three. */
function icmpPiecesOf({ from, to }: SelectorNumberRange): readonly IcmpNumbers[] {
  const [firstType, lastType] = [Math.floor(from / CODES), Math.floor(to / CODES)];
  const [firstCode, lastCode] = [from % CODES, to % CODES];
  const piece = (first: number, last: number, low: number, high: number): IcmpNumbers => ({
    types: { from: first, to: last },
    codes: { from: low, to: high },
  });
  if (firstType === lastType) return [piece(firstType, lastType, firstCode, lastCode)];
  const pieces: IcmpNumbers[] = [];
  const start = firstCode === 0 ? firstType : firstType + 1;
  const end = lastCode === ICMP_MAX ? lastType : lastType - 1;
  if (start <= end) pieces.push(piece(start, end, 0, ICMP_MAX));
  if (firstCode !== 0) pieces.push(piece(firstType, firstType, firstCode, ICMP_MAX));
  if (lastCode !== ICMP_MAX) pieces.push(piece(lastType, lastType, 0, lastCode));
  return pieces;
}

/**
 * Combined numbers as types and codes. Where they are no product, those with the codes of the piece
 * that holds `wanted`, or of the first.
 */
function icmpFieldsOf(
  ports: readonly SelectorNumberRange[],
  wanted: number,
): Pick<Selector, 'icmpTypes' | 'icmpCodes'> & { readonly isWhole: boolean } {
  const pieces = ports.flatMap(icmpPiecesOf);
  const codesOfTypes = new Map<string, SelectorNumberRange[]>();
  for (const { types, codes } of pieces) {
    const key = `${types.from}-${types.to}`;
    codesOfTypes.set(key, [...(codesOfTypes.get(key) ?? []), codes]);
  }
  const every = (codes: readonly SelectorNumberRange[]): readonly SelectorNumberRange[] =>
    codes.some(({ from, to }) => from === 0 && to === ICMP_MAX) ? [] : codes;
  const lists = [...codesOfTypes.values()];
  const keys = lists.map((codes) => codes.map(({ from, to }) => `${from}-${to}`).join());
  const typesOf = (chosen: readonly IcmpNumbers[]): readonly SelectorNumberRange[] => {
    const seen = new Map(chosen.map(({ types }) => [`${types.from}-${types.to}`, types]));
    const types = [...seen.values()];
    return types.some(({ from, to }) => from === 0 && to === ICMP_MAX) ? [] : types;
  };
  if (keys.every((key) => key === keys[0])) {
    return { icmpTypes: typesOf(pieces), icmpCodes: every(lists[0] ?? []), isWhole: true };
  }
  const holds = ({ types, codes }: IcmpNumbers): boolean =>
    types.from <= Math.floor(wanted / CODES) &&
    Math.floor(wanted / CODES) <= types.to &&
    codes.from <= wanted % CODES &&
    wanted % CODES <= codes.to;
  const seed = pieces.find(holds) ?? pieces[0];
  const same = pieces.filter(
    ({ codes }) => codes.from === seed?.codes.from && codes.to === seed.codes.to,
  );
  return {
    icmpTypes: typesOf(same),
    icmpCodes: seed === undefined ? [] : every([seed.codes]),
    isWhole: false,
  };
}

/**
 * Two halves of one protocol (0: any) as a selector. Families that one half lacks are left out.
 * `isWhole` is false where less than the halves had to be taken: `wantedPort` is of what is taken
 * then. Null: nothing is left.
 */
export function selectorOfSides(
  protocol: number,
  local: Side,
  remote: Side,
  wantedPort = 0,
): { readonly selector: Selector; readonly isWhole: boolean } | null {
  const families = FAMILIES.filter(
    (family) => hasFamily(local.ranges, family) && hasFamily(remote.ranges, family),
  );
  if (families.length === 0) return null;
  const live = (side: Side): Selector['local'] => {
    const ranges = side.ranges.filter(({ family }) => families.includes(family));
    return isEveryAddress(ranges) ? [] : ranges.map(selectorRangeOf);
  };
  const selector = {
    local: live(local),
    remote: live(remote),
    protocol: protocol === 0 ? ('any' as const) : protocol,
    localPorts: ANY_NUMBER,
    remotePorts: ANY_NUMBER,
    icmpTypes: ANY_NUMBER,
    icmpCodes: ANY_NUMBER,
  };
  if (isIcmp(protocol)) {
    // One message has one type and code: whichever half names them.
    const common = commonNumbers(local.ports, remote.ports);
    if (common.length === 0) return null;
    const { icmpTypes, icmpCodes, isWhole } = icmpFieldsOf(common, wantedPort);
    return { selector: { ...selector, icmpTypes, icmpCodes }, isWhole };
  }
  const ports = (side: Side): readonly SelectorNumberRange[] =>
    side.ports.some(isEveryPort) ? ANY_NUMBER : side.ports;
  return {
    selector: { ...selector, localPorts: ports(local), remotePorts: ports(remote) },
    isWhole: true,
  };
}

function hasFamily(ranges: readonly AddressRange[], family: AddressFamily): boolean {
  return ranges.some((range) => range.family === family);
}

function isEveryAddress(ranges: readonly AddressRange[]): boolean {
  return FAMILIES.every((family) =>
    ranges.some(
      (range) => range.family === family && range.first === 0n && range.last === maxAddress(family),
    ),
  );
}

/** What both a peer's boxes and one of our halves have, at most as many as a payload can hold. */
export function intersectSide(boxes: readonly Box[], side: Side): readonly Box[] {
  const both: Box[] = [];
  for (const box of boxes) {
    for (const own of side.ranges) {
      const range = intersectRanges(box.range, own);
      if (range === null) continue;
      for (const ports of intersectNumbers([box.ports], side.ports)) {
        both.push({ range, protocol: box.protocol, ports });
        if (both.length === TRAFFIC_SELECTOR_MAX) return both;
      }
    }
  }
  return both;
}

/** The intersection without what another part of it holds. */
function commonNumbers(
  a: readonly SelectorNumberRange[],
  b: readonly SelectorNumberRange[],
): readonly SelectorNumberRange[] {
  const both = intersectNumbers(a, b);
  return both.filter(
    (own, index) =>
      !both.some(
        (other, at) =>
          at !== index && numbersContain(other, own) && (at < index || !numbersContain(own, other)),
      ),
  );
}

export function intersectNumbers(
  a: readonly SelectorNumberRange[],
  b: readonly SelectorNumberRange[],
): readonly SelectorNumberRange[] {
  return a.flatMap((x) =>
    b.flatMap((y) => {
      const [from, to] = [Math.max(x.from, y.from), Math.min(x.to, y.to)];
      return from <= to ? [{ from, to }] : [];
    }),
  );
}

function numbersContain(outer: SelectorNumberRange, inner: SelectorNumberRange): boolean {
  return outer.from <= inner.from && inner.to <= outer.to;
}

interface Interval {
  readonly first: bigint;
  readonly last: bigint;
}

/** Whether a union of intervals holds each of the others; work n log n. */
export function unionContains(outer: readonly Interval[], inner: readonly Interval[]): boolean {
  const merged: { first: bigint; last: bigint }[] = [];
  for (const { first, last } of [...outer].sort(byFirst)) {
    const previous = merged.at(-1);
    if (previous === undefined || first > previous.last + 1n) merged.push({ first, last });
    else if (last > previous.last) previous.last = last;
  }
  let at = 0;
  for (const { first, last } of [...inner].sort(byFirst)) {
    while ((merged[at]?.last ?? first) < first) at += 1;
    const holder = merged[at];
    if (holder === undefined || first < holder.first || last > holder.last) return false;
  }
  return true;
}

function byFirst(a: Interval, b: Interval): number {
  if (a.first === b.first) return 0;
  return a.first < b.first ? -1 : 1;
}

/** The same for ports. Every port is more than all of them: packets without ports are in it too. */
export function numbersCover(
  outer: readonly SelectorNumberRange[],
  inner: readonly SelectorNumberRange[],
): boolean {
  const intervals = (ranges: readonly SelectorNumberRange[]): readonly Interval[] =>
    ranges.map(({ from, to }) => ({ first: BigInt(from), last: BigInt(to) }));
  if (outer.some(isEveryPort)) return true;
  return !inner.some(isEveryPort) && unionContains(intervals(outer), intervals(inner));
}

/** The same for addresses, family by family. */
export function rangesCover(
  outer: readonly AddressRange[],
  inner: readonly AddressRange[],
): boolean {
  return FAMILIES.every((family) =>
    unionContains(
      outer.filter((range) => range.family === family),
      inner.filter((range) => range.family === family),
    ),
  );
}
