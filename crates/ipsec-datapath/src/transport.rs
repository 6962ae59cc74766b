//! Transport mode (RFC 4303 section 3.1.1, RFC 4301 section 5): ESP between the IP header and what
//! it carries.
//!
//! ```text
//! outbound: | IP header | upper layer ... |  ->  ESP( upper layer ... ), the sender's own IP header
//! inbound:  outer addresses, ESP( upper layer ... )  ->  | IP header | upper layer ... |
//! ```
//!
//! The IP header in front of ESP is the kernel's, or that of [`crate::tunnel_header`] in library mode: it
//! has the addresses and the Traffic Class of the packet. What that header cannot say does not fit
//! transport mode here: IPv4 options, IPv6 extension headers that stay in front of ESP, fragments.

use crate::esp::Content;
use crate::tunnel_header::TunnelHeader;
use crate::verdict::DropReason;
use ipsec_wire::checksum::{Sum, pseudo_header};
use ipsec_wire::{Fragment, IpPacket, ProtocolNumber, ipv4, ipv6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How an SA carries packets (RFC 4301 section 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Whole IP packets.
    #[default]
    Tunnel,
    /// What is behind the IP header, between two hosts.
    Transport,
}

/// What an ESP packet came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Type of Service or Traffic Class.
    pub traffic_class: u8,
    /// Source and destination, of one family; transport mode needs them.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// In UDP: there may be a NAT on the way, which changed addresses that checksums cover.
    pub in_udp: bool,
}

impl Outer {
    /// What tunnel mode looks at.
    pub fn of_ecn(ecn: u8) -> Self {
        Self {
            traffic_class: ecn & 3,
            addresses: None,
            in_udp: false,
        }
    }
}

/// Source and destination of a packet.
pub fn addresses(packet: &IpPacket<'_>) -> (IpAddr, IpAddr) {
    let key = packet.flow_key();
    let address = |bits: u128| {
        if key.is_v6 {
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
        }
    };
    (address(key.source), address(key.destination))
}

/// Bytes of the IP header that stay outside, and what is sealed of a packet on an SA with these
/// addresses.
///
/// # Errors
/// [`DropReason::NotTransportable`].
pub fn split(packet: &IpPacket<'_>, tunnel: &TunnelHeader) -> Result<(usize, Content), DropReason> {
    let unfit = DropReason::NotTransportable;
    // RFC 4303 section 3.3.4: transport mode takes whole datagrams, and fragments what it made.
    if packet.fragment() != Fragment::None {
        return Err(unfit);
    }
    if addresses(packet) != (tunnel.local, tunnel.remote) {
        return Err(unfit);
    }
    let bytes = packet.bytes();
    if !packet.is_v6() {
        if packet.next_layer_offset() != ipv4::HEADER_LEN {
            return Err(unfit);
        }
        return Ok((ipv4::HEADER_LEN, Content::Payload(packet.protocol())));
    }
    let next_header = ProtocolNumber(bytes[ipv6::NEXT_HEADER]);
    // RFC 4303 section 3.1.1: these go in front of ESP, destination options behind it.
    if stays_outside(next_header) {
        return Err(unfit);
    }
    Ok((ipv6::HEADER_LEN, Content::Payload(next_header)))
}

fn stays_outside(next_header: ProtocolNumber) -> bool {
    matches!(
        next_header,
        ProtocolNumber::HOP_BY_HOP | ProtocolNumber::ROUTING | ProtocolNumber::FRAGMENT
    )
}

/// Hop limit of what is delivered: the one that it came with is the kernel's to look at.
const HOP_LIMIT: u8 = 64;

/// Bytes of the IP header that [`write_header`] writes; `None` where there is none for this payload.
pub(crate) fn header_len(outer: &Outer, next_header: ProtocolNumber) -> Option<usize> {
    match outer.addresses? {
        (IpAddr::V4(_), IpAddr::V4(_)) => Some(ipv4::HEADER_LEN),
        // RFC 4303 section 3.1.1: these are never behind ESP.
        (IpAddr::V6(_), IpAddr::V6(_)) if stays_outside(next_header) => None,
        (IpAddr::V6(_), IpAddr::V6(_)) => Some(ipv6::HEADER_LEN),
        _ => None,
    }
}

/// Writes the IP header in front of a payload, into the first bytes of `packet`, and where a NAT may
/// have been on the way makes the checksum right that covers addresses. `None` where the packet would
/// pass 65,535 bytes.
pub(crate) fn write_header(
    packet: &mut [u8],
    outer: &Outer,
    next_header: ProtocolNumber,
) -> Option<()> {
    let total_len = packet.len();
    let covered = match outer.addresses? {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = &mut packet[..ipv4::HEADER_LEN];
            header.fill(0);
            header[0] = 0x45;
            header[ipv4::TOS] = outer.traffic_class;
            header[ipv4::FLAGS] = (ipv4::DONT_FRAGMENT >> 8) as u8;
            header[ipv4::TTL] = HOP_LIMIT;
            header[ipv4::PROTOCOL] = next_header.0;
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            ipv4::set_length_and_id(header, u16::try_from(total_len).ok()?, 0);
            12..20
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let payload_len = u16::try_from(total_len - ipv6::HEADER_LEN).ok()?;
            packet[0] = 0x60 | outer.traffic_class >> 4;
            packet[1] = outer.traffic_class << 4;
            packet[2..4].fill(0);
            packet[ipv6::PAYLOAD_LEN..ipv6::PAYLOAD_LEN + 2]
                .copy_from_slice(&payload_len.to_be_bytes());
            packet[ipv6::NEXT_HEADER] = next_header.0;
            packet[7] = HOP_LIMIT;
            packet[8..24].copy_from_slice(&source.octets());
            packet[24..40].copy_from_slice(&destination.octets());
            8..40
        }
        _ => return None,
    };
    if outer.in_udp {
        repair_checksum(packet, covered, next_header);
    }
    Some(())
}

/// RFC 3948 section 3.1.2: the ICV has passed, so the checksum may be computed anew.
fn repair_checksum(
    packet: &mut [u8],
    covered: std::ops::Range<usize>,
    next_header: ProtocolNumber,
) {
    let (header, payload) = packet.split_at_mut(covered.end);
    let at = match next_header {
        ProtocolNumber::TCP => 16,
        ProtocolNumber::UDP => 6,
        ProtocolNumber::ICMPV6 => 2,
        _ => return,
    };
    // RFC 768: a UDP datagram may have none; of a UDP datagram with padding behind, its own length.
    let len = match (next_header, payload.get(4..6)) {
        (ProtocolNumber::UDP, Some(len)) => usize::from(u16::from_be_bytes([len[0], len[1]])),
        _ => payload.len(),
    };
    let Some(payload) = payload.get_mut(..len) else {
        return;
    };
    let Some(field) = payload.get_mut(at..at + 2) else {
        return;
    };
    if next_header == ProtocolNumber::UDP && header.len() == ipv4::HEADER_LEN && field == [0, 0] {
        return;
    }
    field.fill(0);
    let sum =
        pseudo_header(&header[covered], next_header.0, len).plus(Sum::ZERO.add_bytes(payload));
    let mut checksum = sum.finish();
    if next_header == ProtocolNumber::UDP && checksum == 0 {
        checksum = 0xffff;
    }
    payload[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
