import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

const KEY = randomBytes(32);
const SALT = randomBytes(4);
const IV_BYTES = 8;
const ESP_HEADER_BYTES = 8;
const ICV_BYTES = 16;

/** What one packet leaves behind: enough to open it again. */
export interface Sealed {
  readonly nonce: Buffer;
  readonly header: Buffer;
  readonly ciphertext: Buffer;
  readonly icv: Buffer;
}

let sequenceNumber = 0n;

/** ESP by hand: trailer, nonce, additional data, one cipher object, one tag. */
export function seal(packet: Uint8Array): Sealed {
  sequenceNumber += 1n;
  const padding = (4 - ((packet.length + 2) % 4)) % 4;
  const trailer = Buffer.alloc(padding + 2);
  for (let index = 0; index < padding; index += 1) {
    trailer[index] = index + 1;
  }
  trailer[padding] = padding;
  trailer[padding + 1] = 4;
  const header = Buffer.alloc(ESP_HEADER_BYTES);
  header.writeUInt32BE(0xc0000001, 0);
  header.writeUInt32BE(Number(sequenceNumber & 0xffffffffn), 4);
  const nonce = Buffer.alloc(SALT.length + IV_BYTES);
  SALT.copy(nonce);
  nonce.writeBigUInt64BE(sequenceNumber, SALT.length);
  const cipher = createCipheriv('aes-256-gcm', KEY, nonce, { authTagLength: ICV_BYTES });
  cipher.setAAD(header);
  const body = cipher.update(packet);
  const tail = cipher.update(trailer);
  cipher.final();
  return { nonce, header, ciphertext: Buffer.concat([body, tail]), icv: cipher.getAuthTag() };
}

/** Throws where the ICV does not verify. Returns the packet without its trailer. */
export function open(sealed: Sealed): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', KEY, sealed.nonce, {
    authTagLength: ICV_BYTES,
  });
  decipher.setAAD(sealed.header);
  decipher.setAuthTag(sealed.icv);
  const plain = decipher.update(sealed.ciphertext);
  decipher.final();
  const padding = plain[plain.length - 2] ?? 0;
  return plain.subarray(0, plain.length - 2 - padding);
}
