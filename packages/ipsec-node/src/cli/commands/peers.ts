import type { ChildRow, IkeSaRow, PeerRow } from '../../daemon/vici/ike-messages.js';
import { EXIT_CODES, example, type Registration } from '../context.js';
import { addLiveOptions, addWatchOption, askGateway, type LiveOptions } from '../live.js';
import { type Column, span, spiText, type Style, table } from '../render.js';
import { askPeers } from '../sa-command.js';
import type { Terminal } from '../terminal.js';

/** `ipsec-node peers`: every peer, its IKE SAs and their children. */
export const registerPeers: Registration = (program, context) => {
  addWatchOption(addLiveOptions(program.command('peers')))
    .summary('the peers of the running gateway, their IKE SAs and children')
    .description(
      'Lists the peers of the running gateway with their IKE SAs, and below them the children. A peer ' +
        'without an IKE SA is down: `ipsec-node status` says whether it was refused and why.',
    )
    .addHelpText('after', example('ipsec-node peers', 'ipsec-node peers --watch 2') + EXIT_CODES)
    .action((options: LiveOptions) =>
      askGateway(context, options, async (client) => {
        const peers = await askPeers(client);
        return { text: peersText(context.terminal, peers), data: peers };
      }),
    );
};

interface SaLine {
  readonly peer: PeerRow;
  readonly sa: IkeSaRow | null;
}

const STATES: Readonly<Record<IkeSaRow['state'], Style>> = {
  established: 'green',
  connecting: 'yellow',
  rekeyed: 'dim',
  deleting: 'yellow',
};

const PEERS: readonly Column<SaLine>[] = [
  {
    title: 'PEER',
    text: ({ peer, sa }) => `${peer.name ?? '?'}${sa === null ? '' : `[${sa.id}]`}`,
  },
  {
    title: 'STATE',
    text: ({ sa }) => sa?.state ?? 'down',
    style: ({ sa }) => (sa === null ? 'red' : STATES[sa.state]),
  },
  {
    title: 'LOCAL',
    text: ({ peer, sa }) => sa?.localIdentity || (peer.localIdentity ?? '-'),
  },
  {
    title: 'REMOTE',
    text: ({ peer, sa }) => sa?.remoteIdentity || (peer.remoteIdentity ?? '-'),
  },
  { title: 'ADDRESSES', text: addresses },
  { title: 'NAT', text: ({ sa }) => natText(sa) },
  { title: 'PROPOSAL', text: ({ sa }) => proposalText(sa) },
  { title: 'AGE', align: 'right', text: ({ sa }) => (sa === null ? '-' : span(sa.establishedMs)) },
  {
    title: 'REKEY',
    align: 'right',
    text: ({ sa }) => (sa === null || sa.rekeyInMs === null ? '-' : span(sa.rekeyInMs)),
  },
  {
    title: 'CHILDREN',
    align: 'right',
    text: ({ peer, sa }) =>
      sa === null ? `0 of ${peer.children.length}` : `${sa.children.length}`,
  },
];

function addresses({ peer, sa }: SaLine): string {
  if (sa === null) return peer.hosts.join(', ');
  const { local, localPort, remote, remotePort } = sa.endpoint;
  return `${local}[${localPort}] - ${remote}[${remotePort}]`;
}

function natText(sa: IkeSaRow | null): string {
  if (sa === null) return '-';
  const sides = [...(sa.natLocal ? ['ours'] : []), ...(sa.natRemote ? ['theirs'] : [])];
  return sides.length === 0 ? 'no' : sides.join(', ');
}

function proposalText(sa: IkeSaRow | null): string {
  if (sa === null || sa.proposal === '') return '-';
  return sa.hasPpk ? `${sa.proposal} + PPK` : sa.proposal;
}

interface ChildLine {
  readonly peer: PeerRow;
  readonly sa: IkeSaRow;
  readonly child: ChildRow;
}

const CHILDREN: readonly Column<ChildLine>[] = [
  { title: 'CHILD', text: ({ child }) => `${child.name}[${child.id}]` },
  { title: 'PEER', text: ({ peer, sa }) => `${peer.name ?? '?'}[${sa.id}]` },
  {
    title: 'STATE',
    text: ({ child }) => child.state,
    style: ({ child }) => (child.state === 'installed' ? 'green' : 'yellow'),
  },
  {
    title: 'MODE',
    text: ({ child }) => `${child.mode}${child.encapsulation === 'udp' ? ' in UDP' : ''}`,
  },
  { title: 'INBOUND', text: ({ child }) => spiText(child.inbound) },
  { title: 'OUTBOUND', text: ({ child }) => spiText(child.outbound) },
  { title: 'PROPOSAL', text: ({ child }) => child.proposal },
  { title: 'AGE', align: 'right', text: ({ child }) => span(child.establishedMs) },
  {
    title: 'REKEY',
    align: 'right',
    text: ({ child }) => (child.rekeyInMs === null ? '-' : span(child.rekeyInMs)),
  },
  { title: 'SELECTOR', text: ({ child }) => child.selector },
];

/** Peers and children as they stand on a screen. */
export function peersText(terminal: Terminal, peers: readonly PeerRow[]): string {
  if (peers.length === 0) return 'No peers.\n';
  const lines = peers.flatMap((peer): readonly SaLine[] =>
    peer.ikeSas.length === 0 ? [{ peer, sa: null }] : peer.ikeSas.map((sa) => ({ peer, sa })),
  );
  const children = peers.flatMap((peer) =>
    peer.ikeSas.flatMap((sa) => sa.children.map((child) => ({ peer, sa, child }))),
  );
  const blocks = [table(terminal, PEERS, lines)];
  if (children.length > 0) blocks.push(table(terminal, CHILDREN, children));
  return blocks.join('\n');
}
