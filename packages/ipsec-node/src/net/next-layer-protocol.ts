import { UsageError } from '../errors.js';

/** Names of next layer protocols (IANA "Assigned Internet Protocol Numbers"), as people write them. */
export const PROTOCOL_NUMBERS = {
  icmp: 1,
  igmp: 2,
  ipip: 4,
  tcp: 6,
  udp: 17,
  dccp: 33,
  ipv6: 41,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  eigrp: 88,
  ospf: 89,
  pim: 103,
  vrrp: 112,
  l2tp: 115,
  sctp: 132,
  udplite: 136,
} as const satisfies Readonly<Record<string, number>>;

export type ProtocolName = keyof typeof PROTOCOL_NUMBERS;

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_ESP = 50;
export const PROTOCOL_ICMPV6 = 58;

const NUMBER_BY_NAME: ReadonlyMap<string, number> = new Map(Object.entries(PROTOCOL_NUMBERS));
const NAME_BY_NUMBER: ReadonlyMap<number, string> = new Map(
  Object.entries(PROTOCOL_NUMBERS).map(([name, number]) => [number, name]),
);

/** Protocols that start with a source and a destination port. */
const WITH_PORTS: ReadonlySet<number> = new Set([6, 17, 33, 132, 136]);

/** The names, for messages and for the search of the nearest one. */
export const PROTOCOL_NAMES: readonly string[] = [...NUMBER_BY_NAME.keys()];

/** Parses a name or a number of 0..255, without throwing. */
export function tryParseProtocol(text: string): number | null {
  const known = NUMBER_BY_NAME.get(text.toLowerCase());
  if (known !== undefined) return known;
  return /^\d{1,3}$/.test(text) && Number(text) <= 255 ? Number(text) : null;
}

/**
 * Parses a name or a number of 0..255.
 *
 * @throws UsageError IPSEC_ERR_PROTOCOL_UNKNOWN
 */
export function parseProtocol(text: string): number {
  const protocol = tryParseProtocol(text);
  if (protocol === null) {
    throw new UsageError(
      'IPSEC_ERR_PROTOCOL_UNKNOWN',
      `${JSON.stringify(text)} is not a protocol: a number of 0..255 or one of ${PROTOCOL_NAMES.join(', ')}.`,
    );
  }
  return protocol;
}

export function formatProtocol(protocol: number | 'any'): string {
  return protocol === 'any' ? 'any' : (NAME_BY_NUMBER.get(protocol) ?? `${protocol}`);
}

export function hasPorts(protocol: number): boolean {
  return WITH_PORTS.has(protocol);
}

export function isIcmp(protocol: number): boolean {
  return protocol === PROTOCOL_ICMP || protocol === PROTOCOL_ICMPV6;
}
