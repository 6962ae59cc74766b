import { parseArgs } from 'node:util';

export type Placement = 'forwarded' | 'local';
export type Part = 'gateway' | 'packet' | 'ike';

export interface BenchOptions {
  readonly help: boolean;
  readonly quick: boolean;
  readonly parts: readonly Part[];
  readonly rounds: number;
  readonly seconds: number;
  /** Names of contenders as the user wrote them; empty is all. */
  readonly only: readonly string[];
  readonly placements: readonly Placement[];
  readonly streams: readonly number[];
  /** UDP segmentation offload on the wire: true, false or both. */
  readonly offloads: readonly boolean[];
  readonly smallPackets: boolean;
  readonly congestion: string | null;
  /** Seconds to wait before each scenario for the machine to become quiet. */
  readonly quietWaitSeconds: number;
  /** Exit with failure where a required ratio of targets.ts is missed. */
  readonly assertTargets: boolean;
  readonly writeResults: boolean;
  /** False as soon as an option leaves something of the full run out. */
  readonly complete: boolean;
}

export class UsageFault extends Error {}

export const usage = `npm run bench -- [options]

  --quick                  2 rounds of 2 s, one stream, no small packets, short micro-benchmarks
  --part LIST              gateway,packet (both), ike
  --rounds N               rounds of the gateway bench (5)
  --seconds S              seconds of one measurement (3)
  --only LIST              contenders: none, ours (= ours-udp, ours-esp), libipsec, wireguard-go,
                           tailscale-wireguard-go; with --part ike: ours, charon
  --scenario LIST          forwarded,local (both)
  --streams LIST           TCP streams (1,4)
  --offload LIST           UDP segmentation offload on the wire: on,off (both)
  --no-small               leaves the 64-byte UDP packets out
  --congestion NAME        TCP congestion control (the host's)
  --quiet-wait S           waits up to S seconds before each scenario while the machine is busy (0)
  --assert                 exit 1 where what is required is missed or was not measured
  --no-results             writes no file into bench/results
`;

function list(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function positiveInteger(name: string, text: string, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > max) {
    throw new UsageFault(`--${name}: ${text} is not a whole number from 1 to ${max}`);
  }
  return value;
}

function oneOf<T extends string>(name: string, text: string, accepted: readonly T[]): T {
  const found = accepted.find((item) => item === text);
  if (found === undefined) {
    throw new UsageFault(`--${name}: ${text} is not one of ${accepted.join(', ')}`);
  }
  return found;
}

/** Reads the command line. Throws {@link UsageFault}. */
export function parseOptions(argv: readonly string[]): BenchOptions {
  let values: ReturnType<typeof parse>['values'];
  try {
    values = parse(argv).values;
  } catch (error) {
    throw new UsageFault(error instanceof Error ? error.message : String(error));
  }
  const quick = values.quick ?? false;
  const parts = list(values.part ?? 'gateway,packet').map((text) =>
    oneOf('part', text, ['gateway', 'packet', 'ike'] as const),
  );
  const rounds = positiveInteger('rounds', values.rounds ?? (quick ? '2' : '5'), 1000);
  const seconds = positiveInteger('seconds', values.seconds ?? (quick ? '2' : '3'), 3600);
  const only = list(values.only ?? '');
  const placements = list(values.scenario ?? 'forwarded,local').map((text) =>
    oneOf('scenario', text, ['forwarded', 'local'] as const),
  );
  const streams = list(values.streams ?? (quick ? '1' : '1,4')).map((text) =>
    positiveInteger('streams', text, 128),
  );
  const offloads = list(values.offload ?? 'on,off').map(
    (text) => oneOf('offload', text, ['on', 'off'] as const) === 'on',
  );
  const smallPackets = !quick && !(values['no-small'] ?? false);
  const congestion = values.congestion ?? null;
  const quietWaitSeconds =
    values['quiet-wait'] === undefined
      ? 0
      : positiveInteger('quiet-wait', values['quiet-wait'], 3600);
  const complete =
    !quick &&
    parts.includes('gateway') &&
    parts.includes('packet') &&
    rounds >= 5 &&
    seconds >= 3 &&
    only.length === 0 &&
    placements.length === 2 &&
    streams.includes(1) &&
    streams.includes(4) &&
    offloads.length === 2 &&
    smallPackets;
  return {
    help: values.help ?? false,
    quick,
    parts,
    rounds,
    seconds,
    only,
    placements,
    streams,
    offloads,
    smallPackets,
    congestion,
    quietWaitSeconds,
    assertTargets: values.assert ?? false,
    writeResults: !(values['no-results'] ?? false),
    complete,
  };
}

function parse(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    strict: true,
    allowPositionals: false,
    options: {
      help: { type: 'boolean', short: 'h' },
      quick: { type: 'boolean' },
      part: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      only: { type: 'string' },
      scenario: { type: 'string' },
      streams: { type: 'string' },
      offload: { type: 'string' },
      'no-small': { type: 'boolean' },
      congestion: { type: 'string' },
      'quiet-wait': { type: 'string' },
      assert: { type: 'boolean' },
      'no-results': { type: 'boolean' },
    },
  });
}
