import { PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from './next-layer-protocol.js';

/** Usual ICMP types by name (IANA "ICMP Parameters"). */
export const ICMPV4_TYPES = {
  'echo-reply': 0,
  'destination-unreachable': 3,
  redirect: 5,
  'echo-request': 8,
  'router-advertisement': 9,
  'router-solicitation': 10,
  'time-exceeded': 11,
  'parameter-problem': 12,
  'timestamp-request': 13,
  'timestamp-reply': 14,
} as const satisfies Readonly<Record<string, number>>;

/** Usual ICMPv6 types by name (IANA "ICMPv6 Parameters"). */
export const ICMPV6_TYPES = {
  'destination-unreachable': 1,
  'packet-too-big': 2,
  'time-exceeded': 3,
  'parameter-problem': 4,
  'echo-request': 128,
  'echo-reply': 129,
  'multicast-listener-query': 130,
  'multicast-listener-report': 131,
  'multicast-listener-done': 132,
  'router-solicitation': 133,
  'router-advertisement': 134,
  'neighbour-solicitation': 135,
  'neighbour-advertisement': 136,
  redirect: 137,
  'multicast-listener-report-v2': 143,
} as const satisfies Readonly<Record<string, number>>;

const V4: ReadonlyMap<string, number> = new Map(Object.entries(ICMPV4_TYPES));
const V6: ReadonlyMap<string, number> = new Map(Object.entries(ICMPV6_TYPES));

/** The names of one of the two ICMP protocols; none for another protocol. */
export function icmpTypeNames(protocol: number): readonly string[] {
  return [...tableOf(protocol).keys()];
}

/** The number of a named type; null where the protocol has no such name. */
export function icmpTypeNumber(protocol: number, name: string): number | null {
  return tableOf(protocol).get(name.toLowerCase().replaceAll('_', '-')) ?? null;
}

/** The name of a type, or its number. */
export function formatIcmpType(protocol: number, type: number): string {
  for (const [name, number] of tableOf(protocol)) if (number === type) return name;
  return `${type}`;
}

function tableOf(protocol: number): ReadonlyMap<string, number> {
  if (protocol === PROTOCOL_ICMP) return V4;
  return protocol === PROTOCOL_ICMPV6 ? V6 : new Map();
}
