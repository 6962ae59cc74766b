/**
 * Selectors (RFC 4301 section 4.4.1.1) as plain values: addresses are text in canonical form, so a
 * selector can be printed, compared and sent as it is. {@link readSelector} gives the form that is
 * compared with packets.
 */
import { type AddressRange, formatAddressRange, intersectRanges } from '../net/address-range.js';
import { formatIpAddress, parseIpAddress } from '../net/ip-address.js';
import { formatProtocol } from '../net/next-layer-protocol.js';
import { formatNumberRange } from '../net/port-range.js';

/** An inclusive range of addresses of one family, `from` <= `to`, canonical text. */
export interface SelectorAddressRange {
  readonly from: string;
  readonly to: string;
}

/** An inclusive range of ports (0..65535) or of ICMP types or codes (0..255). */
export interface SelectorNumberRange {
  readonly from: number;
  readonly to: number;
}

/**
 * What one SPD entry or SA speaks of, seen from our side: `local` is the source of an outbound
 * packet and the destination of an inbound one. An empty list is ANY.
 */
export interface Selector {
  readonly local: readonly SelectorAddressRange[];
  readonly remote: readonly SelectorAddressRange[];
  /** IANA next layer protocol, 0..255, or 'any'. */
  readonly protocol: number | 'any';
  readonly localPorts: readonly SelectorNumberRange[];
  readonly remotePorts: readonly SelectorNumberRange[];
  /** Only with protocol 1 or 58. Empty is ANY. */
  readonly icmpTypes: readonly SelectorNumberRange[];
  readonly icmpCodes: readonly SelectorNumberRange[];
}

/** The selector that matches every packet. */
export const ANY_SELECTOR: Selector = Object.freeze({
  local: [],
  remote: [],
  protocol: 'any',
  localPorts: [],
  remotePorts: [],
  icmpTypes: [],
  icmpCodes: [],
});

/** A selector whose addresses are numbers. */
export interface ReadSelector extends Omit<Selector, 'local' | 'remote'> {
  readonly local: readonly AddressRange[];
  readonly remote: readonly AddressRange[];
}

// Selectors are immutable and searched again and again; reading them is the slow part.
const readSelectors = new WeakMap<Selector, ReadSelector>();

/**
 * Reads the addresses of a selector.
 *
 * @throws UsageError IPSEC_ERR_ADDRESS_SYNTAX where a text is not an address.
 */
export function readSelector(selector: Selector): ReadSelector {
  const known = readSelectors.get(selector);
  if (known !== undefined) return known;
  const read: ReadSelector = {
    ...selector,
    local: selector.local.map(readRange),
    remote: selector.remote.map(readRange),
  };
  readSelectors.set(selector, read);
  return read;
}

/** Writes an address range as a selector holds it. */
export function selectorRangeOf(range: AddressRange): SelectorAddressRange {
  const from = formatIpAddress({ family: range.family, value: range.first });
  if (range.first === range.last) return { from, to: from };
  return { from, to: formatIpAddress({ family: range.family, value: range.last }) };
}

/** Writes a list of addresses of a selector: prefixes, ranges, single addresses, or `any`. */
export function formatAddresses(ranges: readonly SelectorAddressRange[]): string {
  if (ranges.length === 0) return 'any';
  return ranges.map((range) => formatAddressRange(readRange(range))).join(', ');
}

/** Writes a list of ports, types or codes of a selector, or `any`. */
export function formatNumbers(ranges: readonly SelectorNumberRange[]): string {
  return ranges.length === 0 ? 'any' : ranges.map(formatNumberRange).join(', ');
}

/** Writes a selector in one line; what is ANY is left out but for the addresses. */
export function formatSelector(selector: Selector): string {
  const parts = [
    `local ${formatAddresses(selector.local)}`,
    `remote ${formatAddresses(selector.remote)}`,
  ];
  if (selector.protocol !== 'any') parts.push(`protocol ${formatProtocol(selector.protocol)}`);
  if (selector.localPorts.length > 0) parts.push(`localPort ${formatNumbers(selector.localPorts)}`);
  if (selector.remotePorts.length > 0) {
    parts.push(`remotePort ${formatNumbers(selector.remotePorts)}`);
  }
  if (selector.icmpTypes.length > 0) parts.push(`icmpType ${formatNumbers(selector.icmpTypes)}`);
  if (selector.icmpCodes.length > 0) parts.push(`icmpCode ${formatNumbers(selector.icmpCodes)}`);
  return parts.join(', ');
}

/**
 * What both selectors speak of. The two are known to share packets: an empty list in the result
 * means ANY, not nothing.
 */
export function intersectSelectors(a: Selector, b: Selector): Selector {
  const [x, y] = [readSelector(a), readSelector(b)];
  return {
    local: intersectAddresses(x.local, y.local),
    remote: intersectAddresses(x.remote, y.remote),
    protocol: a.protocol === 'any' ? b.protocol : a.protocol,
    localPorts: intersectNumbers(a.localPorts, b.localPorts),
    remotePorts: intersectNumbers(a.remotePorts, b.remotePorts),
    icmpTypes: intersectNumbers(a.icmpTypes, b.icmpTypes),
    icmpCodes: intersectNumbers(a.icmpCodes, b.icmpCodes),
  };
}

function intersectAddresses(
  a: readonly AddressRange[],
  b: readonly AddressRange[],
): readonly SelectorAddressRange[] {
  if (a.length === 0 || b.length === 0) return [...a, ...b].map(selectorRangeOf);
  return a.flatMap((x) =>
    b.flatMap((y) => {
      const both = intersectRanges(x, y);
      return both === null ? [] : [selectorRangeOf(both)];
    }),
  );
}

function intersectNumbers(
  a: readonly SelectorNumberRange[],
  b: readonly SelectorNumberRange[],
): readonly SelectorNumberRange[] {
  if (a.length === 0 || b.length === 0) return [...a, ...b];
  return a.flatMap((x) =>
    b.flatMap((y) => {
      const [from, to] = [Math.max(x.from, y.from), Math.min(x.to, y.to)];
      return from <= to ? [{ from, to }] : [];
    }),
  );
}

function readRange(range: SelectorAddressRange): AddressRange {
  const from = parseIpAddress(range.from);
  return { family: from.family, first: from.value, last: parseIpAddress(range.to).value };
}
