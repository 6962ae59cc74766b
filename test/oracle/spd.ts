/**
 * The Security Policy Database of RFC 4301 section 4.4.1 as a list read from the top: every
 * selector of every entry is compared, field by field, until one matches.
 */

import { addressBytes, type ParsedPacket } from './packet.ts';

export type Action = 'PROTECT' | 'BYPASS' | 'DISCARD';
export type Direction = 'outbound' | 'inbound';

/** Both ends included. Bounds are of one family. */
export interface AddressRange {
  readonly from: string;
  readonly to: string;
}

/** Both ends included. */
export interface NumberRange {
  readonly from: number;
  readonly to: number;
}

/** `OPAQUE` matches only where the field is not available; `ANY` matches either way. */
export type PortSelector = 'ANY' | 'OPAQUE' | readonly NumberRange[];

export interface OracleSelector {
  readonly local: 'ANY' | readonly AddressRange[];
  readonly remote: 'ANY' | readonly AddressRange[];
  readonly protocol: 'ANY' | 'OPAQUE' | readonly number[];
  readonly localPorts: PortSelector;
  readonly remotePorts: PortSelector;
  /** A given type or code never matches a packet that has none. */
  readonly icmpTypes: PortSelector;
  readonly icmpCodes: PortSelector;
}

export interface OracleSpdEntry {
  readonly name: string;
  readonly action: Action;
  readonly directions: readonly Direction[];
  readonly selectors: readonly OracleSelector[];
}

/** The fields of one packet as the SPD sees them: source and destination turned local and remote. */
export interface Flow {
  readonly local: string;
  readonly remote: string;
  /** Undefined where not available. */
  readonly protocol: number | undefined;
  readonly localPort: number | undefined;
  readonly remotePort: number | undefined;
  readonly icmpType: number | undefined;
  readonly icmpCode: number | undefined;
}

export type SelectorField =
  | 'local'
  | 'remote'
  | 'protocol'
  | 'localPorts'
  | 'remotePorts'
  | 'icmpTypes'
  | 'icmpCodes';

export interface SpdVerdict {
  /** Undefined for the final discard that no entry names. */
  readonly entry: OracleSpdEntry | undefined;
  readonly index: number | undefined;
  readonly action: Action;
}

export const anySelector: OracleSelector = {
  local: 'ANY',
  remote: 'ANY',
  protocol: 'ANY',
  localPorts: 'ANY',
  remotePorts: 'ANY',
  icmpTypes: 'ANY',
  icmpCodes: 'ANY',
};

/** The range of a prefix such as `10.1.0.0/16`, or of one address. */
export function prefixRange(prefix: string): AddressRange {
  const [address = '', bits] = prefix.split('/');
  const bytes = addressBytes(address);
  const host = BigInt(bytes.length * 8 - (bits === undefined ? bytes.length * 8 : Number(bits)));
  const value = BigInt(`0x${bytes.toString('hex')}`);
  const from = (value >> host) << host;
  const text = (number: bigint): string => {
    const hex = number.toString(16).padStart(bytes.length * 2, '0');
    return bytes.length === 4
      ? [...Buffer.from(hex, 'hex')].join('.')
      : (hex.match(/.{4}/g) ?? []).join(':');
  };
  return { from: text(from), to: text(from + (1n << host) - 1n) };
}

function addressIn(address: string, ranges: 'ANY' | readonly AddressRange[]): boolean {
  if (ranges === 'ANY') return true;
  const bytes = addressBytes(address);
  return ranges.some((range) => {
    const from = addressBytes(range.from);
    const to = addressBytes(range.to);
    if (from.length !== bytes.length) return false;
    return Buffer.compare(bytes, from) >= 0 && Buffer.compare(bytes, to) <= 0;
  });
}

// RFC 4301 section 4.4.1.1: ANY includes OPAQUE; OPAQUE says that the field is not available; a
// value that is given cannot match a field that is not.
function numberIn(value: number | undefined, selector: PortSelector): boolean {
  if (selector === 'ANY') return true;
  if (selector === 'OPAQUE') return value === undefined;
  return value !== undefined && selector.some((r) => value >= r.from && value <= r.to);
}

/** The fields of the selector that the flow does not meet; none means a match. */
export function unmetFields(selector: OracleSelector, flow: Flow): SelectorField[] {
  const unmet: SelectorField[] = [];
  if (!addressIn(flow.local, selector.local)) unmet.push('local');
  if (!addressIn(flow.remote, selector.remote)) unmet.push('remote');
  const protocols =
    typeof selector.protocol === 'string'
      ? selector.protocol
      : selector.protocol.map((p) => ({ from: p, to: p }));
  if (!numberIn(flow.protocol, protocols)) unmet.push('protocol');
  if (!numberIn(flow.localPort, selector.localPorts)) unmet.push('localPorts');
  if (!numberIn(flow.remotePort, selector.remotePorts)) unmet.push('remotePorts');
  if (!numberIn(flow.icmpType, selector.icmpTypes)) unmet.push('icmpTypes');
  if (!numberIn(flow.icmpCode, selector.icmpCodes)) unmet.push('icmpCodes');
  return unmet;
}

export function selectorMatches(selector: OracleSelector, flow: Flow): boolean {
  return unmetFields(selector, flow).length === 0;
}

/** The first entry of that direction that matches; without one, DISCARD. */
export function searchSpd(
  entries: readonly OracleSpdEntry[],
  direction: Direction,
  flow: Flow,
): SpdVerdict {
  for (const [index, entry] of entries.entries()) {
    if (!entry.directions.includes(direction)) continue;
    if (entry.selectors.some((selector) => selectorMatches(selector, flow))) {
      return { entry, index, action: entry.action };
    }
  }
  // RFC 4301 section 5.1: without a match the packet is discarded.
  return { entry: undefined, index: undefined, action: 'DISCARD' };
}

/** The selector fields of a packet: outbound its source is local, inbound its destination. */
export function flowOf(packet: ParsedPacket, direction: Direction): Flow {
  const out = direction === 'outbound';
  return {
    local: out ? packet.source : packet.destination,
    remote: out ? packet.destination : packet.source,
    protocol: packet.protocol,
    localPort: out ? packet.sourcePort : packet.destinationPort,
    remotePort: out ? packet.destinationPort : packet.sourcePort,
    icmpType: packet.icmpType,
    icmpCode: packet.icmpCode,
  };
}
