//! The plain data a boundary is made of.

use std::net::IpAddr;

use crate::error::{EntryFault, Error};
use crate::link;
use crate::marks::Marks;

/// Addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRange {
    /// The first address.
    pub from: IpAddr,
    /// The last address.
    pub to: IpAddr,
}

/// Ports, or ICMP types or codes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NumberRange {
    /// The first number.
    pub from: u16,
    /// The last number.
    pub to: u16,
}

/// What policy wants done with a packet (RFC 4301 section 4.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Only inside an SA.
    Protect,
    /// In clear, by the kernel, untouched.
    Bypass,
    /// Not at all.
    Discard,
}

/// One entry of the ordered policy. An empty list, or `None`, stands for any value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyEntry {
    /// The name that people gave it.
    pub name: String,
    /// Whether it is searched for packets that leave.
    pub outbound: bool,
    /// Whether it is searched for packets that arrive.
    pub inbound: bool,
    /// Addresses on our side: the source of what leaves, the destination of what arrives.
    pub local: Vec<AddressRange>,
    /// Addresses on the other side.
    pub remote: Vec<AddressRange>,
    /// The next layer protocol.
    pub protocol: Option<u8>,
    /// Ports on our side.
    pub local_ports: Vec<NumberRange>,
    /// Ports on the other side.
    pub remote_ports: Vec<NumberRange>,
    /// ICMP types.
    pub icmp_types: Vec<NumberRange>,
    /// ICMP codes.
    pub icmp_codes: Vec<NumberRange>,
    /// What is done with a packet that matches.
    pub action: Action,
    /// Whether the program put it there, not a person.
    pub builtin: bool,
}

impl PolicyEntry {
    /// An entry that matches every packet in both directions.
    pub fn any(name: impl Into<String>, action: Action) -> PolicyEntry {
        PolicyEntry {
            name: name.into(),
            outbound: true,
            inbound: true,
            local: Vec::new(),
            remote: Vec::new(),
            protocol: None,
            local_ports: Vec::new(),
            remote_ports: Vec::new(),
            icmp_types: Vec::new(),
            icmp_codes: Vec::new(),
            action,
            builtin: false,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let fault = self.fault();
        match fault {
            None => Ok(()),
            Some(fault) => Err(Error::Entry {
                entry: self.name.clone(),
                fault,
            }),
        }
    }

    fn fault(&self) -> Option<EntryFault> {
        for range in self.local.iter().chain(&self.remote) {
            if range.from.is_ipv4() != range.to.is_ipv4() {
                return Some(EntryFault::MixedFamilies);
            }
            if range.from > range.to {
                return Some(EntryFault::ReversedRange);
            }
        }
        let ports = self.local_ports.iter().chain(&self.remote_ports);
        let icmp = self.icmp_types.iter().chain(&self.icmp_codes);
        if ports
            .clone()
            .chain(icmp.clone())
            .any(|range| range.from > range.to)
        {
            return Some(EntryFault::ReversedRange);
        }
        // RFC 4301 section 4.4.1.1: ports exist only for protocols that have them.
        let has_ports = matches!(self.protocol, Some(6 | 17 | 33 | 132 | 136));
        if ports.count() > 0 && !has_ports {
            return Some(EntryFault::PortsWithoutProtocol);
        }
        let has_icmp = matches!(self.protocol, Some(1 | 58));
        if icmp.clone().any(|range| !has_icmp || range.to > 255) {
            return Some(EntryFault::IcmpWithoutProtocol);
        }
        None
    }
}

/// Everything the guard needs to know.
///
/// Which side of the boundary an interface lies on follows from the two lists:
///
/// | given | inside | outside |
/// |---|---|---|
/// | `protected_interfaces` | those | every other one |
/// | only `unprotected_interfaces` | every other one | those |
/// | neither | not known: packets are judged by selectors alone | |
///
/// The loopback and the TUN are neither: they are not part of the boundary. Give the protected
/// list where it is known, because an interface that appears later is then outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundarySpec {
    /// The name of the gateway; what the guard makes is named for it.
    pub owner: String,
    /// The name of the TUN. It need not exist yet.
    pub tun: String,
    /// The MTU of the TUN, in bytes: the MTU of the private routes, and the source of the MSS.
    pub tun_mtu: u32,
    /// Interfaces inside the boundary.
    pub protected_interfaces: Vec<String>,
    /// Interfaces outside the boundary.
    pub unprotected_interfaces: Vec<String>,
    /// The marks.
    pub marks: Marks,
    /// The private routing table.
    pub table: u32,
    /// The priority of the rule that sends marked packets to the private table.
    pub rule_priority: u32,
    /// UDP ports that the gateway listens on: packets to them and to an address of this host are
    /// not cleartext in the sense of policy. ESP and AH to an address of this host never are.
    pub own_listen_ports: Vec<u16>,
    /// The ordered policy, built-in entries at its head; what matches none is discarded.
    pub entries: Vec<PolicyEntry>,
}

impl BoundarySpec {
    /// The largest policy that is compiled.
    pub const ENTRIES_MAX: usize = 10_000;

    /// A spec with an empty policy, ports 500 and 4500, and what follows from the owner's name.
    pub fn new(owner: impl Into<String>, tun: impl Into<String>, tun_mtu: u32) -> Self {
        let owner = owner.into();
        BoundarySpec {
            marks: Marks::for_owner(&owner),
            table: Marks::table_for_owner(&owner),
            rule_priority: Marks::priority_for_owner(&owner),
            owner,
            tun: tun.into(),
            tun_mtu,
            protected_interfaces: Vec::new(),
            unprotected_interfaces: Vec::new(),
            own_listen_ports: vec![500, 4500],
            entries: Vec::new(),
        }
    }

    /// Checks names, marks and entries.
    pub fn check(&self) -> Result<(), Error> {
        check_owner(&self.owner)?;
        link::check_name(&self.tun)?;
        for name in self
            .protected_interfaces
            .iter()
            .chain(&self.unprotected_interfaces)
        {
            link::check_name(name)?;
        }
        self.marks.check()?;
        if self.entries.len() > Self::ENTRIES_MAX {
            return Err(Error::TooManyEntries {
                count: self.entries.len(),
                max: Self::ENTRIES_MAX,
            });
        }
        self.entries.iter().try_for_each(PolicyEntry::check)
    }
}

/// Checks that an owner's name can be part of the name of an nftables table.
pub(crate) fn check_owner(owner: &str) -> Result<(), Error> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=64).contains(&owner.len()) && owner.bytes().all(good) {
        return Ok(());
    }
    Err(Error::OwnerName {
        owner: owner.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_an_entry_are_named() {
        let mut entry = PolicyEntry::any("e", Action::Bypass);
        assert_eq!(entry.fault(), None);
        entry.local_ports = vec![NumberRange { from: 53, to: 53 }];
        assert_eq!(entry.fault(), Some(EntryFault::PortsWithoutProtocol));
        entry.protocol = Some(17);
        assert_eq!(entry.fault(), None);
        entry.icmp_types = vec![NumberRange { from: 8, to: 8 }];
        assert_eq!(entry.fault(), Some(EntryFault::IcmpWithoutProtocol));
        let range = |from: &str, to: &str| AddressRange {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        };
        let mut entry = PolicyEntry::any("e", Action::Bypass);
        entry.remote = vec![range("10.0.0.2", "10.0.0.1")];
        assert_eq!(entry.fault(), Some(EntryFault::ReversedRange));
        entry.remote = vec![range("10.0.0.2", "fd00::1")];
        assert_eq!(entry.fault(), Some(EntryFault::MixedFamilies));
    }

    #[test]
    fn names_are_checked() {
        assert!(check_owner("office-1.a_b").is_ok());
        for bad in ["", "a b", "a/b", "ä"] {
            assert!(check_owner(bad).is_err(), "{bad}");
        }
        assert!(
            BoundarySpec::new("a", "sixteen-bytes-xx", 1400)
                .check()
                .is_err()
        );
    }
}
