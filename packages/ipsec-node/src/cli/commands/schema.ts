import { configJsonSchema } from '../../config/schema.js';
import { type CommonOptions, EXIT_CODES, example, perform, type Registration } from '../context.js';
import { EXIT } from '../refusal.js';
import { json } from '../render.js';

/** `ipsec-node schema`: the JSON Schema of the file, for editors. */
export const registerSchema: Registration = (program, context) => {
  program
    .command('schema')
    .option('--json', 'print JSON, which it is anyway')
    .summary('the JSON Schema of the file, for editors')
    .description(
      'Prints the JSON Schema of the configuration, so that an editor completes and checks it.',
    )
    .addHelpText('after', example('ipsec-node schema > ipsec.schema.json') + EXIT_CODES)
    .action((options: CommonOptions) =>
      perform(context, options, async () => {
        context.terminal.out(json(configJsonSchema()));
        return EXIT.success;
      }),
    );
};
