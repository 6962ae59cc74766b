/**
 * A peer that has all keys and misbehaves: each message of each exchange is changed in each way that
 * applies to it. Nothing throws, nothing is left over, and the outcome is the one that RFC 7296 wants:
 * what is not authentic changes nothing, what is malformed is refused, the rest goes on.
 */
import { describe, expect, it } from 'vitest';
import { impair, type Change, type Place, PLACES } from './impair.js';
import { OUTCOMES } from './impaired-outcomes.js';
import { TO_ANY, TO_DELETE, TO_PAYLOADS, TO_PROTECTED, TO_REKEY } from './knobs.js';

const KNOBS: Readonly<Record<string, Change>> = {
  ...TO_ANY,
  ...TO_PROTECTED,
  ...TO_PAYLOADS,
  ...TO_DELETE,
  ...TO_REKEY,
};
const isPlace = (name: string): name is Place => Object.hasOwn(PLACES, name);

describe('a peer that misbehaves', () => {
  it('has more ways to than 87', () => {
    expect(Object.keys(KNOBS).length).toBeGreaterThanOrEqual(87);
  });

  for (const place of Object.keys(PLACES).filter(isPlace)) {
    it(`in the ${place}`, () => {
      const outcomes: Record<string, string[]> = {};
      for (const names of Object.values(OUTCOMES[place])) {
        for (const name of names) {
          const change = KNOBS[name];
          if (change === undefined) throw new Error(`no knob: ${name}`);
          const found = impair(place, 'a', change);
          expect(found?.faults, name).toEqual([]);
          const key = `${found?.answer} ${found?.ikeSas}/${found?.children}`;
          (outcomes[key] ??= []).push(name);
        }
      }
      const sorted = (table: Readonly<Record<string, readonly string[]>>) =>
        Object.fromEntries(Object.entries(table).map(([key, list]) => [key, list.toSorted()]));
      expect(sorted(outcomes)).toEqual(sorted(OUTCOMES[place]));
    }, 600_000);
  }
});
