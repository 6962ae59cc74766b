import { type Spread, spreadOf } from '../statistics.js';
import { tableOf } from '../table.js';
import { charon } from './charon.js';
import { Ground } from './ground.js';
import { ours } from './ours.js';
import type { IkeResponder, LoopDelay } from './responder.js';

/** Those that are measured, in each round one after the other. */
export const RESPONDERS: readonly IkeResponder[] = [ours, charon];

/** What is promised of ours. */
export const IKE_TARGETS = {
  handshakesPerSecond: 300,
  heldMegabytes: 500,
  loopDelayP99Ms: 20,
} as const;

interface Amounts {
  readonly rounds: number;
  readonly handshakes: number;
  readonly warmUp: number;
  /** Handshakes under way at once; fewer than anybody's threshold for cookies. */
  readonly inFlight: number;
  readonly held: number;
  readonly rekeyed: number;
  readonly rekeyOverMs: number;
}

const FULL: Amounts = {
  rounds: 5,
  handshakes: 1_000,
  // Until what runs often is compiled.
  warmUp: 2_000,
  inFlight: 32,
  held: 10_000,
  rekeyed: 1_000,
  rekeyOverMs: 5_000,
};
const QUICK: Amounts = {
  ...FULL,
  rounds: 3,
  handshakes: 300,
  warmUp: 500,
  held: 2_000,
  rekeyed: 300,
  rekeyOverMs: 2_000,
};

export interface HandshakeRound {
  readonly handshakes: number;
  readonly failed: number;
  readonly reason: string | null;
  readonly seconds: number;
  /** Of the responder's process, user and system. */
  readonly cpuSeconds: number;
  /** Of the initiators'. */
  readonly initiatorCpuSeconds: number;
}

export interface ResponderResult {
  readonly responder: string;
  readonly settings: string;
  readonly rounds: readonly HandshakeRound[];
  /** As it went: bounded by whichever of the two sides is slower. */
  readonly perSecond: Spread | null;
  /** What one processor would answer if it did nothing else. */
  readonly perCpuSecond: Spread | null;
  readonly memory: {
    readonly emptyBytes: number;
    readonly ikeSas: number;
    readonly heldBytes: number;
    readonly bytesPerIkeSa: number;
  };
  readonly rekey: {
    readonly peers: number;
    readonly failed: number;
    /** The first reason why one failed. */
    readonly reason: string | null;
    readonly seconds: number;
    readonly cpuSeconds: number;
    /** Null where the responder has no event loop. */
    readonly loop: LoopDelay | null;
    /** The same while nothing was asked of it: what the machine itself is late by. */
    readonly idleLoop: LoopDelay | null;
  };
}

export interface IkeResult {
  readonly amounts: Amounts;
  readonly results: readonly ResponderResult[];
  /** Ours over charon's, handshakes a second of the responder's processor, round by round. */
  readonly ratio: Spread | null;
  readonly leftOut: readonly string[];
  readonly targetsMet: boolean;
}

interface Contest {
  readonly kind: IkeResponder;
  readonly ground: Ground;
  readonly emptyBytes: number;
  readonly rounds: HandshakeRound[];
}

export async function benchIke(
  { quick, only }: { readonly quick: boolean; readonly only: readonly string[] },
  progress: (line: string) => void,
): Promise<IkeResult> {
  const amounts = quick ? QUICK : FULL;
  const leftOut: string[] = [];
  const contests: Contest[] = [];
  const results: ResponderResult[] = [];
  try {
    for (const kind of RESPONDERS) {
      if (only.length > 0 && !only.includes(kind.name)) continue;
      const missing = kind.missing();
      if (missing !== null) {
        leftOut.push(`${kind.title}: ${missing}`);
        progress(`left out: ${kind.title}: ${missing}`);
        continue;
      }
      const made = amounts.warmUp + amounts.rounds * amounts.handshakes;
      const peers = Math.max(made, amounts.held);
      const ground = await Ground.open(kind, String(contests.length), peers);
      contests.push({ kind, ground, emptyBytes: ground.residentBytes(), rounds: [] });
    }
    for (const { kind, ground } of contests) {
      progress(`handshakes: ${kind.title}: warm-up`);
      requireDone(kind, await ground.connect(amounts.warmUp, amounts.inFlight));
    }
    for (let round = 1; round <= amounts.rounds; round += 1) {
      for (const contest of contests) {
        progress(`handshakes: round ${round} of ${amounts.rounds}: ${contest.kind.title}`);
        contest.rounds.push(await handshakes(contest, amounts));
      }
    }
    for (let next = contests[0]; next !== undefined; next = contests[0]) {
      results.push(await life(next, amounts, progress));
      contests.shift();
      await next.ground.close();
    }
  } finally {
    for (const { ground } of contests) await ground.close();
  }
  const ratio = ratioOf(results);
  return { amounts, results, ratio, leftOut, targetsMet: targetsMet(results, amounts) };
}

async function handshakes({ ground }: Contest, amounts: Amounts): Promise<HandshakeRound> {
  const before = ground.cpuSeconds();
  const outcome = await ground.connect(amounts.handshakes, amounts.inFlight);
  return {
    handshakes: outcome.done,
    failed: outcome.failed,
    reason: outcome.reason,
    seconds: outcome.seconds,
    cpuSeconds: ground.cpuSeconds() - before,
    initiatorCpuSeconds: outcome.cpuSeconds,
  };
}

/** Many held, and many of them rekeyed. */
async function life(
  { kind, ground, emptyBytes, rounds }: Contest,
  amounts: Amounts,
  progress: (line: string) => void,
): Promise<ResponderResult> {
  progress(`${amounts.held} IKE SAs: ${kind.title}`);
  const missing = amounts.held - (await ground.held());
  if (missing > 0) requireDone(kind, await ground.connect(missing, amounts.inFlight));
  const ikeSas = await ground.held();
  const heldBytes = ground.residentBytes();
  await ground.responder.loopDelay();
  await new Promise((resolve) => setTimeout(resolve, amounts.rekeyOverMs));
  const idleLoop = await ground.responder.loopDelay();
  progress(`${amounts.rekeyed} peers rekey: ${kind.title}`);
  const before = ground.cpuSeconds();
  const rekeyed = await ground.rekey(amounts.rekeyed, amounts.rekeyOverMs);
  const cpuSeconds = ground.cpuSeconds() - before;
  const loop = await ground.responder.loopDelay();
  return {
    responder: kind.name,
    settings: ground.responder.settings,
    rounds,
    perSecond: spreadOf(rounds.map((round) => round.handshakes / round.seconds)),
    perCpuSecond: spreadOf(rounds.map(perCpuSecond)),
    memory: {
      emptyBytes,
      ikeSas,
      heldBytes,
      bytesPerIkeSa: Math.round((heldBytes - emptyBytes) / ikeSas),
    },
    rekey: {
      peers: rekeyed.done,
      failed: rekeyed.failed,
      reason: rekeyed.reason,
      seconds: rekeyed.seconds,
      cpuSeconds,
      loop,
      idleLoop,
    },
  };
}

function requireDone(
  kind: IkeResponder,
  outcome: { readonly failed: number; readonly reason: string | null },
): void {
  if (outcome.failed === 0) return;
  throw new Error(`${kind.title}: ${outcome.failed} peers did not connect: ${outcome.reason}`);
}

function perCpuSecond({ handshakes: done, cpuSeconds }: HandshakeRound): number {
  return done / cpuSeconds;
}

function ratioOf(results: readonly ResponderResult[]): Spread | null {
  const own = results.find(({ responder }) => responder === ours.name)?.rounds ?? [];
  const other = results.find(({ responder }) => responder === charon.name)?.rounds ?? [];
  return spreadOf(
    own.flatMap((round, index) => {
      const against = other[index];
      return against === undefined ? [] : [perCpuSecond(round) / perCpuSecond(against)];
    }),
  );
}

function targetsMet(results: readonly ResponderResult[], amounts: Amounts): boolean {
  const own = results.find(({ responder }) => responder === ours.name);
  if (own === undefined || amounts.held < FULL.held || amounts.rekeyed < FULL.rekeyed) return false;
  const failed = own.rounds.reduce((sum, round) => sum + round.failed, own.rekey.failed);
  return (
    failed === 0 &&
    (own.perSecond?.median ?? 0) >= IKE_TARGETS.handshakesPerSecond &&
    own.memory.heldBytes < IKE_TARGETS.heldMegabytes * 1e6 &&
    (own.rekey.loop?.p99 ?? Infinity) < IKE_TARGETS.loopDelayP99Ms
  );
}

const fixed = (value: number | undefined, digits = 0): string => value?.toFixed(digits) ?? '';

export function ikeReport({ results, ratio, amounts }: IkeResult): string {
  const parts = [
    `IKE as responder on one processor: PSK, X25519, IKE_SA_INIT and IKE_AUTH with one child; ` +
      `${amounts.rounds} rounds of ${amounts.handshakes}, ${amounts.inFlight} under way\n` +
      tableOf([
        ['', 'a second', 'min - max', 'a second of its own processor', 'initiators busy', 'failed'],
        ...results.map(({ responder, perSecond, perCpuSecond: own, rounds }) => [
          responder,
          fixed(perSecond?.median),
          `${fixed(perSecond?.min)} - ${fixed(perSecond?.max)}`,
          fixed(own?.median),
          fixed(
            spreadOf(rounds.map((round) => round.initiatorCpuSeconds / round.seconds))?.median,
            2,
          ),
          String(rounds.reduce((sum, round) => sum + round.failed, 0)),
        ]),
      ]),
    ...(ratio === null
      ? []
      : [
          `ipsec-node over charon, of its own processor: ${ratio.median.toFixed(2)}x ` +
            `(${ratio.min.toFixed(2)}x - ${ratio.max.toFixed(2)}x)`,
        ]),
    `Memory of the whole process\n${tableOf([
      ['', 'empty, MB', 'IKE SAs with a child', 'MB', 'kB each'],
      ...results.map(({ responder, memory }) => [
        responder,
        fixed(memory.emptyBytes / 1e6),
        String(memory.ikeSas),
        fixed(memory.heldBytes / 1e6),
        fixed(memory.bytesPerIkeSa / 1e3, 1),
      ]),
    ])}`,
    `${amounts.rekeyed} peers rekey IKE SA and child, begun over ${amounts.rekeyOverMs / 1000} s; how late the event loop was, ms\n${tableOf(
      [
        ['', 'done', 'failed', 'seconds', 'processor, s', 'p50', 'p99', 'max', 'idle p99'],
        ...results.map(({ responder, rekey }) => [
          responder,
          String(rekey.peers),
          String(rekey.failed),
          fixed(rekey.seconds, 1),
          fixed(rekey.cpuSeconds, 1),
          fixed(rekey.loop?.p50, 1),
          fixed(rekey.loop?.p99, 1),
          fixed(rekey.loop?.max, 1),
          fixed(rekey.idleLoop?.p99, 1),
        ]),
      ],
    )}`,
  ];
  for (const { responder, rounds, rekey } of results) {
    const reason = rounds.find((round) => round.reason !== null)?.reason ?? rekey.reason;
    if (reason !== null) parts.push(`${responder}: the first failure: ${reason}`);
  }
  return parts.join('\n\n');
}
