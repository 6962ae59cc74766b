import { beforeAll, expect, it } from 'vitest';
import { describeWith } from '../../lab/describe-with.ts';
import { buildAddon, copyProgram } from './mutated-addon.ts';
import { MUTATIONS, PROGRAM_MUTATIONS } from './mutations.ts';
import { failures, runDemo } from './run-demo.ts';

/** The first build compiles every dependency. */
const FIRST_BUILD_MS_MAX = 900_000;
const MUTATION_MS_MAX = 300_000;

const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;

async function timed<T>(what: string, work: Promise<T>): Promise<T> {
  const since = performance.now();
  const result = await work;
  process.stderr.write(`${what}: ${seconds(since)}\n`);
  return result;
}

// Only where a missing check makes the demo fail does its passing say anything.
describeWith(['namespaces'], 'the demo, with the datapath changed,', () => {
  let unchanged = '';
  beforeAll(async () => {
    unchanged = await timed('first build', buildAddon([]));
  }, FIRST_BUILD_MS_MAX);

  it(
    'passes with the checks as they are',
    async () => {
      const run = await timed('unchanged', runDemo({ addon: unchanged }));
      expect(failures(run), run.output).toEqual({});
      expect(run.status).toBe(0);
    },
    MUTATION_MS_MAX,
  );

  it.each(MUTATIONS)(
    'fails without $name',
    async ({ name, edits, fails }) => {
      const addon = await timed(`${name}: build`, buildAddon(edits));
      const run = await timed(`${name}: demo`, runDemo({ addon }));
      expect(failures(run), run.output).toEqual(fails);
      expect(run.status).toBe(1);
    },
    MUTATION_MS_MAX,
  );
});

describeWith(['namespaces'], 'the demo, with the control plane changed,', () => {
  it.each(PROGRAM_MUTATIONS)(
    'fails without $name',
    async ({ name, edits, fails }) => {
      const run = await timed(`${name}: demo`, runDemo({ program: copyProgram(edits) }));
      expect(failures(run), run.output).toEqual(fails);
      expect(run.status).toBe(1);
    },
    MUTATION_MS_MAX,
  );
});
