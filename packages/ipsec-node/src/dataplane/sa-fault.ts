import { UsageError } from '../errors.js';
import { tryParseIpAddress } from '../net/ip-address.js';
import { keyMaterialLen, keyMaterialParts } from '../sad/suite.js';
import type { IkePath, SaEndpointValue, SaValue } from './dataplane.js';

/**
 * Says in what the parameters of an SA contradict each other or are out of range; null: in nothing.
 * One check for every dataplane, before the value leaves TypeScript.
 */
export function saFault(sa: SaValue): string | null {
  const { spi } = sa.id;
  // RFC 4303 section 2.1: SPIs 1 to 255 are reserved and 0 is never sent.
  if (!Number.isInteger(spi) || spi < 256 || spi > 0xffff_ffff) return 'the SPI is not 256..2^32-1';
  if (sa.key.length !== keyMaterialLen(sa.suite)) {
    const parts = keyMaterialParts(sa.suite);
    return `a key of ${sa.suite} has ${keyMaterialLen(sa.suite)} bytes: ${parts}`;
  }
  const endpoint = endpointFault(sa);
  if (endpoint !== null) return endpoint;
  if (sa.id.direction === 'inbound' && !isWindow(sa.replayWindow)) {
    return 'the replay window is not 0 or a power of two from 64 to 65536';
  }
  if (sa.sequenceNumber < 0n) return 'the sequence number is negative';
  return null;
}

/** The same of the two ends of an SA. */
export function endpointFault(endpoint: SaEndpointValue): string | null {
  const local = tryParseIpAddress(endpoint.local);
  const remote = tryParseIpAddress(endpoint.remote);
  if (local === null || remote === null) return 'an outer address is not an IP address';
  if (local.family !== remote.family) return 'the outer addresses are of different families';
  if (!isPort(endpoint.localPort) || !isPort(endpoint.remotePort)) {
    return 'a UDP port is not 1..65535';
  }
  return null;
}

const isPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 65_535;

/**
 * The address to send a datagram from; the unspecified one lets the kernel choose, and so does ''.
 * `ports` are those that it may leave from.
 *
 * @throws UsageError IPSEC_ERR_USAGE where the path is none
 */
export function requireSource(path: IkePath, ports: readonly number[]): string {
  const refuse = (fault: string): UsageError =>
    new UsageError('IPSEC_ERR_USAGE', `A datagram cannot be sent: ${fault}.`);
  const remote = tryParseIpAddress(path.remote);
  if (remote === null) throw refuse(`${path.remote} is not an IP address`);
  if (!isPort(path.remotePort)) throw refuse(`port ${path.remotePort} is not 1..65535`);
  if (!ports.includes(path.localPort)) {
    throw refuse(`it leaves from port ${ports.join(' or ')}, not ${path.localPort}`);
  }
  if (path.local === '') return remote.family === 4 ? '0.0.0.0' : '::';
  const local = tryParseIpAddress(path.local);
  if (local === null) throw refuse(`${path.local} is not an IP address`);
  if (local.family !== remote.family) throw refuse('its addresses are of different families');
  return path.local;
}

function isWindow(packets: number): boolean {
  if (packets === 0) return true;
  return packets >= 64 && packets <= 65_536 && Number.isInteger(Math.log2(packets));
}
