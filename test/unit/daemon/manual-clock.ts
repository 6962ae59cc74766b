import type { Clock } from '../../../packages/ipsec-node/src/clock.js';

/** A clock that moves when it is told to. */
export class ManualClock implements Clock {
  private time = 0;
  private readonly timers = new Map<symbol, { at: number; callback: () => void }>();

  now(): number {
    return this.time;
  }

  wallTime(): Date {
    return new Date(Date.UTC(2026, 0, 1) + this.time);
  }

  schedule(after: number, callback: () => void): { cancel(): void } {
    const key = Symbol('timer');
    this.timers.set(key, { at: this.time + after, callback });
    return { cancel: () => void this.timers.delete(key) };
  }

  sleep(span: number): Promise<void> {
    return new Promise((resolve) => this.schedule(span, resolve));
  }

  /** How many timers wait. */
  get pending(): number {
    return this.timers.size;
  }

  /** Lets time pass and runs what is due, in order. */
  advance(span: number): void {
    const end = this.time + span;
    for (;;) {
      const due = [...this.timers].filter(([, timer]) => timer.at <= end);
      const [next] = due.sort(([, a], [, b]) => a.at - b.at);
      if (next === undefined) break;
      this.time = next[1].at;
      this.timers.delete(next[0]);
      next[1].callback();
    }
    this.time = end;
  }
}
