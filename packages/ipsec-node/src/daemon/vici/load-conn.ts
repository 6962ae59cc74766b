/**
 * `load-conn`: strongSwan's terms of a connection onto those of a PAD entry and its children, with
 * strongSwan's defaults where it has one. A key that we do not have is refused by name, unless its
 * value is the one that changes nothing.
 */
import {
  DEFAULTS,
  PEER_HOSTS_MAX,
  PROPOSALS_MAX,
  REPLAY_WINDOW_MAX,
  REPLAY_WINDOW_MIN,
  TFC_PAD_TO_MAX,
} from '../../config/defaults.js';
import { knownProposals, readProposal } from '../../config/proposal-text.js';
import { UsageError } from '../../errors.js';
import { tryParseAddressRange } from '../../net/address-range.js';
import { tryParseIpAddress } from '../../net/ip-address.js';
import type { Aftermath, ChildTerms } from '../../pad/child-terms.js';
import type { Identity, IdentityPattern } from '../../pad/identity.js';
import { parseIdentity, parseIdentityPattern } from '../../pad/identity-text.js';
import type { PadEntry, PeerHost, RevocationPolicy } from '../../pad/pad-entry.js';
import type { Proposal } from '../../sad/proposal.js';
import { type SelectorAddressRange, selectorRangeOf } from '../../spd/selector.js';
import type { ViciSection } from './codec.js';
import { ConnSection, Faults } from './conn-section.js';
import { type OuterAddresses, readTrafficSelectors } from './traffic-selector-parse.js';

/** Most children of one connection. */
export const CHILD_COUNT_MAX = 256;

/** How we prove who we are, before the secret or key is found. */
export type LocalTerms =
  | { readonly method: 'psk' }
  /** Empty: the certificate that bears the identity. */
  | { readonly method: 'certificate'; readonly certificates: readonly Uint8Array[] }
  | { readonly method: 'public-key'; readonly keys: readonly Uint8Array[] };

/** How the peer must prove who it is. */
export type RemoteTerms =
  | { readonly method: 'psk' }
  /** Empty authorities: every one that was loaded. */
  | {
      readonly method: 'certificate';
      readonly authorities: readonly Uint8Array[];
      readonly revocation: RevocationPolicy;
    }
  | { readonly method: 'public-key'; readonly keys: readonly Uint8Array[] };

/** A connection as it was loaded: a PAD entry that lacks its secrets and keys. */
export interface ConnTerms {
  readonly entry: Omit<
    PadEntry,
    'localIdentity' | 'localAuthentication' | 'remoteAuthentication' | 'ppk'
  >;
  /** Null: the subject of the certificate. */
  readonly localIdentity: Identity | null;
  readonly local: LocalTerms;
  readonly remote: RemoteTerms;
  readonly ppk: { readonly id: string; readonly required: boolean } | null;
}

/** Values of keys that we do not have which change nothing. */
const NEUTRAL_CONN = {
  local_port: ['0', '500', '4500'],
  vips: [],
  aggressive: ['no'],
  pull: ['yes', 'no'],
  dscp: ['0', '000000'],
  // Of IKEv1 alone.
  dpd_timeout: ['0', '0s'],
  childless: ['allow'],
  send_certreq: ['yes'],
  send_cert: ['ifasked', 'always'],
  keyingtries: ['1'],
  reauth_time: ['0', '0s'],
  rand_time: ['0', '0s'],
  pools: [],
  if_id_in: ['0'],
  if_id_out: ['0'],
  mediation: ['no'],
} as const;

const NEUTRAL_AUTH = { round: ['0', '1'] } as const;

const NEUTRAL_CHILD = {
  ah_proposals: [],
  sha256_96: ['no'],
  rand_time: ['0', '0s'],
  life_bytes: ['0'],
  rand_bytes: ['0'],
  life_packets: ['0'],
  rand_packets: ['0'],
  hostaccess: ['no'],
  policies: ['yes'],
  policies_fwd_out: ['no'],
  ipcomp: ['no'],
  inactivity: ['0', '0s'],
  reqid: ['0'],
  priority: ['0'],
  mark_in_sa: ['no'],
  if_id_in: ['0'],
  if_id_out: ['0'],
  label_mode: ['system'],
  hw_offload: ['no', 'auto'],
  copy_ecn: ['yes'],
  copy_dscp: ['out'],
} as const;

const AFTERMATHS: Readonly<Record<string, Aftermath>> = {
  none: 'clear',
  clear: 'clear',
  trap: 'trap',
  restart: 'restart',
  start: 'restart',
};

const STARTS: Readonly<Record<string, ChildTerms['start']>> = {
  none: 'none',
  trap: 'trap',
  start: 'start',
  // Our policy stands from the first moment, so what starts is trapped as well.
  'trap|start': 'start',
};

/**
 * Reads the request of `load-conn`: one section, named for the connection.
 *
 * @throws UsageError IPSEC_ERR_USAGE with every fault.
 */
export function readConn(name: string, content: ViciSection): ConnTerms {
  const faults = new Faults();
  const conn = new ConnSection(content, name, faults);
  const terms = readTerms(name, conn, faults);
  if (!faults.isEmpty || terms === null) {
    throw new UsageError('IPSEC_ERR_USAGE', faults.toString(), { fields: { conn: name } });
  }
  return terms;
}

function readTerms(name: string, conn: ConnSection, faults: Faults): ConnTerms | null {
  conn.choice('version', { '2': 2, '0': 2 }, 2);
  const hosts = readHosts(conn);
  const localAddress = readLocalAddress(conn);
  const local = readLocal(conn, localAddress);
  const remote = readRemote(conn);
  const rekeyMs = conn.timeMs('rekey_time', 4 * 3_600_000);
  // strongSwan's defaults: over_time a tenth of rekey_time.
  const overMs = conn.timeMs('over_time', rekeyMs / 10);
  const outer: OuterAddresses = {
    local: localAddress === null ? [] : rangesOf(localAddress),
    remote: hosts.flatMap((host) => (host.kind === 'address' ? rangesOf(host.address) : [])),
  };
  const sections = conn.child('children').sections(/./);
  if (sections.length > CHILD_COUNT_MAX) {
    conn.fault('children', `there are more than ${CHILD_COUNT_MAX}`);
  }
  const read = sections.map(({ key, content }) => readChild(key, content, outer));
  const deaths = new Set(read.map(({ onDeath }) => onDeath));
  if (deaths.size > 1) conn.fault('children', 'dpd_action must be the same in all of them');
  const ppkId = conn.text('ppk_id');
  const ppkRequired = conn.isYes('ppk_required', false);
  const entry: ConnTerms['entry'] = {
    name,
    hosts,
    localAddress,
    remotePort: conn.integer('remote_port', 500, { min: 1, max: 65_535 }),
    remoteIdentity: remote.identity,
    proposals: readProposals(conn, 'ike', 'proposals', DEFAULTS.ikeProposals.value),
    children: read.map(({ terms }) => terms),
    rekeyMs,
    hardMs: rekeyMs + overMs,
    livenessMs: conn.timeMs('dpd_delay', 0),
    keepaliveMs: DEFAULTS.keepaliveMs.value,
    encapsulation: conn.isYes('encap', false) ? 'forced' : 'auto',
    fragmentation: conn.isYes('fragmentation', true),
    mobike: conn.isYes('mobike', true),
    unique: conn.choice('unique', { no: 'no', keep: 'keep', replace: 'replace' } as const, 'no'),
    onDeath: [...deaths][0] ?? 'clear',
    hashAndUrl: false,
  };
  conn.refuseTheRest(NEUTRAL_CONN);
  if (!faults.isEmpty) return null;
  return {
    entry,
    localIdentity: local.identity,
    local: local.terms,
    remote: remote.terms,
    ppk: ppkId === null ? null : { id: ppkId, required: ppkRequired },
  };
}

function rangesOf(address: string): readonly SelectorAddressRange[] {
  return [{ from: address, to: address }];
}

function readHosts(conn: ConnSection): readonly PeerHost[] {
  const texts = conn.texts('remote_addrs');
  if (texts.length > PEER_HOSTS_MAX) {
    conn.fault('remote_addrs', `there are more than ${PEER_HOSTS_MAX}`);
  }
  const hosts = texts.flatMap((text): readonly PeerHost[] => {
    const word = text.trim();
    if (word === '%any' || word === '0.0.0.0' || word === '::') return [{ kind: 'any' }];
    const result = tryParseAddressRange(word);
    if (result.ok) {
      const range = selectorRangeOf(result.range);
      return range.from === range.to
        ? [{ kind: 'address', address: range.from }]
        : [{ kind: 'range', range }];
    }
    if (/^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$/.test(word) && !/^[\d.]+$/.test(word)) {
      return [{ kind: 'dns-name', name: word }];
    }
    conn.fault('remote_addrs', `${JSON.stringify(word)}: ${result.fault.reason}`);
    return [];
  });
  return hosts.length === 0 ? [{ kind: 'any' }] : hosts;
}

function readLocalAddress(conn: ConnSection): string | null {
  const texts = conn.texts('local_addrs').filter((text) => text.trim() !== '%any');
  const [text] = texts;
  if (text === undefined) return null;
  const result = tryParseAddressRange(text.trim());
  if (texts.length > 1 || !result.ok || tryParseIpAddress(text.trim()) === null) {
    conn.fault('local_addrs', 'one address is accepted, or %any');
    return null;
  }
  return selectorRangeOf(result.range).from;
}

/** The one authentication section of a side; several mean several rounds (RFC 4739). */
function oneSection(conn: ConnSection, side: 'local' | 'remote'): ConnSection | null {
  const found = conn.sections(new RegExp(`^${side}([^_].*)?$`));
  if (found.length > 1)
    conn.fault(side, 'several rounds of authentication are not in this version');
  return found[0]?.content ?? null;
}

function readLocal(
  conn: ConnSection,
  address: string | null,
): { readonly identity: Identity | null; readonly terms: LocalTerms } {
  const local = oneSection(conn, 'local');
  if (local === null) {
    conn.fault('local', 'it is missing: it says how we authenticate');
    return { identity: null, terms: { method: 'psk' } };
  }
  const method = methodOf(local);
  const certificates = local.bytes('certs');
  const keys = local.bytes('pubkeys');
  const idText = local.text('id');
  const identity = parseIdentity(idText ?? address ?? '');
  if (idText !== null && identity === null) {
    local.fault('id', `${JSON.stringify(idText)} is not an identity`);
  } else if (identity === null && (method === 'psk' || keys.length > 0)) {
    local.fault('id', 'it is missing, and there is no address in local_addrs to stand for it');
  }
  local.refuseTheRest(NEUTRAL_AUTH);
  if (method === 'psk') return { identity, terms: { method } };
  if (keys.length > 0) return { identity, terms: { method: 'public-key', keys } };
  // Without an id it is the certificate's subject, as RFC 4945 section 3.1 has it.
  return {
    identity: idText === null ? null : identity,
    terms: { method: 'certificate', certificates },
  };
}

function readRemote(conn: ConnSection): {
  readonly identity: IdentityPattern;
  readonly terms: RemoteTerms;
} {
  const remote = oneSection(conn, 'remote');
  if (remote === null) {
    conn.fault('remote', 'it is missing: it says how the peer authenticates');
    return { identity: { kind: 'any' }, terms: { method: 'psk' } };
  }
  const method = methodOf(remote);
  const idText = remote.text('id') ?? '%any';
  const identity = parseIdentityPattern(idText);
  if (identity === null) remote.fault('id', `${JSON.stringify(idText)} is not an identity`);
  const authorities = remote.bytes('cacerts');
  const keys = remote.bytes('pubkeys');
  const revocation = remote.choice<RevocationPolicy>(
    'revocation',
    { strict: 'strict', relaxed: 'relaxed' },
    'relaxed',
  );
  if (remote.bytes('certs').length > 0) {
    remote.fault('certs', 'single certificates are not in this version; cacerts and pubkeys are');
  }
  remote.refuseTheRest(NEUTRAL_AUTH);
  return {
    identity: identity ?? { kind: 'any' },
    terms:
      method === 'psk'
        ? { method }
        : keys.length > 0
          ? { method: 'public-key', keys }
          : { method: 'certificate', authorities, revocation },
  };
}

function methodOf(side: ConnSection): 'psk' | 'pubkey' {
  return side.choice('auth', { psk: 'psk', pubkey: 'pubkey' } as const, 'pubkey');
}

function readProposals(
  section: ConnSection,
  protocol: 'ike' | 'esp',
  key: string,
  defaults: readonly string[],
): readonly Proposal[] {
  const texts = section.texts(key);
  if (texts.length > PROPOSALS_MAX) section.fault(key, `there are more than ${PROPOSALS_MAX}`);
  return (texts.length === 0 ? ['default'] : texts).flatMap((text) => {
    if (text.trim() === 'default') return knownProposals(protocol, defaults);
    const reading = readProposal(protocol, text, { legacy: false });
    if (reading.ok) return [reading.proposal];
    for (const { found, why } of reading.faults) section.fault(key, `${found}: ${why}`);
    return [];
  });
}

function readChild(
  name: string,
  child: ConnSection,
  outer: OuterAddresses,
): { readonly terms: ChildTerms; readonly onDeath: Aftermath } {
  const selector = readTrafficSelectors(child.texts('local_ts'), child.texts('remote_ts'), outer);
  if (!selector.ok) child.fault(`${selector.side}_ts`, selector.reason);
  const rekeyMs = child.timeMs('rekey_time', 3_600_000);
  // strongSwan's: rekey_time and a tenth.
  const hardMs = child.timeMs('life_time', rekeyMs + rekeyMs / 10);
  if (hardMs < rekeyMs) child.fault('life_time', 'it ends before rekey_time');
  const onDeath = child.choice('dpd_action', AFTERMATHS, 'clear');
  const terms: ChildTerms = {
    name,
    mode: child.choice('mode', { tunnel: 'tunnel', transport: 'transport' } as const, 'tunnel'),
    selector: selector.ok
      ? selector.selector
      : {
          local: [],
          remote: [],
          protocol: 'any',
          localPorts: [],
          remotePorts: [],
          icmpTypes: [],
          icmpCodes: [],
        },
    proposals: readProposals(child, 'esp', 'esp_proposals', DEFAULTS.espProposals.value),
    start: child.choice('start_action', STARTS, 'none'),
    onClose: child.choice('close_action', AFTERMATHS, 'clear'),
    lifetime: {
      rekeyMs,
      hardMs,
      rekeyBytes: child.size('rekey_bytes', 0n),
      rekeyPackets: child.size('rekey_packets', 0n),
    },
    selectorsPerChild: 'all',
    replayWindow: readReplayWindow(child),
    tfcPadToBytes: child.integer('tfc_padding', 0, { min: 0, max: TFC_PAD_TO_MAX }),
    dontFragment: child.isYes('copy_df', true) ? 'copy' : 'clear',
  };
  child.refuseTheRest(NEUTRAL_CHILD);
  return { terms, onDeath };
}

/** strongSwan takes any size; ours are powers of two, so it becomes the next larger one. */
function readReplayWindow(child: ConnSection): number {
  if (child.text('replay_window') === '0') {
    child.fault('replay_window', 'without it a recorded packet is accepted again');
  }
  const bounds = { min: 0, max: REPLAY_WINDOW_MAX };
  const wanted = child.integer('replay_window', DEFAULTS.replayWindow.value, bounds);
  return Math.max(REPLAY_WINDOW_MIN, 2 ** Math.ceil(Math.log2(Math.max(1, wanted))));
}
