/** Programs of the host: run to their end, or started and watched. None outlives its test. */

import { type ChildProcess, spawn } from 'node:child_process';
import { recordProcess } from './registry.ts';

const inGuest = process.env['IPSEC_NODE_GUEST'] !== undefined;

export interface CommandOptions {
  readonly input?: string | Uint8Array;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Default 60 s; the command is killed after it. */
  readonly timeoutMs?: number;
  /** Return a non-zero status instead of throwing. */
  readonly anyStatus?: boolean;
}

export interface CommandResult {
  /** Exit status; 128 and more than the signal's place when a signal ended it. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class CommandFailed extends Error {
  constructor(
    readonly command: readonly string[],
    readonly result: CommandResult,
  ) {
    const said = `${result.stdout}\n${result.stderr}`.trim();
    super(`${command.join(' ')}: status ${result.status}\n${said}`);
  }
}

function environment(extra: Readonly<Record<string, string>> | undefined): NodeJS.ProcessEnv {
  const path = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`;
  return { ...process.env, PATH: path, LC_ALL: 'C', ...extra };
}

/**
 * Starts a program that dies when this process does, even by SIGKILL: the kernel sends the signal.
 */
function spawnTied(command: readonly string[], options: CommandOptions): ChildProcess {
  // In a guest, where each start takes long, nothing outlives the machine.
  const tied = inGuest ? command : ['setpriv', '--pdeathsig', 'KILL', '--', ...command];
  const [program = '', ...words] = tied;
  const child = spawn(program, words, {
    cwd: options.cwd,
    env: environment(options.env),
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  if (child.pid !== undefined) recordProcess(child.pid);
  return child;
}

/** A program that runs beside the test. */
export class Program {
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';
  #ended: { readonly status: number } | undefined;
  readonly #listeners = new Set<() => void>();
  /** Resolves to the exit status. Never rejects. */
  readonly exited: Promise<number>;

  constructor(
    readonly command: readonly string[],
    options: CommandOptions = {},
  ) {
    const child = spawnTied(command, options);
    this.#child = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
      this.#notify();
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
      this.#notify();
    });
    child.stdin?.on('error', () => undefined);
    if (options.input !== undefined) child.stdin?.end(options.input);
    this.exited = new Promise((resolve) => {
      const end = (status: number): void => {
        this.#ended ??= { status };
        this.#notify();
        resolve(this.#ended.status);
      };
      child.on('error', (error) => {
        this.#stderr += `${error.message}\n`;
        end(127);
      });
      child.on('close', (code, signal) => end(code ?? (signal === null ? 1 : 128)));
    });
  }

  /** Of the program itself: what starts it is replaced by it. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  get running(): boolean {
    return this.#ended === undefined;
  }

  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  closeInput(): void {
    this.#child.stdin?.end();
  }

  signal(name: NodeJS.Signals): void {
    if (this.running) this.#child.kill(name);
  }

  /** Waits until stdout and stderr together match; throws with both when it ends or takes longer. */
  async output(pattern: RegExp, timeoutMs = 10_000): Promise<RegExpMatchArray> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const match = `${this.#stdout}\n${this.#stderr}`.match(pattern);
      if (match !== null) return match;
      const left = deadline - Date.now();
      if (!this.running || left <= 0) {
        const why = this.running ? `nothing like ${pattern} in ${timeoutMs} ms` : 'it ended';
        throw new Error(`${this.command.join(' ')}: ${why}\n${this.#stdout}\n${this.#stderr}`);
      }
      await this.#change(left);
    }
  }

  /** The line of stdout with that number, from 1, once it is complete. */
  async line(number: number, timeoutMs = 10_000): Promise<string> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const lines = this.#stdout.split('\n');
      const line = lines[number - 1];
      if (line !== undefined && lines.length > number) return line;
      const left = deadline - Date.now();
      if (!this.running || left <= 0) {
        throw new Error(`${this.command.join(' ')}: no line ${number}\n${this.#stderr}`);
      }
      await this.#change(left);
    }
  }

  /** Ends it: the signal, and SIGKILL if that is not enough within the time. */
  async stop(name: NodeJS.Signals = 'SIGTERM', timeoutMs = 5_000): Promise<number> {
    this.signal(name);
    const timer = setTimeout(() => this.signal('SIGKILL'), timeoutMs);
    const status = await this.exited;
    clearTimeout(timer);
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGTERM');
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  #change(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#listeners.delete(finish);
        resolve();
      };
      const timer = setTimeout(finish, timeoutMs);
      this.#listeners.add(finish);
    });
  }
}

/** Runs a program to its end. Throws CommandFailed for a status other than 0. */
export async function run(
  command: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const program = new Program(command, { ...options, input: options.input ?? '' });
  const timeoutMs = options.timeoutMs ?? 60_000;
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    program.signal('SIGKILL');
  }, timeoutMs);
  const status = await program.exited;
  clearTimeout(timer);
  const stderr = late ? `${program.stderr}\nkilled after ${timeoutMs} ms` : program.stderr;
  const result = { status: late ? 137 : status, stdout: program.stdout, stderr };
  if (result.status !== 0 && options.anyStatus !== true) throw new CommandFailed(command, result);
  return result;
}

/** Waits for a condition, asked every 50 ms. Throws `what` when it does not come true. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 10_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
