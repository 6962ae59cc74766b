/** What is legal and unwise in the peers, and between a peer and its policies. */
import { type AddressRange, parseAddressRange, rangeContains } from '../net/address-range.js';
import { parseIpAddress } from '../net/ip-address.js';
import { parseCertificate } from '../pad/certificate.js';
import type { Identity, IdentityPattern } from '../pad/identity.js';
import { isSameIdentity, matchesIdentity } from '../pad/identity-match.js';
import { formatIdentity, formatIdentityPattern } from '../pad/identity-text.js';
import type { PeerHost } from '../pad/pad-entry.js';
import type { Proposal } from '../sad/proposal.js';
import {
  formatTransform,
  KEY_EXCHANGE_NONE,
  type Transform,
  transformInfo,
} from '../sad/transform.js';
import { readSelector } from '../spd/selector.js';
import type { ConfigPath } from './document.js';
import type { Findings } from './finding.js';
import type { GatewayConfig, PeerConfig, PolicyConfig } from './gateway-config.js';

/**
 * Adds every finding about peers.
 *
 * @param now of the wall clock; null: validity of certificates is not looked at.
 */
export function lintPeers(config: GatewayConfig, findings: Findings, now: Date | null): void {
  for (const [index, peer] of config.peers.entries()) {
    const path = ['peers', peer.name];
    const children = config.policies.filter((policy) => policy.peer === peer.name);
    if (children.length === 0) {
      const why = `No policy names ${peer.name}: no SA for traffic can be made with it. Write \`peer: ${peer.name}\` in a protect policy.`;
      findings.add('warning', 'unused-peer', path, why);
    }
    lintLegacy(findings, [...path, 'proposals'], peer.name, peer.proposals);
    lintSharedKey(findings, path, peer);
    lintCertificates(findings, path, peer, now);
    lintShadow(findings, path, peer, config.peers.slice(0, index));
    if (children.length > 0 && children.every(({ start }) => start === 'none')) {
      if (peer.hosts.some(isCallable)) {
        const why = `Every policy of ${peer.name} has start: none: an SA comes only by command or when the peer asks.`;
        findings.add('note', 'never-started', path, why);
      }
    }
  }
  for (const [index, policy] of config.policies.entries()) {
    const peer = config.peers.find(({ name }) => name === policy.peer);
    if (peer !== undefined) lintChild(findings, ['policies', index], policy, peer);
  }
}

function lintChild(
  findings: Findings,
  path: ConfigPath,
  policy: PolicyConfig,
  peer: PeerConfig,
): void {
  lintLegacy(findings, [...path, 'proposals'], policy.name, policy.proposals);
  lintGroups(findings, [...path, 'proposals'], policy, peer);
  lintStrength(findings, [...path, 'proposals'], policy, peer);
  if (policy.start !== 'none' && !peer.hosts.some(isCallable)) {
    const why = `${policy.name} has start: ${policy.start}, and ${peer.name} has no address to go to: nothing is started until the peer asks.`;
    findings.add('warning', 'never-started', [...path, 'start'], why);
  }
  if (policy.mode === 'transport') lintTransport(findings, path, policy, peer);
}

function lintLegacy(
  findings: Findings,
  path: ConfigPath,
  name: string,
  proposals: readonly Proposal[],
): void {
  const legacy = proposals
    .flatMap(({ transforms }) => transforms)
    .filter((transform) => transformInfo(transform)?.legacy === true)
    .map(formatTransform);
  if (legacy.length === 0) return;
  findings.add(
    'warning',
    'legacy-algorithm',
    path,
    `${name} allows ${[...new Set(legacy)].join(', ')}, which RFC 8221 and RFC 8247 advise against. Leave it to peers that have nothing better.`,
  );
}

/** A group that is tried first at the rekey of a child fails then, when nobody looks. */
function lintGroups(
  findings: Findings,
  path: ConfigPath,
  policy: PolicyConfig,
  peer: PeerConfig,
): void {
  const child = policy.proposals.flatMap(({ transforms }) => transforms.filter(isKeyExchange));
  if (child.every(({ id }) => id === KEY_EXCHANGE_NONE)) {
    findings.add(
      'note',
      'no-pfs',
      path,
      `The proposals of ${policy.name} have no key exchange: whoever learns the keys of the IKE SA can read all traffic of its children. Add one, such as x25519.`,
    );
    return;
  }
  const known = new Set(
    peer.proposals
      .flatMap(({ transforms }) => transforms.filter(isKeyExchange))
      .map(({ id }) => id),
  );
  const foreign = child.filter(({ id }) => id !== KEY_EXCHANGE_NONE && !known.has(id));
  if (foreign.length === 0) return;
  const names = [...new Set(foreign.map(formatTransform))].join(', ');
  const all = child.every(({ id }) => id !== KEY_EXCHANGE_NONE && !known.has(id));
  findings.add(
    all ? 'warning' : 'note',
    'late-group',
    path,
    `${names} of ${policy.name} is not in the proposals of ${peer.name}: the first SA comes up without it, and a peer that does not have it refuses the first rekey. Use the key exchanges of the peer in both.`,
  );
}

/** FCS_IPSEC_EXT.1.12 of the VPN gateway profile: keys travel by nothing weaker than they are. */
function lintStrength(
  findings: Findings,
  path: ConfigPath,
  policy: PolicyConfig,
  peer: PeerConfig,
): void {
  const [child, ike] = [strongest(policy.proposals), strongest(peer.proposals)];
  if (child <= ike) return;
  findings.add(
    'warning',
    'weaker-ike',
    path,
    `${policy.name} allows ciphers of ${child} bits, and ${peer.name} protects their key exchange with ${ike} bits at most: offer ${child} bits there too.`,
  );
}

function strongest(proposals: readonly Proposal[]): number {
  const bits = proposals
    .flatMap(({ transforms }) => transforms.filter(({ type }) => type === 'encryption'))
    // RFC 7634: ChaCha20 has one key length, of 256 bits.
    .map(({ keyBits }) => keyBits ?? 256);
  return Math.max(0, ...bits);
}

function lintSharedKey(findings: Findings, path: ConfigPath, peer: PeerConfig): void {
  if (peer.remoteAuthentication.method !== 'psk' || peer.remoteIdentity.kind === 'exact') return;
  if (!peer.hosts.some(({ kind }) => kind === 'any' || kind === 'range')) return;
  findings.add(
    'warning',
    'psk-for-anybody',
    [...path, 'remote'],
    `Whoever has the key of ${peer.name} may call itself ${formatIdentityPattern(peer.remoteIdentity)} from ${peer.hosts.some(({ kind }) => kind === 'any') ? 'anywhere' : 'a whole range'}, and each that has it can play the gateway to the others. Give each peer an entry and a key, or use certificates.`,
  );
}

function lintCertificates(
  findings: Findings,
  path: ConfigPath,
  peer: PeerConfig,
  now: Date | null,
): void {
  const { localAuthentication: local, remoteAuthentication: remote, localIdentity } = peer;
  const own = local.method === 'certificate' ? local.credential.certificates : [];
  const authorities = remote.method === 'certificate' ? remote.authorities : [];
  const leaf = own[0] === undefined ? null : parseCertificate(own[0]);
  if (leaf !== null && localIdentity.kind !== 'key-id') {
    const names: readonly Identity[] = [
      { kind: 'distinguished-name', der: leaf.subject },
      ...leaf.alternativeNames,
    ];
    if (!names.some((name) => isSameIdentity(name, localIdentity))) {
      findings.add(
        'warning',
        'foreign-identity',
        [...path, 'local', 'id'],
        `The certificate of ${leaf.subjectText} does not name ${formatIdentity(localIdentity)}: peers that follow RFC 4945 section 3.1 refuse it. It names ${names.map(formatIdentity).join('; ')}.`,
      );
    }
  }
  for (const der of authorities) {
    const info = parseCertificate(der);
    if (info === null || info.isAuthority) continue;
    const why = `The certificate of ${info.subjectText} is that of no authority (basicConstraints): nothing that it signed is accepted.`;
    findings.add('warning', 'not-an-authority', [...path, 'remote', 'authorities'], why);
  }
  if (now === null) return;
  const looked = [
    ...own.map((der) => ({ der, at: [...path, 'local', 'certificate'] })),
    ...authorities.map((der) => ({ der, at: [...path, 'remote', 'authorities'] })),
  ];
  for (const { der, at } of looked) {
    const info = parseCertificate(der);
    if (info === null || (info.notBefore <= now && now <= info.notAfter)) continue;
    const fate =
      now > info.notAfter
        ? `was valid until ${info.notAfter.toISOString()}`
        : `is valid from ${info.notBefore.toISOString()} on`;
    const why = `The certificate of ${info.subjectText} ${fate}: it is refused.`;
    findings.add('warning', 'expired-certificate', at, why);
  }
}

/** A peer that an earlier entry answers for: as responder the first that fits is taken. */
function lintShadow(
  findings: Findings,
  path: ConfigPath,
  peer: PeerConfig,
  earlier: readonly PeerConfig[],
): void {
  const by = earlier.find(
    (other) =>
      coversIdentity(other.remoteIdentity, peer.remoteIdentity) &&
      peer.hosts.every((host) => other.hosts.some((each) => coversHost(each, host))) &&
      (other.localAddress === null || other.localAddress === peer.localAddress) &&
      isSameIdentity(other.localIdentity, peer.localIdentity),
  );
  if (by === undefined) return;
  findings.add(
    'warning',
    'shadowed-peer',
    path,
    `${by.name} stands first and fits whoever ${peer.name} (${formatIdentityPattern(peer.remoteIdentity)}) fits: when the peer asks, ${peer.name} is never taken. Put the special one first.`,
  );
}

function coversIdentity(a: IdentityPattern, b: IdentityPattern): boolean {
  if (a.kind === 'any') return true;
  if (b.kind === 'exact') return matchesIdentity(a, b.identity);
  if (a.kind === 'dns-suffix' && b.kind === 'dns-suffix') {
    return `.${b.suffix}`.toLowerCase().endsWith(`.${a.suffix}`.toLowerCase());
  }
  if (a.kind === 'mail-domain' && b.kind === 'mail-domain') {
    return a.domain.toLowerCase() === b.domain.toLowerCase();
  }
  return false;
}

function coversHost(a: PeerHost, b: PeerHost): boolean {
  if (a.kind === 'any') return true;
  if (a.kind === 'dns-name' || b.kind === 'dns-name') {
    return a.kind === 'dns-name' && b.kind === 'dns-name' && a.name === b.name;
  }
  const [outer, inner] = [rangeOf(a), rangeOf(b)];
  return outer !== null && inner !== null && rangeContains(outer, inner);
}

function rangeOf(host: PeerHost): AddressRange | null {
  if (host.kind === 'address') return parseAddressRange(host.address);
  return host.kind === 'range' ? parseAddressRange(`${host.range.from}-${host.range.to}`) : null;
}

/** Transport mode is between two hosts: what it carries comes from the peer itself. */
function lintTransport(
  findings: Findings,
  path: ConfigPath,
  policy: PolicyConfig,
  peer: PeerConfig,
): void {
  const { remote } = readSelector(policy.selector);
  const addresses = peer.hosts.flatMap((host) => (host.kind === 'address' ? [host.address] : []));
  if (remote.length === 0 || addresses.length < peer.hosts.length) return;
  const isHeld = addresses.some((address) => {
    const { family, value } = parseIpAddress(address);
    return remote.some(
      (range) => range.family === family && range.first <= value && value <= range.last,
    );
  });
  if (isHeld) return;
  findings.add(
    'warning',
    'transport-selector',
    [...path, 'remote'],
    `${policy.name} has mode transport, which carries packets of the two ends alone, and its remote does not hold ${addresses.join(', ')}: nothing that it speaks of can be carried. Use mode tunnel, or name the peer's address.`,
  );
}

function isKeyExchange({ type }: Transform): boolean {
  return type === 'key-exchange' || type.startsWith('additional');
}

function isCallable({ kind }: PeerHost): boolean {
  return kind === 'address' || kind === 'dns-name';
}
