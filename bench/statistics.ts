/** Median, extremes and count of a sample. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly count: number;
}

/** Returns null for an empty sample. */
export function spreadOf(sample: readonly number[]): Spread | null {
  const sorted = [...sample].sort((a, b) => a - b);
  const min = sorted[0];
  const max = sorted.at(-1);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  if (min === undefined || max === undefined || upper === undefined || lower === undefined) {
    return null;
  }
  return { median: (upper + lower) / 2, min, max, count: sorted.length };
}

/** Ratios of the rounds in which both sides were measured. */
export function perRoundRatios(
  subject: readonly (number | null)[],
  peer: readonly (number | null)[],
): number[] {
  const ratios: number[] = [];
  subject.forEach((value, round) => {
    const other = peer[round];
    if (value !== null && other !== null && other !== undefined && other > 0) {
      ratios.push(value / other);
    }
  });
  return ratios;
}

/** The best of several contenders, round by round; null where none was measured. */
export function bestPerRound(series: readonly (readonly (number | null)[])[]): (number | null)[] {
  const rounds = Math.max(0, ...series.map((values) => values.length));
  return Array.from({ length: rounds }, (_, round) => {
    const measured = series
      .map((values) => values[round])
      .filter((value): value is number => typeof value === 'number');
    return measured.length === 0 ? null : Math.max(...measured);
  });
}
