import { IpsecError, ResourceError } from '../errors.js';
import { type CommonOptions, example, EXIT_CODES, perform, type Registration } from './context.js';
import type { ExitCode } from './refusal.js';
import type { Terminal } from './terminal.js';

/** What the demo is told. */
export interface DemoOptions {
  readonly json: boolean;
  /** Words and options that only the demo itself knows. */
  readonly args: readonly string[];
}

/** What commands/demo.ts exports. */
export interface DemoModule {
  /** Runs the demo and returns what the process is to exit with. */
  runDemo(options: DemoOptions, terminal: Terminal): Promise<ExitCode>;
}

/** `ipsec-node demo`: its code is loaded when it is asked for. */
export const registerDemo: Registration = (program, context) => {
  program
    .command('demo')
    .argument('[words...]', 'passed on to the demo')
    .allowUnknownOption()
    .option('--json', 'print what was measured as JSON')
    .summary('two gateways and two hosts in namespaces: traffic, and every attack refused')
    .description(
      'Builds two gateways and two hosts in network namespaces of its own, lets the gateways ' +
        'negotiate by IKEv2 with certificates that it makes, sends real traffic, and shows how ' +
        'each attack is refused and counted. Needs no configuration, uses a user namespace when ' +
        'not root, and cleans up after itself.',
    )
    .addHelpText('after', example('ipsec-node demo') + EXIT_CODES)
    .action((words: readonly string[], options: CommonOptions) =>
      perform(context, options, async () => {
        const demo = await demoModule();
        return demo.runDemo({ json: options.json === true, args: words }, context.terminal);
      }),
    );
};

async function demoModule(): Promise<DemoModule> {
  const specifier: string = './commands/demo.js';
  try {
    const module: unknown = await import(specifier);
    if (isDemoModule(module)) return module;
    throw new Error('the module lacks runDemo');
  } catch (cause) {
    if (cause instanceof IpsecError) throw cause;
    throw new ResourceError('IPSEC_ERR_NATIVE_UNAVAILABLE', 'The demo cannot be loaded.', {
      cause,
    });
  }
}

function isDemoModule(module: unknown): module is DemoModule {
  if (typeof module !== 'object' || module === null) return false;
  return typeof Reflect.get(module, 'runDemo') === 'function';
}
