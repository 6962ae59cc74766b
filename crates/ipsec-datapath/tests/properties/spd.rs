//! The compiled search is the ordered one, and the ordered one is RFC 4301 section 4.4.1.

use crate::common::Random;
use crate::runner;
use ipsec_datapath::selector::{AddressRange, Direction, NumberRange, Selector};
use ipsec_datapath::spd::{Action, Spd, SpdEntry, SpdError};
use ipsec_wire::{FlowKey, ProtocolNumber};
use proptest::prelude::*;
use std::cell::Cell;

/// Addresses that entries and packets are made of: few, so that ranges meet, nest and touch, and the
/// same numbers in both families, so that one mistaken for the other shows.
fn address(random: &mut Random, v6: bool) -> u128 {
    let highest = if v6 { u128::MAX } else { u128::from(u32::MAX) };
    match random.below(12) {
        0 => 0,
        1 => highest,
        2 => highest - u128::from(random.below(3)),
        3 if v6 => u128::from(random.next()) << 64 | 0x0a00_0000,
        _ => 0x0a00_0000 + u128::from(random.below(48)),
    }
}

fn ranges(random: &mut Random) -> Vec<AddressRange> {
    (0..*random.pick(&[0, 1, 1, 1, 2, 4]))
        .map(|_| {
            let is_v6 = random.chance(3);
            let (one, other) = (address(random, is_v6), address(random, is_v6));
            let to = if random.chance(3) {
                one
            } else {
                one.max(other)
            };
            AddressRange {
                is_v6,
                from: one.min(to),
                to,
            }
        })
        .collect()
}

fn numbers(random: &mut Random, highest: u16) -> Vec<NumberRange> {
    (0..*random.pick(&[0, 0, 1, 1, 3]))
        .map(|_| {
            let (one, other) = (port(random, highest), port(random, highest));
            NumberRange {
                from: one.min(other),
                to: one.max(other),
            }
        })
        .collect()
}

fn port(random: &mut Random, highest: u16) -> u16 {
    match random.below(6) {
        0 => 0,
        1 => highest,
        _ => random.below(24) as u16,
    }
}

const PROTOCOLS: &[ProtocolNumber] = &[
    ProtocolNumber::TCP,
    ProtocolNumber::UDP,
    ProtocolNumber::ICMP,
    ProtocolNumber::ICMPV6,
    ProtocolNumber::ESP,
    ProtocolNumber::SCTP,
];

fn selector(random: &mut Random) -> Selector {
    let protocol = (!random.chance(3)).then(|| *random.pick(PROTOCOLS));
    let mut selector = Selector {
        local: ranges(random),
        remote: ranges(random),
        protocol,
        ..Selector::default()
    };
    match protocol {
        Some(ProtocolNumber::TCP | ProtocolNumber::UDP | ProtocolNumber::SCTP) => {
            selector.local_ports = numbers(random, u16::MAX);
            selector.remote_ports = numbers(random, u16::MAX);
        }
        Some(ProtocolNumber::ICMP | ProtocolNumber::ICMPV6) => {
            selector.icmp_types = numbers(random, 255);
            selector.icmp_codes = numbers(random, 255);
        }
        _ => {}
    }
    selector
}

fn entries(random: &mut Random, count: usize) -> Vec<SpdEntry> {
    (0..count)
        .map(|index| {
            let (outbound, inbound) =
                *random.pick(&[(true, true), (true, true), (true, false), (false, true)]);
            SpdEntry {
                name: format!("entry {index}"),
                outbound,
                inbound,
                selector: selector(random),
                action: *random.pick(&[Action::Protect, Action::Bypass, Action::Discard]),
            }
        })
        .collect()
}

/// A packet near the ends of ranges of the policy itself.
fn packet(random: &mut Random, entries: &[SpdEntry]) -> FlowKey {
    let mut is_v6 = random.chance(3);
    let near = |random: &mut Random| {
        if entries.is_empty() || random.chance(4) {
            return None;
        }
        let entry = random.pick(entries);
        let list = if random.chance(2) {
            &entry.selector.local
        } else {
            &entry.selector.remote
        };
        if list.is_empty() {
            return None;
        }
        let range = random.pick(list);
        Some((
            range.is_v6,
            *random.pick(&[
                range.from,
                range.to,
                range.from.wrapping_sub(1),
                range.to.wrapping_add(1),
            ]),
        ))
    };
    let (source, destination) = (near(random), near(random));
    if let Some((family, _)) = source {
        is_v6 = family;
    }
    let side = |random: &mut Random, chosen: Option<(bool, u128)>| match chosen {
        Some((family, value)) if family == is_v6 => value,
        _ => address(random, is_v6),
    };
    let (mut source, mut destination) = (side(random, source), side(random, destination));
    if !is_v6 {
        source &= u128::from(u32::MAX);
        destination &= u128::from(u32::MAX);
    }
    FlowKey {
        source,
        destination,
        source_port: if random.chance(2) {
            port(random, u16::MAX)
        } else {
            (random.below(24) << 8 | random.below(24)) as u16
        },
        destination_port: port(random, u16::MAX),
        protocol: *random.pick(PROTOCOLS),
        is_v6,
        has_next_layer: !random.chance(6),
    }
}

/// RFC 4301 section 4.4.1.1 in the plainest words.
fn within(selector: &Selector, direction: Direction, key: &FlowKey) -> bool {
    let (local, remote, local_port, remote_port) = match direction {
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
    };
    let address_in = |list: &[AddressRange], value: u128| {
        let mut found = list.is_empty();
        for range in list {
            if range.is_v6 == key.is_v6 && value >= range.from && value <= range.to {
                found = true;
            }
        }
        found
    };
    let number_in = |list: &[NumberRange], value: u16| {
        let mut found = list.is_empty();
        for range in list {
            // What cannot be read is OPAQUE, and only ANY matches that.
            if key.has_next_layer && value >= range.from && value <= range.to {
                found = true;
            }
        }
        found
    };
    let protocol_fits = match selector.protocol {
        None => true,
        Some(protocol) => protocol == key.protocol,
    };
    if !protocol_fits
        || !address_in(&selector.local, local)
        || !address_in(&selector.remote, remote)
    {
        return false;
    }
    match selector.protocol {
        Some(ProtocolNumber::ICMP | ProtocolNumber::ICMPV6) => {
            let (icmp_type, code) = (key.source_port >> 8, key.source_port & 0xff);
            number_in(&selector.icmp_types, icmp_type) && number_in(&selector.icmp_codes, code)
        }
        Some(_) => {
            number_in(&selector.local_ports, local_port)
                && number_in(&selector.remote_ports, remote_port)
        }
        None => true,
    }
}

#[test]
fn the_compiled_search_is_the_ordered_one_and_that_is_the_rfc() {
    let (pairs, hits, ends) = (Cell::new(0u64), Cell::new(0u64), Cell::new(0u64));
    runner(420)
        .run(
            &(
                any::<u64>(),
                prop::sample::select(vec![0usize, 1, 2, 3, 5, 9, 17, 33, 60]),
            ),
            |(seed, count)| {
                let mut random = Random(seed);
                let entries = entries(&mut random, count);
                let spd = Spd::compile(1, entries.clone()).expect("legal");
                for round in 0..2_600 {
                    let key = packet(&mut random, &entries);
                    let direction = *random.pick(&[Direction::Outbound, Direction::Inbound]);
                    let found = spd.search(direction, &key);
                    let ordered = spd.search_ordered(direction, &key);
                    prop_assert_eq!(found, ordered, "{:?} {:?}", direction, key);
                    // The slowest of the three on a part of the pairs.
                    if round % 4 == 0 {
                        let obvious = entries.iter().position(|entry| {
                            let speaks = match direction {
                                Direction::Outbound => entry.outbound,
                                Direction::Inbound => entry.inbound,
                            };
                            speaks && within(&entry.selector, direction, &key)
                        });
                        prop_assert_eq!(ordered, obvious, "{:?} {:?}", direction, key);
                    }
                    hits.set(hits.get() + u64::from(found.is_some()));
                    ends.set(ends.get() + u64::from(found.is_some_and(|at| at > 0)));
                }
                pairs.set(pairs.get() + 2_600);
                Ok(())
            },
        )
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(pairs.get() >= 1_000_000, "{} pairs", pairs.get());
    // Neither all hits nor all misses, and not always the first entry.
    assert!(
        hits.get() > 200_000 && hits.get() < pairs.get() - 100_000,
        "{} hits",
        hits.get()
    );
    assert!(
        ends.get() > 100_000,
        "{} hits behind the first entry",
        ends.get()
    );
}

/// Large policies, where the tree is deep: one entry a /32 with a catch-all behind.
#[test]
fn a_deep_tree_finds_each_entry() {
    let count = 5_000u32;
    let mut entries: Vec<SpdEntry> = (0..count)
        .map(|index| SpdEntry {
            name: format!("host {index}"),
            outbound: true,
            inbound: true,
            selector: Selector {
                remote: vec![AddressRange {
                    is_v6: false,
                    from: u128::from(index * 3),
                    to: u128::from(index * 3 + 1),
                }],
                ..Selector::default()
            },
            action: Action::Protect,
        })
        .collect();
    entries.push(SpdEntry {
        name: "rest".into(),
        outbound: true,
        inbound: false,
        selector: Selector::default(),
        action: Action::Discard,
    });
    let spd = Spd::compile(1, entries).expect("legal");
    for address in 0..count * 3 {
        let key = FlowKey {
            source: 1,
            destination: u128::from(address),
            source_port: 0,
            destination_port: 0,
            protocol: ProtocolNumber::UDP,
            is_v6: false,
            has_next_layer: true,
        };
        let wanted = if address % 3 == 2 { count } else { address / 3 } as usize;
        assert_eq!(
            spd.search(Direction::Outbound, &key),
            Some(wanted),
            "{address}"
        );
        let back = FlowKey {
            source: key.destination,
            destination: 1,
            ..key
        };
        let wanted = (address % 3 != 2).then_some(address as usize / 3);
        assert_eq!(
            spd.search(Direction::Inbound, &back),
            wanted,
            "{address} inbound"
        );
    }
}

#[test]
fn what_cannot_be_compiled_says_why() {
    let entry = |name: &str, selector: Selector| SpdEntry {
        name: name.into(),
        outbound: true,
        inbound: true,
        selector,
        action: Action::Protect,
    };
    let twice = vec![
        entry("a", Selector::default()),
        entry("a", Selector::default()),
    ];
    assert_eq!(
        Spd::compile(1, twice).err(),
        Some(SpdError::DuplicateName("a".into()))
    );
    let ports = vec![NumberRange { from: 1, to: 2 }];
    for selector in [
        Selector {
            local_ports: ports.clone(),
            ..Selector::default()
        },
        Selector {
            remote_ports: ports.clone(),
            protocol: Some(ProtocolNumber::ICMP),
            ..Selector::default()
        },
        Selector {
            icmp_types: ports.clone(),
            protocol: Some(ProtocolNumber::TCP),
            ..Selector::default()
        },
        Selector {
            icmp_codes: ports,
            ..Selector::default()
        },
        Selector {
            local_ports: vec![NumberRange { from: 2, to: 1 }],
            protocol: Some(ProtocolNumber::TCP),
            ..Selector::default()
        },
        Selector {
            local: vec![AddressRange {
                is_v6: false,
                from: 2,
                to: 1,
            }],
            ..Selector::default()
        },
    ] {
        assert!(
            matches!(
                Spd::compile(1, vec![entry("b", selector.clone())]),
                Err(SpdError::Selector { .. })
            ),
            "{selector:?}"
        );
    }
    let (v4, v6) = ("10.0.0.1".parse().expect("v4"), "::1".parse().expect("v6"));
    assert!(AddressRange::new(v4, v6).is_err());
    assert!(AddressRange::new("10.0.0.2".parse().expect("v4"), v4).is_err());
}
