import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Program } from '../../test/lab/command.ts';
import { connect, Namespace } from '../../test/lab/namespace.ts';
import { numberAt, textAt, valueAt } from '../json.js';
import type { Outcome } from './initiators.js';
import type { IkeResponder, RunningResponder } from './responder.js';
import { INITIATOR_ADDRESS, INSIDE, RESPONDER_ADDRESS, SOURCE_NETWORK } from './scene.js';

const TICKS_PER_SECOND = 100;
const CPUS = { initiators: 0, responder: 1 } as const;
const program = fileURLToPath(new URL('./initiators-program.js', import.meta.url));

/** One responder and its initiators, each in a namespace and on a processor of its own. */
export class Ground {
  private lines = 1;

  private constructor(
    private readonly near: Namespace,
    private readonly far: Namespace,
    readonly responder: RunningResponder,
    private readonly initiators: Program,
  ) {}

  static async open(kind: IkeResponder, label: string, peerCount: number): Promise<Ground> {
    const near = await Namespace.create(`i${label}`);
    const far = await Namespace.create(`r${label}`);
    try {
      await connect(
        { namespace: near, device: 'wan0', addresses: [`${INITIATOR_ADDRESS}/24`] },
        { namespace: far, device: 'wan0', addresses: [`${RESPONDER_ADDRESS}/24`] },
      );
      await near.ip(`route add local ${SOURCE_NETWORK} dev lo`);
      await far.ip(`route add ${SOURCE_NETWORK} via ${INITIATOR_ADDRESS}`);
      await far.ip('link add lan0 type veth peer name lan1');
      await far.ip('link set lan0 up');
      await far.ip('link set lan1 up');
      await far.ip(`addr add ${INSIDE.prefix.replace('.0/', '.1/')} dev lan0`);
      const responder = await kind.start({ namespace: far, cpu: CPUS.responder });
      const initiators = near.spawn([
        ...['taskset', '-c', String(CPUS.initiators)],
        ...[process.execPath, program, String(peerCount)],
      ]);
      await initiators.line(1, 30_000);
      return new Ground(near, far, responder, initiators);
    } catch (error) {
      await near.remove();
      await far.remove();
      throw error;
    }
  }

  /** User and system time of the responder, all its threads. Fields 14 and 15 of /proc/PID/stat. */
  cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.responder.pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  /** Resident memory of the responder, the whole process. */
  residentBytes(): number {
    const status = readFileSync(`/proc/${this.responder.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s*(\d+) kB$/m.exec(status)?.[1]) * 1024;
  }

  connect(count: number, inFlight: number): Promise<Outcome> {
    return this.outcome({ do: 'connect', count, inFlight });
  }

  rekey(count: number, overMs: number): Promise<Outcome> {
    return this.outcome({ do: 'rekey', count, overMs });
  }

  async held(): Promise<number> {
    return numberAt(await this.ask({ do: 'held' }), 'held') ?? 0;
  }

  private async outcome(command: unknown): Promise<Outcome> {
    const answer = await this.ask(command);
    const [done, failed, seconds, cpuSeconds] = ['done', 'failed', 'seconds', 'cpuSeconds'].map(
      (name) => numberAt(answer, name),
    );
    if (
      done === undefined ||
      failed === undefined ||
      seconds === undefined ||
      cpuSeconds === undefined
    ) {
      throw new Error(`the initiators answered ${JSON.stringify(answer)}`);
    }
    return { done, failed, seconds, cpuSeconds, reason: textAt(answer, 'reason') ?? null };
  }

  private async ask(command: unknown): Promise<unknown> {
    this.lines += 1;
    this.initiators.write(`${JSON.stringify(command)}\n`);
    const line = await this.initiators.line(this.lines, 600_000).catch((error: unknown) => {
      const fault = this.responder.fault();
      throw fault === null ? error : new Error(`the responder ended:\n${fault}`);
    });
    const answer: unknown = JSON.parse(line);
    const fault = textAt(answer, 'error');
    if (fault !== undefined || valueAt(answer) === null) throw new Error(fault ?? line);
    return answer;
  }

  async close(): Promise<void> {
    // The responder would wait for its peers to answer its Deletes.
    await this.responder.stop();
    await this.initiators.stop();
    await this.near.remove();
    await this.far.remove();
  }
}
