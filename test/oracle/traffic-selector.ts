/**
 * Which packets traffic selectors (RFC 7296 section 3.13.1) and selectors of the SPD (RFC 4301
 * section 4.4.1.1) match, decided for one packet at a time. Nothing here is shared with the product.
 */
import { addressBytes } from './packet.ts';

/** A packet as seen from our side. */
export interface OraclePacket {
  readonly local: string;
  readonly remote: string;
  readonly protocol: number;
  /** Null: none, or a fragment other than the first. */
  readonly localPort: number | null;
  readonly remotePort: number | null;
  /** Null: not ICMP. */
  readonly icmp: { readonly type: number; readonly code: number } | null;
}

export interface OracleTrafficSelector {
  readonly family: 4 | 6;
  readonly protocol: number;
  readonly startPort: number;
  readonly endPort: number;
  readonly from: string;
  readonly to: string;
}

interface OracleRange {
  readonly from: string;
  readonly to: string;
}

interface OracleNumbers {
  readonly from: number;
  readonly to: number;
}

export interface OracleSelector {
  readonly local: readonly OracleRange[];
  readonly remote: readonly OracleRange[];
  readonly protocol: number | 'any';
  readonly localPorts: readonly OracleNumbers[];
  readonly remotePorts: readonly OracleNumbers[];
  readonly icmpTypes: readonly OracleNumbers[];
  readonly icmpCodes: readonly OracleNumbers[];
}

const bytesOf = new Map<string, Buffer>();

function bytes(address: string): Buffer {
  const known = bytesOf.get(address) ?? addressBytes(address);
  bytesOf.set(address, known);
  return known;
}

function isBetween(address: string, range: OracleRange): boolean {
  const [value, from, to] = [bytes(address), bytes(range.from), bytes(range.to)];
  return (
    value.length === from.length &&
    Buffer.compare(from, value) <= 0 &&
    Buffer.compare(value, to) <= 0
  );
}

function matchesOne(
  selector: OracleTrafficSelector,
  address: string,
  packet: OraclePacket,
  port: number | null,
): boolean {
  if (selector.protocol !== 0 && selector.protocol !== packet.protocol) return false;
  if (!isBetween(address, selector)) return false;
  // "ANY" includes "OPAQUE"; OPAQUE alone is 65535 to 0.
  if (selector.startPort === 0 && selector.endPort === 65_535) return true;
  const number = packet.icmp === null ? port : packet.icmp.type * 256 + packet.icmp.code;
  if (number === null) return selector.startPort === 65_535 && selector.endPort === 0;
  return selector.startPort <= number && number <= selector.endPort;
}

/** Whether one of each list matches. */
export function matchesTrafficSelectors(
  local: readonly OracleTrafficSelector[],
  remote: readonly OracleTrafficSelector[],
  packet: OraclePacket,
): boolean {
  return (
    local.some((each) => matchesOne(each, packet.local, packet, packet.localPort)) &&
    remote.some((each) => matchesOne(each, packet.remote, packet, packet.remotePort))
  );
}

function isAmong(value: number | null, ranges: readonly OracleNumbers[]): boolean {
  if (ranges.length === 0) return true;
  return value !== null && ranges.some(({ from, to }) => from <= value && value <= to);
}

export function matchesSelector(selector: OracleSelector, packet: OraclePacket): boolean {
  const { local, remote, protocol } = selector;
  return (
    (local.length === 0 || local.some((range) => isBetween(packet.local, range))) &&
    (remote.length === 0 || remote.some((range) => isBetween(packet.remote, range))) &&
    (protocol === 'any' || protocol === packet.protocol) &&
    isAmong(packet.localPort, selector.localPorts) &&
    isAmong(packet.remotePort, selector.remotePorts) &&
    isAmong(packet.icmp?.type ?? null, selector.icmpTypes) &&
    isAmong(packet.icmp?.code ?? null, selector.icmpCodes)
  );
}
