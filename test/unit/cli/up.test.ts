import { existsSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../packages/ipsec-node/src/clock.js';
import { MemoryDataplane } from '../../../packages/ipsec-node/src/dataplane/memory-dataplane.js';
import { cli, type CliResult, makeSite, type Site } from './fixture.js';

describe('up', () => {
  let site: Site;
  let dataplane: MemoryDataplane;

  beforeEach(() => {
    site = makeSite();
    dataplane = new MemoryDataplane(systemClock);
  });

  afterEach(() => site.remove());

  /** Starts `up` and waits for its ready line. */
  async function started(...args: readonly string[]): Promise<{
    readonly ready: string;
    readonly raise: (signal: NodeJS.Signals) => void;
    readonly exits: readonly number[];
    readonly result: Promise<CliResult>;
  }> {
    let raise: (signal: NodeJS.Signals) => void = () => {};
    const exits: number[] = [];
    let result: Promise<CliResult> = Promise.reject(new Error('not started'));
    result.catch(() => {});
    const ready = await new Promise<string>((resolve, reject) => {
      result = cli(['up', '-c', site.file, ...args], {
        dataplane,
        onOut: resolve,
        onSignal: (handler) => {
          raise = handler;
        },
        onExitNow: (code) => exits.push(code),
      });
      result.then(({ err }) => reject(new Error(err)), reject);
    });
    return { ready, raise, exits, result };
  }

  it.each(['SIGTERM', 'SIGINT'] as const)(
    'says when it is ready, and %s stops it',
    async (signal) => {
      const { ready, raise, exits, result } = await started();
      expect(ready).toBe(
        `ready: gateway hq on ipsec0, MTU ${dataplane.opened?.interface.mtu}, 2 SAs, ` +
          `3 policy entries, control socket ${site.control}\n`,
      );
      expect(existsSync(site.control)).toBe(true);
      raise(signal);
      const { exitCode, out, err } = await result;
      expect({ exitCode, out, exits }).toEqual({ exitCode: 0, out: ready, exits: [] });
      expect(err).toMatch(/^\S+Z info {2}Stopping\. reason=SIG(TERM|INT)$/m);
      expect(err).toMatch(/^\S+Z info {2}The gateway is stopped\. guard=stays$/m);
      expect(existsSync(site.control)).toBe(false);
    },
  );

  it('ends at once on the second signal', async () => {
    const { raise, exits, result } = await started();
    raise('SIGINT');
    raise('SIGINT');
    expect(exits).toEqual([1]);
    await result;
  });

  it('does not stop on SIGHUP, and says why a gateway without peers is not reloaded', async () => {
    const { raise, result } = await started();
    raise('SIGHUP');
    await new Promise(setImmediate);
    raise('SIGTERM');
    const { exitCode, err } = await result;
    expect(exitCode).toBe(0);
    expect(err).toContain('The reload was refused; nothing changed.');
    expect(err).toContain('A gateway without peers is not reloaded');
  });

  it('stops in order and exits with 1 when a worker of the datapath ends', async () => {
    const { result } = await started();
    dataplane.inject({ kind: 'fault', worker: 'inbound-0', reason: 'panicked' });
    const { exitCode, err } = await result;
    expect(exitCode).toBe(1);
    expect(err).toContain('worker=inbound-0');
    expect(existsSync(site.control)).toBe(false);
  });

  it('gives the fault as the reason where the stop after it cannot be whole', async () => {
    const { result } = await started();
    dataplane.deleteSa = () => Promise.reject(new Error('the worker is gone'));
    dataplane.inject({ kind: 'fault', worker: 'ipsec-out', reason: 'the interface is gone' });
    const { exitCode, err } = await result;
    expect(exitCode).toBe(1);
    expect(err).toContain('reason="the interface is gone"');
    expect(err).toContain('A step of the stop failed; the rest goes on.');
    expect(err).toMatch(/The gateway is stopped\. guard=stays\n$/);
  });

  it('prints JSON for machines', async () => {
    const { ready, raise, result } = await started('--json');
    expect(JSON.parse(ready)).toMatchObject({
      event: 'ready',
      name: 'hq',
      pid: process.pid,
      saCount: 2,
    });
    raise('SIGTERM');
    const { err } = await result;
    for (const line of err.trimEnd().split('\n')) {
      expect(JSON.parse(line)).toMatchObject({ level: 'info', time: expect.any(String) });
    }
  });

  it('never shows a key, at any level', async () => {
    const { raise, result } = await started('--log-level', 'debug');
    raise('SIGTERM');
    const { out, err } = await result;
    // The first bytes of both keys of the fixture, in hexadecimal.
    expect(out + err).not.toMatch(/0d141b22|72798087/);
  });

  it.skipIf(process.platform !== 'linux')(
    'refuses to start where something is missing',
    async () => {
      site.remove();
      site = makeSite();
      const { exitCode, err } = await cli([
        'up',
        '-c',
        site.file.replace('ipsec.yaml', 'other.yaml'),
      ]);
      expect(exitCode).toBe(2);
      expect(err).toContain('other.yaml');
    },
  );
});
