import { compileSpd } from '../../config/compile.js';
import { DEFAULTS } from '../../config/defaults.js';
import { requireGuardPrivileges } from '../../daemon/host/capabilities.js';
import { type GuardReport, protectedTraffic } from '../../daemon/host/guard.js';
import { probeSocket } from '../../daemon/vici/socket-path.js';
import { ResourceError, UsageError } from '../../errors.js';
import { dataplaneOptionsOf, nativeModule } from '../../gateway.js';
import { readConfigWithoutKeys } from '../config-file.js';
import {
  type CliContext,
  type CommonOptions,
  EXIT_CODES,
  example,
  perform,
  type Registration,
} from '../context.js';
import { EXIT, type ExitCode } from '../refusal.js';
import { json, oneLine, paint } from '../render.js';

interface GuardOptions extends CommonOptions {
  readonly config: string;
}

interface UnguardOptions extends CommonOptions {
  readonly config?: string;
  readonly interface: string;
}

/** `ipsec-node guard`: closes what the policy protects, without a gateway. */
export const registerGuard: Registration = (program, context) => {
  program
    .command('guard')
    .requiredOption('-c, --config <file>', 'the configuration')
    .option('--json', 'print JSON')
    .summary('installs the fail-closed guard without the gateway')
    .description(
      'Installs the guard of a gateway without the gateway: what the policy protects is dropped until ' +
        'the gateway runs. Meant for a unit before network-pre.target. A start takes it over.',
    )
    .addHelpText('after', example('sudo ipsec-node guard -c ipsec.yaml') + EXIT_CODES)
    .action((options: GuardOptions) => perform(context, options, () => guard(context, options)));
};

/** `ipsec-node unguard`: removes the guard and says what goes in clear from now on. */
export const registerUnguard: Registration = (program, context) => {
  program
    .command('unguard')
    .argument('[gateway]', 'name of the gateway, where its file is not at hand')
    .option('-c, --config <file>', 'the configuration')
    .option(
      '--interface <name>',
      'its interface, where its file is not at hand',
      DEFAULTS.interfaceName.value,
    )
    .option('--json', 'print JSON')
    .summary('removes the guard; says what will go in clear')
    .description(
      'Removes the guard that a stopped gateway left, and says what goes in clear from now on. Refused ' +
        'while the gateway runs.',
    )
    .addHelpText('after', example('sudo ipsec-node unguard -c ipsec.yaml') + EXIT_CODES)
    .action((name: string | undefined, options: UnguardOptions) =>
      perform(context, options, () => unguard(context, name, options)),
    );
};

async function guard(context: CliContext, options: GuardOptions): Promise<ExitCode> {
  const config = await readConfigWithoutKeys(options.config);
  await requireStopped(config.gateway.control, config.gateway.name);
  requireGuardPrivileges();
  const spd = compileSpd(config, 1);
  const native = await nativeModule();
  const report = await native.installGuard({ options: dataplaneOptionsOf(config), spd });
  const closed = protectedTraffic(spd);
  print(context, options, report, {
    title: 'Closed until the gateway runs:',
    none: 'The policy protects nothing: nothing is closed.',
    traffic: closed,
    key: 'closed',
  });
  return EXIT.success;
}

async function unguard(
  context: CliContext,
  name: string | undefined,
  options: UnguardOptions,
): Promise<ExitCode> {
  const config =
    options.config === undefined ? undefined : await readConfigWithoutKeys(options.config);
  const gateway = config?.gateway.name ?? name;
  if (gateway === undefined) {
    throw new UsageError(
      'IPSEC_ERR_USAGE',
      'unguard needs a file (-c FILE) or the name of a gateway.',
    );
  }
  if (config !== undefined) await requireStopped(config.gateway.control, gateway);
  requireGuardPrivileges();
  const native = await nativeModule();
  const report = await native.removeGuard(
    gateway,
    config?.gateway.interface.name ?? options.interface,
  );
  if (config === undefined && !report.found) {
    throw new UsageError(
      'IPSEC_ERR_USAGE',
      `No guard of a gateway named ${gateway} is installed here; nothing was changed. ` +
        '`nft list tables` shows those that are: table inet ipsec-node-NAME.',
    );
  }
  print(context, options, report, {
    title: 'In clear from now on, wherever the routes lead:',
    none:
      config === undefined
        ? 'What its policy protected goes in clear from now on.'
        : 'The policy protects nothing: nothing changes.',
    traffic: config === undefined ? [] : protectedTraffic(compileSpd(config, 1)),
    key: 'inClear',
  });
  return EXIT.success;
}

async function requireStopped(control: string, gateway: string): Promise<void> {
  if ((await probeSocket(control)) !== 'live') return;
  throw new ResourceError(
    'IPSEC_ERR_ADDRESS_IN_USE',
    `The gateway ${gateway} runs and has its guard in its own hands. Stop it first.`,
    { fields: { control, adviceInMessage: true } },
  );
}

function print(
  { terminal }: CliContext,
  options: CommonOptions,
  report: GuardReport,
  words: {
    readonly title: string;
    readonly none: string;
    readonly traffic: readonly string[];
    readonly key: string;
  },
): void {
  if (options.json === true) {
    terminal.out(json({ done: report.done, found: report.found, [words.key]: words.traffic }));
    return;
  }
  for (const step of report.done) terminal.out(`${oneLine(step)}\n`);
  if (words.traffic.length === 0) {
    terminal.out(`${words.none}\n`);
    return;
  }
  terminal.out(`${paint(terminal, 'bold', words.title)}\n`);
  for (const line of words.traffic) terminal.out(`  ${oneLine(line)}\n`);
}
