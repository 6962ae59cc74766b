//! The IPv4 header (RFC 791).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |Version|  IHL  |Type of Service|          Total Length         |
//! |         Identification        |Flags|      Fragment Offset    |
//! |  Time to Live |    Protocol   |         Header Checksum       |
//! |                       Source Address                          |
//! |                    Destination Address                        |
//! ```

use crate::checksum::Sum;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Offset of Type of Service.
pub const TOS: usize = 1;
/// Offset of Total Length.
pub const TOTAL_LEN: usize = 2;
/// Offset of Identification.
pub const IDENTIFICATION: usize = 4;
/// Offset of Flags and Fragment Offset.
pub const FLAGS: usize = 6;
/// Offset of Time to Live.
pub const TTL: usize = 8;
/// Offset of Protocol.
pub const PROTOCOL: usize = 9;
/// Offset of Header Checksum.
pub const CHECKSUM: usize = 10;
/// Offset of Source Address; Destination Address follows.
pub const SOURCE: usize = 12;
/// The Don't Fragment flag in the 16 bits at [`FLAGS`].
pub const DONT_FRAGMENT: u16 = 0x4000;

/// Writes Total Length and Identification and makes the header checksum new.
#[inline]
pub fn set_length_and_id(header: &mut [u8], total_len: u16, identification: u16) {
    header[TOTAL_LEN..TOTAL_LEN + 2].copy_from_slice(&total_len.to_be_bytes());
    header[IDENTIFICATION..IDENTIFICATION + 2].copy_from_slice(&identification.to_be_bytes());
    set_checksum(header);
}

/// Makes the header checksum new; `header` is the whole header with its options.
#[inline]
pub fn set_checksum(header: &mut [u8]) {
    header[CHECKSUM..CHECKSUM + 2].fill(0);
    let checksum = Sum::ZERO.add_bytes(header).finish();
    header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
}
