/**
 * Every schedule of losses to a depth: what happens to each of the first datagrams of a scenario is
 * tried in every combination, depth first. A schedule whose last fates no datagram met is the same
 * as a shorter one, and is not run again.
 */
import { DELIVERED, type Fate, other, type Side, SIDES, type Simulation } from './simulator.js';

/**
 * The fates of one datagram. A message goes out again after a second; two that are overtaken by
 * others arrive when the exchange may be long over.
 */
export const FATES = {
  delivered: DELIVERED,
  dropped: [],
  duplicated: [1, 8],
  overtaken: [6],
  late: [1_500],
} as const satisfies Readonly<Record<string, Fate>>;
export type FateName = keyof typeof FATES;
const FATE_NAMES: readonly FateName[] = ['delivered', 'dropped', 'duplicated', 'overtaken', 'late'];

/** Of the first datagrams, in the order in which they are sent; those past it are delivered. */
export type Schedule = readonly FateName[];

/** What came of one schedule. */
export interface Run {
  /** {@link Simulation.mark} at each datagram that was sent. */
  readonly marks: readonly string[];
  readonly faults: readonly string[];
}
export type Runner = (schedule: Schedule) => Run;

export interface Exploration {
  /** Schedules that were run, and those that they stand for. */
  readonly runs: number;
  readonly schedules: number;
  /** The first few schedules that went wrong. */
  readonly failures: readonly { readonly schedule: string; readonly faults: readonly string[] }[];
}

const FAILURES_MAX = 5;

/**
 * Runs every schedule to `depth`. Where two have led to the same state but for the moments, what
 * follows is run once, unless `isWhole`.
 */
export function explore(run: Runner, depth: number, isWhole = false): Exploration {
  const failures: { schedule: string; faults: readonly string[] }[] = [];
  const seen = new Map<string, number>();
  let runs = 0;
  /** Schedules that begin with this one, and how many they are. */
  const visit = (prefix: Schedule): number => {
    const { marks, faults } = run(prefix);
    runs += 1;
    if (faults.length > 0 && failures.length < FAILURES_MAX) {
      failures.push({ schedule: prefix.join(' '), faults });
    }
    const open = marks.slice(0, depth);
    let count = 1;
    // From the last datagram back: what follows a state is known once it is met again.
    const first = open.findIndex(
      (mark, at) => at >= prefix.length && seen.has(`${at} ${mark}`) && !isWhole,
    );
    const end = first < 0 ? open.length : first;
    if (first >= 0) count = seen.get(`${first} ${open[first]}`) ?? 1;
    for (let at = end - 1; at >= prefix.length; at -= 1) {
      const delivered = Array.from({ length: at - prefix.length }, (): FateName => 'delivered');
      for (const name of FATE_NAMES.slice(1)) count += visit([...prefix, ...delivered, name]);
      seen.set(`${at} ${open[at]}`, count);
    }
    return count;
  };
  const schedules = visit([]);
  return { runs, schedules, failures };
}

/**
 * Has a simulation deal with the datagrams that are sent from here on as a schedule says. Returns
 * the marks of those datagrams.
 */
export function follow(simulation: Simulation, schedule: Schedule): readonly string[] {
  simulation.forget();
  const marks: string[] = [];
  simulation.fate = (_datagram, _from, index) => {
    if (marks.length < MARKS_MAX) marks.push(simulation.mark);
    const name = schedule[index];
    return name === undefined ? DELIVERED : FATES[name];
  };
  return marks;
}

/** Deeper than anybody explores. */
const MARKS_MAX = 12;

/** What both sides must hold once all is still. */
export interface Expected {
  /** IKE SAs, and children of each entry. */
  readonly ikeSas: number;
  readonly children: number;
}

/**
 * What is wrong with two sides that have come to rest: they must agree on IKE SAs and children, and
 * nothing else may be left of what was under way.
 */
export function faultsAtRest(simulation: Simulation, expected: Expected): readonly string[] {
  const faults: string[] = [];
  const check = (is: boolean, fault: () => string): void => {
    if (!is) faults.push(fault());
  };
  check(!simulation.isUnderWay, () => 'something is still under way');
  for (const side of SIDES) {
    const sas = simulation.ikeSas(side);
    const states = sas.map(({ state, children }) => `${state} ${children.length}`).join(', ');
    check(
      sas.length === expected.ikeSas && sas.every(({ state }) => state === 'established'),
      () => `${side} has IKE SAs: ${states}`,
    );
    const children = sas.flatMap((sa) => sa.children);
    check(
      children.length === expected.children && children.every(({ state }) => state === 'installed'),
      () => `${side} has children: ${children.map(({ state }) => state).join(', ')}`,
    );
    const usage = simulation.endpoints[side].usage();
    const inUse = {
      ...usage,
      // A first message is remembered as long as the IKE SA that it made.
      firstMessages: Math.max(0, usage.firstMessages - expected.ikeSas),
    };
    const allowed = {
      ikeSas: expected.ikeSas,
      halfOpen: 0,
      ikeSpis: expected.ikeSas,
      firstMessages: 0,
      children: expected.children,
      spis: expected.children,
      // When each is rekeyed, and when its life is over.
      timers: 2 * expected.ikeSas + 2 * expected.children,
      effects: 0,
      fragmentBytes: 0,
    };
    check(
      JSON.stringify(inUse) === JSON.stringify(allowed),
      () => `${side} holds ${JSON.stringify(usage)}`,
    );
    const { inbound, outbound } = simulation.datapaths[side];
    check(
      inbound.size === expected.children && outbound.length === expected.children,
      () => `the datapath of ${side} has ${inbound.size} SAs in and ${outbound.length} out`,
    );
  }
  faults.push(...disagreements(simulation));
  return faults;
}

/** What the two do not agree on: each SA of one side is the other's, by SPI and by key. */
export function disagreements(simulation: Simulation): readonly string[] {
  const faults: string[] = [];
  const spisOf = (side: Side): string =>
    simulation
      .ikeSas(side)
      .map(({ spiInitiator, spiResponder }) => `${spiInitiator} ${spiResponder}`)
      .sort()
      .join(', ');
  if (spisOf('a') !== spisOf('b')) faults.push('the two have other IKE SAs');
  for (const side of SIDES) {
    const theirs = simulation.datapaths[other(side)].inbound;
    const { inbound, outbound } = simulation.datapaths[side];
    const sending = new Set(simulation.datapaths[other(side)].outbound.map(({ id }) => id.spi));
    for (const spi of inbound.keys()) {
      if (!sending.has(spi)) faults.push(`${other(side)} does not send by ${side}'s SA`);
    }
    if (inbound.size !== outbound.length) faults.push(`${side} has half a child`);
    for (const { id, key } of simulation.datapaths[side].outbound) {
      const inbound = theirs.get(id.spi);
      if (inbound === undefined) faults.push(`${other(side)} does not receive by ${side}'s SA`);
      else if (Buffer.compare(inbound.key, key) !== 0) faults.push(`the keys of ${id.spi} differ`);
    }
  }
  return faults;
}
