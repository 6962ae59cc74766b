import { UsageError } from '../errors.js';

/** An inclusive range of ports, or of ICMP types or codes; `from` <= `to`. */
export interface NumberRange {
  readonly from: number;
  readonly to: number;
}

export type NumberRangeResult =
  | { readonly ok: true; readonly range: NumberRange }
  | { readonly ok: false; readonly reason: string; readonly suggestion?: string };

/** The largest port. */
export const PORT_MAX = 65_535;
/** The largest ICMP type or code. */
export const ICMP_MAX = 255;

/** Parses a number of 0..`max` or a range `a-b` of such numbers, without throwing. */
export function tryParseNumberRange(text: string, max: number): NumberRangeResult {
  const match = /^(\d{1,6})(?:\s*-\s*(\d{1,6}))?$/.exec(text.trim());
  if (match === null) return { ok: false, reason: 'it is not a number or a range of numbers' };
  const from = Number(match[1]);
  const to = match[2] === undefined ? from : Number(match[2]);
  if (from > max || to > max) return { ok: false, reason: `the largest is ${max}` };
  if (from > to) {
    return { ok: false, reason: 'the first end is above the second', suggestion: `${to}-${from}` };
  }
  return { ok: true, range: { from, to } };
}

/**
 * Parses a port or a range of ports.
 *
 * @throws UsageError IPSEC_ERR_PORT_SYNTAX
 */
export function parsePortRange(text: string): NumberRange {
  const result = tryParseNumberRange(text, PORT_MAX);
  if (result.ok) return result.range;
  throw new UsageError(
    'IPSEC_ERR_PORT_SYNTAX',
    `${JSON.stringify(text)} is not a port or range of ports: ${result.reason}.`,
  );
}

export function formatNumberRange(range: NumberRange): string {
  return range.from === range.to ? `${range.from}` : `${range.from}-${range.to}`;
}
