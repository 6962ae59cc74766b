/** PEM (RFC 7468): blocks of base64 between two lines. What is in them is not looked at. */

/** One block: the words of its first line, and its bytes. */
export interface PemBlock {
  readonly label: string;
  readonly der: Uint8Array;
  /** The block as it was written, header lines of old key files included. */
  readonly text: string;
}

/** Bytes of a file of certificates or keys, and blocks in it. */
export const PEM_BYTES_MAX = 4 * 1024 * 1024;
export const PEM_BLOCKS_MAX = 1_024;

const BLOCK = /-----BEGIN ([A-Z0-9 ]{1,40})-----([^-]*)-----END \1-----/g;

/** The blocks of a text; null where there are none, too many, or one is not base64. */
export function parsePem(bytes: Uint8Array): readonly PemBlock[] | null {
  if (bytes.length > PEM_BYTES_MAX) return null;
  const blocks: PemBlock[] = [];
  for (const [text, label, body] of Buffer.from(bytes).toString('latin1').matchAll(BLOCK)) {
    // RFC 1421 headers (Proc-Type, DEK-Info) stand before an empty line.
    const base64 = (body ?? '').replace(/^\s*([A-Za-z-]+:.*\r?\n)+\s*\n/, '').replace(/\s+/g, '');
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64) || blocks.length === PEM_BLOCKS_MAX) return null;
    blocks.push({ label: label ?? '', der: new Uint8Array(Buffer.from(base64, 'base64')), text });
  }
  return blocks.length === 0 ? null : blocks;
}

/** Whether bytes look like PEM rather than DER. */
export function isPem(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(0, PEM_BYTES_MAX)).includes('-----BEGIN ');
}
