/**
 * The anti-replay service of RFC 4303 sections 3.4.3 and A2 as a set of every number seen: slow,
 * unbounded and obvious.
 */

export type ReplayOutcome = 'accept' | 'duplicate' | 'too-old' | 'seq-zero' | 'integrity';

const TWO_32 = 2n ** 32n;

export class OracleReplayWindow {
  readonly #seen = new Set<bigint>();
  #rightEdge: bigint;

  readonly #floor: bigint;

  /**
   * `rightEdge` is the highest number authenticated so far; it counts as seen. Of those below, none
   * does, or every one with `below: 'seen'` (a window restored without its bits).
   */
  constructor(
    readonly size: number,
    readonly esn: boolean,
    rightEdge = 0n,
    below: 'unseen' | 'seen' = 'unseen',
  ) {
    this.#rightEdge = rightEdge;
    this.#seen.add(rightEdge);
    this.#floor = below === 'seen' ? rightEdge : -1n;
  }

  get rightEdge(): bigint {
    return this.#rightEdge;
  }

  /**
   * The 64-bit number that the low half on the wire stands for; without ESN the low half itself.
   * Negative when the only subspace it could lie in is before the first.
   */
  // RFC 4303 section A2.2: the high-order half is inferred from the window and never sent.
  infer(low: number): bigint {
    const seql = BigInt(low);
    if (!this.esn) return seql;
    const tl = this.#rightEdge % TWO_32;
    const th = this.#rightEdge / TWO_32;
    const w = BigInt(this.size);
    if (tl >= w - 1n) {
      const bl = tl - w + 1n;
      return (seql >= bl ? th : th + 1n) * TWO_32 + seql;
    }
    const bl = tl - w + 1n + TWO_32;
    return (seql >= bl ? th - 1n : th) * TWO_32 + seql;
  }

  /** What the window says before anything is authenticated. Changes nothing. */
  check(sequence: bigint): 'fresh' | 'duplicate' | 'too-old' | 'seq-zero' {
    // RFC 4303 section 2.2: the first packet sent has number 1, so 0 never appears.
    if (sequence === 0n) return 'seq-zero';
    if (sequence <= this.#rightEdge - BigInt(this.size) || sequence < 0n) return 'too-old';
    return sequence <= this.#floor || this.#seen.has(sequence) ? 'duplicate' : 'fresh';
  }

  /** Marks an authenticated number and moves the right edge if it lies beyond. */
  commit(sequence: bigint): void {
    this.#seen.add(sequence);
    if (sequence > this.#rightEdge) this.#rightEdge = sequence;
  }

  /**
   * One packet, all steps in order. `authenticates` is asked only for a number that the window
   * would take, and nothing moves unless it says yes.
   */
  receive(low: number, authenticates: (sequence: bigint) => boolean): ReplayOutcome {
    const sequence = this.infer(low);
    const verdict = this.check(sequence);
    if (verdict !== 'fresh') return verdict;
    if (!authenticates(sequence)) return 'integrity';
    this.commit(sequence);
    return 'accept';
  }
}
