import { rmSync } from 'node:fs';
import { afterAll, expect, it } from 'vitest';
import { describeWith } from '../../lab/describe-with.ts';
import { buildAddon, copyProgram } from './mutated-addon.ts';
import { MUTATIONS, type Mutation, PROGRAM_MUTATIONS } from './mutations.ts';
import { type Build, type DemoRun, failures, runDemo } from './run-demo.ts';

/** The first build compiles every crate of ours, and the demos wait for one another. */
const CASE_MS_MAX = 900_000;
/** Demos at a time: each has namespaces of its own, and with a check gone most of one is waiting. */
const AT_ONCE = 3;

interface Case {
  readonly name: string;
  readonly prepare: () => Promise<Build>;
}

const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;

async function timed<T>(what: string, work: Promise<T>): Promise<T> {
  const since = performance.now();
  const result = await work;
  process.stderr.write(`${what}: ${seconds(since)}\n`);
  return result;
}

const UNCHANGED = 'unchanged';

const CASES: readonly Case[] = [
  { name: UNCHANGED, prepare: async () => ({ addon: await buildAddon('unchanged', []) }) },
  ...MUTATIONS.map(({ name, edits }, index) => ({
    name,
    prepare: async () => ({ addon: await buildAddon(`mutated-${index}`, edits) }),
  })),
  ...PROGRAM_MUTATIONS.map(({ name, edits }, index) => ({
    name,
    prepare: () => Promise.resolve({ program: copyProgram(`program-${index}`, edits) }),
  })),
];

/** Lets so many work at a time, in the order in which they came. */
class Turns {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(atOnce: number) {
    this.#free = atOnce;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((go) => this.#waiting.push(go));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}

/** Runs every case, some at once; the builds share one copy of the crates. */
class Runs {
  readonly #demos = new Turns(AT_ONCE);
  readonly #builds = new Turns(1);
  readonly #outcomes: ReadonlyMap<string, Promise<DemoRun>>;
  #isOver = false;

  constructor(cases: readonly Case[]) {
    this.#outcomes = new Map(
      cases.map((each) => [each.name, this.#demos.run(() => this.#run(each))]),
    );
    // Whoever asks for it is told of a failure; until then it is nobody's.
    for (const outcome of this.#outcomes.values()) outcome.catch(() => undefined);
  }

  outcome(name: string): Promise<DemoRun> {
    const found = this.#outcomes.get(name);
    if (found === undefined) throw new Error(`no case ${name}`);
    return found;
  }

  /** Nothing more is begun. */
  stop(): void {
    this.#isOver = true;
  }

  async #run({ name, prepare }: Case): Promise<DemoRun> {
    if (this.#isOver) throw new Error('the tests are over');
    const build = await this.#builds.run(() => timed(`${name}: build`, prepare()));
    try {
      return await timed(`${name}: demo`, runDemo(build));
    } finally {
      // 150 MB each.
      if (build.addon !== undefined) rmSync(build.addon, { force: true });
    }
  }
}

// Only where a missing check makes the demo fail does its passing say anything.
describeWith(['namespaces'], 'the demo', () => {
  let started: Runs | undefined;
  const runs = (): Runs => (started ??= new Runs(CASES));

  afterAll(() => started?.stop());

  it(
    'passes with the checks as they are',
    async () => {
      const run = await runs().outcome(UNCHANGED);
      expect(failures(run), run.output).toEqual({});
      expect(run.status).toBe(0);
    },
    CASE_MS_MAX,
  );

  const failsWithout = async ({ name, fails }: Mutation): Promise<void> => {
    const run = await runs().outcome(name);
    expect(failures(run), run.output).toEqual(fails);
    expect(run.status).toBe(1);
  };
  it.each(MUTATIONS)('fails without $name', failsWithout, CASE_MS_MAX);
  it.each(PROGRAM_MUTATIONS)('fails without $name', failsWithout, CASE_MS_MAX);
});
