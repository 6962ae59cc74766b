//! The IPv6 header (RFC 8200) and the walk over its extension headers.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |Version| Traffic Class |           Flow Label                  |
//! |         Payload Length        |  Next Header  |   Hop Limit   |
//! |                         Source Address                        |
//! |                      Destination Address                      |
//! ```

use crate::ip_packet::{Fragment, Malformed};
use crate::protocol_number::ProtocolNumber;

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Offset of Payload Length.
pub const PAYLOAD_LEN: usize = 4;
/// Offset of Next Header.
pub const NEXT_HEADER: usize = 6;
/// Offset of Hop Limit.
pub const HOP_LIMIT: usize = 7;
/// Offset of Source Address; Destination Address follows.
pub const SOURCE: usize = 8;

/// Most extension headers that are walked; a longer chain is malformed.
pub const EXTENSION_HEADER_COUNT_MAX: usize = 8;
/// Most bytes of extension headers that are walked.
pub const EXTENSION_HEADERS_LEN_MAX: usize = 256;

/// Where the walk over the extension headers ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NextLayer {
    pub(crate) protocol: ProtocolNumber,
    pub(crate) offset: usize,
    pub(crate) fragment: Fragment,
}

/// Walks from the fixed header to the next layer header. `packet` is as long as Payload Length says.
pub(crate) fn walk(packet: &[u8]) -> Result<NextLayer, Malformed> {
    let mut protocol = ProtocolNumber(packet[NEXT_HEADER]);
    let mut offset = HEADER_LEN;
    let mut fragment = Fragment::None;
    let mut fragmented = false;
    for count in 0.. {
        let len = match protocol {
            ProtocolNumber::HOP_BY_HOP
            | ProtocolNumber::ROUTING
            | ProtocolNumber::DESTINATION_OPTIONS => {
                let header = packet
                    .get(offset..offset + 8)
                    .ok_or(Malformed::ExtensionHeader)?;
                // RFC 8200 section 4.1: Hop-by-Hop Options only directly after the fixed header.
                if protocol == ProtocolNumber::HOP_BY_HOP && offset != HEADER_LEN {
                    return Err(Malformed::ExtensionHeader);
                }
                // RFC 5095 section 3: a type 0 Routing header is not processed.
                if protocol == ProtocolNumber::ROUTING && header[2] == 0 && header[3] != 0 {
                    return Err(Malformed::RoutingHeader);
                }
                (usize::from(header[1]) + 1) * 8
            }
            // RFC 8200 section 4.1: each extension header at most once; a second Fragment header would
            // speak for another packet than the first.
            ProtocolNumber::FRAGMENT if fragmented => return Err(Malformed::ExtensionHeader),
            ProtocolNumber::FRAGMENT => {
                fragmented = true;
                let header = packet
                    .get(offset..offset + 8)
                    .ok_or(Malformed::ExtensionHeader)?;
                let field = u16::from_be_bytes([header[2], header[3]]);
                fragment = Fragment::from_units(field >> 3, field & 1 != 0);
                8
            }
            _ => {
                return Ok(NextLayer {
                    protocol,
                    offset,
                    fragment,
                });
            }
        };
        if count >= EXTENSION_HEADER_COUNT_MAX
            || offset + len - HEADER_LEN > EXTENSION_HEADERS_LEN_MAX
            || offset + len > packet.len()
        {
            return Err(Malformed::ExtensionHeader);
        }
        let next = ProtocolNumber(packet[offset]);
        offset += len;
        protocol = next;
        // Behind a non-initial fragment header lies payload, not a header.
        if matches!(fragment, Fragment::Later { .. }) {
            return Ok(NextLayer {
                protocol,
                offset,
                fragment,
            });
        }
    }
    Err(Malformed::ExtensionHeader)
}
