import type { GatewayResult, Sample } from './gateway/gateway-bench.js';
import { bestPerRound, perRoundRatios, type Spread, spreadOf } from './statistics.js';
import { type Target, targets } from './targets.js';

export interface Figure {
  readonly scenario: string;
  readonly contender: string;
  readonly spread: Spread | null;
  readonly failed: number;
  readonly busyCores: number | null;
  readonly wireBytesPerPacket: number | null;
  readonly retransmits: number | null;
  readonly lostShare: number | null;
}

/** Subject over peer, taken within each round. */
export interface Ratio {
  readonly scenario: string;
  readonly subject: string;
  readonly peer: string;
  readonly perRound: readonly number[];
  readonly spread: Spread;
}

export interface TargetOutcome extends Target {
  readonly measured: Spread | null;
  readonly requiredMet: boolean | null;
  readonly goalMet: boolean | null;
}

export interface Evaluation {
  readonly figures: readonly Figure[];
  readonly ratios: readonly Ratio[];
  readonly targets: readonly TargetOutcome[];
}

/** Name of the best of both builds in each round, in the ratios. */
export const FASTER_WIREGUARD_GO = 'faster wireguard-go';

export function evaluate(result: GatewayResult): Evaluation {
  const names = result.contenders.map(({ name }) => name);
  const figures: Figure[] = [];
  const ratios: Ratio[] = [];
  for (const { id } of result.scenarios) {
    const series = new Map(names.map((name) => [name, valuesOf(result, id, name)]));
    for (const name of names) {
      figures.push(figureOf(result, id, name));
    }
    const wireguardGo = names.filter((name) => name.endsWith('wireguard-go'));
    const peers: [string, (number | null)[]][] = [...series];
    if (wireguardGo.length > 1) {
      peers.push([
        FASTER_WIREGUARD_GO,
        bestPerRound(wireguardGo.map((name) => series.get(name) ?? [])),
      ]);
    }
    for (const [subject, values] of series) {
      for (const [peer, others] of peers) {
        const perRound = peer === subject ? [] : perRoundRatios(values, others);
        const spread = spreadOf(perRound);
        if (spread !== null) {
          ratios.push({ scenario: id, subject, peer, perRound, spread });
        }
      }
    }
  }
  return { figures, ratios, targets: targets.map((target) => outcomeOfTarget(result, target)) };
}

function outcomeOfTarget(result: GatewayResult, target: Target): TargetOutcome {
  const peers = bestPerRound(target.peers.map((peer) => valuesOf(result, target.scenario, peer)));
  const measured = spreadOf(
    perRoundRatios(valuesOf(result, target.scenario, target.subject), peers),
  );
  const meets = (least: number | null): boolean | null =>
    measured === null || least === null ? null : measured.median >= least;
  return { ...target, measured, requiredMet: meets(target.required), goalMet: meets(target.goal) };
}

function samplesOf(result: GatewayResult, scenario: string, contender: string): Sample[] {
  return result.samples.filter(
    (sample) => sample.scenario === scenario && sample.contender === contender,
  );
}

/** One value a round, null where the measurement failed or is not there. */
function valuesOf(result: GatewayResult, scenario: string, contender: string): (number | null)[] {
  const samples = samplesOf(result, scenario, contender);
  return Array.from(
    { length: result.rounds },
    (_, round) => samples.find((sample) => sample.round === round)?.value ?? null,
  );
}

function figureOf(result: GatewayResult, scenario: string, contender: string): Figure {
  const samples = samplesOf(result, scenario, contender);
  const medianOf = (pick: (sample: Sample) => number | null): number | null =>
    spreadOf(samples.map(pick).filter((value) => value !== null))?.median ?? null;
  return {
    scenario,
    contender,
    spread: spreadOf(samples.map(({ value }) => value).filter((value) => value !== null)),
    failed: samples.filter(({ value }) => value === null).length,
    busyCores: medianOf((sample) => (sample.value === null ? null : sample.busyCores)),
    wireBytesPerPacket: medianOf(({ wireBytesPerPacket }) => wireBytesPerPacket),
    retransmits: medianOf(({ retransmits }) => retransmits),
    lostShare: medianOf(({ lostShare }) => lostShare),
  };
}
