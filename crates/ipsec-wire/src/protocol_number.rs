//! IANA protocol numbers of the next layer.

/// The protocol number of a next layer header (IPv4 Protocol, IPv6 Next Header, ESP Next Header).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct ProtocolNumber(pub u8);

impl ProtocolNumber {
    /// IPv6 Hop-by-Hop Options.
    pub const HOP_BY_HOP: Self = Self(0);
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// IPv4 in IP: the Next Header of an IPv4 packet in tunnel mode.
    pub const IPV4: Self = Self(4);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// IPv6 in IP: the Next Header of an IPv6 packet in tunnel mode.
    pub const IPV6: Self = Self(41);
    /// IPv6 Routing header.
    pub const ROUTING: Self = Self(43);
    /// IPv6 Fragment header.
    pub const FRAGMENT: Self = Self(44);
    /// ESP.
    pub const ESP: Self = Self(50);
    /// AH.
    pub const AH: Self = Self(51);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// No next header; as ESP Next Header a dummy packet (RFC 4303 section 2.6).
    pub const NONE: Self = Self(59);
    /// IPv6 Destination Options.
    pub const DESTINATION_OPTIONS: Self = Self(60);
    /// SCTP.
    pub const SCTP: Self = Self(132);
    /// UDP-Lite.
    pub const UDP_LITE: Self = Self(136);
    /// Mobility header.
    pub const MOBILITY: Self = Self(135);
    /// DCCP.
    pub const DCCP: Self = Self(33);

    /// Whether the first four bytes of the header are source and destination port.
    pub const fn has_ports(self) -> bool {
        matches!(
            self,
            Self::TCP | Self::UDP | Self::SCTP | Self::UDP_LITE | Self::DCCP
        )
    }
}
