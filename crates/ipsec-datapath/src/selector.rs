//! Selectors (RFC 4301 section 4.4.1.1): what an SPD entry or an SA says of addresses, protocol,
//! ports and ICMP fields.

use crate::limits::SELECTOR_RANGES_MAX;
use ipsec_wire::{FlowKey, ProtocolNumber};
use std::net::IpAddr;

/// Which way a packet crosses the boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the protected to the unprotected side: local is the source.
    Outbound,
    /// From the unprotected to the protected side: local is the destination.
    Inbound,
}

/// An inclusive range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// IPv6 rather than IPv4.
    pub is_v6: bool,
    /// First address; IPv4 in the low 32 bits.
    pub from: u128,
    /// Last address.
    pub to: u128,
}

/// A range whose ends have different families or are in the wrong order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Ends of different families, or the first above the last.
    #[error("an address range has two ends of one family, the first not above the last")]
    AddressRange,
    /// The first above the last.
    #[error("a range of numbers has its first not above its last")]
    NumberRange,
    /// Ports or ICMP fields with a protocol that has none.
    #[error("ports need TCP, UDP, SCTP, UDP-Lite or DCCP, and ICMP fields need ICMP or ICMPv6")]
    Protocol,
    /// Too many ranges.
    #[error("a selector list has at most 65536 ranges")]
    TooMany,
}

impl AddressRange {
    /// From two addresses.
    pub fn new(from: IpAddr, to: IpAddr) -> Result<Self, SelectorError> {
        let (is_v6, from, to) = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                (false, u128::from(from.to_bits()), u128::from(to.to_bits()))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => (true, from.to_bits(), to.to_bits()),
            _ => return Err(SelectorError::AddressRange),
        };
        if from > to {
            return Err(SelectorError::AddressRange);
        }
        Ok(Self { is_v6, from, to })
    }

    fn contains(&self, is_v6: bool, address: u128) -> bool {
        self.is_v6 == is_v6 && (self.from..=self.to).contains(&address)
    }
}

/// An inclusive range of ports, ICMP types or codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberRange {
    /// First.
    pub from: u16,
    /// Last.
    pub to: u16,
}

impl NumberRange {
    fn contains(&self, number: u16) -> bool {
        (self.from..=self.to).contains(&number)
    }
}

/// The selectors of an SPD entry or an SA, seen from our side. An empty list is ANY.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Local addresses.
    pub local: Vec<AddressRange>,
    /// Remote addresses.
    pub remote: Vec<AddressRange>,
    /// Next layer protocol; `None` is ANY.
    pub protocol: Option<ProtocolNumber>,
    /// Local ports.
    pub local_ports: Vec<NumberRange>,
    /// Remote ports.
    pub remote_ports: Vec<NumberRange>,
    /// ICMP types.
    pub icmp_types: Vec<NumberRange>,
    /// ICMP codes.
    pub icmp_codes: Vec<NumberRange>,
}

impl Selector {
    /// Checks that ranges are ordered and fields fit the protocol.
    pub fn validate(&self) -> Result<(), SelectorError> {
        for ranges in [&self.local, &self.remote] {
            if ranges.len() > SELECTOR_RANGES_MAX {
                return Err(SelectorError::TooMany);
            }
            if ranges.iter().any(|range| range.from > range.to) {
                return Err(SelectorError::AddressRange);
            }
        }
        for ranges in [
            &self.local_ports,
            &self.remote_ports,
            &self.icmp_types,
            &self.icmp_codes,
        ] {
            if ranges.len() > SELECTOR_RANGES_MAX {
                return Err(SelectorError::TooMany);
            }
            if ranges.iter().any(|range| range.from > range.to) {
                return Err(SelectorError::NumberRange);
            }
        }
        let ports = !self.local_ports.is_empty() || !self.remote_ports.is_empty();
        let icmp = !self.icmp_types.is_empty() || !self.icmp_codes.is_empty();
        let is_icmp = matches!(
            self.protocol,
            Some(ProtocolNumber::ICMP | ProtocolNumber::ICMPV6)
        );
        let has_ports = self.protocol.is_some_and(ProtocolNumber::has_ports);
        if ports && !has_ports || icmp && !is_icmp {
            return Err(SelectorError::Protocol);
        }
        Ok(())
    }

    /// Whether a packet going `direction` is within the selectors. Fields that a fragment does not
    /// have are OPAQUE, which only ANY matches (RFC 4301 section 4.4.1.1).
    pub fn matches(&self, direction: Direction, key: &FlowKey) -> bool {
        let (local, remote, local_port, remote_port) = sides(direction, key);
        in_addresses(&self.local, key.is_v6, local)
            && in_addresses(&self.remote, key.is_v6, remote)
            && self.matches_next_layer(key, local_port, remote_port)
    }

    /// The part of [`Self::matches`] behind the addresses.
    pub(crate) fn matches_next_layer(
        &self,
        key: &FlowKey,
        local_port: u16,
        remote_port: u16,
    ) -> bool {
        let Some(protocol) = self.protocol else {
            return true;
        };
        if protocol != key.protocol {
            return false;
        }
        if matches!(protocol, ProtocolNumber::ICMP | ProtocolNumber::ICMPV6) {
            return in_numbers(&self.icmp_types, key.has_next_layer, key.source_port >> 8)
                && in_numbers(&self.icmp_codes, key.has_next_layer, key.source_port & 0xff);
        }
        in_numbers(&self.local_ports, key.has_next_layer, local_port)
            && in_numbers(&self.remote_ports, key.has_next_layer, remote_port)
    }
}

/// Local and remote address and port of a packet going `direction`.
#[inline]
pub(crate) fn sides(direction: Direction, key: &FlowKey) -> (u128, u128, u16, u16) {
    match direction {
        Direction::Outbound => (
            key.source,
            key.destination,
            key.source_port,
            key.destination_port,
        ),
        Direction::Inbound => (
            key.destination,
            key.source,
            key.destination_port,
            key.source_port,
        ),
    }
}

/// Whether a list, of which an empty one is ANY, holds an address.
pub(crate) fn in_addresses(ranges: &[AddressRange], is_v6: bool, address: u128) -> bool {
    ranges.is_empty() || ranges.iter().any(|range| range.contains(is_v6, address))
}

fn in_numbers(ranges: &[NumberRange], known: bool, number: u16) -> bool {
    ranges.is_empty() || known && ranges.iter().any(|range| range.contains(number))
}
