import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class CommandFault extends Error {}

const COMMAND_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 5_000;

/** A program started in the background, known by its process id. */
export interface Daemon {
  readonly pid: number;
  readonly alive: boolean;
  /** The last lines that it wrote. */
  output(): string;
  /** SIGTERM, then SIGKILL after five seconds. */
  stop(): Promise<void>;
  /** Resolves when the program has ended, at the latest after the given time. */
  ended(timeoutMs: number): Promise<boolean>;
}

/** Runs a program to its end. Never rejects for an exit code; rejects when aborted. */
export function outcomeOf(
  program: string,
  args: readonly string[],
  options: {
    readonly timeoutMs?: number;
    readonly signal?: AbortSignal;
    readonly env?: Readonly<Record<string, string>>;
    readonly cwd?: string;
  } = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    execFile(
      program,
      [...args],
      {
        timeout: options.timeoutMs ?? COMMAND_TIMEOUT_MS,
        killSignal: 'SIGKILL',
        maxBuffer: 64 * 1024 * 1024,
        env: { ...process.env, ...options.env },
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      },
      (error, stdout, stderr) => {
        if (options.signal?.aborted === true) {
          reject(new Error('interrupted'));
          return;
        }
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
        resolve({ code, stdout, stderr: stderr === '' && error !== null ? error.message : stderr });
      },
    );
  });
}

/** Looks a program up in PATH and in the sbin folders. */
export function findProgram(name: string): string | null {
  const folders = [
    ...(process.env['PATH'] ?? '').split(':'),
    '/usr/local/sbin',
    '/usr/sbin',
    '/sbin',
  ];
  for (const folder of folders) {
    if (folder !== '' && existsSync(join(folder, name))) {
      return join(folder, name);
    }
  }
  return null;
}

/**
 * Owns everything that the bench puts on the machine: namespaces (`ipn-b<pid>-...`), programs and
 * one temporary folder. `close` takes all of it away, after success, failure and interruption.
 */
export class Lab {
  readonly prefix = `ipn-b${process.pid}-`;
  readonly directory: string;
  readonly signal: AbortSignal;
  readonly #namespaces = new Set<string>();
  readonly #daemons = new Set<ChildProcess>();
  #logs = 0;
  #closed = false;
  readonly #onExit = (): void => this.#closeNow();

  constructor(signal: AbortSignal) {
    this.signal = signal;
    removeStale();
    this.directory = mkdtempSync(join(tmpdir(), this.prefix));
    process.on('exit', this.#onExit);
  }

  /** Runs a program; throws {@link CommandFault} unless it exits with 0. Returns its stdout. */
  async run(program: string, ...args: readonly string[]): Promise<string> {
    const outcome = await outcomeOf(program, args, { signal: this.signal });
    if (outcome.code !== 0) {
      throw new CommandFault(
        `${program} ${args.join(' ')}: ${outcome.stderr.trim() || outcome.stdout.trim() || `exit code ${outcome.code}`}`,
      );
    }
    return outcome.stdout;
  }

  async sleep(milliseconds: number): Promise<void> {
    await sleep(milliseconds, undefined, { signal: this.signal });
  }

  async addNamespace(suffix: string): Promise<string> {
    const name = `${this.prefix}${suffix}`;
    this.#namespaces.add(name);
    await this.run('ip', 'netns', 'add', name);
    await this.run('ip', '-n', name, 'link', 'set', 'lo', 'up');
    return name;
  }

  /** Starts a program inside a namespace. It has a process group of its own: Ctrl-C is ours to handle. */
  start(
    namespace: string,
    program: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Daemon {
    this.signal.throwIfAborted();
    this.#logs += 1;
    const log = join(this.directory, `log-${this.#logs}`);
    const handle = openSync(log, 'w');
    // `ip netns exec` replaces itself by the program, so the child's id is the program's.
    const child = spawn('ip', ['netns', 'exec', namespace, program, ...args], {
      stdio: ['ignore', handle, handle],
      detached: true,
      env: { ...process.env, ...env },
    });
    closeSync(handle);
    child.on('error', () => this.#daemons.delete(child));
    child.on('exit', () => this.#daemons.delete(child));
    if (child.pid === undefined) {
      throw new CommandFault(`${program}: cannot be started`);
    }
    this.#daemons.add(child);
    const pid = child.pid;
    const ended = async (timeoutMs: number): Promise<boolean> => {
      const deadline = Date.now() + timeoutMs;
      while (isAlive(child) && Date.now() < deadline) {
        await sleep(20);
      }
      return !isAlive(child);
    };
    return {
      pid,
      get alive() {
        return isAlive(child);
      },
      output: () => readFileSync(log, 'utf8').trim().split('\n').slice(-12).join('\n'),
      ended,
      stop: async () => {
        if (isAlive(child)) {
          signalGroup(pid, 'SIGTERM');
          if (!(await ended(STOP_TIMEOUT_MS))) {
            signalGroup(pid, 'SIGKILL');
            await ended(STOP_TIMEOUT_MS);
          }
        }
        rmSync(log, { force: true });
      },
    };
  }

  /** Ends every program, deletes every namespace and the folder. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) {
      return;
    }
    for (const child of this.#daemons) {
      signalGroup(child.pid, 'SIGTERM');
    }
    const deadline = Date.now() + STOP_TIMEOUT_MS;
    while (this.#daemons.size > 0 && Date.now() < deadline) {
      await sleep(20);
    }
    this.#closeNow();
    process.off('exit', this.#onExit);
  }

  #closeNow(): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    for (const child of this.#daemons) {
      signalGroup(child.pid, 'SIGKILL');
    }
    for (const namespace of this.#namespaces) {
      spawnSync('ip', ['netns', 'del', namespace], {
        stdio: 'ignore',
        timeout: COMMAND_TIMEOUT_MS,
      });
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function isAlive(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) {
    return;
  }
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended already.
  }
}

/** Takes away what a bench that was killed by SIGKILL left: its process is gone, its names remain. */
function removeStale(): void {
  const isStale = (name: string): boolean => {
    const owner = /^ipn-b(\d+)-/.exec(name)?.[1];
    return owner !== undefined && !existsSync(`/proc/${owner}`);
  };
  const namesIn = (folder: string): string[] => {
    try {
      return readdirSync(folder).filter(isStale);
    } catch {
      return [];
    }
  };
  for (const namespace of namesIn('/run/netns')) {
    const pids = spawnSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8' }).stdout ?? '';
    for (const pid of pids.split('\n').filter((line) => line !== '')) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It has ended already.
      }
    }
    spawnSync('ip', ['netns', 'del', namespace], { stdio: 'ignore' });
  }
  for (const folder of namesIn(tmpdir())) {
    try {
      rmSync(join(tmpdir(), folder), { recursive: true, force: true });
    } catch {
      // It belongs to another user.
    }
  }
}
