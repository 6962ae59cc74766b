import type { Milliseconds } from '../clock.js';

/** One moment at which something is due. */
export interface TimerHandle {
  /** Idempotent; after it `run` is not called. */
  cancel(): void;
}

/** A timer in the queue: one object and none besides, for most of what waits does so for hours. */
abstract class Entry implements TimerHandle {
  /** Called off, or over. */
  isOff = false;

  constructor(
    readonly queue: TimerQueue,
    readonly at: Milliseconds,
    readonly order: number,
  ) {}

  abstract run(): void;

  cancel(): void {
    if (this.isOff) return;
    this.isOff = true;
    this.queue.noteCancelled();
  }
}

class SingleEntry extends Entry {
  constructor(
    queue: TimerQueue,
    at: Milliseconds,
    order: number,
    private due: (() => void) | null,
  ) {
    super(queue, at, order);
  }

  override run(): void {
    this.due?.();
  }

  override cancel(): void {
    super.cancel();
    // What it knows is not kept alive by a place in the queue.
    this.due = null;
  }
}

class NamedEntry<T> extends Entry {
  /** The next of its group. */
  next: NamedEntry<T> | null = null;

  constructor(
    queue: TimerQueue,
    at: Milliseconds,
    order: number,
    readonly group: TimerGroup<T>,
    readonly name: string,
    private readonly due: (subject: T) => void,
  ) {
    super(queue, at, order);
  }

  override run(): void {
    this.group.forget(this);
    this.due(this.group.subject);
  }
}

/**
 * The timers of one thing, one at most of each name. What is due is given the thing: one function
 * serves all things of a kind, where a closure for each timer would cost more than the timer.
 */
export class TimerGroup<T> {
  private first: NamedEntry<T> | null = null;

  constructor(
    private readonly queue: TimerQueue,
    readonly subject: T,
  ) {}

  /** Sets the timer of that name, in place of the one before. */
  set(name: string, at: Milliseconds, due: (subject: T) => void): void {
    this.cancel(name);
    const entry = this.queue.addNamed(at, this, name, due);
    entry.next = this.first;
    this.first = entry;
  }

  has(name: string): boolean {
    return this.find(name) !== null;
  }

  cancel(name: string): void {
    const entry = this.find(name);
    if (entry === null) return;
    this.forget(entry);
    entry.cancel();
  }

  /** Cancels all of them. */
  clear(): void {
    for (let entry = this.first; entry !== null; entry = entry.next) entry.cancel();
    this.first = null;
  }

  /** Takes one out that is over. */
  forget(entry: NamedEntry<T>): void {
    if (this.first === entry) {
      this.first = entry.next;
      return;
    }
    for (let before = this.first; before !== null; before = before.next) {
      if (before.next === entry) before.next = entry.next;
    }
  }

  private find(name: string): NamedEntry<T> | null {
    for (let entry = this.first; entry !== null; entry = entry.next) {
      if (entry.name === name) return entry;
    }
    return null;
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

  /** Runs `due` once `at` is reached; moments that are equal keep their order. */
  add(at: Milliseconds, due: () => void): TimerHandle {
    return this.enter(new SingleEntry(this, at, this.made, due));
  }

  /** For {@link TimerGroup}. */
  addNamed<T>(
    at: Milliseconds,
    group: TimerGroup<T>,
    name: string,
    due: (subject: T) => void,
  ): NamedEntry<T> {
    return this.enter(new NamedEntry(this, at, this.made, group, name, due));
  }

  private enter<E extends Entry>(entry: E): E {
    this.made += 1;
    this.heap.push(entry);
    this.rise(this.heap.length - 1);
    return entry;
  }

  /** Called-off entries leave when they come up; a heap that is mostly those is made anew. */
  noteCancelled(): void {
    this.cancelled += 1;
    if (this.cancelled > 64 && this.cancelled > this.heap.length / 2) this.compact();
  }

  /** How many wait. */
  get size(): number {
    return this.heap.length - this.cancelled;
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
      first.isOff = true;
      first.run();
    }
  }

  private dropCancelled(): void {
    while (this.heap[0]?.isOff === true) {
      this.pop();
      this.cancelled -= 1;
    }
  }

  private compact(): void {
    const alive = this.heap.filter(({ isOff }) => !isOff);
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
