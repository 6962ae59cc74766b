import { HARD_LIFETIME_PART } from './defaults.js';
import { formatDuration } from './quantity-fields.js';
import type { Reader, Section } from './reader.js';

/** When an SA is gone, replaced or not: `expire` of the section, after the time of its rekeying. */
export function hardLifetime(
  reader: Reader,
  section: Section,
  expireMs: number | undefined,
  rekeyMs: number,
): number {
  if (expireMs === undefined) return rekeyMs + Math.ceil(rekeyMs / HARD_LIFETIME_PART);
  if (expireMs <= rekeyMs) {
    reader.faults.add([...section.path, 'expire'], {
      found: formatDuration(expireMs),
      why: `the SA is to be replaced after ${formatDuration(rekeyMs)}`,
      accepted: 'a longer duration',
    });
  }
  return expireMs;
}
