/** The product as its user runs it: the command, and a gateway in a namespace. */

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { type CommandOptions, type CommandResult, type Program, run } from '../lab/command.ts';
import type { Namespace } from '../lab/namespace.ts';
import { recordFolder, repositoryRoot } from '../lab/registry.ts';

const MAIN = `${repositoryRoot}/packages/ipsec-node/dist/cli/main.js`;
/** A start with two busy cores takes seconds; one that takes this long has failed. */
const READY_MS = 40_000;

export function command(words: readonly string[]): string[] {
  return [process.execPath, MAIN, ...words];
}

/** Runs one command to its end, in a namespace where it has one. Any exit status is returned. */
export function ipsecNode(
  words: readonly string[],
  namespace?: Namespace,
  options: CommandOptions = {},
): Promise<CommandResult> {
  const whole = { anyStatus: true, ...options };
  return namespace === undefined
    ? run(command(words), whole)
    : namespace.exec(command(words), whole);
}

/** A folder for configuration, state and control sockets, removed when the process ends. */
export function scratchFolder(): string {
  const folder = mkdtempSync(`${tmpdir()}/ipn-scenario-`);
  recordFolder(folder);
  return folder;
}

type Json = Readonly<Record<string, unknown>>;

function record(value: unknown): Json {
  if (typeof value !== 'object' || value === null) throw new Error(`no object: ${String(value)}`);
  return Object.fromEntries(Object.entries(value));
}

function records(value: unknown): readonly Json[] {
  if (!Array.isArray(value)) throw new Error('no list');
  return value.map((item: unknown) => record(item));
}

/** Answer of a command with --json: one object. */
export function parseObject(text: string): Json {
  return record(JSON.parse(text));
}

/** Answer of a command with --json: a list of objects. */
export function parseList(text: string): readonly Json[] {
  return records(JSON.parse(text));
}

function numbers(value: unknown): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(record(value)).map(([key, n]) => [key, Number(n)]));
}

/** Everything that is counted, refusals and the rest, by name. */
export class Tally {
  constructor(private readonly values: Readonly<Record<string, number>>) {}

  of(name: string): number {
    return this.values[name] ?? 0;
  }

  /** What rose since, and by how much. */
  since(earlier: Tally, names?: readonly string[]): Readonly<Record<string, number>> {
    const chosen = names ?? Object.keys(this.values);
    return Object.fromEntries(
      chosen
        .map((name) => [name, this.of(name) - earlier.of(name)] as const)
        .filter(([, rise]) => rise !== 0),
    );
  }
}

/** A running `ipsec-node up`. */
export class RunningGateway {
  private constructor(
    readonly namespace: Namespace,
    readonly file: string,
    readonly program: Program,
  ) {}

  /** `wrapper`: a command that becomes the gateway, which is appended to it; `words`: more of its own. */
  static async start(
    namespace: Namespace,
    file: string,
    wrapper: readonly string[] = [],
    words: readonly string[] = [],
  ): Promise<RunningGateway> {
    const program = namespace.spawn([...wrapper, ...command(['up', '-c', file, ...words])]);
    await program.output(/^ready: /m, READY_MS);
    return new RunningGateway(namespace, file, program);
  }

  private async ask(words: readonly string[]): Promise<string> {
    const result = await run(command([...words, '-c', this.file, '--json']), { anyStatus: true });
    if (result.stdout === '') throw new Error(`${words.join(' ')}: ${result.stderr}`);
    return result.stdout;
  }

  /** Counters, refusals included. */
  async tally(): Promise<Tally> {
    const answer = parseObject(await this.ask(['counters', '--all']));
    return new Tally({ ...numbers(answer['counters']), ...numbers(answer['drops']) });
  }

  async sas(): Promise<readonly Json[]> {
    return parseList(await this.ask(['sas']));
  }

  async policies(): Promise<readonly Json[]> {
    return parseList(await this.ask(['policies']));
  }

  async status(): Promise<Json> {
    return parseObject(await this.ask(['status']));
  }

  kill(): Promise<number> {
    return this.program.stop('SIGKILL');
  }

  /** In order. Returns the exit status. */
  stop(): Promise<number> {
    return this.program.stop('SIGTERM', 20_000);
  }
}
