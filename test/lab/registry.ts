/**
 * What this process made on the host and must undo: processes and network namespaces. Undone by
 * the tests themselves, else when the process exits, else (SIGKILL) by tools/janitor.mjs from the
 * file written here: one JSON line for each process, with the time it started, so that a number
 * used again by a stranger is never signalled.
 */

import { spawnSync } from 'node:child_process';
import { appendFileSync, mkdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const NAME_PREFIX = `ipn-${process.pid}-`;

const ROOT = process.env['IPSEC_NODE_ROOT'] ?? fileURLToPath(new URL('../..', import.meta.url));

/** Absolute path of the repository. */
export const repositoryRoot = ROOT.endsWith('/') ? ROOT.slice(0, -1) : ROOT;

const folder = `${repositoryRoot}/.cache/lab`;
const file = `${folder}/${process.pid}.jsonl`;
const namespaces = new Set<string>();
const processes = new Map<number, string>();
const folders = new Set<string>();
let hooked = false;

/** Field 22 of /proc/PID/stat, in clock ticks since boot; undefined when there is no such process. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie is dead, only not yet buried.
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function record(entry: Readonly<Record<string, string | number>>): void {
  try {
    mkdirSync(folder, { recursive: true });
    appendFileSync(file, `${JSON.stringify(entry)}\n`);
  } catch {
    // A file system that cannot be written (a guest): the exit hook alone has to do.
  }
}

function hook(): void {
  if (hooked) return;
  hooked = true;
  record({
    owner: process.pid,
    start: startTime(process.pid) ?? '',
    pidNamespace: readlinkSync('/proc/self/ns/pid'),
  });
  process.once('exit', undoAll);
  // A worker whose runner is gone has nobody to report to.
  process.once('disconnect', leave);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, leave);
}

/** Ends this process, also where a test runner has replaced process.exit by something that throws. */
function leave(): void {
  undoAll();
  process.kill(process.pid, 'SIGKILL');
}

export function recordProcess(pid: number): void {
  hook();
  const start = startTime(pid);
  if (start === undefined) return;
  processes.set(pid, start);
  record({ pid, start });
}

export function recordNamespace(name: string): void {
  hook();
  namespaces.add(name);
  record({ namespace: name });
}

export function forgetNamespace(name: string): void {
  namespaces.delete(name);
}

/** A folder to remove with everything in it when the process ends. */
export function recordFolder(path: string): void {
  hook();
  folders.add(path);
  record({ folder: path });
}

function undoAll(): void {
  for (const [pid, start] of processes) {
    if (startTime(pid) !== start) continue;
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended in between.
    }
  }
  for (const name of namespaces) removeNamespaceNow(name);
  for (const path of folders) rmSync(path, { recursive: true, force: true });
  rmSync(file, { force: true });
}

/** Kills what runs in the namespace and removes it, without waiting for anything. */
function removeNamespaceNow(name: string): void {
  const listed = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' });
  for (const pid of (listed.stdout ?? '').split(/\s+/).filter((word) => word !== '')) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It ended in between.
    }
  }
  spawnSync('ip', ['netns', 'del', name]);
}
