/**
 * What goes between the pool and its workers. Bytes travel in buffers of their own: a Buffer of
 * node's pool would take the whole slab along, and buffers that hold secrets are moved, not copied,
 * so that nothing stays behind in a message.
 */
import type { ComputeResult, ComputeTask, PrivateValue } from '../../ike/compute.js';

export interface WorkerRequest {
  readonly id: number;
  readonly task: ComputeTask;
}

export interface WorkerReply {
  readonly id: number;
  readonly result: ComputeResult;
}

export interface Parcel<T> {
  readonly content: T;
  /** The buffers to move; they are of no use to the sender after that. */
  readonly moved: ArrayBuffer[];
}

class Packer {
  readonly moved: ArrayBuffer[] = [];

  copy(bytes: Uint8Array): Uint8Array {
    const own = new Uint8Array(bytes);
    this.moved.push(own.buffer);
    return own;
  }

  copies(list: readonly Uint8Array[]): Uint8Array[] {
    return list.map((bytes) => this.copy(bytes));
  }

  /** Copies, and wipes what was copied. */
  take(bytes: Uint8Array): Uint8Array {
    const own = this.copy(bytes);
    bytes.fill(0);
    return own;
  }

  takePrivate(value: PrivateValue): PrivateValue {
    return value instanceof Uint8Array ? this.take(value) : value;
  }
}

/** Readies a task for sending. Private values in bytes are wiped where they were. */
export function packTask(task: ComputeTask): Parcel<ComputeTask> {
  const packer = new Packer();
  return { content: copyTask(task, packer), moved: packer.moved };
}

function copyTask(task: ComputeTask, packer: Packer): ComputeTask {
  switch (task.kind) {
    case 'generate':
      return task;
    case 'agree':
      return {
        ...task,
        privateValue: packer.takePrivate(task.privateValue),
        peerValue: packer.copy(task.peerValue),
      };
    case 'respond':
      return { ...task, peerValue: packer.copy(task.peerValue) };
    case 'sign':
      return {
        ...task,
        credential: {
          ...task.credential,
          certificates: packer.copies(task.credential.certificates),
        },
        octets: packer.copy(task.octets),
      };
    case 'verify':
      return {
        ...task,
        publicKey: packer.copy(task.publicKey),
        octets: packer.copy(task.octets),
        data: packer.copy(task.data),
      };
    case 'validate':
      return {
        ...task,
        certificates: packer.copies(task.certificates),
        authorities: packer.copies(task.authorities),
        crls: packer.copies(task.crls),
        ocsp: packer.copies(task.ocsp),
      };
    case 'ocsp':
      return { ...task, certificates: packer.copies(task.certificates) };
    case 'fetch':
      return { ...task, sha1: packer.copy(task.sha1) };
  }
}

/** Readies a result for sending. Secrets are wiped where they were. */
export function packResult(result: ComputeResult): Parcel<ComputeResult> {
  const packer = new Packer();
  return { content: copyResult(result, packer), moved: packer.moved };
}

function copyResult(result: ComputeResult, packer: Packer): ComputeResult {
  switch (result.kind) {
    case 'generate':
      return {
        ...result,
        publicValue: packer.copy(result.publicValue),
        privateValue: packer.takePrivate(result.privateValue),
      };
    case 'agree':
      return { ...result, secret: packer.take(result.secret) };
    case 'respond':
      return {
        ...result,
        publicValue: packer.copy(result.publicValue),
        secret: packer.take(result.secret),
      };
    case 'sign':
      return { ...result, data: packer.copy(result.data) };
    case 'validate':
      return { ...result, publicKey: packer.copy(result.publicKey) };
    case 'ocsp':
      return { ...result, responses: packer.copies(result.responses) };
    case 'fetch':
      return { ...result, certificate: packer.copy(result.certificate) };
    case 'verify':
    case 'refused':
      return result;
  }
}

/** Wipes the private value of a task that will not be done. */
export function wipeTask(task: ComputeTask): void {
  if (task.kind === 'agree' && task.privateValue instanceof Uint8Array) task.privateValue.fill(0);
}
