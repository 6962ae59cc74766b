import { systemClock } from '../../clock.js';
import { type ConfigFinding, formatFinding } from '../../config/finding.js';
import { lintConfig } from '../../config/lint.js';
import { wipeConfig } from '../../config/parse.js';
import { ConfigError } from '../../errors.js';
import { readConfig } from '../config-file.js';
import {
  type CliContext,
  type CommonOptions,
  EXIT_CODES,
  example,
  perform,
  type Registration,
} from '../context.js';
import { EXIT, type ExitCode } from '../refusal.js';
import { json, oneLine, paint, plural } from '../render.js';

interface CheckOptions extends CommonOptions {
  readonly config: string;
}

/** `ipsec-node check`: validates and lints a file. Needs no privileges. */
export const registerCheck: Registration = (program, context) => {
  program
    .command('check')
    .requiredOption('-c, --config <file>', 'the configuration')
    .option('--json', 'print JSON')
    .summary('validates and lints a file; needs no privileges')
    .description(
      'Validates a file and says what is legal but unwise. Every fault is shown at once, each with ' +
        'line, path and what is accepted. Needs no privileges and touches nothing.',
    )
    .addHelpText('after', example('ipsec-node check -c ipsec.yaml') + EXIT_CODES)
    .action((options: CheckOptions) => perform(context, options, () => check(context, options)));
};

async function check(context: CliContext, options: CheckOptions): Promise<ExitCode> {
  const { terminal } = context;
  const asJson = options.json === true;
  try {
    const parsed = await readConfig(options.config);
    const findings = lintConfig(parsed, systemClock.wallTime());
    wipeConfig(parsed.config);
    const { peers, policies, associations } = parsed.config;
    if (asJson) {
      terminal.out(json({ file: options.config, valid: true, faults: [], findings }));
      return EXIT.success;
    }
    for (const finding of findings) terminal.out(findingLine(context, finding));
    const warnings = findings.filter(({ severity }) => severity === 'warning').length;
    const verdict = paint(terminal, warnings === 0 ? 'green' : 'yellow', 'valid');
    terminal.out(
      `${options.config} is ${verdict}: ${plural(policies.length, 'policy', 'policies')}, ` +
        (peers.length === 0 ? '' : `${plural(peers.length, 'peer', 'peers')}, `) +
        `${plural(associations.length, 'association', 'associations')}, ` +
        `${plural(warnings, 'warning', 'warnings')}.\n`,
    );
    return EXIT.success;
  } catch (error) {
    if (!asJson || !(error instanceof ConfigError)) throw error;
    terminal.out(
      json({
        file: options.config,
        valid: false,
        code: error.code,
        faults: error.faults,
        findings: [],
      }),
    );
    return EXIT.usage;
  }
}

function findingLine({ terminal }: CliContext, finding: ConfigFinding): string {
  const line = oneLine(formatFinding(finding));
  return `${finding.severity === 'warning' ? paint(terminal, 'yellow', line) : line}\n`;
}
