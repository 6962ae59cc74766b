/** Running programs for the chores: output to a log, an end together with ours. No dependencies. */

import { spawn, spawnSync } from 'node:child_process';
import { createWriteStream, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository, without a slash at the end. */
export const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');

export const inCi = process.env.CI === 'true';

/** Where Debian and rustup put programs, whatever the caller's PATH says. */
process.env.PATH = [
  process.env.PATH ?? '',
  join(process.env.CARGO_HOME ?? join(process.env.HOME ?? '/root', '.cargo'), 'bin'),
  '/usr/local/sbin',
  '/usr/sbin',
  '/sbin',
].join(':');

/** Status and output of a short command; status undefined when it is not there. */
export function ask(command, options = {}) {
  const [program, ...words] = command;
  const result = spawnSync(program, words, { cwd: root, encoding: 'utf8', ...options });
  return {
    status: result.status ?? undefined,
    output: `${result.stdout ?? ''}${result.stderr ?? ''}`.trim(),
  };
}

/** Words that make the rest of a command root of a user namespace; undefined where that is refused. */
export function userNamespace() {
  const flags = [
    '--user',
    '--map-root-user',
    '--net',
    '--mount',
    '--pid',
    '--fork',
    '--mount-proc',
  ];
  const unshare = ['unshare', ...flags, '--kill-child'];
  return ask([...unshare, 'true']).status === 0 ? unshare : undefined;
}

export function has(program) {
  return ask(['sh', '-c', 'command -v "$0"', program]).status === 0;
}

let tie;

/** Words to put before a command so that the kernel ends it when this process is gone. */
function tied() {
  tie ??= ask(['setpriv', '--pdeathsig', 'TERM', 'true']).status === 0;
  return tie ? ['setpriv', '--pdeathsig', 'TERM', '--'] : [];
}

const running = new Set();

/** Ends every program started here, each with those it started. */
export function endAll(signal = 'SIGTERM') {
  for (const child of running) {
    try {
      process.kill(-child.pid, signal);
    } catch {
      // It ended in between.
    }
  }
}

/**
 * Runs a command with its output in a log file. `onLine` sees each line without colours.
 * Resolves to the exit status and everything printed.
 */
export function logged(command, { log, onLine, env, timeoutMs } = {}) {
  mkdirSync(dirname(log), { recursive: true });
  const file = createWriteStream(log);
  const [program, ...words] = [...tied(), ...command];
  return new Promise((resolve) => {
    // A group of its own: what the program starts can be ended with it.
    const child = spawn(program, words, {
      cwd: root,
      env: { ...process.env, CARGO_TERM_COLOR: 'never', NO_COLOR: '1', FORCE_COLOR: '0', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    running.add(child);
    let output = '';
    let rest = '';
    const take = (chunk) => {
      const text = chunk.toString('utf8');
      file.write(text);
      output += text;
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) onLine?.(line);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            take(Buffer.from(`\nended after ${timeoutMs / 1000} s\n`));
            process.kill(-child.pid, 'SIGKILL');
          }, timeoutMs);
    const finish = (status) => {
      clearTimeout(timer);
      running.delete(child);
      file.end();
      resolve({ status, output });
    };
    child.on('error', (error) => {
      output += `${error.message}\n`;
      finish(127);
    });
    child.on('close', (code) => finish(code ?? 128));
  });
}

/** A JSON file's value, or the fallback when it is absent or broken. */
export function readJson(path, fallback) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return fallback;
  }
}

export function lastLines(text, count) {
  return text.trimEnd().split('\n').slice(-count).join('\n');
}
