import { textOf } from '../../daemon/vici/codec.js';
import { EXIT_CODES, example, type Registration } from '../context.js';
import { plural } from '../render.js';
import {
  addSaCommand,
  addTimeoutOption,
  runSaCommand,
  type SaCommandOptions,
} from '../sa-command.js';

interface TerminateOptions extends SaCommandOptions {
  readonly force?: boolean;
}

/** `ipsec-node terminate`: ends a child, or all IKE SAs of a peer with their children. */
export const registerTerminate: Registration = (program, context) => {
  addTimeoutOption(addSaCommand(program.command('terminate')))
    .option('--force', 'do not wait for the answer of the peer')
    .summary('ends a child, or a peer with all its children')
    .description(
      'Ends a child, or all IKE SAs of a peer with their children; the peer is told. What policy ' +
        'protects stays protected: it is dropped, or asks for a new SA, as `start` of the policy says.',
    )
    .addHelpText(
      'after',
      example('ipsec-node terminate lan-to-branch', 'ipsec-node terminate branch --force') +
        EXIT_CODES,
    )
    .action((name: string, options: TerminateOptions) =>
      runSaCommand(context, name, options, {
        name: 'terminate',
        fields: [['force', options.force === true ? true : undefined]],
        done: (_name, reply) =>
          `Terminated ${name}: ${plural(Number(textOf(reply, 'terminated') ?? 0), 'SA', 'SAs')}.`,
      }),
    );
};
