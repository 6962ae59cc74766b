/**
 * Where policies that were loaded over the control socket stand among those of the file: behind all
 * that the file says of particular packets, before what it says of everything that remains.
 */
import { maxAddress } from '../../net/ip-address.js';
import { regionOf, RegionBudget, RegionBudgetExceeded, subtractRegion } from '../../spd/region.js';
import { readSelector, type Selector } from '../../spd/selector.js';
import type { SpdEntry } from '../../spd/spd-entry.js';

/** The whole SPD: `file` in its order, `loaded` before the entries at its end for everything. */
export function withLoaded(
  file: readonly SpdEntry[],
  loaded: readonly SpdEntry[],
): readonly SpdEntry[] {
  const at = placeOfLoaded(file);
  return [...file.slice(0, at), ...loaded, ...file.slice(at)];
}

/** The entry of the file that decides for every packet of a loaded one; null: there is none. */
export function hidingEntry(file: readonly SpdEntry[], loaded: SpdEntry): SpdEntry | null {
  const region = regionOf(loaded.selector);
  const budget = new RegionBudget();
  const before = file.slice(0, placeOfLoaded(file)).filter(({ direction }) => direction === 'both');
  try {
    return (
      before.find(
        ({ selector }) => subtractRegion(region, regionOf(selector), budget).length === 0,
      ) ?? null
    );
  } catch (error) {
    // Too intricate to be told: nothing is refused for what is not known.
    if (error instanceof RegionBudgetExceeded) return null;
    throw error;
  }
}

function placeOfLoaded(file: readonly SpdEntry[]): number {
  return file.findLastIndex(({ selector }) => !isEverything(selector)) + 1;
}

/** Whether it speaks of every packet of a family, such as `any` and `0.0.0.0/0`. */
function isEverything(selector: Selector): boolean {
  const { local, remote, protocol } = readSelector(selector);
  const isWhole = (ranges: typeof local): boolean =>
    ranges.length === 0 ||
    ranges.some(({ family, first, last }) => first === 0n && last === maxAddress(family));
  const hasNumbers = [
    selector.localPorts,
    selector.remotePorts,
    selector.icmpTypes,
    selector.icmpCodes,
  ].some((ranges) => ranges.length > 0);
  return protocol === 'any' && !hasNumbers && isWhole(local) && isWhole(remote);
}
