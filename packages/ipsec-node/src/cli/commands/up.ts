import { execFile } from 'node:child_process';
import { Option } from 'commander';
import type { Gateway } from '../../gateway.js';
import { createLogger, type Logger, LOG_LEVELS, type LogLevel } from '../../log.js';
import {
  type CliContext,
  type CommonOptions,
  EXIT_CODES,
  example,
  perform,
  type Registration,
} from '../context.js';
import { logLines } from '../log-lines.js';
import { EXIT, type ExitCode } from '../refusal.js';
import { json } from '../render.js';

interface UpOptions extends CommonOptions {
  readonly config: string;
  readonly logLevel: LogLevel;
  readonly allowKeyCapture?: boolean;
}

/** How long systemd's own program may take to pass the word on. */
const NOTIFY_MS_MAX = 5000;

/** `ipsec-node up`: runs the gateway in the foreground. */
export const registerUp: Registration = (program, context) => {
  program
    .command('up')
    .requiredOption('-c, --config <file>', 'the configuration')
    .addOption(
      new Option('--log-level <level>', 'how much is logged').choices(LOG_LEVELS).default('info'),
    )
    .option('--allow-key-capture', 'let capture --with-keys ask for the keys of SAs')
    .option('--json', 'print the ready line and the log as JSON, one object a line')
    .summary('runs the gateway in the foreground')
    .description(
      'Runs the gateway in the foreground. One line on standard output says that it is ready; the log ' +
        'goes to standard error. SIGTERM and SIGINT stop it in order, a second one at once. ' +
        'SIGHUP applies the edited file, as `ipsec-node reload` does. ' +
        'Under systemd (Type=notify, NotifyAccess=all) it reports READY=1 by systemd-notify.',
    )
    .addHelpText('after', example('ipsec-node up -c ipsec.yaml') + EXIT_CODES)
    .action((options: UpOptions) => perform(context, options, () => up(context, options)));
};

async function up(context: CliContext, options: UpOptions): Promise<ExitCode> {
  const { terminal, clock } = context;
  const asJson = options.json === true;
  const log = createLogger(options.logLevel, logLines(terminal, clock, asJson));
  // A SIGHUP before the gateway is there has nothing to apply: the file was just read.
  let reload = async (): Promise<void> => {};
  const stop = stopRequests(context, log, () => reload());
  try {
    const gateway = await context.openGateway(options.config, {
      log,
      clock,
      captureKeys: options.allowKeyCapture === true,
    });
    reload = () => reloadGateway(gateway, log);
    gateway.once('fault', () => stop.request('a worker of the datapath ended', EXIT.failure));
    const { name, facts, saCount, policyCount, control } = gateway.status();
    for (const note of facts.notes) log.info(note);
    if (asJson) {
      terminal.out(
        json(
          { event: 'ready', name, pid: process.pid, ...facts, saCount, policyCount, control },
          0,
        ),
      );
    } else {
      terminal.out(
        `ready: gateway ${name} on ${facts.interface}, MTU ${facts.mtu}, ${saCount} SAs, ` +
          `${policyCount} policy entries, control socket ${control ?? 'none'}\n`,
      );
    }
    await reportReady(log);
    const exitCode = await stop.requested;
    try {
      await gateway.close();
    } catch (error) {
      // After a fault not every step can succeed: each that did not is in the log, and why it ends.
      if (exitCode === EXIT.success) throw error;
    }
    log.info('The gateway is stopped.', {
      guard: gateway.config.gateway.onStop === 'guard' ? 'stays' : 'removed',
    });
    return exitCode;
  } finally {
    stop.dispose();
  }
}

/** Applies the edited file, and says in the log what changed or why nothing did. */
async function reloadGateway(gateway: Gateway, log: Logger): Promise<void> {
  try {
    const { changes } = await gateway.reload();
    for (const change of changes) log.info('Reloaded.', { change });
    if (changes.length === 0) log.info('Reloaded: nothing changed.');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    log.error('The reload was refused; nothing changed.', { reason });
  }
}

/** Waits for a reason to stop: the first signal asks, the second does not wait. */
function stopRequests(
  context: CliContext,
  log: Logger,
  reload: () => Promise<void>,
): {
  readonly requested: Promise<ExitCode>;
  readonly request: (reason: string, exitCode: ExitCode) => void;
  readonly dispose: () => void;
} {
  let resolveRequested: (exitCode: ExitCode) => void = () => {};
  const requested = new Promise<ExitCode>((resolve) => {
    resolveRequested = resolve;
  });
  let signals = 0;
  const request = (reason: string, exitCode: ExitCode): void => {
    log.info('Stopping.', { reason });
    resolveRequested(exitCode);
  };
  const dispose = context.onSignal((signal) => {
    if (signal === 'SIGHUP') {
      void reload();
      return;
    }
    signals += 1;
    if (signals === 1) return request(signal, EXIT.success);
    log.error('Stopped at once: reserved sequence numbers are not given back.', { signal });
    context.exitNow(EXIT.failure);
  });
  return { requested, request, dispose };
}

/**
 * Tells systemd that the service is up. Node has no datagram sockets of the Unix family, which is
 * what the protocol (sd_notify(3)) wants, so systemd's own program speaks for us.
 */
async function reportReady(log: Logger): Promise<void> {
  if ((process.env['NOTIFY_SOCKET'] ?? '') === '') return;
  await new Promise<void>((resolve) => {
    const args = ['--ready', `--pid=${process.pid}`];
    execFile('systemd-notify', args, { timeout: NOTIFY_MS_MAX }, (error) => {
      if (error !== null) {
        log.warn('systemd could not be told that the gateway is ready.', { reason: error.message });
      }
      resolve();
    });
  });
}
