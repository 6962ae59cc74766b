/**
 * Keys of negotiated SAs for whoever captures: kept only where the operator allowed it when the
 * gateway was started, bounded, and wiped when it stops. Nothing here can be turned into text by
 * accident: the bytes are in private fields.
 */
import type { IkeKeyReport } from '../../ike/action.js';
import type { SaParameters } from '../../sad/sa.js';

/** Most IKE SAs, and most ESP SAs, whose keys are kept; the oldest go first. */
export const KEPT_KEYS_COUNT_MAX = 4096;

/** What Wireshark needs to open one direction of one ESP SA. */
export interface EspKeyReport {
  readonly source: string;
  readonly destination: string;
  readonly spi: number;
  readonly suite: string;
  /** The whole keying material of the direction: cipher key, salt or integrity key after it. */
  readonly key: Uint8Array;
  readonly esn: boolean;
}

/** What the control socket asks. Each call gives fresh copies, which the caller wipes. */
export interface CaptureKeys {
  ikeSas(): readonly IkeKeyReport[];
  espSas(): readonly EspKeyReport[];
}

/** The keys of SAs that were negotiated since the gateway was started with leave to keep them. */
export class KeptKeys implements CaptureKeys {
  readonly #ike: IkeKeyReport[] = [];
  readonly #esp: EspKeyReport[] = [];

  /** Takes the keys of an IKE SA; the caller keeps and wipes its own. */
  keepIke(report: IkeKeyReport): void {
    this.#ike.push(copyOf(report));
    if (this.#ike.length > KEPT_KEYS_COUNT_MAX) wipeIke(this.#ike.shift());
  }

  /** Takes the key of one direction of an ESP SA, before it is zeroed. */
  keepSa(sa: SaParameters): void {
    const isOut = sa.id.direction === 'outbound';
    this.#esp.push({
      source: isOut ? sa.local : sa.remote,
      destination: isOut ? sa.remote : sa.local,
      spi: sa.id.spi,
      suite: sa.suite,
      key: Uint8Array.from(sa.key),
      esn: sa.esn,
    });
    if (this.#esp.length > KEPT_KEYS_COUNT_MAX) this.#esp.shift()?.key.fill(0);
  }

  ikeSas(): readonly IkeKeyReport[] {
    return this.#ike.map(copyOf);
  }

  espSas(): readonly EspKeyReport[] {
    return this.#esp.map((report) => ({ ...report, key: Uint8Array.from(report.key) }));
  }

  /** Wipes everything. */
  close(): void {
    for (const report of this.#ike.splice(0)) wipeIke(report);
    for (const { key } of this.#esp.splice(0)) key.fill(0);
  }
}

function copyOf(report: IkeKeyReport): IkeKeyReport {
  return {
    ...report,
    skEi: Uint8Array.from(report.skEi),
    skEr: Uint8Array.from(report.skEr),
    skAi: Uint8Array.from(report.skAi),
    skAr: Uint8Array.from(report.skAr),
  };
}

function wipeIke(report: IkeKeyReport | undefined): void {
  for (const key of [report?.skEi, report?.skEr, report?.skAi, report?.skAr]) key?.fill(0);
}
