/** Runs `ipsec-node demo` as a user does, and reads what it says as JSON. */

import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { Program } from '../../lab/command.ts';
import { repositoryRoot } from '../../lab/registry.ts';

export const DEMO = [process.execPath, `${repositoryRoot}/packages/ipsec-node/dist/cli/main.js`];
/** The demo alone; it is done in less than ten seconds on two processors. */
export const DEMO_MS_MAX = 150_000;

export interface DemoRun {
  readonly status: number;
  readonly lines: readonly DemoLine[];
  readonly output: string;
}

export interface DemoLine {
  readonly subject: string;
  readonly ok: boolean;
  readonly found: string;
}

/** Another build than that of the package. */
export interface Build {
  /** Path of the addon. */
  readonly addon?: string;
  /** Path of the command line's program. */
  readonly program?: string;
}

export async function runDemo(build: Build = {}): Promise<DemoRun> {
  await using program = startDemo(build);
  const timer = setTimeout(() => program.signal('SIGTERM'), DEMO_MS_MAX);
  const status = await program.exited;
  clearTimeout(timer);
  const output = `${program.stdout}${program.stderr}`;
  return { status, output, lines: program.stdout.split('\n').flatMap(demoLine) };
}

export function startDemo({ addon, program }: Build = {}): Program {
  const env = addon === undefined ? {} : { NAPI_RS_NATIVE_LIBRARY_PATH: addon };
  const command = program === undefined ? DEMO : [process.execPath, program];
  return new Program([...command, 'demo', '--json'], { env });
}

/** How many lines are not as they have to be, by subject. */
export function failures({ lines }: DemoRun): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { subject, ok } of lines) if (!ok) counts[subject] = (counts[subject] ?? 0) + 1;
  return counts;
}

function demoLine(text: string): readonly DemoLine[] {
  if (!text.startsWith('{"subject"')) return [];
  const line: unknown = JSON.parse(text);
  if (typeof line !== 'object' || line === null) return [];
  if (!('subject' in line) || !('ok' in line) || !('found' in line)) return [];
  const { subject, ok, found } = line;
  return [{ subject: String(subject), ok: ok === true, found: String(found) }];
}

/** Whatever a demo could leave: its processes, its folders, links of this namespace. */
export function remains(): readonly string[] {
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => /dist\/demo\/agent\.js|ipsec-node-demo-/.test(commandLine(pid)))
    .map((pid) => `process ${pid}: ${commandLine(pid)}`);
  const folders = readdirSync(tmpdir()).filter((name) => name.startsWith('ipsec-node-demo-'));
  const links = readFileSync('/proc/self/net/dev', 'utf8').matchAll(/^\s*(\S+):/gm);
  return [...processes, ...folders, ...[...links].map(([, name]) => `link ${name}`)].toSorted();
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    // It ended in between.
    return '';
  }
}
