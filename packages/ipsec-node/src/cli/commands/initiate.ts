import { EXIT_CODES, example, type Registration } from '../context.js';
import {
  addSaCommand,
  addTimeoutOption,
  runSaCommand,
  type SaCommandOptions,
} from '../sa-command.js';

/** `ipsec-node initiate`: negotiates a child, or a peer with its children. */
export const registerInitiate: Registration = (program, context) => {
  addTimeoutOption(addSaCommand(program.command('initiate')))
    .summary('negotiates a child or a peer now')
    .description(
      'Negotiates a child, or a peer with those of its children that start by themselves, and waits ' +
        'until it is up or refused. What happens meanwhile is told on standard error.',
    )
    .addHelpText(
      'after',
      example('ipsec-node initiate lan-to-branch', 'ipsec-node initiate branch --timeout 30') +
        EXIT_CODES,
    )
    .action((name: string, options: SaCommandOptions) =>
      runSaCommand(context, name, options, {
        name: 'initiate',
        done: () => (options.timeout === 0 ? `${name} is being negotiated.` : `${name} is up.`),
      }),
    );
};
