import { UsageError } from '../../errors.js';
import { perform, type Registration } from '../context.js';

/** Commands of the contract that this version does not have, and what serves meanwhile. */
export const LATER_COMMANDS: Readonly<Record<string, string>> = {
  bench: 'In a clone of the repository: npm run bench.',
};

/** Refuses each by name, so that nobody takes it for a typing error. */
export const registerLater: Registration = (program, context) => {
  for (const [name, instead] of Object.entries(LATER_COMMANDS)) {
    program
      .command(name, { hidden: true })
      .argument('[words...]')
      .option('--json')
      .allowUnknownOption()
      .helpOption(false)
      .action((_words: readonly string[], options: { readonly json?: boolean }) =>
        perform(context, options, async () => {
          throw new UsageError('IPSEC_ERR_USAGE', `${name} is not in this version. ${instead}`, {
            fields: { command: name },
          });
        }),
      );
  }
};
