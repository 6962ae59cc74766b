/**
 * Removes what runs that were killed left on this machine: programs, network namespaces and
 * folders with our name, of processes that are no more. What belongs to a living run, or to anybody
 * else, stays.
 */

import { readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ask, root } from './command.mjs';

const records = join(root, '.cache/lab');

/** Field 22 of /proc/PID/stat; undefined when there is no such process. */
function startTime(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie is dead, only not yet buried.
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
    return true;
  } catch {
    return false;
  }
}

function readRecord(path) {
  return readFileSync(path, 'utf8')
    .split('\n')
    .flatMap((line) => {
      try {
        return [JSON.parse(line)];
      } catch {
        // The last line of a process that was killed while it wrote.
        return [];
      }
    });
}

function removeNamespace(name) {
  for (const pid of ask(['ip', 'netns', 'pids', name]).output.split(/\s+/)) {
    if (/^\d+$/.test(pid)) kill(Number(pid));
  }
  return ask(['ip', 'netns', 'del', name]).status === 0;
}

/** The records that dead processes left; a pid counts only in the pid namespace that wrote it. */
function sweepRecords(removed) {
  const here = readlinkSync('/proc/self/ns/pid');
  let names = [];
  try {
    names = readdirSync(records).filter((name) => name.endsWith('.jsonl'));
  } catch {
    return;
  }
  for (const name of names) {
    const path = join(records, name);
    const entries = readRecord(path);
    const owner = entries.find((entry) => entry.owner !== undefined);
    if (owner === undefined || owner.pidNamespace !== here) {
      // Of a pid namespace that is gone with all its processes, or soon will be.
      if (Date.now() - statSync(path).mtimeMs > 24 * 3600 * 1000) rmSync(path, { force: true });
      continue;
    }
    if (startTime(owner.owner) === owner.start) continue;
    for (const entry of entries) {
      if (entry.pid !== undefined && startTime(entry.pid) === entry.start && kill(entry.pid)) {
        removed.push(`process ${entry.pid}`);
      }
    }
    for (const entry of entries) {
      if (entry.namespace !== undefined && removeNamespace(entry.namespace)) {
        removed.push(`namespace ${entry.namespace}`);
      }
      if (/\/ipn-[^/]+$/.test(entry.folder ?? '')) {
        rmSync(entry.folder, { recursive: true, force: true });
      }
    }
    rmSync(path, { force: true });
  }
}

/** Namespaces named `ipn-<letters><pid>-...` whose pid is not there any more. */
function sweepNamespaces(removed) {
  for (const line of ask(['ip', 'netns', 'list']).output.split('\n')) {
    const [name = ''] = line.split(' ');
    const pid = name.match(/^ipn-[a-z]*(\d+)-/)?.[1];
    if (pid !== undefined && startTime(Number(pid)) === undefined && removeNamespace(name)) {
      removed.push(`namespace ${name}`);
    }
  }
}

/** Returns what was removed, one entry each. */
export function sweep() {
  const removed = [];
  if (process.platform !== 'linux') return removed;
  sweepRecords(removed);
  sweepNamespaces(removed);
  return removed;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const what of sweep()) process.stdout.write(`removed ${what}\n`);
}
