import type { DoctorSubject, Finding } from './doctor.js';
import type { HostFiles } from './files.js';

/** Most processes whose sockets are looked through for the owner of a port. */
const PROCESS_COUNT_MAX = 4096;

/** A bound UDP socket, as /proc/net/udp lists it. */
export interface BoundSocket {
  readonly port: number;
  readonly inode: string;
}

/** Reads /proc/net/udp or /proc/net/udp6. */
export function parseBoundSockets(text: string): readonly BoundSocket[] {
  return text.split('\n').flatMap((line): readonly BoundSocket[] => {
    const fields = line.trim().split(/\s+/);
    const portHex = /:([0-9A-F]{4})$/.exec(fields[1] ?? '')?.[1];
    const inode = fields[9];
    if (portHex === undefined || inode === undefined || !/^\d+$/.test(inode)) return [];
    return [{ port: Number.parseInt(portHex, 16), inode }];
  });
}

/** Says of each port of the gateway whether another program has it. */
export function portFindings(host: HostFiles, subject: DoctorSubject): readonly Finding[] {
  const bound = ['/proc/net/udp', '/proc/net/udp6'].flatMap((path) =>
    parseBoundSockets(host.read(path) ?? ''),
  );
  return [...new Set(subject.ports)].map((port): Finding => {
    const what = `UDP port ${port}`;
    const socket = bound.find((candidate) => candidate.port === port);
    if (socket === undefined) return { what, state: 'ok', found: 'free', remedy: '' };
    if (subject.running) {
      return { what, state: 'ok', found: 'taken, and the gateway runs', remedy: '' };
    }
    const owner = ownerOf(host, socket.inode);
    return {
      what,
      state: 'fault',
      found: `taken${owner === undefined ? '' : ` by ${owner.name} (process ${owner.pid})`}`,
      remedy: remedyFor(owner?.name, port),
    };
  });
}

/** Programs that other IKE daemons run as, and the service that starts them. */
const IKE_DAEMONS: Readonly<Record<string, string>> = {
  charon: 'strongswan-starter or ipsec',
  'charon-systemd': 'strongswan',
  pluto: 'ipsec (libreswan)',
  iked: 'iked',
  racoon: 'racoon',
};

function remedyFor(program: string | undefined, port: number): string {
  const service = program === undefined ? undefined : IKE_DAEMONS[program];
  if (service !== undefined) {
    return `Stop and disable that IKE daemon (service ${service}): two cannot share UDP port ${port}.`;
  }
  return 'Stop that program, or choose another port in gateway.port or gateway.ikePort.';
}

function ownerOf(
  host: HostFiles,
  inode: string,
): { readonly name: string; readonly pid: string } | undefined {
  const wanted = `socket:[${inode}]`;
  const processes = host.list('/proc').filter((name) => /^\d+$/.test(name));
  for (const pid of processes.slice(0, PROCESS_COUNT_MAX)) {
    const descriptors = host.list(`/proc/${pid}/fd`);
    if (!descriptors.some((fd) => host.link(`/proc/${pid}/fd/${fd}`) === wanted)) continue;
    return { name: host.read(`/proc/${pid}/comm`)?.trim() ?? 'a program', pid };
  }
  return undefined;
}
