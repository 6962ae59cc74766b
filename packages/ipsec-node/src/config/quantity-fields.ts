/** Fields that are spans of time, sizes and counts, with their units. */
import { z } from 'zod';

import type { Milliseconds } from '../clock.js';
import { addIssue } from './field.js';

export const DURATION_ACCEPTED = 'a duration such as 90s, 30m, 4h or 1d';
export const SIZE_ACCEPTED = 'a size such as 64GiB, 500MB or 10TB';

const MS_OF_UNIT: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const BYTES_OF_UNIT: Readonly<Record<string, bigint>> = {
  kB: 1000n,
  MB: 1000n ** 2n,
  GB: 1000n ** 3n,
  TB: 1000n ** 4n,
  KiB: 1024n,
  MiB: 1024n ** 2n,
  GiB: 1024n ** 3n,
  TiB: 1024n ** 4n,
};

interface Bounds<T> {
  readonly min: T;
  readonly max: T;
}

/** A span of time within bounds. */
export function duration(bounds: Bounds<Milliseconds>) {
  return spanField(/^\d{1,9}(s|m|h|d)$/, bounds);
}

/** As {@link duration}; `off` is 0. */
export function durationOrOff(bounds: Bounds<Milliseconds>) {
  return spanField(/^(off|\d{1,9}(s|m|h|d))$/, bounds);
}

function spanField(pattern: RegExp, bounds: Bounds<Milliseconds>) {
  return z
    .string()
    .regex(pattern)
    .transform((text, context): Milliseconds => {
      if (text === 'off') return 0;
      const ms = Number(text.slice(0, -1)) * (MS_OF_UNIT[text.slice(-1)] ?? Number.NaN);
      if (ms >= bounds.min && ms <= bounds.max) return ms;
      const why =
        ms < bounds.min
          ? `the shortest is ${formatDuration(bounds.min)}`
          : `the longest is ${formatDuration(bounds.max)}`;
      addIssue(context, { why });
      return z.NEVER;
    });
}

/** A number of bytes within bounds; `off` is 0. */
export function sizeOrOff(bounds: Bounds<bigint>) {
  return z
    .string()
    .regex(/^(off|\d{1,15}(kB|MB|GB|TB|KiB|MiB|GiB|TiB))$/)
    .transform((text, context): bigint => {
      if (text === 'off') return 0n;
      const digits = /^\d+/.exec(text)?.[0] ?? '0';
      const bytes = BigInt(digits) * (BYTES_OF_UNIT[text.slice(digits.length)] ?? 0n);
      if (bytes >= bounds.min && bytes <= bounds.max) return bytes;
      const why =
        bytes < bounds.min
          ? `the smallest is ${bounds.min} bytes`
          : `the largest is ${bounds.max} bytes`;
      addIssue(context, { why });
      return z.NEVER;
    });
}

/** A number of packets; `off` is 0. */
export function packetsOrOff(max: number) {
  return z.union([
    z.literal('off').transform((): bigint => 0n),
    z
      .int()
      .min(1)
      .max(max)
      .transform((count): bigint => BigInt(count)),
  ]);
}

/** Writes a span of time in the largest unit that leaves no rest. */
export function formatDuration(ms: Milliseconds): string {
  const unit = ['d', 'h', 'm', 's'].find((each) => ms % (MS_OF_UNIT[each] ?? 1) === 0) ?? 's';
  return `${ms / (MS_OF_UNIT[unit] ?? 1)}${unit}`;
}
