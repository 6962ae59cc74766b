import type { Clock } from '../clock.js';
import type { Dataplane, DataplaneEvent, SaId } from '../dataplane/dataplane.js';
import type { Logger } from '../log.js';
import type { DurableState } from './durable-state.js';

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

  constructor(
    private readonly state: DurableState,
    private readonly dataplane: Dataplane,
    private readonly clock: Clock,
    private readonly log: Logger,
  ) {}

  /** Takes a request of the datapath. */
  handleReserveLow(event: ReserveLow): void {
    if (this.stopped) return;
    const key = `${event.id.direction} ${event.id.spi}`;
    const underWay = this.wanted.has(key);
    this.wanted.set(key, event);
    if (underWay) return;
    const run = this.raise(key).finally(() => this.running.delete(run));
    this.running.add(run);
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
    await Promise.all(this.running);
  }
}

function describe(id: SaId): { readonly direction: string; readonly spi: string } {
  return { direction: id.direction, spi: `0x${id.spi.toString(16).padStart(8, '0')}` };
}
