/**
 * Debian's kernel in QEMU, by software emulation: a machine with the kernel's own ESP, whatever
 * the host's kernel has. Its root is the host's file system, read-only, under a layer in memory:
 * every program installed here is there. One boot takes some seconds, so it serves many cases.
 */

import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import type * as Transpiler from '../../tools/transpile.mjs';
import { run } from './command.ts';
import type { CaseResult } from './guest-runner.ts';
import { debianKernel, PeerMissing, requirePeer } from './peer.ts';
import { recordFolder, repositoryRoot } from './registry.ts';

export type { CaseResult, GuestCase, GuestCases } from './guest-runner.ts';

export interface GuestOptions {
  /** Default 2. */
  readonly cpus?: number;
  /** Default 2048. */
  readonly memoryMib?: number;
  /** For the whole life of the guest. Default 300 s. */
  readonly timeoutMs?: number;
  /**
   * One CPU on which one nanosecond is one instruction: a rate measured inside is then work per
   * instruction, near the same every time. Idle time passes as outside: were it skipped, waits of
   * the kernel for a file of the host would run out.
   */
  readonly countInstructions?: boolean;
  /** Files put into /run/job beside the command, by name. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
}

export interface GuestResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** A file that the guest left in /run/job; undefined when it did not. */
  readonly file: (name: string) => Buffer | undefined;
}

/** The Debian packages that a guest needs. */
export const GUEST_NEEDS = [
  'qemu-system-x86',
  'linux-image-amd64',
  'busybox-static',
  'cpio',
  'kmod',
] as const;

const MODULE_FOLDERS = [
  'net/9p',
  'fs/9p',
  'fs/netfs',
  'fs/fscache',
  'fs/overlayfs',
  'drivers/virtio',
];

/** By its place in the repository: this file may itself run transpiled, from elsewhere. */
async function transpile(entry: string): Promise<string> {
  const tool: typeof Transpiler = await import(`${repositoryRoot}/tools/transpile.mjs`);
  return tool.transpile(entry);
}

/** Builds the initramfs once for each kernel and each init. */
async function initramfs(release: string): Promise<string> {
  const init = readFileSync(`${repositoryRoot}/test/lab/guest-init.sh`);
  const hash = createHash('sha256').update(init).digest('hex').slice(0, 12);
  const folder = `${repositoryRoot}/.cache/guest`;
  const path = `${folder}/initramfs-${release}-${hash}`;
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  const work = mkdtempSync(`${tmpdir()}/ipn-initramfs-`);
  try {
    for (const name of ['bin', 'proc', 'sys', 'dev', 'lower', 'layer', 'newroot']) {
      mkdirSync(`${work}/${name}`);
    }
    cpSync(requirePeer('busybox-static'), `${work}/bin/busybox`, { dereference: true });
    const modules = `/lib/modules/${release}`;
    mkdirSync(`${work}${modules}/kernel`, { recursive: true });
    for (const name of readdirSync(modules).filter((each) => each.startsWith('modules.'))) {
      cpSync(`${modules}/${name}`, `${work}${modules}/${name}`);
    }
    for (const part of MODULE_FOLDERS.filter((each) => existsSync(`${modules}/kernel/${each}`))) {
      cpSync(`${modules}/kernel/${part}`, `${work}${modules}/kernel/${part}`, { recursive: true });
    }
    writeFileSync(`${work}/init`, init, { mode: 0o755 });
    const draft = `${path}.${process.pid}`;
    await run(['bash', '-c', 'find . | cpio -o -H newc --quiet | gzip -1 > "$0"', draft], {
      cwd: work,
    });
    renameSync(draft, path);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return path;
}

/** Boots, runs a bash script as root in /run/job, switches off. */
export async function bootGuest(script: string, options: GuestOptions = {}): Promise<GuestResult> {
  for (const need of GUEST_NEEDS) requirePeer(need);
  const kernel = debianKernel();
  if (kernel === undefined) throw new PeerMissing('linux-image-amd64');
  const job = mkdtempSync(`${tmpdir()}/ipn-guest-`);
  recordFolder(job);
  const start = readFileSync(`${repositoryRoot}/test/lab/guest-start.sh`);
  const files = { start, command: script, ...options.files };
  for (const [name, content] of Object.entries(files)) writeFileSync(`${job}/${name}`, content);
  const counting = options.countInstructions === true;
  const share = (path: string, tag: string, model: string): string[] => [
    '-virtfs',
    `local,path=${path},mount_tag=${tag},security_model=${model}`,
  ];
  const command = [
    requirePeer('qemu-system-x86'),
    ...['-accel', counting ? 'tcg' : 'tcg,thread=multi', '-cpu', 'max'],
    ...(counting ? ['-icount', 'shift=0,sleep=on'] : []),
    ...['-smp', String(counting ? 1 : (options.cpus ?? 2))],
    ...['-m', String(options.memoryMib ?? 2048)],
    ...['-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-no-reboot', '-nic', 'none'],
    ...['-kernel', kernel.image, '-initrd', await initramfs(kernel.release)],
    ...share('/', 'hostroot', 'passthrough,readonly=on,multidevs=remap'),
    ...share(job, 'hostjob', 'none'),
    // The kernel's tests of its own ciphers take half a minute here.
    ...['-append', 'console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off cryptomgr.notests=1'],
  ];
  const console_ = await run(command, { timeoutMs: options.timeoutMs ?? 300_000, anyStatus: true });
  const file = (name: string): Buffer | undefined =>
    existsSync(`${job}/${name}`) ? readFileSync(`${job}/${name}`) : undefined;
  const text = (name: string): string => file(name)?.toString('utf8') ?? '';
  const status = text('status').trim();
  if (status === '') {
    const said = [text('stdout'), text('stderr'), console_.stdout.slice(-4000), console_.stderr];
    throw new Error(`the guest did not finish\n${said.join('\n')}`);
  }
  return { status: Number(status), stdout: text('stdout'), stderr: text('stderr'), file };
}

export interface CasesOptions extends GuestOptions {
  /** A TypeScript file that exports `cases`. */
  readonly module: string;
  /** Names of the cases to run, in order; all when left out. */
  readonly names?: readonly string[];
  /** Of one case. Default 120 s. */
  readonly caseTimeoutMs?: number;
}

/**
 * Runs many cases in one boot. A case is an async function of a TypeScript module; it runs in the
 * guest, with this laboratory and every package at hand, and what it returns comes back as JSON.
 */
export async function runGuestCases(
  options: CasesOptions,
): Promise<ReadonlyMap<string, CaseResult>> {
  const runner = await transpile(`${repositoryRoot}/test/lab/guest-runner.ts`);
  const module = await transpile(options.module);
  const plan = {
    module,
    names: options.names ?? [],
    caseTimeoutMs: options.caseTimeoutMs ?? 120_000,
    results: '/run/job/results.jsonl',
  };
  const script = [
    `export IPSEC_NODE_ROOT='${repositoryRoot}' IPSEC_NODE_GUEST=1`,
    `exec '${process.execPath}' '${runner}' /run/job/plan.json`,
  ];
  const guest = await bootGuest(`${script.join('\n')}\n`, {
    ...options,
    files: { ...options.files, 'plan.json': JSON.stringify(plan) },
  });
  const lines = (guest.file('results.jsonl')?.toString('utf8') ?? '').split('\n');
  const results = new Map<string, CaseResult>();
  for (const line of lines.filter((each) => each !== '')) {
    const result = parseResult(JSON.parse(line));
    results.set(result.name, result);
  }
  if (guest.status !== 0) {
    throw new Error(`the runner ended with ${guest.status}\n${guest.stdout}\n${guest.stderr}`);
  }
  return results;
}

function parseResult(value: unknown): CaseResult {
  if (typeof value !== 'object' || value === null) throw new Error('a result is an object');
  const fields = new Map<string, unknown>(Object.entries(value));
  const name = fields.get('name');
  const error = fields.get('error');
  if (typeof name !== 'string') throw new Error('a result has a name');
  return {
    name,
    ms: Number(fields.get('ms')),
    ...(typeof error === 'string' ? { error } : { value: fields.get('value') }),
  };
}
