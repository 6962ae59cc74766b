import { Worker } from 'node:worker_threads';
import type { ComputeResult, ComputeTask } from '../../ike/compute.js';
import { type ComputeSettings, isWaiting } from './compute-task.js';
import { packTask, type WorkerReply, type WorkerRequest, wipeTask } from './compute-wire.js';

/**
 * Bounds of the pool. Computing and waiting for servers have lanes of their own, so that a peer
 * whose OCSP responder never answers holds up no key exchange.
 */
export const COMPUTE_LIMITS = {
  /** Tasks that a worker has at hand: one that it does and one that it need not wait for. */
  computingPerWorker: 2,
  computingQueue: 512,
  /** Tasks of a worker that wait for the network; meanwhile it computes. */
  waitingPerWorker: 8,
  waitingQueue: 128,
} as const;

export interface ComputePoolOptions {
  /** Threads at most; all but the first start when there is something to do. */
  readonly threads: number;
  /** Whether what peers' certificates name may be fetched from private addresses; false. */
  readonly allowPrivateTargets?: boolean;
  /** What the threads run; the compiled file next to this one unless given. */
  readonly worker?: URL;
}

/** What the pool did since it was made. */
export interface ComputePoolCounters {
  readonly done: number;
  /** Refused because a queue was full. */
  readonly full: number;
  /** Workers that ended by themselves. */
  readonly died: number;
}

interface Job {
  readonly task: ComputeTask;
  readonly lane: Lane;
  readonly answer: (result: ComputeResult) => void;
}

interface Lane {
  readonly perWorker: number;
  readonly queueMax: number;
  readonly queue: Job[];
}

interface Member {
  readonly worker: Worker;
  readonly jobs: Map<number, Job>;
}

/**
 * Threads that do the slow work of IKE: key exchanges, signatures, certificates. Each task gets
 * exactly one answer, also when its thread dies or the pool is closed.
 */
export class ComputePool {
  private readonly computing: Lane = {
    perWorker: COMPUTE_LIMITS.computingPerWorker,
    queueMax: COMPUTE_LIMITS.computingQueue,
    queue: [],
  };
  private readonly waiting: Lane = {
    perWorker: COMPUTE_LIMITS.waitingPerWorker,
    queueMax: COMPUTE_LIMITS.waitingQueue,
    queue: [],
  };
  private readonly members = new Set<Member>();
  private readonly count = { done: 0, full: 0, died: 0 };
  private nextId = 0;
  private isClosed = false;

  constructor(private readonly options: ComputePoolOptions) {
    if (!Number.isInteger(options.threads) || options.threads < 1) {
      throw new RangeError('A compute pool has at least one thread.');
    }
  }

  counters(): ComputePoolCounters {
    return { ...this.count };
  }

  /** Starts the first thread, so that the first task does not wait for it. Idempotent. */
  start(): void {
    if (!this.isClosed && this.members.size === 0) this.addMember();
  }

  /**
   * Does a task. Never rejects. The private value of `agree` is consumed: where it is bytes, they
   * are zero when the answer comes, whatever it is.
   */
  run(task: ComputeTask): Promise<ComputeResult> {
    const lane = isWaiting(task) ? this.waiting : this.computing;
    if (this.isClosed || lane.queue.length >= lane.queueMax) {
      wipeTask(task);
      if (!this.isClosed) this.count.full += 1;
      return Promise.resolve(refused(this.isClosed ? CLOSED : FULL));
    }
    return new Promise((answer) => {
      lane.queue.push({ task, lane, answer });
      this.assign(lane);
    });
  }

  /** Refuses what is not done yet and ends the threads. Idempotent. */
  async close(): Promise<void> {
    this.isClosed = true;
    const members = [...this.members];
    this.members.clear();
    for (const lane of [this.computing, this.waiting]) {
      for (const job of lane.queue.splice(0)) {
        wipeTask(job.task);
        job.answer(refused(CLOSED));
      }
    }
    for (const member of members) refuseAll(member, CLOSED);
    await Promise.all(members.map(({ worker }) => worker.terminate()));
  }

  /** Hands queued tasks of a lane to workers that have room. */
  private assign(lane: Lane): void {
    for (;;) {
      const [job] = lane.queue;
      if (job === undefined) return;
      const member = this.memberFor(lane);
      if (member === null) return;
      lane.queue.shift();
      this.send(member, job);
    }
  }

  /** The worker with the least of this lane, a new one where all have some; null: no room. */
  private memberFor(lane: Lane): Member | null {
    let best: Member | null = null;
    let least = lane.perWorker;
    for (const member of this.members) {
      let used = 0;
      for (const job of member.jobs.values()) if (job.lane === lane) used += 1;
      if (used < least) {
        best = member;
        least = used;
      }
    }
    const isIdle = best !== null && least === 0;
    return isIdle || this.members.size >= this.options.threads ? best : this.addMember();
  }

  private addMember(): Member {
    const url = this.options.worker ?? new URL('./compute-worker.js', import.meta.url);
    const settings: ComputeSettings = {
      allowPrivateTargets: this.options.allowPrivateTargets ?? false,
    };
    const worker = new Worker(url, { name: 'ipsec-ike', workerData: settings });
    const member: Member = { worker, jobs: new Map() };
    this.members.add(member);
    worker.on('message', ({ id, result }: WorkerReply) => this.handleReply(member, id, result));
    // `exit` follows `error`; without a listener the process would end.
    worker.on('error', () => undefined);
    worker.on('exit', () => this.handleExit(member));
    return member;
  }

  private send(member: Member, job: Job): void {
    const id = this.nextId;
    this.nextId += 1;
    const { content, moved } = packTask(job.task);
    const request: WorkerRequest = { id, task: content };
    try {
      member.worker.postMessage(request, moved);
      member.jobs.set(id, job);
    } catch {
      job.answer(refused('The work cannot be handed to a thread.'));
    }
  }

  private handleReply(member: Member, id: number, result: ComputeResult): void {
    const job = member.jobs.get(id);
    if (job === undefined) return;
    member.jobs.delete(id);
    this.count.done += 1;
    this.assign(job.lane);
    job.answer(result);
  }

  /** A worker that ended by itself; another starts when there is something to do. */
  private handleExit(member: Member): void {
    if (!this.members.delete(member)) return;
    this.count.died += 1;
    refuseAll(member, 'The thread that did this work has ended.');
    this.assign(this.computing);
    this.assign(this.waiting);
  }
}

const FULL = 'Too much work is waiting.';
const CLOSED = 'The gateway is closing.';

/** None of what this pool refuses is the fault of what was asked. */
function refused(reason: string): ComputeResult {
  return { kind: 'refused', reason, isBusy: true };
}

function refuseAll(member: Member, reason: string): void {
  for (const job of member.jobs.values()) job.answer(refused(reason));
  member.jobs.clear();
}
