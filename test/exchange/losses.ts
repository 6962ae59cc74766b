/** The scenarios that are explored, and how one schedule of one of them is run. */
import type { IkeLimits } from '../../packages/ipsec-node/src/ike/limits.js';
import type { ChildTerms } from '../../packages/ipsec-node/src/pad/child-terms.js';
import type { PadEntry } from '../../packages/ipsec-node/src/pad/pad-entry.js';
import { type Expected, faultsAtRest, follow, type Runner, type Schedule } from './explore.js';
import { type Side, SIDES, type Simulation } from './simulator.js';
import { type NonceOrder, toySimulation } from './wire.js';

/** Longer than any exchange is tried, and than what is forgotten is waited for. */
const REST_MS = 700_000;
export interface Scenario {
  /** What is done at the same moment. */
  readonly begin: (simulation: Simulation) => void;
  /** What both sides hold at the end. */
  readonly expected: Expected;
  /** Whether the two are connected before, and a packet is never lost. */
  readonly isConnected: boolean;
  readonly losesNothing: boolean;
  readonly terms?: Partial<ChildTerms>;
  readonly both?: Partial<PadEntry>;
  readonly limits?: Partial<IkeLimits>;
  /** Whose own exchange has the lowest nonce: who loses a collision (RFC 7296 section 2.8.1). */
  readonly loser?: Side;
}

function simulationOf(scenario: Scenario, seed: string, nonces: NonceOrder): Simulation {
  const simulation = toySimulation({
    seed,
    ...(scenario.terms === undefined ? {} : { child: scenario.terms }),
    ...(scenario.both === undefined ? {} : { both: scenario.both }),
    ...(scenario.limits === undefined ? {} : { limits: scenario.limits }),
    nonces,
  });
  if (scenario.isConnected) {
    simulation.initiate('a', 'net', 'b');
    simulation.runNow(10_000);
    if (simulation.children('a').length !== 1) throw new Error('the two did not connect');
    simulation.watchTraffic(['net']);
  }
  return simulation;
}

/**
 * Runs schedules of a scenario. Two sides that came to rest as they began serve for the next
 * schedule: connecting them is most of the work.
 */
export function runnerOf(scenario: Scenario): Runner {
  const staysConnected = scenario.isConnected && scenario.expected.children === 1;
  const nonces: NonceOrder = { next: null };
  let made = 0;
  let kept: Simulation | null = null;
  return (schedule: Schedule) => {
    made += 1;
    const simulation = kept ?? simulationOf(scenario, `${made}`, nonces);
    kept = null;
    const marks = follow(simulation, schedule);
    nonces.next = scenario.loser ?? null;
    scenario.begin(simulation);
    simulation.runNow(REST_MS);
    const faults = [...faultsAtRest(simulation, scenario.expected)];
    if (scenario.losesNothing) {
      for (const { from, at, why } of simulation.lost.slice(0, 3)) {
        faults.push(`a packet of ${from} was lost at ${at}: ${why}`);
      }
    }
    for (const side of SIDES) {
      for (const { text } of simulation.eventsOf(side, 'detail').slice(0, 3)) faults.push(text);
    }
    if (faults.length === 0 && staysConnected) kept = simulation;
    return { marks, faults };
  };
}
