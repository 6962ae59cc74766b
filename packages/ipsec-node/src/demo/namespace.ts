/** A network namespace with an agent in it. Both end together. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';
import { systemClock } from '../clock.js';
import { InternalError, ResourceError } from '../errors.js';
import { answerMessage, type Verb } from './agent-protocol.js';

const AGENT = fileURLToPath(new URL('./agent.js', import.meta.url));
/** How long an agent may take for an answer, unless the question says more. */
const ANSWER_MS_MAX = 15_000;
const READY_ID = 0;
const OUTPUT_LEN_MAX = 4096;

/** In front of a command: the kernel ends it when this process ends, even by SIGKILL. */
export const TIED = ['setpriv', '--pdeathsig', 'KILL', '--'] as const;

interface Pending {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** One namespace. */
export class Namespace {
  private readonly pending = new Map<number, Pending>();
  private nextId = READY_ID + 1;
  private output = '';
  private ended = false;
  /** Resolves when the agent has ended, and with it the last process of the namespace. */
  readonly exited: Promise<void>;

  private constructor(
    readonly name: string,
    private readonly child: ChildProcess,
  ) {
    this.exited = new Promise((resolve) => {
      const end = (): void => {
        this.ended = true;
        for (const each of this.pending.values()) each.reject(this.gone());
        this.pending.clear();
        resolve();
      };
      child.once('error', (error) => {
        this.output += error.message;
        end();
      });
      // Not 'close': after a disconnect from this side it does not come.
      child.once('exit', end);
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.output = `${this.output}${text}`.slice(-OUTPUT_LEN_MAX);
    });
    child.on('message', (message) => this.take(message));
  }

  /** Makes a namespace and waits for its agent. */
  static async open(name: string): Promise<Namespace> {
    const [program, ...words] = [...TIED, 'unshare', '--net', process.execPath, AGENT];
    const child = spawn(program, words, {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'advanced',
    });
    const namespace = new Namespace(name, child);
    await namespace.wait(READY_ID, ANSWER_MS_MAX);
    return namespace;
  }

  /** Of the agent, which is in the namespace. */
  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** What the kernel calls it: `net:[4026531840]`. */
  get identity(): string {
    return readlinkSync(`/proc/${this.pid}/ns/net`);
  }

  /** Asks the agent. */
  async ask<Ask extends z.ZodType, Answer extends z.ZodType>(
    verb: Verb<Ask, Answer>,
    ask: z.input<Ask>,
    timeoutMs = ANSWER_MS_MAX,
  ): Promise<z.output<Answer>> {
    const id = this.nextId;
    this.nextId += 1;
    const answered = this.wait(id, timeoutMs);
    if (!this.ended) this.child.send({ id, verb: verb.name, ask });
    return verb.answer.parse(await answered);
  }

  /** Ends the agent. Idempotent. */
  async close(): Promise<void> {
    if (!this.ended && this.child.connected) this.child.disconnect();
    const timer = systemClock.schedule(1000, () => this.child.kill('SIGKILL'));
    await this.exited;
    timer.cancel();
  }

  private wait(id: number, timeoutMs: number): Promise<unknown> {
    if (this.ended) return Promise.reject(this.gone());
    return new Promise((resolve, reject) => {
      const timer = systemClock.schedule(timeoutMs, () => {
        this.pending.delete(id);
        reject(new InternalError('IPSEC_ERR_INTERNAL', `${this.name} does not answer`));
      });
      this.pending.set(id, {
        resolve: (answer) => {
          timer.cancel();
          resolve(answer);
        },
        reject: (error) => {
          timer.cancel();
          reject(error);
        },
      });
    });
  }

  private take(message: unknown): void {
    const { id, ...content } = answerMessage.parse(message);
    const pending = this.pending.get(id);
    this.pending.delete(id);
    if (content.fault === undefined) pending?.resolve(content.answer);
    else pending?.reject(new ResourceError('IPSEC_ERR_HOST', `${this.name}: ${content.fault}`));
  }

  private gone(): Error {
    const said = this.output.trim();
    return new ResourceError(
      'IPSEC_ERR_HOST',
      `The namespace of ${this.name} is gone${said === '' ? '' : `: ${said}`}`,
    );
  }
}
