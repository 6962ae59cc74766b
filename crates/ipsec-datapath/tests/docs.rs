//! Each reason and each counter has a row in `docs/`, each row a reason or counter, and each reason
//! of this crate a packet that provokes it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use ipsec_datapath::DropReason;
use ipsec_datapath::counters::{Counter, Counters};
use ipsec_datapath::esp::Content;
use ipsec_datapath::outbound::{Decision, Outbound, OutboundView, seal_run};
use ipsec_datapath::segment::{Layout, Offload, segment};
use ipsec_datapath::selector::Selector;
use ipsec_datapath::spd::{Action, Spd, SpdEntry};
use ipsec_datapath::suite::{KeyMaterial, RingAead};
use ipsec_datapath::transport::Mode;
use ipsec_wire::{IpPacket, Run, Slot};
use std::sync::Arc;

/// Rows of the one table of a page whose first cell is a name in code quotes.
fn rows(page: &str) -> Vec<Vec<String>> {
    let path = format!("{}/../../docs/{page}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path)
        .expect(&path)
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

fn quoted(name: &str) -> String {
    format!("`{name}`")
}

#[test]
fn drops_md_has_each_reason_and_no_other() {
    let rows = rows("drops.md");
    let written: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let names: Vec<String> = DropReason::ALL
        .iter()
        .map(|reason| quoted(reason.name()))
        .collect();
    assert_eq!(
        written, names,
        "docs/drops.md and DropReason::ALL, in one order"
    );
    for (row, reason) in rows.iter().zip(DropReason::ALL) {
        assert_eq!(row.len(), 6, "{row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        let first_inbound = DropReason::Short as u8;
        let direction = if (*reason as u8) < first_inbound {
            "outbound"
        } else {
            "inbound"
        };
        assert_eq!(row[1], direction, "{row:?}");
        assert!(row[3] == "-" || row[3].starts_with("RFC "), "{row:?}");
        assert_eq!(row[4], if reason.audit() { "yes" } else { "no" }, "{row:?}");
    }
}

#[test]
fn counters_md_has_each_counter_and_no_other() {
    let rows = rows("counters.md");
    let written: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let names: Vec<String> = Counter::ALL
        .iter()
        .map(|counter| quoted(counter.name()))
        .collect();
    assert_eq!(
        written, names,
        "docs/counters.md and Counter::ALL, in one order"
    );
    for row in rows {
        assert_eq!(row.len(), 3, "{row:?}");
        assert!(!row[1].is_empty(), "{row:?}");
    }
}

#[test]
fn the_audited_ones_are_those_of_the_rfcs() {
    // RFC 4303 sections 3.3.3, 3.4.1, 3.4.2, 3.4.3 and 3.4.4 each say "auditable
    // event"; RFC 4301 sections 4.4.1 and 5.2 say it of what policy does not allow.
    for must in [
        "sequence_overflow",
        "outer_fragment",
        "no_sa",
        "replay_duplicate",
        "replay_too_old",
        "integrity",
        "selector_mismatch",
        "policy_no_match",
    ] {
        let reason = DropReason::ALL
            .iter()
            .find(|reason| reason.name() == must)
            .expect(must);
        assert!(reason.audit(), "{must}");
    }
}

fn decide(action: Option<Action>, counters: &Counters) {
    let entries = action
        .map(|action| SpdEntry {
            name: "entry".into(),
            outbound: true,
            inbound: true,
            selector: Selector::default(),
            action,
        })
        .into_iter()
        .collect();
    let spd = Arc::new(Spd::compile(1, entries).expect("legal"));
    let mut outbound = Outbound::new(OutboundView::new(spd, Vec::new()), [1, 2, 3, 4]);
    let key = IpPacket::parse(&udp(false, 0, (1, 2), b"x"))
        .expect("a packet")
        .flow_key();
    if let Decision::Drop(reason) = outbound.decide(&key, &Counters::default()) {
        counters.refuse(reason, 1);
    }
}

fn seal_with(association: &Association, inner: &[u8], room: usize, counters: &Counters) {
    let mut arena = vec![0; FRONT + inner.len() + room];
    arena[FRONT..FRONT + inner.len()].copy_from_slice(inner);
    let cell_end = arena.len() as u32;
    let mut slots = [Slot {
        start: FRONT as u32,
        len: inner.len() as u32,
        cell_start: 0,
        cell_end,
    }];
    let mut run = Run::new(&mut arena, &mut slots).expect("a slot");
    let sa = association.outbound();
    let refused = seal_run(&sa, &mut run, Content::Ip, 1, counters).expect_err("refused");
    assert_eq!(sa.counters().dropped(refused), 1, "by SA too");
}

/// An authentic packet with this plaintext, trailer included.
fn authentic(association: &Association, plaintext: &[u8]) -> Vec<u8> {
    let aead = RingAead::new(association.suite, &KeyMaterial::new(&association.key)).expect("key");
    let front = [&association.spi.to_be_bytes()[..], &[0, 0, 0, 1], &[7; 8]].concat();
    let mut sealed = plaintext.to_vec();
    let icv = aead.seal([7; 8], &front[..8], &mut sealed).expect("sealed");
    [front, sealed, icv.to_vec()].concat()
}

fn inbound(association: &Association, packets: &[Vec<u8>], outer_ecn: u8, counters: &Counters) {
    let mut sa = association.inbound();
    let (outcomes, _) = open_all(&mut sa, packets, outer_ecn, counters);
    let reason = *outcomes.last().expect("one").as_ref().expect_err("refused");
    assert_eq!(sa.counters().dropped(reason), 1, "by SA too");
}

fn sealed(number: u64, traffic_class: u8) -> Vec<u8> {
    let packet = udp(false, traffic_class, (1, 2), b"four");
    seal(
        &Association::default().outbound(),
        number,
        &packet,
        Content::Ip,
    )
}

type Provoke = fn(&Counters);

/// One packet for each reason that this crate gives.
const PROVOKED: &[(DropReason, Provoke)] = &[
    (DropReason::PolicyDiscard, |counters| {
        decide(Some(Action::Discard), counters)
    }),
    (DropReason::PolicyNoMatch, |counters| decide(None, counters)),
    (DropReason::PolicyBypassMisrouted, |counters| {
        decide(Some(Action::Bypass), counters)
    }),
    (DropReason::MalformedOutbound, |counters| {
        seal_with(&Association::default(), &[0x75; 40], 64, counters);
        // And before it comes to sealing.
        let sa = Association::default().outbound();
        let layout = Layout::of(&sa, 120, 100);
        let outcome = segment(
            &mut [0x75; 400],
            &mut [Slot::default(); 2],
            (&layout, 1, 200),
            Offload::Tcp { segment_len: 50 },
            &sa,
        );
        assert_eq!(outcome, Err(DropReason::MalformedOutbound));
    }),
    (DropReason::SequenceOverflow, |counters| {
        let association = Association {
            first: 1 << 32,
            ..Default::default()
        };
        seal_with(&association, &udp(false, 0, (1, 2), b"x"), 64, counters);
    }),
    (DropReason::SequenceNotReserved, |counters| {
        let association = Association {
            first: 11,
            outbound_reserved: 10,
            ..Default::default()
        };
        seal_with(&association, &udp(false, 0, (1, 2), b"x"), 64, counters);
    }),
    (DropReason::TooBig, |counters| {
        seal_with(
            &Association::default(),
            &udp(false, 0, (1, 2), b"x"),
            17,
            counters,
        );
    }),
    (DropReason::Short, |counters| {
        inbound(
            &Association::default(),
            &[sealed(1, 0)[..33].to_vec()],
            0,
            counters,
        )
    }),
    (DropReason::ReplayDuplicate, |counters| {
        inbound(
            &Association::default(),
            &[sealed(1, 0), sealed(1, 0)],
            0,
            counters,
        )
    }),
    (DropReason::ReplayTooOld, |counters| {
        inbound(
            &Association::default(),
            &[sealed(65, 0), sealed(1, 0)],
            0,
            counters,
        )
    }),
    (DropReason::ReplayNotReserved, |counters| {
        let association = Association {
            inbound_reserved: 8,
            ..Default::default()
        };
        inbound(&association, &[sealed(9, 0)], 0, counters);
    }),
    (DropReason::Integrity, |counters| {
        let mut packet = sealed(1, 0);
        packet[20] ^= 4;
        inbound(&Association::default(), &[packet], 0, counters);
    }),
    (DropReason::Padding, |counters| {
        let association = Association::default();
        let packet = [udp(false, 0, (1, 2), b"four"), vec![1, 3, 2, 4]].concat();
        inbound(
            &association,
            &[authentic(&association, &packet)],
            0,
            counters,
        );
    }),
    (DropReason::Dummy, |counters| {
        let association = Association::default();
        inbound(
            &association,
            &[authentic(&association, &[0, 59])],
            0,
            counters,
        );
    }),
    (DropReason::Mode, |counters| {
        let association = Association::default();
        inbound(
            &association,
            &[authentic(&association, &[1, 2, 3, 4, 0, 17])],
            0,
            counters,
        );
    }),
    (DropReason::MalformedInner, |counters| {
        // An IPv4 packet that Next Header calls IPv6.
        let association = Association::default();
        let packet = [udp(false, 0, (1, 2), b"four"), vec![0, 41]].concat();
        inbound(
            &association,
            &[authentic(&association, &packet)],
            0,
            counters,
        );
    }),
    (DropReason::SelectorMismatch, |counters| {
        let selector = Selector {
            local: vec![range("10.2.0.10", "10.2.0.10")],
            ..Selector::default()
        };
        inbound(
            &Association {
                selector,
                ..Default::default()
            },
            &[sealed(1, 0)],
            0,
            counters,
        );
    }),
    (DropReason::NotTransportable, |counters| {
        // A fragment; the sizes of what fits are in the tests of transport mode.
        let mut packet = udp(false, 0, (1, 2), b"half");
        packet[6] = 0x20;
        packet[10..12].fill(0);
        let sum = internet_checksum(&[&packet[..20]]);
        put16(&mut packet, 10, sum);
        let association = Association {
            mode: Mode::Transport,
            ..Default::default()
        };
        let sa = association.outbound();
        let layout = Layout::of(&sa, 40, 200);
        let mut arena = vec![0; 400];
        let at = layout.first_packet();
        arena[at..at + packet.len()].copy_from_slice(&packet);
        let refused = segment(
            &mut arena,
            &mut [Slot::default(); 2],
            (&layout, 1, packet.len()),
            Offload::None { checksum: None },
            &sa,
        );
        counters.refuse(refused.expect_err("a fragment"), 1);
    }),
    (DropReason::EcnNotCapable, |counters| {
        inbound(&Association::default(), &[sealed(1, 0)], 3, counters)
    }),
];

/// Reasons that sockets and threads give; their tests are with these.
const ELSEWHERE: &[DropReason] = &[
    DropReason::NoSaOutbound,
    DropReason::HoldFull,
    DropReason::HoldExpired,
    DropReason::SendFailed,
    DropReason::IkeSendFailed,
    DropReason::Truncated,
    DropReason::NoSa,
    DropReason::OuterFragment,
    DropReason::DeliverFailed,
    DropReason::IkeQueueFull,
];

#[test]
fn each_reason_of_this_crate_is_provoked() {
    for (reason, provoke) in PROVOKED {
        let counters = Counters::default();
        provoke(&counters);
        assert_eq!(drops(&counters), [(reason.name(), 1)], "{reason:?}");
    }
    for reason in DropReason::ALL {
        let here = PROVOKED
            .iter()
            .filter(|(provoked, _)| provoked == reason)
            .count();
        let there = ELSEWHERE
            .iter()
            .filter(|elsewhere| *elsewhere == reason)
            .count();
        assert_eq!(here + there, 1, "{reason:?} is on one of the two lists");
    }
}

/// The list is held to the sources: what they name is provoked, and what they do not is elsewhere.
#[test]
fn the_lists_are_what_the_sources_say() {
    let mut sources = String::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src"
    ))];
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).expect("a folder") {
            let path = file.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "verdict.rs") {
                sources.push_str(&std::fs::read_to_string(path).expect("a file"));
            }
        }
    }
    let names = |reason: DropReason| {
        let variant = format!("{reason:?}");
        ["DropReason::", "Self::"].iter().any(|prefix| {
            let whole = format!("{prefix}{variant}");
            sources.match_indices(&whole).any(|(at, _)| {
                let next = sources[at + whole.len()..].chars().next();
                !next.is_some_and(|letter| letter.is_alphanumeric())
            })
        })
    };
    for (reason, _) in PROVOKED {
        assert!(names(*reason), "{reason:?} is given by no source");
    }
    for reason in ELSEWHERE {
        assert!(
            !names(*reason),
            "{reason:?} is given here and wants a packet"
        );
    }
}
