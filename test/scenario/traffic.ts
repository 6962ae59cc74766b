/** Traffic that does not end: ICMP echo, UDP and TCP, each packet with a marker in it. */

import { until, type Program } from '../lab/command.ts';
import type { Namespace } from '../lab/namespace.ts';
import { repositoryRoot } from '../lab/registry.ts';
import type { Site } from '../lab/topology.ts';
import { parseObject } from './ipsec-node.ts';

const AGENT = `${repositoryRoot}/test/scenario/agent.py`;

export function agent(words: readonly string[]): string[] {
  return ['python3', '-B', AGENT, ...words];
}

/** Echoes what {@link Talker} says. */
export async function serve(namespace: Namespace): Promise<Program> {
  const program = namespace.spawn(agent(['serve']));
  await program.output(/serving/);
  return program;
}

/** UDP datagrams, and how many of them were echoed. */
export async function sendDatagrams(
  namespace: Namespace,
  source: string,
  destination: string,
  options: {
    port?: number;
    bytes?: number;
    count?: number;
    marker: string;
    /** Whether an answer may come: it is waited for. */
    answered?: boolean;
  },
): Promise<{ sent: number; refused: number; back: number }> {
  const { stdout } = await namespace.exec(
    agent([
      'datagrams',
      source,
      destination,
      String(options.port ?? 7001),
      String(options.bytes ?? 100),
      String(options.count ?? 1),
      options.marker,
      options.answered === false ? '100' : '5000',
    ]),
  );
  const answer = parseObject(stdout);
  return {
    sent: Number(answer['sent']),
    refused: Number(answer['refused']),
    back: Number(answer['back']),
  };
}

/** Puts frames on a wire, slowly enough for a receive buffer. */
export async function inject(
  namespace: Namespace,
  device: string,
  frames: readonly Uint8Array[],
): Promise<void> {
  const lines = frames.map((frame) => `${Buffer.from(frame).toString('hex')}\n`);
  await namespace.exec(agent(['inject', device]), { input: lines.join('') });
}

type Count = 'tried' | 'refused' | 'back';
/** By flow and kind, such as `10.1.0.2>10.2.0.2 udp`. */
type Counts = ReadonlyMap<string, Readonly<Record<Count, number>>>;

export class Talker {
  #answers = 0;

  private constructor(
    readonly label: string,
    private readonly program: Program,
  ) {}

  static async start(
    label: string,
    namespace: Namespace,
    pairs: readonly (readonly [source: string, destination: string])[],
    options: { marker: string; tickMs?: number; device?: string },
  ): Promise<Talker> {
    const flows = pairs.map(([source, destination]) => `${source}>${destination}`);
    const tick = String(options.tickMs ?? 50);
    const program = namespace.spawn(
      agent(['talk', options.marker, tick, options.device ?? '-', ...flows]),
    );
    await program.output(/talking/);
    return new Talker(label, program);
  }

  private ask(line: string): Promise<string> {
    this.#answers += 1;
    const number = this.#answers + 1;
    this.program.write(`${line}\n`);
    return this.program.line(number);
  }

  async counts(): Promise<Counts> {
    const answer = parseObject(await this.ask('count'));
    const counts = new Map<string, Readonly<Record<Count, number>>>();
    for (const [flow, kinds] of Object.entries(answer)) {
      for (const [kind, values] of Object.entries(parseObject(JSON.stringify(kinds)))) {
        const tally = parseObject(JSON.stringify(values));
        counts.set(`${flow} ${kind}`, {
          tried: Number(tally['tried']),
          refused: Number(tally['refused']),
          back: Number(tally['back']),
        });
      }
    }
    return counts;
  }

  /** Waits until every flow and kind rose by so many. */
  private async rose(what: Count, by: number, timeoutMs: number): Promise<void> {
    const before = await this.counts();
    let missing: readonly string[] = [];
    const check = async (): Promise<boolean> => {
      const now = await this.counts();
      missing = [...now.keys()].filter(
        (key) => (now.get(key)?.[what] ?? 0) < (before.get(key)?.[what] ?? 0) + by,
      );
      return missing.length === 0;
    };
    try {
      await until(`${this.label}: ${what}`, check, timeoutMs);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new Error(`${why}; without: ${missing.join(', ')}`);
    }
  }

  /** Waits until each kind of traffic was answered anew. */
  flows(timeoutMs = 12_000): Promise<void> {
    return this.rose('back', 2, timeoutMs);
  }

  /** Waits until each kind of traffic was tried, whatever became of it. */
  tried(count = 3): Promise<void> {
    return this.rose('tried', count, 30_000);
  }

  async answered(): Promise<number> {
    const counts = await this.counts();
    return [...counts.values()].reduce((sum, { back }) => sum + back, 0);
  }

  /** Ends all connections and says no more until {@link go}. */
  async pause(): Promise<void> {
    await this.ask('pause');
  }

  async go(): Promise<void> {
    await this.ask('go');
  }
}

/** The two pairs of addresses, one of each family. */
export function pairsBetween(
  from: { readonly address4: string; readonly address6: string },
  to: Site,
): readonly (readonly [string, string])[] {
  return [
    [from.address4, to.hostAddress4],
    [from.address6, to.hostAddress6],
  ];
}
