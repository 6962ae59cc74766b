/** Sections of strongSwan's messages made from IKE SAs and PAD entries. */
import type { ChildSnapshot, IkeSaSnapshot } from '../../ike/action.js';
import type { PadEntry } from '../../pad/pad-entry.js';
import type { SaSnapshot } from '../snapshot.js';
import { section, type SectionField, type ViciSection } from './codec.js';
import { formatIdentity } from '../../pad/identity-text.js';
import { hostText, patternText } from './identity-text.js';
import { trafficSelectorTexts } from './traffic-selector-text.js';
import { proposalFields } from './transform-names.js';

type Field = readonly [string, SectionField];

/** Name of an IKE SA whose peer is not known yet. */
export const NO_PEER = '(unnamed)';

const seconds = (ms: number): number => Math.max(0, Math.floor(ms / 1000));
const hex = (value: number | bigint, digits: number): string =>
  value.toString(16).padStart(digits, '0');
const yes = (value: boolean): true | undefined => (value ? true : undefined);

/** What packets did to SAs, by direction and SPI. */
export type Traffic = ReadonlyMap<string, SaSnapshot>;

/** Finds the SAs of children among all SAs. */
export function trafficOf(sas: readonly SaSnapshot[]): Traffic {
  return new Map(sas.map((sa) => [`${sa.id.direction} ${sa.id.spi}`, sa]));
}

/** The key of an IKE SA in strongSwan's messages: the name of its PAD entry. */
export function ikeSaName(sa: IkeSaSnapshot): string {
  return sa.peer ?? NO_PEER;
}

/** Fields of an IKE SA, without its children. */
export function ikeSaFields(sa: IkeSaSnapshot): readonly Field[] {
  const { endpoint } = sa;
  return [
    ['uniqueid', sa.id],
    ['version', 2],
    ['state', sa.state.toUpperCase()],
    ['local-host', endpoint.local],
    ['local-port', endpoint.localPort],
    ['local-id', sa.localIdentity],
    ['remote-host', endpoint.remote],
    ['remote-port', endpoint.remotePort],
    ['remote-id', sa.remoteIdentity],
    ['initiator', yes(sa.isInitiator)],
    ['initiator-spi', hex(sa.spiInitiator, 16)],
    ['responder-spi', hex(sa.spiResponder, 16)],
    ['nat-local', yes(sa.natLocal)],
    ['nat-remote', yes(sa.natRemote)],
    ['nat-any', yes(sa.natLocal || sa.natRemote)],
    ...proposalFields(sa.proposal),
    ['ppk', yes(sa.hasPpk)],
    ['established', sa.state === 'connecting' ? undefined : seconds(sa.establishedMs)],
    ['rekey-time', sa.rekeyInMs === null ? undefined : seconds(sa.rekeyInMs)],
  ];
}

/** The key of a child in `child-sas`. */
export function childKey(child: ChildSnapshot): string {
  return `${child.name}-${child.id}`;
}

/** One CHILD_SA. */
export function childSection(child: ChildSnapshot, traffic: Traffic): ViciSection {
  const inbound = traffic.get(`inbound ${child.inbound}`);
  const outbound = traffic.get(`outbound ${child.outbound}`);
  const idle = (sa: SaSnapshot | undefined): number | undefined =>
    sa === undefined || sa.idleMs === null ? undefined : seconds(sa.idleMs);
  return section([
    ['name', child.name],
    ['uniqueid', child.id],
    ['reqid', child.id],
    ['state', child.state.toUpperCase()],
    ['mode', child.mode.toUpperCase()],
    ['protocol', 'ESP'],
    ['encap', yes(child.encapsulation === 'udp')],
    ['spi-in', hex(child.inbound, 8)],
    ['spi-out', hex(child.outbound, 8)],
    ...proposalFields(child.proposal),
    ['bytes-in', inbound?.bytes ?? 0n],
    ['packets-in', inbound?.packets ?? 0n],
    ['use-in', idle(inbound)],
    ['bytes-out', outbound?.bytes ?? 0n],
    ['packets-out', outbound?.packets ?? 0n],
    ['use-out', idle(outbound)],
    ['rekey-time', child.rekeyInMs === null ? undefined : seconds(child.rekeyInMs)],
    ['install-time', seconds(child.establishedMs)],
    ['local-ts', trafficSelectorTexts(child.selector, 'local')],
    ['remote-ts', trafficSelectorTexts(child.selector, 'remote')],
  ]);
}

/** A whole IKE_SA as `list-sa` and the events carry it; `children`: which are shown. */
export function ikeSaSection(
  sa: IkeSaSnapshot,
  traffic: Traffic,
  children: readonly ChildSnapshot[] = sa.children,
): ViciSection {
  return section([
    ...ikeSaFields(sa),
    [
      'child-sas',
      section(children.map((child) => [childKey(child), childSection(child, traffic)])),
    ],
  ]);
}

/** What `list-sas` may be asked for. */
export interface SaFilter {
  readonly ike: string | undefined;
  readonly ikeId: string | undefined;
  readonly child: string | undefined;
  readonly childId: string | undefined;
}

/** The messages of `list-sa`: one for each IKE SA that the filter asks for. */
export function ikeSaMessages(
  ikeSas: readonly IkeSaSnapshot[],
  sas: readonly SaSnapshot[],
  filter: SaFilter,
): readonly ViciSection[] {
  const traffic = trafficOf(sas);
  const isWanted = (child: ChildSnapshot): boolean =>
    (filter.child === undefined || filter.child === child.name) &&
    (filter.childId === undefined || filter.childId === String(child.id));
  return ikeSas
    .filter((sa) => filter.ike === undefined || filter.ike === ikeSaName(sa))
    .filter((sa) => filter.ikeId === undefined || filter.ikeId === String(sa.id))
    .flatMap((sa) => {
      const children = sa.children.filter(isWanted);
      const isNarrowed = filter.child !== undefined || filter.childId !== undefined;
      if (isNarrowed && children.length === 0) return [];
      return [section([[ikeSaName(sa), ikeSaSection(sa, traffic, children)]])];
    });
}

const CLASSES = {
  psk: 'pre-shared key',
  certificate: 'public key',
  'public-key': 'public key',
} as const;

/** strongSwan's `restart` is what it writes for `start`. */
const AFTERMATHS = { clear: 'none', trap: 'trap', restart: 'restart' } as const;

/** The message of `list-conn` for one PAD entry. */
export function padEntryMessage(entry: PadEntry): ViciSection {
  const children = entry.children.map(
    (child) =>
      [
        child.name,
        section([
          ['mode', child.mode.toUpperCase()],
          ['rekey_time', seconds(child.lifetime.rekeyMs)],
          ['rekey_bytes', child.lifetime.rekeyBytes],
          ['rekey_packets', child.lifetime.rekeyPackets],
          ['dpd_action', AFTERMATHS[entry.onDeath]],
          ['close_action', AFTERMATHS[child.onClose]],
          ['local-ts', trafficSelectorTexts(child.selector, 'local')],
          ['remote-ts', trafficSelectorTexts(child.selector, 'remote')],
        ]),
      ] as const,
  );
  const ppk = entry.ppk;
  const content = section([
    ['local_addrs', [entry.localAddress ?? '%any']],
    ['remote_addrs', entry.hosts.map(hostText)],
    ['remote_port', entry.remotePort],
    ['version', 'IKEv2'],
    ['reauth_time', 0],
    ['rekey_time', seconds(entry.rekeyMs)],
    ['unique', UNIQUE[entry.unique]],
    ['dpd_delay', seconds(entry.livenessMs)],
    ['ppk_id', ppk === null ? undefined : Buffer.from(ppk.id).toString('utf8')],
    ['ppk_required', ppk === null ? undefined : ppk.required],
    [
      'local-1',
      section([
        ['class', CLASSES[entry.localAuthentication.method]],
        ['id', formatIdentity(entry.localIdentity)],
      ]),
    ],
    [
      'remote-1',
      section([
        ['class', CLASSES[entry.remoteAuthentication.method]],
        ['id', patternText(entry.remoteIdentity)],
      ]),
    ],
    ['children', section(children)],
  ]);
  return section([[entry.name, content]]);
}

const UNIQUE = {
  replace: 'UNIQUE_REPLACE',
  keep: 'UNIQUE_KEEP',
  no: 'UNIQUE_NO',
} as const;
