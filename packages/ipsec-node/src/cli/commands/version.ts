import { packageVersion } from '../../daemon/version.js';
import { type CommonOptions, EXIT_CODES, example, perform, type Registration } from '../context.js';
import { EXIT } from '../refusal.js';
import { json } from '../render.js';

/** `ipsec-node version`: of the package, of Node and of the platform. */
export const registerVersion: Registration = (program, context) => {
  program
    .command('version')
    .option('--json', 'print JSON')
    .summary('of the package, of Node and of the platform')
    .description('Prints the version of the package, of Node and of the platform.')
    .addHelpText('after', example('ipsec-node version --json') + EXIT_CODES)
    .action((options: CommonOptions) =>
      perform(context, options, async () => {
        const version = packageVersion();
        const platform = `${process.platform}-${process.arch}`;
        context.terminal.out(
          options.json === true
            ? json({ version, node: process.versions.node, platform })
            : `ipsec-node ${version} (Node.js ${process.versions.node}, ${platform})\n`,
        );
        return EXIT.success;
      }),
    );
};
