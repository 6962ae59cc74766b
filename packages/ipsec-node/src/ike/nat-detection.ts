import { parseIpAddress } from '../net/ip-address.js';
import { sha1 } from './crypto/digest.js';
import { PayloadWriter } from './payload/writer.js';

/**
 * The data of a NAT_DETECTION_SOURCE_IP or NAT_DETECTION_DESTINATION_IP notification (RFC 7296
 * section 2.23): SHA-1 of the SPIs in the order of the header, the address and the port.
 *
 * @throws UsageError IPSEC_ERR_ADDRESS_SYNTAX
 */
export function natDetectionHash(
  spiInitiator: bigint,
  spiResponder: bigint,
  address: string,
  port: number,
): Uint8Array {
  const { family, value } = parseIpAddress(address);
  const writer = new PayloadWriter().uint64(spiInitiator).uint64(spiResponder);
  if (family === 4) writer.uint32(Number(value));
  else writer.uint64(value >> 64n).uint64(value & 0xffff_ffff_ffff_ffffn);
  return sha1(writer.uint16(port).finish());
}
