/** What `initiate`, `rekey` and `terminate` share: whose NAME it is, the log while it runs, the end. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { nearestName } from '../config/nearest.js';
import type { ViciClient } from '../daemon/vici/client.js';
import { section, type SectionFields, textOf, type ViciSection } from '../daemon/vici/codec.js';
import { COMMAND_MS_MAX } from '../daemon/vici/ike-commands.js';
import { decodePeer, type PeerRow } from '../daemon/vici/ike-messages.js';
import { UsageError } from '../errors.js';
import type { CliContext } from './context.js';
import { addLiveOptions, type LiveOptions, withGateway } from './live.js';
import { EXIT } from './refusal.js';
import { json, oneLine, paint } from './render.js';

/** More than a command waits for itself: its own answer comes first. */
const ANSWER_MS = 5_000;
const TIMEOUT_SECONDS_MAX = COMMAND_MS_MAX / 1000;

/** Options of the three. */
export interface SaCommandOptions extends LiveOptions {
  readonly ike?: boolean;
  readonly child?: boolean;
  readonly timeout?: number;
}

/** Adds NAME, `--ike`, `--child` and the options of every command that asks a gateway. */
export function addSaCommand(command: Command): Command {
  return addLiveOptions(command.argument('<name>', 'a peer or a child'))
    .addOption(new Option('--ike', 'NAME is a peer').conflicts('child'))
    .addOption(new Option('--child', 'NAME is a child').conflicts('ike'));
}

/** Adds `--timeout`. */
export function addTimeoutOption(command: Command): Command {
  return command.addOption(
    new Option('--timeout <seconds>', 'wait no longer than this; 0: do not wait').argParser(
      parseTimeout,
    ),
  );
}

function parseTimeout(text: string): number {
  const seconds = Number(text);
  if (text.trim() !== '' && seconds >= 0 && seconds <= TIMEOUT_SECONDS_MAX) return seconds;
  throw new InvalidArgumentError(`seconds are 0..${TIMEOUT_SECONDS_MAX}.`);
}

/** The peers of the running gateway. */
export async function askPeers(client: ViciClient): Promise<readonly PeerRow[]> {
  return (await client.collect('ipsec-node-peers', 'ipsec-node-peer')).map(decodePeer);
}

/**
 * Says whether NAME is a peer or a child, as the field that the control socket wants.
 *
 * @throws UsageError where it is neither, or both and the options do not say which.
 */
export function choiceOf(
  peers: readonly PeerRow[],
  name: string,
  options: Pick<SaCommandOptions, 'ike' | 'child'>,
): readonly [field: 'ike' | 'child', name: string] {
  const peerNames = peers.flatMap((peer) => peer.name ?? []);
  const childNames = peers.flatMap((peer) => [
    ...peer.children,
    ...peer.ikeSas.flatMap((sa) => sa.children.map((child) => child.name)),
  ]);
  const isPeer = options.child !== true && peerNames.includes(name);
  const isChild = options.ike !== true && childNames.includes(name);
  if (isPeer && isChild) {
    throw new UsageError(
      'IPSEC_ERR_USAGE',
      `${name} is the name of a peer and of a child: say which with --ike or --child.`,
    );
  }
  if (isPeer) return ['ike', name];
  if (isChild) return ['child', name];
  const known =
    options.ike === true
      ? peerNames
      : options.child === true
        ? childNames
        : [...peerNames, ...childNames];
  const kind = options.ike === true ? 'peer' : options.child === true ? 'child' : 'peer or child';
  const nearest = nearestName(name, known);
  const advice =
    nearest === undefined
      ? '`ipsec-node peers` lists them.'
      : `Did you mean ${nearest}? \`ipsec-node peers\` lists them.`;
  throw new UsageError('IPSEC_ERR_USAGE', `There is no ${kind} ${name}. ${advice}`);
}

/** One command of the three. */
export interface SaCommand {
  /** As vici calls it. */
  readonly name: 'initiate' | 'rekey' | 'terminate';
  readonly fields?: SectionFields;
  /** The sentence that says what was done. */
  readonly done: (name: string, reply: ViciSection) => string;
}

/** Runs it: the log of the gateway goes to the side of messages, what came of it to the output. */
export async function runSaCommand(
  context: CliContext,
  name: string,
  options: SaCommandOptions,
  command: SaCommand,
): Promise<void> {
  const { terminal } = context;
  await withGateway(context, options, async (client) => {
    const choice = choiceOf(await askPeers(client), name, options);
    const seconds = options.timeout;
    const wait = seconds === undefined ? COMMAND_MS_MAX : Math.round(seconds * 1000);
    const request = section([
      choice,
      // vici's own words: negative does not wait.
      ['timeout', seconds === undefined ? undefined : wait === 0 ? -1 : wait],
      ['loglevel', 1],
      ...(command.fields ?? []),
    ]);
    const reply = await client.listenWhile(
      ['control-log'],
      (_event, message) => {
        if (options.json === true) return;
        terminal.err(`${paint(terminal, 'dim', oneLine(textOf(message, 'msg') ?? ''))}\n`);
      },
      () => client.request(command.name, request, wait + ANSWER_MS),
    );
    if (options.json === true) {
      const counts = ['matches', 'terminated'].flatMap((key) => {
        const text = textOf(reply, key);
        return text === undefined ? [] : [[key, Number(text)] as const];
      });
      terminal.out(
        json({
          command: command.name,
          [choice[0] === 'ike' ? 'peer' : 'child']: name,
          success: true,
          ...Object.fromEntries(counts),
        }),
      );
    } else terminal.out(`${command.done(name, reply)}\n`);
    return EXIT.success;
  });
}
