import { encapsulationsOf } from '../../config/compile.js';
import type { GatewayConfig } from '../../config/gateway-config.js';
import { DEFAULTS } from '../../config/defaults.js';
import { type DoctorSubject, examineHost, type Finding } from '../../daemon/host/doctor.js';
import { thisHost } from '../../daemon/host/files.js';
import { hostInterfaceSides } from '../../daemon/host/interface-sides.js';
import { probeSocket } from '../../daemon/vici/socket-path.js';
import { dataplaneOptionsOf, nativeModule, udpPortsOf } from '../../gateway.js';
import { IpsecError } from '../../errors.js';
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
import { json, oneLine, paint, type Style } from '../render.js';
import type { Terminal } from '../terminal.js';

interface DoctorOptions extends CommonOptions {
  readonly config?: string;
}

/** `ipsec-node doctor`: checks the host. Exits with 1 where something keeps a gateway from running. */
export const registerDoctor: Registration = (program, context) => {
  program
    .command('doctor')
    .option('-c, --config <file>', 'check for the gateway of this file')
    .option('--json', 'print JSON')
    .summary('checks the host, each finding with its remedy')
    .description(
      'Checks the host: privileges, devices, ports, offloads, kernel ESP, routes, MTU, clock; with a ' +
        'file also its directories. Each finding has its remedy. Changes nothing. Exits with 1 where ' +
        'something keeps a gateway from running.',
    )
    .addHelpText('after', example('sudo ipsec-node doctor -c ipsec.yaml') + EXIT_CODES)
    .action((options: DoctorOptions) => perform(context, options, () => doctor(context, options)));
};

async function doctor({ terminal }: CliContext, options: DoctorOptions): Promise<ExitCode> {
  const config =
    options.config === undefined ? undefined : await readConfigWithoutKeys(options.config);
  const subject = config === undefined ? usualSubject() : await subjectOf(config);
  const findings = [...examineHost(thisHost, subject), ...(await nativeFindings())];
  terminal.out(options.json === true ? json(findings) : findingsText(terminal, findings));
  return findings.some(({ state }) => state === 'fault') ? EXIT.failure : EXIT.success;
}

/** A gateway with the defaults of the file. */
function usualSubject(): DoctorSubject {
  const sides = hostInterfaceSides([], DEFAULTS.interfaceName.value, null);
  return {
    ports: [DEFAULTS.ikePort.value, DEFAULTS.port.value],
    encapsulations: ['udp'],
    ...sides,
    sidesFound: true,
    tunnelMtu: null,
    stateDirectory: null,
    control: null,
    hasManualKeys: false,
    running: false,
  };
}

async function subjectOf(config: GatewayConfig): Promise<DoctorSubject> {
  const { gateway } = config;
  const { protectedInterfaces, unprotectedInterfaces, interface: tun } = dataplaneOptionsOf(config);
  return {
    ports: udpPortsOf(config),
    encapsulations: encapsulationsOf(config),
    unprotected: unprotectedInterfaces,
    protected: protectedInterfaces,
    sidesFound: gateway.unprotected === null && gateway.protected === null,
    tunnelMtu: tun.mtu,
    stateDirectory: gateway.stateDirectory,
    control: gateway.control,
    hasManualKeys: config.associations.length > 0,
    running: (await probeSocket(gateway.control)) === 'live',
  };
}

/** What only native code finds out; that it cannot be loaded is a finding too. */
async function nativeFindings(): Promise<readonly Finding[]> {
  try {
    const native = await nativeModule();
    return await native.probeHost();
  } catch (error) {
    if (!(error instanceof IpsecError)) throw error;
    const cause = error.cause instanceof Error ? `: ${error.cause.message}` : '';
    return [
      {
        what: 'native datapath',
        state: 'fault',
        found: `${error.message.replace(/\.$/, '')}${cause}`,
        remedy: 'Build it with npm run build:native, or install the package for this platform.',
      },
    ];
  }
}

const MARKS: Readonly<Record<Finding['state'], readonly [string, Style]>> = {
  ok: ['ok', 'green'],
  warning: ['warning', 'yellow'],
  fault: ['fault', 'red'],
};

/** The findings as they stand on a screen. */
export function findingsText(terminal: Terminal, findings: readonly Finding[]): string {
  const width = Math.max(0, ...findings.map(({ what }) => what.length));
  const lines = findings.map(({ what, state, found, remedy }) => {
    const [word, style] = MARKS[state];
    const line = `${paint(terminal, style, word.padEnd(7))}  ${what.padEnd(width)}  ${oneLine(found)}\n`;
    return remedy === '' ? line : `${line}${' '.repeat(width + 11)}${oneLine(remedy)}\n`;
  });
  const count = (state: Finding['state']): number =>
    findings.filter((finding) => finding.state === state).length;
  return `${lines.join('')}${count('ok')} ok, ${count('warning')} warnings, ${count('fault')} faults\n`;
}
