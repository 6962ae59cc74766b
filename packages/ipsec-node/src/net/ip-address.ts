import { UsageError } from '../errors.js';

export type AddressFamily = 4 | 6;

/** An IPv4 or IPv6 address as a number of its family; no zone, no prefix. */
export interface IpAddress {
  readonly family: AddressFamily;
  /** 0..2^32-1 or 0..2^128-1, in network order: the first octet is the most significant. */
  readonly value: bigint;
}

/** Bits of an address. */
export function addressBits(family: AddressFamily): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/** The largest value of a family. */
export function maxAddress(family: AddressFamily): bigint {
  return family === 4 ? 0xffff_ffffn : (1n << 128n) - 1n;
}

/**
 * Parses an address.
 *
 * @throws UsageError IPSEC_ERR_ADDRESS_SYNTAX
 */
export function parseIpAddress(text: string): IpAddress {
  const address = tryParseIpAddress(text);
  if (address === null) {
    throw new UsageError(
      'IPSEC_ERR_ADDRESS_SYNTAX',
      `${JSON.stringify(text)} is not an IP address.`,
    );
  }
  return address;
}

/** Parses an address; null where the text is not one. */
export function tryParseIpAddress(text: string): IpAddress | null {
  const value = text.includes(':') ? parseIpv6(text) : parseIpv4(text);
  if (value === null) return null;
  return { family: text.includes(':') ? 6 : 4, value };
}

/** Writes an address in canonical form: dotted decimal, or RFC 5952 section 4. */
export function formatIpAddress(address: IpAddress): string {
  return address.family === 4 ? formatIpv4(address.value) : formatIpv6(address.value);
}

/** Orders by family, then by value. */
export function compareIpAddresses(a: IpAddress, b: IpAddress): -1 | 0 | 1 {
  if (a.family !== b.family) return a.family < b.family ? -1 : 1;
  if (a.value === b.value) return 0;
  return a.value < b.value ? -1 : 1;
}

const ZERO = 48;

function parseIpv4(text: string): bigint | null {
  // By hand, for every datagram of IKE has four addresses.
  let value = 0;
  let octets = 0;
  let octet = 0;
  let digits = 0;
  for (let index = 0; index <= text.length; index += 1) {
    const digit = text.charCodeAt(index) - ZERO;
    if (digit >= 0 && digit <= 9) {
      // A leading zero is octal to some readers and decimal to others: refused.
      if (digits > 0 && octet === 0) return null;
      octet = octet * 10 + digit;
      digits += 1;
      if (octet > 255) return null;
      continue;
    }
    if (digits === 0 || (index < text.length && text[index] !== '.')) return null;
    value = value * 256 + octet;
    octets += 1;
    octet = 0;
    digits = 0;
  }
  return octets === 4 ? BigInt(value) : null;
}

function parseIpv6(text: string): bigint | null {
  const halves = text.split('::');
  if (halves.length > 2) return null;
  const head = parseGroups(halves[0] ?? '', halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '', true) : [];
  if (head === null || tail === null) return null;
  const missing = 8 - head.length - tail.length;
  // RFC 4291 section 2.2: "::" stands for one or more groups of zeroes.
  if (halves.length === 1 ? missing !== 0 : missing < 1) return null;
  const groups = [...head, ...Array.from({ length: missing }, () => 0), ...tail];
  return groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}

/** Groups of 16 bits; the last two may be written as an IPv4 address where `atEnd`. */
function parseGroups(text: string, atEnd: boolean): number[] | null {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (part.includes('.')) {
      const ipv4 = atEnd && index === parts.length - 1 ? parseIpv4(part) : null;
      if (ipv4 === null) return null;
      groups.push(Number(ipv4 >> 16n), Number(ipv4 & 0xffffn));
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return null;
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups;
}

function formatIpv4(value: bigint): string {
  const number = Number(value);
  return [number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255].join('.');
}

function formatIpv6(value: bigint): string {
  const groups: number[] = [];
  for (let shift = 112n; shift >= 0n; shift -= 16n) groups.push(Number((value >> shift) & 0xffffn));
  // RFC 5952 section 5: the mixed notation where the prefix says that an IPv4 address is embedded.
  if (value >> 32n === 0xffffn) return `::ffff:${formatIpv4(value & 0xffff_ffffn)}`;
  const zeroes = longestZeroRun(groups);
  const text = (part: number[]): string => part.map((group) => group.toString(16)).join(':');
  if (zeroes === null) return text(groups);
  return `${text(groups.slice(0, zeroes.start))}::${text(groups.slice(zeroes.start + zeroes.count))}`;
}

/** RFC 5952 section 4.2: the longest run of two or more zero groups, the first where equal. */
function longestZeroRun(groups: readonly number[]): { start: number; count: number } | null {
  let best: { start: number; count: number } | null = null;
  let start = 0;
  for (let index = 0; index <= groups.length; index += 1) {
    if (groups[index] === 0) continue;
    const count = index - start;
    if (count >= 2 && (best === null || count > best.count)) best = { start, count };
    start = index + 1;
  }
  return best;
}
