/**
 * What the work on signatures and certificates has besides its task: a clock, and the rules and the
 * memory of what it fetches. One for each thread.
 */
import { type Clock, type Milliseconds, systemClock } from '../../clock.js';
import { FetchCache } from './fetch-cache.js';

export interface AuthContext {
  readonly clock: Clock;
  /** Whether CRLs, OCSP answers and certificates are fetched from private and local addresses. */
  readonly allowPrivateTargets: boolean;
  readonly cache: FetchCache;
}

/** Bounds of one fetch, and of what is kept. */
export const FETCH_LIMITS = {
  timeoutMs: 3_000 as Milliseconds,
  bytesMax: 1024 * 1024,
  redirectsMax: 2,
  /** Answers kept, and their bytes together. */
  cacheEntriesMax: 256,
  cacheBytesMax: 16 * 1024 * 1024,
  /** A failed fetch is not tried again for this long: a dead server costs one wait, not each peer's. */
  failureMs: 30_000 as Milliseconds,
  /** What says nothing of its end is kept this long; and no more than this, whatever it says. */
  keepMs: 300_000 as Milliseconds,
  keepMsMax: 86_400_000 as Milliseconds,
} as const;

/** A context with nothing remembered. */
export function createAuthContext(
  options: { readonly clock?: Clock; readonly allowPrivateTargets?: boolean } = {},
): AuthContext {
  return {
    clock: options.clock ?? systemClock,
    allowPrivateTargets: options.allowPrivateTargets ?? false,
    cache: new FetchCache(FETCH_LIMITS.cacheEntriesMax, FETCH_LIMITS.cacheBytesMax),
  };
}
