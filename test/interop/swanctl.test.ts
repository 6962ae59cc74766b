import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { CommandResult } from '../lab/command.ts';
import { describeWith } from '../lab/describe-with.ts';
import { requirePeer } from '../lab/peer.ts';
import { repositoryRoot } from '../lab/registry.ts';
import { buildTopology, type Topology } from '../lab/topology.ts';
import type { RunningGateway } from '../scenario/ipsec-node.ts';
import { type Policy, spiToA, spiToB, startPair, writePair } from '../scenario/pair.ts';

const PINGS = 3;

/** Of gateway A; B has the two with protection the other way round. */
const POLICIES: readonly Policy[] = [
  { name: 'lan', local: '10.1.0.0/24', remote: '10.2.0.0/24', action: 'protect' },
  { name: 'lan6', local: 'fd01::/64', remote: 'fd02::/64', action: 'protect' },
  { name: 'web', local: '10.1.0.0/24', protocol: 'tcp', remotePort: 443, action: 'bypass' },
  { name: 'smtp', protocol: 'tcp', remotePort: 25, action: 'discard' },
  { name: 'rest', action: 'bypass' },
];

function hex(spi: number): string {
  return spi.toString(16).padStart(8, '0');
}

/** The version in package.json. */
function ourVersion(): string {
  const text = readFileSync(`${repositoryRoot}/packages/ipsec-node/package.json`, 'utf8');
  const parsed: unknown = JSON.parse(text);
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed
    ? String(parsed.version)
    : '';
}

describeWith(
  ['namespaces', 'iproute2', 'iputils-ping', 'nftables', 'strongswan-swanctl'],
  'swanctl on the control socket of a running gateway',
  () => {
    let topology: Topology | undefined;
    let gateways: { readonly a: RunningGateway; readonly b: RunningGateway } | undefined;
    let socket = '';

    beforeAll(async () => {
      topology = await buildTopology();
      const pair = writePair(topology, {
        links: [
          { policy: 'lan' },
          { policy: 'lan6', suite: 'chacha20poly1305', esn: false, encapsulation: 'esp', outer: 6 },
        ],
        policiesA: POLICIES,
        policiesB: POLICIES.slice(0, 2).map(({ local, remote, ...rest }) => ({
          ...rest,
          local: remote,
          remote: local,
        })),
      });
      socket = `${pair.folder}/a.vici`;
      gateways = await startPair(topology, pair);
      for (const to of [topology.b.hostAddress4, topology.b.hostAddress6]) {
        expect(await topology.a.host.ping(to, { count: PINGS, timeoutMs: 10_000 })).toBe(true);
      }
    });

    afterAll(async () => {
      await gateways?.a.stop();
      await gateways?.b.stop();
      await topology?.close();
    });

    async function ask(...words: string[]): Promise<CommandResult> {
      if (topology === undefined) throw new Error('nothing was started');
      // The command comes first: swanctl looks for it there alone.
      const command = [requirePeer('strongswan-swanctl'), ...words, '--uri', `unix://${socket}`];
      return topology.a.gateway.exec(command, { anyStatus: true, timeoutMs: 20_000 });
    }

    async function answer(...words: string[]): Promise<string> {
      const result = await ask(...words);
      expect(result, words.join(' ')).toMatchObject({ status: 0, stderr: '' });
      return result.stdout;
    }

    it('--version --daemon', async () => {
      const text = await answer('--version', '--daemon');
      expect(text).toMatch(/^strongSwan \S+ ipsec-node \(Linux, [^,]+, \w+\)$/m);
      expect(text).toContain(` ${ourVersion()} `);
    });

    it('--stats', async () => {
      const text = await answer('--stats');
      expect(text).toMatch(/^uptime: \d+ seconds?, since \w{3}, \d\d \w{3} \d{4}/m);
      expect(text).toContain('IKE_SAs: 0 total, 0 half-open');
      expect(text).toMatch(/^mallinfo: sbrk [1-9]\d*, /m);
    });

    it('--list-sas: what the peers, the SAs and their traffic are', async () => {
      const lines = (await answer('--list-sas')).split('\n');
      const child = (name: string): string => {
        const at = lines.findIndex((line) => line.trimStart().startsWith(`${name}: #`));
        return lines.slice(at, at + 6).join('\n');
      };
      expect(lines.filter((line) => /^\S/.test(line))).toEqual([
        expect.stringMatching(/^manual-192-0-2-2: #1, PASSIVE, /),
        expect.stringMatching(/^manual-2001-db8-f-2: #2, PASSIVE, /),
      ]);
      const moved = (header: number): RegExp =>
        new RegExp(`, +${PINGS * (header + 8 + 56)} bytes, +${PINGS} packets, +\\d+s ago$`, 'm');
      const lan = child('lan');
      expect(lan).toMatch(/INSTALLED, TUNNEL-in-UDP, ESP:AES_GCM_16-256\/ESN$/m);
      expect(lan).toMatch(/local {2}10\.1\.0\.0\/24\n\s+remote 10\.2\.0\.0\/24$/);
      expect(lan).toMatch(new RegExp(`in {2}${hex(spiToA(0))}${moved(20).source}`, 'm'));
      expect(lan).toMatch(new RegExp(`out ${hex(spiToB(0))}${moved(20).source}`, 'm'));
      const lan6 = child('lan6');
      expect(lan6).toMatch(/INSTALLED, TUNNEL, ESP:CHACHA20_POLY1305$/m);
      expect(lan6).toMatch(/local {2}fd01::\/64\n\s+remote fd02::\/64$/);
      expect(lan6).toMatch(new RegExp(`in {2}${hex(spiToA(1))}${moved(40).source}`, 'm'));
      expect(lan6).toMatch(new RegExp(`out ${hex(spiToB(1))}${moved(40).source}`, 'm'));
    });

    it('--list-sas: filters', async () => {
      expect(await answer('--list-sas', '--ike', 'manual-192-0-2-2')).toMatch(/^manual-192-0-2-2:/);
      expect(await answer('--list-sas', '--ike-id', '2')).toMatch(/^manual-2001-db8-f-2:/);
      expect(await answer('--list-sas', '--ike', 'nobody')).toBe('');
    });

    it('--list-conns: peers, and what needs none', async () => {
      const blocks = (await answer('--list-conns')).split(/^(?=\S)/m);
      expect(blocks.map((block) => block.match(/^[^:]+/)?.[0])).toEqual([
        'manual-192-0-2-2',
        'manual-2001-db8-f-2',
        'shunts',
      ]);
      const [first, second, shunts] = blocks;
      expect(first).toMatch(/^ {2}local: {2}192\.0\.2\.1\n {2}remote: 192\.0\.2\.2$/m);
      expect(first).toMatch(/^ {2}lan: TUNNEL, [^\n]*\n {4}local: {2}10\.1\.0\.0\/24$/m);
      expect(second).toMatch(/^ {2}lan6: TUNNEL, [^\n]*\n {4}local: {2}fd01::\/64$/m);
      expect(shunts).toMatch(/^ {2}web: PASS,/m);
      expect(shunts).toMatch(/^ {2}smtp: DROP,/m);
      expect(shunts).not.toContain('lan');
    });

    it('--list-pols: the SPD in its order', async () => {
      const heads = (text: string): readonly string[] => text.match(/^\S.*$/gm) ?? [];
      const text = await answer('--list-pols');
      expect(heads(text).filter((line) => !line.startsWith('builtin/'))).toEqual([
        'lan, TUNNEL',
        'lan6, TUNNEL',
        'web, PASS',
        'smtp, DROP',
        'rest, PASS',
      ]);
      expect(heads(text)[0]).toMatch(/^builtin\/.*, PASS$/);
      expect(text).toContain('\n  remote: 0.0.0.0/0[tcp/443] ::/0[tcp/443]\n');
      expect(heads(await answer('--list-pols', '--drop'))).toEqual(['smtp, DROP']);
      expect(heads(await answer('--list-pols', '--trap'))).toEqual(['lan, TUNNEL', 'lan6, TUNNEL']);
    });

    it('--counters: what went through, and nothing refused', async () => {
      const text = await answer('--counters');
      expect(text).toMatch(new RegExp(`^ {2}esp_sealed +: ${2 * PINGS}$`, 'm'));
      expect(text).toMatch(new RegExp(`^ {2}esp_opened +: ${2 * PINGS}$`, 'm'));
      expect(text).toMatch(/^ {2}drop_integrity +: 0$/m);
    });

    it('answers empty lists where there is nothing to list', async () => {
      for (const what of ['--list-certs', '--list-pools', '--list-authorities']) {
        expect(await answer(what)).toBe('');
      }
    });

    it('refuses what needs peers where there are none, and changes nothing', async () => {
      for (const words of [
        ['--terminate', '--ike', 'manual-192-0-2-2'],
        ['--initiate', '--child', 'lan'],
      ]) {
        const result = await ask(...words);
        expect(result.status).not.toBe(0);
        expect(`${result.stdout}${result.stderr}`).toMatch(/this gateway has no peers/);
      }
      expect(await answer('--list-sas')).toMatch(/lan: #1, .*INSTALLED/);
    });
  },
);
