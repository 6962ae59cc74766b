/** RFC 4303 section 2.1: 0 is for local use and 1..255 are reserved. */
export const SPI_MIN = 256;
export const SPI_MAX = 0xffff_ffff;

/** True for a whole number of 256..2^32-1. */
export function isSpi(value: number): boolean {
  return Number.isInteger(value) && value >= SPI_MIN && value <= SPI_MAX;
}

/** Writes an SPI as eight hexadecimal digits, as packet tools show it. */
export function formatSpi(spi: number): string {
  return `0x${spi.toString(16).padStart(8, '0')}`;
}
