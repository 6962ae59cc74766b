import { createHash } from 'node:crypto';
import type { ComputeResult, ComputeTask } from '../../packages/ipsec-node/src/ike/compute.js';

const hash = (...parts: readonly Uint8Array[]): Uint8Array => {
  const sum = createHash('sha256');
  for (const part of parts) sum.update(part);
  return new Uint8Array(sum.digest());
};

/** What both sides come to, and everybody who sees their values. */
export function toySecret(ofInitiator: Uint8Array, ofResponder: Uint8Array): Uint8Array {
  return hash(ofInitiator, ofResponder);
}

/**
 * A key exchange that is right and worth nothing: both sides come to one secret, another value comes
 * to another, and everybody can compute it. In the place of the product's it makes a run take no
 * time, and the same in every run. Null: another kind of work.
 */
export function toyKeyExchange(
  random: (length: number) => Uint8Array,
): (task: ComputeTask) => ComputeResult | null {
  return (task) => {
    switch (task.kind) {
      case 'generate': {
        const publicValue = random(32);
        return { kind: 'generate', publicValue, privateValue: publicValue };
      }
      case 'respond': {
        const publicValue = random(32);
        return { kind: 'respond', publicValue, secret: toySecret(task.peerValue, publicValue) };
      }
      case 'agree':
        return task.privateValue instanceof Uint8Array
          ? { kind: 'agree', secret: toySecret(task.privateValue, task.peerValue) }
          : { kind: 'refused', reason: 'not a value of this key exchange' };
      default:
        return null;
    }
  };
}
