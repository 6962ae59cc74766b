import { describe, expect, it } from 'vitest';
import {
  type DoctorSubject,
  examineHost,
  type Finding,
} from '../../../../packages/ipsec-node/src/daemon/host/doctor.js';
import type {
  FileFacts,
  HostFiles,
} from '../../../../packages/ipsec-node/src/daemon/host/files.js';

const SUBJECT: DoctorSubject = {
  ports: [500, 4500],
  encapsulations: ['udp'],
  unprotected: ['eth0'],
  protected: ['eth1'],
  sidesFound: true,
  tunnelMtu: 1438,
  stateDirectory: '/var/lib/ipsec-node/hq',
  control: '/run/ipsec-node/hq.vici',
  hasManualKeys: true,
  running: false,
};

const GOOD: Readonly<Record<string, string>> = {
  '/proc/sys/kernel/osrelease': '6.1.0-13-amd64\n',
  '/proc/sys/net/ipv4/ip_forward': '1\n',
  '/proc/sys/net/ipv6/conf/all/forwarding': '1\n',
  '/proc/sys/net/ipv4/conf/all/rp_filter': '0\n',
  '/proc/sys/net/ipv4/conf/eth0/rp_filter': '2\n',
  '/proc/sys/net/ipv6/conf/eth0/mtu': '1500\n',
  '/proc/sys/net/core/rmem_max': '8388608\n',
  '/proc/self/limits':
    'Limit                     Soft Limit           Hard Limit           Units\n' +
    'Max core file size        0                    unlimited            bytes\n',
};

const FACTS: Readonly<Record<string, FileFacts>> = {
  '/var/lib/ipsec-node/hq': { kind: 'directory', mode: 0o700, writable: true },
  '/run/ipsec-node': { kind: 'directory', mode: 0o755, writable: true },
  '/run/chrony/chronyd.pid': { kind: 'file', mode: 0o644, writable: true },
};

function host(
  files: Readonly<Record<string, string | undefined>> = {},
  facts: Readonly<Record<string, FileFacts | undefined>> = {},
): HostFiles {
  const all: Readonly<Record<string, string | undefined>> = { ...GOOD, ...files };
  const known: Readonly<Record<string, FileFacts | undefined>> = { ...FACTS, ...facts };
  return {
    read: (path) => all[path],
    facts: (path) => known[path],
    list: (path) => (path === '/proc' ? ['1', '77', 'self'] : path === '/proc/77/fd' ? ['3'] : []),
    link: (path) => (path === '/proc/77/fd/3' ? 'socket:[4242]' : undefined),
  };
}

function find(findings: readonly Finding[], what: string): Finding | undefined {
  return findings.find((finding) => finding.what === what);
}

describe('doctor', () => {
  it('finds nothing wrong on a good host, but for what it asks this process itself', () => {
    const findings = examineHost(host(), SUBJECT).filter(
      ({ what }) => !what.startsWith('CAP_') && what !== '/dev/net/tun',
    );
    expect(findings.filter(({ state }) => state !== 'ok')).toEqual([]);
    for (const { remedy } of findings) expect(remedy).toBe('');
  });

  it.each<
    [string, Readonly<Record<string, string>>, Partial<DoctorSubject>, Finding['state'], RegExp]
  >([
    [
      'rp_filter of eth0',
      {
        '/proc/sys/net/ipv4/conf/all/rp_filter': '1',
        '/proc/sys/net/ipv4/conf/eth0/rp_filter': '0',
      },
      {},
      'warning',
      /rp_filter=2/,
    ],
    [
      'kernel ESP',
      { '/proc/modules': 'esp4 28672 0 - Live\n' },
      { encapsulations: ['esp'] },
      'warning',
      /modprobe -r esp4/,
    ],
    ['IPv4 forwarding', { '/proc/sys/net/ipv4/ip_forward': '0\n' }, {}, 'warning', /ip_forward=1/],
    ['MTU of eth0', { '/proc/sys/net/ipv6/conf/eth0/mtu': '1450\n' }, {}, 'warning', /mtu to auto/],
    ['receive buffer', { '/proc/sys/net/core/rmem_max': '212992\n' }, {}, 'warning', /rmem_max=/],
    [
      'core dumps',
      {
        '/proc/self/limits':
          'Max core file size        unlimited            unlimited            bytes\n',
      },
      {},
      'warning',
      /LimitCORE=0/,
    ],
    [
      'firewalld IPv6_rpfilter',
      { '/etc/firewalld/firewalld.conf': 'IPv6_rpfilter=yes\n' },
      {},
      'warning',
      /loose/,
    ],
    [
      'UDP segmentation offload (GSO)',
      { '/proc/sys/kernel/osrelease': '4.4.0' },
      {},
      'warning',
      /newer kernel/,
    ],
    ['boundary', {}, { unprotected: [], protected: [] }, 'warning', /gateway\.unprotected/],
  ])('%s', (what, files, change, state, remedy) => {
    const finding = find(examineHost(host(files), { ...SUBJECT, ...change }), what);
    expect(finding?.state).toBe(state);
    expect(finding?.remedy).toMatch(remedy);
  });

  it('loose, or strict with src_valid_mark, is fine', () => {
    const strict = { '/proc/sys/net/ipv4/conf/eth0/rp_filter': '1' };
    const marked = { ...strict, '/proc/sys/net/ipv4/conf/eth0/src_valid_mark': '1' };
    expect(find(examineHost(host(strict), SUBJECT), 'rp_filter of eth0')?.state).toBe('warning');
    expect(find(examineHost(host(marked), SUBJECT), 'rp_filter of eth0')?.state).toBe('ok');
  });

  it('names the program that has a port', () => {
    const taken = {
      '/proc/net/udp':
        '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n' +
        '  117: 00000000:1194 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4242 2 0000000000000000 0\n',
      '/proc/77/comm': 'charon\n',
    };
    expect(find(examineHost(host(taken), SUBJECT), 'UDP port 4500')).toMatchObject({
      state: 'fault',
      found: 'taken by charon (process 77)',
    });
    const ike = { ...SUBJECT, ports: [500, 4500] };
    const charon = { ...taken, '/proc/net/udp': taken['/proc/net/udp'].replace(':1194', ':01F4') };
    expect(find(examineHost(host(charon), ike), 'UDP port 500')).toMatchObject({
      state: 'fault',
      found: 'taken by charon (process 77)',
      remedy: expect.stringContaining('strongswan'),
    });
    expect(find(examineHost(host(charon), ike), 'UDP port 4500')?.state).toBe('ok');
    const running = { ...SUBJECT, running: true };
    expect(find(examineHost(host(taken), running), 'UDP port 4500')?.state).toBe('ok');
  });

  it.each<[FileFacts | undefined, Finding['state'], RegExp]>([
    [undefined, 'fault', /install -d -m 700/],
    [{ kind: 'file', mode: 0o600, writable: true }, 'fault', /install -d/],
    [{ kind: 'directory', mode: 0o700, writable: false }, 'fault', /writable/],
    [{ kind: 'directory', mode: 0o777, writable: true }, 'warning', /chmod 700/],
  ])('a state directory that is %j is a %s', (facts, state, remedy) => {
    const findings = examineHost(host({}, { '/var/lib/ipsec-node/hq': facts }), SUBJECT);
    const finding = find(findings, 'state directory /var/lib/ipsec-node/hq');
    expect(finding?.state).toBe(state);
    expect(finding?.remedy).toMatch(remedy);
  });

  it('asks for no state directory where no SA is keyed by hand', () => {
    const findings = examineHost(host({}, { '/var/lib/ipsec-node/hq': undefined }), {
      ...SUBJECT,
      hasManualKeys: false,
    });
    expect(findings.some(({ what }) => what.startsWith('state directory'))).toBe(false);
  });
});
