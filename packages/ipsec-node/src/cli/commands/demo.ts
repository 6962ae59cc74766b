/** `ipsec-node demo`: gets the rights that it needs, plays the demo, and prints it on one screen. */
import { spawn, spawnSync } from 'node:child_process';
import { ResourceError } from '../../errors.js';
import { playDemo } from '../../demo/demo.js';
import { PLACES } from '../../demo/laboratory.js';
import type { DemoLine, Subject } from '../../demo/line.js';
import { EXIT, type ExitCode } from '../refusal.js';
import { json, oneLine, paint } from '../render.js';
import type { Terminal } from '../terminal.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const SUBJECT_WIDTH = 17;
const DID_WIDTH = 47;

/** What has a namespace of its own for links and, where that needs it, for users. */
const NAMESPACE = ['unshare', '--net'] as const;
const USER_NAMESPACE = [
  'unshare',
  '--user',
  '--map-root-user',
  '--net',
  '--mount',
  '--pid',
  '--fork',
  '--mount-proc',
  '--kill-child',
] as const;

/** Runs the demo and returns what the process is to exit with. */
export async function runDemo(
  options: Readonly<Record<string, unknown>>,
  terminal: Terminal,
): Promise<ExitCode> {
  const asJson = options['json'] === true;
  if (!isAllowed(NAMESPACE)) {
    if (isAllowed(USER_NAMESPACE)) return inUserNamespace(asJson);
    throw new ResourceError(
      'IPSEC_ERR_PRIVILEGE_MISSING',
      'The demo needs network namespaces: run it as root, or allow unprivileged user ' +
        'namespaces (sysctl kernel.unprivileged_userns_clone=1, on Ubuntu also ' +
        'kernel.apparmor_restrict_unprivileged_userns=0).',
      { fields: { adviceInMessage: true } },
    );
  }
  const stop = new AbortController();
  const abort = (): void => stop.abort();
  for (const signal of SIGNALS) process.on(signal, abort);
  process.on('disconnect', abort);
  process.channel?.unref();
  try {
    return await show(playDemo(stop.signal), terminal, asJson, stop.signal);
  } finally {
    for (const signal of SIGNALS) process.off(signal, abort);
    process.off('disconnect', abort);
  }
}

function isAllowed([program, ...words]: readonly [string, ...string[]]): boolean {
  return spawnSync(program, [...words, 'true'], { stdio: 'ignore' }).status === 0;
}

/**
 * The same command once more, as root of a user namespace. `unshare` passes no signals on, so the
 * end of the channel says that it is over, also where this process is killed.
 */
async function inUserNamespace(asJson: boolean): Promise<ExitCode> {
  const [program, ...words] = USER_NAMESPACE;
  const again = [process.execPath, process.argv[1] ?? '', 'demo', ...(asJson ? ['--json'] : [])];
  const child = spawn(program, [...words, ...again], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  });
  const stop = (): void => {
    if (child.connected) child.disconnect();
  };
  for (const signal of SIGNALS) process.on(signal, stop);
  const code = await new Promise<number | null>((resolve) => {
    child.once('error', () => resolve(null));
    // Not 'close': after a disconnect from this side it does not come.
    child.once('exit', resolve);
  });
  for (const signal of SIGNALS) process.off(signal, stop);
  return code === 0 ? EXIT.success : EXIT.failure;
}

async function show(
  lines: AsyncGenerator<DemoLine>,
  terminal: Terminal,
  asJson: boolean,
  signal: AbortSignal,
): Promise<ExitCode> {
  if (!asJson) terminal.out(head(terminal));
  const failed = new Set<Subject>();
  let last: Subject | undefined;
  for await (const line of lines) {
    if (!line.ok) failed.add(line.subject);
    if (asJson) {
      const { chart: _, ...told } = line;
      terminal.out(json(told, 0));
    } else terminal.out(lineText(terminal, line, line.subject === last));
    last = line.subject;
  }
  const isOver = signal.aborted;
  const ok = failed.size === 0 && !isOver;
  if (asJson) terminal.out(json({ ok, failed: [...failed].join(', '), interrupted: isOver }, 0));
  else if (isOver) terminal.out('\n  Interrupted; everything is removed.\n');
  else if (ok) terminal.out(`\n  ${paint(terminal, 'green', 'Every attack was refused.')}\n`);
  else terminal.out(`\n  ${paint(terminal, 'red', `FAILED: ${[...failed].join(', ')}`)}\n`);
  return ok ? EXIT.success : EXIT.failure;
}

function head(terminal: Terminal): string {
  const wire = paint(terminal, 'red', '─── wire ───');
  const dim = (text: string): string => paint(terminal, 'dim', text);
  const gateway = (name: string): string => paint(terminal, 'bold', `gateway ${name}`);
  return (
    `\n  host A ${dim(PLACES.hostA)} ── ${gateway('A')} ${dim(PLACES.gatewayA)} ${wire} ` +
    `${dim(PLACES.gatewayB)} ${gateway('B')} ── host B ${dim(PLACES.hostB)}\n\n`
  );
}

function lineText(terminal: Terminal, line: DemoLine, isMore: boolean): string {
  const mark = line.ok ? paint(terminal, 'green', '✓') : paint(terminal, 'red', '✗');
  const subject = paint(terminal, 'bold', (isMore ? '' : line.subject).padEnd(SUBJECT_WIDTH));
  const found = oneLine(line.found);
  const told = line.ok ? paint(terminal, 'cyan', found) : paint(terminal, 'red', found);
  const rows = (line.chart ?? []).map(
    (row) => `    ${' '.repeat(SUBJECT_WIDTH)}${paint(terminal, 'dim', row)}\n`,
  );
  return `  ${mark} ${subject}${oneLine(line.did).padEnd(DID_WIDTH)} ${told}\n${rows.join('')}`;
}
