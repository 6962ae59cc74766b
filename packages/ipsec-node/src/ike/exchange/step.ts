/**
 * An exchange is a generator: it reads from top to bottom like the arrows of RFC 7296, and where it
 * has to wait (for a computation, for SAs to be installed, for the peer) it yields a {@link Step}
 * and is resumed with the outcome. Whoever drives it decides when, so nothing here waits.
 */
import type { ComputeResult, ComputeTask } from '../compute.js';
import type { Effect, EffectResult, SaUse } from '../action.js';
import type { ExchangeName, Payload, ReceivedMessage } from '../payload/payload.js';
import type { SaIdentifier, SaParameters } from '../../sad/sa.js';
import { InternalError, IpsecError } from '../../errors.js';
import { formatNotify } from '../notify.js';

export type Step =
  | { readonly kind: 'effect'; readonly effect: Effect }
  | {
      readonly kind: 'request';
      readonly exchange: ExchangeName;
      readonly payloads: readonly Payload[];
    };

export type StepResult =
  | { readonly kind: 'effect'; readonly result: EffectResult }
  | {
      readonly kind: 'response';
      readonly payloads: readonly Payload[];
      /** The message as it came; of a reassembled one the last fragment that came. */
      readonly message: ReceivedMessage;
    };

/** What came back to a request. */
export type Response = Extract<StepResult, { readonly kind: 'response' }>;

/** What a request is answered with, and what is done once the answer is on its way. */
export interface Reply {
  readonly payloads: readonly Payload[];
  readonly after?: () => void;
}

/** One side of one exchange. */
export type Exchange<T> = Generator<Step, T, StepResult>;

/**
 * Ends an exchange: `notify` is what the peer is told where it asked (null: nothing), `fatal`
 * whether the IKE SA ends with it.
 */
export class ExchangeRefused extends Error {
  constructor(
    readonly reason: string,
    readonly notify: number | null,
    readonly options: {
      readonly fatal?: boolean;
      readonly data?: Uint8Array;
      /** The SA that the notification speaks of. */
      readonly about?: { readonly protocolId: number; readonly spi: Uint8Array };
    } = {},
  ) {
    super(notify === null ? reason : `${formatNotify(notify)}: ${reason}`);
  }

  get fatal(): boolean {
    return this.options.fatal ?? false;
  }
}

/** Why an exchange ended, for people. */
export function reasonOf(error: unknown): string {
  if (error instanceof ExchangeRefused) return error.message;
  if (error instanceof IpsecError) return `${error.code}: ${error.message}`;
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

const unexpected = (step: string, result: StepResult): InternalError =>
  new InternalError(
    'IPSEC_ERR_INTERNAL',
    'An exchange was resumed with an answer to something else.',
    {
      fields: { step, result: result.kind },
    },
  );

function* effect(effect: Effect): Exchange<EffectResult> {
  const result = yield { kind: 'effect', effect };
  if (result.kind !== 'effect' || result.result.kind !== effect.kind) {
    throw unexpected(effect.kind, result);
  }
  return result.result;
}

type Outcome<K extends ComputeResult['kind']> = Extract<ComputeResult, { readonly kind: K }>;

/** Has slow work done. A refusal comes back as a value: the caller knows what it means. */
export function* tryCompute<K extends ComputeTask['kind']>(
  task: Extract<ComputeTask, { readonly kind: K }>,
): Exchange<Outcome<K> | Outcome<'refused'>> {
  const result = yield* effect({ kind: 'compute', task });
  if (result.kind !== 'compute')
    throw new InternalError('IPSEC_ERR_INTERNAL', 'Not a computation.');
  const answer = result.result;
  if (answer.kind === 'refused' || isOutcome(answer, task.kind)) return answer;
  throw new InternalError('IPSEC_ERR_INTERNAL', 'A computation answered another question.', {
    fields: { asked: task.kind, answered: answer.kind },
  });
}

function isOutcome<K extends ComputeTask['kind']>(
  result: ComputeResult,
  kind: K,
): result is Outcome<K> {
  return result.kind === kind;
}

/** Has slow work done that fails only where we are at fault. */
export function* compute<K extends ComputeTask['kind']>(
  task: Extract<ComputeTask, { readonly kind: K }>,
): Exchange<Outcome<K>> {
  const result = yield* tryCompute<K>(task);
  if (isOutcome(result, task.kind)) return result;
  throw new ExchangeRefused(
    `${task.kind} failed: ${result.kind === 'refused' ? result.reason : ''}`,
    null,
  );
}

/** Installs SAs; null on success, or why not: then none is installed. */
export function* install(sas: readonly SaParameters[]): Exchange<string | null> {
  const result = yield* effect({ kind: 'install', sas });
  return result.kind === 'install' ? result.refused : null;
}

export function* query(sas: readonly SaIdentifier[]): Exchange<readonly SaUse[]> {
  const result = yield* effect({ kind: 'query', sas });
  return result.kind === 'query' ? result.sas : [];
}

/** Sends a request and waits for its response; the exchange ends where none ever comes. */
export function* request(exchange: ExchangeName, payloads: readonly Payload[]): Exchange<Response> {
  const result = yield { kind: 'request', exchange, payloads };
  if (result.kind !== 'response') throw unexpected('request', result);
  return result;
}
