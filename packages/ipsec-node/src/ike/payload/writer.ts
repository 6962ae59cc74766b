import { InternalError } from '../../errors.js';
import { IKE_LIMITS } from '../limits.js';

/** Throws: what we were to send cannot be written. It is our own value, so this is our defect. */
export function refuseToEncode(what: string): never {
  throw new InternalError('IPSEC_ERR_INTERNAL', `An IKE message cannot be encoded: ${what}.`);
}

/** Writes big-endian fields. A value that does not fit its field throws InternalError. */
export class PayloadWriter {
  #bytes: Uint8Array = new Uint8Array(512);
  #view: DataView = new DataView(this.#bytes.buffer);
  #len = 0;

  get length(): number {
    return this.#len;
  }

  uint8(value: number): this {
    this.#check(value, 0xff);
    const at = this.#grow(1);
    this.#view.setUint8(at, value);
    return this;
  }

  uint16(value: number): this {
    this.#check(value, 0xffff);
    const at = this.#grow(2);
    this.#view.setUint16(at, value);
    return this;
  }

  uint32(value: number): this {
    this.#check(value, 0xffff_ffff);
    const at = this.#grow(4);
    this.#view.setUint32(at, value);
    return this;
  }

  uint64(value: bigint): this {
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) refuseToEncode(`${value} is not 64 bits`);
    const at = this.#grow(8);
    this.#view.setBigUint64(at, value);
    return this;
  }

  zeroes(count: number): this {
    this.#grow(count);
    return this;
  }

  bytes(bytes: Uint8Array): this {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** Writes over a field that was written before, such as a length. */
  patchUint16(offset: number, value: number): void {
    this.#check(value, 0xffff);
    this.#view.setUint16(offset, value);
  }

  patchUint32(offset: number, value: number): void {
    this.#check(value, 0xffff_ffff);
    this.#view.setUint32(offset, value);
  }

  /** A copy of all that was written. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#len);
  }

  #check(value: number, max: number): void {
    if (!Number.isInteger(value) || value < 0 || value > max) {
      refuseToEncode(`${value} is not a number of 0..${max}`);
    }
  }

  /** Makes room and returns its offset. Replaces the view: to be called before the view is read. */
  #grow(count: number): number {
    const at = this.#len;
    const len = at + count;
    if (len > IKE_LIMITS.messageBytesMax)
      refuseToEncode(`more than ${IKE_LIMITS.messageBytesMax} bytes`);
    if (len > this.#bytes.length) {
      const bytes = new Uint8Array(Math.max(len, this.#bytes.length * 2));
      bytes.set(this.#bytes);
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer);
    }
    this.#len = len;
    return at;
  }
}
