import { decodeSa, type SaRow } from '../../daemon/vici/own-messages.js';
import { EXIT_CODES, example, type Registration } from '../context.js';
import { addLiveOptions, addWatchOption, askGateway, type LiveOptions } from '../live.js';
import { bytes, type Column, count, span, spiText, table } from '../render.js';
import type { Terminal } from '../terminal.js';

/** `ipsec-node sas`: every SA of the running gateway. */
export const registerSas: Registration = (program, context) => {
  addWatchOption(addLiveOptions(program.command('sas')))
    .summary('the SAs of the running gateway')
    .description(
      'Lists the SAs of the running gateway. An SA has one direction; NUMBER is the last sequence ' +
        'number used (outbound) or the right edge of the replay window (inbound). Of a manually keyed ' +
        'SA, RESERVED is what is written down ahead in the state directory; of a negotiated one, PEER ' +
        'and CHILD say whose it is and REKEY when it is replaced.',
    )
    .addHelpText('after', example('ipsec-node sas', 'ipsec-node sas --json') + EXIT_CODES)
    .action((options: LiveOptions) =>
      askGateway(context, options, async (client) => {
        const events = await client.collect('ipsec-node-sas', 'ipsec-node-sa');
        const sas = events.map(decodeSa);
        return { text: sasText(context.terminal, sas), data: sas };
      }),
    );
};

const OF_CHILDREN: readonly Column<SaRow>[] = [
  { title: 'PEER', text: (sa) => (sa.ikeSa === null ? '-' : `${sa.peer ?? '?'}[${sa.ikeSa}]`) },
  { title: 'CHILD', text: (sa) => (sa.child === null ? '-' : `${sa.child}[${sa.childId ?? 0}]`) },
  {
    title: 'REKEY',
    align: 'right',
    text: (sa) => (sa.rekeyInMs === null ? '-' : span(sa.rekeyInMs)),
  },
];

const COLUMNS: readonly Column<SaRow>[] = [
  { title: 'DIRECTION', text: (sa) => sa.direction },
  { title: 'SPI', text: (sa) => spiText(sa.spi) },
  { title: 'POLICY', text: (sa) => sa.policy },
  { title: 'SUITE', text: (sa) => `${sa.suite}${sa.esn ? ', ESN' : ''}` },
  { title: 'OUTER', text: outer },
  { title: 'PACKETS', align: 'right', text: (sa) => count(sa.packets) },
  { title: 'BYTES', align: 'right', text: (sa) => bytes(sa.bytes) },
  { title: 'NUMBER', align: 'right', text: (sa) => count(sa.sequenceNumber) },
  {
    title: 'RESERVED',
    align: 'right',
    text: (sa) => (sa.reservedUpTo === null ? '-' : count(sa.reservedUpTo)),
  },
  { title: 'AGE', align: 'right', text: (sa) => span(sa.ageMs) },
  { title: 'IDLE', align: 'right', text: (sa) => (sa.idleMs === null ? '-' : span(sa.idleMs)) },
  {
    title: 'DROPS',
    align: 'right',
    text: (sa) => count(dropCount(sa)),
    style: (sa) => (dropCount(sa) > 0n ? 'yellow' : undefined),
  },
];

/** The SAs as they stand on a screen. */
export function sasText(terminal: Terminal, sas: readonly SaRow[]): string {
  if (sas.length === 0) return 'No SAs.\n';
  const hasChildren = sas.some((sa) => sa.ikeSa !== null);
  const hasManual = sas.some((sa) => sa.reservedUpTo !== null);
  const own = COLUMNS.filter(({ title }) => title !== 'RESERVED' || hasManual || !hasChildren);
  return table(terminal, hasChildren ? [...own, ...OF_CHILDREN] : own, sas);
}

function outer(sa: SaRow): string {
  const ends = sa.direction === 'outbound' ? [sa.local, sa.remote] : [sa.remote, sa.local];
  const udp = sa.encapsulation === 'udp' ? ` udp ${sa.localPort}/${sa.remotePort}` : ' esp';
  return `${ends.join(' > ')}${udp}`;
}

function dropCount(sa: SaRow): bigint {
  return Object.values(sa.drops).reduce((sum, drops) => sum + drops, 0n);
}
