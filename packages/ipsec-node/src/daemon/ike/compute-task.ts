/** Which code does which {@link ComputeTask}. Runs in a worker of the pool. */
import type { AuthContext } from '../../ike/auth/auth-context.js';
import type { AuthTask } from '../../ike/auth/compute-auth.js';
import type { ComputeResult, ComputeTask } from '../../ike/compute.js';
import { computeKeyExchange } from '../../ike/crypto/key-exchange.js';

/** What a thread is told when it starts. */
export interface ComputeSettings {
  /** Whether CRLs, OCSP answers and certificates are fetched from private and local addresses. */
  readonly allowPrivateTargets: boolean;
}

/** Those that mostly wait for somebody else's server. */
const WAITING: ReadonlySet<ComputeTask['kind']> = new Set(['validate', 'ocsp', 'fetch']);

/** True where a task may ask the network, and so may take long without work being done. */
export function isWaiting(task: ComputeTask): boolean {
  return WAITING.has(task.kind);
}

/** Does one task. Never throws: what goes wrong is `refused`. */
export async function compute(
  task: ComputeTask,
  settings: ComputeSettings,
): Promise<ComputeResult> {
  try {
    switch (task.kind) {
      case 'generate':
      case 'agree':
      case 'respond':
        return await computeKeyExchange(task);
      default:
        return await computeAuthTask(task, settings);
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'unknown';
    return { kind: 'refused', reason: `The work "${task.kind}" failed: ${reason}` };
  }
}

/** What this thread remembers of what it fetched. */
let context: AuthContext | null = null;

/** The libraries for certificates are loaded when the first is seen. */
async function computeAuthTask(task: AuthTask, settings: ComputeSettings): Promise<ComputeResult> {
  const { createAuthContext } = await import('../../ike/auth/auth-context.js');
  const { computeAuth } = await import('../../ike/auth/compute-auth.js');
  context ??= createAuthContext(settings);
  return await computeAuth(task, context);
}
