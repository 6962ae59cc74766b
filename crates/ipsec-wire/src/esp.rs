//! The ESP packet (RFC 4303 section 2).
//!
//! ```text
//! |               Security Parameters Index (SPI)                 |
//! |                      Sequence Number                          |
//! |                    IV (8 bytes, CBC: 16)                          |
//! |                    Payload Data (variable)                    |
//! |     TFC padding       |     Padding (0-255 bytes)             |
//! |                               |  Pad Length   | Next Header   |
//! |         Integrity Check Value-ICV   (12 to 32 bytes)           |
//! ```

/// Bytes of SPI and Sequence Number.
pub const HEADER_LEN: usize = 8;
/// Bytes of Pad Length and Next Header.
pub const TRAILER_LEN: usize = 2;
/// SPIs 0 to 255 are reserved (RFC 4303 section 2.1).
pub const SPI_MIN: u32 = 256;

/// SPI and low 32 bits of the sequence number, or `None` when `packet` is shorter than both.
#[inline]
pub fn header(packet: &[u8]) -> Option<(u32, u32)> {
    let (spi, rest) = packet.split_first_chunk::<4>()?;
    let sequence = rest.first_chunk::<4>()?;
    Some((u32::from_be_bytes(*spi), u32::from_be_bytes(*sequence)))
}

/// SPI and low 32 bits of the sequence number as they start a packet.
#[inline]
pub fn header_of(spi: u32, sequence_low: u32) -> [u8; HEADER_LEN] {
    (u64::from(spi) << 32 | u64::from(sequence_low)).to_be_bytes()
}
