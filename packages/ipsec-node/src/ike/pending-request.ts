/** A request that waits for its answer, and how long it is sent again (RFC 7296 section 2.4). */
import type { Milliseconds } from '../clock.js';
import type { StepResult } from './exchange/step.js';
import type { IkeLimits } from './limits.js';
import type { ExchangeName } from './payload/payload.js';
import type { TimerHandle } from './timer-queue.js';

export interface PendingRequest {
  readonly messageId: number;
  readonly exchange: ExchangeName;
  readonly datagrams: readonly Uint8Array[];
  readonly resume: (result: StepResult) => void;
  attempts: number;
  /** Somebody said, unprotected, that the peer knows no such IKE SA. */
  isDoubted: boolean;
  timer: TimerHandle;
}

/** At this try the operator is told: until then it may be a lost packet. */
export const TOLD_TRY = 4;

/** How long to wait after the last try. */
export function waitAfter({ attempts }: PendingRequest, limits: IkeLimits): Milliseconds {
  const wait = limits.retransmitMs * limits.retransmitBase ** (attempts - 1);
  return Math.min(wait, limits.retransmitWaitMs);
}

/** How often a request is sent again before its IKE SA is given up. */
export function triesMax(
  { exchange, isDoubted }: PendingRequest,
  sa: { readonly phase: string; readonly hasOtherPath: boolean },
  limits: IkeLimits,
): number {
  // Who is being told that this IKE SA ends need not be told for long: it has its own ways to find
  // out, and traffic waits for what comes after. So it does where the peer has another address.
  if (sa.phase === 'deleting') return limits.deleteTriesMax;
  if (exchange === 'IKE_SA_INIT' && sa.hasOtherPath) return limits.otherPathTriesMax;
  return isDoubted ? limits.doubtedTriesMax : limits.retransmitMax;
}
