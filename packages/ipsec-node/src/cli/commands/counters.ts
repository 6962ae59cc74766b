import {
  type CountersRow,
  decodeCounters,
  decodeSaDrops,
  type SaDropsRow,
} from '../../daemon/vici/own-messages.js';
import { EXIT_CODES, example, type Registration } from '../context.js';
import { addLiveOptions, addWatchOption, askGateway, type LiveOptions } from '../live.js';
import { type Column, count, paint, spiText, table } from '../render.js';
import type { Terminal } from '../terminal.js';

interface CountersOptions extends LiveOptions {
  readonly all?: boolean;
}

/** `ipsec-node counters`: every counter and every drop reason, whole and by SA. */
export const registerCounters: Registration = (program, context) => {
  addWatchOption(addLiveOptions(program.command('counters')))
    .option('-a, --all', 'also the counters that are zero')
    .summary('every drop reason and its count, by SA and whole')
    .description(
      'Shows the counters of the running gateway: what went through, and each reason for which ' +
        'packets were refused, whole and by SA. docs/drops.md explains the reasons.',
    )
    .addHelpText(
      'after',
      example('ipsec-node counters', 'ipsec-node counters --watch 2') + EXIT_CODES,
    )
    .action((options: CountersOptions) =>
      askGateway(context, options, async (client) => {
        const { events, reply } = await client.stream('ipsec-node-counters', 'ipsec-node-sa-drops');
        const bySa = events.map(decodeSaDrops);
        const counters = decodeCounters(reply);
        return {
          text: countersText(context.terminal, counters, bySa, options.all === true),
          data: { ...counters, dropsBySa: bySa },
        };
      }),
    );
};

type Tally = readonly [name: string, value: bigint];

const TALLY: readonly Column<Tally>[] = [
  { title: 'COUNTER', text: ([name]) => name },
  { title: 'COUNT', align: 'right', text: ([, value]) => count(value) },
];

const BY_SA: readonly Column<{ readonly sa: SaDropsRow; readonly drop: Tally }>[] = [
  { title: 'DIRECTION', text: ({ sa }) => sa.direction },
  { title: 'SPI', text: ({ sa }) => spiText(sa.spi) },
  { title: 'REFUSED', text: ({ drop }) => drop[0] },
  { title: 'COUNT', align: 'right', text: ({ drop }) => count(drop[1]) },
];

/** The counters as they stand on a screen. */
export function countersText(
  terminal: Terminal,
  { counters, drops }: CountersRow,
  bySa: readonly SaDropsRow[],
  all: boolean,
): string {
  const shown = (tallies: Readonly<Record<string, bigint>>): readonly Tally[] =>
    Object.entries(tallies).filter(([, value]) => all || value > 0n);
  const refused = TALLY.map((column, index) =>
    index === 0 ? { ...column, title: 'REFUSED' } : column,
  );
  const rows = bySa.flatMap((sa) => shown(sa.drops).map((drop) => ({ sa, drop })));
  const blocks = [
    shown(counters).length > 0 ? table(terminal, TALLY, shown(counters)) : '',
    shown(drops).length > 0
      ? table(terminal, refused, shown(drops))
      : `${paint(terminal, 'green', 'No packet was refused.')}\n`,
    rows.length > 0 ? table(terminal, BY_SA, rows) : '',
  ];
  return blocks.filter((block) => block !== '').join('\n');
}
