/** Numbered UDP datagrams both ways between two hosts: what was lost, doubled, out of order. */

import { type Program, until } from './command.ts';
import type { Namespace } from './namespace.ts';
import { nodeProgram, parseLine } from './node-program.ts';
import type { StreamCounts } from './traffic-agent.ts';

export interface TrafficEnd {
  readonly namespace: Namespace;
  readonly address: string;
  /** Send from this address: where the namespace is its own gateway. Default false. */
  readonly bind?: boolean;
  /** More addresses to bind, for flows that are from them. */
  readonly alsoBind?: readonly string[];
}

export interface TrafficReport {
  readonly sent: number;
  /** Not taken by the sender's kernel: no route, no buffer. Part of `lost`. */
  readonly refused: number;
  readonly received: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  /** The first numbers that never came, from 0. */
  readonly missing: readonly number[];
}

export interface BothWays {
  readonly aToB: TrafficReport;
  readonly bToA: TrafficReport;
}

export interface FlowOptions {
  /** Datagrams a second each way. Default 500. */
  readonly perSecond?: number;
  /** Octets of each UDP payload. Default 200. */
  readonly bytes?: number;
  /** Ends of the path, where not those that were opened with: other addresses of the same hosts. */
  readonly aAddress?: string;
  readonly bAddress?: string;
}

/** An emulated guest starts Node in seconds. */
const START_MS = 120_000;
/** Nothing more comes when nothing came for this long. */
const QUIET_MS = 1_000;

class Agent {
  #answers = 1;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly end: TrafficEnd,
    private readonly program: Program,
  ) {}

  static async start(end: TrafficEnd): Promise<Agent> {
    const words = [...(end.bind === true ? [end.address] : []), ...(end.alsoBind ?? [])];
    const program = end.namespace.spawn(await nodeProgram('test/lab/traffic-agent', ...words));
    await program.line(1, START_MS);
    return new Agent(end, program);
  }

  ask(command: Readonly<Record<string, unknown>>): Promise<string> {
    const answer = this.#queue.then(() => {
      this.#answers += 1;
      this.program.write(`${JSON.stringify(command)}\n`);
      return this.program.line(this.#answers, START_MS);
    });
    this.#queue = answer.catch(() => undefined);
    return answer;
  }

  async counts(stream: number): Promise<StreamCounts> {
    const state = parseLine(await this.ask({ do: 'state' })).get(String(stream));
    const fields = parseLine(JSON.stringify(state ?? {}));
    const number = (name: keyof StreamCounts): number => Number(fields.get(name) ?? 0);
    return {
      sent: number('sent'),
      refused: number('refused'),
      sending: fields.get('sending') === true,
      received: number('received'),
      duplicated: number('duplicated'),
      reordered: number('reordered'),
    };
  }

  async missing(stream: number, end: number): Promise<readonly number[]> {
    const parsed: unknown = JSON.parse(await this.ask({ do: 'missing', stream, end }));
    return Array.isArray(parsed) ? parsed.map((each: unknown) => Number(each)) : [];
  }

  async stop(): Promise<void> {
    await this.program.stop('SIGKILL');
  }
}

async function report(from: Agent, to: Agent, stream: number): Promise<TrafficReport> {
  const { sent, refused } = await from.counts(stream);
  const { received, duplicated, reordered } = await to.counts(stream);
  const lost = sent - received;
  const missing = lost === 0 ? [] : await to.missing(stream, sent);
  return { sent, refused, received, lost, duplicated, reordered, missing };
}

/** Traffic that goes on until it is stopped. */
export class Flow {
  constructor(
    private readonly a: Agent,
    private readonly b: Agent,
    private readonly stream: number,
  ) {}

  /** Resolves when so many more have come each way. */
  async arrived(count: number, timeoutMs = 10_000): Promise<void> {
    const start = await this.received();
    await until(
      `${count} datagrams each way`,
      async () => (await this.received()).every((now, at) => now >= (start[at] ?? 0) + count),
      timeoutMs,
    );
  }

  /** Of B, and of A. */
  async received(): Promise<readonly number[]> {
    const both = [await this.b.counts(this.stream), await this.a.counts(this.stream + 1)];
    return both.map((counts) => counts.received);
  }

  /** Ends it and waits for what is on its way. */
  async stop(): Promise<BothWays> {
    await this.a.ask({ do: 'stop', stream: this.stream });
    await this.b.ask({ do: 'stop', stream: this.stream + 1 });
    return this.settled();
  }

  /** Waits until all that was to be sent has been, and nothing more comes. */
  async settled(): Promise<BothWays> {
    let last = '';
    let since = performance.now();
    for (;;) {
      const sent = [await this.a.counts(this.stream), await this.b.counts(this.stream + 1)];
      const received = await this.received();
      const sending = sent.some((each) => each.sending);
      if (!sending && sent.every((each, at) => each.sent === received[at])) break;
      const now = JSON.stringify([sent, received]);
      if (now !== last) since = performance.now();
      else if (!sending && performance.now() - since > QUIET_MS) break;
      last = now;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return {
      aToB: await report(this.a, this.b, this.stream),
      bToA: await report(this.b, this.a, this.stream + 1),
    };
  }
}

/** Two hosts that can talk: open one pair for many cases, a start of Node takes its time. */
export class Traffic implements AsyncDisposable {
  #streams = 0;

  private constructor(
    private readonly a: Agent,
    private readonly b: Agent,
  ) {}

  static async open(a: TrafficEnd, b: TrafficEnd): Promise<Traffic> {
    const [first, second] = await Promise.all([Agent.start(a), Agent.start(b)]);
    return new Traffic(first, second);
  }

  /** Both ways without end, each numbered for itself. */
  async start(options: FlowOptions & { readonly count?: number } = {}): Promise<Flow> {
    const stream = this.#streams;
    this.#streams += 2;
    const { count } = options;
    const common = {
      do: 'start',
      perSecond: options.perSecond ?? 500,
      bytes: options.bytes ?? 200,
      ...(count === undefined ? {} : { count }),
    };
    const a = options.aAddress ?? this.a.end.address;
    const b = options.bAddress ?? this.b.end.address;
    await this.a.ask({ ...common, stream, from: a, to: b });
    await this.b.ask({ ...common, stream: stream + 1, from: b, to: a });
    return new Flow(this.a, this.b, stream);
  }

  /** So many both ways. Default 50. */
  async transfer(options: FlowOptions & { readonly count?: number } = {}): Promise<BothWays> {
    const flow = await this.start({ ...options, count: options.count ?? 50 });
    return flow.settled();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.a.stop(), this.b.stop()]);
  }
}

/** What `transfer` reports when every datagram came once, in order. */
export function complete(sent: number): TrafficReport {
  return { sent, refused: 0, received: sent, lost: 0, duplicated: 0, reordered: 0, missing: [] };
}
