/** Protocol IDs (RFC 7296 section 3.3.1). */
export const PROTOCOL_ID = { ike: 1, ah: 2, esp: 3 } as const;

/**
 * Whether an SPI of a proposal may have that length: 4 bytes for AH and ESP; for IKE none in the
 * first exchange and 8 in a rekey. Of protocols that are not known anything goes.
 */
export function isSpiLen(protocolId: number, len: number): boolean {
  if (protocolId === PROTOCOL_ID.ike) return len === 0 || len === 8;
  if (protocolId === PROTOCOL_ID.ah || protocolId === PROTOCOL_ID.esp) return len === 4;
  return true;
}
