import type { SaEndpoint } from './action.js';

/** What a first message made. */
export interface FirstMessageSa {
  readonly spiInitiator: bigint;
  readonly initPath: SaEndpoint | null;
}

/**
 * IKE SAs by the IKE_SA_INIT request that made them: by the initiator's SPI and where it came from,
 * since two initiators may have chosen the same SPI (RFC 7296 section 2.1 and 2.6).
 */
export class FirstMessages<T extends FirstMessageSa> {
  private readonly bySpi = new Map<bigint, T>();
  /** Those whose SPI another one had first. */
  private readonly others = new Map<string, T>();

  find(spi: bigint, path: SaEndpoint): T | null {
    const first = this.bySpi.get(spi);
    if (first === undefined || isFrom(first, path)) return first ?? null;
    return this.others.get(keyOf(spi, path)) ?? null;
  }

  /** Nothing is found for it yet. */
  add(sa: T): void {
    const { spiInitiator, initPath } = sa;
    if (initPath === null) return;
    if (!this.bySpi.has(spiInitiator)) this.bySpi.set(spiInitiator, sa);
    else this.others.set(keyOf(spiInitiator, initPath), sa);
  }

  /** Idempotent. */
  remove(sa: T): void {
    const { spiInitiator, initPath } = sa;
    if (initPath === null) return;
    if (this.bySpi.get(spiInitiator) === sa) {
      this.bySpi.delete(spiInitiator);
      this.promote(spiInitiator);
    } else {
      const key = keyOf(spiInitiator, initPath);
      if (this.others.get(key) === sa) this.others.delete(key);
    }
  }

  // Who is looked up by an SPI alone is looked for among the others where there is one.
  private promote(spi: bigint): void {
    for (const [key, other] of this.others) {
      if (other.spiInitiator !== spi) continue;
      this.others.delete(key);
      this.bySpi.set(spi, other);
      return;
    }
  }

  get size(): number {
    return this.bySpi.size + this.others.size;
  }
}

function isFrom({ initPath }: FirstMessageSa, path: SaEndpoint): boolean {
  return initPath?.remote === path.remote && initPath.remotePort === path.remotePort;
}

function keyOf(spi: bigint, { remote, remotePort }: SaEndpoint): string {
  return `${spi} ${remote} ${remotePort}`;
}
