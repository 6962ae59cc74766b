import type { SaUse } from '../../packages/ipsec-node/src/ike/action.js';
import type { SaIdentifier, SaParameters } from '../../packages/ipsec-node/src/sad/sa.js';

/** The datapath of one side, as far as it matters: which SAs there are, the newest last. */
export class SimulatedDatapath {
  readonly inbound = new Map<number, SaParameters>();
  readonly outbound: SaParameters[] = [];
  /** What was to be deleted and was not there. */
  readonly strays: SaIdentifier[] = [];
  /** Packets of inbound SAs, and when the last came. */
  private readonly use = new Map<number, { packets: bigint; at: number }>();

  install(sas: readonly SaParameters[]): void {
    for (const sa of sas) {
      if (sa.id.direction === 'outbound') {
        this.outbound.push(sa);
      } else {
        if (this.inbound.has(sa.id.spi)) throw new Error(`SPI ${sa.id.spi} twice`);
        this.inbound.set(sa.id.spi, sa);
      }
    }
  }

  delete(sas: readonly SaIdentifier[]): void {
    for (const { direction, spi } of sas) {
      if (direction === 'inbound') {
        if (!this.inbound.delete(spi)) this.strays.push({ direction, spi });
        this.use.delete(spi);
      } else {
        const index = this.outbound.findIndex(({ id }) => id.spi === spi);
        if (index >= 0) this.outbound.splice(index, 1);
        else this.strays.push({ direction, spi });
      }
    }
  }

  /** The SA that a packet of an entry leaves by. */
  sending(entry: string): SaParameters | null {
    return this.outbound.findLast((sa) => sa.entry === entry) ?? null;
  }

  /** A good packet comes in; true: it is the SA's first. */
  receive(sa: SaParameters, now: number): boolean {
    const use = this.use.get(sa.id.spi);
    if (use !== undefined) {
      use.packets += 1n;
      use.at = now;
      return false;
    }
    this.use.set(sa.id.spi, { packets: 1n, at: now });
    return true;
  }

  query(ids: readonly SaIdentifier[], now: number): readonly SaUse[] {
    return ids.map((id) => {
      const use = id.direction === 'inbound' ? this.use.get(id.spi) : undefined;
      const packets = use?.packets ?? 0n;
      return {
        id,
        packets,
        bytes: packets * 100n,
        idleMs: use === undefined ? null : now - use.at,
      };
    });
  }
}
