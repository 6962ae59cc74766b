import { decodePolicy, type PolicyRow } from '../../daemon/vici/own-messages.js';
import { EXIT_CODES, example, type Registration } from '../context.js';
import { addLiveOptions, addWatchOption, askGateway, type LiveOptions } from '../live.js';
import { type Column, type Style, table } from '../render.js';
import type { Terminal } from '../terminal.js';

const STYLES: Readonly<Record<PolicyRow['action'], Style>> = {
  PROTECT: 'green',
  BYPASS: 'yellow',
  DISCARD: 'red',
};

/** `ipsec-node policies`: the ordered SPD of the running gateway, built-in entries included. */
export const registerPolicies: Registration = (program, context) => {
  addWatchOption(addLiveOptions(program.command('policies')))
    .summary('the ordered SPD of the running gateway')
    .description(
      'Lists the SPD of the running gateway in order: the first entry that matches decides, and what ' +
        'none matches is discarded. Entries named builtin/... are the product’s own.',
    )
    .addHelpText('after', example('ipsec-node policies', 'ipsec-node policies --json') + EXIT_CODES)
    .action((options: LiveOptions) =>
      askGateway(context, options, async (client) => {
        const events = await client.collect('ipsec-node-policies', 'ipsec-node-policy');
        const policies = events.map(decodePolicy);
        return { text: policiesText(context.terminal, policies), data: policies };
      }),
    );
};

const COLUMNS: readonly Column<PolicyRow>[] = [
  { title: '#', align: 'right', text: (policy) => `${policy.index + 1}` },
  { title: 'NAME', text: (policy) => policy.name },
  { title: 'ACTION', text: (policy) => policy.action, style: (policy) => STYLES[policy.action] },
  { title: 'DIRECTION', text: (policy) => policy.direction },
  {
    title: 'SAS',
    align: 'right',
    text: (policy) => (policy.action === 'PROTECT' ? `${policy.saCount}` : '-'),
    // Without an SA everything that the entry protects is dropped.
    style: (policy) => (policy.action === 'PROTECT' && policy.saCount === 0 ? 'red' : undefined),
  },
  { title: 'SELECTOR', text: (policy) => policy.selector },
];

/** The SPD as it stands on a screen. */
export function policiesText(terminal: Terminal, policies: readonly PolicyRow[]): string {
  const end = `${policies.length + 1}. everything that no entry matches: DISCARD\n`;
  return policies.length === 0 ? end : table(terminal, COLUMNS, policies) + end;
}
