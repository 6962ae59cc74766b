//! The outer header (RFC 4301 section 5.1.2, RFC 6040, RFC 3948): written whole in library mode and
//! for raw sockets that include it; a gateway lets the kernel write it and passes the same fields.

use crate::limits::OUTER_LEN_MAX;
use ipsec_wire::{IpPacket, ProtocolNumber, ipv4};
use std::net::IpAddr;

/// How ESP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// Straight in IP.
    Esp,
    /// In UDP (RFC 3948).
    Udp {
        /// Our port.
        local_port: u16,
        /// The peer's port.
        remote_port: u16,
    },
}

/// What the outer Don't Fragment flag is (RFC 4301 section 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DontFragment {
    /// As the inner one.
    Copy,
    /// Set.
    Set,
    /// Clear.
    Clear,
}

/// Addresses and fields of the outer header of one SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelHeader {
    /// Our outer address.
    pub local: IpAddr,
    /// The peer's outer address, of the same family.
    pub remote: IpAddr,
    /// Raw or in UDP.
    pub encapsulation: Encapsulation,
    /// The DF rule.
    pub dont_fragment: DontFragment,
}

/// Hop limit of what we originate (RFC 1700's 64).
const HOP_LIMIT: u8 = 64;

impl TunnelHeader {
    /// Bytes in front of ESP.
    pub fn len(&self) -> usize {
        let ip = if self.remote.is_ipv6() { 40 } else { 20 };
        ip + match self.encapsulation {
            Encapsulation::Esp => 0,
            Encapsulation::Udp { .. } => 8,
        }
    }

    /// A header has bytes; here for the pair with [`Self::len`].
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The outer DF flag for an inner packet.
    pub fn df_for(&self, inner: &IpPacket<'_>) -> bool {
        match self.dont_fragment {
            DontFragment::Copy => inner.dont_fragment(),
            DontFragment::Set => true,
            DontFragment::Clear => false,
        }
    }

    /// Writes the header into `packet`, whose first [`Self::len`] bytes are free and whose rest is
    /// the ESP packet. `traffic_class` is the inner one: DSCP is copied (RFC 4301 section 5.1.2.1) and
    /// so is ECN, which is RFC 6040 section 4.1's normal mode. `identification` is for an IPv4 packet that
    /// may be fragmented. `None` when it would pass 65,535 bytes.
    pub fn write(
        &self,
        packet: &mut [u8],
        traffic_class: u8,
        dont_fragment: bool,
        identification: u16,
    ) -> Option<()> {
        let total_len = u16::try_from(packet.len()).ok()?;
        let header_len = self.len();
        let mut header = [0u8; OUTER_LEN_MAX];
        let protocol = match self.encapsulation {
            Encapsulation::Esp => ProtocolNumber::ESP,
            Encapsulation::Udp { .. } => ProtocolNumber::UDP,
        };
        let ip_len = match (self.local, self.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                header[0] = 0x45;
                header[ipv4::TOS] = traffic_class;
                header[2..4].copy_from_slice(&total_len.to_be_bytes());
                // RFC 6864 section 4.1: the ID of an atomic datagram means nothing; one that may be
                // fragmented needs its own.
                if dont_fragment {
                    header[6] = 0x40;
                } else {
                    header[4..6].copy_from_slice(&identification.to_be_bytes());
                }
                header[ipv4::TTL] = HOP_LIMIT;
                header[ipv4::PROTOCOL] = protocol.0;
                header[12..16].copy_from_slice(&local.octets());
                header[16..20].copy_from_slice(&remote.octets());
                ipv4::set_checksum(&mut header[..20]);
                20
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => {
                header[0] = 0x60 | traffic_class >> 4;
                header[1] = traffic_class << 4;
                header[4..6].copy_from_slice(&(total_len - 40).to_be_bytes());
                header[6] = protocol.0;
                header[7] = HOP_LIMIT;
                header[8..24].copy_from_slice(&local.octets());
                header[24..40].copy_from_slice(&remote.octets());
                40
            }
            _ => return None,
        };
        if let Encapsulation::Udp {
            local_port,
            remote_port,
        } = self.encapsulation
        {
            let udp_len = total_len - ip_len as u16;
            header[ip_len..ip_len + 2].copy_from_slice(&local_port.to_be_bytes());
            header[ip_len + 2..ip_len + 4].copy_from_slice(&remote_port.to_be_bytes());
            header[ip_len + 4..ip_len + 6].copy_from_slice(&udp_len.to_be_bytes());
            // RFC 3948 section 2.1: the checksum should be zero; over IPv6 RFC 6935 allows the same.
        }
        packet[..header_len].copy_from_slice(&header[..header_len]);
        Some(())
    }
}

/// What happens to the inner ECN field (RFC 6040 section 4.2, figure 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcnDecision {
    /// The field to deliver; `None`: drop.
    pub ecn: Option<u8>,
    /// One of the combinations that ought to be logged.
    pub unexpected: bool,
}

/// The table for a decapsulator: `inner` and `outer` are the 2-bit fields.
pub const fn decapsulate_ecn(inner: u8, outer: u8) -> EcnDecision {
    const NOT_ECT: u8 = 0;
    const ECT_1: u8 = 1;
    const ECT_0: u8 = 2;
    const CE: u8 = 3;
    let (ecn, unexpected) = match (inner & 3, outer & 3) {
        (NOT_ECT, NOT_ECT) => (Some(NOT_ECT), false),
        (NOT_ECT, CE) => (None, true),
        (NOT_ECT, _) => (Some(NOT_ECT), true),
        (ECT_0, ECT_1) => (Some(ECT_1), false),
        (ECT_0, CE) => (Some(CE), false),
        (ECT_0, _) => (Some(ECT_0), false),
        (ECT_1, ECT_0) => (Some(ECT_1), true),
        (ECT_1, CE) => (Some(CE), false),
        (ECT_1, _) => (Some(ECT_1), false),
        (_, ECT_1) => (Some(CE), true),
        (_, _) => (Some(CE), false),
    };
    EcnDecision { ecn, unexpected }
}
