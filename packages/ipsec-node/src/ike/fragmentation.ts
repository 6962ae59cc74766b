/**
 * IKE fragmentation (RFC 7383): the plaintext of an Encrypted payload in parts, each of which is
 * sealed in a message of its own. Authentication is the caller's: only what an ICV vouches for
 * comes in here.
 */
import type { Milliseconds } from '../clock.js';
import { IKE_LIMITS } from './limits.js';
import { refuseToEncode } from './payload/writer.js';

/** Cuts a plaintext into parts of at most `room` bytes, all but the last of them full. */
export function fragmentPlaintext(bytes: Uint8Array, room: number): readonly Uint8Array[] {
  if (!Number.isInteger(room) || room < 1) refuseToEncode(`fragments of ${room} bytes`);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += room) parts.push(bytes.subarray(at, at + room));
  if (parts.length === 0) parts.push(bytes);
  if (parts.length > IKE_LIMITS.fragmentMax) refuseToEncode(`${parts.length} fragments`);
  return parts;
}

export type ReassemblyResult =
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'complete'; readonly firstPayload: number; readonly bytes: Uint8Array }
  /** Silently discarded (RFC 7383 section 2.6). */
  | { readonly kind: 'refused'; readonly reason: string };

/**
 * Puts one message together from its fragments, in any order, with constant work for each. Takes
 * copies, because decrypted bytes are wiped by whoever decrypted them.
 */
export class Reassembly {
  #sinceMs: Milliseconds | null = null;
  #total = 0;
  #slots: (Uint8Array | undefined)[] = [];
  #receivedCount = 0;
  #byteLength = 0;
  #firstPayload = 0;
  #isComplete = false;

  /** Bytes that wait. */
  get byteLength(): number {
    return this.#byteLength;
  }

  /** Whether a fragment would be taken: to be asked before the work of authenticating it. */
  refusalOf(number: number, total: number): string | null {
    if (number < 1 || number > total) return 'an impossible fragment number';
    if (total > IKE_LIMITS.fragmentMax) return `more than ${IKE_LIMITS.fragmentMax} fragments`;
    if (this.#isComplete) return 'a fragment of a message that is complete';
    // RFC 7383 section 2.6: the total may grow, when the sender has cut anew, and never shrink.
    if (total < this.#total) return 'fewer fragments than before';
    if (total === this.#total && this.#slots[number - 1] !== undefined) return 'a fragment again';
    return null;
  }

  add(
    number: number,
    total: number,
    firstPayload: number,
    plaintext: Uint8Array,
    now: Milliseconds,
  ): ReassemblyResult {
    if (this.#sinceMs !== null && now - this.#sinceMs >= IKE_LIMITS.fragmentMs) this.clear();
    const reason = this.refusalOf(number, total);
    if (reason !== null) return { kind: 'refused', reason };
    // RFC 7383 section 2.6: a larger total starts the reassembly over with this fragment alone.
    if (total > this.#total) this.#restart(total);
    if (this.#byteLength + plaintext.length > IKE_LIMITS.messageBytesMax) {
      return { kind: 'refused', reason: `more than ${IKE_LIMITS.messageBytesMax} bytes` };
    }
    this.#sinceMs ??= now;
    this.#slots[number - 1] = plaintext.slice();
    this.#byteLength += plaintext.length;
    this.#receivedCount += 1;
    // RFC 7383 section 2.5: the first payload is named in the first fragment alone.
    if (number === 1) this.#firstPayload = firstPayload;
    return this.#receivedCount === total ? this.#complete() : { kind: 'incomplete' };
  }

  /** Wipes and forgets all fragments: another message begins, or this one is given up. */
  clear(): void {
    this.#restart(0);
    this.#isComplete = false;
  }

  #restart(total: number): void {
    for (const slot of this.#slots) slot?.fill(0);
    this.#total = total;
    this.#slots = Array.from({ length: total }, () => undefined);
    this.#receivedCount = 0;
    this.#byteLength = 0;
    this.#firstPayload = 0;
    this.#sinceMs = null;
  }

  #complete(): ReassemblyResult {
    const bytes = new Uint8Array(this.#byteLength);
    let at = 0;
    for (const slot of this.#slots) {
      if (slot === undefined) continue;
      bytes.set(slot, at);
      at += slot.length;
    }
    const firstPayload = this.#firstPayload;
    const total = this.#total;
    this.#restart(0);
    this.#total = total;
    this.#isComplete = true;
    return { kind: 'complete', firstPayload, bytes };
  }
}
