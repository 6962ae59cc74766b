/** What is legal and unwise in the order of the policies (RFC 4301 section 4.4.1). */
import { builtinSpdEntries } from '../spd/builtin.js';
import { BUILTIN_NAMES } from '../spd/builtin-name.js';
import { formatPacket, type PacketDirection, type SpdPacket } from '../spd/packet.js';
import {
  intersectRegions,
  type Region,
  RegionBudget,
  RegionBudgetExceeded,
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

/** What every look at the order needs. */
interface Look {
  readonly config: GatewayConfig;
  readonly findings: Findings;
  readonly budget: RegionBudget;
  readonly reached: readonly Reached[];
}

/** Overlaps that are told of one policy; past it, their number. */
const OVERLAPS_SHOWN_MAX = 5;

/** Adds every finding about the order of the policies. */
export function lintSpd(config: GatewayConfig, findings: Findings): void {
  try {
    const budget = new RegionBudget();
    const look = { config, findings, budget, reached: reachedEntries(config, budget) };
    for (const [index, subject] of look.reached.entries()) {
      if (subject.policy !== null) lintPolicy(look, index, subject);
    }
    lintBuiltin(look);
  } catch (error) {
    if (!(error instanceof RegionBudgetExceeded)) throw error;
    findings.add(
      'note',
      'too-complex',
      ['policies'],
      'The policies overlap in too many ways for their order to be checked as a whole; `explain` still answers for single packets.',
    );
  }
}

function lintPolicy(look: Look, index: number, subject: Reached): void {
  if (subject.whole.length === 0) {
    look.findings.add(
      'warning',
      'unmatchable-policy',
      ['policies', subject.policy ?? 0],
      `${subject.entry.name} matches no packet: local and remote share no address family.`,
    );
    return;
  }
  if (lintShadow(look, index, subject)) return;
  lintOverlap(look, index, subject);
  if (subject.entry.action === 'BYPASS') lintReplies(look, subject);
}

function reachedEntries(config: GatewayConfig, budget: RegionBudget): readonly Reached[] {
  const { entries } = compileSpd(config, 0);
  const builtinCount = entries.length - config.policies.length;
  const reached: Reached[] = [];
  for (const [index, entry] of entries.entries()) {
    const whole = regionOf(entry.selector);
    const left = new Map<PacketDirection, Region>();
    for (const direction of DIRECTIONS.filter((each) => speaksOf(entry, each))) {
      const rest = reached
        .filter((earlier) => speaksOf(earlier.entry, direction))
        .reduce((region, earlier) => subtractRegion(region, earlier.whole, budget), whole);
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
function lintShadow(look: Look, index: number, subject: Reached): boolean {
  const { reached, findings, budget } = look;
  const empty = [...subject.left].filter(([way, region]) => witnessOf(region, way) === null);
  if (empty.length === 0) return false;
  const ways = empty.map(([way]) => way);
  const by = reached
    .slice(0, index)
    .filter(({ entry, whole }) =>
      ways.some(
        (way) =>
          speaksOf(entry, way) &&
          witnessOf(intersectRegions(whole, subject.whole, budget), way) !== null,
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
function lintOverlap(look: Look, index: number, subject: Reached): void {
  const { reached, findings } = look;
  const overlaps = reached.slice(0, index).flatMap((earlier) => {
    const actions = [earlier.entry.action, subject.entry.action];
    if (earlier.policy === null) return [];
    if (!actions.includes('PROTECT') || !actions.includes('BYPASS')) return [];
    const text = firstShared(look, earlier, subject);
    return text === null ? [] : [{ earlier, text }];
  });
  const path = ['policies', subject.policy ?? 0];
  const second = subject.entry;
  let shown = 0;
  for (const { earlier, text } of overlaps) {
    const first = earlier.entry;
    // A special case before the general one is how policies are written: not an overlap.
    const isSpecial = subtractRegion(earlier.whole, subject.whole, look.budget).length === 0;
    if (isSpecial && first.action !== 'BYPASS') continue;
    shown += 1;
    if (shown > OVERLAPS_SHOWN_MAX) continue;
    if (isSpecial) {
      const what = `${first.name} takes packets out of the protection of ${second.name}: ${text} passes in clear.`;
      findings.add('note', 'exception', path, what, text);
    } else {
      findings.add(
        first.action === 'BYPASS' ? 'warning' : 'note',
        'overlap',
        path,
        `${first.name} (${first.action}) and ${second.name} (${second.action}) both match ${text}: ${first.name} stands first and decides. If that is not meant, change their order or narrow one of them.`,
        text,
      );
    }
  }
  if (shown > OVERLAPS_SHOWN_MAX) {
    const more = `${second.name} overlaps with ${shown - OVERLAPS_SHOWN_MAX} more earlier policies.`;
    findings.add('note', 'overlap', path, more);
  }
}

/** A packet that reaches the earlier entry and that the later one would match. */
function firstShared(look: Look, earlier: Reached, subject: Reached): string | null {
  for (const [direction, region] of earlier.left) {
    if (!speaksOf(subject.entry, direction)) continue;
    const shared = intersectRegions(region, subject.whole, look.budget);
    const packet = witnessOf(shared, direction);
    if (packet !== null) return wordsOf(direction, packet);
  }
  return null;
}

/**
 * A packet that passes in clear one way while what answers it is refused the other way. The SPD
 * holds no state: the reply is a packet of its own and meets the entries in their order.
 */
function lintReplies(look: Look, subject: Reached): void {
  const { selector } = subject.entry;
  // The reply to one ICMP type is another type; which, the selector does not tell.
  if (selector.icmpTypes.length > 0) return;
  for (const [direction, region] of subject.left) {
    const back = direction === 'outbound' ? 'inbound' : 'outbound';
    for (const { by, packet } of walk(look, back, region)) {
      reportReply(look, subject, by, wordsOf(back, packet));
    }
  }
}

interface Refusal {
  /** Null: no entry matches. */
  readonly by: Reached | null;
  readonly packet: SpdPacket;
}

/** Sends a set of packets through the entries and reports who does not let them pass. */
function walk(look: Look, direction: PacketDirection, packets: Region): readonly Refusal[] {
  const { reached, budget } = look;
  const refusals: Refusal[] = [];
  let rest = packets;
  for (const by of reached) {
    if (!speaksOf(by.entry, direction)) continue;
    const packet = witnessOf(intersectRegions(rest, by.whole, budget), direction);
    if (packet === null) continue;
    if (by.entry.action !== 'BYPASS') refusals.push({ by, packet });
    rest = subtractRegion(rest, by.whole, budget);
  }
  const packet = witnessOf(rest, direction);
  return packet === null ? refusals : [...refusals, { by: null, packet }];
}

/** `text` is the reply in the words of `explain`. */
function reportReply(look: Look, subject: Reached, by: Reached | null, text: string): void {
  const way = text.startsWith('in ') ? 'in' : 'out';
  const { name } = subject.entry;
  const passes = way === 'in' ? 'out' : 'in';
  const fate =
    by === null
      ? 'matches no entry and is discarded'
      : by.entry.action === 'DISCARD'
        ? `meets ${by.entry.name} (DISCARD)`
        : way === 'in'
          ? `meets ${by.entry.name} (PROTECT), which drops it because it comes in clear`
          : `meets ${by.entry.name} (PROTECT), and leaves protected or not at all`;
  look.findings.add(
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

const NO_BUILTIN = {
  loopback: false,
  'ike-and-esp': false,
  'neighbour-discovery': false,
  'multicast-listener-discovery': false,
  dhcpv4: false,
  dhcpv6: false,
  'path-mtu': false,
};

/** Built-in entries that were switched off although a policy refuses what they let pass. */
function lintBuiltin(look: Look): void {
  const { builtin, port, ikePort } = look.config.gateway;
  for (const group of BUILTIN_NAMES.filter((name) => !builtin[name])) {
    const entries = builtinSpdEntries({
      enabled: { ...NO_BUILTIN, [group]: true },
      outerAddresses: outerAddresses(look.config),
      port,
      ikePort,
    });
    const refusal = entries
      .flatMap((entry) =>
        DIRECTIONS.filter((direction) => speaksOf(entry, direction)).flatMap((direction) =>
          walk(look, direction, regionOf(entry.selector)).map(({ by, packet }) => ({
            by,
            text: wordsOf(direction, packet),
          })),
        ),
      )
      .at(0);
    if (refusal === undefined) continue;
    const { by, text } = refusal;
    const fate =
      by === null
        ? 'matches no entry and is discarded'
        : `meets ${by.entry.name} (${by.entry.action})`;
    look.findings.add(
      'warning',
      'builtin-off',
      ['gateway', 'builtin', group],
      `The built-in entries ${group} are off, and no policy does their work: \`${text}\` ${fate}.`,
      text,
    );
  }
}

/** A packet in the words of `explain`. */
function wordsOf(direction: PacketDirection, packet: SpdPacket): string {
  return `${direction === 'outbound' ? 'out' : 'in'} ${formatPacket(packet)}`;
}

function speaksOf(entry: SpdEntry, direction: PacketDirection): boolean {
  return entry.direction === 'both' || entry.direction === direction;
}
