import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { explain } from '../../../packages/ipsec-node/src/config/explain.js';
import { openControlSocket } from '../../../packages/ipsec-node/src/daemon/control-socket.js';
import { KeptKeys } from '../../../packages/ipsec-node/src/daemon/capture/capture-keys.js';
import type { DataplaneNotice } from '../../../packages/ipsec-node/src/daemon/vici/ike-messages.js';
import type { ViciServer } from '../../../packages/ipsec-node/src/daemon/vici/server.js';
import { ConfigError } from '../../../packages/ipsec-node/src/errors.js';
import { silentLogger } from '../../../packages/ipsec-node/src/log.js';
import { branch, FakeIke, wrongIdentity } from '../daemon/fake-ike.js';
import { type Sample, startSample } from '../daemon/sample.js';
import { cli, type CliResult } from './fixture.js';

describe('commands about peers', () => {
  let directory: string;
  let control: string;
  let sample: Sample;
  let ike: FakeIke;
  let server: ViciServer;
  let notify: (event: DataplaneNotice, at: Date) => void;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'ipsec-node-cli-ike-'));
    control = join(directory, 'hq.vici');
    sample = await startSample(directory);
    ike = new FakeIke();
    const { daemon } = sample;
    server = await openControlSocket(
      control,
      {
        ike,
        captureKeys: null,
        onEvent: (listener) => {
          notify = listener;
          return () => {};
        },
        status: () => daemon.status(),
        sas: async () => (await daemon.sas()).map((sa) => ({ ...sa, reservedUpTo: null })),
        policies: () => daemon.policies(),
        counters: () => daemon.counters(),
        explain: async (query) => explain(daemon.spd, await daemon.sas(), query),
      },
      silentLogger,
    );
  });

  afterEach(async () => {
    await server.close();
    await sample.daemon.stop();
    rmSync(directory, { recursive: true });
  });

  const ask = (...words: readonly string[]): Promise<CliResult> =>
    cli([...words, '--control', control]);

  it('initiate finds out whether the name is a child or a peer, and tells what happens', async () => {
    const child = await ask('initiate', 'lan-to-branch', '--timeout', '30');
    expect(child).toMatchObject({ exitCode: 0, out: 'lan-to-branch is up.\n' });
    expect(child.err).toBe(
      'sending IKE_SA_INIT\n' +
        'IKE SA branch[1] established with 198.51.100.2\n' +
        'CHILD SA lan-to-branch established with SPIs c0000001_i c0000002_o\n',
    );
    expect(await ask('initiate', 'branch', '--timeout', '0')).toMatchObject({
      exitCode: 0,
      out: 'branch is being negotiated.\n',
    });
    expect(ike.asked).toEqual([
      { initiate: { child: 'lan-to-branch', peer: null }, timeoutMs: 30_000 },
      { initiate: { child: null, peer: 'branch' }, timeoutMs: null },
    ]);
  });

  it('a refusal exits with 1 and says where to look', async () => {
    ike.refusal = 'the peer refused: NO_PROPOSAL_CHOSEN';
    const { exitCode, out, err } = await ask('initiate', 'branch');
    expect({ exitCode, out }).toEqual({ exitCode: 1, out: '' });
    expect(err).toContain('ipsec-node: The peer refused: NO_PROPOSAL_CHOSEN.\n');
    expect(err).toContain('IPSEC_ERR_EXCHANGE_FAILED');
    const asJson = await ask('initiate', 'branch', '--json');
    expect(asJson.exitCode).toBe(1);
    expect(JSON.parse(asJson.out)).toMatchObject({ error: { code: 'IPSEC_ERR_EXCHANGE_FAILED' } });
  });

  it('a name that is nobody, or two, is bad usage', async () => {
    expect(await ask('terminate', 'lan-to-brunch')).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining(
        'There is no peer or child lan-to-brunch. Did you mean lan-to-branch?',
      ),
    });
    const [child] = branch().children;
    if (child === undefined) throw new Error('no child');
    ike.entries.push({ ...branch(), name: 'twin', children: [{ ...child, name: 'twin' }] });
    expect(await ask('rekey', 'twin')).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining('say which with --ike or --child'),
    });
    ike.up('twin', 'twin');
    expect(await ask('rekey', 'twin', '--child')).toMatchObject({
      exitCode: 0,
      out: 'Rekeyed twin: 1 SA.\n',
    });
    expect(ike.asked).toEqual([
      { rekey: { child: 'twin', childId: null, peer: null, ikeSa: null, reauth: false } },
    ]);
    expect(await ask('rekey', 'twin', '--child', '--ike')).toMatchObject({ exitCode: 2 });
  });

  it('terminate ends what it names, and fails where there is nothing', async () => {
    ike.up('branch', 'lan-to-branch');
    const { out } = await ask('terminate', 'branch', '--force', '--json');
    expect(JSON.parse(out)).toEqual({
      command: 'terminate',
      peer: 'branch',
      success: true,
      matches: 1,
      terminated: 1,
    });
    expect(await ask('terminate', 'branch')).toMatchObject({
      exitCode: 1,
      err: expect.stringContaining(
        'Nothing of that name is up: `ipsec-node peers` shows what is.\n',
      ),
    });
  });

  it('peers shows who is up and who is down', async () => {
    ike.entries.push({ ...branch(), name: 'other', children: [] });
    ike.up('branch', 'lan-to-branch');
    const { exitCode, out } = await ask('peers');
    expect(exitCode).toBe(0);
    const rows = out.split('\n').map((line) => line.trim().split(/ {2,}/));
    expect(rows.slice(0, 3)).toEqual([
      'PEER STATE LOCAL REMOTE ADDRESSES NAT PROPOSAL AGE REKEY CHILDREN'.split(' '),
      [
        'branch[1]',
        'established',
        'hq.example',
        'branch.example',
        '192.0.2.1[4500] - 198.51.100.2[4500]',
        'theirs',
        'aes256gcm16-prfsha384-ecp384-ke1_mlkem768',
        '1m 30s',
        '3h 58m',
        '1',
      ],
      [
        'other',
        'down',
        'hq.example',
        'branch.example',
        '198.51.100.2',
        '-',
        '-',
        '-',
        '-',
        '0 of 0',
      ],
    ]);
    expect(rows[5]).toEqual([
      'lan-to-branch[11]',
      'branch[1]',
      'installed',
      'tunnel in UDP',
      '0xc0000001',
      '0xc0000002',
      'aes256gcm16-esn',
      '1m',
      '59m',
      'local 10.1.0.0/16, remote 10.2.0.0/16, 10.3.0.10-10.3.0.99',
    ]);
    const { out: asJson } = await ask('peers', '--json');
    expect(JSON.parse(asJson)).toMatchObject([
      {
        name: 'branch',
        children: ['lan-to-branch'],
        ikeSas: [
          {
            id: 1,
            natRemote: true,
            spiInitiator: '0123456789abcdef',
            children: [{ name: 'lan-to-branch', inbound: 0xc000_0001, rekeyInMs: 3_540_000 }],
          },
        ],
      },
      { name: 'other', ikeSas: [] },
    ]);
  });

  it('sas says whose a negotiated SA is, and when it is rekeyed', async () => {
    ike.up('branch', 'lan-to-branch');
    const { out } = await ask('sas');
    const [head, inbound] = out.split('\n').map((line) => line.trim().split(/ {2,}/));
    expect(head?.slice(-3)).toEqual(['PEER', 'CHILD', 'REKEY']);
    expect(head).not.toContain('RESERVED');
    expect(inbound?.slice(-3)).toEqual(['branch[1]', 'lan-to-branch[11]', '59m']);
  });

  it('status shows who came closest, and what differs', async () => {
    ike.kept.push(wrongIdentity());
    const { out } = await ask('status');
    expect(out).toContain(
      [
        'Last refusals',
        '2023-11-14T22:13:20.000Z  198.51.100.2: we refused (AUTHENTICATION_FAILED): no peer has this identity',
        '  peer branch came closest:',
        '    FIELD      OURS            THEIRS',
        '    remote id  branch.example  brnch.example',
        '',
      ].join('\n'),
    );
    const { out: asJson } = await ask('status', '--json');
    expect(JSON.parse(asJson)).toMatchObject({
      refusals: [
        {
          closest: 'branch',
          differences: [{ field: 'remote id', ours: 'branch.example', theirs: 'brnch.example' }],
        },
      ],
    });
  });

  it('reload tells what changed; a faulty file is bad usage', async () => {
    expect(await ask('reload')).toMatchObject({ exitCode: 0, out: 'Nothing changed.\n' });
    ike.changes = ['peer branch: rekey 4h -> 2h', 'policy web: added'];
    expect((await ask('reload')).out).toBe('peer branch: rekey 4h -> 2h\npolicy web: added\n');
    ike.reloadFault = new ConfigError(
      'IPSEC_ERR_CONFIG_INVALID',
      'ipsec.yaml has one fault:\nipsec.yaml:3: peers.branch.dpd: found soon',
      [],
    );
    const { exitCode, err } = await ask('reload');
    expect(exitCode).toBe(2);
    expect(err).toContain('ipsec-node: ipsec.yaml has one fault:');
    expect(err).toContain('  ipsec.yaml:3: peers.branch.dpd: found soon');
  });

  it('monitor prints one object a line, without keys, until interrupted', async () => {
    let raise: (signal: NodeJS.Signals) => void = () => {};
    const lines: unknown[] = [];
    const report = {
      spiInitiator: 1n,
      spiResponder: 2n,
      encryption: 'aes256gcm16',
      integrity: '',
      skEi: new Uint8Array(36),
      skEr: new Uint8Array(36),
      skAi: new Uint8Array(),
      skAr: new Uint8Array(),
    };
    const { event: refused, at } = wrongIdentity();
    const send = (): void => {
      ike.emit({
        kind: 'keys',
        ikeSa: 1,
        peer: 'branch',
        child: null,
        remote: '198.51.100.2',
        keys: report,
      });
      ike.emit(refused);
      notify({ kind: 'guard', what: 'the table was put back' }, at);
    };
    const timer = setInterval(send, 20);
    const result = await cli(['monitor', '--control', control], {
      onSignal: (handler) => {
        raise = handler;
      },
      onOut: (text) => {
        lines.push(JSON.parse(text));
        if (lines.length === 2) {
          clearInterval(timer);
          raise('SIGINT');
        }
      },
    });
    expect(result).toMatchObject({ exitCode: 0, err: '' });
    expect(lines.slice(0, 2)).toEqual([
      { at: '2023-11-14T22:13:20.000Z', ...refused },
      { at: '2023-11-14T22:13:20.000Z', kind: 'guard', what: 'the table was put back' },
    ]);
  });

  it('monitor exits with 1 where the gateway goes away', async () => {
    const running = ask('monitor');
    const timer = setInterval(() => ike.emit(wrongIdentity().event), 20);
    const heard = setInterval(() => {
      if (server.isWanted('ipsec-node-event')) void server.close();
    }, 20);
    const { exitCode, err } = await running;
    clearInterval(timer);
    clearInterval(heard);
    expect(exitCode).toBe(1);
    expect(err).toContain('The gateway closed the control connection.');
  });

  it('capture --with-keys is refused where the gateway does not show them', async () => {
    const file = join(directory, 'test.pcapng');
    expect(await ask('capture', '-w', file, '--with-keys')).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining('up --allow-key-capture'),
    });
  });
});

describe('kept keys', () => {
  it('are copies, bounded, and wiped at the end', () => {
    const keys = new KeptKeys();
    const key = new Uint8Array(36).fill(7);
    const sa = {
      id: { direction: 'outbound', spi: 256 },
      entry: 'lan',
      selector: {
        local: [],
        remote: [],
        protocol: 'any',
        localPorts: [],
        remotePorts: [],
        icmpTypes: [],
        icmpCodes: [],
      },
      suite: 'aes256gcm16',
      key,
      mode: 'tunnel',
      local: '192.0.2.1',
      remote: '192.0.2.2',
      encapsulation: 'esp',
      localPort: 4500,
      remotePort: 4500,
      esn: true,
      replayWindow: 64,
      tfcPadToBytes: 0,
      dontFragment: 'copy',
    } as const;
    keys.keepSa(sa);
    key.fill(0);
    const [first] = keys.espSas();
    expect(first).toMatchObject({ source: '192.0.2.1', destination: '192.0.2.2', spi: 256 });
    expect(first?.key).toEqual(new Uint8Array(36).fill(7));
    expect(JSON.stringify(keys)).toBe('{}');
    for (let spi = 257; spi <= 256 + 4096; spi += 1) {
      keys.keepSa({ ...sa, id: { direction: 'inbound', spi } });
    }
    expect(keys.espSas()).toHaveLength(4096);
    expect(keys.espSas()[0]).toMatchObject({ source: '192.0.2.2', spi: 257 });
    keys.close();
    expect(keys.espSas()).toEqual([]);
  });
});
