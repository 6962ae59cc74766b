/**
 * A datapath that refuses: each install of each exchange, one after the other, on either side. In the
 * end no child is half there, nothing is left in a datapath, both sides have the same, and what was
 * refused can be had by asking again. Packets go protected or not at all.
 */
import { describe, expect, it } from 'vitest';
import { disagreements } from './explore.js';
import {
  childTerms,
  ESP_PFS,
  esp,
  ESN,
  GCM256,
  ML_KEM_768,
  selectorOfSide,
  X25519,
} from './peers.js';
import { ADDRESS, other, type Side, SIDES, type Simulation } from './simulator.js';
import { FOR_EVER, type NonceOrder, toySimulation, type ToyOptions } from './wire.js';

interface Scenario {
  readonly begin: (two: Simulation) => void;
  readonly options?: ToyOptions;
  readonly isConnected?: boolean;
  readonly hasTraffic?: boolean;
  readonly loser?: Side;
  /** Children that there would be. */
  readonly children?: number;
}

const lifetime = { rekeyMs: FOR_EVER, hardMs: FOR_EVER * 2, rekeyBytes: 0n, rekeyPackets: 0n };
const pfs = { child: { proposals: [ESP_PFS] } };
const twice = (begin: (two: Simulation, side: Side) => void) => (two: Simulation) => {
  for (const side of SIDES) begin(two, side);
};
const NETWORK_2 = {
  a: { from: '10.11.0.0', to: '10.11.0.255' },
  b: { from: '10.12.0.0', to: '10.12.0.255' },
} as const;
/** Two policies, so that a second child can be asked for. */
const twoPolicies = (side: Side) => ({
  children: [
    childTerms(side, { lifetime }),
    childTerms(side, {
      name: 'second',
      lifetime,
      selector: {
        ...selectorOfSide(side),
        local: [NETWORK_2[side]],
        remote: [NETWORK_2[other(side)]],
      },
    }),
  ],
});

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  IKE_AUTH: { isConnected: false, begin: (two) => two.initiate('a', 'net', 'b') },
  'a second child': {
    options: { a: twoPolicies('a'), b: twoPolicies('b') },
    begin: (two) => two.initiate('a', 'second', 'b'),
    children: 2,
  },
  'a second child, by the responder': {
    options: { a: twoPolicies('a'), b: twoPolicies('b') },
    begin: (two) => two.initiate('b', 'second', 'a'),
    children: 2,
  },
  'a rekey, and no packet': { begin: (two) => two.rekeyChild('a') },
  'a rekey under traffic': { hasTraffic: true, begin: (two) => two.rekeyChild('a') },
  'a rekey with PFS by the responder': {
    hasTraffic: true,
    options: pfs,
    begin: (two) => two.rekeyChild('b'),
  },
  'a rekey with an additional key exchange': {
    hasTraffic: true,
    options: { child: { proposals: [esp(GCM256, X25519, ML_KEM_768, ESN)] } },
    begin: (two) => two.rekeyChild('a'),
  },
  'two rekeys at once, a loses': {
    hasTraffic: true,
    loser: 'a',
    begin: twice((two, side) => two.rekeyChild(side)),
  },
  'two rekeys at once, b loses, and no packet': {
    loser: 'b',
    begin: twice((two, side) => two.rekeyChild(side)),
  },
  'a rekey, and a Delete while the new SAs are installed': {
    hasTraffic: true,
    begin: (two) => {
      two.rekeyChild('a');
      two.schedule(4, () => two.terminateChild('b'));
    },
  },
  'a rekey of the IKE SA, and of the child that it takes over': {
    hasTraffic: true,
    begin: (two) => {
      two.rekeyIkeSa('a');
      two.rekeyChild('a');
    },
  },
};

/** Runs a scenario in which the n-th install of these sides is refused; false: there was none. */
function run(
  scenario: Scenario,
  sides: readonly Side[],
  refusedFrom: number,
  refusedTo: number,
): boolean {
  let isArmed = scenario.isConnected === false;
  let count = 0;
  let refused = 0;
  const nonces: NonceOrder = { next: null };
  const two = toySimulation({
    ...scenario.options,
    nonces,
    more: {
      refuseInstall: (side) => {
        if (!isArmed || !sides.includes(side)) return null;
        count += 1;
        if (count < refusedFrom || count > refusedTo) return null;
        refused += 1;
        return 'no room';
      },
      effectMs: (_side, effect) => (effect.kind === 'install' ? 3 : 0),
    },
  });
  if (scenario.isConnected !== false) {
    two.initiate('a', 'net', 'b');
    two.runNow(10_000);
    expect(two.children('a')).toHaveLength(1);
    if (scenario.hasTraffic === true) two.watchTraffic(['net']);
  }
  isArmed = true;
  nonces.next = scenario.loser ?? null;
  scenario.begin(two);
  two.runNow(400_000);
  isArmed = false;
  two.runNow(400_000);
  if (refused === 0) return false;
  const name = `${sides.join()} ${refusedFrom}-${refusedTo}`;
  expect(faultsOf(two), name).toEqual([]);
  // Whoever did not get what he asked for knows, and asking again is enough.
  for (const child of scenario.children === 2 ? ['net', 'second'] : ['net']) {
    const command = two.initiate('a', child, 'b');
    two.runNow(60_000);
    expect(two.outcome(command), name).toBeNull();
    for (const side of SIDES) expect(two.sendPacket(side, child), name).toBe(true);
  }
  expect(faultsOf(two), name).toEqual([]);
  for (const side of SIDES) expect(two.children(side), name).toHaveLength(scenario.children ?? 1);
  return true;
}

/** What must not be, once all is at rest. */
function faultsOf(two: Simulation): readonly string[] {
  const faults = [...disagreements(two)];
  for (const side of SIDES) {
    const all = two.ikeSas(side).flatMap(({ children }) => children);
    for (const { state, inbound, outbound } of all) {
      const has = two.datapaths[side].outbound.some(({ id }) => id.spi === outbound);
      if (state !== 'installed') faults.push(`${side} has a child that is ${state}`);
      if (!two.datapaths[side].inbound.has(inbound)) faults.push(`${side} receives nothing`);
      if (!has) faults.push(`${side} sends nothing`);
    }
    const { inbound, outbound, strays } = two.datapaths[side];
    const { children, spis, effects } = two.endpoints[side].usage();
    if (inbound.size !== all.length || outbound.length !== all.length) {
      faults.push(`${side} has ${all.length} children, ${inbound.size} in, ${outbound.length} out`);
    }
    if (children !== all.length || spis !== all.length || effects > 0) {
      faults.push(`${side} holds ${children} children, ${spis} SPIs, ${effects} effects`);
    }
    if (strays.length > 0) faults.push(`${side} deleted what was not there`);
    for (const { text } of two.eventsOf(side, 'detail')) faults.push(`${side}: ${text}`);
  }
  return faults;
}

describe('an install that is refused', () => {
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    for (const sides of [['a'], ['b'], ['a', 'b']] as const) {
      it(`in ${name}, of ${sides.join(' and ')}: one after the other`, () => {
        let at = 1;
        while (run(scenario, sides, at, at)) at += 1;
        // That there was one to refuse.
        expect(at).toBeGreaterThan(1);
      });

      it(`in ${name}, of ${sides.join(' and ')}: all from one on`, () => {
        let at = 1;
        while (run(scenario, sides, at, Infinity) && at < 4) at += 1;
        expect(at).toBeGreaterThan(1);
      });
    }
  }
});

describe('a rekey whose SA that sends is refused', () => {
  it('ends the child for both, and is told as a death that is followed by what the entry says', () => {
    let installs = 0;
    const two = toySimulation({
      more: {
        refuseInstall: (side) => {
          if (side === 'b') installs += 1;
          return side === 'b' && installs === 3 ? 'no room' : null;
        },
      },
    });
    two.initiate('a', 'net', 'b');
    two.runNow(10_000);
    two.watchTraffic(['net']);
    two.rekeyChild('a');
    two.runNow(1_000);
    expect(two.eventsOf('b', 'child-down').map(({ end, reason }) => [end, reason])).toEqual([
      ['dead', 'the datapath refused the SA that sends: no room'],
    ]);
    expect(two.eventsOf('a', 'child-down').map(({ end }) => end)).toEqual(['peer']);
    for (const side of SIDES) {
      expect(two.children(side)).toEqual([]);
      expect(two.datapaths[side].outbound).toEqual([]);
    }
  });
});

describe('a new endpoint that the datapath refuses', () => {
  for (const direction of ['inbound', 'outbound'] as const) {
    it(`for the ${direction} SA ends the child, and the peer is told`, () => {
      const two = toySimulation({
        more: { refuseUpdate: (_side, id) => (id.direction === direction ? 'no route' : null) },
      });
      two.initiate('a', 'net', 'b');
      two.runNow(10_000);
      const spi = two.children('b')[0]?.inbound ?? 0;
      two.perform('b', two.endpoints.b.handleMapping(spi, ADDRESS.a, 61_000, two.now));
      two.runNow(1_000);
      expect(two.updates).toHaveLength(1);
      expect(two.eventsOf('b', 'child-down').map(({ end }) => end)).toEqual(['dead']);
      expect(two.eventsOf(other('b'), 'child-down').map(({ end }) => end)).toEqual(['peer']);
      expect(faultsOf(two)).toEqual([]);
    });
  }
});
