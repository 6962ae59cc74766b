/** What is legal and unwise in the order of the policies (RFC 4301 section 4.4.1). */
import { builtinSpdEntries } from '../spd/builtin.js';
import { BUILTIN_NAMES } from '../spd/builtin-name.js';
import { formatPacket, type PacketDirection, type SpdPacket } from '../spd/packet.js';
import {
  intersectRegions,
  type Region,
  regionOf,
  subtractRegion,
  witnessOf,
} from '../spd/region.js';
import { intersectSelectors } from '../spd/selector.js';
import type { SpdEntry } from '../spd/spd-entry.js';
import { compileSpd, outerAddresses } from './compile.js';
import type { Findings } from './finding.js';
import type { GatewayConfig } from './gateway-config.js';
import { formatPolicy } from './policy-text.js';

const DIRECTIONS: readonly PacketDirection[] = ['outbound', 'inbound'];

/** An SPD entry with the packets that reach it in each of its directions. */
interface Reached {
  readonly entry: SpdEntry;
  /** Place in `policies`; null for a built-in entry. */
  readonly policy: number | null;
  readonly whole: Region;
  readonly left: ReadonlyMap<PacketDirection, Region>;
}

/** Adds every finding about the order of the policies. */
export function lintSpd(config: GatewayConfig, findings: Findings): void {
  const reached = reachedEntries(config, findings);
  if (reached === null) return;
  for (const [index, subject] of reached.entries()) {
    if (subject.policy === null) continue;
    if (subject.whole.length === 0) {
      findings.add(
        'warning',
        'unmatchable-policy',
        ['policies', subject.policy],
        `${subject.entry.name} matches no packet: local and remote share no address family.`,
      );
      continue;
    }
    if (lintShadow(reached, index, subject, findings)) continue;
    lintOverlap(reached, index, subject, findings);
    if (subject.entry.action === 'BYPASS') lintReplies(reached, subject, findings);
  }
  lintBuiltin(config, reached, findings);
}

/** Null where the policies are too many and too mixed to say. */
function reachedEntries(config: GatewayConfig, findings: Findings): readonly Reached[] | null {
  const { entries } = compileSpd(config, 0);
  const builtinCount = entries.length - config.policies.length;
  const reached: Reached[] = [];
  for (const [index, entry] of entries.entries()) {
    const whole = regionOf(entry.selector);
    const left = new Map<PacketDirection, Region>();
    for (const direction of DIRECTIONS.filter((each) => speaksOf(entry, each))) {
      let rest: Region | null = whole;
      for (const earlier of reached) {
        if (rest === null || !speaksOf(earlier.entry, direction)) continue;
        rest = subtractRegion(rest, earlier.whole);
      }
      if (rest === null) {
        findings.add(
          'note',
          'too-complex',
          ['policies'],
          'The policies overlap in too many ways for their order to be checked; `explain` still answers for single packets.',
        );
        return null;
      }
      left.set(direction, rest);
    }
    reached.push({
      entry,
      policy: index < builtinCount ? null : index - builtinCount,
      whole,
      left,
    });
  }
  return reached;
}

/** An entry that no packet reaches. True where that is so. */
function lintShadow(
  reached: readonly Reached[],
  index: number,
  subject: Reached,
  findings: Findings,
): boolean {
  const empty = [...subject.left].filter(([way, region]) => witnessOf(region, way) === null);
  if (empty.length === 0) return false;
  const ways = empty.map(([way]) => way);
  const by = reached
    .slice(0, index)
    .filter(({ entry, whole }) =>
      ways.some(
        (way) =>
          speaksOf(entry, way) && witnessOf(intersectRegions(whole, subject.whole), way) !== null,
      ),
    )
    .map(({ entry }) => `${entry.name} (${entry.action})`)
    .join(', ');
  const path = ['policies', subject.policy ?? 0];
  const { name } = subject.entry;
  if (empty.length === subject.left.size) {
    findings.add(
      'warning',
      'shadowed-policy',
      path,
      `${name} never decides: every packet that it speaks of is decided before it, by ${by}. Move it up or remove it.`,
    );
    return true;
  }
  findings.add(
    'note',
    'shadowed-policy',
    path,
    `${name} never decides ${ways.join(' or ')} packets: they are decided before it, by ${by}.`,
  );
  return false;
}

/** An earlier entry that takes a part of this one, one of them PROTECT and the other BYPASS. */
function lintOverlap(
  reached: readonly Reached[],
  index: number,
  subject: Reached,
  findings: Findings,
): void {
  for (const earlier of reached.slice(0, index)) {
    if (earlier.policy === null) continue;
    const actions = [earlier.entry.action, subject.entry.action];
    if (!actions.includes('PROTECT') || !actions.includes('BYPASS')) continue;
    const shared = firstShared(earlier, subject);
    if (shared === null) continue;
    const [direction, packet] = shared;
    const text = `${direction === 'outbound' ? 'out' : 'in'} ${formatPacket(packet)}`;
    const path = ['policies', subject.policy ?? 0];
    const outside = subtractRegion(earlier.whole, subject.whole);
    const isException = outside !== null && outside.length === 0;
    if (!isException) {
      findings.add(
        earlier.entry.action === 'BYPASS' ? 'warning' : 'note',
        'overlap',
        path,
        `${earlier.entry.name} (${earlier.entry.action}) and ${subject.entry.name} (${subject.entry.action}) both match ${text}: ${earlier.entry.name} stands first and decides. If that is not meant, change their order or narrow one of them.`,
        text,
      );
    } else if (earlier.entry.action === 'BYPASS') {
      findings.add(
        'note',
        'exception',
        path,
        `${earlier.entry.name} takes packets out of the protection of ${subject.entry.name}: ${text} passes in clear.`,
        text,
      );
    }
  }
}

function firstShared(earlier: Reached, subject: Reached): [PacketDirection, SpdPacket] | null {
  for (const [direction, region] of earlier.left) {
    if (!speaksOf(subject.entry, direction)) continue;
    const packet = witnessOf(intersectRegions(region, subject.whole), direction);
    if (packet !== null) return [direction, packet];
  }
  return null;
}

/**
 * A packet that passes in clear one way while what answers it is refused the other way. The SPD
 * holds no state: the reply is a packet of its own and meets the entries in their order.
 */
function lintReplies(reached: readonly Reached[], subject: Reached, findings: Findings): void {
  const { selector } = subject.entry;
  // The reply to one ICMP type is another type; which, the selector does not tell.
  if (selector.icmpTypes.length > 0) return;
  for (const [direction, region] of subject.left) {
    const back = direction === 'outbound' ? 'inbound' : 'outbound';
    const refusals = walk(reached, back, region);
    for (const { by, packet } of refusals) reportReply(subject, by, back, packet, findings);
  }
}

interface Refusal {
  /** Null: no entry matches. */
  readonly by: Reached | null;
  readonly packet: SpdPacket;
}

/** Sends a set of packets through the entries and reports who does not let them pass. */
function walk(
  reached: readonly Reached[],
  direction: PacketDirection,
  packets: Region,
): readonly Refusal[] {
  const refusals: Refusal[] = [];
  let rest = packets;
  for (const by of reached) {
    if (!speaksOf(by.entry, direction)) continue;
    const packet = witnessOf(intersectRegions(rest, by.whole), direction);
    if (packet === null) continue;
    if (by.entry.action !== 'BYPASS') refusals.push({ by, packet });
    const after = subtractRegion(rest, by.whole);
    if (after === null) return refusals;
    rest = after;
  }
  const packet = witnessOf(rest, direction);
  return packet === null ? refusals : [...refusals, { by: null, packet }];
}

function reportReply(
  subject: Reached,
  by: Reached | null,
  back: PacketDirection,
  packet: SpdPacket,
  findings: Findings,
): void {
  const way = back === 'inbound' ? 'in' : 'out';
  const text = `${way} ${formatPacket(packet)}`;
  const { name } = subject.entry;
  const passes = back === 'inbound' ? 'out' : 'in';
  const fate =
    by === null
      ? 'matches no entry and is discarded'
      : by.entry.action === 'DISCARD'
        ? `meets ${by.entry.name} (DISCARD)`
        : back === 'inbound'
          ? `meets ${by.entry.name} (PROTECT), which drops it because it comes in clear`
          : `meets ${by.entry.name} (PROTECT), and leaves protected or not at all`;
  findings.add(
    'warning',
    'reply-refused',
    ['policies', subject.policy ?? 0],
    `${name} lets packets ${passes} in clear, and their replies do not come back: the reply \`${text}\` ${fate}. ${remedyFor(subject, by, way)}`,
    text,
  );
}

/** What to write instead. */
function remedyFor(subject: Reached, by: Reached | null, way: 'in' | 'out'): string {
  const { name, selector, direction } = subject.entry;
  const narrow = by === null ? selector : intersectSelectors(selector, by.entry.selector);
  const hasService = selector.localPorts.length > 0 || selector.remotePorts.length > 0;
  if (by === null && direction !== 'both') {
    return `Leave direction out of ${name}, so that it speaks of both ways.`;
  }
  if (hasService) {
    const entry = formatPolicy(`${name}-replies`, way, 'bypass', narrow);
    const before = by === null ? 'after it' : `before ${by.entry.name}`;
    return `Write ${before}: \`${entry}\`. The SPD keeps no state, so that entry lets every packet of this form pass, reply or not: let a stateful firewall tell them apart.`;
  }
  const catcher = by?.entry.name ?? name;
  return `An entry for the replies would undo ${catcher}: rather let ${catcher} speak of both directions, so that such packets do not leave in clear either, or narrow ${name} to a protocol and port.`;
}

/** Built-in entries that were switched off although a policy refuses what they let pass. */
function lintBuiltin(config: GatewayConfig, reached: readonly Reached[], findings: Findings): void {
  const { builtin, port, ikePort } = config.gateway;
  const nothing = {
    loopback: false,
    'ike-and-esp': false,
    'neighbour-discovery': false,
    'multicast-listener-discovery': false,
    dhcpv4: false,
    dhcpv6: false,
    'path-mtu': false,
  };
  for (const group of BUILTIN_NAMES.filter((name) => !builtin[name])) {
    const entries = builtinSpdEntries({
      enabled: { ...nothing, [group]: true },
      outerAddresses: outerAddresses(config),
      port,
      ikePort,
    });
    const refusal = entries
      .flatMap((entry) =>
        DIRECTIONS.filter((direction) => speaksOf(entry, direction)).flatMap((direction) =>
          walk(reached, direction, regionOf(entry.selector)).map((each) => ({
            ...each,
            direction,
          })),
        ),
      )
      .at(0);
    if (refusal === undefined) continue;
    const text = `${refusal.direction === 'outbound' ? 'out' : 'in'} ${formatPacket(refusal.packet)}`;
    const fate =
      refusal.by === null
        ? 'matches no entry and is discarded'
        : `meets ${refusal.by.entry.name} (${refusal.by.entry.action})`;
    findings.add(
      'warning',
      'builtin-off',
      ['gateway', 'builtin', group],
      `The built-in entries ${group} are off, and no policy does their work: \`${text}\` ${fate}.`,
      text,
    );
  }
}

function speaksOf(entry: SpdEntry, direction: PacketDirection): boolean {
  return entry.direction === 'both' || entry.direction === direction;
}
