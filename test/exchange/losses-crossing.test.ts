/**
 * The same for two exchanges that cross. There are more datagrams and more ways, so one datagram less
 * here, and as many as asked for with `npm run test:losses`.
 */
import { describe, expect, it } from 'vitest';
import { explore } from './explore.js';
import { CROSSINGS } from './loss-scenarios.js';
import { runnerOf } from './losses.js';

/** Datagrams of a scenario to which something happens. */
const DEPTH = Number(process.env['IPSEC_LOSSES_DEPTH'] ?? 5);
const IS_WHOLE = process.env['IPSEC_LOSSES_WHOLE'] === '1';

describe('every schedule of losses of exchanges that cross', () => {
  for (const [name, scenario] of Object.entries(CROSSINGS)) {
    it(
      name,
      () => {
        const { failures, schedules } = explore(runnerOf(scenario), DEPTH, IS_WHOLE);
        expect(failures).toEqual([]);
        // A scenario that sends nothing would show nothing.
        expect(schedules).toBeGreaterThan(100);
      },
      24 * 3_600_000,
    );
  }
});
