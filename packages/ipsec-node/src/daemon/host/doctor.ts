/**
 * What the host offers and what it lacks, as far as /proc, /sys and the file system tell. Probes that
 * need system calls are the native module's (`probeHost`).
 */
import { dirname } from 'node:path';
import {
  CAPABILITY_PURPOSES,
  effectiveCapabilities,
  howToGrant,
  neededCapabilities,
  tunDeviceFault,
} from './capabilities.js';
import type { HostFiles } from './files.js';
import { mtuPaths } from './interface-sides.js';
import { portFindings } from './ports-in-use.js';

/** One thing that was looked at. */
export interface Finding {
  /** What was looked at: `UDP port 4500`. */
  readonly what: string;
  readonly state: 'ok' | 'warning' | 'fault';
  readonly found: string;
  /** What to do; empty where nothing is to be done. */
  readonly remedy: string;
}

/** What the gateway in question is like; defaults where no file was named. */
export interface DoctorSubject {
  readonly ports: readonly number[];
  readonly encapsulations: readonly ('udp' | 'esp')[];
  readonly unprotected: readonly string[];
  readonly protected: readonly string[];
  /** Whether the sides were found from the routes rather than named in the file. */
  readonly sidesFound: boolean;
  /** Null where no file was named: it follows from the associations. */
  readonly tunnelMtu: number | null;
  /** Null where no file was named: then there is no directory to look at. */
  readonly stateDirectory: string | null;
  readonly control: string | null;
  readonly hasManualKeys: boolean;
  /** True where the gateway of this control socket answers: then what it uses is no fault. */
  readonly running: boolean;
}

/** Outer IPv4 header, ESP header, IV, trailer and ICV: no encapsulation takes fewer bytes. */
const ENCAPSULATION_BYTES_MIN = 20 + 8 + 8 + 2 + 16;

type Check = (host: HostFiles, subject: DoctorSubject) => readonly Finding[];

/** Looks at everything, in the order in which a start would meet it. */
export function examineHost(host: HostFiles, subject: DoctorSubject): readonly Finding[] {
  return CHECKS.flatMap((check) => check(host, subject));
}

function finding(what: string, state: Finding['state'], found: string, remedy = ''): Finding {
  return { what, state, found, remedy };
}

const kernel: Check = (host) => {
  const release = host.read('/proc/sys/kernel/osrelease')?.trim();
  if (release === undefined) {
    return [finding('operating system', 'fault', `${process.platform}`, 'Run it on Linux.')];
  }
  const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10));
  const atLeast = (wantedMajor: number, wantedMinor: number): boolean =>
    major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
  const findings = [finding('kernel', 'ok', `Linux ${release}`)];
  for (const [what, wantedMajor, wantedMinor] of [
    ['UDP segmentation offload (GSO)', 4, 18],
    ['UDP receive offload (GRO)', 5, 0],
  ] as const) {
    findings.push(
      atLeast(wantedMajor, wantedMinor)
        ? finding(what, 'ok', `kernels from ${wantedMajor}.${wantedMinor} have it`)
        : finding(
            what,
            'warning',
            `kernels before ${wantedMajor}.${wantedMinor} lack it`,
            'Traffic flows without it, at a lower rate; a newer kernel has it.',
          ),
    );
  }
  return findings;
};

const capabilities: Check = (_host, subject) => {
  const held = effectiveCapabilities();
  if (held === undefined) return [];
  return neededCapabilities(subject.ports).map((name) =>
    held.has(name)
      ? finding(name, 'ok', `held: ${CAPABILITY_PURPOSES[name]}`)
      : finding(name, 'fault', `missing: ${CAPABILITY_PURPOSES[name]}`, howToGrant([name])),
  );
};

const tunDevice: Check = () => {
  const fault = tunDeviceFault();
  return fault === undefined
    ? [finding('/dev/net/tun', 'ok', 'there, and may be opened')]
    : [finding('/dev/net/tun', 'fault', fault.found, fault.remedy)];
};

const kernelEsp: Check = (host, subject) => {
  const modules = host.read('/proc/modules') ?? '';
  const loaded = ['esp4', 'esp6'].filter((name) => modules.includes(`${name} `));
  if (loaded.length === 0) return [finding('kernel ESP', 'ok', 'esp4 and esp6 are not loaded')];
  const found = `${loaded.join(' and ')} loaded`;
  if (!subject.encapsulations.includes('esp')) {
    return [finding('kernel ESP', 'ok', `${found}; it does not see ESP in UDP`)];
  }
  return [
    finding(
      'kernel ESP',
      'warning',
      `${found}: the kernel handles raw ESP too, counts what it has no SA for, and may answer`,
      `Use encapsulation: udp, or unload it when nothing else needs it: modprobe -r ${loaded.join(' ')}`,
    ),
  ];
};

const reversePath: Check = (host, subject) => {
  const setting = (name: string, key: string): number =>
    Number(host.read(`/proc/sys/net/ipv4/conf/${name}/${key}`) ?? 0);
  const findings = subject.unprotected.flatMap((name): readonly Finding[] => {
    // The kernel takes the larger of the two.
    const filter = Math.max(setting('all', 'rp_filter'), setting(name, 'rp_filter'));
    const what = `rp_filter of ${name}`;
    if (filter !== 1) return [finding(what, 'ok', filter === 2 ? 'loose (2)' : 'off (0)')];
    if (setting('all', 'src_valid_mark') === 1 || setting(name, 'src_valid_mark') === 1) {
      return [finding(what, 'ok', 'strict (1), with src_valid_mark')];
    }
    return [
      finding(
        what,
        'warning',
        "strict (1): it drops the peer's ESP where marked packets are routed apart",
        `sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.${name}.rp_filter=2`,
      ),
    ];
  });
  const firewalld = host.read('/etc/firewalld/firewalld.conf') ?? '';
  if (/^IPv6_rpfilter=(yes|strict)/m.test(firewalld)) {
    findings.push(
      finding(
        'firewalld IPv6_rpfilter',
        'warning',
        "strict: it drops the peer's ESP over IPv6",
        'Set IPv6_rpfilter=loose in /etc/firewalld/firewalld.conf, then firewall-cmd --reload',
      ),
    );
  }
  return findings;
};

const sides: Check = (_host, subject) => {
  const how = subject.sidesFound ? 'found from the routes' : 'named in the file';
  if (subject.unprotected.length === 0 && subject.protected.length === 0) {
    return [
      finding(
        'boundary',
        'warning',
        'no interface has a default route or a route to a peer: packets are judged by selectors alone',
        'Name the interfaces in gateway.unprotected and gateway.protected.',
      ),
    ];
  }
  const list = (names: readonly string[]): string =>
    names.length === 0 ? 'none' : names.join(', ');
  const found = `unprotected ${list(subject.unprotected)}; protected ${list(subject.protected)} (${how})`;
  return [finding('boundary', 'ok', found)];
};

const forwarding: Check = (host, subject) => {
  if (subject.protected.length === 0) return [];
  return (
    [
      ['IPv4 forwarding', '/proc/sys/net/ipv4/ip_forward', 'net.ipv4.ip_forward=1'],
      [
        'IPv6 forwarding',
        '/proc/sys/net/ipv6/conf/all/forwarding',
        'net.ipv6.conf.all.forwarding=1',
      ],
    ] as const
  ).map(([what, path, sysctl]) =>
    host.read(path)?.trim() === '1'
      ? finding(what, 'ok', 'on')
      : finding(
          what,
          'warning',
          'off: hosts behind this gateway are not served, the gateway itself is',
          `If hosts are behind it: sysctl -w ${sysctl}`,
        ),
  );
};

const mtu: Check = (host, { unprotected, tunnelMtu }) =>
  unprotected.flatMap((name): readonly Finding[] => {
    const text = mtuPaths(name)
      .map((path) => host.read(path)?.trim())
      .find((found) => found !== undefined);
    if (text === undefined) return [];
    if (tunnelMtu === null) return [finding(`MTU of ${name}`, 'ok', `${text} bytes`)];
    const found = `${text} bytes outside, ${tunnelMtu} inside the tunnel`;
    return Number(text) - tunnelMtu >= ENCAPSULATION_BYTES_MIN
      ? [finding(`MTU of ${name}`, 'ok', found)]
      : [
          finding(
            `MTU of ${name}`,
            'warning',
            `${found}: full packets would be fragmented`,
            'Set interface.mtu to auto, or lower.',
          ),
        ];
  });

const buffers: Check = (host) => {
  const bytes = Number(host.read('/proc/sys/net/core/rmem_max') ?? Number.NaN);
  if (!Number.isFinite(bytes)) return [];
  const wanted = 4 * 1024 * 1024;
  return [
    bytes >= wanted
      ? finding('receive buffer', 'ok', `up to ${bytes} bytes`)
      : finding(
          'receive buffer',
          'warning',
          `at most ${bytes} bytes: bursts at high rates are lost`,
          `sysctl -w net.core.rmem_max=${wanted} net.core.wmem_max=${wanted}`,
        ),
  ];
};

const stateDirectory: Check = (host, subject) => {
  const { stateDirectory: path } = subject;
  if (path === null || !subject.hasManualKeys) return [];
  const what = `state directory ${path}`;
  const facts = host.facts(path);
  if (facts === undefined || facts.kind !== 'directory') {
    const found = facts === undefined ? 'does not exist' : 'is not a directory';
    const remedy = `install -d -m 700 ${path} (in a unit: StateDirectory=)`;
    return [finding(what, 'fault', `${found}: manually keyed SAs are refused`, remedy)];
  }
  if (!facts.writable) {
    const remedy = 'Make it writable for the user of the gateway.';
    return [finding(what, 'fault', 'not writable: manually keyed SAs are refused', remedy)];
  }
  if ((facts.mode & 0o022) !== 0) {
    const found = 'others may write to it, and so make a key use its sequence numbers twice';
    return [finding(what, 'warning', found, `chmod 700 ${path}`)];
  }
  return [finding(what, 'ok', 'there, and writable')];
};

const controlSocket: Check = (host, subject) => {
  const { control } = subject;
  if (control === null) return [];
  const what = `control socket ${control}`;
  if (subject.running) return [finding(what, 'ok', 'a gateway answers')];
  const directory = dirname(control);
  const facts = host.facts(directory);
  if (facts === undefined || facts.writable) return [finding(what, 'ok', 'free')];
  const remedy = `Make ${directory} writable for the gateway (in a unit: RuntimeDirectory=).`;
  return [finding(what, 'fault', `${directory} is not writable`, remedy)];
};

const coreDumps: Check = (host) => {
  const limits = host.read('/proc/self/limits') ?? '';
  const soft = /^Max core file size\s+(\S+)/m.exec(limits)?.[1];
  if (soft === undefined || soft === '0') return [finding('core dumps', 'ok', 'off')];
  return [
    finding(
      'core dumps',
      'warning',
      'on: a crash would write keys to a file',
      'ulimit -c 0, or LimitCORE=0 in the unit.',
    ),
  ];
};

const clock: Check = (host) => {
  const synchronised = host.facts('/run/systemd/timesync/synchronized') !== undefined;
  const chrony = host.facts('/run/chrony/chronyd.pid') !== undefined;
  const source = host
    .read('/sys/devices/system/clocksource/clocksource0/current_clocksource')
    ?.trim();
  const findings =
    synchronised || chrony
      ? [finding('clock', 'ok', synchronised ? 'synchronised by systemd-timesyncd' : 'chrony runs')]
      : [
          finding(
            'clock',
            'warning',
            'no sign that it is synchronised: records of refused packets need a right time',
            'Run systemd-timesyncd or chrony, unless the host of this guest keeps the time.',
          ),
        ];
  if (source === 'hpet' || source === 'acpi_pm') {
    const found = `${source}: every reading of the clock costs a microsecond`;
    findings.push(
      finding('clock source', 'warning', found, 'Use tsc or kvm-clock if it is stable.'),
    );
  }
  return findings;
};

const node: Check = () => {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  return major > 20 || (major === 20 && minor >= 19)
    ? [finding('Node.js', 'ok', process.version)]
    : [finding('Node.js', 'fault', process.version, 'Install Node.js 20.19 or later.')];
};

const CHECKS: readonly Check[] = [
  node,
  kernel,
  capabilities,
  tunDevice,
  portFindings,
  kernelEsp,
  sides,
  reversePath,
  forwarding,
  mtu,
  buffers,
  stateDirectory,
  controlSocket,
  coreDumps,
  clock,
];
