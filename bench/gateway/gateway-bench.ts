import { busyCores, processorTime } from '../machine.js';
import type { BenchOptions } from '../options.js';
import { type Spread, spreadOf } from '../statistics.js';
import type { Contender, ContenderFacts, RunningContender } from './contender.js';
import { libipsec } from './contenders/libipsec.js';
import { none } from './contenders/none.js';
import { ours } from './contenders/ours.js';
import { wireguardGo, wireguardGoBuilds } from './contenders/wireguard-go.js';
import { runIperf, waitForPath } from './iperf.js';
import { findProgram, type Lab } from './lab.js';
import { flowOf, type Scenario, scenariosOf } from './scenario.js';
import {
  openTopology,
  switchWireOffload,
  type Topology,
  tunnelMtu,
  WIRE_MTU,
  wireCounters,
  wireFeatures,
} from './topology.js';

const PATH_TIMEOUT_MS = 20_000;
/** Time between two measurements in which queues empty and timers settle. */
const SETTLE_MS = 200;
/** How long the idle machine is watched before each scenario. */
const IDLE_WATCH_MS = 500;
/** More than this many processors busy with something else makes a remark. */
const QUIET_CORES_MAX = 0.2;

/** One measurement of one contender in one scenario of one round. */
export interface Sample {
  readonly round: number;
  readonly scenario: string;
  readonly contender: string;
  /** Gbit/s of TCP payload or packets a second; null where it failed. */
  readonly value: number | null;
  readonly fault: string | null;
  readonly retransmits: number | null;
  readonly lostShare: number | null;
  /** Processors busy meanwhile, in the whole machine. */
  readonly busyCores: number;
  /** Mean size of what gateway A handed to the wire: above the MTU it is a GSO super-packet. */
  readonly wireBytesPerPacket: number | null;
}

export interface ContenderEntry extends ContenderFacts {
  readonly name: string;
  readonly title: string;
  readonly tunnelMtu: number | null;
}

export interface GatewayResult {
  readonly rounds: number;
  readonly seconds: number;
  readonly wireMtu: number;
  readonly wireFeatures: Readonly<Record<string, readonly string[]>>;
  readonly congestionControl: string | null;
  readonly contenders: readonly ContenderEntry[];
  readonly leftOut: readonly { readonly name: string; readonly why: string }[];
  readonly scenarios: readonly Scenario[];
  readonly samples: readonly Sample[];
  /**
   * Processors busy before each scenario of each round, with every contender up and nothing to
   * carry: the noise of the machine.
   */
  readonly idleBusyCores: Spread | null;
}

interface Entrant {
  readonly contender: Contender;
  readonly topology: Topology;
  running: RunningContender;
}

export function allContenders(root: string): Contender[] {
  return [
    none,
    ours(root, 'udp'),
    ours(root, 'esp'),
    libipsec,
    ...wireguardGoBuilds.map((build) => wireguardGo(root, build)),
  ];
}

/** `ours` stands for both of our encapsulations. */
export function chosenContenders(all: readonly Contender[], only: readonly string[]): Contender[] {
  if (only.length === 0) {
    return [...all];
  }
  return all.filter(
    ({ name }) => only.includes(name) || (name.startsWith('ours-') && only.includes('ours')),
  );
}

/** Programs without which nothing can be measured; one line that names the packages, or null. */
export function missingPrograms(): string | null {
  const packages = [
    ['ip', 'iproute2'],
    ['ethtool', 'ethtool'],
    ['iperf3', 'iperf3'],
    ['mount', 'mount'],
  ] as const;
  const missing = packages.filter(([program]) => findProgram(program) === null);
  return missing.length === 0
    ? null
    : `missing programs: apt-get install --no-install-recommends ${missing.map(([, name]) => name).join(' ')}`;
}

/**
 * Measures. Every contender has a topology of its own and stays up for the whole run, so that in
 * each round, for each scenario, all are measured within seconds of one another, in an order that
 * rotates: what disturbs the machine disturbs all alike, and the ratios hold better than the values.
 */
export async function benchGateways(
  root: string,
  options: BenchOptions,
  lab: Lab,
  say: (line: string) => void,
): Promise<GatewayResult> {
  const chosen = chosenContenders(allContenders(root), options.only);
  const scenarios = scenariosOf(options);
  const entrants: Entrant[] = [];
  const entries: ContenderEntry[] = [];
  const leftOut: { name: string; why: string }[] = [];
  const leaveOut = (name: string, why: string): void => {
    leftOut.push({ name, why });
    say(`left out: ${name}: ${why}`);
  };
  for (const contender of chosen) {
    const why = await contender.prepare(lab.signal);
    if (why !== null) {
      leaveOut(contender.name, why);
      continue;
    }
    const topology = await openTopology(lab, contender.name);
    try {
      const running = await contender.start(topology.gatewayA, topology.gatewayB, topology);
      entrants.push({ contender, topology, running });
      await waitUntilCarrying(topology, options);
      const mtu = await tunnelMtu(topology);
      const { name, title } = contender;
      entries.push({ name, title, ...running.facts, tunnelMtu: mtu });
      say(
        `up: ${name} ${running.facts.version} ${mtu === null ? '' : `(MTU ${mtu}, ${running.facts.algorithm})`}`.trimEnd(),
      );
    } catch (error) {
      lab.signal.throwIfAborted();
      const failed = entrants.findIndex((entrant) => entrant.contender === contender);
      if (failed >= 0) {
        await entrants[failed]?.running.stop();
        entrants.splice(failed, 1);
      }
      leaveOut(contender.name, `it did not come up: ${messageOf(error)}`);
    }
  }
  if (entrants.length === 0) {
    throw new Error('no contender is left to measure');
  }

  const features: Record<string, readonly string[]> = {};
  const samples: Sample[] = [];
  const idleBusyCores: number[] = [];
  for (let round = 0; round < options.rounds; round += 1) {
    let profile: boolean | null = null;
    for (const [index, scenario] of scenarios.entries()) {
      if (scenario.offload !== profile) {
        profile = scenario.offload;
        for (const { topology } of entrants) {
          await switchWireOffload(topology, profile);
        }
        const first = entrants[0];
        if (first !== undefined) {
          features[profile ? 'uso-on' : 'uso-off'] ??= await wireFeatures(first.topology);
        }
      }
      const idle = await idleLoad(lab, options.quietWaitSeconds);
      idleBusyCores.push(idle);
      const line: string[] = [];
      for (const entrant of rotated(entrants, round + index)) {
        const sample = await measure(entrant, scenario, round, options);
        samples.push(sample);
        line.push(`${sample.contender} ${sample.value === null ? 'failed' : short(sample.value)}`);
        if (sample.fault !== null) {
          say(`  ${sample.contender}: ${sample.fault}`);
        }
      }
      const noise =
        idle > QUIET_CORES_MAX ? ` (the machine was busy: ${idle.toFixed(1)} processors)` : '';
      say(
        `round ${round + 1}/${options.rounds} ${scenario.id} [${scenario.unit}]: ${line.join(', ')}${noise}`,
      );
    }
  }
  for (const { running } of entrants) {
    await running.stop();
  }
  return {
    rounds: options.rounds,
    seconds: options.seconds,
    wireMtu: WIRE_MTU,
    wireFeatures: features,
    congestionControl: options.congestion,
    contenders: entries,
    leftOut,
    scenarios,
    samples,
    idleBusyCores: spreadOf(idleBusyCores),
  };
}

async function measure(
  entrant: Entrant,
  scenario: Scenario,
  round: number,
  options: BenchOptions,
): Promise<Sample> {
  const { contender, topology } = entrant;
  const { lab } = topology;
  const base = { round, scenario: scenario.id, contender: contender.name };
  await lab.sleep(SETTLE_MS);
  const wireBefore = await wireCounters(topology);
  const timeBefore = processorTime();
  try {
    const flow = flowOf(topology, scenario.placement);
    const received = await runIperf(lab, flow, scenario.load, options.seconds);
    const busy = busyCores(timeBefore, processorTime());
    const wire = await wireCounters(topology);
    const packets = wire.packets - wireBefore.packets;
    return {
      ...base,
      value: scenario.unit === 'Gbit/s' ? received.rate / 1e9 : received.rate,
      fault: null,
      retransmits: received.retransmits,
      lostShare: received.lostShare,
      busyCores: busy,
      wireBytesPerPacket:
        packets === 0 ? null : Math.round((wire.bytes - wireBefore.bytes) / packets),
    };
  } catch (error) {
    lab.signal.throwIfAborted();
    const fault = messageOf(error);
    await revive(entrant, options);
    return {
      ...base,
      value: null,
      fault,
      retransmits: null,
      lostShare: null,
      busyCores: busyCores(timeBefore, processorTime()),
      wireBytesPerPacket: null,
    };
  }
}

/** Starts a contender again whose program has ended; its failed measurement stays failed. */
async function revive(entrant: Entrant, options: BenchOptions): Promise<void> {
  if (entrant.running.alive()) {
    return;
  }
  const { contender, topology } = entrant;
  await entrant.running.stop();
  try {
    entrant.running = await contender.start(topology.gatewayA, topology.gatewayB, topology);
    await waitUntilCarrying(topology, options);
  } catch {
    // Its next measurement fails and says why.
    topology.lab.signal.throwIfAborted();
  }
}

async function waitUntilCarrying(topology: Topology, options: BenchOptions): Promise<void> {
  for (const placement of options.placements) {
    await waitForPath(topology.lab, flowOf(topology, placement), PATH_TIMEOUT_MS);
  }
}

/** What the rest of the machine, and idle contenders, take; waits for less if asked to. */
async function idleLoad(lab: Lab, waitSeconds: number): Promise<number> {
  const deadline = Date.now() + waitSeconds * 1000;
  for (;;) {
    const before = processorTime();
    await lab.sleep(IDLE_WATCH_MS);
    const busy = busyCores(before, processorTime());
    if (busy <= QUIET_CORES_MAX || Date.now() >= deadline) {
      return busy;
    }
  }
}

function rotated<T>(items: readonly T[], by: number): T[] {
  const start = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

function short(value: number): string {
  return value >= 1000 ? String(Math.round(value)) : value.toPrecision(3);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
