import { readdirSync, readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { outcomeOf } from './gateway/lab.js';

/** The machine and the tools, as written into each result. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly hypervisor: boolean;
  readonly cpuFlags: readonly string[];
  readonly governor: string;
  readonly kernel: string;
  readonly mitigations: Readonly<Record<string, string>>;
  readonly node: string;
  readonly rust: string;
  readonly go: string;
  readonly iperf3: string;
  readonly openssl: string;
  readonly congestionControl: string;
  readonly socketBufferBytesMax: { readonly receive: number; readonly send: number };
  /** Root of a user namespace cannot raise socket buffers past the limits above. */
  readonly userNamespace: boolean;
  readonly commit: string;
}

const CPU_FLAGS_THAT_MATTER = [
  ...['aes', 'pclmulqdq', 'vaes', 'vpclmulqdq', 'avx2', 'avx512f', 'avx512bw', 'avx512vl'],
  'hypervisor',
];

function fileText(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

async function firstLine(program: string, args: readonly string[], cwd?: string): Promise<string> {
  const outcome = await outcomeOf(program, args, cwd === undefined ? {} : { cwd });
  return outcome.code === 0 ? (outcome.stdout.trim().split('\n')[0] ?? '') : 'absent';
}

export async function describeMachine(root: string): Promise<Machine> {
  const info = fileText('/proc/cpuinfo');
  const flags = (/^flags\s*:\s*(.*)$/m.exec(info)?.[1] ?? '').split(' ');
  const field = (name: string): string =>
    new RegExp(`^${name}\\s*:\\s*(.*)$`, 'm').exec(info)?.[1] ?? '?';
  const model = cpus()[0]?.model.trim() ?? 'unknown';
  const folder = '/sys/devices/system/cpu/vulnerabilities';
  const mitigations: Record<string, string> = {};
  try {
    for (const name of readdirSync(folder).sort()) {
      mitigations[name] = fileText(join(folder, name));
    }
  } catch {
    // The kernel does not say.
  }
  const head = await firstLine('git', ['rev-parse', 'HEAD'], root);
  const changed = await outcomeOf('git', ['status', '--porcelain', '--untracked-files=no'], {
    cwd: root,
  });
  return {
    cpu: `${model} (family ${field('cpu family')}, model ${field('model')})`,
    cores: cpus().length,
    memoryGib: Math.round((totalmem() / 2 ** 30) * 10) / 10,
    hypervisor: flags.includes('hypervisor'),
    cpuFlags: CPU_FLAGS_THAT_MATTER.filter((flag) => flags.includes(flag)),
    governor: fileText('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor') || 'not exposed',
    kernel: release(),
    mitigations,
    node: process.version,
    rust: await firstLine('rustc', ['--version'], root),
    go: await firstLine('go', ['version']),
    iperf3: await firstLine('iperf3', ['--version']),
    openssl: process.versions.openssl,
    congestionControl: fileText('/proc/sys/net/ipv4/tcp_congestion_control'),
    socketBufferBytesMax: {
      receive: Number(fileText('/proc/sys/net/core/rmem_max')),
      send: Number(fileText('/proc/sys/net/core/wmem_max')),
    },
    userNamespace: !/^\s*0\s+0\s+4294967295$/m.test(fileText('/proc/self/uid_map')),
    commit: changed.stdout.trim() === '' ? head : `${head} with changes`,
  };
}

/** A name for files: letters, digits and hyphens. */
export function cpuSlug(): string {
  const model = cpus()[0]?.model ?? 'unknown';
  return model
    .toLowerCase()
    .replace(/\((r|tm)\)|\bcpu\b|processor|@.*$/g, ' ')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');
}

/** Time of all processors since boot, in clock ticks. */
export interface ProcessorTime {
  readonly busy: number;
  readonly stolen: number;
  readonly total: number;
}

export function processorTime(): ProcessorTime {
  const ticks = (fileText('/proc/stat').split('\n')[0] ?? '')
    .trim()
    .split(/\s+/)
    .slice(1, 9)
    .map(Number);
  const total = ticks.reduce((sum, value) => sum + value, 0);
  const [, , , idle = 0, waiting = 0, , , stolen = 0] = ticks;
  return { busy: total - idle - waiting - stolen, stolen, total };
}

/** Processors busy on average between two readings, whoever used them. */
export function busyCores(from: ProcessorTime, to: ProcessorTime): number {
  const total = to.total - from.total;
  return total <= 0 ? 0 : ((to.busy - from.busy) / total) * cpus().length;
}
