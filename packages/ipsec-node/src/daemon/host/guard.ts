import type { DataplaneOptions, SpdValue } from '../../dataplane/dataplane.js';
import { formatSelector } from '../../spd/selector.js';

/** What a guard is made of: the names and interfaces of the gateway, and its whole policy. */
export interface GuardRequest {
  readonly options: DataplaneOptions;
  readonly spd: SpdValue;
}

/** What was done to the host, one sentence each. */
export interface GuardReport {
  readonly done: readonly string[];
  /** True where a guard of this gateway stood before. */
  readonly found: boolean;
}

/**
 * What the native dataplane's module offers besides the dataplane: the guard without a gateway, and
 * what only native code can find out about the host.
 */
export interface HostAccess {
  /** Installs the fail-closed guard of a gateway, or replaces the one that stands. Idempotent. */
  installGuard(request: GuardRequest): Promise<GuardReport>;
  /** Removes everything that carries a gateway's name, and its TUN interface. Idempotent. */
  removeGuard(gateway: string, interfaceName: string): Promise<GuardReport>;
}

/** What the policy protects, one line for each entry: this goes in clear without a guard. */
export function protectedTraffic(spd: SpdValue): readonly string[] {
  return spd.entries
    .filter((entry) => entry.action === 'PROTECT')
    .map((entry) => `${entry.name}: ${formatSelector(entry.selector)}`);
}
