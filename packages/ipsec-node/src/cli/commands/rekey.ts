import { textOf } from '../../daemon/vici/codec.js';
import { EXIT_CODES, example, type Registration } from '../context.js';
import { plural } from '../render.js';
import { addSaCommand, runSaCommand, type SaCommandOptions } from '../sa-command.js';

interface RekeyOptions extends SaCommandOptions {
  readonly reauth?: boolean;
}

/** `ipsec-node rekey`: new keys for a child, or for the IKE SA of a peer. */
export const registerRekey: Registration = (program, context) => {
  addSaCommand(program.command('rekey'))
    .option('--reauth', 'authenticate a peer anew instead')
    .summary('new keys for a child or for the IKE SA of a peer')
    .description(
      'Negotiates new keys for a child, or for the IKE SA of a peer, without losing a packet. Keys of ' +
        'the children stay when the peer is rekeyed.',
    )
    .addHelpText(
      'after',
      example('ipsec-node rekey lan-to-branch', 'ipsec-node rekey branch') + EXIT_CODES,
    )
    .action((name: string, options: RekeyOptions) =>
      runSaCommand(context, name, options, {
        name: 'rekey',
        fields: [['reauth', options.reauth === true ? true : undefined]],
        done: (_name, reply) =>
          `Rekeyed ${name}: ${plural(Number(textOf(reply, 'matches') ?? 0), 'SA', 'SAs')}.`,
      }),
    );
};
