/**
 * A peer that has all keys and misbehaves: each message of each exchange is changed in each way that
 * applies to it. Nothing throws, nothing is left over, both sides agree in the end, and the outcome is
 * the one that RFC 7296 wants: what is not authentic changes nothing, what is malformed is refused,
 * the rest goes on.
 */
import { describe, expect, it } from 'vitest';
import { impair, type Change, type Place, PLACES } from './impair.js';
import { OUTCOMES, type OutcomeRow } from './impaired-outcomes.js';
import {
  TO_ANY,
  TO_DELETE,
  TO_EXCHANGE,
  TO_PAYLOADS,
  TO_PROTECTED,
  TO_REKEY,
  TO_SINGLES,
} from './knobs.js';

const isPlace = (name: string): name is Place => Object.hasOwn(PLACES, name);

function changesOf(place: Place): Readonly<Record<string, Change>> {
  const isClear = place.startsWith('IKE_SA_INIT');
  return {
    ...TO_ANY,
    ...(isClear ? {} : TO_PROTECTED),
    ...TO_PAYLOADS,
    ...TO_DELETE,
    ...TO_SINGLES,
    ...TO_EXCHANGE,
    ...(place === 'child rekey request' ? TO_REKEY : {}),
  };
}

/** Whoever deletes or rekeys something else than it says has another state than its peer. */
function doAgree(place: Place, name: string): boolean {
  return place !== 'Delete request' && !Object.hasOwn(TO_REKEY, name);
}

const sorted = (rows: readonly OutcomeRow[]): Readonly<Record<string, string>> =>
  Object.fromEntries(
    rows
      .flatMap(([outcome, , names]) => names.map((name) => [name, outcome] as const))
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );

describe('a peer that misbehaves', () => {
  it('has more ways to than 87', () => {
    expect(Object.keys(changesOf('child rekey request')).length).toBeGreaterThanOrEqual(87);
  });

  for (const place of Object.keys(PLACES).filter(isPlace)) {
    it(`in the ${place}`, () => {
      const outcomes: OutcomeRow[] = [];
      // Each that changes anything, so that each has an outcome that was thought of.
      for (const [name, change] of Object.entries(changesOf(place))) {
        const found = impair(place, 'a', change, doAgree(place, name));
        if (found === null) continue;
        expect(found.faults, name).toEqual([]);
        outcomes.push([`${found.answer} ${found.ikeSas}/${found.children}`, '', [name]]);
      }
      expect(sorted(outcomes)).toEqual(sorted(OUTCOMES[place]));
    }, 600_000);
  }
});
