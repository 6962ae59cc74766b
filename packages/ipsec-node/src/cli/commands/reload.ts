import { listOf } from '../../daemon/vici/codec.js';
import { EXIT_CODES, example, type Registration } from '../context.js';
import { addLiveOptions, askGateway, type LiveOptions } from '../live.js';
import { oneLine } from '../render.js';

/** `ipsec-node reload`: the running gateway applies its edited file, or changes nothing. */
export const registerReload: Registration = (program, context) => {
  addLiveOptions(program.command('reload'))
    .summary('applies the edited file to the running gateway')
    .description(
      'Lets the running gateway read its file again. Either the whole file is valid and in force, or ' +
        'nothing changes and every fault is told. SAs whose terms did not change lose no packet.',
    )
    .addHelpText(
      'after',
      example('ipsec-node check -c ipsec.yaml && ipsec-node reload -c ipsec.yaml') + EXIT_CODES,
    )
    .action((options: LiveOptions) =>
      askGateway(context, options, async (client) => {
        const changes = listOf(await client.request('ipsec-node-reload'), 'changes');
        const text = changes.length === 0 ? ['Nothing changed.'] : changes.map(oneLine);
        return { text: text.map((line) => `${line}\n`).join(''), data: { changes } };
      }),
    );
};
