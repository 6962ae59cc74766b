import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../packages/ipsec-node/src/clock.js';
import { Daemon } from '../../../packages/ipsec-node/src/daemon/daemon.js';
import {
  INBOUND_BLOCK,
  OUTBOUND_BLOCK,
} from '../../../packages/ipsec-node/src/daemon/durable-state.js';
import { STATE_FILE_NAME } from '../../../packages/ipsec-node/src/daemon/state-file.js';
import { MemoryDataplane } from '../../../packages/ipsec-node/src/dataplane/memory-dataplane.js';
import type { LogRecord } from '../../../packages/ipsec-node/src/log.js';
import { ManualClock } from './manual-clock.js';
import { IN_SPI, OUT_SPI, sampleParts, SPD, startSample } from './sample.js';

/** Writes down the order of the verbs, and fails where it is told to. */
class WatchedDataplane extends MemoryDataplane {
  readonly verbs: string[] = [];
  failAt: string | undefined;

  private note(verb: string): void {
    this.verbs.push(verb);
    if (verb === this.failAt) throw new Error(`${verb} failed`);
  }

  override async open(...args: Parameters<MemoryDataplane['open']>) {
    this.note('open');
    return super.open(...args);
  }

  override async replaceSpd(...args: Parameters<MemoryDataplane['replaceSpd']>) {
    this.note('replaceSpd');
    return super.replaceSpd(...args);
  }

  override async addSa(...args: Parameters<MemoryDataplane['addSa']>) {
    this.note(`addSa ${args[0].id.direction}`);
    return super.addSa(...args);
  }

  override async deleteSa(...args: Parameters<MemoryDataplane['deleteSa']>) {
    this.note(`deleteSa ${args[0].direction}`);
    return super.deleteSa(...args);
  }

  override async close() {
    this.note('close');
    return super.close();
  }
}

describe('daemon', () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'ipsec-node-daemon-'));
  });

  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  function upTo(direction: string): bigint {
    const file = JSON.parse(readFileSync(join(directory, STATE_FILE_NAME), 'utf8'));
    return BigInt(
      file.records.find((row: { direction: string }) => row.direction === direction).upTo,
    );
  }

  it('starts and stops in the order that leaves no gap', async () => {
    const dataplane = new WatchedDataplane(systemClock);
    const daemon = await Daemon.start(sampleParts(directory, dataplane));
    expect(dataplane.verbs).toEqual(['open', 'replaceSpd', 'addSa inbound', 'addSa outbound']);
    expect(dataplane.spd).toBe(SPD);
    dataplane.verbs.length = 0;
    await Promise.all([daemon.stop(), daemon.stop()]);
    expect(dataplane.verbs).toEqual(['deleteSa outbound', 'deleteSa inbound', 'close']);
    expect(daemon.status().state).toBe('stopped');
  });

  it('zeroes the keys it was given', async () => {
    const parts = sampleParts(directory, new MemoryDataplane(systemClock));
    const daemon = await Daemon.start(parts);
    for (const sa of parts.sas) expect(sa.key).toEqual(new Uint8Array(36));
    await daemon.stop();
  });

  it('keeps numbers over a clean stop exactly, and over a crash with a gap', async () => {
    const first = await startSample(directory);
    first.dataplane.transmit(OUT_SPI, 1000n);
    first.dataplane.receive(IN_SPI, 17n);
    await first.daemon.stop();
    expect(upTo('outbound')).toBe(1000n);
    expect(upTo('inbound')).toBe(17n);

    const second = await startSample(directory);
    const sas = await second.daemon.sas();
    expect(new Set(sas.map((sa) => sa.sequenceNumber))).toEqual(new Set([1000n, 17n]));
    expect(second.dataplane.receive(IN_SPI, 17n)).toBe('replay_too_old');
    expect(second.dataplane.receive(IN_SPI, 18n)).toBeNull();
    // What a crash would leave behind is what is on disk while it runs.
    expect(upTo('outbound')).toBe(1000n + OUTBOUND_BLOCK);
    await second.daemon.stop();
  });

  it('raises reservations on disk before the datapath may use them', async () => {
    const { daemon, dataplane } = await startSample(directory);
    expect(dataplane.transmit(OUT_SPI, OUTBOUND_BLOCK * 2n)).toBe(OUTBOUND_BLOCK);
    await expect
      .poll(async () => (await daemon.sas()).find((sa) => sa.id.spi === OUT_SPI)?.reservedUpTo)
      .toBe(OUTBOUND_BLOCK * 2n);
    expect(upTo('outbound')).toBe(OUTBOUND_BLOCK * 2n);
    expect(dataplane.transmit(OUT_SPI, 1n)).toBe(1n);
    await daemon.stop();
  });

  it('puts the bound of an idle peer near again, first in the datapath, then on disk', async () => {
    const clock = new ManualClock();
    const { daemon, dataplane } = await startSample(directory, clock);
    const far = OUTBOUND_BLOCK + 5n;
    expect(dataplane.receive(IN_SPI, far)).toBe('replay_not_reserved');
    await expect.poll(() => dataplane.receive(IN_SPI, far + 1n)).toBeNull();
    clock.advance(10_000);
    await expect.poll(() => clock.pending).toBeGreaterThan(0);
    const high = upTo('inbound');
    clock.advance(10_000);
    await expect.poll(() => upTo('inbound')).toBe(far + 1n + INBOUND_BLOCK);
    expect(high).toBeGreaterThan(far + 1n + INBOUND_BLOCK);
    await daemon.stop();
  });

  it('accepts a peer that came back far ahead once the jump is on disk', async () => {
    const { daemon, dataplane } = await startSample(directory);
    expect(dataplane.receive(IN_SPI, OUTBOUND_BLOCK + 5n)).toBe('replay_not_reserved');
    await expect.poll(() => upTo('inbound')).toBeGreaterThan(OUTBOUND_BLOCK + 5n);
    await expect.poll(() => dataplane.receive(IN_SPI, OUTBOUND_BLOCK + 6n)).toBeNull();
    await daemon.stop();
  });

  it('stops an SA where it is while the disk refuses, says so, and goes on after', async () => {
    const { daemon, dataplane, logged } = await startSample(directory);
    const blocker = join(directory, `${STATE_FILE_NAME}.new`);
    mkdirSync(blocker);
    dataplane.transmit(OUT_SPI, OUTBOUND_BLOCK);
    await expect.poll(() => logged.some(({ level }) => level === 'error')).toBe(true);
    expect(dataplane.transmit(OUT_SPI, 1n)).toBe(0n);
    rmSync(blocker, { recursive: true });
    await expect.poll(() => dataplane.transmit(OUT_SPI, 1n), { timeout: 5000 }).toBe(1n);
    await daemon.stop();
  });

  it.each(['open', 'replaceSpd', 'addSa inbound', 'addSa outbound'])(
    'undoes a start that fails at %s and uses up no numbers it did not hand out',
    async (verb) => {
      const dataplane = new WatchedDataplane(systemClock);
      dataplane.failAt = verb;
      await expect(Daemon.start(sampleParts(directory, dataplane))).rejects.toThrow(
        `${verb} failed`,
      );
      expect(dataplane.verbs.at(-1)).toBe('close');
      const attempted = dataplane.verbs.includes('addSa outbound');
      expect(upTo('outbound')).toBe(attempted ? OUTBOUND_BLOCK : 0n);
      // The lock is free again.
      const { daemon } = await startSample(directory);
      await daemon.stop();
    },
  );

  it('touches nothing where the state directory is missing', async () => {
    const dataplane = new WatchedDataplane(systemClock);
    await expect(
      Daemon.start(sampleParts(join(directory, 'none'), dataplane)),
    ).rejects.toMatchObject({ code: 'IPSEC_ERR_STATE_UNWRITABLE' });
    expect(dataplane.verbs).toEqual(['close']);
  });

  it('goes on with a stop when a step of it fails, and keeps the reservation', async () => {
    const dataplane = new WatchedDataplane(systemClock);
    const daemon = await Daemon.start(sampleParts(directory, dataplane));
    dataplane.failAt = 'deleteSa outbound';
    await expect(daemon.stop()).rejects.toThrow('deleteSa outbound failed');
    expect(dataplane.verbs.at(-1)).toBe('close');
    expect(upTo('outbound')).toBe(OUTBOUND_BLOCK);
    expect(upTo('inbound')).toBe(0n);
  });

  it('turns events into log lines, status and its own events', async () => {
    const { daemon, dataplane, logged } = await startSample(directory);
    const heard: string[] = [];
    for (const kind of ['audit', 'acquire', 'expire', 'guard', 'fault'] as const) {
      daemon.on(kind, () => heard.push(kind));
    }
    const id = { direction: 'outbound', spi: OUT_SPI } as const;
    dataplane.inject({ kind: 'guard', what: 'the nftables table was flushed' });
    dataplane.inject({ kind: 'expire', id, limit: 'sequence', hard: false });
    dataplane.inject({ kind: 'lost', count: 12n });
    dataplane.inject({ kind: 'ike', datagrams: [] });
    dataplane.inject({ kind: 'fault', worker: 'outbound-0', reason: 'panicked' });
    await expect.poll(() => heard).toEqual(['guard', 'expire', 'fault']);
    expect(daemon.status()).toMatchObject({
      state: 'failed',
      faults: ['worker outbound-0: panicked'],
      lostEventCount: 12n,
    });
    expect(logged.map(({ level }: LogRecord) => level)).toEqual(['warn', 'warn', 'warn', 'error']);
    await daemon.stop();
  });

  it('says once for each policy that an SA is missing', async () => {
    const { daemon, dataplane, logged } = await startSample(directory);
    let heard = 0;
    daemon.on('acquire', () => {
      heard += 1;
    });
    const packet = {
      source: '10.1.0.5',
      destination: '10.2.0.7',
      protocol: 6,
      hasPorts: true,
      sourcePort: 1,
      destinationPort: 2,
      icmpType: 0,
      icmpCode: 0,
    };
    for (const entry of ['a', 'a', 'b', 'a']) dataplane.inject({ kind: 'acquire', entry, packet });
    await expect.poll(() => heard).toBe(4);
    expect(logged.map(({ fields }) => fields['entry'])).toEqual(['a', 'b']);
    await daemon.stop();
  });

  it('shows policies with the SAs that serve them, and counters by SA', async () => {
    const { daemon, dataplane } = await startSample(directory);
    expect(daemon.policies().map(({ name, saCount }) => [name, saCount])).toEqual([
      ['web-in-clear', 0],
      ['lan-to-branch', 2],
      ['everything-else', 0],
    ]);
    dataplane.receive(IN_SPI, 1n);
    dataplane.receive(IN_SPI, 1n);
    expect(await daemon.counters()).toEqual({
      counters: { esp_sealed: 0n, esp_opened: 1n },
      drops: { replay_duplicate: 1n },
      dropsBySa: [{ id: { direction: 'inbound', spi: IN_SPI }, drops: { replay_duplicate: 1n } }],
    });
    await daemon.stop();
  });
});
