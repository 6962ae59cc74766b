import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { STATE_FILE_NAME } from '../../../packages/ipsec-node/src/daemon/state-file.js';
import { IN_SPI, OUT_SPI, type Sample, startSample } from './sample.js';

type Step =
  | { readonly kind: 'send'; readonly count: number }
  | { readonly kind: 'receive'; readonly ahead: number }
  | { readonly kind: 'replay' }
  | { readonly kind: 'settle' }
  | { readonly kind: 'crash' }
  | { readonly kind: 'stop' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('send' as const),
      count: fc.integer({ min: 1, max: 3_000_000 }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('receive' as const),
      ahead: fc.integer({ min: -5, max: 200 }),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ kind: 'replay' as const }) },
  { weight: 3, arbitrary: fc.constant({ kind: 'settle' as const }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'crash' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'stop' as const }) },
);

/** One gateway over its lives: what went over the wire under its keys, ever. */
class Lives {
  private readonly directories: string[] = [];
  private sample: Sample | undefined;
  private directory = this.makeDirectory();
  /** The highest number that was sealed. */
  private sealed = 0n;
  private readonly accepted = new Set<bigint>();
  private peer = 0n;

  private makeDirectory(): string {
    const directory = mkdtempSync(join(tmpdir(), 'ipsec-node-crash-'));
    this.directories.push(directory);
    return directory;
  }

  async start(): Promise<Sample> {
    this.sample ??= await startSample(this.directory);
    return this.sample;
  }

  private async lastNumber(sample: Sample): Promise<bigint> {
    const sas = await sample.daemon.sas();
    return sas.find((sa) => sa.id.spi === OUT_SPI)?.sequenceNumber ?? -1n;
  }

  async run(step: Step): Promise<void> {
    const sample = await this.start();
    switch (step.kind) {
      case 'send': {
        const before = await this.lastNumber(sample);
        expect(before).toBeGreaterThanOrEqual(this.sealed);
        const sent = sample.dataplane.transmit(OUT_SPI, BigInt(step.count));
        if (sent > 0n) this.sealed = before + sent;
        break;
      }
      case 'receive': {
        const number = this.peer + BigInt(step.ahead);
        if (number < 1n) break;
        if (number > this.peer) this.peer = number;
        if (sample.dataplane.receive(IN_SPI, number) !== null) break;
        expect(this.accepted.has(number)).toBe(false);
        this.accepted.add(number);
        break;
      }
      case 'replay':
        // What an attacker recorded, in order, which moves the window of one who forgot.
        for (const number of [...this.accepted].slice(-50)) {
          expect(sample.dataplane.receive(IN_SPI, number)).not.toBeNull();
        }
        break;
      case 'settle':
        // Lets the datapath ask and the disk be written.
        await new Promise((resolve) => setTimeout(resolve, 5));
        break;
      case 'stop':
        await sample.daemon.stop();
        this.sample = undefined;
        break;
      case 'crash': {
        // The file as it is this moment is all that a crash leaves.
        const next = this.makeDirectory();
        const file = join(this.directory, STATE_FILE_NAME);
        if (existsSync(file)) copyFileSync(file, join(next, STATE_FILE_NAME));
        this.sample = undefined;
        this.directory = next;
        await sample.daemon.stop();
        break;
      }
    }
  }

  async end(): Promise<void> {
    await this.sample?.daemon.stop();
    for (const directory of this.directories) rmSync(directory, { recursive: true });
  }
}

describe('a gateway over crashes and stops', () => {
  it('seals no number twice and accepts none twice', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        const lives = new Lives();
        try {
          for (const each of steps) await lives.run(each);
        } finally {
          await lives.end();
        }
      }),
      { numRuns: 40 },
    );
  }, 120_000);
});
