/** Which code does which {@link ComputeTask}. Runs in a worker of the pool. */
import type { ComputeResult, ComputeTask } from '../../ike/compute.js';
import { computeKeyExchange } from '../../ike/crypto/key-exchange.js';

/** The tasks that concern certificates and signatures. */
export type AuthTask = Extract<
  ComputeTask,
  { readonly kind: 'sign' | 'verify' | 'validate' | 'ocsp' | 'fetch' }
>;

/** Those that mostly wait for somebody else's server. */
const WAITING: ReadonlySet<ComputeTask['kind']> = new Set(['validate', 'ocsp', 'fetch']);

/** True where a task may ask the network, and so may take long without work being done. */
export function isWaiting(task: ComputeTask): boolean {
  return WAITING.has(task.kind);
}

/** Does one task. Never throws: what goes wrong is `refused`. */
export async function compute(task: ComputeTask): Promise<ComputeResult> {
  try {
    switch (task.kind) {
      case 'generate':
      case 'agree':
      case 'respond':
        return await computeKeyExchange(task);
      default:
        return await computeAuthTask(task);
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'unknown';
    return { kind: 'refused', reason: `The work "${task.kind}" failed: ${reason}` };
  }
}

async function computeAuthTask(task: AuthTask): Promise<ComputeResult> {
  return { kind: 'refused', reason: `The work "${task.kind}" is not in this build.` };
}
