/** Network namespaces of this process, named `ipn-<pid>-<name>`, and links between them. */

import { type CommandOptions, type CommandResult, Program, run } from './command.ts';
import { forgetNamespace, NAME_PREFIX, recordNamespace } from './registry.ts';

export class Namespace {
  readonly #programs = new Set<Program>();

  private constructor(
    /** As given. */
    readonly label: string,
    /** As `ip netns` knows it. */
    readonly name: string,
  ) {}

  /** Makes it, with lo up and nothing that depends on time: no DAD, no router advertisements. */
  static async create(label: string): Promise<Namespace> {
    const namespace = new Namespace(label, `${NAME_PREFIX}${label}`);
    recordNamespace(namespace.name);
    await run(['ip', 'netns', 'add', namespace.name]);
    await namespace.sysctl({
      'net.ipv6.conf.all.accept_dad': 0,
      'net.ipv6.conf.default.accept_dad': 0,
      'net.ipv6.conf.all.accept_ra': 0,
      'net.ipv6.conf.default.accept_ra': 0,
      'net.ipv6.conf.default.router_solicitations': 0,
    });
    await namespace.ip('link set lo up');
    return namespace;
  }

  /** One that is made by other means, under its `name`. */
  static named(label: string): Namespace {
    const namespace = new Namespace(label, `${NAME_PREFIX}${label}`);
    recordNamespace(namespace.name);
    return namespace;
  }

  /** The command that runs another one inside. */
  inside(command: readonly string[]): string[] {
    return ['ip', 'netns', 'exec', this.name, ...command];
  }

  /** Runs a program inside, to its end. */
  exec(command: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    return run(this.inside(command), options);
  }

  /** Starts a program inside. Its pid is that of the program. */
  spawn(command: readonly string[], options: CommandOptions = {}): Program {
    const program = new Program(this.inside(command), options);
    this.#programs.add(program);
    return program;
  }

  /** A bash script inside, with -e, -u and pipefail. */
  script(text: string, options: CommandOptions = {}): Promise<CommandResult> {
    return this.exec(['bash', '-euo', 'pipefail', '-c', text], options);
  }

  /** One command of `ip`, as a line; returns what it printed. */
  async ip(line: string): Promise<string> {
    const words = line.split(/\s+/).filter((word) => word !== '');
    return (await run(['ip', '-n', this.name, ...words])).stdout;
  }

  /** Several commands of `ip`, in one process. Stops at the first that fails. */
  async ipBatch(lines: readonly string[]): Promise<void> {
    await run(['ip', '-n', this.name, '-batch', '-'], { input: `${lines.join('\n')}\n` });
  }

  /** Loads an nftables script. */
  async nft(script: string): Promise<void> {
    await this.exec(['nft', '-f', '-'], { input: script });
  }

  async sysctl(settings: Readonly<Record<string, string | number>>): Promise<void> {
    const words = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
    await this.exec(['sysctl', '-q', '-w', ...words]);
  }

  /** True when an ICMP echo is answered. */
  async ping(
    address: string,
    options: { count?: number; timeoutMs?: number } = {},
  ): Promise<boolean> {
    const seconds = String((options.timeoutMs ?? 2_000) / 1000);
    const count = String(options.count ?? 1);
    const command = ['ping', '-n', '-q', '-c', count, '-i', '0.2', '-W', seconds, address];
    return (await this.exec(command, { anyStatus: true })).status === 0;
  }

  /** Ends what runs inside and removes it. Idempotent. */
  async remove(): Promise<void> {
    // One that has not entered the namespace yet is not among its pids.
    for (const program of this.#programs) program.signal('SIGKILL');
    this.#programs.clear();
    const { stdout } = await run(['ip', 'netns', 'pids', this.name], { anyStatus: true });
    for (const pid of stdout.split(/\s+/).filter((word) => word !== '')) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It ended in between.
      }
    }
    await run(['ip', 'netns', 'del', this.name], { anyStatus: true });
    forgetNamespace(this.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }
}

export interface LinkEnd {
  readonly namespace: Namespace;
  /** Name of the device inside; at most 15 characters. */
  readonly device: string;
  /** With prefix length, such as `10.1.0.1/24`. */
  readonly addresses: readonly string[];
}

/** A veth pair between two namespaces, both ends up, addresses usable at once. */
export async function connect(a: LinkEnd, b: LinkEnd, mtu = 1500): Promise<void> {
  await a.namespace.ip(
    `link add ${a.device} mtu ${mtu} type veth peer name ${b.device} mtu ${mtu} netns ${b.namespace.name}`,
  );
  for (const end of [a, b]) {
    await end.namespace.ipBatch([
      `link set dev ${end.device} up`,
      ...end.addresses.map((address) => {
        const nodad = address.includes(':') ? ' nodad' : '';
        return `addr add ${address} dev ${end.device}${nodad}`;
      }),
    ]);
  }
}
