/**
 * The Security Policy Database (RFC 4301 section 4.4.1) and the ordered search of it, written the
 * slow and obvious way. The compiled classifier of the datapath is held equal to it by test.
 */
import { formatIcmpType } from '../net/icmp-type.js';
import type { AddressRange } from '../net/address-range.js';
import { formatIpAddress, type IpAddress } from '../net/ip-address.js';
import { formatProtocol } from '../net/next-layer-protocol.js';
import type { PacketDirection, SpdPacket } from './packet.js';
import {
  formatAddresses,
  formatNumbers,
  readSelector,
  type Selector,
  type SelectorNumberRange,
} from './selector.js';
import type { SpdAction, SpdEntry } from './spd-entry.js';

/** The whole ordered SPD. A search that matches no entry is DISCARD. */
export interface Spd {
  /** Rises with every replacement. */
  readonly version: number;
  readonly entries: readonly SpdEntry[];
}

/** A field of an SPD entry, by its name in the configuration. */
export type SelectorField =
  | 'direction'
  | 'local'
  | 'remote'
  | 'protocol'
  | 'localPort'
  | 'remotePort'
  | 'icmpType'
  | 'icmpCode';

/** One field in which a packet differs from an entry. */
export interface FieldMismatch {
  readonly field: SelectorField;
  /** What the packet has. */
  readonly found: string;
  /** What the entry wants. */
  readonly wanted: string;
}

/** An entry that was looked at and did not match; at least one field differs. */
export interface SpdMiss {
  readonly entry: SpdEntry;
  /** Zero-based place in the SPD. */
  readonly index: number;
  readonly mismatches: readonly FieldMismatch[];
}

/** What a search found. */
export interface SpdDecision {
  readonly action: SpdAction;
  /** The first entry that matches; null: none does, the final DISCARD that no SPD lists. */
  readonly entry: SpdEntry | null;
  /** Place of the entry; the number of entries where none matches. */
  readonly index: number;
  /** The entries before it, in order, each with the fields that did not match. */
  readonly misses: readonly SpdMiss[];
}

/**
 * Searches the SPD in order; the first entry that matches decides.
 *
 * RFC 4301 section 4.4.1: the SPD is ordered, and what no entry matches is discarded.
 */
export function searchSpd(spd: Spd, direction: PacketDirection, packet: SpdPacket): SpdDecision {
  const misses: SpdMiss[] = [];
  for (const [index, entry] of spd.entries.entries()) {
    const mismatches = compareWithEntry(entry, direction, packet);
    if (mismatches.length === 0) return { action: entry.action, entry, index, misses };
    misses.push({ entry, index, mismatches });
  }
  return { action: 'DISCARD', entry: null, index: spd.entries.length, misses };
}

/** The fields in which the packet differs from the entry; none: it matches. */
export function compareWithEntry(
  entry: SpdEntry,
  direction: PacketDirection,
  packet: SpdPacket,
): readonly FieldMismatch[] {
  if (entry.direction !== 'both' && entry.direction !== direction) {
    return [{ field: 'direction', found: direction, wanted: entry.direction }];
  }
  return compareWithSelector(entry.selector, direction, packet);
}

/** The fields in which the packet differs from the selector; none: it matches. */
export function compareWithSelector(
  selector: Selector,
  direction: PacketDirection,
  packet: SpdPacket,
): readonly FieldMismatch[] {
  const outbound = direction === 'outbound';
  const local = outbound ? packet.source : packet.destination;
  const remote = outbound ? packet.destination : packet.source;
  const ports = packet.ports;
  const localPort = (outbound ? ports?.source : ports?.destination) ?? null;
  const remotePort = (outbound ? ports?.destination : ports?.source) ?? null;
  const read = readSelector(selector);
  const mismatches: FieldMismatch[] = [];

  if (!holdsAddress(read.local, local)) {
    mismatches.push({
      field: 'local',
      found: formatIpAddress(local),
      wanted: formatAddresses(selector.local),
    });
  }
  if (!holdsAddress(read.remote, remote)) {
    mismatches.push({
      field: 'remote',
      found: formatIpAddress(remote),
      wanted: formatAddresses(selector.remote),
    });
  }
  if (selector.protocol !== 'any' && selector.protocol !== packet.protocol) {
    mismatches.push({
      field: 'protocol',
      found: formatProtocol(packet.protocol),
      wanted: formatProtocol(selector.protocol),
    });
    // Ports and types of another protocol say nothing.
    return mismatches;
  }
  const icmp = packet.icmp;
  const typeText = icmp === null ? null : formatIcmpType(packet.protocol, icmp.type);
  comparePart(mismatches, 'localPort', selector.localPorts, localPort);
  comparePart(mismatches, 'remotePort', selector.remotePorts, remotePort);
  comparePart(mismatches, 'icmpType', selector.icmpTypes, icmp?.type ?? null, typeText);
  comparePart(mismatches, 'icmpCode', selector.icmpCodes, icmp?.code ?? null);
  return mismatches;
}

function comparePart(
  mismatches: FieldMismatch[],
  field: SelectorField,
  ranges: readonly SelectorNumberRange[],
  value: number | null,
  text: string | null = null,
): void {
  if (ranges.length === 0) return;
  // RFC 4301 section 4.4.1.1: a field that a packet does not carry (a fragment other than the
  // first) matches ANY only; it never matches a value.
  if (value === null) {
    mismatches.push({ field, found: 'none in this packet', wanted: formatNumbers(ranges) });
    return;
  }
  if (ranges.some((range) => range.from <= value && value <= range.to)) return;
  mismatches.push({ field, found: text ?? `${value}`, wanted: formatNumbers(ranges) });
}

function holdsAddress(ranges: readonly AddressRange[], address: IpAddress): boolean {
  if (ranges.length === 0) return true;
  return ranges.some(
    ({ family, first, last }) =>
      family === address.family && first <= address.value && address.value <= last,
  );
}
