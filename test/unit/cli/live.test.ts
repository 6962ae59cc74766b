import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../../packages/ipsec-node/src/clock.js';
import { MemoryDataplane } from '../../../packages/ipsec-node/src/dataplane/memory-dataplane.js';
import { Gateway } from '../../../packages/ipsec-node/src/gateway.js';
import { cli, makeSite, type Site } from './fixture.js';

const OUT_SPI = 0xc000_0002;
const IN_SPI = 0xc000_0001;

describe('commands that ask the running gateway', () => {
  let site: Site;
  let dataplane: MemoryDataplane;
  let gateway: Gateway;

  beforeAll(async () => {
    site = makeSite();
    dataplane = new MemoryDataplane(systemClock);
    gateway = await Gateway.open(site.file, { dataplane });
    dataplane.transmit(OUT_SPI, 1234n, 1400n);
    dataplane.receive(IN_SPI, 1n);
    dataplane.receive(IN_SPI, 1n);
    dataplane.receive(0xdead, 1n);
  });

  afterAll(async () => {
    await gateway.close();
    site.remove();
  });

  it('status shows the gateway, by file or by socket', async () => {
    const byFile = await cli(['status', '-c', site.file]);
    expect(byFile).toMatchObject({ exitCode: 0, err: '' });
    expect(byFile.out).toMatch(/^gateway +hq, running$/m);
    expect(byFile.out).toMatch(/^interface +ipsec0, MTU \d+$/m);
    expect(byFile.out).toMatch(/^policy +version 1, 3 entries$/m);
    expect(byFile.out).toMatch(/^SAs +2$/m);
    expect(byFile.out).toMatch(/^on stop +guard \(what policy protects stays closed\)$/m);
    expect((await cli(['status', '--control', site.control])).out).toMatch(
      /^gateway +hq, running$/m,
    );
  });

  it('status --json has types, not texts', async () => {
    const { out } = await cli(['status', '--control', site.control, '--json']);
    expect(JSON.parse(out)).toMatchObject({
      name: 'hq',
      state: 'running',
      pid: process.pid,
      saCount: 2,
      guardTakenOver: false,
      notes: [],
      lostEventCount: 0,
    });
  });

  it('sas lists both directions with their numbers', async () => {
    const { out, exitCode } = await cli(['sas', '-c', site.file]);
    expect(exitCode).toBe(0);
    const [head, inbound, outbound] = out.split('\n').map((line) => line.trim().split(/ {2,}/));
    expect(head).toEqual(
      'DIRECTION SPI POLICY SUITE OUTER PACKETS BYTES NUMBER RESERVED AGE IDLE DROPS'.split(' '),
    );
    expect(inbound?.slice(0, 8)).toEqual([
      'inbound',
      '0xc0000001',
      'lan-to-branch',
      'aes256gcm16, ESN',
      '198.51.100.2 > 192.0.2.1 udp 4500/4500',
      '1',
      '100 B',
      '1',
    ]);
    expect(outbound?.slice(4, 9)).toEqual([
      '192.0.2.1 > 198.51.100.2 udp 4500/4500',
      '1 234',
      '1.6 MiB',
      '1 234',
      '1 048 576',
    ]);
    expect(inbound?.at(-1)).toBe('1');
  });

  it('sas --json keeps all digits and no key', async () => {
    const { out } = await cli(['sas', '-c', site.file, '--json']);
    const sas: unknown = JSON.parse(out);
    expect(sas).toMatchObject([
      {
        direction: 'inbound',
        spi: IN_SPI,
        drops: { replay_duplicate: 1 },
        idleMs: expect.any(Number),
      },
      {
        direction: 'outbound',
        spi: OUT_SPI,
        packets: 1234,
        bytes: 1_727_600,
        reservedUpTo: 1_048_576,
      },
    ]);
    expect(out).not.toContain('"key"');
  });

  it('policies lists the SPD in order and what comes last', async () => {
    const { out } = await cli(['policies', '-c', site.file]);
    expect(out.split('\n').map((line) => line.trim().split(/ {2,}/).slice(0, 5))).toEqual([
      ['#', 'NAME', 'ACTION', 'DIRECTION', 'SAS'],
      ['1', 'web-in-clear', 'BYPASS', 'both', '-'],
      ['2', 'lan-to-branch', 'PROTECT', 'both', '2'],
      ['3', 'everything-else', 'DISCARD', 'both', '-'],
      ['4. everything that no entry matches: DISCARD'],
      [''],
    ]);
  });

  it('counters shows what was refused, whole and by SA', async () => {
    const { out } = await cli(['counters', '-c', site.file]);
    expect(out).toMatch(/^esp_sealed +1 234$/m);
    expect(out).toMatch(/^no_sa +1$/m);
    expect(out).toMatch(/^replay_duplicate +1$/m);
    expect(out).toMatch(/^inbound +0xc0000001 +replay_duplicate +1$/m);
    const { out: asJson } = await cli(['counters', '-c', site.file, '--json']);
    expect(JSON.parse(asJson)).toEqual({
      counters: { esp_sealed: 1234, esp_opened: 1 },
      drops: { no_sa: 1, replay_duplicate: 1 },
      dropsBySa: [{ direction: 'inbound', spi: IN_SPI, drops: { replay_duplicate: 1 } }],
    });
  });

  it('explain --live says the same as the file', async () => {
    const packet = ['out', 'tcp', '10.1.0.5:40000', '10.2.0.7:80'];
    const live = await cli(['explain', '-c', site.file, '--live', ...packet]);
    expect(live.exitCode).toBe(0);
    expect(live).toEqual(await cli(['explain', '-c', site.file, ...packet]));
    expect(live.out).toMatch(/web-in-clear +no: remotePort 80 is not 443/);
    expect(live.out).toContain('leaves in SA 0xc0000002');
    const liveJson = await cli(['explain', '--control', site.control, '--json', ...packet]);
    const fileJson = await cli(['explain', '-c', site.file, '--json', ...packet]);
    expect(JSON.parse(liveJson.out)).toEqual(JSON.parse(fileJson.out));
    expect(
      await gateway.explain({
        direction: 'out',
        protocol: 'tcp',
        source: '10.1.0.5:40000',
        destination: '10.2.0.7:80',
      }),
    ).toEqual(JSON.parse(fileJson.out));
  });

  it('--watch asks again until interrupted', async () => {
    let raise: (signal: NodeJS.Signals) => void = () => {};
    let answers = 0;
    const result = await cli(['status', '-c', site.file, '--json', '--watch', '0.1'], {
      onSignal: (handler) => {
        raise = handler;
      },
      onOut: () => {
        answers += 1;
        if (answers === 3) raise('SIGINT');
      },
    });
    expect(result.exitCode).toBe(0);
    const lines = result.out.trimEnd().split('\n');
    expect(lines).toHaveLength(3);
    for (const line of lines) expect(JSON.parse(line)).toMatchObject({ name: 'hq' });
  });

  it('colours only where a person reads', async () => {
    expect((await cli(['status', '-c', site.file])).out).not.toContain('\u001b');
    expect((await cli(['status', '-c', site.file], { interactive: true })).out).toContain(
      '\u001b[',
    );
  });

  it('refuses a second gateway on one socket and one state directory, before it touches a thing', async () => {
    const second = new MemoryDataplane(systemClock);
    await expect(Gateway.open(site.file, { dataplane: second })).rejects.toMatchObject({
      code: 'IPSEC_ERR_ADDRESS_IN_USE',
    });
    await expect(
      Gateway.open(site.file, { dataplane: second, control: false }),
    ).rejects.toMatchObject({ code: 'IPSEC_ERR_STATE_UNWRITABLE' });
    expect(second.opened).toBeNull();
  });

  it('guard and unguard are refused while it runs', async () => {
    for (const command of ['guard', 'unguard']) {
      const { exitCode, err } = await cli([command, '-c', site.file]);
      expect(exitCode).toBe(1);
      expect(err).toContain('The gateway hq runs and has its guard in its own hands.');
    }
  });

  it('doctor knows that it runs', async () => {
    const { out } = await cli(['doctor', '-c', site.file, '--json']);
    const findings: unknown = JSON.parse(out);
    expect(findings).toContainEqual({
      what: `control socket ${site.control}`,
      state: 'ok',
      found: 'a gateway answers',
      remedy: '',
    });
    expect(findings).toContainEqual({
      what: `state directory ${site.directory}/state`,
      state: 'ok',
      found: 'there, and writable',
      remedy: '',
    });
  });

  it('status exits with 1 where a worker has failed', async () => {
    dataplane.inject({ kind: 'fault', worker: 'inbound-0', reason: 'panicked' });
    await expect.poll(() => gateway.status().state).toBe('failed');
    const { exitCode, out } = await cli(['status', '-c', site.file]);
    expect(exitCode).toBe(1);
    expect(out).toMatch(/^fault +worker inbound-0: panicked$/m);
  });
});

describe('a gateway as a resource', () => {
  it('is closed by await using, and its keys are wiped', async () => {
    const site = makeSite();
    const dataplane = new MemoryDataplane(systemClock);
    let closed = false;
    {
      await using gateway = await Gateway.open(site.file, { dataplane });
      gateway.on('close', () => {
        closed = true;
      });
      expect(gateway.config.associations[0]?.inbound?.key.isPresent).toBe(false);
    }
    expect(closed).toBe(true);
    expect(await cli(['status', '-c', site.file])).toMatchObject({
      exitCode: 1,
      err: expect.stringContaining('No gateway answers on'),
    });
    site.remove();
  });

  it('passes events on', async () => {
    const site = makeSite();
    const dataplane = new MemoryDataplane(systemClock);
    await using gateway = await Gateway.open(site.file, { dataplane, control: false });
    const heard: string[] = [];
    gateway.on('guard', ({ what }) => heard.push(what));
    dataplane.inject({ kind: 'guard', what: 'put back' });
    await expect.poll(() => heard).toEqual(['put back']);
    await gateway.close();
    site.remove();
  });

  it('opens from an object of the same shape', async () => {
    const site = makeSite();
    await using gateway = await Gateway.open(
      {
        gateway: { name: 'object', control: site.control, state: `${site.directory}/state` },
        policies: [{ name: 'all', action: 'discard' }],
      },
      { dataplane: new MemoryDataplane(systemClock) },
    );
    expect(gateway.status()).toMatchObject({ name: 'object', saCount: 0 });
    await gateway.close();
    site.remove();
  });
});
