import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { explain } from '../../../../packages/ipsec-node/src/config/explain.js';
import { openControlSocket } from '../../../../packages/ipsec-node/src/daemon/control-socket.js';
import type { ViciServer } from '../../../../packages/ipsec-node/src/daemon/vici/server.js';
import { silentLogger } from '../../../../packages/ipsec-node/src/log.js';
import { IN_SPI, OUT_SPI, type Sample, startSample } from '../sample.js';

const run = promisify(execFile);
const SWANCTL = ['/usr/sbin/swanctl', '/usr/bin/swanctl', '/usr/local/sbin/swanctl'].find((path) =>
  existsSync(path),
);
if (SWANCTL === undefined && process.env['CI'] === 'true') {
  throw new Error('swanctl is missing in CI: install the package strongswan-swanctl');
}
if (SWANCTL === undefined) {
  process.stderr.write('skipped: vici against swanctl; install the package strongswan-swanctl\n');
}

describe.skipIf(SWANCTL === undefined)("vici, spoken with strongSwan's own swanctl", () => {
  let directory: string;
  let sample: Sample;
  let server: ViciServer;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'ipsec-node-swanctl-'));
    sample = await startSample(directory);
    sample.dataplane.transmit(OUT_SPI, 12n, 84n);
    sample.dataplane.receive(IN_SPI, 1n, 84n);
    sample.dataplane.receive(IN_SPI, 1n, 84n);
    const { daemon } = sample;
    server = await openControlSocket(
      join(directory, 'hq.vici'),
      {
        ike: null,
        captureKeys: null,
        onEvent: () => () => {},
        status: () => daemon.status(),
        sas: () => daemon.sas(),
        policies: () => daemon.policies(),
        counters: () => daemon.counters(),
        explain: async (query) => explain(daemon.spd, await daemon.sas(), query),
      },
      silentLogger,
    );
  });

  afterAll(async () => {
    await server.close();
    await sample.daemon.stop();
    rmSync(directory, { recursive: true });
  });

  async function swanctl(...args: readonly string[]): Promise<string> {
    const uri = `unix://${join(directory, 'hq.vici')}`;
    const { stdout } = await run(SWANCTL ?? '', [...args, '--uri', uri], { timeout: 10_000 });
    return stdout;
  }

  it('--version --daemon names the daemon and its version', async () => {
    expect(await swanctl('--version', '--daemon')).toMatch(
      /^strongSwan 0\.1\.0 ipsec-node \(Linux, \S+, \S+\)$/m,
    );
  });

  it('--stats fills every line', async () => {
    const text = await swanctl('--stats');
    expect(text).toMatch(/^uptime: \d+ seconds?, since .+ GMT$/m);
    expect(text).toMatch(/^worker threads: 1 total, 1 idle, working: 0\/0\/0\/0$/m);
    expect(text).toMatch(/^job queues: 0\/0\/0\/0$/m);
    expect(text).toMatch(/^jobs scheduled: 0$/m);
    expect(text).toMatch(/^IKE_SAs: 0 total, 0 half-open$/m);
    expect(text).not.toContain('(null)');
  });

  it('--list-sas shows the manual SAs with what went through them', async () => {
    const text = await swanctl('--list-sas');
    expect(text).not.toContain('(null)');
    expect(text).toContain(
      'manual-198-51-100-2: #1, PASSIVE, IKEv0, 0000000000000000_i 0000000000000000_r*',
    );
    expect(text).toContain("  local  'hq' @ 192.0.2.1[4500]");
    expect(text).toContain("  remote '198.51.100.2' @ 198.51.100.2[4500]");
    expect(text).toContain(
      '  lan-to-branch: #1, reqid 1, INSTALLED, TUNNEL-in-UDP, ESP:AES_GCM_16-256/ESN',
    );
    expect(text).toMatch(/^ {4}installed \d+s ago$/m);
    expect(text).toMatch(/^ {4}in {2}c0000001, {5}84 bytes, {5}1 packets, {5}0s ago$/m);
    expect(text).toMatch(/^ {4}out c0000002, {3}1008 bytes, {4}12 packets, {5}0s ago$/m);
    expect(text).toContain('    local  10.1.0.0/16\n');
    expect(text).toContain('    remote 10.2.0.0/16 10.3.0.10..10.3.0.99\n');
  });

  it('--list-sas filters by name and by number', async () => {
    expect(await swanctl('--list-sas', '--ike', 'manual-198-51-100-2')).toContain('#1, PASSIVE');
    expect(await swanctl('--list-sas', '--ike', 'other')).toBe('');
    expect(await swanctl('--list-sas', '--ike-id', '1')).toContain('#1, PASSIVE');
    expect(await swanctl('--list-sas', '--ike-id', '2')).toBe('');
  });

  it('--list-sas --raw has the field names of the protocol', async () => {
    const text = await swanctl('--list-sas', '--raw');
    for (const field of ['uniqueid', 'spi-in', 'bytes-in', 'packets-out', 'install-time']) {
      expect(text).toContain(`${field}=`);
    }
  });

  it('--list-conns shows peers and policies without SAs', async () => {
    const text = await swanctl('--list-conns');
    expect(text).not.toContain('(null)');
    expect(text).toContain('manual-198-51-100-2: manual, no reauthentication, no rekeying');
    expect(text).toContain('  local:  192.0.2.1\n  remote: 198.51.100.2\n');
    expect(text).toContain('  local manual key authentication:');
    expect(text).toContain('  lan-to-branch: TUNNEL, no rekeying');
    expect(text).toContain('  web-in-clear: PASS, no rekeying');
    expect(text).toContain('  everything-else: DROP, no rekeying');
  });

  it('--list-pols shows the SPD in order, and filters', async () => {
    const text = await swanctl('--list-pols');
    expect(text).toBe(
      [
        'web-in-clear, PASS',
        '  local:  10.1.0.0/16[tcp]',
        '  remote: 0.0.0.0/0[tcp/443] ::/0[tcp/443]',
        'lan-to-branch, TUNNEL',
        '  local:  10.1.0.0/16',
        '  remote: 10.2.0.0/16 10.3.0.10..10.3.0.99',
        'everything-else, DROP',
        '  local:  0.0.0.0/0 ::/0',
        '  remote: 0.0.0.0/0 ::/0',
        '',
      ].join('\n'),
    );
    expect(await swanctl('--list-pols', '--trap')).toMatch(/^lan-to-branch, TUNNEL/);
    expect(await swanctl('--list-pols', '--drop')).toMatch(/^everything-else, DROP/);
    expect(await swanctl('--list-pols', '--pass', '--child', 'lan-to-branch')).toBe('');
  });

  it('--counters shows the counters of the datapath', async () => {
    const text = await swanctl('--counters');
    expect(text).toMatch(/^global:$/m);
    expect(text).toMatch(/^ {2}esp_sealed +: 12$/m);
    expect(text).toMatch(/^ {2}drop_replay_duplicate *: 1$/m);
  });

  it('answers what is empty with nothing, and refuses by name what it cannot do', async () => {
    expect(await swanctl('--list-certs')).toBe('');
    expect(await swanctl('--list-authorities')).toBe('');
    expect(await swanctl('--list-pools')).toMatch(/^(no pools found\n)?$/);
    expect(await swanctl('--list-algs')).toContain('AES_GCM_16[ipsec-node]');
    await expect(swanctl('--initiate', '--child', 'lan-to-branch')).rejects.toMatchObject({
      stderr: expect.stringContaining('initiate: this gateway has no peers, and runs no IKE'),
    });
    await expect(swanctl('--install', '--child', 'lan-to-branch')).rejects.toMatchObject({
      stderr: expect.stringContaining('install is not in this version'),
    });
  });
});
