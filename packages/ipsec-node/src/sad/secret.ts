import { InternalError } from '../errors.js';

const SHOWN = '[secret]';

/**
 * Key bytes that cannot slip into a log, an error, a dump or JSON: every way of turning the object
 * into text gives `[secret]`. The bytes are copied in and wiped by {@link wipe}.
 */
export class Secret {
  #bytes: Uint8Array | null;
  readonly #origin: string;

  /**
   * Copies `bytes`; the caller wipes its own copy.
   *
   * @param origin where the bytes came from, in words that may be shown (`file /etc/x.key`).
   */
  constructor(bytes: Uint8Array, origin: string) {
    this.#bytes = Uint8Array.from(bytes);
    this.#origin = origin;
  }

  /** A secret that was not readable where only the file is checked. It reveals nothing. */
  static unread(origin: string): Secret {
    const secret = new Secret(new Uint8Array(0), origin);
    secret.#bytes = null;
    return secret;
  }

  /** Where the bytes came from; never the bytes. */
  get origin(): string {
    return this.#origin;
  }

  /** False after {@link wipe} and for {@link Secret.unread}. */
  get isPresent(): boolean {
    return this.#bytes !== null;
  }

  /** Length in bytes; 0 where nothing is present. */
  get byteLength(): number {
    return this.#bytes?.length ?? 0;
  }

  /**
   * Returns a fresh copy of the bytes, which the caller zeroes.
   *
   * @throws InternalError IPSEC_ERR_INTERNAL after {@link wipe} or for {@link Secret.unread}.
   */
  reveal(): Uint8Array {
    if (this.#bytes === null) {
      throw new InternalError('IPSEC_ERR_INTERNAL', 'A secret was asked for that is not present.', {
        fields: { origin: this.#origin },
      });
    }
    return Uint8Array.from(this.#bytes);
  }

  /** Compares in constant time; false where either is not present. */
  equals(other: Secret): boolean {
    const [ours, theirs] = [this.#bytes, other.#bytes];
    if (ours === null || theirs === null || ours.length !== theirs.length) return false;
    return (
      ours.reduce((difference, byte, index) => difference | (byte ^ (theirs[index] ?? 0)), 0) === 0
    );
  }

  /** True where all bytes are the same: a placeholder, not a key. */
  get isUniform(): boolean {
    const bytes = this.#bytes;
    return bytes !== null && bytes.every((byte) => byte === bytes[0]);
  }

  /** Overwrites the bytes with zeroes. Idempotent. */
  wipe(): void {
    this.#bytes?.fill(0);
    this.#bytes = null;
  }

  toString(): string {
    return SHOWN;
  }

  toJSON(): string {
    return SHOWN;
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return SHOWN;
  }
}
