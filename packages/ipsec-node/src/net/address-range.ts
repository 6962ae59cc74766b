import { UsageError } from '../errors.js';
import {
  type AddressFamily,
  addressBits,
  formatIpAddress,
  maxAddress,
  tryParseIpAddress,
} from './ip-address.js';

/** An inclusive range of addresses of one family; `first` <= `last`. */
export interface AddressRange {
  readonly family: AddressFamily;
  readonly first: bigint;
  readonly last: bigint;
}

/** Why a text is not an address range, and what was probably meant. */
export interface AddressRangeFault {
  readonly reason: string;
  readonly suggestion?: string;
}

export type AddressRangeResult =
  | { readonly ok: true; readonly range: AddressRange }
  | { readonly ok: false; readonly fault: AddressRangeFault };

/** What {@link parseAddressRange} accepts, for messages. */
export const ADDRESS_RANGE_ACCEPTED =
  'a prefix (10.1.0.0/16), a range (10.1.0.10-10.1.0.99), a single address, IPv4 or IPv6';

/** Parses a prefix, a range `a-b` or a single address, without throwing. */
export function tryParseAddressRange(text: string): AddressRangeResult {
  if (text.includes('/')) return parsePrefix(text);
  if (text.includes('-')) return parseFromTo(text);
  const address = tryParseIpAddress(text);
  if (address === null) return fail(notAnAddress(text));
  return succeed(address.family, address.value, address.value);
}

/**
 * Parses a prefix, a range `a-b` or a single address.
 *
 * @throws UsageError IPSEC_ERR_ADDRESS_SYNTAX
 */
export function parseAddressRange(text: string): AddressRange {
  const result = tryParseAddressRange(text);
  if (result.ok) return result.range;
  const { reason, suggestion } = result.fault;
  const hint = suggestion === undefined ? '' : ` Did you mean ${suggestion}?`;
  throw new UsageError(
    'IPSEC_ERR_ADDRESS_SYNTAX',
    `${JSON.stringify(text)} is not an address range: ${reason}.${hint}`,
  );
}

/** Writes a range as shortly as it goes: single address, prefix, or `a-b`. */
export function formatAddressRange(range: AddressRange): string {
  const { family, first, last } = range;
  const from = formatIpAddress({ family, value: first });
  if (first === last) return from;
  const prefixLen = prefixLenOf(range);
  if (prefixLen !== null) return `${from}/${prefixLen}`;
  return `${from}-${formatIpAddress({ family, value: last })}`;
}

/** The prefix length, where the range is exactly one prefix; else null. */
export function prefixLenOf(range: AddressRange): number | null {
  const size = range.last - range.first + 1n;
  if ((size & (size - 1n)) !== 0n || (range.first & (size - 1n)) !== 0n) return null;
  return addressBits(range.family) - (size.toString(2).length - 1);
}

/** The fewest prefixes that together are exactly the range, in ascending order. */
export function prefixesOf(range: AddressRange): readonly AddressRange[] {
  const prefixes: AddressRange[] = [];
  let first = range.first;
  while (first <= range.last) {
    let size = first === 0n ? maxAddress(range.family) + 1n : first & -first;
    while (first + size - 1n > range.last) size >>= 1n;
    prefixes.push({ family: range.family, first, last: first + size - 1n });
    first += size;
  }
  return prefixes;
}

export function rangeContains(outer: AddressRange, inner: AddressRange): boolean {
  return outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last;
}

/** What both hold; null where nothing. */
export function intersectRanges(a: AddressRange, b: AddressRange): AddressRange | null {
  if (a.family !== b.family) return null;
  const first = a.first > b.first ? a.first : b.first;
  const last = a.last < b.last ? a.last : b.last;
  return first <= last ? { family: a.family, first, last } : null;
}

function parsePrefix(text: string): AddressRangeResult {
  const slash = text.indexOf('/');
  const address = tryParseIpAddress(text.slice(0, slash));
  const lenText = text.slice(slash + 1);
  if (address === null) return fail(notAnAddress(text.slice(0, slash)));
  const bits = addressBits(address.family);
  if (!/^(0|[1-9]\d{0,2})$/.test(lenText) || Number(lenText) > bits) {
    return fail(`the prefix length of an IPv${address.family} address is 0..${bits}`);
  }
  const hostMask = (1n << BigInt(bits - Number(lenText))) - 1n;
  const network = address.value & ~hostMask;
  if (network !== address.value) {
    // Which of the two was meant, the network or the one host, cannot be known: ask.
    const meant = formatIpAddress({ family: address.family, value: network });
    return fail(
      `host bits are set: the network is ${meant}/${lenText}, the single address is ${formatIpAddress(address)}`,
      `${meant}/${lenText}`,
    );
  }
  return succeed(address.family, network, network | hostMask);
}

function parseFromTo(text: string): AddressRangeResult {
  const dash = text.indexOf('-');
  const fromText = text.slice(0, dash).trim();
  const toText = text.slice(dash + 1).trim();
  const from = tryParseIpAddress(fromText);
  const to = tryParseIpAddress(toText);
  if (from === null) return fail(notAnAddress(fromText));
  if (to === null) return fail(notAnAddress(toText));
  if (from.family !== to.family) return fail('the two ends are of different families');
  if (from.value > to.value) {
    return fail('the first end is above the second', `${toText}-${fromText}`);
  }
  return succeed(from.family, from.value, to.value);
}

function notAnAddress(text: string): string {
  if (/^[0-9.]+$/.test(text) && text.split('.').length === 4) {
    return 'each of the four numbers is 0..255 and has no leading zero';
  }
  if (/^[A-Za-z][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)+$/.test(text)) {
    return 'names are not resolved here: write the address';
  }
  return 'it is not an IPv4 or IPv6 address';
}

function succeed(family: AddressFamily, first: bigint, last: bigint): AddressRangeResult {
  return { ok: true, range: { family, first, last } };
}

function fail(reason: string, suggestion?: string): AddressRangeResult {
  return { ok: false, fault: suggestion === undefined ? { reason } : { reason, suggestion } };
}
