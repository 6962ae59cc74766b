import { describe, expect, it } from 'vitest';
import { explore } from './explore.js';
import { runnerOf } from './losses.js';

/** Datagrams of a scenario to which something happens. */
const DEPTH = Number(process.env['IPSEC_LOSSES_DEPTH'] ?? 6);
const IS_WHOLE = process.env['IPSEC_LOSSES_WHOLE'] === '1';

/** One test for each scenario, of every schedule of losses. */
export function describeEverySchedule(
  title: string,
  scenarios: Readonly<Record<string, Parameters<typeof runnerOf>[0]>>,
): void {
  describe(title, () => {
    for (const [name, scenario] of Object.entries(scenarios)) {
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
}
