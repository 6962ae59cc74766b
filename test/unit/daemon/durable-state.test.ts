import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../packages/ipsec-node/src/clock.js';
import {
  DurableState,
  INBOUND_BLOCK,
  OUTBOUND_BLOCK,
} from '../../../packages/ipsec-node/src/daemon/durable-state.js';
import { STATE_FILE_NAME } from '../../../packages/ipsec-node/src/daemon/state-file.js';
import { LOCK_NAME } from '../../../packages/ipsec-node/src/daemon/state-lock.js';

const KEY_A = new Uint8Array(36).fill(0xa1);
const KEY_B = new Uint8Array(36).fill(0xb2);

function outbound(spi = 0xc000_0001, key = KEY_A, esn = true) {
  return { id: { direction: 'outbound', spi } as const, suite: 'aes256gcm16', key, esn };
}

function inbound(spi = 0xc000_0002, key = KEY_B, esn = true) {
  return { id: { direction: 'inbound', spi } as const, suite: 'aes256gcm16', key, esn };
}

describe('durable state', () => {
  let directory: string;
  const open: DurableState[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'ipsec-node-state-'));
  });

  afterEach(async () => {
    for (const state of open.splice(0)) await state.close();
    rmSync(directory, { recursive: true });
  });

  async function opened(): Promise<DurableState> {
    const state = await DurableState.open(directory, systemClock);
    open.push(state);
    return state;
  }

  /** What a crash leaves: the file as it is, and a lock that nobody serves. */
  async function crashed(state: DurableState): Promise<void> {
    open.splice(open.indexOf(state), 1);
    await state.close();
  }

  function fileUpTo(direction: string): string {
    const file = JSON.parse(readFileSync(join(directory, STATE_FILE_NAME), 'utf8'));
    return file.records.find((row: { direction: string }) => row.direction === direction).upTo;
  }

  it('starts a fresh key at 1 and has its block on disk before it says so', async () => {
    const state = await opened();
    const [out, in_] = await state.begin([outbound(), inbound()]);
    expect(out).toEqual({ sequenceNumber: 1n, reservedUpTo: OUTBOUND_BLOCK });
    expect(in_).toEqual({ sequenceNumber: 0n, reservedUpTo: INBOUND_BLOCK });
    expect(fileUpTo('outbound')).toBe(String(OUTBOUND_BLOCK));
    expect(fileUpTo('inbound')).toBe(String(INBOUND_BLOCK));
    expect(statSync(join(directory, STATE_FILE_NAME)).mode & 0o777).toBe(0o600);
  });

  it('goes on above the reservation after a crash', async () => {
    const first = await opened();
    await first.begin([outbound(), inbound()]);
    expect(await first.raise(inbound().id, 60n, 5000n)).toBe(5000n);
    await crashed(first);
    const [out, in_] = await (await opened()).begin([outbound(), inbound()]);
    expect(out).toEqual({ sequenceNumber: OUTBOUND_BLOCK + 1n, reservedUpTo: OUTBOUND_BLOCK * 2n });
    expect(in_).toEqual({ sequenceNumber: 5000n, reservedUpTo: 5000n + INBOUND_BLOCK });
  });

  it('goes on at the exact number after a clean stop', async () => {
    const first = await opened();
    await first.begin([outbound(), inbound()]);
    await first.settle([
      { id: outbound().id, last: 777n },
      { id: inbound().id, last: 33n },
    ]);
    await crashed(first);
    const [out, in_] = await (await opened()).begin([outbound(), inbound()]);
    expect(out?.sequenceNumber).toBe(778n);
    expect(in_?.sequenceNumber).toBe(33n);
  });

  it('believes no final number outside what it reserved', async () => {
    const first = await opened();
    await first.begin([outbound()]);
    await first.settle([{ id: outbound().id, last: 500n }]);
    await first.begin([outbound()]);
    await first.settle([{ id: outbound().id, last: 0n }]);
    expect(fileUpTo('outbound')).toBe('500');
    await first.begin([outbound()]);
    await first.settle([{ id: outbound().id, last: OUTBOUND_BLOCK * 9n }]);
    expect(fileUpTo('outbound')).toBe(String(500n + OUTBOUND_BLOCK));
  });

  it('starts a new key anew and finds the numbers of an old one again', async () => {
    const state = await opened();
    await state.begin([outbound()]);
    await state.settle([{ id: outbound().id, last: 9000n }]);
    const other = outbound(0xc000_0001, KEY_B);
    expect((await state.begin([other]))[0]?.sequenceNumber).toBe(1n);
    await state.settle([{ id: other.id, last: 5n }]);
    expect((await state.begin([outbound()]))[0]?.sequenceNumber).toBe(9001n);
  });

  it('knows an outbound key under another SPI, because the nonce does not hold the SPI', async () => {
    const state = await opened();
    await state.begin([outbound()]);
    await state.settle([{ id: outbound().id, last: 9000n }]);
    expect((await state.begin([outbound(0xc000_0099)]))[0]?.sequenceNumber).toBe(9001n);
  });

  it.each([
    ['two outbound SAs', [outbound(1000), outbound(1001)]],
    ['both directions', [outbound(1000), inbound(1001, KEY_A)]],
    ['both directions, the other way', [inbound(1001, KEY_A), outbound(1000)]],
  ])('refuses one key for %s', async (_what, sas) => {
    await expect((await opened()).begin(sas)).rejects.toMatchObject({
      code: 'IPSEC_ERR_SA_INVALID',
    });
  });

  it('reserves at least a block ahead outbound, and what is wanted inbound', async () => {
    const state = await opened();
    await state.begin([outbound(), inbound()]);
    expect(await state.raise(outbound().id, 1_000_000n, 1_000_010n)).toBe(
      1_000_000n + OUTBOUND_BLOCK,
    );
    expect(await state.raise(inbound().id, 4060n, 5080n)).toBe(5080n);
    expect(await state.raise(inbound().id, 4060n, 5070n)).toBe(5080n);
    expect(fileUpTo('inbound')).toBe('5080');
  });

  it('writes once for many who ask at one time', async () => {
    const state = await opened();
    const sas = Array.from({ length: 50 }, (_, index) =>
      inbound(1000 + index, new Uint8Array(36).fill(index)),
    );
    await state.begin(sas);
    await Promise.all(sas.map((sa) => state.raise(sa.id, 1n, 10_000n)));
    const file = JSON.parse(readFileSync(join(directory, STATE_FILE_NAME), 'utf8'));
    expect(file.records).toHaveLength(50);
    expect(file.records.every((row: { upTo: string }) => row.upTo === '10000')).toBe(true);
  });

  it('stops at the last number of 32 bits, and refuses to start with too few', async () => {
    const state = await opened();
    const sa = outbound(0xc000_0001, KEY_A, false);
    await state.begin([sa]);
    const last = 2n ** 32n - 1n;
    expect(await state.raise(sa.id, last - 10n, last + 99n)).toBe(last);
    await state.settle([{ id: sa.id, last: last - 1000n }]);
    await expect(state.begin([sa])).rejects.toMatchObject({
      code: 'IPSEC_ERR_SA_INVALID',
      message: expect.stringContaining('new keys on both ends, with `esn: true`'),
    });
  });

  describe('refuses, and never starts at 1, where the directory', () => {
    it('is missing', async () => {
      await expect(DurableState.open(join(directory, 'none'), systemClock)).rejects.toMatchObject({
        code: 'IPSEC_ERR_STATE_UNWRITABLE',
        message: expect.stringContaining('install -d -m 700'),
      });
    });

    it('is a file', async () => {
      const path = join(directory, 'file');
      writeFileSync(path, '');
      await expect(DurableState.open(path, systemClock)).rejects.toMatchObject({
        code: 'IPSEC_ERR_STATE_UNWRITABLE',
      });
    });

    it('may not be written', async () => {
      // Nobody makes files there, root neither.
      await expect(DurableState.open('/proc/self', systemClock)).rejects.toMatchObject({
        code: 'IPSEC_ERR_STATE_UNWRITABLE',
      });
    });

    it('becomes unwritable: the reservation does not move', async () => {
      const state = await opened();
      await state.begin([outbound()]);
      // A directory in the place of the temporary file fails for root too.
      mkdirSync(join(directory, `${STATE_FILE_NAME}.new`));
      await expect(state.raise(outbound().id, 1_000_000n, 3_000_000n)).rejects.toMatchObject({
        code: 'IPSEC_ERR_STATE_UNWRITABLE',
      });
      expect(fileUpTo('outbound')).toBe(String(OUTBOUND_BLOCK));
      rmSync(join(directory, `${STATE_FILE_NAME}.new`), { recursive: true });
      expect(await state.raise(outbound().id, 1_000_000n, 3_000_000n)).toBe(3_000_000n);
      expect(fileUpTo('outbound')).toBe('3000000');
    });

    it.each([
      ['is empty', () => ''],
      ['is cut short', (text: string) => text.slice(0, text.length / 2)],
      ['is of another format', (text: string) => text.replace('"format": 1', '"format": 2')],
      ['has a digit changed', (text: string) => text.replace('1048576', '1048575')],
      ['lost its records', (text: string) => text.replace(/"records": \[[^]*\]/, '"records": []')],
    ])('holds a file that %s', async (_what, damage) => {
      const state = await opened();
      await state.begin([outbound()]);
      await crashed(state);
      const path = join(directory, STATE_FILE_NAME);
      const damaged = damage(readFileSync(path, 'utf8'));
      expect(damaged).not.toBe(readFileSync(path, 'utf8'));
      writeFileSync(path, damaged);
      await expect(DurableState.open(directory, systemClock)).rejects.toMatchObject({
        code: 'IPSEC_ERR_STATE_CORRUPT',
        message: expect.stringContaining('Never remove it and keep the keys'),
      });
      // The refused start does not keep the lock.
      expect(existsSync(join(directory, LOCK_NAME))).toBe(false);
    });
  });

  it('excludes a second gateway while the first lives', async () => {
    const first = await opened();
    await expect(DurableState.open(directory, systemClock)).rejects.toMatchObject({
      code: 'IPSEC_ERR_STATE_UNWRITABLE',
      message: expect.stringContaining('in use by a running gateway'),
    });
    await crashed(first);
    await opened();
  });

  it('takes over the lock of a killed process; of two takers one gets it', async () => {
    const child = spawn(
      process.execPath,
      [
        '-e',
        'require("net").createServer().listen(process.argv[1],()=>console.log("up"))',
        join(directory, LOCK_NAME),
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    await new Promise((resolve) => child.stdout.once('data', resolve));
    await expect(DurableState.open(directory, systemClock)).rejects.toMatchObject({
      code: 'IPSEC_ERR_STATE_UNWRITABLE',
    });
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    expect(existsSync(join(directory, LOCK_NAME))).toBe(true);
    const takers = await Promise.allSettled([opened(), opened(), opened()]);
    expect(takers.filter((taker) => taker.status === 'fulfilled')).toHaveLength(1);
  });
});
