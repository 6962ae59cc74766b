/**
 * What comes late: work that is done when nobody waits for it any more, and a clock that jumps. Neither
 * changes anything that is over, leaves anything in a datapath, or lets loose a storm.
 */
import { describe, expect, it } from 'vitest';
import { disagreements } from './explore.js';
import { ESP_PFS, esp, ESN, GCM256, ML_KEM_768, X25519 } from './peers.js';
import { type Side, SIDES, type Simulation } from './simulator.js';
import { FOR_EVER, toySimulation, type ToyOptions } from './wire.js';

interface Scenario {
  readonly options?: ToyOptions;
  readonly isConnected: boolean;
  readonly begin: (two: Simulation) => void;
}
const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'IKE_SA_INIT and IKE_AUTH': { isConnected: false, begin: (two) => two.initiate('a', 'net', 'b') },
  'a rekey of a child': { isConnected: true, begin: (two) => two.rekeyChild('a') },
  'a rekey of a child with PFS': {
    isConnected: true,
    options: { child: { proposals: [ESP_PFS] } },
    begin: (two) => two.rekeyChild('b'),
  },
  'a rekey of a child with an additional key exchange': {
    isConnected: true,
    options: { child: { proposals: [esp(GCM256, X25519, ML_KEM_768, ESN)] } },
    begin: (two) => two.rekeyChild('a'),
  },
  'a rekey of the IKE SA': { isConnected: true, begin: (two) => two.rekeyIkeSa('a') },
};

/** What ends everything while the work is under way. */
const ENDS: Readonly<Record<string, (two: Simulation) => void>> = {
  'both are ended by force': (two) => {
    for (const side of SIDES) {
      for (const { id } of two.ikeSas(side)) {
        const how = { force: true, command: null };
        two.perform(side, two.endpoints[side].terminateIkeSa(id, how, two.now));
      }
    }
  },
  'both stop': (two) => {
    for (const side of SIDES) two.perform(side, two.endpoints[side].abandon(two.now));
  },
};

/** Runs a scenario in which the n-th effect of a side takes a minute; false: there is none. */
function run(
  scenario: Scenario,
  late: Side,
  which: number,
  end: (two: Simulation) => void,
): boolean {
  let isArmed = !scenario.isConnected;
  let count = 0;
  const two = toySimulation({
    ...scenario.options,
    more: {
      effectMs: (side) => {
        if (!isArmed || side !== late) return 0;
        count += 1;
        return count === which ? 60_000 : 0;
      },
    },
  });
  if (scenario.isConnected) {
    two.initiate('a', 'net', 'b');
    two.runNow(10_000);
    two.watchTraffic(['net']);
  }
  isArmed = true;
  scenario.begin(two);
  two.runNow(500);
  if (count < which) return false;
  end(two);
  const told = two.events.length;
  two.runNow(400_000);
  const name = `${late} ${which}`;
  for (const side of SIDES) {
    const { inbound, outbound, strays } = two.datapaths[side];
    expect([inbound.size, outbound.length, strays], `${name}: ${side}`).toEqual([0, 0, []]);
    const usage = Object.entries(two.endpoints[side].usage()).filter(([, size]) => size > 0);
    expect(usage, `${name}: ${side}`).toEqual([]);
  }
  expect(two.events.slice(told).map(({ event }) => event.kind)).toEqual([]);
  return true;
}

describe('work that is done too late', () => {
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    for (const [how, end] of Object.entries(ENDS)) {
      for (const late of SIDES) {
        it(`in ${name}, by ${late}, once ${how}`, () => {
          let which = 1;
          while (run(scenario, late, which, end)) which += 1;
          expect(which).toBeGreaterThan(1);
        });
      }
    }
  }

  it('for a peer that is gone is undone while the next attempt is under way', () => {
    let isArmed = false;
    const two = toySimulation({
      both: { unique: 'replace' },
      more: {
        effectMs: (side, effect) =>
          isArmed && side === 'b' && effect.kind === 'install' ? 30_000 : 0,
      },
    });
    two.initiate('a', 'net', 'b');
    two.runNow(10_000);
    isArmed = true;
    two.rekeyChild('a');
    two.runNow(100);
    isArmed = false;
    // It has lost all that it knew.
    two.perform('a', two.endpoints.a.abandon(two.now));
    for (const { id } of two.ikeSas('b')) {
      const how = { force: true, command: null };
      two.perform('b', two.endpoints.b.terminateIkeSa(id, how, two.now));
    }
    two.runNow(10);
    two.initiate('b', 'net', 'a');
    two.runNow(60_000);
    expect(two.datapaths.a.inbound.size).toBe(0);
    expect(two.datapaths.b.inbound.size).toBe(0);
    two.runNow(400_000);
    expect(two.endpoints.b.usage()).toMatchObject({ ikeSas: 0, spis: 0, effects: 0, timers: 0 });
  });
});

const HOURS = 3_600_000;

describe('a clock that jumps', () => {
  const rekeyMs = HOURS;
  const hardMs = 1.2 * HOURS;
  const lifetime = { rekeyMs, hardMs, rekeyBytes: 0n, rekeyPackets: 0n };
  const connected = (): Simulation => {
    const two = toySimulation({
      both: { rekeyMs: 4 * HOURS, hardMs: 5 * HOURS, livenessMs: 60_000, keepaliveMs: 20_000 },
      child: { lifetime },
    });
    two.initiate('a', 'net', 'b');
    two.runNow(10_000);
    return two;
  };

  for (const hours of [1.05, 3, 12, 24 * 365]) {
    it(`by ${hours} hours fires each timer once, and no SA outlives its life`, () => {
      const two = connected();
      const sent = two.sent.length;
      const kept = two.keepalives.length;
      const old = SIDES.map((side) => two.children(side)[0]?.inbound);
      two.now += hours * HOURS;
      two.runNow(0);
      // A rekey of the child, of the IKE SA or a look whether the peer lives: one request of each.
      expect(two.sent.length - sent).toBeLessThanOrEqual(2);
      expect(two.keepalives.length - kept).toBeLessThanOrEqual(2);
      two.runNow(500);
      if (hours > 2) {
        for (const [at, side] of SIDES.entries()) {
          expect(two.children(side).map(({ inbound }) => inbound)).not.toContain(old[at]);
        }
      }
      two.runNow(600_000);
      // Ten minutes of two that look after each other once a minute.
      expect(two.sent.length - sent).toBeLessThan(80);
      expect(disagreements(two)).toEqual([]);
      for (const side of SIDES) {
        expect(two.eventsOf(side, 'detail')).toEqual([]);
        expect(two.datapaths[side].strays).toEqual([]);
      }
    });
  }

  it('while a request is not answered sends it once more, and goes on from there', () => {
    const two = toySimulation({ both: { rekeyMs: FOR_EVER, hardMs: 2 * FOR_EVER } });
    two.initiate('a', 'net', 'b');
    two.runNow(10_000);
    two.fate = () => [];
    two.probe('a');
    two.runNow(100);
    const sent = two.sent.length;
    two.now += 5 * HOURS;
    two.runNow(0);
    expect(two.sent.length - sent).toBe(1);
    two.runNow(1_000);
    expect(two.sent.length - sent).toBe(1);
    two.runNow(400_000);
    expect(two.sent.length - sent).toBeLessThan(10);
    expect(two.ikeSas('a')).toEqual([]);
  });

  it('back to an earlier time is no time at all', () => {
    const two = connected();
    const { sent } = two;
    const before = sent.length;
    two.perform('a', two.endpoints.a.handleTimeout(5));
    two.perform('a', two.endpoints.a.handleTimeout(-1e9));
    expect(sent.length).toBe(before);
    two.runNow(120_000);
    expect(two.children('a')).toHaveLength(1);
  });
});
