import type { Clock, Timer } from '../clock.js';
import type { Dataplane, DataplaneEvent, SaId } from '../dataplane/dataplane.js';
import type { Logger } from '../log.js';
import type { DurableState } from './durable-state.js';

/** How often the bounds of idle SAs are looked at. */
const IDLE_LOOK_MS = 10_000;
/** An inbound SA with fewer packets between two looks is idle. */
const IDLE_PACKETS = 64n;
/** How far ahead the bound of an idle SA is put: the start of a TCP stream must not outrun the disk. */
const IDLE_AHEAD = 4096n;
/** How long a failed write is left alone before it is tried again. */
export const RESERVE_RETRY_MS = 1000;

type ReserveLow = Extract<DataplaneEvent, { kind: 'reserveLow' }>;

/**
 * Raises reservations as the datapath asks: first on disk, then in the datapath.
 *
 * When the disk refuses, the datapath stops at what it has (nothing is used twice) and the write is
 * tried again, for the request comes only once.
 */
export class Reservations {
  /** The latest request of each SA that is under way. */
  private readonly wanted = new Map<string, ReserveLow>();
  private readonly running = new Set<Promise<void>>();
  private stopped = false;
  /** SAs whose bound is being lowered: a request to raise it waits for that. */
  private readonly lowering = new Set<string>();
  /** Where each inbound SA stood at the last look. */
  private lastSeen = new Map<string, bigint>();
  private timer: Timer | undefined;

  constructor(
    private readonly state: DurableState,
    private readonly dataplane: Dataplane,
    private readonly clock: Clock,
    private readonly log: Logger,
  ) {}

  /** Takes a request of the datapath. */
  handleReserveLow(event: ReserveLow): void {
    if (this.stopped) return;
    const key = keyOf(event.id);
    const underWay = this.wanted.has(key) || this.lowering.has(key);
    this.wanted.set(key, event);
    if (!underWay) this.follow(this.raise(key));
  }

  private follow(run: Promise<void>): void {
    const followed = run.finally(() => this.running.delete(followed));
    this.running.add(followed);
  }

  /** Lowers the bounds of idle SAs now and then. */
  watchIdle(): void {
    this.timer = this.clock.schedule(IDLE_LOOK_MS, () => {
      this.follow(
        this.lowerIdle().finally(() => {
          if (!this.stopped) this.watchIdle();
        }),
      );
    });
  }

  /** A crash costs what lies between the window and the bound; of an idle SA that need not be much. */
  private async lowerIdle(): Promise<void> {
    const states = await this.dataplane.querySad().catch(() => []);
    const seen = new Map<string, bigint>();
    for (const { id, sequenceNumber, reservedUpTo } of states) {
      if (id.direction === 'outbound' || reservedUpTo === null) continue;
      const key = keyOf(id);
      const before = this.lastSeen.get(key);
      seen.set(key, sequenceNumber);
      const idle = before !== undefined && sequenceNumber - before < IDLE_PACKETS;
      const target = sequenceNumber + IDLE_AHEAD;
      if (idle && reservedUpTo > target + IDLE_AHEAD) await this.lower(id, target);
    }
    this.lastSeen = seen;
  }

  /** The datapath first, then the disk: in between the disk says more than is accepted. */
  private async lower(id: SaId, target: bigint): Promise<void> {
    const key = keyOf(id);
    if (this.stopped || this.wanted.has(key) || this.lowering.has(key)) return;
    this.lowering.add(key);
    try {
      await this.state.lower(id, await this.dataplane.reserve(id, target));
    } catch (error) {
      this.log.warn('An idle SA keeps a bound further ahead than it needs.', {
        ...describe(id),
        reason: error instanceof Error ? error.message : String(error),
      });
    } finally {
      this.lowering.delete(key);
    }
    if (this.wanted.has(key)) await this.raise(key);
  }

  private async raise(key: string): Promise<void> {
    for (let event = this.wanted.get(key); event !== undefined && !this.stopped; ) {
      if (!(await this.tryRaise(event))) await this.clock.sleep(RESERVE_RETRY_MS);
      else if (this.wanted.get(key) === event) this.wanted.delete(key);
      event = this.wanted.get(key);
    }
    this.wanted.delete(key);
  }

  private async tryRaise({ id, used, wanted }: ReserveLow): Promise<boolean> {
    try {
      await this.dataplane.reserve(id, await this.state.raise(id, used, wanted));
      return true;
    } catch (error) {
      if (this.stopped) return true;
      this.log.error('Sequence numbers could not be reserved; the SA stops where it is.', {
        ...describe(id),
        reason: error instanceof Error ? error.message : String(error),
      });
      return false;
    }
  }

  /** Takes no more requests and waits for those under way. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.timer?.cancel();
    await Promise.all(this.running);
  }
}

const keyOf = (id: SaId): string => `${id.direction} ${id.spi}`;

function describe(id: SaId): { readonly direction: string; readonly spi: string } {
  return { direction: id.direction, spi: `0x${id.spi.toString(16).padStart(8, '0')}` };
}
