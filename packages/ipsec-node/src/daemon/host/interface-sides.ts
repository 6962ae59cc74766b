import { readFileSync } from 'node:fs';
import { type AddressRange, intersectRanges, rangeContains } from '../../net/address-range.js';
import { maxAddress, parseIpAddress } from '../../net/ip-address.js';
import { readSelector } from '../../spd/selector.js';
import type { Spd } from '../../spd/spd.js';

/** One route of a kernel table: where it leads and through which interface. */
export interface Route {
  readonly interface: string;
  readonly destination: AddressRange;
}

/** Interfaces by the side of the boundary (RFC 4301 section 3.1) they are on. */
export interface InterfaceSides {
  readonly unprotected: readonly string[];
  readonly protected: readonly string[];
  /** Those of the unprotected ones that lead to the peers: their MTU is the tunnel's business. */
  readonly paths: readonly string[];
}

/** Reads /proc/net/route: one route a line, addresses as little-endian words. */
export function parseIpv4Routes(text: string): readonly Route[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line): readonly Route[] => {
      const [name, destination, , flags, , , , mask] = line.trim().split(/\s+/);
      if (name === undefined || destination === undefined || mask === undefined) return [];
      // RTF_UP; RTF_REJECT routes lead nowhere.
      if ((Number.parseInt(flags ?? '0', 16) & 0x201) !== 0x1) return [];
      const first = littleEndianWord(destination);
      const last = first | (~littleEndianWord(mask) & 0xffff_ffffn);
      return [{ interface: name, destination: { family: 4, first, last } }];
    });
}

function littleEndianWord(hex: string): bigint {
  return BigInt(`0x${hex.match(/../g)?.reverse().join('') ?? '0'}`);
}

/** Reads /proc/net/ipv6_route: destination, prefix length, …, flags, interface. */
export function parseIpv6Routes(text: string): readonly Route[] {
  return text.split('\n').flatMap((line): readonly Route[] => {
    const fields = line.trim().split(/\s+/);
    const [destination, prefixLen, , , , , , , flags, name] = fields;
    if (destination === undefined || prefixLen === undefined || name === undefined) return [];
    if ((Number.parseInt(flags ?? '0', 16) & 0x201) !== 0x1) return [];
    const hostBits = BigInt(128 - Number.parseInt(prefixLen, 16));
    const first = BigInt(`0x${destination}`);
    const last = first | ((1n << hostBits) - 1n);
    return [{ interface: name, destination: { family: 6, first, last } }];
  });
}

/**
 * Finds the sides where the file does not name them. Outside is what has a default route or the
 * route to a peer. Inside is what leads to a network that a PROTECT entry calls local; every other
 * interface is outside as well, for the default route may move to it (docs/decisions/0022).
 *
 * `locals` is null where an entry's local side is any address: then all that is not outside is
 * inside. With no outside interface found both lists are empty, and packets are judged by selectors
 * alone: a wrong side would be worse than none.
 */
export function interfaceSides(
  routes: readonly Route[],
  interfaces: readonly string[],
  peers: readonly string[],
  tun: string,
  locals: readonly AddressRange[] | null = null,
): InterfaceSides {
  const sided = interfaces.filter((name) => name !== 'lo' && name !== tun);
  const outside = new Set<string>();
  for (const route of routes) if (isDefault(route)) outside.add(route.interface);
  for (const peer of peers) {
    const route = bestRoute(routes, peer);
    if (route !== undefined) outside.add(route.interface);
  }
  const paths = sided.filter((name) => outside.has(name));
  if (paths.length === 0) return { unprotected: [], protected: [], paths: [] };
  const leadsInside = (name: string): boolean =>
    locals === null ||
    routes.some(
      (route) =>
        route.interface === name &&
        !isDefault(route) &&
        locals.some((range) => intersectRanges(route.destination, range) !== null),
    );
  const inside = sided.filter((name) => !outside.has(name) && leadsInside(name));
  return { unprotected: sided.filter((name) => !inside.includes(name)), protected: inside, paths };
}

function isDefault({ destination }: Route): boolean {
  return destination.first === 0n && destination.last === maxAddress(destination.family);
}

function bestRoute(routes: readonly Route[], peer: string): Route | undefined {
  const { family, value } = parseIpAddress(peer);
  const target = { family, first: value, last: value };
  let best: Route | undefined;
  for (const route of routes) {
    if (!rangeContains(route.destination, target) || route.interface === 'lo') continue;
    if (best === undefined || rangeContains(best.destination, route.destination)) best = route;
  }
  return best;
}

/** The sides of this host's interfaces. */
export function hostInterfaceSides(
  peers: readonly string[],
  tun: string,
  locals: readonly AddressRange[] | null,
): InterfaceSides {
  const routes = [
    ...parseIpv4Routes(readText('/proc/net/route')),
    ...parseIpv6Routes(readText('/proc/net/ipv6_route')),
  ];
  return interfaceSides(routes, hostInterfaces(), peers, tun, locals);
}

/** The local networks of the PROTECT entries of a policy; null where one speaks of any address. */
export function protectedNetworks(spd: Spd): readonly AddressRange[] | null {
  const entries = spd.entries.filter((entry) => entry.action === 'PROTECT' && !entry.builtin);
  if (entries.some((entry) => entry.selector.local.length === 0)) return null;
  return entries.flatMap((entry) => readSelector(entry.selector).local);
}

/** Names of this host's interfaces. */
export function hostInterfaces(): readonly string[] {
  // /proc/net/dev is of this network namespace; /sys may be of another.
  return readText('/proc/net/dev')
    .split('\n')
    .slice(2)
    .flatMap((line) => /^\s*([^:\s]+):/.exec(line)?.[1] ?? []);
}

/**
 * Where the MTU of an interface is written. /proc/sys is of the network namespace of its reader, /sys
 * of the namespace in which it was mounted: the second is right only where there is no IPv6.
 */
export function mtuPaths(name: string): readonly string[] {
  return [`/proc/sys/net/ipv6/conf/${name}/mtu`, `/sys/class/net/${name}/mtu`];
}

/** MTU of an interface in bytes; `undefined` where it is not known. */
export function interfaceMtu(name: string): number | undefined {
  const text = mtuPaths(name)
    .map((path) => readText(path).trim())
    .find((found) => /^\d+$/.test(found));
  return text === undefined ? undefined : Number(text);
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
