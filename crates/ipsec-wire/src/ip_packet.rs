//! An IP packet whose lengths and offsets were checked once, through the next layer header.

use crate::protocol_number::ProtocolNumber;
use crate::{ipv4, ipv6, tcp};

/// Why bytes are not an IP packet that policy can be applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its own header.
    Short,
    /// The version nibble is neither 4 nor 6.
    Version,
    /// IPv4 IHL below 5, or options that run past the header.
    HeaderLength,
    /// Total Length or Payload Length does not fit the data, or is below the header; or a jumbogram.
    Length,
    /// The IPv4 header checksum is wrong.
    Checksum,
    /// The chain of IPv6 extension headers is too long, runs past the packet or is out of order.
    ExtensionHeader,
    /// A type 0 Routing header (RFC 5095).
    RoutingHeader,
    /// A fragment that runs past 65,535 bytes or that hides the ports of its first (RFC 1858).
    Fragment,
}

/// What fragment a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// Not fragmented, or an atomic fragment (RFC 6946).
    None,
    /// The first of several: the next layer header is in it.
    First,
    /// A later one: no next layer header.
    Later {
        /// Offset in units of 8 bytes.
        units: u16,
    },
}

impl Fragment {
    pub(crate) fn from_units(units: u16, more: bool) -> Self {
        match (units, more) {
            (0, false) => Self::None,
            (0, true) => Self::First,
            (units, _) => Self::Later { units },
        }
    }
}

/// The addresses and next layer fields of a packet as its header gives them. It is the key of the
/// flow cache, so two packets with the same key get the same decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Source; IPv4 in the low 32 bits.
    pub source: u128,
    /// Destination; IPv4 in the low 32 bits.
    pub destination: u128,
    /// Source port; ICMP type in the high and code in the low byte.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Next layer protocol.
    pub protocol: ProtocolNumber,
    /// IPv6.
    pub is_v6: bool,
    /// Whether the port or ICMP fields were there to be read; else they are OPAQUE.
    pub has_next_layer: bool,
}

/// A checked IP packet. Borrowed bytes are exactly as long as its own length field says.
#[derive(Clone, Copy, Debug)]
pub struct IpPacket<'a> {
    bytes: &'a [u8],
    next_layer_offset: u16,
    protocol: ProtocolNumber,
    fragment: Fragment,
    is_v6: bool,
}

impl<'a> IpPacket<'a> {
    /// Checks `data` and trims it to the packet's own length: what is behind is TFC padding or the
    /// link's (RFC 4303 section 2.7).
    #[inline]
    pub fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        Self::parse_parts(data, data.len(), true)
    }

    /// Checks the headers of a packet of `whole_len` bytes of which only the first `head` are at
    /// hand, as of a super-packet that lies in pieces; [`Self::bytes`] is then the part at hand. The
    /// IPv4 checksum is taken as good: the packet comes from our own kernel.
    #[inline]
    pub fn parse_head(head: &'a [u8], whole_len: usize) -> Result<Self, Malformed> {
        Self::parse_parts(head, whole_len, false)
    }

    #[inline]
    fn parse_parts(
        data: &'a [u8],
        whole_len: usize,
        verify_checksum: bool,
    ) -> Result<Self, Malformed> {
        match data.first().ok_or(Malformed::Short)? >> 4 {
            4 => Self::parse_v4(data, whole_len, verify_checksum),
            6 => Self::parse_v6(data, whole_len),
            _ => Err(Malformed::Version),
        }
    }

    fn parse_v4(
        data: &'a [u8],
        whole_len: usize,
        verify_checksum: bool,
    ) -> Result<Self, Malformed> {
        let header: &[u8; ipv4::HEADER_LEN] = data.first_chunk().ok_or(Malformed::Short)?;
        let header_len = usize::from(header[0] & 0xf) * 4;
        if header_len < ipv4::HEADER_LEN {
            return Err(Malformed::HeaderLength);
        }
        let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if total_len < header_len || total_len > whole_len {
            return Err(Malformed::Length);
        }
        let bytes = &data[..total_len.min(data.len())];
        if bytes.len() < header_len {
            return Err(Malformed::Short);
        }
        if verify_checksum
            && crate::checksum::Sum::ZERO
                .add_bytes(&bytes[..header_len])
                .finish()
                != 0
        {
            return Err(Malformed::Checksum);
        }
        if header_len > ipv4::HEADER_LEN {
            check_options(&bytes[ipv4::HEADER_LEN..header_len])?;
        }
        let field = u16::from_be_bytes([header[6], header[7]]);
        let fragment = Fragment::from_units(field & 0x1fff, field & 0x2000 != 0);
        Self::finish(
            bytes,
            header_len,
            ProtocolNumber(header[ipv4::PROTOCOL]),
            fragment,
            false,
            total_len,
        )
    }

    fn parse_v6(data: &'a [u8], whole_len: usize) -> Result<Self, Malformed> {
        let header: &[u8; ipv6::HEADER_LEN] = data.first_chunk().ok_or(Malformed::Short)?;
        let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        // A zero Payload Length with more data is a jumbogram (RFC 2675), which ESP does not carry.
        if payload_len == 0 && header[ipv6::NEXT_HEADER] == ProtocolNumber::HOP_BY_HOP.0 {
            return Err(Malformed::Length);
        }
        let total_len = ipv6::HEADER_LEN + payload_len;
        if total_len > whole_len {
            return Err(Malformed::Length);
        }
        let bytes = &data[..total_len.min(data.len())];
        let next = ipv6::walk(bytes)?;
        Self::finish(
            bytes,
            next.offset,
            next.protocol,
            next.fragment,
            true,
            total_len,
        )
    }

    fn finish(
        bytes: &'a [u8],
        next_layer_offset: usize,
        protocol: ProtocolNumber,
        fragment: Fragment,
        is_v6: bool,
        total_len: usize,
    ) -> Result<Self, Malformed> {
        let payload_len = total_len - next_layer_offset;
        match fragment {
            // RFC 1858 section 4 and RFC 3128: a TCP fragment at offset 1 rewrites the ports or flags
            // of the first one.
            Fragment::Later { units: 1 } if protocol == ProtocolNumber::TCP => {
                return Err(Malformed::Fragment);
            }
            Fragment::Later { units } => {
                // The header counts too: the reassembled packet has one Total Length.
                let header_len = if is_v6 { 0 } else { next_layer_offset };
                if header_len + usize::from(units) * 8 + payload_len > usize::from(u16::MAX) {
                    return Err(Malformed::Fragment);
                }
            }
            // RFC 1858 section 3.2.1: the first fragment must hold the fields that policy looks at.
            Fragment::First if protocol == ProtocolNumber::TCP && payload_len < 16 => {
                return Err(Malformed::Fragment);
            }
            Fragment::First | Fragment::None => {}
        }
        Ok(Self {
            bytes,
            next_layer_offset: next_layer_offset as u16,
            protocol,
            fragment,
            is_v6,
        })
    }

    /// The packet's bytes, exactly its own length.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes in front of the next layer header.
    #[inline]
    pub fn next_layer_offset(&self) -> usize {
        usize::from(self.next_layer_offset)
    }

    /// The next layer header and what follows.
    #[inline]
    pub fn next_layer(&self) -> &'a [u8] {
        &self.bytes[usize::from(self.next_layer_offset)..]
    }

    /// Next layer protocol, behind all extension headers.
    #[inline]
    pub fn protocol(&self) -> ProtocolNumber {
        self.protocol
    }

    /// Which fragment it is.
    #[inline]
    pub fn fragment(&self) -> Fragment {
        self.fragment
    }

    /// IPv6 rather than IPv4.
    #[inline]
    pub fn is_v6(&self) -> bool {
        self.is_v6
    }

    /// Type of Service or Traffic Class: DSCP in the high 6 bits, ECN in the low 2.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        if self.is_v6 {
            (self.bytes[0] << 4) | (self.bytes[1] >> 4)
        } else {
            self.bytes[ipv4::TOS]
        }
    }

    /// Whether the packet may not be fragmented on its way.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.is_v6 || self.bytes[ipv4::FLAGS] & 0x40 != 0
    }

    /// Source then destination address: 8 or 32 bytes.
    #[inline]
    pub fn addresses(&self) -> &'a [u8] {
        if self.is_v6 {
            &self.bytes[8..40]
        } else {
            &self.bytes[12..20]
        }
    }

    /// What policy looks at.
    #[inline]
    pub fn flow_key(&self) -> FlowKey {
        let (source, destination) = if self.is_v6 {
            let mut source = [0; 16];
            let mut destination = [0; 16];
            source.copy_from_slice(&self.bytes[8..24]);
            destination.copy_from_slice(&self.bytes[24..40]);
            (
                u128::from_be_bytes(source),
                u128::from_be_bytes(destination),
            )
        } else {
            let word = |at: usize| {
                u128::from(u32::from_be_bytes([
                    self.bytes[at],
                    self.bytes[at + 1],
                    self.bytes[at + 2],
                    self.bytes[at + 3],
                ]))
            };
            (word(12), word(16))
        };
        let mut key = FlowKey {
            source,
            destination,
            source_port: 0,
            destination_port: 0,
            protocol: self.protocol,
            is_v6: self.is_v6,
            has_next_layer: false,
        };
        if matches!(self.fragment, Fragment::Later { .. }) {
            return key;
        }
        let next_layer = self.next_layer();
        if self.protocol.has_ports() {
            if let Some(ports) = next_layer.first_chunk::<4>() {
                key.source_port = u16::from_be_bytes([ports[0], ports[1]]);
                key.destination_port = u16::from_be_bytes([ports[2], ports[3]]);
                key.has_next_layer = true;
            }
        } else if matches!(self.protocol, ProtocolNumber::ICMP | ProtocolNumber::ICMPV6)
            && let Some(type_code) = next_layer.first_chunk::<2>()
        {
            key.source_port = u16::from_be_bytes(*type_code);
            key.has_next_layer = true;
        }
        key
    }

    /// For an unfragmented TCP packet: bytes of all headers through TCP's options.
    #[inline]
    pub fn tcp_headers_len(&self) -> Option<usize> {
        if self.protocol != ProtocolNumber::TCP || self.fragment != Fragment::None {
            return None;
        }
        Some(self.next_layer_offset() + tcp::header_len(self.next_layer())?)
    }
}

/// RFC 791 section 3.1: options are one byte, or type, length and data; they end with the header.
fn check_options(options: &[u8]) -> Result<(), Malformed> {
    let mut at = 0;
    while at < options.len() {
        match options[at] {
            0 => return Ok(()),
            1 => at += 1,
            _ => {
                let len = usize::from(*options.get(at + 1).ok_or(Malformed::HeaderLength)?);
                if len < 2 || at + len > options.len() {
                    return Err(Malformed::HeaderLength);
                }
                at += len;
            }
        }
    }
    Ok(())
}
