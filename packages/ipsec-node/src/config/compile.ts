/**
 * {@link GatewayConfig} to what the rest is given: the ordered SPD, built-in entries at its head,
 * the parameters of the manually keyed SAs, and the PAD.
 */
import { InternalError } from '../errors.js';
import { parseIpAddress } from '../net/ip-address.js';
import type { ChildTerms } from '../pad/child-terms.js';
import type { LocalAuthentication, PadEntry, RemoteAuthentication } from '../pad/pad-entry.js';
import type { Pad } from '../pad/pad.js';
import { Secret } from '../sad/secret.js';
import type { SaParameters } from '../sad/sa.js';
import { OUTER_MTU_BYTES_DEFAULT, tunnelMtuBytes } from '../sad/tunnel-mtu.js';
import { builtinSpdEntries } from '../spd/builtin.js';
import type { Spd } from '../spd/spd.js';
import type { SpdEntry } from '../spd/spd-entry.js';
import type {
  AssociationConfig,
  Encapsulation,
  GatewayConfig,
  PeerConfig,
  PolicyConfig,
} from './gateway-config.js';
import { suitesOf } from './proposal-text.js';

/**
 * Makes the SPD: built-in entries, then the policies in the order of the file.
 *
 * @param hostAddresses our outer addresses that the file does not name: IKE may arrive for them.
 */
export function compileSpd(
  config: GatewayConfig,
  version: number,
  hostAddresses: readonly string[] = [],
): Spd {
  const builtin = builtinSpdEntries({
    enabled: config.gateway.builtin,
    outerAddresses: [...new Set([...outerAddresses(config), ...hostAddresses])],
    port: config.gateway.port,
    ikePort: config.gateway.ikePort,
  });
  const entries: SpdEntry[] = config.policies.map(({ name, direction, selector, action }) => ({
    name,
    direction,
    selector,
    action,
    builtin: false,
  }));
  return { version, entries: [...builtin, ...entries] };
}

/**
 * Makes the parameters of every manually keyed SA, inbound before outbound: a peer must never find
 * us sending before we can receive. The keys are copies, which the caller zeroes.
 *
 * @throws InternalError IPSEC_ERR_INTERNAL where a key is not present (`tolerateDeniedSecrets`).
 */
export function compileAssociations(config: GatewayConfig): readonly SaParameters[] {
  const inbound = config.associations.flatMap((association) =>
    saParameters(config, association, 'inbound'),
  );
  const outbound = config.associations.flatMap((association) =>
    saParameters(config, association, 'outbound'),
  );
  return [...inbound, ...outbound];
}

function saParameters(
  config: GatewayConfig,
  association: AssociationConfig,
  direction: 'inbound' | 'outbound',
): readonly SaParameters[] {
  const manual = association[direction];
  const policy = config.policies.find(({ name }) => name === association.policy);
  if (manual === null || policy === undefined) return [];
  return [
    {
      id: { direction, spi: manual.spi },
      entry: policy.name,
      selector: policy.selector,
      suite: association.suite,
      key: manual.key.reveal(),
      mode: 'tunnel',
      local: association.local,
      remote: association.remote,
      encapsulation: association.encapsulation,
      localPort: config.gateway.port,
      remotePort: association.remotePort,
      esn: association.esn,
      replayWindow: association.replayWindow,
      tfcPadToBytes: policy.tfcPadToBytes,
      // RFC 4301 section 8.1: copied, so that path MTU discovery works through the tunnel.
      dontFragment: 'copy',
    },
  ];
}

/**
 * Makes the PAD: the peers in the order of the file, each with the policies that name it in the
 * order of the SPD. Its secrets are copies of its own, which {@link wipePad} zeroes.
 *
 * @throws InternalError IPSEC_ERR_INTERNAL where a key is not present (`tolerateDeniedSecrets`).
 */
export function compilePad(config: GatewayConfig): Pad {
  return { entries: config.peers.map((peer) => padEntry(config, peer)) };
}

/** Zeroes every secret of a PAD. Idempotent. */
export function wipePad(pad: Pad): void {
  for (const entry of pad.entries) {
    for (const secret of secretsOf(entry)) secret.wipe();
  }
}

/** The secrets of a peer or of an entry of the PAD; private keys are the library's to free. */
export function secretsOf(
  peer: Pick<PeerConfig, 'localAuthentication' | 'remoteAuthentication' | 'ppk'>,
): readonly Secret[] {
  const { localAuthentication, remoteAuthentication, ppk } = peer;
  return [
    ...(localAuthentication.method === 'psk' ? [localAuthentication.secret] : []),
    ...(remoteAuthentication.method === 'psk' ? [remoteAuthentication.secret] : []),
    ...(ppk === null ? [] : [ppk.secret]),
  ];
}

function padEntry(config: GatewayConfig, peer: PeerConfig): PadEntry {
  const { legacy: _, localAuthentication, remoteAuthentication, ppk, ...terms } = peer;
  return {
    ...terms,
    localAuthentication: ownLocal(peer.name, localAuthentication),
    remoteAuthentication: ownRemote(remoteAuthentication),
    ppk: ppk === null ? null : { ...ppk, secret: copyOf(ppk.secret) },
    children: config.policies
      .filter((policy) => policy.peer === peer.name && policy.action === 'PROTECT')
      .map(childTerms),
  };
}

function childTerms(policy: PolicyConfig): ChildTerms {
  const { name, mode, selector, proposals, start, onClose, lifetime } = policy;
  const { selectorsPerChild, replayWindow, tfcPadToBytes } = policy;
  return {
    name,
    mode,
    selector,
    proposals,
    start,
    onClose,
    lifetime,
    selectorsPerChild,
    replayWindow,
    tfcPadToBytes,
    // RFC 4301 section 8.1: copied, so that path MTU discovery works through the tunnel.
    dontFragment: 'copy',
  };
}

function ownLocal(peer: string, local: PeerConfig['localAuthentication']): LocalAuthentication {
  if (local.method === 'psk') return { ...local, secret: copyOf(local.secret) };
  if (local.method !== 'unread') return local;
  throw new InternalError(
    'IPSEC_ERR_INTERNAL',
    'A private key was asked for that is not present.',
    {
      fields: { peer },
    },
  );
}

function ownRemote(remote: RemoteAuthentication): RemoteAuthentication {
  return remote.method === 'psk' ? { ...remote, secret: copyOf(remote.secret) } : remote;
}

function copyOf(secret: Secret): Secret {
  const bytes = secret.reveal();
  const copy = new Secret(bytes, secret.origin);
  bytes.fill(0);
  return copy;
}

/** The gateway's own outer addresses as far as the file tells, canonical, each once. */
export function outerAddresses(config: GatewayConfig): readonly string[] {
  const listened = config.gateway.listen.filter((text) => parseIpAddress(text).value !== 0n);
  const manual = config.associations.map(({ local }) => local);
  const peers = config.peers.flatMap(({ localAddress }) => localAddress ?? []);
  return [...new Set([...manual, ...peers, ...listened])];
}

/** The encapsulations that sockets are needed for. */
export function encapsulationsOf(config: GatewayConfig): readonly Encapsulation[] {
  const used = [
    ...config.associations.map(({ encapsulation }) => encapsulation),
    // Behind a NAT it is UDP in any case.
    ...config.peers.flatMap(({ encapsulation }): readonly Encapsulation[] =>
      encapsulation === 'forced' ? ['udp'] : ['udp', 'esp'],
    ),
  ];
  return [...new Set(used.length === 0 ? [config.gateway.encapsulation] : used)];
}

/**
 * The MTU of the TUN interface in bytes: `interface.mtu`, or the largest inner packet that needs no
 * outer fragments with any association.
 *
 * @param outerMtuBytes of the unprotected side; 1500 where it is not known.
 */
export function tunnelMtu(
  config: GatewayConfig,
  outerMtuBytes: number = OUTER_MTU_BYTES_DEFAULT,
): number {
  const { mtu } = config.gateway.interface;
  return mtu === 'auto' ? fittingMtu(config, outerMtuBytes) : mtu;
}

/** The largest inner packet that fits, whatever `interface.mtu` says. */
export function fittingMtu(
  config: GatewayConfig,
  outerMtuBytes: number = OUTER_MTU_BYTES_DEFAULT,
): number {
  const manual = config.associations.map(({ local, encapsulation, suite }) =>
    tunnelMtuBytes({
      outerMtuBytes,
      outerFamily: parseIpAddress(local).family,
      encapsulation,
      suite,
    }),
  );
  const negotiated = config.policies.flatMap((policy) => {
    const peer = config.peers.find(({ name }) => name === policy.peer);
    if (peer === undefined || policy.mode === 'transport') return [];
    const outerFamily = isIpv4Only(peer) ? 4 : 6;
    // A NAT may be found: then it is UDP in any case.
    return suitesOf(policy.proposals).map((suite) =>
      tunnelMtuBytes({ outerMtuBytes, outerFamily, encapsulation: 'udp', suite }),
    );
  });
  const all = [...manual, ...negotiated];
  if (all.length > 0) return Math.min(...all);
  // Nothing is known of any SA: the larger header is assumed.
  const { encapsulation } = config.gateway;
  return tunnelMtuBytes({ outerMtuBytes, outerFamily: 6, encapsulation, suite: 'aes256gcm16' });
}

function isIpv4Only(peer: PeerConfig): boolean {
  if (peer.localAddress !== null) return parseIpAddress(peer.localAddress).family === 4;
  return peer.hosts.every(
    (host) =>
      (host.kind === 'address' && parseIpAddress(host.address).family === 4) ||
      (host.kind === 'range' && parseIpAddress(host.range.from).family === 4),
  );
}
