import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PacketDirection } from '../../../packages/ipsec-node/src/spd/packet.js';
import {
  intersectRegions,
  type Region,
  RegionBudget,
  RegionBudgetExceeded,
  regionOf,
  subtractRegion,
  witnessOf,
} from '../../../packages/ipsec-node/src/spd/region.js';
import { ANY_SELECTOR, type Selector } from '../../../packages/ipsec-node/src/spd/selector.js';
import { compareWithSelector } from '../../../packages/ipsec-node/src/spd/spd.js';
import { packets, selectors } from './arbitrary.js';

const directions = fc.constantFrom<PacketDirection>('outbound', 'inbound');

function subtract(a: Selector, b: Selector): Region {
  return subtractRegion(regionOf(a), regionOf(b), new RegionBudget());
}

function intersect(a: Selector, b: Selector): Region {
  return intersectRegions(regionOf(a), regionOf(b), new RegionBudget());
}

describe('a witness', () => {
  it('of what one selector leaves to another matches the one and not the other', () => {
    let found = 0;
    fc.assert(
      fc.property(selectors, selectors, directions, (a, b, direction) => {
        const packet = witnessOf(subtract(a, b), direction);
        if (packet === null) return;
        found += 1;
        expect(compareWithSelector(a, direction, packet)).toEqual([]);
        expect(compareWithSelector(b, direction, packet)).not.toEqual([]);
      }),
      { numRuns: 2000 },
    );
    expect(found).toBeGreaterThan(500);
  });

  it('of what two share matches both', () => {
    fc.assert(
      fc.property(selectors, selectors, directions, (a, b, direction) => {
        const packet = witnessOf(intersect(a, b), direction);
        if (packet === null) return;
        expect(compareWithSelector(a, direction, packet)).toEqual([]);
        expect(compareWithSelector(b, direction, packet)).toEqual([]);
      }),
      { numRuns: 2000 },
    );
  });

  it('is there whenever there is a packet', () => {
    fc.assert(
      fc.property(selectors, selectors, packets, directions, (a, b, packet, direction) => {
        const inA = compareWithSelector(a, direction, packet).length === 0;
        const inB = compareWithSelector(b, direction, packet).length === 0;
        if (inA && !inB) expect(witnessOf(subtract(a, b), direction)).not.toBeNull();
        if (inA && inB) {
          expect(witnessOf(intersect(a, b), direction)).not.toBeNull();
        }
      }),
      { numRuns: 5000 },
    );
  });

  it('is not there where one selector holds the other', () => {
    fc.assert(
      fc.property(selectors, directions, (a, direction) => {
        const wider = { ...a, localPorts: [], remotePorts: [], icmpTypes: [], icmpCodes: [] };
        expect(witnessOf(subtract(a, a), direction)).toBeNull();
        expect(witnessOf(subtract(a, wider), direction)).toBeNull();
        expect(witnessOf(subtract(a, { ...wider, protocol: 'any' }), direction)).toBeNull();
      }),
    );
  });
});

describe('a budget', () => {
  it('ends the work', () => {
    const region = regionOf(ANY_SELECTOR);
    expect(() => intersectRegions(region, region, new RegionBudget(3))).toThrow(
      RegionBudgetExceeded,
    );
    expect(intersectRegions(region, region, new RegionBudget(4))).toHaveLength(2);
    expect(() => subtractRegion(region, region, new RegionBudget(1))).toThrow(RegionBudgetExceeded);
  });
});
