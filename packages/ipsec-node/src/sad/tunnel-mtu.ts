import { InternalError } from '../errors.js';
import { SUITES, type SuiteName } from './suite.js';

/** What the size of an encapsulated packet depends on. */
export interface TunnelMtuOptions {
  /** Bytes that the outer path carries in one packet. */
  readonly outerMtuBytes: number;
  readonly outerFamily: 4 | 6;
  readonly encapsulation: 'udp' | 'esp';
  readonly suite: SuiteName;
}

/** The MTU of Ethernet, assumed where the outer path is not known. */
export const OUTER_MTU_BYTES_DEFAULT = 1500;

const OUTER_HEADER_LEN = { 4: 20, 6: 40 } as const;
const UDP_HEADER_LEN = 8;
const ESP_HEADER_LEN = 8;
/** Pad Length and Next Header. */
const ESP_TRAILER_LEN = 2;

/**
 * The largest inner packet, in bytes, that fits the outer path after tunnel-mode ESP: no outer
 * fragment is ever needed for it.
 *
 * @throws InternalError IPSEC_ERR_INTERNAL where the outer MTU leaves no room at all.
 */
export function tunnelMtuBytes(options: TunnelMtuOptions): number {
  const suite = SUITES[options.suite];
  const overhead =
    OUTER_HEADER_LEN[options.outerFamily] +
    (options.encapsulation === 'udp' ? UDP_HEADER_LEN : 0) +
    ESP_HEADER_LEN +
    suite.ivLen +
    suite.icvLen;
  const room = options.outerMtuBytes - overhead;
  // RFC 4303 section 2.4: payload and trailer end on a 4-byte boundary, or on the cipher's blocks.
  const mtu = room - (room % suite.alignment) - ESP_TRAILER_LEN;
  if (mtu <= 0) {
    throw new InternalError('IPSEC_ERR_INTERNAL', 'The outer MTU leaves no room for a packet.', {
      fields: { outerMtuBytes: options.outerMtuBytes, overheadBytes: overhead },
    });
  }
  return mtu;
}
