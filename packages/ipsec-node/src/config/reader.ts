/** Reads one value after the other out of foreign data and collects every fault on the way. */
import type { z } from 'zod';

import type { ConfigPath } from './document.js';
import { docOf } from './field.js';
import {
  describeText,
  describeValue,
  type Faults,
  mayBeSecret,
  NOT_IN_THIS_VERSION,
} from './fault.js';
import { isLaterSuite, LATER_KEYS } from './later.js';
import { nearestName } from './nearest.js';
import { SUITE_NAMES } from '../sad/suite.js';

/** A map of the file whose keys were checked. */
export interface Section {
  readonly path: ConfigPath;
  readonly values: ReadonlyMap<string, unknown>;
}

/** Names of sections in {@link LATER_KEYS}. */
type SectionName = keyof typeof LATER_KEYS | 'other';

export class Reader {
  readonly faults: Faults;

  constructor(faults: Faults) {
    this.faults = faults;
  }

  /** Reads a map and refuses keys that it may not have; null where it is not a map. */
  section(
    value: unknown,
    path: ConfigPath,
    keys: readonly string[],
    options: { readonly name?: SectionName; readonly accepted?: string } = {},
  ): Section | null {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      const accepted = options.accepted ?? `a map with ${keys.join(', ')}`;
      this.faults.add(path, { found: describeValue(value, path), accepted });
      return null;
    }
    const values = new Map<string, unknown>(Object.entries(value));
    const later: readonly string[] =
      options.name === undefined || options.name === 'other' ? [] : LATER_KEYS[options.name];
    for (const key of values.keys()) {
      if (!keys.includes(key)) this.#refuseKey([...path, key], key, keys, later);
    }
    return { path, values };
  }

  /** Reads a list of the section; empty where absent or not a list. */
  list(
    section: Section,
    key: string,
    options: { readonly max: number; readonly accepted: string; readonly required: boolean },
  ): readonly unknown[] {
    const path = [...section.path, key];
    if (!section.values.has(key)) {
      if (options.required) {
        this.faults.add(path, { found: 'nothing', accepted: options.accepted });
      }
      return [];
    }
    const value = section.values.get(key);
    if (!Array.isArray(value)) {
      this.faults.add(path, { found: describeValue(value, path), accepted: options.accepted });
      return [];
    }
    const list: readonly unknown[] = value;
    if (options.required && list.length === 0) {
      this.faults.add(path, { found: 'an empty list', accepted: options.accepted });
    }
    if (list.length > options.max) {
      this.faults.add(path, {
        found: `${list.length} entries`,
        accepted: `at most ${options.max} entries`,
      });
    }
    return list;
  }

  /**
   * Reads one field by its schema. Undefined where it is absent or faulty; {@link Section.values}
   * tells the two apart.
   */
  field<K extends string, S extends Readonly<Record<K, z.ZodType>>>(
    section: Section,
    shape: S,
    key: K,
  ): z.output<S[K]> | undefined {
    const schema = shape[key];
    const path = [...section.path, key];
    if (!section.values.has(key)) {
      if (!schema.isOptional()) {
        this.faults.add(path, { found: 'nothing', accepted: docOf(schema).accepted });
      }
      return undefined;
    }
    const value = section.values.get(key);
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    for (const issue of deepest(result.error.issues)) this.#refuseValue(path, value, schema, issue);
    return undefined;
  }

  #refuseKey(
    path: ConfigPath,
    key: string,
    keys: readonly string[],
    later: readonly string[],
  ): void {
    const accepted = keys.join(', ');
    if (later.includes(key)) {
      this.faults.add(path, { found: key, why: NOT_IN_THIS_VERSION, accepted, at: 'key' });
      return;
    }
    // Under a key's name, what stands as a name may be the key itself.
    const isShort = /^[A-Za-z][A-Za-z_-]{0,19}$/.test(key);
    const found =
      mayBeSecret(path.slice(0, -1)) && !isShort
        ? 'an unknown key (not shown)'
        : `unknown key ${describeText(key)}`;
    this.faults.add(mayBeSecret(path.slice(0, -1)) && !isShort ? path.slice(0, -1) : path, {
      found,
      accepted,
      nearest: nearestName(key, [...keys, ...later]),
      at: 'key',
    });
  }

  #refuseValue(path: ConfigPath, whole: unknown, schema: z.ZodType, issue: z.core.$ZodIssue): void {
    const doc = docOf(schema);
    const steps = issue.path.filter((step) => typeof step !== 'symbol');
    const at = [...path, ...steps];
    const value = steps.reduce<unknown>(stepInto, whole);
    const found = describeValue(value, at);
    if (issue.code === 'custom') {
      const { why, nearest, accepted } = readParams(issue.params);
      this.faults.add(at, { found, why, accepted: accepted ?? doc.accepted, nearest });
      return;
    }
    if (typeof value === 'string' && !mayBeSecret(at)) {
      const isSuite = doc.choices?.some((name) => SUITE_NAMES.some((suite) => suite === name));
      if (doc.later?.includes(value) === true || (isSuite === true && isLaterSuite(value))) {
        this.faults.add(at, { found, why: NOT_IN_THIS_VERSION, accepted: doc.accepted });
        return;
      }
    }
    const nearest =
      typeof value === 'string'
        ? nearestName(value, doc.choices ?? [])
        : nearestOf(value, doc.accepted);
    this.faults.add(at, { found, accepted: doc.accepted, nearest });
  }
}

/** YAML 1.2 reads yes, no, on and off as texts; people mean the truth values. */
function nearestOf(value: unknown, accepted: string): string | undefined {
  if (typeof value !== 'boolean' || !accepted.includes('off')) return undefined;
  return value ? 'auto' : 'off';
}

/** Of a union that failed, the branch that got furthest into the value speaks. */
function deepest(issues: readonly z.core.$ZodIssue[]): readonly z.core.$ZodIssue[] {
  return issues.flatMap((issue) => {
    if (issue.code !== 'invalid_union') return [issue];
    const branches = issue.errors.map((branch) => deepest(branch));
    const depth = (branch: readonly z.core.$ZodIssue[]): number =>
      Math.max(0, ...branch.map((inner) => inner.path.length));
    const best = branches.toSorted((a, b) => depth(b) - depth(a))[0];
    if (best === undefined || depth(best) === 0) return [issue];
    return best.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] }));
  });
}

function stepInto(value: unknown, step: string | number): unknown {
  if (Array.isArray(value) && typeof step === 'number') {
    const list: readonly unknown[] = value;
    return list[step];
  }
  if (typeof value === 'object' && value !== null) {
    return new Map<string, unknown>(Object.entries(value)).get(`${step}`);
  }
  return undefined;
}

function readParams(params: Readonly<Record<string, unknown>> | undefined): {
  why: string | undefined;
  nearest: string | undefined;
  accepted: string | undefined;
} {
  const text = (key: string): string | undefined => {
    const value = params?.[key];
    return typeof value === 'string' ? value : undefined;
  };
  return { why: text('why'), nearest: text('nearest'), accepted: text('accepted') };
}
