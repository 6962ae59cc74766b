/**
 * {@link GatewayConfig} to what the datapath is given: the ordered SPD, built-in entries at its
 * head, and the parameters of the manually keyed SAs.
 */
import { parseIpAddress } from '../net/ip-address.js';
import type { SaParameters } from '../sad/sa.js';
import { OUTER_MTU_BYTES_DEFAULT, tunnelMtuBytes } from '../sad/tunnel-mtu.js';
import { builtinSpdEntries } from '../spd/builtin.js';
import type { Spd } from '../spd/spd.js';
import type { SpdEntry } from '../spd/spd-entry.js';
import type { AssociationConfig, Encapsulation, GatewayConfig } from './gateway-config.js';

/** Makes the SPD: built-in entries, then the policies in the order of the file. */
export function compileSpd(config: GatewayConfig, version: number): Spd {
  const builtin = builtinSpdEntries({
    enabled: config.gateway.builtin,
    outerAddresses: outerAddresses(config),
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
      mode: policy.mode,
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

/** The gateway's own outer addresses as far as the file tells, canonical, each once. */
export function outerAddresses(config: GatewayConfig): readonly string[] {
  const listened = config.gateway.listen.filter((text) => parseIpAddress(text).value !== 0n);
  return [...new Set([...config.associations.map(({ local }) => local), ...listened])];
}

/** The encapsulations that sockets are needed for. */
export function encapsulationsOf(config: GatewayConfig): readonly Encapsulation[] {
  const used = config.associations.map(({ encapsulation }) => encapsulation);
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
  if (config.associations.length === 0) {
    // Peers are not known yet: the larger header is assumed.
    const { encapsulation } = config.gateway;
    return tunnelMtuBytes({ outerMtuBytes, outerFamily: 6, encapsulation, suite: 'aes256gcm16' });
  }
  const each = config.associations.map(({ local, encapsulation, suite }) =>
    tunnelMtuBytes({
      outerMtuBytes,
      outerFamily: parseIpAddress(local).family,
      encapsulation,
      suite,
    }),
  );
  return Math.min(...each);
}
