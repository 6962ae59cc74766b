/** Runs in the guest: the cases of a module, one after the other, each result a line of JSON. */

import { appendFileSync, readFileSync } from 'node:fs';

/** What it returns is written as JSON. Throws to fail. */
export type GuestCase = () => Promise<unknown>;
export type GuestCases = Readonly<Record<string, GuestCase>>;

export interface CaseResult {
  readonly name: string;
  readonly ms: number;
  /** What the case returned. Absent when it failed. */
  readonly value?: unknown;
  /** What the case threw. Absent when it passed. */
  readonly error?: string;
}

interface Plan {
  readonly module: string;
  readonly names: readonly string[];
  readonly caseTimeoutMs: number;
  readonly results: string;
}

function readPlan(path: string): Plan {
  const parsed: unknown = JSON.parse(readFileSync(path, 'utf8'));
  if (typeof parsed !== 'object' || parsed === null) throw new Error('a plan is an object');
  const fields = new Map<string, unknown>(Object.entries(parsed));
  const names = fields.get('names');
  return {
    module: String(fields.get('module')),
    names: Array.isArray(names) ? names.map((name: unknown) => String(name)) : [],
    caseTimeoutMs: Number(fields.get('caseTimeoutMs')),
    results: String(fields.get('results')),
  };
}

async function loadCases(module: string): Promise<ReadonlyMap<string, GuestCase>> {
  const loaded: unknown = await import(module);
  if (typeof loaded !== 'object' || loaded === null || !('cases' in loaded)) {
    throw new Error(`${module} exports no cases`);
  }
  const { cases } = loaded;
  if (typeof cases !== 'object' || cases === null) throw new Error('cases is an object');
  const found = new Map<string, GuestCase>();
  for (const [name, body] of Object.entries(cases)) {
    if (typeof body !== 'function') throw new Error(`case ${name} is not a function`);
    found.set(name, async () => {
      const result: unknown = await body();
      return result;
    });
  }
  return found;
}

/** Bigints as decimal text: JSON has none. */
function writable(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}

async function runCase(name: string, body: GuestCase, timeoutMs: number): Promise<CaseResult> {
  const start = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    const value = await Promise.race([body(), late]);
    return { name, ms: performance.now() - start, value };
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { name, ms: performance.now() - start, error: text };
  } finally {
    clearTimeout(timer);
  }
}

const plan = readPlan(process.argv[2] ?? '');
const cases = await loadCases(plan.module);
const names = plan.names.length > 0 ? plan.names : [...cases.keys()];
for (const name of names) {
  const body = cases.get(name) ?? (() => Promise.reject(new Error(`no case ${name}`)));
  const result = await runCase(name, body, plan.caseTimeoutMs);
  appendFileSync(plan.results, `${JSON.stringify(result, writable)}\n`);
}
process.exit(0);
