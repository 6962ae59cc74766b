/** Sections of the messages that strongSwan defines, made from snapshots of the gateway. */
import type { PolicySnapshot, SaSnapshot } from '../snapshot.js';
import { section, type ViciSection } from './codec.js';
import { trafficSelectorTexts } from './traffic-selector-text.js';

interface Algorithms {
  readonly name: string;
  readonly keyBits?: number;
  readonly integrity?: string;
}

/** strongSwan's names of a suite's algorithms, as its `list-sa` event carries them. */
const ALGORITHMS: Readonly<Record<string, Algorithms>> = {
  aes128gcm16: { name: 'AES_GCM_16', keyBits: 128 },
  aes256gcm16: { name: 'AES_GCM_16', keyBits: 256 },
  chacha20poly1305: { name: 'CHACHA20_POLY1305' },
};

const INTEGRITY: Readonly<Record<string, string>> = {
  sha1: 'HMAC_SHA1_96',
  sha256: 'HMAC_SHA2_256_128',
  sha384: 'HMAC_SHA2_384_192',
  sha512: 'HMAC_SHA2_512_256',
};

function algorithmsOf(suite: string): Algorithms {
  const [, bits, hash = ''] = /^aes(\d+)-(sha\d+)$/.exec(suite) ?? [];
  const integrity = INTEGRITY[hash];
  if (integrity !== undefined) return { name: 'AES_CBC', keyBits: Number(bits), integrity };
  return ALGORITHMS[suite] ?? { name: suite };
}

/** strongSwan's names of what a policy does. */
const MODES = { PROTECT: 'TUNNEL', BYPASS: 'PASS', DISCARD: 'DROP' } as const;

/** Two SAs of one policy between the same two gateways, as strongSwan's CHILD_SA has them. */
interface ChildSa {
  readonly uniqueId: number;
  readonly inbound: SaSnapshot | undefined;
  readonly outbound: SaSnapshot | undefined;
  readonly either: SaSnapshot;
}

/** All children between one pair of outer addresses: what an IKE_SA would hold. */
interface Gathered {
  readonly name: string;
  readonly uniqueId: number;
  readonly local: string;
  readonly remote: string;
  readonly children: readonly ChildSa[];
}

/**
 * Gathers SAs into children and children by peer. There is no IKE SA over a manually keyed child:
 * its section is named for the peer, with version 0, SPIs of zero and strongSwan's state PASSIVE.
 */
function gather(sas: readonly SaSnapshot[], numberedFrom = 1): readonly Gathered[] {
  const peers = new Map<string, SaSnapshot[]>();
  for (const sa of sas) {
    const key = `${sa.local} ${sa.remote}`;
    const known = peers.get(key);
    if (known === undefined) peers.set(key, [sa]);
    else known.push(sa);
  }
  let childCount = 0;
  return [...peers.values()].flatMap((members, index) => {
    const [first] = members;
    if (first === undefined) return [];
    const children: ChildSa[] = [];
    for (const { inbound, outbound } of pairs(members)) {
      const either = inbound ?? outbound;
      if (either === undefined) continue;
      childCount += 1;
      children.push({ uniqueId: childCount, inbound, outbound, either });
    }
    return [
      {
        name: peerName(first.remote),
        uniqueId: index + numberedFrom,
        local: first.local,
        remote: first.remote,
        children,
      },
    ];
  });
}

/** The n-th inbound SA of a policy and its n-th outbound SA belong together. */
function pairs(
  sas: readonly SaSnapshot[],
): readonly { inbound: SaSnapshot | undefined; outbound: SaSnapshot | undefined }[] {
  const entries = [...new Set(sas.map((sa) => sa.entry))];
  return entries.flatMap((entry) => {
    const inbound = sas.filter((sa) => sa.entry === entry && sa.id.direction === 'inbound');
    const outbound = sas.filter((sa) => sa.entry === entry && sa.id.direction === 'outbound');
    const count = Math.max(inbound.length, outbound.length);
    return Array.from({ length: count }, (_, index) => ({
      inbound: inbound[index],
      outbound: outbound[index],
    }));
  });
}

/** Clients look fields up by a path with dots, so a name has none: `manual-198-51-100-2`. */
function peerName(remote: string): string {
  return `manual-${remote.replaceAll(/[.:]+/g, '-')}`;
}

function seconds(ms: number): number {
  return Math.floor(ms / 1000);
}

function childSection(child: ChildSa): ViciSection {
  const { inbound, outbound, either } = child;
  const { name: algorithm, keyBits, integrity } = algorithmsOf(either.suite);
  const spi = (sa: SaSnapshot | undefined): string =>
    (sa?.id.spi ?? 0).toString(16).padStart(8, '0');
  const idle = (sa: SaSnapshot | undefined): number | undefined =>
    sa === undefined || sa.idleMs === null ? undefined : seconds(sa.idleMs);
  return section([
    ['name', either.entry],
    ['uniqueid', child.uniqueId],
    ['reqid', child.uniqueId],
    ['state', 'INSTALLED'],
    ['mode', 'TUNNEL'],
    ['protocol', 'ESP'],
    ['encap', either.encapsulation === 'udp' ? true : undefined],
    ['spi-in', spi(inbound)],
    ['spi-out', spi(outbound)],
    ['encr-alg', algorithm],
    ['encr-keysize', keyBits],
    ['integ-alg', integrity],
    ['esn', either.esn ? '1' : undefined],
    ['bytes-in', inbound?.bytes ?? 0n],
    ['packets-in', inbound?.packets ?? 0n],
    ['use-in', idle(inbound)],
    ['bytes-out', outbound?.bytes ?? 0n],
    ['packets-out', outbound?.packets ?? 0n],
    ['use-out', idle(outbound)],
    ['install-time', seconds(either.ageMs)],
    ['local-ts', trafficSelectorTexts(either.selector, 'local')],
    ['remote-ts', trafficSelectorTexts(either.selector, 'remote')],
  ]);
}

/** The messages of `list-sa`: one for each peer. */
export function listSaMessages(
  sas: readonly SaSnapshot[],
  gateway: string,
  filter: { readonly ike: string | undefined; readonly ikeId: string | undefined },
  numberedFrom = 1,
): readonly ViciSection[] {
  return gather(sas, numberedFrom)
    .filter((peer) => filter.ike === undefined || filter.ike === peer.name)
    .filter((peer) => filter.ikeId === undefined || filter.ikeId === String(peer.uniqueId))
    .map((peer) => {
      const [first] = peer.children;
      const udp = first?.either.encapsulation === 'udp';
      const content = section([
        ['uniqueid', peer.uniqueId],
        ['version', 0],
        ['state', 'PASSIVE'],
        ['local-host', peer.local],
        ['local-port', udp ? first.either.localPort : 0],
        ['local-id', gateway],
        ['remote-host', peer.remote],
        ['remote-port', udp ? first.either.remotePort : 0],
        ['remote-id', peer.remote],
        ['initiator-spi', '0000000000000000'],
        ['responder-spi', '0000000000000000'],
        [
          'child-sas',
          section(
            peer.children.map((child) => [
              `${child.either.entry}-${child.uniqueId}`,
              childSection(child),
            ]),
          ),
        ],
      ]);
      return section([[peer.name, content]]);
    });
}

/** The messages of `list-conn`: one for each peer, and one for the policies that need no SA. */
export function listConnMessages(
  sas: readonly SaSnapshot[],
  policies: readonly PolicySnapshot[],
  filter: { readonly ike: string | undefined },
): readonly ViciSection[] {
  const peers = gather(sas).map((peer) => {
    const served = policies.filter((policy) =>
      peer.children.some((child) => child.either.entry === policy.name),
    );
    return connection(peer.name, [peer.local], [peer.remote], served, [
      ['local-1', section([['class', 'manual key']])],
      ['remote-1', section([['class', 'manual key']])],
    ]);
  });
  const withoutSa = policies.filter((policy) => policy.action !== 'PROTECT' && !policy.builtin);
  const shunts =
    withoutSa.length === 0 ? [] : [connection('shunts', ['%any'], ['%any'], withoutSa, [])];
  return [...peers, ...shunts].filter(
    (message) => filter.ike === undefined || message.has(filter.ike),
  );
}

function connection(
  name: string,
  localAddresses: readonly string[],
  remoteAddresses: readonly string[],
  policies: readonly PolicySnapshot[],
  authentication: readonly (readonly [string, ViciSection])[],
): ViciSection {
  const children = policies.map(
    (policy) =>
      [
        policy.name,
        section([
          ['mode', MODES[policy.action]],
          ['rekey_time', 0],
          ['rekey_bytes', 0],
          ['rekey_packets', 0],
          ['dpd_action', 'none'],
          ['close_action', 'none'],
          ['local-ts', trafficSelectorTexts(policy.selector, 'local')],
          ['remote-ts', trafficSelectorTexts(policy.selector, 'remote')],
        ]),
      ] as const,
  );
  const content = section([
    ['local_addrs', localAddresses],
    ['remote_addrs', remoteAddresses],
    ['version', 'manual'],
    ['reauth_time', 0],
    ['rekey_time', 0],
    ['dpd_delay', 0],
    ...authentication,
    ['children', section(children)],
  ]);
  return section([[name, content]]);
}

/** The messages of `list-policy`: one for each SPD entry that the filter asks for. */
export function listPolicyMessages(
  policies: readonly PolicySnapshot[],
  filter: {
    readonly trap: boolean;
    readonly drop: boolean;
    readonly pass: boolean;
    readonly child: string | undefined;
  },
): readonly ViciSection[] {
  const wanted = { PROTECT: filter.trap, BYPASS: filter.pass, DISCARD: filter.drop };
  return policies
    .filter((policy) => wanted[policy.action])
    .filter((policy) => filter.child === undefined || filter.child === policy.name)
    .map((policy) =>
      section([
        [
          policy.name,
          section([
            ['child', policy.name],
            ['mode', MODES[policy.action]],
            ['local-ts', trafficSelectorTexts(policy.selector, 'local')],
            ['remote-ts', trafficSelectorTexts(policy.selector, 'remote')],
          ]),
        ],
      ]),
    );
}
