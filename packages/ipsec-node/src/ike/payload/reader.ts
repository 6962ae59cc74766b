import { NOTIFY } from '../notify.js';

/** Why bytes were refused, and what the sender may be told. */
export interface Refusal {
  readonly reason: string;
  /** Notify message type; null: nothing is said. */
  readonly notify: number | null;
  /** Data of that notification. */
  readonly data: Uint8Array;
}

export const NO_BYTES = new Uint8Array(0);

/**
 * Reads big-endian fields within fixed bounds; the only place of the codec that does arithmetic on
 * lengths from the wire.
 *
 * The first fault sticks: every read after it gives zero or nothing and takes nothing, so a caller
 * may read a whole structure and ask once. `left` is 0 after a fault, so that every loop over
 * `left` ends. A reader made by {@link sub} shares the fault of the one it came from.
 */
export class PayloadReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #root: PayloadReader;
  readonly #end: number;
  #offset: number;
  #refusal: Refusal | null = null;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length, root: PayloadReader | null = null) {
    this.#bytes = bytes;
    this.#view =
      root === null ? new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) : root.#view;
    this.#offset = start;
    this.#end = end;
    this.#root = root ?? this;
  }

  /** Null: everything so far was well-formed. */
  get refusal(): Refusal | null {
    return this.#root.#refusal;
  }

  /** Bytes not yet read. */
  get left(): number {
    return this.refusal === null ? this.#end - this.#offset : 0;
  }

  /** Offset of the next byte from the start of the bytes that the first reader was made of. */
  get offset(): number {
    return this.#offset;
  }

  /** Notes a fault, unless there is one already. Returns null, for `return reader.refuse(...)`. */
  refuse(
    reason: string,
    notify: number | null = NOTIFY.INVALID_SYNTAX,
    data: Uint8Array = NO_BYTES,
  ): null {
    this.#root.#refusal ??= { reason, notify, data };
    return null;
  }

  uint8(): number {
    const at = this.#take(1);
    return at === null ? 0 : this.#view.getUint8(at);
  }

  uint16(): number {
    const at = this.#take(2);
    return at === null ? 0 : this.#view.getUint16(at);
  }

  uint32(): number {
    const at = this.#take(4);
    return at === null ? 0 : this.#view.getUint32(at);
  }

  uint64(): bigint {
    const at = this.#take(8);
    return at === null ? 0n : this.#view.getBigUint64(at);
  }

  skip(len: number): void {
    this.#take(len);
  }

  /** The next `len` bytes as a view. */
  bytes(len: number): Uint8Array {
    const at = this.#take(len);
    return at === null ? NO_BYTES : this.#slice(at, len);
  }

  /** All that is left, as a view. */
  rest(): Uint8Array {
    return this.bytes(this.left);
  }

  /** A reader of the next `len` bytes alone. */
  sub(len: number): PayloadReader {
    const at = this.#take(len);
    return at === null
      ? new PayloadReader(this.#bytes, this.#end, this.#end, this.#root)
      : new PayloadReader(this.#bytes, at, at + len, this.#root);
  }

  // A plain Uint8Array, whatever the bytes are: a Buffer's methods differ.
  #slice(at: number, len: number): Uint8Array {
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + at, len);
  }

  /** Where the next `len` bytes start; null where there are not so many. */
  #take(len: number): number | null {
    if (this.refusal !== null) return null;
    if (len < 0 || len > this.#end - this.#offset) return this.refuse('cut off');
    const at = this.#offset;
    this.#offset += len;
    return at;
  }
}
