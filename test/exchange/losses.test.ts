/**
 * Every schedule of losses of every exchange: each of the first six datagrams is delivered, dropped,
 * doubled, overtaken or so late that it was sent again. Whatever happens, both sides agree in the end,
 * nothing is left of what was under way, and where an SA was up all the time no packet is lost.
 *
 * `npm run test:losses` explores deeper, and runs schedules of the same outcome too.
 */
import { describe, expect, it } from 'vitest';
import { explore } from './explore.js';
import { EXCHANGES } from './loss-scenarios.js';
import { runnerOf } from './losses.js';

/** Datagrams of a scenario to which something happens. */
const DEPTH = Number(process.env['IPSEC_LOSSES_DEPTH'] ?? 6);
const IS_WHOLE = process.env['IPSEC_LOSSES_WHOLE'] === '1';

describe('every schedule of losses', () => {
  for (const [name, scenario] of Object.entries(EXCHANGES)) {
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
