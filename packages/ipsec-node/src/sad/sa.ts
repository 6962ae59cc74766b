import type { Selector } from '../spd/selector.js';
import type { SuiteName } from './suite.js';

/** Names one direction of one SA. */
export interface SaIdentifier {
  readonly direction: 'outbound' | 'inbound';
  /** 256..2^32-1. */
  readonly spi: number;
}

/**
 * Parameters of one direction of one SA (RFC 4301 section 4.4.2.1): everything but what packets
 * change. Of a manually keyed SA the durable state adds where its sequence numbers stand.
 */
export interface SaParameters {
  readonly id: SaIdentifier;
  /** Name of the SPD entry that this SA serves. */
  readonly entry: string;
  readonly selector: Selector;
  readonly suite: SuiteName;
  /** Encryption key, then salt or integrity key. A copy: whoever installs the SA zeroes it. */
  readonly key: Uint8Array;
  readonly mode: 'tunnel' | 'transport';
  /** Outer addresses, canonical. */
  readonly local: string;
  readonly remote: string;
  readonly encapsulation: 'udp' | 'esp';
  readonly localPort: number;
  readonly remotePort: number;
  readonly esn: boolean;
  /** Packets: 64..65536, a power of two. */
  readonly replayWindow: number;
  /** TFC padding: bytes each inner packet is padded to; 0: none. */
  readonly tfcPadToBytes: number;
  /** RFC 4301 section 8.1: what becomes of the inner DF bit. */
  readonly dontFragment: 'copy' | 'set' | 'clear';
}
