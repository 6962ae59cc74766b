/**
 * Time as an argument. This file holds the only use of the system clock and of timers in the
 * control plane; everything else is handed a {@link Clock}.
 */

declare const unit: unique symbol;

/** Milliseconds; either a span or, from {@link Clock.now}, a monotonic reading. */
export type Milliseconds = number & { readonly [unit]?: 'milliseconds' };
/** Seconds. */
export type Seconds = number & { readonly [unit]?: 'seconds' };
/** Bytes. */
export type Bytes = number & { readonly [unit]?: 'bytes' };

/** A timer that can be called off. */
export interface Timer {
  /** Idempotent; after it the callback does not run. */
  cancel(): void;
}

export interface Clock {
  /** Monotonic; differences mean something, the value itself does not. */
  now(): Milliseconds;
  /** Wall-clock time for logs and audit records; may jump. */
  wallTime(): Date;
  /** Runs `callback` once, not before `after` has passed. Does not keep the process alive. */
  schedule(after: Milliseconds, callback: () => void): Timer;
  /** Resolves after `span` has passed. Keeps the process alive while it waits. */
  sleep(span: Milliseconds): Promise<void>;
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallTime: () => new Date(),
  schedule: (after, callback) => {
    const timer = setTimeout(callback, after);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  sleep: (span) =>
    new Promise((resolve) => {
      setTimeout(resolve, span);
    }),
};
