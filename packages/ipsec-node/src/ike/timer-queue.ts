import type { Milliseconds } from '../clock.js';

/** One moment at which something is due. */
export interface TimerHandle {
  /** Idempotent; after it `run` is not called. */
  cancel(): void;
}

class Entry implements TimerHandle {
  constructor(
    readonly at: Milliseconds,
    readonly order: number,
    public run: (() => void) | null,
    private readonly onCancel: () => void,
  ) {}

  cancel(): void {
    if (this.run === null) return;
    this.run = null;
    this.onCancel();
  }
}

/**
 * What is due when: a binary heap. It holds no timer of the system; whoever drives the machine asks
 * for {@link next} and calls {@link runDue}.
 */
export class TimerQueue {
  private readonly heap: Entry[] = [];
  private made = 0;
  private cancelled = 0;

  /** Runs `run` once `at` is reached; moments that are equal keep their order. */
  add(at: Milliseconds, run: () => void): TimerHandle {
    const entry = new Entry(at, this.made, run, () => {
      this.cancelled += 1;
      // Called-off entries leave when they come up; a heap that is mostly those is made anew.
      if (this.cancelled > 64 && this.cancelled > this.heap.length / 2) this.compact();
    });
    this.made += 1;
    this.heap.push(entry);
    this.rise(this.heap.length - 1);
    return entry;
  }

  /** How many wait. */
  get size(): number {
    return this.heap.reduce((sum, { run }) => sum + (run === null ? 0 : 1), 0);
  }

  /** The first moment at which something is due; null: nothing is. */
  next(): Milliseconds | null {
    this.dropCancelled();
    return this.heap[0]?.at ?? null;
  }

  /** Runs all that is due at `now`, in order. */
  runDue(now: Milliseconds): void {
    for (;;) {
      this.dropCancelled();
      const first = this.heap[0];
      if (first === undefined || first.at > now) return;
      this.pop();
      const run = first.run;
      first.run = null;
      run?.();
    }
  }

  private dropCancelled(): void {
    while (this.heap[0]?.run === null) {
      this.pop();
      this.cancelled -= 1;
    }
  }

  private compact(): void {
    const alive = this.heap.filter((entry) => entry.run !== null);
    this.heap.length = 0;
    this.cancelled = 0;
    for (const entry of alive) {
      this.heap.push(entry);
      this.rise(this.heap.length - 1);
    }
  }

  private pop(): void {
    const last = this.heap.pop();
    if (last === undefined || this.heap.length === 0) return;
    this.heap[0] = last;
    this.sink();
  }

  private rise(start: number): void {
    let index = start;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.isBefore(index, parent)) return;
      this.swap(index, parent);
      index = parent;
    }
  }

  private sink(): void {
    let index = 0;
    for (;;) {
      const left = index * 2 + 1;
      const smaller =
        left + 1 < this.heap.length && this.isBefore(left + 1, left) ? left + 1 : left;
      if (smaller >= this.heap.length || !this.isBefore(smaller, index)) return;
      this.swap(index, smaller);
      index = smaller;
    }
  }

  private isBefore(a: number, b: number): boolean {
    const [x, y] = [this.heap[a], this.heap[b]];
    if (x === undefined || y === undefined) return false;
    return x.at < y.at || (x.at === y.at && x.order < y.order);
  }

  private swap(a: number, b: number): void {
    const [x, y] = [this.heap[a], this.heap[b]];
    if (x === undefined || y === undefined) return;
    this.heap[a] = y;
    this.heap[b] = x;
  }
}
