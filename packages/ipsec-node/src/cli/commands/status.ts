import { decodeStatus, type StatusRow } from '../../daemon/vici/own-messages.js';
import { decodeRefusal } from '../../daemon/vici/ike-messages.js';
import { EXIT_CODES, example, type Registration } from '../context.js';
import { addLiveOptions, addWatchOption, askGateway, type LiveOptions } from '../live.js';
import { EXIT } from '../refusal.js';
import { refusalsText } from '../refusals-text.js';
import { oneLine, paint, span, type Style } from '../render.js';
import type { Terminal } from '../terminal.js';

const STYLES: Readonly<Record<StatusRow['state'], Style>> = {
  running: 'green',
  starting: 'yellow',
  stopping: 'yellow',
  stopped: 'red',
  failed: 'red',
};

/** `ipsec-node status`: the running gateway as a whole. Exits with 1 where it has failed. */
export const registerStatus: Registration = (program, context) => {
  addWatchOption(addLiveOptions(program.command('status')))
    .summary('the running gateway as a whole')
    .description(
      'Shows the running gateway as a whole, and the last refusals: which peer entry came closest and ' +
        'what differs. Exits with 1 where the gateway has failed.',
    )
    .addHelpText('after', example('ipsec-node status -c ipsec.yaml --watch') + EXIT_CODES)
    .action((options: LiveOptions) =>
      askGateway(context, options, async (client) => {
        const { events, reply } = await client.stream('ipsec-node-status', 'ipsec-node-refusal');
        const status = decodeStatus(reply);
        const refusals = events.map(decodeRefusal);
        return {
          text: statusText(context.terminal, status) + refusalsText(context.terminal, refusals),
          data: { ...status, refusals },
          exitCode: status.state === 'failed' ? EXIT.failure : EXIT.success,
        };
      }),
    );
};

/** The status as it stands on a screen. */
export function statusText(terminal: Terminal, status: StatusRow): string {
  const offloads = [
    ['TUN segmentation', status.tunSegmentation],
    ['UDP GSO', status.udpGso],
    ['UDP GRO', status.udpGro],
  ] as const;
  const stop =
    status.onStop === 'guard'
      ? 'guard (what policy protects stays closed)'
      : 'open (what policy protects goes in clear)';
  const rows: (readonly [string, string])[] = [
    ['gateway', `${status.name}, ${paint(terminal, STYLES[status.state], status.state)}`],
    ['version', `${status.version}, process ${status.pid}`],
    ['up', `${span(status.uptimeMs)}, since ${status.since}`],
    ['interface', `${status.interface}, MTU ${status.mtu}`],
    ['offloads', offloads.map(([name, on]) => `${name} ${on ? 'on' : 'off'}`).join(', ')],
    ['policy', `version ${status.spdVersion}, ${status.policyCount} entries`],
    ['SAs', `${status.saCount}`],
    ['on stop', stop],
    ['guard', status.guardTakenOver ? 'taken over from an earlier run' : 'installed by this run'],
    ['control', status.control ?? 'none'],
  ];
  if (status.lostEventCount > 0n) rows.push(['lost events', `${status.lostEventCount}`]);
  for (const note of status.notes) rows.push(['note', oneLine(note)]);
  for (const fault of status.faults) rows.push(['fault', paint(terminal, 'red', oneLine(fault))]);
  return rows.map(([name, text]) => `${name.padEnd(12)}${text}\n`).join('');
}
