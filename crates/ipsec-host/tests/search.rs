//! Random policies and packets, really sent: what nftables decides is what an ordered search over
//! the entries decides, the first match winning.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod lab;

use std::net::IpAddr;

use ipsec_host::{Action, AddressRange, BoundarySpec, Guard, NumberRange, PolicyEntry};
use lab::*;

/// A small generator of numbers; the seed is printed with a failure.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn number_range(&mut self, first: u16, count: u64) -> NumberRange {
        let a = first + self.below(count) as u16;
        let b = first + self.below(count) as u16;
        NumberRange {
            from: a.min(b),
            to: a.max(b),
        }
    }
}

/// The addresses of one side: 16 of IPv4 and 16 of IPv6.
fn address(network: u8, host: u64, v6: bool) -> IpAddr {
    if v6 {
        [
            0xfd00 + u16::from(network),
            0,
            0,
            0,
            0,
            0,
            0,
            0x100 + host as u16,
        ]
        .into()
    } else {
        [10, network, 0, 0x80 + host as u8].into()
    }
}

fn ranges(random: &mut Random, network: u8) -> Vec<AddressRange> {
    let count = [0, 0, 0, 1, 2, 4][random.below(6) as usize];
    (0..count)
        .map(|_| {
            let (a, b) = (random.below(10), 6 + random.below(10));
            let v6 = random.one_in(2);
            let (a, b) = (a.min(b), a.max(b));
            AddressRange {
                from: address(network, a, v6),
                to: address(network, b, v6),
            }
        })
        .collect()
}

fn policy(random: &mut Random) -> Vec<PolicyEntry> {
    let count = 1 + random.below(8);
    let mut entries = vec![neighbour_discovery()];
    for index in 0..count {
        let action = [Action::Protect, Action::Bypass, Action::Discard][random.below(3) as usize];
        let mut entry = PolicyEntry::any(format!("entry {index}"), action);
        let directions = random.below(5);
        entry.outbound = directions != 0;
        entry.inbound = directions != 1;
        entry.local = ranges(random, 1);
        entry.remote = ranges(random, 2);
        entry.protocol = [
            None,
            Some(17),
            Some(17),
            Some(6),
            Some(1),
            Some(58),
            Some(99),
        ][random.below(7) as usize];
        let list = |random: &mut Random, first, span| -> Vec<NumberRange> {
            let count = [0, 0, 1, 2, 3][random.below(5) as usize];
            (0..count)
                .map(|_| random.number_range(first, span))
                .collect()
        };
        if matches!(entry.protocol, Some(6 | 17)) {
            entry.local_ports = list(random, 5000, 8);
            entry.remote_ports = list(random, 6000, 8);
        }
        if matches!(entry.protocol, Some(1 | 58)) {
            // Types that no IP stack answers to or acts on.
            entry.icmp_types = list(random, 200, 6);
            entry.icmp_codes = list(random, 0, 4);
        }
        entries.push(entry);
    }
    if !random.one_in(3) {
        let action = [Action::Protect, Action::Bypass][random.below(2) as usize];
        entries.push(PolicyEntry::any("rest", action));
    }
    entries
}

#[derive(Clone, Debug)]
struct Probe {
    local: IpAddr,
    remote: IpAddr,
    protocol: u8,
    /// Local and remote port, or ICMP type and code.
    numbers: (u16, u16),
}

fn probe(random: &mut Random) -> Probe {
    let v6 = random.one_in(2);
    let icmp = if v6 { 58 } else { 1 };
    let protocol = [17, 17, 6, icmp, 99][random.below(5) as usize];
    let numbers = match protocol {
        1 | 58 => (200 + random.below(6) as u16, random.below(4) as u16),
        _ => (5000 + random.below(8) as u16, 6000 + random.below(8) as u16),
    };
    Probe {
        local: address(1, random.below(16), v6),
        remote: address(2, random.below(16), v6),
        protocol,
        numbers,
    }
}

impl Probe {
    fn bytes(&self, outbound: bool, tag: &str) -> Vec<u8> {
        let (source, destination) = if outbound {
            (self.local, self.remote)
        } else {
            (self.remote, self.local)
        };
        let (first, second) = match self.protocol {
            6 | 17 if outbound => self.numbers,
            6 | 17 => (self.numbers.1, self.numbers.0),
            _ => self.numbers,
        };
        if self.protocol == 17 {
            let (source, destination) = (source.to_string(), destination.to_string());
            return udp_packet(&source, &destination, (first, second), tag);
        }
        let mut l4 = match self.protocol {
            6 => {
                let ports = [first.to_be_bytes(), second.to_be_bytes()].concat();
                // A bare ACK: no connection is looked for before policy.
                [
                    ports,
                    vec![0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0],
                ]
                .concat()
            }
            1 | 58 => vec![first as u8, second as u8, 0, 0, 0, 0, 0, 0],
            _ => vec![0; 4],
        };
        l4.extend(tag.bytes());
        packet(source, destination, self.protocol, &l4)
    }

    /// The ordered search, as RFC 4301 words it.
    fn search(&self, entries: &[PolicyEntry], outbound: bool) -> Option<Action> {
        let direction = |entry: &&PolicyEntry| {
            if outbound {
                entry.outbound
            } else {
                entry.inbound
            }
        };
        let found = entries
            .iter()
            .filter(direction)
            .find(|entry| self.matches(entry));
        found.map(|entry| entry.action)
    }

    fn matches(&self, entry: &PolicyEntry) -> bool {
        let address = |ranges: &[AddressRange], address: IpAddr| {
            ranges.is_empty()
                || ranges.iter().any(|range| {
                    range.from.is_ipv4() == address.is_ipv4()
                        && range.from <= address
                        && address <= range.to
                })
        };
        let number = |ranges: &[NumberRange], number: u16| {
            ranges.is_empty()
                || ranges
                    .iter()
                    .any(|range| range.from <= number && number <= range.to)
        };
        address(&entry.local, self.local)
            && address(&entry.remote, self.remote)
            && entry
                .protocol
                .is_none_or(|protocol| protocol == self.protocol)
            && number(&entry.local_ports, self.numbers.0)
            && number(&entry.remote_ports, self.numbers.1)
            && number(&entry.icmp_types, self.numbers.0)
            && number(&entry.icmp_codes, self.numbers.1)
    }
}

const ROUNDS: u64 = 12;
const PROBES: usize = 60;

#[test]
fn nftables_decides_as_the_ordered_search() {
    in_laboratory("nftables_decides_as_the_ordered_search", || {
        build();
        let inside = tun("tun0");
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let outside = Tool::start("wan", "sniff eth0");
        let lan_side = Tool::start("lan", "sniff eth0");
        let mut lan = Tool::start("lan", "send");
        let mut local = Tool::start("", "send");
        let mut wan = Tool::start("wan", "send");
        // The LAN answers for all of its addresses.
        sh("mac=$(ip netns exec lan cat /sys/class/net/eth0/address)
            ip route add 10.1.0.128/25 via 10.1.0.2
            ip -6 route add fd01::/64 via fe80::1 dev lan0 metric 1
            ip neigh add fe80::1 lladdr $mac dev lan0");
        let (mut sent, mut by_action) = (0, [0usize; 3]);
        for round in 0..ROUNDS {
            let spec = BoundarySpec {
                protected_interfaces: vec!["lan0".into()],
                unprotected_interfaces: vec!["wan0".into()],
                entries: policy(&mut random),
                ..BoundarySpec::new("test", "tun0", 1400)
            };
            Guard::install(&spec).unwrap();
            let probes: Vec<Probe> = (0..PROBES).map(|_| probe(&mut random)).collect();
            for (way, outbound) in [("local", true), ("forwarded", true), ("inbound", false)] {
                [&inside, &outside, &lan_side]
                    .iter()
                    .for_each(|tool| tool.clear());
                let tag = |index: usize| format!("<{round}.{index:03}>");
                let packets: Vec<Vec<u8>> = probes
                    .iter()
                    .enumerate()
                    .map(|(index, probe)| probe.bytes(outbound, &tag(index)))
                    .collect();
                match way {
                    "local" => local.send(&packets),
                    "forwarded" => lan.send(&packets),
                    _ => wan.send(&packets),
                }
                settle();
                let (to_tun, to_wan, to_lan) =
                    (inside.packets(), outside.packets(), lan_side.packets());
                for (index, probe) in probes.iter().enumerate() {
                    let tag = tag(index);
                    let tun = count_tag(&to_tun, &tag);
                    let clear = count_tag(if outbound { &to_wan } else { &to_lan }, &tag);
                    let action = probe.search(&spec.entries, outbound);
                    let expected = match (action, outbound) {
                        (Some(Action::Protect), true) => (1, 0),
                        (Some(Action::Bypass), _) => (0, 1),
                        _ => (0, 0),
                    };
                    by_action[match action {
                        Some(Action::Protect) => 0,
                        Some(Action::Bypass) => 1,
                        _ => 2,
                    }] += 1;
                    assert_eq!(
                        (tun, clear),
                        expected,
                        "round {round} {way} {probe:?} {action:?}\n{:#?}\n{}",
                        spec.entries,
                        sh("nft list table inet ipsec-node-test")
                    );
                    sent += 1;
                }
            }
        }
        println!("measured: {sent} packets, PROTECT, BYPASS, other: {by_action:?}");
        assert!(by_action.iter().all(|count| *count > 100));
    });
}
