import type { Milliseconds } from '../../clock.js';
import type { FetchOutcome } from './fetch.js';

interface Entry {
  readonly outcome: FetchOutcome;
  readonly until: Milliseconds;
}

/** What was fetched, by URL and request. Bounded by count and bytes; the one unused longest goes. */
export class FetchCache {
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;
  readonly #entriesMax: number;
  readonly #bytesMax: number;

  constructor(entriesMax: number, bytesMax: number) {
    this.#entriesMax = entriesMax;
    this.#bytesMax = bytesMax;
  }

  get entryCount(): number {
    return this.#entries.size;
  }

  get byteCount(): number {
    return this.#bytes;
  }

  /** What is kept under a key and not past its time; null else. */
  find(key: string, now: Milliseconds): FetchOutcome | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    this.#remove(key);
    if (entry.until <= now) return null;
    this.#insert(key, entry);
    return entry.outcome;
  }

  keep(key: string, outcome: FetchOutcome, until: Milliseconds): void {
    this.#remove(key);
    if (sizeOf(key, outcome) > this.#bytesMax) return;
    this.#insert(key, { outcome, until });
    while (this.#entries.size > this.#entriesMax || this.#bytes > this.#bytesMax) {
      const oldest = this.#entries.keys().next();
      if (oldest.done === true) return;
      this.#remove(oldest.value);
    }
  }

  #insert(key: string, entry: Entry): void {
    this.#entries.set(key, entry);
    this.#bytes += sizeOf(key, entry.outcome);
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= sizeOf(key, entry.outcome);
  }
}

function sizeOf(key: string, outcome: FetchOutcome): number {
  return key.length + (outcome.kind === 'fetched' ? outcome.bytes.length : outcome.reason.length);
}
