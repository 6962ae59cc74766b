import { describe } from 'vitest';
import { inCi, type Need, PeerMissing, unmetNeed } from './peer.ts';

/**
 * `describe` for tests that need something of the machine. Not there: one line says what, and the
 * tests are skipped; with CI=true they fail.
 */
export function describeWith(needs: readonly Need[], title: string, body: () => void): void {
  const unmet = needs.flatMap((need) => unmetNeed(need) ?? []);
  if (unmet.length === 0) {
    describe(title, body);
    return;
  }
  const sentence = `${title}: ${unmet.join('; ')}`;
  if (inCi) {
    describe(title, () => {
      throw new PeerMissing(sentence);
    });
    return;
  }
  process.stderr.write(`skipped: ${sentence}\n`);
  describe.skip(title, body);
}
