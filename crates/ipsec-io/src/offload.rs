//! The virtio-net header in front of each packet of a TUN (virtio 1.3 section 5.1.6, in the byte
//! order of the machine as Linux has it).

/// Bytes of the header.
pub const VNET_HEADER_LEN: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;
const TCP_CHECKSUM_OFFSET: u16 = 16;

/// What the kernel left for us to do with a packet read from the TUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOffload {
    /// Nothing.
    None,
    /// Complete the checksum at `start + offset`.
    Checksum {
        /// Where the checksummed part starts.
        start: usize,
        /// Where in it the checksum lies.
        offset: usize,
    },
    /// TCP to segment.
    Tcp {
        /// Bytes of payload a segment.
        segment_len: usize,
    },
    /// UDP to segment.
    Udp {
        /// Bytes of payload a datagram.
        segment_len: usize,
    },
    /// A kind that was not asked for.
    Unknown,
}

/// What the kernel is to do with a packet written to the TUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOffload {
    /// Deliver as it is; its checksum is its own.
    None,
    /// TCP pieces of one stream.
    Tcp {
        /// IPv6 rather than IPv4.
        is_v6: bool,
        /// Offset of the TCP header.
        next_layer: u16,
        /// Bytes of all headers: exactly, for the kernel keeps that much in one piece.
        headers_len: u16,
        /// Bytes of payload of each piece but the last.
        segment_len: u16,
    },
}

/// Reads the header.
pub fn decode(header: &[u8; VNET_HEADER_LEN]) -> ReadOffload {
    let word = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
    match header[1] & !GSO_ECN {
        GSO_NONE if header[0] & NEEDS_CHECKSUM != 0 => ReadOffload::Checksum {
            start: word(6),
            offset: word(8),
        },
        GSO_NONE => ReadOffload::None,
        GSO_TCPV4 | GSO_TCPV6 => ReadOffload::Tcp {
            segment_len: word(4),
        },
        GSO_UDP_L4 => ReadOffload::Udp {
            segment_len: word(4),
        },
        _ => ReadOffload::Unknown,
    }
}

/// Writes the header.
pub fn encode(offload: WriteOffload) -> [u8; VNET_HEADER_LEN] {
    let mut header = [0; VNET_HEADER_LEN];
    match offload {
        WriteOffload::None => {}
        WriteOffload::Tcp {
            is_v6,
            next_layer,
            headers_len,
            segment_len,
        } => {
            header[0] = NEEDS_CHECKSUM;
            header[1] = if is_v6 { GSO_TCPV6 } else { GSO_TCPV4 };
            header[2..4].copy_from_slice(&headers_len.to_ne_bytes());
            header[4..6].copy_from_slice(&segment_len.to_ne_bytes());
            header[6..8].copy_from_slice(&next_layer.to_ne_bytes());
            header[8..].copy_from_slice(&TCP_CHECKSUM_OFFSET.to_ne_bytes());
        }
    }
    header
}
