import { tryParseAddressRange } from '../net/address-range.js';
import { formatIpAddress, tryParseIpAddress } from '../net/ip-address.js';
import type { Identity, IdentityPattern } from '../pad/identity.js';
import { parseIdentity, parseIdentityPattern } from '../pad/identity-text.js';
import type { PeerHost, Ppk } from '../pad/pad-entry.js';
import { type Proposal, transformsOf } from '../sad/proposal.js';
import type { Secret } from '../sad/secret.js';
import { formatTransform } from '../sad/transform.js';
import { selectorRangeOf } from '../spd/selector.js';
import { DEFAULTS, espProposals, PPK_BYTES_WISE_MIN } from './defaults.js';
import { docOf } from './field.js';
import type { Encapsulation, PeerConfig } from './gateway-config.js';
import { hardLifetime } from './lifetime.js';
import {
  type CredentialContext,
  type LocalCredentials,
  parseLocalCredentials,
  parseRemoteAuthentication,
} from './parse-credentials.js';
import { parseProposals } from './parse-proposals.js';
import { parseTextSecret } from './parse-secret.js';
import {
  localShape,
  PEER_NAME_ACCEPTED,
  peerName,
  peerShape,
  ppkShape,
  remoteShape,
  SECRET_ACCEPTED,
} from './peer-schema.js';
import { PEER_PRESETS, type PeerPreset } from './peer-presets.js';
import type { Reader, Section } from './reader.js';

/** What peers depend on elsewhere in the file. */
export interface PeerContext extends CredentialContext {
  readonly encapsulation: Encapsulation;
}

/** What is known of a peer even where it has faults, for what refers to it. */
export interface PeerOutline {
  readonly name: string;
  /** Undefined where it is not known. */
  readonly legacy: boolean | undefined;
  readonly preset: PeerPreset | undefined;
  /** Whether it has an address to go to; undefined where that is not known. */
  readonly mayBeCalled: boolean | undefined;
  /** ESP proposals of its policies that say none; undefined where it is too faulty to know. */
  readonly espProposals: readonly string[] | undefined;
  /** Every secret that was read of it. */
  readonly secrets: readonly Secret[];
  /** Without `onDeath`, which follows from its policies; undefined where it is faulty. */
  readonly peer: (Omit<PeerConfig, 'onDeath'> & Partial<Pick<PeerConfig, 'onDeath'>>) | undefined;
}

/** Reads one entry of `peers`. */
export function parsePeer(
  reader: Reader,
  context: PeerContext,
  value: unknown,
  name: string,
): PeerOutline {
  const faultsBefore = reader.faults.count;
  const path = ['peers', name];
  if (!peerName.safeParse(name).success) {
    reader.faults.add(path, {
      found: JSON.stringify(name),
      accepted: PEER_NAME_ACCEPTED,
      at: 'key',
    });
  }
  const section = reader.section(value, path, Object.keys(peerShape), {
    name: 'peers',
    accepted: 'a map with address, local and remote',
  });
  if (section === null) {
    const unknown = {
      legacy: undefined,
      preset: undefined,
      mayBeCalled: undefined,
      espProposals: undefined,
    };
    return { name, ...unknown, secrets: [], peer: undefined };
  }
  const presetName = reader.field(section, peerShape, 'preset');
  const preset = presetName === undefined ? undefined : PEER_PRESETS[presetName];
  const legacy = parseLegacy(reader, section, preset);
  const hosts = parseHosts(reader, section);
  const localAddress = reader.field(section, peerShape, 'localAddress') ?? null;
  const remotePort = reader.field(section, peerShape, 'port') ?? DEFAULTS.ikePeerPort.value;
  const proposals = parseProposals(reader, section, {
    protocol: 'ike',
    texts: reader.field(section, peerShape, 'proposals'),
    legacy: legacy !== false,
    fallback: preset?.proposals ?? DEFAULTS.ikeProposals.value,
  });
  const rekeyMs =
    reader.field(section, peerShape, 'rekey') ?? preset?.rekeyMs ?? DEFAULTS.ikeRekeyMs.value;
  const hardMs = hardLifetime(reader, section, reader.field(section, peerShape, 'expire'), rekeyMs);
  const terms = {
    livenessMs: reader.field(section, peerShape, 'dpd') ?? DEFAULTS.livenessMs.value,
    keepaliveMs: reader.field(section, peerShape, 'keepalive') ?? DEFAULTS.keepaliveMs.value,
    encapsulation:
      reader.field(section, peerShape, 'encapsulation') ??
      preset?.encapsulation ??
      (context.encapsulation === 'udp' ? 'forced' : 'auto'),
    fragmentation:
      reader.field(section, peerShape, 'fragmentation') ?? DEFAULTS.fragmentation.value,
    mobike: reader.field(section, peerShape, 'mobike') ?? preset?.mobike ?? DEFAULTS.mobike.value,
    unique: reader.field(section, peerShape, 'unique') ?? DEFAULTS.unique.value,
    hashAndUrl: reader.field(section, peerShape, 'hashAndUrl') ?? DEFAULTS.hashAndUrl.value,
  } as const;
  const onDeath = reader.field(section, peerShape, 'onDeath');

  const local = subsection(reader, section, 'local', localShape);
  const remote = subsection(reader, section, 'remote', remoteShape);
  const psk = parsePsk(reader, context, section, [local, remote]);
  const ppk = parsePpk(reader, context, section);
  const credentials = local === null ? null : parseLocalCredentials(reader, context, local, psk);
  const remoteAuthentication =
    remote === null ? null : parseRemoteAuthentication(reader, context, remote, psk);
  const localIdentity =
    local === null ? null : localIdentityOf(reader, local, localAddress, credentials);
  const remoteIdentity = remote === null ? null : remoteIdentityOf(reader, remote, hosts);

  const outline = {
    name,
    legacy,
    preset,
    mayBeCalled: hosts?.some(({ kind }) => kind === 'address' || kind === 'dns-name'),
    espProposals: espProposalsOf(proposals),
    secrets: [psk, ppk?.secret ?? null].filter((secret) => secret !== null),
  };
  if (
    hosts === undefined ||
    credentials === null ||
    remoteAuthentication === null ||
    localIdentity === null ||
    remoteIdentity === null ||
    reader.faults.count > faultsBefore
  ) {
    return { ...outline, peer: undefined };
  }
  const peer = {
    name,
    hosts,
    localAddress,
    remotePort,
    localIdentity,
    remoteIdentity,
    localAuthentication: credentials.authentication,
    remoteAuthentication,
    ppk,
    proposals,
    rekeyMs,
    hardMs,
    ...terms,
    legacy: legacy === true,
  };
  return { ...outline, peer: onDeath === undefined ? peer : { ...peer, onDeath } };
}

/** The default for its children, with the key exchanges that it has itself. */
function espProposalsOf(proposals: readonly Proposal[]): readonly string[] | undefined {
  const groups = proposals.flatMap((proposal) => transformsOf(proposal, 'key-exchange'));
  if (groups.length === 0) return undefined;
  return espProposals([...new Set(groups.map(formatTransform))].join('-'));
}

function parseLegacy(
  reader: Reader,
  section: Section,
  preset: PeerPreset | undefined,
): boolean | undefined {
  const said = reader.field(section, peerShape, 'legacy');
  // What is faulty says neither.
  if (said === undefined && section.values.has('legacy')) return undefined;
  if (said === false && preset?.legacy === true) {
    reader.faults.add([...section.path, 'legacy'], {
      found: 'false',
      why: 'the preset needs it',
      accepted: 'true, or nothing, or another preset',
    });
  }
  return said ?? preset?.legacy ?? DEFAULTS.legacy.value;
}

/** `local` or `remote`; null where absent or no map. */
function subsection(
  reader: Reader,
  section: Section,
  key: 'local' | 'remote',
  shape: object,
): Section | null {
  const path = [...section.path, key];
  const { accepted } = docOf(peerShape[key]);
  if (!section.values.has(key)) {
    reader.faults.add(path, { found: 'nothing', accepted });
    return null;
  }
  return reader.section(section.values.get(key), path, Object.keys(shape));
}

/** Labels of letters, digits and dashes, the last of which is no number (RFC 1123 section 2.1). */
const DNS_NAME =
  /^(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?$/;

function parseHosts(reader: Reader, section: Section): readonly PeerHost[] | undefined {
  const value = reader.field(section, peerShape, 'address');
  if (value === undefined) return undefined;
  const list = typeof value === 'string' ? [value] : value;
  return list.flatMap((raw, index): readonly PeerHost[] => {
    const text = raw.trim();
    const path = [...section.path, 'address', ...(typeof value === 'string' ? [] : [index])];
    const fault = (why: string, nearest?: string): readonly PeerHost[] => {
      const { accepted } = docOf(peerShape.address);
      reader.faults.add(path, { found: JSON.stringify(raw), why, accepted, nearest });
      return [];
    };
    if (text === 'any') {
      return list.length > 1 ? fault('any holds everything else of the list') : [{ kind: 'any' }];
    }
    const single = tryParseIpAddress(text);
    if (single !== null) {
      const isMulticast =
        single.family === 4 ? single.value >> 28n === 0xen : single.value >> 120n === 0xffn;
      if (single.value === 0n) return fault('it is the unspecified address', 'any');
      if (isMulticast) return fault('it is not the address of one host');
      return [{ kind: 'address', address: formatIpAddress(single) }];
    }
    const range = tryParseAddressRange(text);
    if (range.ok) return [{ kind: 'range', range: selectorRangeOf(range.range) }];
    // What has a slash, a colon or only digits was meant as an address.
    if (/[/:]/.test(text) || /^[\d.-]+$/.test(text)) {
      return fault(range.fault.reason, range.fault.suggestion);
    }
    return DNS_NAME.test(text)
      ? [{ kind: 'dns-name', name: text.toLowerCase().replace(/\.$/, '') }]
      : fault('it is neither an address nor a DNS name');
  });
}

function parsePsk(
  reader: Reader,
  context: PeerContext,
  section: Section,
  sides: readonly (Section | null)[],
): Secret | null {
  const path = [...section.path, 'psk'];
  const wanted = sides.some((side) => side?.values.get('auth') === 'psk');
  if (!section.values.has('psk')) {
    if (wanted) {
      reader.faults.add(path, {
        found: 'nothing',
        why: 'auth psk needs it',
        accepted: SECRET_ACCEPTED,
      });
    }
    return null;
  }
  if (!wanted && sides.every((side) => side !== null)) {
    reader.faults.add(path, {
      found: 'psk without auth psk',
      accepted: 'psk only with auth: psk in local or remote',
      at: 'key',
    });
  }
  const value = section.values.get('psk');
  return parseTextSecret(reader, context, value, { path, accepted: SECRET_ACCEPTED, raw: false });
}

function parsePpk(reader: Reader, context: PeerContext, section: Section): Ppk | null {
  if (!section.values.has('ppk')) return null;
  const path = [...section.path, 'ppk'];
  const inner = reader.section(section.values.get('ppk'), path, Object.keys(ppkShape));
  if (inner === null) return null;
  const id = reader.field(inner, ppkShape, 'id');
  const required = reader.field(inner, ppkShape, 'required') ?? DEFAULTS.ppkRequired.value;
  const accepted = SECRET_ACCEPTED;
  const secretPath = [...path, 'secret'];
  if (!inner.values.has('secret')) {
    reader.faults.add(secretPath, { found: 'nothing', accepted });
    return null;
  }
  const secret = parseTextSecret(reader, context, inner.values.get('secret'), {
    path: secretPath,
    accepted,
    raw: false,
  });
  const bytes = id === undefined ? null : ppkIdentity(id);
  if (bytes === null && id !== undefined) {
    reader.faults.add([...path, 'id'], {
      found: 'a text that starts with 0x and is not hexadecimal',
      accepted: docOf(ppkShape.id).accepted,
    });
  }
  if (secret === null) return null;
  if (secret.isPresent && secret.byteLength < PPK_BYTES_WISE_MIN) {
    context.findings.add(
      'warning',
      'weak-psk',
      secretPath,
      `The key has ${secret.byteLength} octets; RFC 8784 section 3 wants at least ${PPK_BYTES_WISE_MIN} (256 bits), or a quantum computer finds it.`,
    );
  }
  return { id: bytes ?? new Uint8Array(0), secret, required };
}

function ppkIdentity(text: string): Uint8Array | null {
  if (!text.startsWith('0x')) return new TextEncoder().encode(text);
  return /^0x([0-9a-fA-F]{2})+$/.test(text)
    ? Uint8Array.from(Buffer.from(text.slice(2), 'hex'))
    : null;
}

function localIdentityOf(
  reader: Reader,
  section: Section,
  localAddress: string | null,
  credentials: LocalCredentials | null,
): Identity | null {
  const text = reader.field(section, localShape, 'id');
  const path = [...section.path, 'id'];
  const { accepted } = docOf(localShape.id);
  if (text !== undefined) {
    const identity = parseIdentity(text);
    if (identity !== null) return identity;
    const why = parseIdentityPattern(text) === null ? 'it is no identity' : 'a star is nobody';
    reader.faults.add(path, { found: JSON.stringify(text), why, accepted });
    return null;
  }
  if (section.values.has('id')) return null;
  const address = localAddress === null ? null : parseIdentity(localAddress);
  const known = credentials?.subject ?? address;
  // A key that may not be read here leaves its certificate unknown as well.
  if (known !== null) return known;
  if (credentials?.authentication.method === 'unread') return { kind: 'dns-name', name: 'unread' };
  reader.faults.add(path, { found: 'nothing', accepted });
  return null;
}

function remoteIdentityOf(
  reader: Reader,
  section: Section,
  hosts: readonly PeerHost[] | undefined,
): IdentityPattern | null {
  const text = reader.field(section, remoteShape, 'id');
  const path = [...section.path, 'id'];
  const { accepted } = docOf(remoteShape.id);
  if (text !== undefined) {
    const pattern = parseIdentityPattern(text);
    if (pattern !== null) return pattern;
    reader.faults.add(path, { found: JSON.stringify(text), why: 'it is no identity', accepted });
    return null;
  }
  if (section.values.has('id')) return null;
  const only = hosts?.length === 1 ? hosts[0] : undefined;
  const identity = only?.kind === 'address' ? parseIdentity(only.address) : null;
  if (identity !== null) return { kind: 'exact', identity };
  const why = 'only a peer of one address may go without';
  if (hosts !== undefined) reader.faults.add(path, { found: 'nothing', why, accepted });
  return null;
}
