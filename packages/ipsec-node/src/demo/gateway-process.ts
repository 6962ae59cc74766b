/** A gateway of the demo: `ipsec-node up` in a namespace, asked over its control socket. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { systemClock } from '../clock.js';
import { ViciClient } from '../daemon/vici/client.js';
import { decodeCounters, decodeSa, type SaRow } from '../daemon/vici/own-messages.js';
import { ResourceError } from '../errors.js';
import { TIED } from './namespace.js';

const MAIN = fileURLToPath(new URL('../cli/main.js', import.meta.url));
const READY_MS_MAX = 20_000;
const STOP_MS_MAX = 3_000;
const OUTPUT_LEN_MAX = 8192;

/** One policy with its SA pair. */
export interface ProtectedPair {
  readonly policy: string;
  readonly local: string;
  readonly remote: string;
  readonly padToBytes: number | null;
  readonly inbound: { readonly spi: number; readonly key: Uint8Array };
  readonly outbound: { readonly spi: number; readonly key: Uint8Array };
}

/** What makes one gateway differ from the other. */
export interface GatewayPlan {
  readonly name: string;
  readonly folder: string;
  readonly suite: string;
  readonly local: string;
  readonly remote: string;
  readonly pairs: readonly ProtectedPair[];
}

const faultLine = z.object({ error: z.object({ message: z.string() }) });
const readyLine = z.object({ event: z.literal('ready'), mtu: z.number() });

/** Counters by name. */
export type Counts = Readonly<Record<string, bigint>>;

/** A running gateway. */
export class GatewayProcess {
  private output = '';
  private ended = false;
  private readonly exited: Promise<void>;
  private readonly control: string;
  /** The MTU of its tunnel interface, once it is ready. */
  mtuBytes = 0;

  private constructor(
    readonly plan: GatewayPlan,
    private readonly child: ChildProcess,
  ) {
    this.control = controlOf(plan);
    this.exited = new Promise((resolve) => {
      const end = (): void => {
        this.ended = true;
        resolve();
      };
      child.once('error', (error) => {
        this.output += error.message;
        end();
      });
      child.once('close', end);
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.output = `${this.output}${text}`.slice(-OUTPUT_LEN_MAX);
    });
  }

  /** Writes its files and starts it in the namespace of a process. */
  static start(plan: GatewayPlan, namespacePid: number): GatewayProcess {
    const file = writeFiles(plan);
    const enter = ['nsenter', `--net=/proc/${namespacePid}/ns/net`];
    const command = [process.execPath, MAIN, 'up', '-c', file, '--json'];
    const [program, ...words] = [...TIED, ...enter, ...command];
    const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    return new GatewayProcess(plan, child);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Waits for its ready line. */
  async ready(): Promise<void> {
    this.mtuBytes = await new Promise<number>((resolve, reject) => {
      let text = '';
      const timer = systemClock.schedule(READY_MS_MAX, () =>
        reject(this.fault('is not ready in time')),
      );
      this.child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        const ready = readyLine.safeParse(jsonOf(text));
        if (!ready.success) return;
        timer.cancel();
        resolve(ready.data.mtu);
      });
      void this.exited.then(() => {
        timer.cancel();
        reject(this.fault(`does not start: ${reasonOf(text)}`));
      });
    });
  }

  /** How many packets were refused, by reason. */
  async drops(): Promise<Counts> {
    return this.asking(async (client) => {
      const { reply } = await client.stream('ipsec-node-counters', 'ipsec-node-sa-drops');
      return decodeCounters(reply).drops;
    });
  }

  /** One SA. */
  async sa(spi: number): Promise<SaRow> {
    const rows = await this.asking(async (client) =>
      (await client.collect('ipsec-node-sas', 'ipsec-node-sa')).map(decodeSa),
    );
    const row = rows.find((each) => each.spi === spi);
    if (row === undefined) throw this.fault('has lost an SA');
    return row;
  }

  /** Ends it at once, as a crash would. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  /** Stops it in order, or at once where that takes too long. Idempotent. */
  async stop(): Promise<void> {
    if (this.ended) return;
    this.child.kill('SIGTERM');
    const timer = systemClock.schedule(STOP_MS_MAX, () => this.child.kill('SIGKILL'));
    await this.exited;
    timer.cancel();
  }

  private async asking<T>(work: (client: ViciClient) => Promise<T>): Promise<T> {
    const client = await ViciClient.connect(this.control);
    try {
      return await work(client);
    } finally {
      client.close();
    }
  }

  private fault(why: string): ResourceError {
    const said = this.output.trim();
    return new ResourceError(
      'IPSEC_ERR_HOST',
      `${this.plan.name} ${why}${said === '' ? '' : `\n${said}`}`,
    );
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What a gateway that ended has to say for itself. */
function reasonOf(output: string): string {
  const fault = faultLine.safeParse(jsonOf(output));
  return fault.success ? fault.data.error.message : output.trim();
}

function controlOf({ folder, name }: GatewayPlan): string {
  return join(folder, `${name}.vici`);
}

function writeFiles(plan: GatewayPlan): string {
  const { folder, name, suite, local, remote, pairs } = plan;
  mkdirSync(join(folder, name, 'state'), { mode: 0o700, recursive: true });
  const keyFile = (file: string, key: Uint8Array): { readonly file: string } => {
    const path = join(folder, name, file);
    writeFileSync(path, key, { mode: 0o600 });
    return { file: path };
  };
  const config = {
    gateway: {
      name,
      laboratory: true,
      control: controlOf(plan),
      state: join(folder, name, 'state'),
      unprotected: ['wan'],
      protected: ['lan'],
    },
    policies: [
      ...pairs.map((pair) => ({
        name: pair.policy,
        local: pair.local,
        remote: pair.remote,
        action: 'protect',
        ...(pair.padToBytes === null ? {} : { tfc: { padTo: pair.padToBytes } }),
      })),
      { name: 'everything-else', action: 'discard' },
    ],
    associations: pairs.map(({ policy, inbound, outbound }) => ({
      policy,
      suite,
      local,
      remote,
      inbound: { spi: inbound.spi, key: keyFile(`${policy}-in.key`, inbound.key) },
      outbound: { spi: outbound.spi, key: keyFile(`${policy}-out.key`, outbound.key) },
    })),
  };
  const path = join(folder, `${name}.yaml`);
  writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
  return path;
}
