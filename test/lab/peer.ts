/** What a test or a benchmark needs of the machine: programs of other projects, and rights. */

import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { delimiter } from 'node:path';
import { repositoryRoot } from './registry.ts';

/** Debian packages, and the program or file of each that is used. */
const PEERS = {
  nftables: 'nft',
  iproute2: 'ip',
  'iputils-ping': 'ping',
  tcpdump: 'tcpdump',
  tshark: 'tshark',
  iperf3: 'iperf3',
  ethtool: 'ethtool',
  conntrack: 'conntrack',
  'strongswan-swanctl': 'swanctl',
  'charon-systemd': 'charon-systemd',
  'qemu-system-x86': 'qemu-system-x86_64',
  'linux-image-amd64': '/boot/vmlinuz',
  'busybox-static': 'busybox',
  cpio: 'cpio',
  kmod: 'modprobe',
  python3: 'python3',
  openssl: 'openssl',
  'libnss3-tools': 'certutil',
} as const;

export type PeerName = keyof typeof PEERS;

/** `namespaces`: root, or root of a user namespace that may make network namespaces. */
export type Need = PeerName | 'scapy' | 'namespaces' | 'libreswan';

export const inCi = process.env['CI'] === 'true';

/**
 * Where another strongSwan than the distribution's is installed, such as /opt/strongswan6: its
 * `sbin/charon-systemd` and `sbin/swanctl` stand for those of the packages.
 */
export const OTHER_STRONGSWAN: string | undefined = process.env['IKE_STRONGSWAN'];

export function programPath(name: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  for (const folder of [...folders, '/usr/local/sbin', '/usr/sbin', '/sbin']) {
    const path = `${folder}/${name}`;
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder.
    }
  }
  return undefined;
}

/** Debian's newest kernel that has its modules here. */
export function debianKernel(): { readonly image: string; readonly release: string } | undefined {
  if (!existsSync('/lib/modules')) return undefined;
  const releases = readdirSync('/lib/modules')
    .filter((name) => !name.includes('cloud') && existsSync(`/boot/vmlinuz-${name}`))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  const release = releases.at(-1);
  return release === undefined ? undefined : { image: `/boot/vmlinuz-${release}`, release };
}

let python: string | null | undefined;

/** A Python that has scapy and cryptography: the project's own environment, else the user's. */
export function scapyPython(): string | undefined {
  if (python === undefined) {
    const candidates = [`${repositoryRoot}/.cache/venv/bin/python`, 'python3'];
    python =
      candidates.find(
        (path) =>
          spawnSync(path, ['-c', 'import scapy.layers.ipsec, cryptography'], { timeout: 60_000 })
            .status === 0,
      ) ?? null;
  }
  return python ?? undefined;
}

let namespacesAllowed: boolean | undefined;

function mayMakeNamespaces(): boolean {
  namespacesAllowed ??=
    process.getuid?.() === 0 && spawnSync('unshare', ['--net', 'true']).status === 0;
  return namespacesAllowed;
}

/** Undefined when the need is met, else the sentence that says what is missing. */
export function unmetNeed(need: Need): string | undefined {
  if (need === 'namespaces') {
    return mayMakeNamespaces()
      ? undefined
      : 'network namespaces are not allowed: run as root, or allow unprivileged user namespaces';
  }
  if (need === 'scapy') {
    return scapyPython() === undefined ? 'python3 -m pip install scapy cryptography' : undefined;
  }
  if (need === 'libreswan') {
    return existsSync(`${repositoryRoot}/.cache/libreswan/usr/libexec/ipsec/pluto`)
      ? undefined
      : 'apt-get download libreswan && dpkg-deb -x libreswan_*.deb .cache/libreswan';
  }
  if (need === 'linux-image-amd64') {
    return debianKernel() === undefined ? `apt-get install ${need}` : undefined;
  }
  if (pathOf(need) !== undefined) return undefined;
  return OTHER_STRONGSWAN !== undefined && isOfStrongswan(need)
    ? `no ${PEERS[need]} in IKE_STRONGSWAN=${OTHER_STRONGSWAN}`
    : `apt-get install ${need}`;
}

function isOfStrongswan(name: PeerName): boolean {
  return name === 'charon-systemd' || name === 'strongswan-swanctl';
}

function pathOf(name: PeerName): string | undefined {
  if (OTHER_STRONGSWAN === undefined || !isOfStrongswan(name)) return programPath(PEERS[name]);
  const path = `${OTHER_STRONGSWAN}/sbin/${PEERS[name]}`;
  return existsSync(path) ? path : undefined;
}

export class PeerMissing extends Error {}

/** The path of a package's program. Throws PeerMissing, which names the package. */
export function requirePeer(name: PeerName): string {
  const unmet = unmetNeed(name);
  if (unmet !== undefined) throw new PeerMissing(`${name} is missing: ${unmet}`);
  return name === 'linux-image-amd64' ? (debianKernel()?.image ?? '') : (pathOf(name) ?? '');
}
