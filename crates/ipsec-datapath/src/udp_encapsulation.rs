//! RFC 3948: what a datagram on UDP 4500 is.

use ipsec_wire::esp;

/// Bytes of the Non-ESP Marker (RFC 3948 section 2.2).
pub const NON_ESP_MARKER_LEN: usize = 4;
/// Bytes of an IKE header (RFC 7296 section 3.1): a shorter datagram is nothing.
pub const IKE_HEADER_LEN: usize = 28;

/// A datagram by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// ESP with this SPI and low half of the sequence number.
    Esp {
        /// SPI.
        spi: u32,
        /// Low 32 bits of the sequence number.
        sequence_low: u32,
    },
    /// IKE behind the Non-ESP Marker.
    Ike,
    /// RFC 3948 section 2.3: one byte 0xff.
    Keepalive,
    /// Nothing of these.
    Short,
}

/// Looks at the payload of one datagram.
#[inline]
pub fn classify(payload: &[u8]) -> Datagram {
    match esp::header(payload) {
        Some((0, _)) if payload.len() >= NON_ESP_MARKER_LEN + IKE_HEADER_LEN => Datagram::Ike,
        Some((0, _)) => Datagram::Short,
        Some((spi, sequence_low)) => Datagram::Esp { spi, sequence_low },
        None if payload == [0xff] => Datagram::Keepalive,
        None => Datagram::Short,
    }
}
