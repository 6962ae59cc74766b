//! The unit is the run: one lookup, one reservation, one move of the window, however many packets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use ipsec_datapath::DropReason;
use ipsec_datapath::coalesce::Coalescer;
use ipsec_datapath::counters::{Counter, Counters};
use ipsec_datapath::esp::Content;
use ipsec_datapath::inbound::{InboundSad, InboundScratch, InboundVerdict, open_run};
use ipsec_datapath::outbound::{Decision, Outbound, OutboundView, seal_run};
use ipsec_datapath::sad::{OutboundSa, SaError};
use ipsec_datapath::segment::{Layout, Offload, segment};
use ipsec_datapath::selector::Selector;
use ipsec_datapath::spd::{Action, Spd, SpdEntry};
use ipsec_datapath::suite::SuiteName;
use ipsec_datapath::udp_encapsulation::{Datagram, classify};
use ipsec_wire::{IpPacket, Run, Slot};
use std::sync::Arc;

fn protect(name: &str, selector: Selector) -> SpdEntry {
    SpdEntry {
        name: name.into(),
        outbound: true,
        inbound: true,
        selector,
        action: Action::Protect,
    }
}

fn to(remote: &str) -> Selector {
    Selector {
        remote: vec![range(remote, remote)],
        ..Selector::default()
    }
}

fn view(generation: u64, entries: Vec<SpdEntry>, sas: Vec<OutboundSa>) -> OutboundView {
    let sas = sas.into_iter().map(|sa| (Arc::new(sa), tunnel())).collect();
    let spd = Arc::new(Spd::compile(generation, entries).expect("legal"));
    OutboundView::new(spd, sas)
}

fn seal_one_run(sa: &OutboundSa, packets: &[Vec<u8>], counters: &Counters) -> Vec<Vec<u8>> {
    let mut arena = Vec::new();
    let mut slots = Vec::new();
    for packet in packets {
        let cell = arena.len();
        // What lay in the arena before.
        let front = sa.sizes().front_len;
        arena.resize(cell + front, 0xa5);
        arena.extend_from_slice(packet);
        arena.resize(cell + sa.sealed_len(packet.len()), 0xa5);
        slots.push(Slot {
            start: (cell + front) as u32,
            len: packet.len() as u32,
            cell_start: cell as u32,
            cell_end: arena.len() as u32,
        });
    }
    let mut run = Run::new(&mut arena, &mut slots).expect("slots");
    seal_run(sa, &mut run, Content::Ip, 5, counters).expect("sealed");
    (0..packets.len())
        .map(|index| run.packet(index).to_vec())
        .collect()
}

#[test]
fn forty_four_segments_are_one_lookup_one_reservation_one_commit() {
    let association = Association {
        entry: "peer".into(),
        window: 1_024,
        ..Default::default()
    };
    let view = view(
        1,
        vec![protect("peer", to("10.2.0.9"))],
        vec![association.outbound()],
    );
    let mut outbound = Outbound::new(view, [1, 2, 3, 4]);
    let (sender, receiver) = (Counters::default(), Counters::default());
    let whole = Tcp::default().packet(&vec![3; 43 * 1_448 + 900]);
    let sa = Arc::clone(outbound.view().sa(0).expect("the SA").0);
    let sa = &*sa;
    let layout = Layout::of(sa, 52, 1_448);
    let mut arena = vec![0; LEAD + 44 * layout.cell_len];
    // As a scattering read leaves it.
    let mut at = 0;
    for index in 0..44 {
        let (start, len) = if index == 0 {
            (LEAD + FRONT, 1_500)
        } else {
            (layout.payload(index), 1_448)
        };
        let part = len.min(whole.len() - at);
        arena[start..start + part].copy_from_slice(&whole[at..at + part]);
        at += part;
    }
    assert_eq!(at, whole.len());
    let mut slots = vec![Slot::default(); 64];

    let key = IpPacket::parse_head(&arena[LEAD + FRONT..LEAD + FRONT + 1_500], whole.len())
        .expect("headers")
        .flow_key();
    assert_eq!(outbound.decide(&key, &sender), Decision::Protect(0));
    let offload = Offload::Tcp { segment_len: 1_448 };
    let done = segment(
        &mut arena,
        &mut slots,
        (&layout, 44, whole.len()),
        offload,
        sa,
    )
    .expect("segments");
    assert_eq!((done.packets, done.moved), (44, false));
    let mut run = Run::new(&mut arena, &mut slots[..44]).expect("slots");
    seal_run(sa, &mut run, Content::Ip, 5, &sender).expect("sealed");
    assert_eq!(
        counts(&sender),
        [
            ("spd_lookups", 1),
            ("sequence_reservations", 1),
            ("esp_sealed", 44)
        ]
    );
    assert_eq!(sa.counters().packets(), 44);
    assert_eq!(
        sa.counters().bytes() as usize,
        slow_segments(&whole, 1_448).concat().len()
    );
    assert_eq!(sa.counters().last_used_ms(), Some(5));
    assert_eq!(sa.sequence().last(), 44);

    // On the wire the cells are one segmented send as they lie: all of one length but the last.
    let first = run.slots()[0];
    for (index, slot) in run.slots().iter().enumerate() {
        assert_eq!(slot.start, first.start + first.len * index as u32);
        assert_eq!(
            ipsec_wire::esp::header(run.packet(index)),
            Some((SPI, index as u32 + 1))
        );
        assert!(index == 43 || slot.len == first.len);
        assert!(slot.len <= first.len);
    }

    let mut sa = association.inbound();
    let mut verdicts = vec![InboundVerdict::Drop(DropReason::Short); 44];
    let mut scratch = InboundScratch::default();
    open_run(
        &mut sa,
        &mut run,
        &ipsec_datapath::transport::Outer::of_ecn(0),
        &mut verdicts,
        (&mut scratch, &receiver, 6),
    );
    assert_eq!(
        counts(&receiver),
        [("esp_opened", 44), ("replay_commits", 1)]
    );
    assert_eq!(drops(&receiver), []);
    assert!(
        verdicts
            .iter()
            .all(|verdict| *verdict == InboundVerdict::Deliver)
    );
    let wanted = slow_segments(&whole, 1_448);
    for (index, wanted) in wanted.iter().enumerate() {
        assert_eq!(run.packet(index), &wanted[..]);
    }
    // And one super-packet to the TUN.
    let mut coalescer = Coalescer::new(true);
    let slots: Vec<Slot> = run.slots().to_vec();
    let mut pieces = Vec::new();
    for slot in &slots {
        coalescer.push(&mut arena, *slot, &mut |_, piece| {
            pieces.push(piece.rest.len())
        });
    }
    coalescer.flush(&mut arena, &mut |_, piece| pieces.push(piece.rest.len()));
    assert_eq!(pieces, [43]);
}

#[test]
fn the_second_run_of_a_flow_is_answered_by_the_cache_until_the_view_changes() {
    let association = Association {
        entry: "peer".into(),
        ..Default::default()
    };
    let entries = vec![protect("peer", to("10.2.0.9"))];
    let mut outbound = Outbound::new(
        view(1, entries.clone(), vec![association.outbound()]),
        [1, 2, 3, 4],
    );
    let counters = Counters::default();
    let packet = udp(false, 0, (1, 2), b"x");
    let key = IpPacket::parse(&packet).expect("a packet").flow_key();
    for _ in 0..3 {
        assert_eq!(outbound.decide(&key, &counters), Decision::Protect(0));
    }
    assert_eq!(
        counts(&counters),
        [("spd_lookups", 3), ("spd_cache_hits", 2)]
    );
    // Without the SA it is to be negotiated; a cached decision of the old view is void.
    *outbound.view_mut() = view(2, entries.clone(), vec![]);
    assert_eq!(outbound.decide(&key, &counters), Decision::Acquire(0));
    // The newest SA of an entry carries the traffic, and only what it may carry.
    let narrow = Selector {
        local_ports: vec![ipsec_datapath::selector::NumberRange { from: 9, to: 9 }],
        protocol: Some(ipsec_wire::ProtocolNumber::UDP),
        ..Selector::default()
    };
    let sas = vec![
        association.outbound(),
        Association {
            spi: 0x500,
            ..association.clone()
        }
        .outbound(),
        Association {
            spi: 0x600,
            selector: narrow,
            ..association.clone()
        }
        .outbound(),
        Association {
            spi: 0x700,
            entry: "another".into(),
            ..association
        }
        .outbound(),
    ];
    *outbound.view_mut() = view(3, entries, sas);
    assert_eq!(outbound.decide(&key, &counters), Decision::Protect(1));
    let packet = udp(false, 0, (9, 2), b"x");
    let key = IpPacket::parse(&packet).expect("a packet").flow_key();
    assert_eq!(outbound.decide(&key, &counters), Decision::Protect(2));
}

#[test]
fn extended_numbers_go_across_2_to_the_32() {
    for suite in SuiteName::ALL.iter().copied() {
        let association = Association {
            extended: true,
            window: 64,
            first: (1 << 32) - 30,
            right_edge: (1 << 32) - 31,
            ..Association::of(suite)
        };
        let sa = association.outbound();
        let counters = Counters::default();
        let packets: Vec<Vec<u8>> = (0..60u8)
            .map(|byte| udp(false, 0, (1, 2), &[byte; 9]))
            .collect();
        let sealed = seal_one_run(&sa, &packets, &counters);
        assert_eq!(counters.value(Counter::SequenceReservations), 1);
        // Only the low half travels: it starts again at 0, which is a number like any other here.
        assert_eq!(ipsec_wire::esp::header(&sealed[30]), Some((SPI, 0)));
        if front_len(suite) == FRONT {
            assert_eq!(sealed[30][8..16], (1u64 << 32).to_be_bytes());
        }
        let mut peer = association.inbound();
        let (opened, _) = open_all(&mut peer, &sealed, 0, &counters);
        for (opened, packet) in opened.iter().zip(&packets) {
            assert_eq!(opened.as_ref(), Ok(packet));
        }
        assert_eq!(counters.value(Counter::ReplayCommits), 1);
        assert_eq!(peer.right_edge(), (1 << 32) + 29);
        // All again, from before and behind the boundary.
        let (again, _) = open_all(&mut peer, &sealed, 0, &counters);
        assert!(
            again
                .iter()
                .all(|outcome| *outcome == Err(DropReason::ReplayDuplicate))
        );
        // In any order within the window.
        let mut peer = association.inbound();
        let reversed: Vec<Vec<u8>> = sealed.iter().rev().cloned().collect();
        let (opened, _) = open_all(&mut peer, &reversed, 0, &counters);
        assert!(opened.iter().all(Result::is_ok));
        // Without extended numbers the run would cycle: none of it leaves.
        let short = Association {
            extended: false,
            ..association
        }
        .outbound();
        let mut arena = vec![0; 60 * 200];
        let mut slots: Vec<Slot> = (0..60u32)
            .map(|index| Slot {
                start: index * 200 + 24,
                len: 40,
                cell_start: index * 200,
                cell_end: index * 200 + 200,
            })
            .collect();
        let mut run = Run::new(&mut arena, &mut slots).expect("slots");
        let refused = seal_run(&short, &mut run, Content::Ip, 5, &counters);
        assert_eq!(refused, Err(DropReason::SequenceOverflow));
        assert_eq!(counters.dropped(DropReason::SequenceOverflow), 60);
    }
}

#[test]
fn the_same_packet_twice_in_one_receive_is_delivered_once() {
    let association = Association::default();
    let sa = association.outbound();
    let counters = Counters::default();
    let packets: Vec<Vec<u8>> = (0..3u8)
        .map(|byte| udp(true, 0, (1, 2), &[byte; 9]))
        .collect();
    let sealed = seal_one_run(&sa, &packets, &counters);
    for order in [vec![0usize, 0], vec![0, 1, 1, 2], vec![2, 1, 0, 2, 1, 0]] {
        let counters = Counters::default();
        let run: Vec<Vec<u8>> = order.iter().map(|index| sealed[*index].clone()).collect();
        let (opened, _) = open_all(&mut association.inbound(), &run, 0, &counters);
        let mut seen = Vec::new();
        for (index, outcome) in order.iter().zip(opened) {
            if seen.contains(index) {
                assert_eq!(outcome, Err(DropReason::ReplayDuplicate));
            } else {
                assert_eq!(outcome.as_ref(), Ok(&packets[*index]));
                seen.push(*index);
            }
        }
        let twice = (order.len() - seen.len()) as u64;
        assert_eq!(drops(&counters), [("replay_duplicate", twice)]);
        assert_eq!(counters.value(Counter::ReplayCommits), 1);
        assert_eq!(counters.value(Counter::EspOpened), seen.len() as u64);
    }
}

/// One receive as generic receive offload merges it: two SAs, IKE, a keepalive, and noise.
#[test]
fn two_spis_and_ike_in_one_receive() {
    let one = Association {
        spi: 0x1001,
        ..Default::default()
    };
    let other = Association {
        spi: 0x2002,
        suite: SuiteName::ChaCha20Poly1305,
        key: (9..45).collect(),
        ..Default::default()
    };
    let mut sad = InboundSad::default();
    assert!(sad.add(Box::new(one.inbound())).is_ok());
    assert!(sad.add(Box::new(other.inbound())).is_ok());
    // An SPI is taken once.
    assert_eq!(
        sad.add(Box::new(one.inbound())).map_err(|sa| sa.spi()),
        Err(0x1001)
    );
    let counters = Counters::default();
    let inner = |byte: u8| udp(false, 0, (1, 2), &[byte; 30]);
    let ones = seal_one_run(&one.outbound(), &[inner(1), inner(2), inner(3)], &counters);
    let others = seal_one_run(&other.outbound(), &[inner(4), inner(5)], &counters);
    let mut ike = vec![0; 4 + 28];
    ike[4] = 0xc0;
    let datagrams = [
        ones[0].clone(),
        others[0].clone(),
        ike,
        ones[1].clone(),
        vec![0xff],
        others[1].clone(),
        ones[2].clone(),
        vec![0; 4],
        seal(
            &Association {
                spi: 0x3003,
                ..one.clone()
            }
            .outbound(),
            1,
            &inner(6),
            Content::Ip,
        ),
    ];
    let (mut ike_count, mut keepalives, mut short, mut unknown) = (0, 0, 0, 0);
    let mut by_spi: Vec<(u32, Vec<Vec<u8>>)> = Vec::new();
    for datagram in &datagrams {
        match classify(datagram) {
            Datagram::Ike => ike_count += 1,
            Datagram::Keepalive => keepalives += 1,
            Datagram::Short => short += 1,
            Datagram::Esp { spi, .. } => match by_spi.iter_mut().find(|(of, _)| *of == spi) {
                Some((_, run)) => run.push(datagram.clone()),
                None => by_spi.push((spi, vec![datagram.clone()])),
            },
        }
    }
    let mut delivered = Vec::new();
    for (spi, run) in by_spi {
        match sad.find(spi) {
            None => unknown += run.len(),
            Some(sa) => {
                let (opened, notice) = open_all(sa, &run, 0, &counters);
                assert!(notice.first_use);
                delivered.extend(
                    opened
                        .into_iter()
                        .map(|outcome| outcome.expect("delivered")),
                );
            }
        }
    }
    assert_eq!(
        delivered,
        [inner(1), inner(2), inner(3), inner(4), inner(5)]
    );
    assert_eq!((ike_count, keepalives, short, unknown), (1, 1, 1, 1));
    assert_eq!(counters.value(Counter::ReplayCommits), 2, "one an SA");
    let gone = sad.remove(0x1001).expect("there");
    assert_eq!((gone.right_edge(), gone.counters().packets()), (3, 3));
    assert!(sad.find(0x1001).is_none());
    // One SA's packet is nothing to the other's key, whatever SPI is written on it.
    let mut disguised = ones[0].clone();
    disguised[..4].copy_from_slice(&0x2002u32.to_be_bytes());
    disguised[7] = 9;
    let sa = sad.find(0x2002).expect("there");
    assert_eq!(
        open_one(sa, &disguised, 0, &counters),
        Err(DropReason::Integrity)
    );
    assert_eq!(sa.right_edge(), 2, "a forged packet moves nothing");
}

#[test]
fn traffic_flow_confidentiality_and_dummies() {
    let association = Association {
        tfc_pad_to_len: 1_400,
        ..Default::default()
    };
    let sa = association.outbound();
    let counters = Counters::default();
    let packets = [
        udp(false, 0, (1, 2), b"short"),
        udp(true, 0, (1, 2), &[4; 1_390]),
        udp(false, 0, (1, 2), &[]),
    ];
    let sealed = seal_one_run(&sa, &packets, &counters);
    assert_eq!(sealed[0].len(), sealed[2].len(), "lengths tell nothing");
    assert!(sealed[1].len() > sealed[0].len());
    let mut peer = association.inbound();
    let (opened, _) = open_all(&mut peer, &sealed, 0, &counters);
    for (opened, packet) in opened.iter().zip(&packets) {
        assert_eq!(opened.as_ref(), Ok(packet), "trimmed");
    }
    let dummy = seal(&sa, 10, &[0xee; 700], Content::Dummy);
    assert_eq!(
        open_one(&mut peer, &dummy, 0, &counters),
        Err(DropReason::Dummy)
    );
    assert_eq!(drops(&counters), [("dummy", 1)]);
    // What is in the arena does not leave in the padding.
    let mut plain = sealed[0].clone();
    let mut window = ipsec_datapath::replay_window::ReplayWindow::new(64, false, 0).expect("size");
    let fresh = window.check(1).expect("new");
    let opened =
        ipsec_datapath::esp::open(&association.inbound(), &mut plain, fresh).expect("authentic");
    let len = opened.payload.expect("payload").0 as usize;
    assert_eq!(len, 1_400);
    assert!(
        plain[FRONT + packets[0].len()..FRONT + len]
            .iter()
            .all(|byte| *byte == 0)
    );
    window.refuse_up_to(5);
}

#[test]
fn what_no_sa_can_be_made_of() {
    let parameters = |spi, key: usize, window| Association {
        spi,
        key: vec![1; key],
        window,
        ..Default::default()
    };
    let inbound = |association: Association| {
        ipsec_datapath::sad::InboundSa::new(ipsec_datapath::sad::InboundSaParameters {
            spi: association.spi,
            entry: String::new(),
            selector: Selector::default(),
            suite: association.suite,
            key: ipsec_datapath::suite::KeyMaterial::new(&association.key),
            extended: true,
            replay_window_packets: association.window,
            right_edge: 0,
            reserved_up_to: u64::MAX,
            mode: ipsec_datapath::transport::Mode::Tunnel,
        })
        .map(|sa| sa.spi())
    };
    assert_eq!(inbound(parameters(256, 20, 64)), Ok(256));
    assert_eq!(
        inbound(parameters(255, 20, 64)),
        Err(SaError::ReservedSpi(255))
    );
    assert!(
        matches!(inbound(parameters(256, 19, 64)), Err(SaError::Key(length)) if length.found == 19 && length.wanted == 20)
    );
    assert!(matches!(
        inbound(parameters(256, 3, 64)),
        Err(SaError::Key(_))
    ));
    assert!(matches!(
        inbound(parameters(256, 36, 64)),
        Err(SaError::Key(_))
    ));
    assert!(matches!(
        inbound(parameters(256, 20, 0)),
        Err(SaError::Window(_))
    ));
    assert!(matches!(
        inbound(parameters(256, 20, 32)),
        Err(SaError::Window(_))
    ));
}
