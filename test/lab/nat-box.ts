/** A router that can translate addresses: on, off, and with another mapping for the same flow. */

import type { Namespace } from './namespace.ts';

const TABLE = 'ip nat_box';

export interface NatBoxPlace {
  /** The gateway behind it. */
  readonly inside: string;
  /** Its own addresses outside. */
  readonly outside: readonly [string, string];
}

export interface NatOptions {
  /** IKE that comes from outside reaches the gateway behind it. Default true. */
  readonly forward?: boolean;
}

export class NatBox {
  #mapping = 0;
  #options: NatOptions | undefined;

  constructor(
    /** Its devices are `in0` and `out0`. */
    readonly namespace: Namespace,
    readonly place: NatBoxPlace,
  ) {}

  /** Where the gateway behind it is seen from outside: the translated address while it is on. */
  get publicAddress(): string {
    if (this.#options === undefined) return this.place.inside;
    return this.place.outside[this.#mapping % 2 === 0 ? 0 : 1];
  }

  /**
   * Source ports outside are of a range of its own, never the sender's. Where two packets of a new
   * flow pass at once, Linux gives the second another port, also at a box that only passes it in:
   * which one a peer saw may only be compared, never said beforehand.
   */
  async on(options: NatOptions = {}): Promise<void> {
    this.#options = options;
    this.#mapping = 0;
    await this.#write();
  }

  /**
   * The mapping of every flow is forgotten; the next packet from inside gets another port, and with
   * `address` also another address. What is still sent to the old mapping is refused.
   */
  async remap(options: { readonly address?: boolean } = {}): Promise<void> {
    this.#mapping += options.address === true ? 1 : 2;
    await this.#write();
  }

  async off(): Promise<void> {
    if (this.#options === undefined) return;
    this.#options = undefined;
    await this.namespace.nft(`delete table ${TABLE}\n`);
    await this.#forget();
  }

  async #write(): Promise<void> {
    const { inside } = this.place;
    const outside = this.place.outside[this.#mapping % 2 === 0 ? 0 : 1];
    const low = 20_000 + (this.#mapping % 40) * 1_000;
    const forward =
      this.#options?.forward === false
        ? ''
        : `iifname "out0" udp dport { 500, 4500 } dnat to ${inside}`;
    await this.namespace.nft(`
      table ${TABLE} { }
      delete table ${TABLE}
      table ${TABLE} {
        chain out {
          type nat hook postrouting priority 100;
          oifname "out0" ip saddr ${inside} meta l4proto udp snat to ${outside}:${low}-${low + 999}
          oifname "out0" ip saddr ${inside} snat to ${outside}
        }
        chain in {
          type nat hook prerouting priority -100;
          ${forward}
        }
      }`);
    await this.#forget();
  }

  async #forget(): Promise<void> {
    // Without an entry it says so by its status.
    await this.namespace.exec(['conntrack', '-F'], { anyStatus: true });
  }
}
