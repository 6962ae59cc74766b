import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { ResourceError } from '../../errors.js';

/** Linux capabilities that the gateway needs, by their bit (capabilities(7)). */
const CAPABILITIES = {
  CAP_NET_BIND_SERVICE: 10,
  CAP_NET_ADMIN: 12,
  CAP_NET_RAW: 13,
} as const;
/** A capability by its name. */
export type CapabilityName = keyof typeof CAPABILITIES;

/** What each capability is for. */
export const CAPABILITY_PURPOSES: Readonly<Record<CapabilityName, string>> = {
  CAP_NET_ADMIN: 'makes the TUN interface, routes and nftables rules',
  CAP_NET_RAW: 'sends and receives raw ESP',
  CAP_NET_BIND_SERVICE: 'listens on ports below 1024',
};

/** The device that makes TUN interfaces. */
export const TUN_DEVICE = '/dev/net/tun';

/** Reads the effective capabilities of this process; `undefined` where there is no /proc. */
export function effectiveCapabilities(): ReadonlySet<CapabilityName> | undefined {
  const status = readText('/proc/self/status');
  const mask = status === undefined ? null : /^CapEff:\s*([0-9a-f]+)$/m.exec(status);
  const digits = mask?.[1];
  if (digits === undefined) return undefined;
  const bits = BigInt(`0x${digits}`);
  const held = new Set<CapabilityName>();
  for (const name of capabilityNames()) {
    if (((bits >> BigInt(CAPABILITIES[name])) & 1n) === 1n) held.add(name);
  }
  return held;
}

/** The capabilities that a gateway on these ports needs. */
export function neededCapabilities(ports: readonly number[]): readonly CapabilityName[] {
  const text = readText('/proc/sys/net/ipv4/ip_unprivileged_port_start');
  const firstFree = text === undefined ? 1024 : Number(text);
  const low = ports.some((port) => port < firstFree);
  return low
    ? ['CAP_NET_ADMIN', 'CAP_NET_RAW', 'CAP_NET_BIND_SERVICE']
    : ['CAP_NET_ADMIN', 'CAP_NET_RAW'];
}

/**
 * How to grant capabilities. Never `setcap` on the `node` program: that grants them to every script
 * that anybody on the host runs.
 */
export function howToGrant(missing: readonly CapabilityName[]): string {
  const docker = missing.map((name) => `--cap-add ${name.slice('CAP_'.length)}`).join(' ');
  return (
    'Run it as root (sudo), or grant them to the service alone: in a systemd unit ' +
    `AmbientCapabilities=${missing.join(' ')}, with docker ${docker} --device ${TUN_DEVICE}. ` +
    'Do not use setcap on node: every script would have them.'
  );
}

/**
 * Refuses early, and in plain words, what the operating system would refuse a gateway later.
 *
 * @throws ResourceError IPSEC_ERR_PRIVILEGE_MISSING, IPSEC_ERR_DEVICE_UNAVAILABLE
 */
export function requireGatewayPrivileges(ports: readonly number[]): void {
  const refused = 'The gateway cannot start';
  requireCapabilities(refused, neededCapabilities(ports));
  const fault = tunDeviceFault();
  if (fault !== undefined) {
    throw new ResourceError(
      'IPSEC_ERR_DEVICE_UNAVAILABLE',
      `${refused}: ${fault.found}. ${fault.remedy}`,
      { fields: { device: TUN_DEVICE, adviceInMessage: true } },
    );
  }
}

/**
 * The same for the guard alone: it has neither sockets nor a TUN.
 *
 * @throws ResourceError IPSEC_ERR_PRIVILEGE_MISSING
 */
export function requireGuardPrivileges(): void {
  requireCapabilities('The guard cannot be changed', ['CAP_NET_ADMIN']);
}

function requireCapabilities(refused: string, needed: readonly CapabilityName[]): void {
  const held = effectiveCapabilities();
  const missing = needed.filter((name) => held !== undefined && !held.has(name));
  if (missing.length === 0) return;
  const purposes = missing.map((name) => `${name}, which ${CAPABILITY_PURPOSES[name]}`);
  throw new ResourceError(
    'IPSEC_ERR_PRIVILEGE_MISSING',
    `${refused}: this process lacks ${purposes.join('; ')}. ${howToGrant(missing)}`,
    { fields: { missing: missing.join(' '), adviceInMessage: true } },
  );
}

/** What is wrong with the TUN device, if anything. */
export function tunDeviceFault(): { readonly found: string; readonly remedy: string } | undefined {
  const facts = statSync(TUN_DEVICE, { throwIfNoEntry: false });
  if (facts === undefined) {
    return {
      found: `${TUN_DEVICE} does not exist`,
      remedy: `Load the module with modprobe tun; in a container add --device ${TUN_DEVICE}.`,
    };
  }
  try {
    accessSync(TUN_DEVICE, constants.R_OK | constants.W_OK);
  } catch {
    return {
      found: `${TUN_DEVICE} may not be opened by this user`,
      remedy: `Usual is mode 0666: chmod 0666 ${TUN_DEVICE}; in a unit DeviceAllow=${TUN_DEVICE} rw.`,
    };
  }
  return undefined;
}

function capabilityNames(): readonly CapabilityName[] {
  return ['CAP_NET_ADMIN', 'CAP_NET_RAW', 'CAP_NET_BIND_SERVICE'];
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
