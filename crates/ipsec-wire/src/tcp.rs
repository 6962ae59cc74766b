//! The TCP header (RFC 9293).

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Offset of Sequence Number.
pub const SEQUENCE: usize = 4;
/// Offset of Acknowledgment Number.
pub const ACKNOWLEDGMENT: usize = 8;
/// Offset of Data Offset (high 4 bits).
pub const DATA_OFFSET: usize = 12;
/// Offset of the flags.
pub const FLAGS: usize = 13;
/// Offset of Checksum.
pub const CHECKSUM: usize = 16;

/// FIN.
pub const FIN: u8 = 0x01;
/// SYN.
pub const SYN: u8 = 0x02;
/// RST.
pub const RST: u8 = 0x04;
/// PSH.
pub const PSH: u8 = 0x08;
/// ACK.
pub const ACK: u8 = 0x10;
/// URG.
pub const URG: u8 = 0x20;
/// ECE.
pub const ECE: u8 = 0x40;
/// CWR.
pub const CWR: u8 = 0x80;

/// Header length with options, or `None` when `segment` holds no whole header.
#[inline]
pub fn header_len(segment: &[u8]) -> Option<usize> {
    let len = usize::from(*segment.get(DATA_OFFSET)? >> 4) * 4;
    (len >= HEADER_LEN && len <= segment.len()).then_some(len)
}

/// Sequence Number in host order; `segment` holds a whole header.
#[inline]
pub fn sequence(segment: &[u8]) -> u32 {
    u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]])
}
