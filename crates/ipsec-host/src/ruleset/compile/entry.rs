//! One entry of policy as the conditions of one or more rules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::policy::{AddressRange, NumberRange, PolicyEntry};
use crate::ruleset::statement::{Elements, IpFamily, Match, Set, Side};

/// Named sets, each content once.
#[derive(Default)]
pub(super) struct SetPool {
    pub(super) sets: Vec<Set>,
    addresses: BTreeMap<Vec<AddressRange>, String>,
    ports: BTreeMap<Vec<NumberRange>, String>,
}

impl SetPool {
    /// The conditions under which a packet matches `entry`: it does when it meets all conditions
    /// of one alternative. No alternative means that no packet can match.
    pub(super) fn alternatives(&mut self, entry: &PolicyEntry, outbound: bool) -> Vec<Vec<Match>> {
        // RFC 4301 section 4.4.1.1: local is the source of what leaves and the destination of what
        // arrives.
        let (local, remote) = if outbound {
            (Side::Source, Side::Destination)
        } else {
            (Side::Destination, Side::Source)
        };
        let mut tail = Vec::new();
        if let Some(protocol) = entry.protocol {
            tail.push(Match::Protocol(protocol));
        }
        tail.extend(self.port_match(local, &entry.local_ports));
        tail.extend(self.port_match(remote, &entry.remote_ports));

        let mut heads = Vec::new();
        if entry.local.is_empty() && entry.remote.is_empty() {
            heads.push(Vec::new());
        } else {
            for family in [IpFamily::V4, IpFamily::V6] {
                let here = self.address_match(local, family, &entry.local);
                let there = self.address_match(remote, family, &entry.remote);
                if let (Some(here), Some(there)) = (here, there) {
                    let mut head = vec![Match::Family(family)];
                    head.extend(here);
                    head.extend(there);
                    heads.push(head);
                }
            }
        }
        let icmp = icmp_alternatives(entry);
        let mut alternatives = Vec::new();
        for head in heads {
            for icmp in &icmp {
                alternatives.push([head.clone(), tail.clone(), icmp.clone()].concat());
            }
        }
        alternatives
    }

    /// `None` when no address of the family can match; no condition when all do.
    fn address_match(
        &mut self,
        side: Side,
        family: IpFamily,
        ranges: &[AddressRange],
    ) -> Option<Option<Match>> {
        if ranges.is_empty() {
            return Some(None);
        }
        let ours = ranges
            .iter()
            .copied()
            .filter(|range| IpFamily::of(range.from) == family);
        let merged = merge_addresses(ours.collect());
        match merged.as_slice() {
            [] => None,
            [range] if *range == whole(family) => Some(None),
            [range] => Some(Some(Match::Address {
                side,
                range: *range,
            })),
            _ => {
                let set = self.address_set(family, merged);
                Some(Some(Match::AddressSet { side, family, set }))
            }
        }
    }

    fn address_set(&mut self, family: IpFamily, ranges: Vec<AddressRange>) -> String {
        if let Some(name) = self.addresses.get(&ranges) {
            return name.clone();
        }
        let name = format!("addresses_{}", self.addresses.len() + 1);
        let elements = Elements::Addresses(family, ranges.clone());
        self.sets.push(Set {
            name: name.clone(),
            elements,
        });
        self.addresses.insert(ranges, name.clone());
        name
    }

    fn port_match(&mut self, side: Side, ranges: &[NumberRange]) -> Option<Match> {
        let merged = merge_numbers(ranges.to_vec());
        match merged.as_slice() {
            [] => None,
            // A range of all ports still wants a packet that has ports.
            [range] => Some(Match::Port {
                side,
                range: *range,
            }),
            _ => {
                let name = match self.ports.get(&merged) {
                    Some(name) => name.clone(),
                    None => {
                        let name = format!("ports_{}", self.ports.len() + 1);
                        let elements = Elements::Ports(merged.clone());
                        self.sets.push(Set {
                            name: name.clone(),
                            elements,
                        });
                        self.ports.insert(merged, name.clone());
                        name
                    }
                };
                Some(Match::PortSet { side, set: name })
            }
        }
    }
}

/// Types and codes: every pair of ranges is an alternative.
fn icmp_alternatives(entry: &PolicyEntry) -> Vec<Vec<Match>> {
    let any = |ranges: &[NumberRange]| -> Vec<Option<NumberRange>> {
        let merged = merge_numbers(ranges.to_vec());
        if merged.is_empty() {
            vec![None]
        } else {
            merged.into_iter().map(Some).collect()
        }
    };
    let mut alternatives = Vec::new();
    for kind in any(&entry.icmp_types) {
        for code in any(&entry.icmp_codes) {
            let kind = kind.map(Match::IcmpType);
            let code = code.map(Match::IcmpCode);
            alternatives.push(kind.into_iter().chain(code).collect());
        }
    }
    alternatives
}

/// Neighbours that differ in one list of addresses only become one entry: order between them
/// does not matter, and a list is searched faster than entries.
pub(super) fn merge_adjacent(entries: &[PolicyEntry]) -> Vec<PolicyEntry> {
    let mut merged: Vec<PolicyEntry> = Vec::new();
    for entry in entries {
        if let Some(last) = merged.last_mut() {
            if !last.remote.is_empty() && !entry.remote.is_empty() && same_but(last, entry, true) {
                last.remote.extend_from_slice(&entry.remote);
                continue;
            }
            if !last.local.is_empty() && !entry.local.is_empty() && same_but(last, entry, false) {
                last.local.extend_from_slice(&entry.local);
                continue;
            }
        }
        merged.push(entry.clone());
    }
    merged
}

/// Whether two entries are equal apart from their remote, or their local, addresses.
fn same_but(a: &PolicyEntry, b: &PolicyEntry, remote: bool) -> bool {
    let addresses_equal = if remote {
        a.local == b.local
    } else {
        a.remote == b.remote
    };
    addresses_equal
        && a.action == b.action
        && a.outbound == b.outbound
        && a.inbound == b.inbound
        && a.protocol == b.protocol
        && a.local_ports == b.local_ports
        && a.remote_ports == b.remote_ports
        && a.icmp_types == b.icmp_types
        && a.icmp_codes == b.icmp_codes
}

fn whole(family: IpFamily) -> AddressRange {
    match family {
        IpFamily::V4 => AddressRange {
            from: [0; 4].into(),
            to: [255; 4].into(),
        },
        IpFamily::V6 => AddressRange {
            from: [0u8; 16].into(),
            to: [255u8; 16].into(),
        },
    }
}

/// Sorts ranges of one family and joins those that overlap or touch: the kernel refuses a set
/// whose ranges overlap.
fn merge_addresses(mut ranges: Vec<AddressRange>) -> Vec<AddressRange> {
    ranges.sort();
    let mut merged: Vec<AddressRange> = Vec::new();
    for range in ranges {
        if let Some(last) = merged.last_mut()
            && next_address(last.to).is_none_or(|next| range.from <= next)
        {
            last.to = last.to.max(range.to);
            continue;
        }
        merged.push(range);
    }
    merged
}

fn next_address(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address
            .to_bits()
            .checked_add(1)
            .map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(address) => address
            .to_bits()
            .checked_add(1)
            .map(|bits| IpAddr::V6(bits.into())),
    }
}

/// Sorts ranges and joins those that overlap or touch.
pub(super) fn merge_numbers(mut ranges: Vec<NumberRange>) -> Vec<NumberRange> {
    ranges.sort();
    let mut merged: Vec<NumberRange> = Vec::new();
    for range in ranges {
        if let Some(last) = merged.last_mut()
            && last.to.checked_add(1).is_none_or(|next| range.from <= next)
        {
            last.to = last.to.max(range.to);
            continue;
        }
        merged.push(range);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Action;

    fn range(from: &str, to: &str) -> AddressRange {
        AddressRange {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        }
    }

    fn numbers(from: u16, to: u16) -> NumberRange {
        NumberRange { from, to }
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let merged = merge_addresses(vec![
            range("10.0.1.0", "10.0.1.255"),
            range("10.0.0.0", "10.0.0.255"),
            range("10.0.0.5", "10.0.0.9"),
            range("10.0.3.0", "10.0.3.0"),
            range("255.255.255.255", "255.255.255.255"),
        ]);
        assert_eq!(
            merged,
            [
                range("10.0.0.0", "10.0.1.255"),
                range("10.0.3.0", "10.0.3.0"),
                range("255.255.255.255", "255.255.255.255"),
            ]
        );
        assert_eq!(
            merge_numbers(vec![numbers(5, 9), numbers(0, 4), numbers(65_535, 65_535)]),
            [numbers(0, 9), numbers(65_535, 65_535)]
        );
        assert_eq!(
            merge_numbers(vec![numbers(0, 65_535), numbers(3, 4)]),
            [numbers(0, 65_535)]
        );
    }

    #[test]
    fn families_that_cannot_meet_make_no_rule() {
        let mut entry = PolicyEntry::any("e", Action::Protect);
        entry.local = vec![range("10.0.0.0", "10.0.0.255")];
        entry.remote = vec![range("fd00::", "fd00::ff")];
        assert!(SetPool::default().alternatives(&entry, true).is_empty());
        entry.remote.push(range("10.1.0.0", "10.1.0.255"));
        assert_eq!(SetPool::default().alternatives(&entry, true).len(), 1);
        entry.local.clear();
        assert_eq!(SetPool::default().alternatives(&entry, true).len(), 2);
    }

    #[test]
    fn neighbours_are_merged_and_others_are_not() {
        let mut first = PolicyEntry::any("a", Action::Protect);
        first.remote = vec![range("10.0.0.0", "10.0.0.255")];
        let mut second = first.clone();
        second.remote = vec![range("10.9.0.0", "10.9.0.255")];
        let between = PolicyEntry {
            action: Action::Discard,
            ..second.clone()
        };
        let entries = [first.clone(), second.clone()];
        assert_eq!(merge_adjacent(&entries).len(), 1);
        assert_eq!(merge_adjacent(&[first, between, second]).len(), 3);
    }
}
