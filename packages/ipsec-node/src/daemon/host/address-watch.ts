/** The addresses of the unprotected interfaces, and when they change. */
import { networkInterfaces } from 'node:os';
import type { Clock, Milliseconds, Timer } from '../../clock.js';

/** How often the addresses are looked at: a peer that waits is told within this time. */
const LOOK_MS: Milliseconds = 1_000;

/**
 * Addresses of these interfaces, in a fixed order; of all but the loopback where the list is empty.
 * Link-local ones are left out: no peer is reached by them.
 */
export function interfaceAddresses(names: readonly string[]): readonly string[] {
  const found = Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    names.length === 0 || names.includes(name)
      ? (addresses ?? [])
          .filter(({ internal, address }) => !internal && !/^fe80:/i.test(address))
          .map(({ address }) => address)
      : [],
  );
  return [...new Set(found)].sort();
}

export class AddressWatch {
  private timer: Timer | null = null;
  private last: string;
  private isStopped = false;

  /** `changed` is called with the addresses as they are then; it is waited for. */
  constructor(
    private readonly clock: Clock,
    private readonly look: () => readonly string[],
    private readonly changed: (addresses: readonly string[]) => Promise<void>,
  ) {
    this.last = look().join(' ');
    this.arm();
  }

  private arm(): void {
    this.timer = this.clock.schedule(LOOK_MS, () => {
      const addresses = this.look();
      const text = addresses.join(' ');
      const isChanged = text !== this.last;
      this.last = text;
      void (isChanged ? this.changed(addresses) : Promise.resolve()).finally(() => {
        if (!this.isStopped) this.arm();
      });
    });
  }

  stop(): void {
    this.isStopped = true;
    this.timer?.cancel();
  }
}
