/** Says which SPD entry decides a packet, why each earlier one did not, and which SA carries it. */
import { UsageError } from '../errors.js';
import { icmpTypeNames, icmpTypeNumber } from '../net/icmp-type.js';
import {
  formatProtocol,
  hasPorts,
  isIcmp,
  PROTOCOL_NAMES,
  tryParseProtocol,
} from '../net/next-layer-protocol.js';
import { ICMP_MAX, tryParseNumberRange } from '../net/port-range.js';
import { tryParseAddressAndPort } from '../net/udp-endpoint.js';
import { formatSpi } from '../sad/spi.js';
import type { SaParameters } from '../sad/sa.js';
import { formatPacket, type PacketDirection, type SpdPacket } from '../spd/packet.js';
import { formatSelector } from '../spd/selector.js';
import { type FieldMismatch, searchSpd, type Spd } from '../spd/spd.js';
import type { SpdAction, SpdEntry } from '../spd/spd-entry.js';
import { compileSpd } from './compile.js';
import type { GatewayConfig } from './gateway-config.js';
import { nearestName } from './nearest.js';

/** A packet as it is asked about. Addresses and ports are as in the packet's own header. */
export interface ExplainQuery {
  readonly direction: 'in' | 'out';
  /** Name or number. */
  readonly protocol: string | number;
  /** `10.1.0.5:40000`, `[2001:db8::1]:443`, or without a port where the protocol has none. */
  readonly source: string;
  readonly destination: string;
  /** ICMP type by name or number, and code: `echo-request`, `3/4`. Absent: echo request. */
  readonly icmp?: string;
}

/** What is known of an SA without its key. */
export type ExplainedSa = Pick<
  SaParameters,
  'id' | 'entry' | 'local' | 'remote' | 'encapsulation'
> & { readonly suite: string };

/** One entry of the answer. */
export interface ExplainedEntry {
  /** One-based place in the SPD. */
  readonly number: number;
  readonly name: string;
  readonly builtin: boolean;
  readonly action: SpdAction;
  readonly direction: SpdEntry['direction'];
  /** What the entry speaks of, in one line. */
  readonly selector: string;
}

/** The answer; plain data, so that it can be printed as JSON. */
export interface Explanation {
  readonly direction: PacketDirection;
  readonly packet: string;
  readonly action: SpdAction;
  /** Null: no entry matches, and what no entry matches is discarded. */
  readonly deciding: ExplainedEntry | null;
  readonly earlier: readonly (ExplainedEntry & { readonly mismatches: readonly FieldMismatch[] })[];
  /** SAs that may carry the packet: at most one outbound. */
  readonly associations: readonly ExplainedSa[];
  /** One sentence: what becomes of the packet. */
  readonly outcome: string;
}

const EXAMPLE = 'out tcp 10.1.0.5:40000 203.0.113.7:443';

/**
 * Reads the words of `explain`: `out tcp 10.1.0.5:40000 203.0.113.7:443`, for ICMP followed by type
 * and code: `in icmp 192.0.2.1 10.1.0.5 destination-unreachable/4`.
 *
 * @throws UsageError IPSEC_ERR_EXPLAIN_SYNTAX
 */
export function parseExplainWords(words: readonly string[]): ExplainQuery {
  const [direction, protocol, source, destination, icmp, ...more] = words
    .flatMap((word) => word.trim().split(/\s+/))
    .filter((word) => word !== '');
  if (direction !== 'in' && direction !== 'out') {
    throw syntax(`the first word is in or out, not ${JSON.stringify(direction ?? '')}`);
  }
  if (protocol === undefined || source === undefined || destination === undefined) {
    throw syntax('direction, protocol, source and destination are needed');
  }
  if (more.length > 0) throw syntax(`${JSON.stringify(more.join(' '))} is too much`);
  const query = { direction, protocol, source, destination } as const;
  return icmp === undefined ? query : { ...query, icmp };
}

/**
 * Reads the packet of a query.
 *
 * @throws UsageError IPSEC_ERR_EXPLAIN_SYNTAX
 */
export function packetOfQuery(query: ExplainQuery): SpdPacket {
  const protocol = tryParseProtocol(`${query.protocol}`);
  if (protocol === null) {
    const nearest = nearestName(`${query.protocol}`, PROTOCOL_NAMES);
    const hint = nearest === undefined ? '' : `; did you mean ${nearest}?`;
    throw syntax(`${JSON.stringify(`${query.protocol}`)} is not a protocol${hint}`);
  }
  const source = readEnd('source', query.source, protocol);
  const destination = readEnd('destination', query.destination, protocol);
  if (source.address.family !== destination.address.family) {
    throw syntax('source and destination are of different families');
  }
  if (!isIcmp(protocol) && query.icmp !== undefined) {
    throw syntax(`${JSON.stringify(query.icmp)}: ${formatProtocol(protocol)} has no types`);
  }
  return {
    source: source.address,
    destination: destination.address,
    protocol,
    ports:
      source.port === null || destination.port === null
        ? null
        : { source: source.port, destination: destination.port },
    icmp: isIcmp(protocol) ? readIcmp(query.icmp ?? 'echo-request', protocol) : null,
  };
}

/** Explains a packet by a configuration alone. */
export function explainConfig(config: GatewayConfig, query: ExplainQuery): Explanation {
  const associations = config.associations.flatMap((association): readonly ExplainedSa[] => {
    const { policy, suite, local, remote, encapsulation } = association;
    const common = { entry: policy, suite, local, remote, encapsulation };
    return (['inbound', 'outbound'] as const).flatMap((direction) => {
      const manual = association[direction];
      return manual === null ? [] : [{ ...common, id: { direction, spi: manual.spi } }];
    });
  });
  const negotiated = new Map(
    config.policies.flatMap(({ name, peer }) => (peer === null ? [] : [[name, peer] as const])),
  );
  return explain(compileSpd(config, 0), associations, query, negotiated);
}

/**
 * Explains a packet by an SPD and the SAs that serve it.
 *
 * @param negotiated of an entry that has no SA yet: its name, and that of the peer.
 * @throws UsageError IPSEC_ERR_EXPLAIN_SYNTAX
 */
export function explain(
  spd: Spd,
  associations: readonly ExplainedSa[],
  query: ExplainQuery,
  negotiated: ReadonlyMap<string, string> = new Map(),
): Explanation {
  const packet = packetOfQuery(query);
  const direction = query.direction === 'out' ? 'outbound' : 'inbound';
  const decision = searchSpd(spd, direction, packet);
  const serving =
    decision.action === 'PROTECT'
      ? associations.filter(
          ({ entry, id }) => entry === decision.entry?.name && id.direction === direction,
        )
      : [];
  return {
    direction,
    packet: formatPacket(packet),
    action: decision.action,
    deciding: decision.entry === null ? null : explainEntry(decision.entry, decision.index),
    earlier: decision.misses.map(({ entry, index, mismatches }) => ({
      ...explainEntry(entry, index),
      mismatches,
    })),
    associations: serving,
    outcome: outcomeOf(decision.action, decision.entry, direction, serving, negotiated),
  };
}

/** Writes an explanation as text of several lines, without colour. */
export function renderExplanation(explanation: Explanation): string {
  const { deciding, earlier } = explanation;
  const lines = [`${explanation.direction} ${explanation.packet}`, ''];
  const width = Math.max(
    ...[...earlier, ...(deciding === null ? [] : [deciding])].map(({ name }) => name.length),
    'no entry'.length,
  );
  for (const entry of earlier) {
    // Of what the reader did not write, one reason is enough.
    const shown = entry.builtin ? entry.mismatches.slice(0, 1) : entry.mismatches;
    const why = shown.map(formatMismatch).join('; ');
    lines.push(`  ${`${entry.number}`.padStart(3)}  ${entry.name.padEnd(width)}  no: ${why}`);
  }
  if (deciding === null) {
    lines.push(`       ${'no entry'.padEnd(width)}  DISCARD: what no entry matches is discarded`);
  } else {
    const way = deciding.direction === 'both' ? '' : ` (${deciding.direction} only)`;
    lines.push(
      `  ${`${deciding.number}`.padStart(3)}  ${deciding.name.padEnd(width)}  ${deciding.action}: ${deciding.selector}${way}`,
    );
  }
  lines.push('', explanation.outcome);
  return lines.join('\n');
}

/** Writes why one field did not match. */
export function formatMismatch(mismatch: FieldMismatch): string {
  const { field, found, wanted } = mismatch;
  if (field === 'direction') return `direction is ${found}, the entry speaks of ${wanted} only`;
  return `${field} ${found} is not ${wanted.includes(', ') ? 'one of ' : ''}${wanted}`;
}

function explainEntry(entry: SpdEntry, index: number): ExplainedEntry {
  const { name, builtin, action, direction, selector } = entry;
  const text = formatSelector(selector);
  return { number: index + 1, name, builtin, action, direction, selector: text };
}

function outcomeOf(
  action: SpdAction,
  entry: SpdEntry | null,
  direction: PacketDirection,
  serving: readonly ExplainedSa[],
  negotiated: ReadonlyMap<string, string>,
): string {
  const name = entry?.name ?? '';
  if (entry === null) return 'Discarded: no entry matches.';
  if (action === 'DISCARD') return `Discarded by ${name}.`;
  if (action === 'BYPASS') return `Passes in clear, by ${name}: IPsec does not touch it.`;
  const sa = serving[0];
  const peer = sa === undefined ? negotiated.get(name) : undefined;
  if (peer !== undefined) {
    return direction === 'outbound'
      ? `Protected by ${name}: leaves in an SA that is negotiated with ${peer}, and until there is one it is held or dropped.`
      : `Accepted by ${name} only if it arrived in an SA that was negotiated with ${peer}; in clear it is dropped.`;
  }
  if (direction === 'outbound') {
    if (sa === undefined) return `Dropped: ${name} protects it, and no SA serves ${name}.`;
    return `Protected by ${name}: leaves in ${formatSa(sa)}.`;
  }
  if (sa === undefined) {
    return `Dropped: ${name} wants it protected, and no SA serves ${name}.`;
  }
  const list = serving.map(formatSa).join(', or ');
  return `Accepted by ${name} only if it arrived in ${list}; in clear it is dropped.`;
}

function formatSa({ id, suite, local, remote, encapsulation }: ExplainedSa): string {
  const [from, to] = id.direction === 'outbound' ? [local, remote] : [remote, local];
  const carried = encapsulation === 'udp' ? 'ESP in UDP' : 'ESP';
  return `SA ${formatSpi(id.spi)} (${suite}, ${carried}, ${from} to ${to})`;
}

function readEnd(which: 'source' | 'destination', text: string, protocol: number) {
  const end = tryParseAddressAndPort(text);
  if (end === null) throw syntax(`${which} ${JSON.stringify(text)} is not an address with a port`);
  if (hasPorts(protocol) && end.port === null) {
    throw syntax(`${which} ${text} lacks its port: ${formatProtocol(protocol)} has ports`);
  }
  if (!hasPorts(protocol) && end.port !== null) {
    throw syntax(`${which} ${text} has a port, and ${formatProtocol(protocol)} has none`);
  }
  return end;
}

function readIcmp(text: string, protocol: number): { type: number; code: number } {
  const [typeText = '', codeText = '0'] = text.split('/');
  const named = icmpTypeNumber(protocol, typeText);
  const type = named === null ? tryParseNumberRange(typeText, ICMP_MAX) : null;
  const code = tryParseNumberRange(codeText, ICMP_MAX);
  const typeNumber = named ?? (type?.ok === true ? type.range.from : null);
  if (
    typeNumber === null ||
    !code.ok ||
    (typeText.includes('-') && named === null) ||
    codeText.includes('-')
  ) {
    const names = icmpTypeNames(protocol).join(', ');
    throw syntax(`${JSON.stringify(text)} is not an ICMP type (0..255 or ${names}) with a code`);
  }
  return { type: typeNumber, code: code.range.from };
}

function syntax(reason: string): UsageError {
  return new UsageError('IPSEC_ERR_EXPLAIN_SYNTAX', `${reason}. Write for example: ${EXAMPLE}`);
}
