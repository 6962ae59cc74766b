import { icmpTypeNames, icmpTypeNumber } from '../net/icmp-type.js';
import { formatProtocol, hasPorts, isIcmp } from '../net/next-layer-protocol.js';
import { ICMP_MAX, type NumberRange, tryParseNumberRange } from '../net/port-range.js';
import type { SpdAction, SpdDirection } from '../spd/spd-entry.js';
import { DEFAULTS } from './defaults.js';
import { docOf } from './field.js';
import { describeValue } from './fault.js';
import type { LifetimeConfig, PolicyConfig } from './gateway-config.js';
import { hardLifetime } from './lifetime.js';
import { nearestName } from './nearest.js';
import type { PeerOutline } from './parse-peer.js';
import { parseProposals } from './parse-proposals.js';
import type { Reader, Section } from './reader.js';
import { lifetimeShape, policyShape, tfcShape } from './schema.js';

/** What is known of a policy even where it has faults, for what refers to it. */
export interface PolicyOutline {
  readonly name: string | undefined;
  readonly action: SpdAction | undefined;
  /** Undefined where it is faulty. */
  readonly policy: PolicyConfig | undefined;
}

const ACTIONS = { protect: 'PROTECT', bypass: 'BYPASS', discard: 'DISCARD' } as const;
const DIRECTIONS = { both: 'both', in: 'inbound', out: 'outbound' } as const;
const ONLY_WITH_PEER = [
  'lifetime',
  'start',
  'onClose',
  'selectorsPerChild',
  'replayWindow',
] as const;
const ONLY_PROTECT = ['peer', 'proposals', 'mode', 'tfc', ...ONLY_WITH_PEER] as const;
const AFTERMATH_OF_START = { start: 'restart', trap: 'trap', none: 'clear' } as const;

/** Reads one entry of `policies`. */
export function parsePolicy(
  reader: Reader,
  value: unknown,
  index: number,
  peers: readonly PeerOutline[],
): PolicyOutline {
  const faultsBefore = reader.faults.count;
  const section = reader.section(value, ['policies', index], Object.keys(policyShape), {
    name: 'policies',
    accepted: 'a map with name and action, and what the policy speaks of',
  });
  if (section === null) return { name: undefined, action: undefined, policy: undefined };

  const name = reader.field(section, policyShape, 'name');
  const actionName = reader.field(section, policyShape, 'action');
  const action = actionName === undefined ? undefined : ACTIONS[actionName];
  const directionName = reader.field(section, policyShape, 'direction') ?? DEFAULTS.direction.value;
  const direction: SpdDirection = DIRECTIONS[directionName];
  const local = reader.field(section, policyShape, 'local') ?? [];
  const remote = reader.field(section, policyShape, 'remote') ?? [];
  const parsedProtocol = reader.field(section, policyShape, 'protocol');
  const protocol = parsedProtocol ?? 'any';
  const protocolIsKnown = parsedProtocol !== undefined || !section.values.has('protocol');
  const localPorts = reader.field(section, policyShape, 'localPort') ?? [];
  const remotePorts = reader.field(section, policyShape, 'remotePort') ?? [];
  const icmpTypes = icmpField(reader, section, 'icmpType', protocol);
  const icmpCodes = icmpField(reader, section, 'icmpCode', protocol);
  const mode = reader.field(section, policyShape, 'mode') ?? DEFAULTS.mode.value;
  const tfcPadToBytes = padding(reader, section);
  const peerName = reader.field(section, policyShape, 'peer') ?? null;
  const outline = peerName === null ? undefined : knownPeer(reader, section, peerName, peers);
  const preset = outline?.preset?.esp;
  const proposals = parseProposals(reader, section, {
    protocol: 'esp',
    texts: reader.field(section, policyShape, 'proposals'),
    // Of a peer that is not known, nothing is known to be wrong.
    legacy: peerName !== null && outline?.legacy !== false,
    fallback: preset?.proposals ?? outline?.espProposals ?? DEFAULTS.espProposals.value,
  });
  const startable = outline?.mayBeCalled !== false && direction !== 'inbound';
  const start =
    reader.field(section, policyShape, 'start') ?? (startable ? DEFAULTS.start.value : 'none');
  const onClose = reader.field(section, policyShape, 'onClose') ?? AFTERMATH_OF_START[start];
  const lifetime = parseLifetime(reader, section, preset?.rekeyMs);
  const selectorsPerChild =
    reader.field(section, policyShape, 'selectorsPerChild') ??
    preset?.selectorsPerChild ??
    DEFAULTS.selectorsPerChild.value;
  const replayWindow =
    reader.field(section, policyShape, 'replayWindow') ?? DEFAULTS.replayWindow.value;

  if (protocolIsKnown) checkProtocolFields(reader, section, protocol);
  if (action !== undefined && action !== 'PROTECT') refuseProtectKeys(reader, section, actionName);
  else if (peerName === null) refusePeerKeys(reader, section, mode);
  if (name === undefined || action === undefined || reader.faults.count > faultsBefore) {
    return { name, action, policy: undefined };
  }
  const selector = { local, remote, protocol, localPorts, remotePorts, icmpTypes, icmpCodes };
  const isProtect = action === 'PROTECT';
  return {
    name,
    action,
    policy: {
      name,
      direction,
      selector,
      action,
      proposals: isProtect ? proposals : [],
      mode,
      tfcPadToBytes,
      peer: isProtect ? peerName : null,
      start,
      onClose,
      lifetime,
      selectorsPerChild,
      replayWindow,
    },
  };
}

function knownPeer(
  reader: Reader,
  section: Section,
  name: string,
  peers: readonly PeerOutline[],
): PeerOutline | undefined {
  const known = peers.find((peer) => peer.name === name);
  if (known !== undefined) return known;
  const names = peers.map((peer) => peer.name);
  reader.faults.add([...section.path, 'peer'], {
    found: JSON.stringify(name),
    why: 'there is no peer of that name',
    accepted: names.length === 0 ? 'the name of a peer' : names.join(', '),
    nearest: nearestName(name, names),
  });
  return undefined;
}

function parseLifetime(
  reader: Reader,
  section: Section,
  presetMs: number | undefined,
): LifetimeConfig {
  const path = [...section.path, 'lifetime'];
  const inner = (section.values.has('lifetime')
    ? reader.section(section.values.get('lifetime'), path, Object.keys(lifetimeShape))
    : null) ?? { path, values: new Map<string, unknown>() };
  const timeMs = reader.field(inner, lifetimeShape, 'time');
  const rekeyMs = timeMs ?? presetMs ?? DEFAULTS.childRekeyMs.value;
  const expireMs = reader.field(inner, lifetimeShape, 'expire');
  // What follows from a fault is not a fault of its own.
  const isKnown = timeMs !== undefined || !inner.values.has('time');
  return {
    rekeyMs,
    hardMs: hardLifetime(reader, inner, isKnown ? expireMs : undefined, rekeyMs),
    rekeyBytes: reader.field(inner, lifetimeShape, 'bytes') ?? DEFAULTS.rekeyBytes.value,
    rekeyPackets: reader.field(inner, lifetimeShape, 'packets') ?? DEFAULTS.rekeyPackets.value,
  };
}

/** What speaks of negotiation says nothing where nobody is negotiated with. */
function refusePeerKeys(reader: Reader, section: Section, mode: 'tunnel' | 'transport'): void {
  for (const key of ONLY_WITH_PEER) {
    if (!section.values.has(key)) continue;
    reader.faults.add([...section.path, key], {
      found: `${key} without peer`,
      accepted: `${key} only beside peer`,
      at: 'key',
    });
  }
  if (mode === 'transport') {
    reader.faults.add([...section.path, 'mode'], {
      found: 'transport without peer',
      accepted: 'mode transport only beside peer',
    });
  }
}

/** Refuses a name that an earlier policy has. */
export function checkPolicyNames(reader: Reader, outlines: readonly PolicyOutline[]): void {
  const first = new Map<string, number>();
  for (const [index, { name }] of outlines.entries()) {
    if (name === undefined) continue;
    const earlier = first.get(name);
    if (earlier === undefined) first.set(name, index);
    else {
      reader.faults.add(['policies', index, 'name'], {
        found: JSON.stringify(name),
        why: `policies[${earlier}] has that name`,
        accepted: 'a name that no other policy has',
      });
    }
  }
}

function padding(reader: Reader, section: Section): number {
  if (!section.values.has('tfc')) return DEFAULTS.tfcPadToBytes.value;
  const path = [...section.path, 'tfc'];
  const tfc = reader.section(section.values.get('tfc'), path, Object.keys(tfcShape));
  if (tfc === null) return 0;
  return reader.field(tfc, tfcShape, 'padTo') ?? 0;
}

function refuseProtectKeys(reader: Reader, section: Section, action: string | undefined): void {
  for (const key of ONLY_PROTECT) {
    if (!section.values.has(key)) continue;
    reader.faults.add([...section.path, key], {
      found: `${key} with action ${action ?? ''}`,
      accepted: `${key} only with action protect`,
      at: 'key',
    });
  }
}

/** RFC 4301 section 4.4.1.1: ports and ICMP types are selectors of certain protocols only. */
function checkProtocolFields(reader: Reader, section: Section, protocol: number | 'any'): void {
  const named = protocol === 'any' ? 'protocol any' : `protocol ${formatProtocol(protocol)}`;
  for (const key of ['localPort', 'remotePort'] as const) {
    if (!section.values.has(key) || isAny(section.values.get(key))) continue;
    if (protocol !== 'any' && hasPorts(protocol)) continue;
    reader.faults.add([...section.path, key], {
      found: `${key} with ${named}`,
      accepted: 'ports with protocol tcp, udp, sctp, dccp or udplite',
      at: 'key',
    });
  }
  for (const key of ['icmpType', 'icmpCode'] as const) {
    if (!section.values.has(key) || isAny(section.values.get(key))) continue;
    if (protocol !== 'any' && isIcmp(protocol)) continue;
    reader.faults.add([...section.path, key], {
      found: `${key} with ${named}`,
      accepted: `${key} with protocol icmp or icmpv6`,
      at: 'key',
    });
  }
  if (section.values.has('icmpCode') && !section.values.has('icmpType')) {
    reader.faults.add([...section.path, 'icmpCode'], {
      found: 'icmpCode without icmpType',
      accepted: 'icmpType beside icmpCode: a code means something only with its type',
      at: 'key',
    });
  }
}

function icmpField(
  reader: Reader,
  section: Section,
  key: 'icmpType' | 'icmpCode',
  protocol: number | 'any',
): readonly NumberRange[] {
  const items = reader.field(section, policyShape, key);
  if (items === undefined || isAny(items.length === 1 ? items[0] : items)) return [];
  if (protocol === 'any' || !isIcmp(protocol)) return [];
  const names = key === 'icmpType' ? icmpTypeNames(protocol) : [];
  const isList = Array.isArray(section.values.get(key));
  return items.flatMap((item, index) => {
    const named = key === 'icmpType' ? icmpTypeNumber(protocol, `${item}`) : null;
    if (named !== null) return [{ from: named, to: named }];
    const result = tryParseNumberRange(`${item}`, ICMP_MAX);
    if (result.ok) return [result.range];
    const path = [...section.path, key, ...(isList ? [index] : [])];
    const accepted = docOf(policyShape[key]).accepted;
    reader.faults.add(path, {
      found: describeValue(item, path),
      why: result.reason,
      accepted: names.length === 0 ? accepted : `${accepted}; names: ${names.join(', ')}`,
      nearest: result.suggestion ?? nearestName(`${item}`, names),
    });
    return [];
  });
}

function isAny(value: unknown): boolean {
  return value === 'any';
}
