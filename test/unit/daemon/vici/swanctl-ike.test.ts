import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { createHash, createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { explain } from '../../../../packages/ipsec-node/src/config/explain.js';
import { openControlSocket } from '../../../../packages/ipsec-node/src/daemon/control-socket.js';
import { ViciClient } from '../../../../packages/ipsec-node/src/daemon/vici/client.js';
import { plainObject } from '../../../../packages/ipsec-node/src/daemon/vici/own-messages.js';
import type { ViciServer } from '../../../../packages/ipsec-node/src/daemon/vici/server.js';
import { silentLogger } from '../../../../packages/ipsec-node/src/log.js';
import { formatProposal } from '../../../../packages/ipsec-node/src/sad/proposal.js';
import { FakeIke } from '../fake-ike.js';
import { type Sample, startSample } from '../sample.js';

const run = promisify(execFile);
const SWANCTL = ['/usr/sbin/swanctl', '/usr/bin/swanctl', '/usr/local/sbin/swanctl'].find((path) =>
  existsSync(path),
);
if (SWANCTL === undefined && process.env['CI'] === 'true') {
  throw new Error('swanctl is missing in CI: install the package strongswan-swanctl');
}
if (SWANCTL === undefined) {
  process.stderr.write('skipped: peers by swanctl; install the package strongswan-swanctl\n');
}

const PSK = 'a secret that nobody guesses';

const CONNECTIONS = `
connections {
  site-b {
    version = 2
    local_addrs = 192.0.2.1
    remote_addrs = 198.51.100.7, b.example
    proposals = aes256gcm16-prfsha384-ecp384
    dpd_delay = 20s
    rekey_time = 2h
    over_time = 10m
    encap = yes
    unique = replace
    local { auth = psk
      id = hq.example }
    remote { auth = psk
      id = b.example }
    children {
      lan-b {
        local_ts = 10.1.0.0/16
        remote_ts = 10.9.0.0/24, 10.9.2.5
        esp_proposals = aes128gcm16-x25519
        start_action = trap
        close_action = trap
        dpd_action = restart
        rekey_time = 30m
        rekey_bytes = 2g
      }
      web-b {
        local_ts = 10.1.0.0/16[tcp]
        remote_ts = 10.9.0.0/24[tcp/443]
        mode = tunnel
        dpd_action = restart
      }
    }
  }
}
secrets {
  ike-b {
    id-1 = hq.example
    id-2 = b.example
    secret = "${PSK}"
  }
}
`;

describe.skipIf(SWANCTL === undefined)("peers, by strongSwan's own swanctl", () => {
  let directory: string;
  let sample: Sample;
  let ike: FakeIke;
  let server: ViciServer;
  const programs: ChildProcessWithoutNullStreams[] = [];

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'ipsec-node-swanctl-'));
    sample = await startSample(directory);
    ike = new FakeIke();
    const { daemon } = sample;
    server = await openControlSocket(
      join(directory, 'hq.vici'),
      {
        ike,
        captureKeys: null,
        onEvent: () => () => {},
        status: () => daemon.status(),
        // As those of a gateway without manual keys.
        sas: async () => (await daemon.sas()).map((sa) => ({ ...sa, reservedUpTo: null })),
        policies: () => daemon.policies(),
        counters: () => daemon.counters(),
        explain: async (query) => explain(daemon.spd, await daemon.sas(), query),
      },
      silentLogger,
    );
  });

  afterEach(async () => {
    for (const program of programs.splice(0)) program.kill('SIGTERM');
    await server.close();
    await sample.daemon.stop();
    rmSync(directory, { recursive: true });
  });

  const uri = (): string => `unix://${join(directory, 'hq.vici')}`;

  async function swanctl(...args: readonly string[]): Promise<string> {
    const { stdout, stderr } = await run(SWANCTL ?? '', [...args, '--uri', uri()], {
      timeout: 20_000,
      env: { ...process.env, SWANCTL_DIR: directory },
    });
    return stdout + stderr;
  }

  async function ask(command: string): Promise<Readonly<Record<string, unknown>>> {
    const client = await ViciClient.connect(join(directory, 'hq.vici'));
    try {
      return plainObject(await client.request(command));
    } finally {
      client.close();
    }
  }

  function configuration(text: string): string {
    const path = join(directory, 'swanctl.conf');
    writeFileSync(path, text);
    return path;
  }

  /** Runs until it is killed; resolves when its output matches. */
  function follow(...args: readonly string[]): (pattern: RegExp) => Promise<string> {
    const program = spawn(SWANCTL ?? '', [...args, '--uri', uri()]);
    programs.push(program);
    let text = '';
    const waiting: (() => void)[] = [];
    program.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      for (const wake of waiting.splice(0)) wake();
    });
    return async (pattern) => {
      while (!pattern.test(text)) await new Promise<void>((resolve) => waiting.push(resolve));
      return text;
    };
  }

  /** swanctl says nothing once it has registered: events are sent until one comes through. */
  async function untilHeard<T>(heard: Promise<T>, send: () => void): Promise<T> {
    const timer = setInterval(send, 50);
    try {
      return await heard;
    } finally {
      clearInterval(timer);
    }
  }

  it('--load-all loads a connection with its secret; --list-conns shows it', async () => {
    const path = configuration(CONNECTIONS);
    const text = await swanctl('--load-all', '--file', path);
    expect(text).toContain("loaded ike secret 'ike-b'");
    expect(text).toContain("loaded connection 'site-b'");
    expect(text).toContain('successfully loaded 1 connections, 0 unloaded');
    const peer = ike.loaded.get('site-b');
    if (peer === undefined) throw new Error('not loaded');
    const { padEntry, spdEntries } = peer;
    expect(padEntry).toMatchObject({
      hosts: [
        { kind: 'address', address: '198.51.100.7' },
        { kind: 'dns-name', name: 'b.example' },
      ],
      localAddress: '192.0.2.1',
      localIdentity: { kind: 'dns-name', name: 'hq.example' },
      remoteIdentity: { kind: 'exact', identity: { kind: 'dns-name', name: 'b.example' } },
      livenessMs: 20_000,
      rekeyMs: 7_200_000,
      hardMs: 7_800_000,
      encapsulation: 'forced',
      unique: 'replace',
      onDeath: 'restart',
      mobike: true,
    });
    expect(padEntry.proposals.map(formatProposal)).toEqual(['aes256gcm16-prfsha384-ecp384']);
    const { localAuthentication: local, remoteAuthentication: remote } = padEntry;
    if (local.method !== 'psk' || remote.method !== 'psk') throw new Error('no shared secret');
    expect(Buffer.from(local.secret.reveal()).toString()).toBe(PSK);
    expect(Buffer.from(remote.secret.reveal()).toString()).toBe(PSK);
    expect(padEntry.children.map(({ name, start, onClose }) => ({ name, start, onClose }))).toEqual(
      [
        { name: 'lan-b', start: 'trap', onClose: 'trap' },
        { name: 'web-b', start: 'none', onClose: 'clear' },
      ],
    );
    expect(padEntry.children[0]?.lifetime).toMatchObject({
      rekeyMs: 1_800_000,
      rekeyBytes: 2n * 1024n ** 3n,
    });
    expect(spdEntries).toMatchObject([
      {
        name: 'lan-b',
        action: 'PROTECT',
        selector: {
          remote: [
            { from: '10.9.0.0', to: '10.9.0.255' },
            { from: '10.9.2.5', to: '10.9.2.5' },
          ],
        },
      },
      { name: 'web-b', selector: { protocol: 6, remotePorts: [{ from: 443, to: 443 }] } },
    ]);
    const conns = await swanctl('--list-conns');
    expect(conns).not.toContain('(null)');
    expect(conns).toMatch(/^site-b: IKEv2, no reauthentication, rekeying every 7200s, dpd/m);
    expect(conns).toMatch(/^ {2}local pre-shared key authentication:\n {4}id: hq\.example$/m);
    expect(conns).toMatch(/^ {2}lan-b: TUNNEL, rekeying every 1800s/m);
    expect(conns).toMatch(/^branch: IKEv2, no reauthentication, rekeying every 14400s/m);
  });

  it('a second --load-all unloads what its file no longer has, and nothing of ours', async () => {
    await swanctl('--load-all', '--file', configuration(CONNECTIONS));
    const text = await swanctl('--load-all', '--file', configuration('connections {\n}\n'));
    expect(text).toContain('no connections found, 1 unloaded');
    expect([...ike.loaded.keys()]).toEqual([]);
    expect(await ask('get-shared')).toEqual({ keys: [] });
    expect(await ask('get-conns')).toEqual({ conns: [] });
    expect(await swanctl('--list-conns')).toMatch(/^branch: IKEv2/m);
  });

  it('a connection comes into force when its secret comes, in whatever order', async () => {
    const path = configuration(CONNECTIONS);
    await swanctl('--load-conns', '--file', path);
    expect(ike.loaded.size).toBe(0);
    await swanctl('--load-creds', '--file', path);
    expect([...ike.loaded.keys()]).toEqual(['site-b']);
    await swanctl('--load-creds', '--clear', '--file', configuration('secrets {\n}\n'));
    expect(ike.loaded.size).toBe(0);
  });

  it.each([
    [
      '    encap = yes',
      '    encap = yes\n    pools = dhcp',
      'site-b.pools: it is not in this version',
    ],
    ['version = 2', 'version = 1', 'site-b.version: "1" is not in this version'],
    ['dpd_delay = 20s', 'dpd_delay = soon', 'site-b.dpd_delay: "soon" is not a time'],
    ['auth = psk', 'auth = eap', 'site-b.local.auth: "eap" is not in this version'],
    ['start_action = trap', 'ipcomp = yes', 'site-b.children.lan-b.ipcomp: it is not in this'],
    ['10.9.0.0/24, 10.9.2.5', '10.9.0.1/24', 'site-b.children.lan-b.remote_ts: "10.9.0.1/24"'],
    ['aes128gcm16-x25519', 'aes128gcm61', 'site-b.children.lan-b.esp_proposals: "aes128gcm61"'],
  ])('refuses by name: %s -> %s', async (before, after, message) => {
    const path = configuration(CONNECTIONS.replace(before, after));
    await expect(swanctl('--load-conns', '--file', path)).rejects.toMatchObject({
      stderr: expect.stringContaining(message),
    });
    expect(ike.loaded.size).toBe(0);
  });

  it('--initiate brings a child up and shows the log; --list-sas shows it', async () => {
    sample.dataplane.receive(0xc000_0001, 1n, 84n);
    const text = await swanctl('--initiate', '--child', 'lan-to-branch', '--timeout', '5');
    expect(text).toContain('[IKE] IKE SA branch[1] established with 198.51.100.2');
    expect(text).toContain('[CHD] CHILD SA lan-to-branch established with SPIs c0000001_i');
    expect(text).toContain('initiate completed successfully');
    expect(ike.asked).toEqual([
      { initiate: { child: 'lan-to-branch', peer: null }, timeoutMs: 5000 },
    ]);
    const sas = await swanctl('--list-sas');
    expect(sas).not.toContain('(null)');
    expect(sas).toContain(
      'branch: #1, ESTABLISHED, IKEv2, 0123456789abcdef_i* fedcba9876543211_r\n',
    );
    expect(sas).toContain("  local  'hq.example' @ 192.0.2.1[4500]\n");
    expect(sas).toContain("  remote 'branch.example' @ 198.51.100.2[4500]\n");
    expect(sas).toContain('  AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384');
    expect(sas).toMatch(/^ {2}established 90s ago, rekeying in 14310s$/m);
    expect(sas).toContain(
      '  lan-to-branch: #11, reqid 11, INSTALLED, TUNNEL-in-UDP, ESP:AES_GCM_16-256/ESN\n',
    );
    expect(sas).toMatch(/^ {4}installed 60s ago, rekeying in 3540s/m);
    expect(sas).toMatch(/^ {4}in {2}c0000001, {5}84 bytes, {5}1 packets/m);
    expect(sas).toContain('    remote 10.2.0.0/16 10.3.0.10..10.3.0.99\n');
    expect(await swanctl('--list-sas', '--ike', 'other')).toBe('');
    expect(await swanctl('--list-sas', '--child', 'lan-to-branch')).toContain('#11');
    expect(await swanctl('--list-sas', '--child-id', '12')).toBe('');
    expect(await swanctl('--stats')).toMatch(/^IKE_SAs: 1 total, 0 half-open$/m);
    expect(ike.listenerCount).toBe(1);
  });

  it('--initiate says why it failed', async () => {
    ike.refusal = 'the peer refused: NO_PROPOSAL_CHOSEN';
    await expect(swanctl('--initiate', '--child', 'lan-to-branch')).rejects.toMatchObject({
      stderr: expect.stringContaining('initiate failed: the peer refused: NO_PROPOSAL_CHOSEN'),
    });
  });

  it('--rekey and --terminate act by name and by number', async () => {
    ike.up('branch', 'lan-to-branch');
    expect(await swanctl('--rekey', '--child', 'lan-to-branch')).toContain('rekey completed');
    expect(await swanctl('--rekey', '--ike', 'branch', '--reauth')).toContain('rekey completed');
    expect(await swanctl('--terminate', '--ike-id', '1', '--force')).toContain(
      'terminate completed successfully',
    );
    const nothing = { child: null, childId: null, peer: null, ikeSa: null };
    expect(ike.asked).toEqual([
      { rekey: { ...nothing, child: 'lan-to-branch', reauth: false } },
      { rekey: { ...nothing, peer: 'branch', reauth: true } },
      { terminate: { ...nothing, ikeSa: 1, force: true }, timeoutMs: 300_000 },
    ]);
    await expect(swanctl('--terminate', '--ike', 'branch')).rejects.toMatchObject({
      stderr: expect.stringContaining('nothing of that name is up'),
    });
  });

  it('--reload-settings applies the file', async () => {
    await swanctl('--reload-settings');
    ike.reloadFault = new Error('the file has faults');
    await expect(swanctl('--reload-settings')).rejects.toMatchObject({
      stderr: expect.stringContaining('the file has faults'),
    });
  });

  it('--log streams what IKE says', async () => {
    const log = follow('--log');
    const text = await untilHeard(log(/sending IKE_SA_INIT/), () => ike.up('branch', 'lan'));
    expect(text).toMatch(/^\d+\[IKE\] sending IKE_SA_INIT$/m);
  });

  it('--monitor-sa shows what comes, is rekeyed and goes', async () => {
    const monitor = follow('--monitor-sa', '--raw');
    const all = { child: null, childId: null, peer: 'branch', ikeSa: null };
    // It writes what it heard when its buffer is full.
    const text = await untilHeard(monitor(/^ike-updown event \{branch/m), () => {
      ike.up('branch', 'lan-to-branch');
      void ike.rekey({ ...all, reauth: false });
      void ike.terminate({ ...all, force: false }, null);
    });
    expect(text).toMatch(
      /^ike-updown event \{up=yes branch \{uniqueid=\d+ version=2 state=ESTABLISHED/m,
    );
    expect(text).toMatch(
      /^child-updown event \{up=yes branch \{.* child-sas \{lan-to-branch-\d+ \{name=lan-to-branch /m,
    );
    const [, before, after] =
      /^child-rekey event \{branch \{.*\{old \{name=lan-to-branch uniqueid=(\d+).* new \{name=lan-to-branch uniqueid=(\d+)/m.exec(
        text,
      ) ?? [];
    expect(Number(after)).toBe(Number(before) + 100);
  });

  it('--load-all loads keys and certificates, and the peer has them', async () => {
    for (const folder of ['x509', 'x509ca', 'private']) mkdirSync(join(directory, folder));
    const pem = (name: string): string => join(directory, name);
    const openssl = (...args: readonly string[]) => run('openssl', [...args]);
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    await openssl(
      ...['req', '-x509', ...curve, '-days', '2', '-subj', '/O=Test/CN=ca'],
      ...['-keyout', pem('ca.key'), '-out', pem('x509ca/ca.pem')],
    );
    await openssl(
      ...['req', '-x509', ...curve, '-days', '2', '-subj', '/O=Test/CN=hq'],
      ...['-addext', 'subjectAltName=DNS:hq.example', '-addext', 'basicConstraints=CA:FALSE'],
      ...['-CA', pem('x509ca/ca.pem'), '-CAkey', pem('ca.key')],
      ...['-keyout', pem('private/hq.pem'), '-out', pem('x509/hq.pem')],
    );
    const { stdout } = await run('cat', [pem('x509/hq.pem')]);
    const leaf = new X509Certificate(stdout);
    const path = configuration(`
connections {
  certified {
    local_addrs = 192.0.2.1
    remote_addrs = 198.51.100.7
    local { certs = hq.pem
      id = hq.example }
    remote { id = *.example
      cacerts = ca.pem
      revocation = strict }
    children { certified-lan { local_ts = 10.1.0.0/16
      remote_ts = 10.9.0.0/24 } }
  }
}
`);
    const text = await swanctl('--load-all', '--file', path);
    expect(text).toContain("loaded connection 'certified'");
    const entry = ike.loaded.get('certified')?.padEntry;
    const [local, remote] = [entry?.localAuthentication, entry?.remoteAuthentication];
    if (local?.method !== 'certificate' || remote?.method !== 'certificate') {
      throw new Error('no certificates');
    }
    expect(entry?.remoteIdentity).toEqual({ kind: 'dns-suffix', suffix: 'example' });
    expect(remote.revocation).toBe('strict');
    expect(Buffer.from(local.credential.certificates[0] ?? []).equals(leaf.raw)).toBe(true);
    expect(leaf.checkPrivateKey(local.credential.privateKey)).toBe(true);
    expect(remote.authorities).toHaveLength(1);
    const certificates = await swanctl('--list-certs');
    expect(certificates).toMatch(/subject: +"O=Test, CN=hq"/);
    expect(certificates).toMatch(/pubkey: +ECDSA 256 bits, has private key/);
    expect(certificates).toMatch(/subject: +"O=Test, CN=ca"/);
  });

  it('--load-creds takes a key once, and unloads it when its file is gone', async () => {
    mkdirSync(join(directory, 'private'));
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const path = join(directory, 'private', 'key.pem');
    writeFileSync(path, privateKey.export({ format: 'pem', type: 'pkcs8' }));
    const empty = configuration('secrets {\n}\n');
    expect(await swanctl('--load-creds', '--file', empty)).toContain('loaded RSA key from');
    const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
    const id = createHash('sha256').update(spki).digest('hex').slice(0, 40);
    expect(await ask('get-keys')).toEqual({ keys: [id] });
    rmSync(path);
    await swanctl('--load-creds', '--file', empty);
    expect(await ask('get-keys')).toEqual({ keys: [] });
  });
});
