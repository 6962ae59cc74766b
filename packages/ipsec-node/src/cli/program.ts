import { Command, CommanderError } from 'commander';
import { packageVersion } from '../daemon/version.js';
import { registerCapture } from './commands/capture.js';
import { registerInitiate } from './commands/initiate.js';
import { registerMonitor } from './commands/monitor.js';
import { registerPeers } from './commands/peers.js';
import { registerRekey } from './commands/rekey.js';
import { registerReload } from './commands/reload.js';
import { registerTerminate } from './commands/terminate.js';
import { registerCheck } from './commands/check.js';
import { registerCounters } from './commands/counters.js';
import { registerDoctor } from './commands/doctor.js';
import { registerExplain } from './commands/explain.js';
import { registerGuard, registerUnguard } from './commands/guard.js';
import { registerLater } from './commands/later.js';
import { registerPolicies } from './commands/policies.js';
import { registerSas } from './commands/sas.js';
import { registerSchema } from './commands/schema.js';
import { registerStatus } from './commands/status.js';
import { registerUp } from './commands/up.js';
import { registerVersion } from './commands/version.js';
import { type CliContext, example } from './context.js';
import { registerDemo } from './demo-command.js';
import { EXIT, type ExitCode } from './refusal.js';

/** In the order in which the help lists them. */
const REGISTRATIONS = [
  registerUp,
  registerCheck,
  registerExplain,
  registerStatus,
  registerPeers,
  registerSas,
  registerPolicies,
  registerCounters,
  registerInitiate,
  registerRekey,
  registerTerminate,
  registerReload,
  registerMonitor,
  registerCapture,
  registerDoctor,
  registerGuard,
  registerUnguard,
  registerDemo,
  registerSchema,
  registerVersion,
  registerLater,
];

/** Runs one command line and returns what the process is to exit with. */
export async function runProgram(
  args: readonly string[],
  world: Omit<CliContext, 'exitCode'>,
): Promise<ExitCode> {
  const context: CliContext = { ...world, exitCode: EXIT.success };
  const program = buildProgram(context);
  try {
    await program.parseAsync([...args], { from: 'user' });
    return context.exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version are asked for; everything else that commander ends is bad usage.
    return error.exitCode === 0 ? EXIT.success : EXIT.usage;
  }
}

/** All commands, none of them run. */
export function buildProgram(context: CliContext): Command {
  const { terminal } = context;
  const program = new Command('ipsec-node')
    .description('IPsec in userspace: policy, ESP and a boundary that fails closed.')
    .version(packageVersion(), '-V, --version')
    .showHelpAfterError('Run it with --help for what it accepts.')
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.err(text),
      getOutHelpWidth: () => terminal.columns,
      outputError: (text, write) => write(text.replace(/^error: /, 'ipsec-node: ')),
    })
    .addHelpText('after', example('ipsec-node check -c ipsec.yaml', 'ipsec-node demo'));
  for (const register of REGISTRATIONS) register(program, context);
  return program;
}
