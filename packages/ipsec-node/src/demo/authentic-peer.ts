/**
 * A peer that holds the key and means harm: seals whatever it likes. By node:crypto and not by the
 * product, which would refuse to seal some of it.
 */
import { createCipheriv, randomBytes } from 'node:crypto';

/** RFC 4303 section 2.6: Next Header. */
export const NEXT_HEADER = { ipv4: 4, tcp: 6, ipv6: 41 } as const;

/** What the peer knows: the SA of one direction, with extended sequence numbers and AES-256-GCM. */
export interface PeerKey {
  readonly spi: number;
  /** 32 bytes cipher key, 4 bytes salt. */
  readonly key: Uint8Array;
}

/** What the peer puts into an ESP packet. */
export interface Sealing {
  readonly sequenceNumber: bigint;
  readonly payload: Uint8Array;
  readonly nextHeader: number;
  /** Whether the padding is 1, 2, 3 (RFC 4303 section 2.4). */
  readonly paddingIsRight: boolean;
}

/** Bytes of padding; with them the trailer ends on four bytes and there is something to get wrong. */
const PADDING_LEN_MIN = 4;

/** An ESP packet, SPI through ICV (RFC 4303 section 2, RFC 4106). */
export function seal({ spi, key }: PeerKey, sealing: Sealing): Uint8Array {
  const { sequenceNumber, payload, nextHeader, paddingIsRight } = sealing;
  const paddingLen = PADDING_LEN_MIN + ((4 - ((payload.length + PADDING_LEN_MIN + 2) % 4)) % 4);
  const padding = Uint8Array.from({ length: paddingLen }, (_, at) => (paddingIsRight ? at + 1 : 0));
  const plaintext = Buffer.concat([payload, padding, Uint8Array.of(paddingLen, nextHeader)]);
  // RFC 4106 section 5: SPI and the whole sequence number.
  const aad = Buffer.alloc(12);
  aad.writeUInt32BE(spi, 0);
  aad.writeBigUInt64BE(sequenceNumber, 4);
  // The gateway's own IVs are its sequence numbers; a random one does not meet them.
  const iv = randomBytes(8);
  const nonce = Buffer.concat([key.subarray(32), iv]);
  const cipher = createCipheriv('aes-256-gcm', key.subarray(0, 32), nonce);
  cipher.setAAD(aad);
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  const front = Buffer.concat([aad.subarray(0, 4), aad.subarray(8, 12), iv]);
  return Buffer.concat([front, ciphertext, cipher.getAuthTag()]);
}
