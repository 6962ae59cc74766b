/** Commands that ask the running gateway: finding its socket, asking once or again and again. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { ViciClient } from '../daemon/vici/client.js';
import { ResourceError, UsageError } from '../errors.js';
import { controlPathOf } from './config-file.js';
import { type CliContext, type CommonOptions, perform } from './context.js';
import { EXIT, type ExitCode } from './refusal.js';
import { json } from './render.js';

/** Where gateways put their control sockets unless told otherwise. */
const CONTROL_DIRECTORY = '/run/ipsec-node';
const WATCH_SECONDS_DEFAULT = 1;
const WATCH_SECONDS_MAX = 3600;

/** Options of every command that asks a gateway. */
export interface LiveOptions extends CommonOptions {
  readonly config?: string;
  readonly control?: string;
  readonly watch?: number | true;
}

/** Adds `-c`, `--control` and `--json`. */
export function addLiveOptions(command: Command, file = 'ask the gateway of this file'): Command {
  return command
    .option('-c, --config <file>', file)
    .option('--control <path>', 'ask the gateway with this control socket')
    .option('--json', 'print JSON');
}

/** Adds `--watch`. */
export function addWatchOption(command: Command): Command {
  return command.addOption(
    new Option('-w, --watch [seconds]', 'ask again every so often, until interrupted')
      .argParser(parseSeconds)
      .preset(WATCH_SECONDS_DEFAULT),
  );
}

function parseSeconds(text: string | number): number {
  const seconds = Number(text);
  if (!(seconds >= 0.1 && seconds <= WATCH_SECONDS_MAX)) {
    throw new InvalidArgumentError(`seconds are 0.1..${WATCH_SECONDS_MAX}.`);
  }
  return seconds;
}

/**
 * The socket to ask: the one named, the one of the file named, or the only one that there is.
 *
 * @throws UsageError where several gateways run and none is named.
 */
export async function controlSocketOf(options: LiveOptions): Promise<string> {
  if (options.control !== undefined) return options.control;
  if (options.config !== undefined) return controlPathOf(options.config);
  const names = await readdir(CONTROL_DIRECTORY).catch(() => []);
  const sockets = names.filter((name) => name.endsWith('.vici')).sort();
  const [only] = sockets;
  if (only === undefined) {
    throw new ResourceError(
      'IPSEC_ERR_CONTROL_UNREACHABLE',
      `No gateway was named, and none has its control socket in ${CONTROL_DIRECTORY}.`,
    );
  }
  if (sockets.length > 1) {
    throw new UsageError(
      'IPSEC_ERR_USAGE',
      `Several gateways have a control socket in ${CONTROL_DIRECTORY} (${sockets.join(', ')}). ` +
        'Name one with -c FILE or --control PATH.',
    );
  }
  return join(CONTROL_DIRECTORY, only);
}

/** One answer of a gateway, for people and for machines. */
export interface Answer {
  readonly text: string;
  readonly data: unknown;
  readonly exitCode?: ExitCode;
}

/** Does something with a gateway, and closes the connection whatever comes of it. */
export async function withGateway(
  context: CliContext,
  options: LiveOptions,
  work: (client: ViciClient) => Promise<ExitCode>,
): Promise<void> {
  await perform(context, options, async () => {
    const client = await ViciClient.connect(await controlSocketOf(options));
    try {
      return await work(client);
    } finally {
      client.close();
    }
  });
}

/** Asks the gateway once, or until interrupted with `--watch`, and prints what it says. */
export async function askGateway(
  context: CliContext,
  options: LiveOptions,
  ask: (client: ViciClient) => Promise<Answer>,
): Promise<void> {
  await withGateway(context, options, async (client) => {
    if (options.watch !== undefined) return watch(context, options, () => ask(client));
    const answer = await ask(client);
    context.terminal.out(options.json === true ? json(answer.data) : answer.text);
    return answer.exitCode ?? EXIT.success;
  });
}

async function watch(
  context: CliContext,
  options: LiveOptions,
  ask: () => Promise<Answer>,
): Promise<ExitCode> {
  const { terminal, clock } = context;
  const seconds = typeof options.watch === 'number' ? options.watch : WATCH_SECONDS_DEFAULT;
  const redraw = terminal.interactive && options.json !== true;
  let interrupted = false;
  let wake = (): void => {};
  const unsubscribe = context.onSignal(() => {
    interrupted = true;
    wake();
  });
  try {
    while (!interrupted) {
      const answer = await ask();
      // One JSON value a line; a screen that is redrawn; or blocks with a line between them.
      if (options.json === true) terminal.out(json(answer.data, 0));
      else if (redraw) terminal.out(`\u001b[H\u001b[2J${answer.text}`);
      else terminal.out(`${answer.text}\n`);
      await new Promise<void>((resolve) => {
        const timer = clock.schedule(seconds * 1000, resolve);
        wake = () => {
          timer.cancel();
          resolve();
        };
      });
    }
    return EXIT.success;
  } finally {
    unsubscribe();
  }
}
