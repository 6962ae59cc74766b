//! ESP processing (RFC 4303 sections 3.3 and 3.4), in place in a packet's own cell.

mod decapsulate;
mod encapsulate;
mod trailer;

pub use decapsulate::{Opened, open};
pub use encapsulate::{Content, encapsulate};

/// The additional data of the AEADs (RFC 4106 section 5, RFC 7634 section 2.1): SPI and sequence
/// number, 8 bytes, or 12 with extended numbers.
struct AdditionalData {
    bytes: [u8; 12],
    len: usize,
}

impl AdditionalData {
    #[inline]
    fn new(spi: u32, sequence_number: u64, extended: bool) -> Self {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&spi.to_be_bytes());
        if extended {
            bytes[4..].copy_from_slice(&sequence_number.to_be_bytes());
            Self { bytes, len: 12 }
        } else {
            bytes[4..8].copy_from_slice(&(sequence_number as u32).to_be_bytes());
            Self { bytes, len: 8 }
        }
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
