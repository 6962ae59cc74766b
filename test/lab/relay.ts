/**
 * A lossy path in user space, in a router between two peers without NAT: every datagram of UDP 500
 * and 4500 goes through a program of ours that loses, doubles, delays and reorders by rule or by
 * chance, the same each time for the same seed. The peers see each other's own addresses.
 */

import { type Program, until } from './command.ts';
import type { Namespace } from './namespace.ts';
import { nodeProgram, parseLine } from './node-program.ts';
import type { Relayed, RelayRule } from './relay-program.ts';

export type { Relayed, RelayRule } from './relay-program.ts';

export interface RelayOptions {
  /** Routes between the two; its device towards B is `wire-b`. */
  readonly router: Namespace;
  /** IPv4 addresses of the peers. */
  readonly a: string;
  readonly b: string;
}

export interface RelayBehaviour {
  /** The first that matches decides; what none decides is left to chance. */
  readonly rules?: readonly RelayRule[];
  readonly seed?: number;
  /** Shares of 1; each datagram waits up to `delayMs`. */
  readonly random?: { readonly drop?: number; readonly double?: number; readonly delayMs?: number };
}

const START_MS = 60_000;
const TABLE = 'ip relay';

function ruleset({ a, b }: RelayOptions): string {
  return `
    table ${TABLE} {
      chain in {
        type nat hook prerouting priority -110;
        ip saddr ${a} ip daddr ${b} udp dport 500 redirect to :10500
        ip saddr ${a} ip daddr ${b} udp dport 4500 redirect to :14500
        ip saddr ${b} ip daddr ${a} udp dport 500 redirect to :20500
        ip saddr ${b} ip daddr ${a} udp dport 4500 redirect to :24500
      }
      chain out {
        type nat hook postrouting priority 90;
        ip daddr ${b} udp sport 20500 snat to ${a}:500
        ip daddr ${b} udp sport 24500 snat to ${a}:4500
        ip daddr ${a} udp sport 10500 snat to ${b}:500
        ip daddr ${a} udp sport 14500 snat to ${b}:4500
      }
    }`;
}

export class Relay implements AsyncDisposable {
  #answers = 1;

  private constructor(
    private readonly options: RelayOptions,
    private readonly program: Program,
  ) {}

  /** Passes everything until it is told otherwise. Flows that exist already are taken over. */
  static async start(options: RelayOptions): Promise<Relay> {
    const command = await nodeProgram('test/lab/relay-program', options.a, options.b);
    const program = options.router.spawn(command);
    await program.line(1, START_MS);
    await options.router.nft(ruleset(options));
    const relay = new Relay(options, program);
    await relay.#forgetFlows();
    return relay;
  }

  async behave(behaviour: RelayBehaviour): Promise<void> {
    await this.#ask({ do: 'rules', ...behaviour });
  }

  /** What passed since the last call, in order of arrival. */
  async seen(): Promise<readonly Relayed[]> {
    const list = parseLine(await this.#ask({ do: 'seen' })).get('seen');
    return (Array.isArray(list) ? list : []).map((each: unknown) => relayed(each));
  }

  /** The path is direct again. */
  async stop(): Promise<void> {
    await this.options.router.nft(`delete table ${TABLE}\n`);
    await this.#forgetFlows();
    await this.program.stop('SIGKILL');
    await until('the relay has ended', () => !this.program.running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.program.running) await this.stop();
  }

  async #forgetFlows(): Promise<void> {
    await this.options.router.exec(['conntrack', '-F'], { anyStatus: true });
  }

  #ask(command: Readonly<Record<string, unknown>>): Promise<string> {
    this.#answers += 1;
    this.program.write(`${JSON.stringify(command)}\n`);
    return this.program.line(this.#answers, START_MS);
  }
}

const ACTIONS = ['pass', 'drop', 'double', 'delay', 'swap'] as const;

function relayed(value: unknown): Relayed {
  const fields = parseLine(JSON.stringify(value));
  const action = ACTIONS.find((each) => each === fields.get('action'));
  if (action === undefined) throw new Error(`no action in ${JSON.stringify(value)}`);
  return {
    from: fields.get('from') === 'a' ? 'a' : 'b',
    port: fields.get('port') === 500 ? 500 : 4500,
    bytes: Number(fields.get('bytes')),
    ...(fields.has('exchange')
      ? {
          exchange: Number(fields.get('exchange')),
          messageId: Number(fields.get('messageId')),
          response: fields.get('response') === true,
          fragment: fields.get('fragment') === true,
        }
      : {}),
    action,
  };
}
