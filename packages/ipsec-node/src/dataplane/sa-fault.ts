import { tryParseIpAddress } from '../net/ip-address.js';
import { keyMaterialLen, keyMaterialParts } from '../sad/suite.js';
import type { SaValue } from './dataplane.js';

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
  if (sa.mode !== 'tunnel') return 'transport mode is not in this version';
  const local = tryParseIpAddress(sa.local);
  const remote = tryParseIpAddress(sa.remote);
  if (local === null || remote === null) return 'an outer address is not an IP address';
  if (local.family !== remote.family) return 'the outer addresses are of different families';
  for (const port of [sa.localPort, sa.remotePort]) {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) return 'a UDP port is not 1..65535';
  }
  if (sa.id.direction === 'inbound' && !isWindow(sa.replayWindow)) {
    return 'the replay window is not 0 or a power of two from 64 to 65536';
  }
  if (sa.sequenceNumber < 0n) return 'the sequence number is negative';
  return null;
}

function isWindow(packets: number): boolean {
  if (packets === 0) return true;
  return packets >= 64 && packets <= 65_536 && Number.isInteger(Math.log2(packets));
}
