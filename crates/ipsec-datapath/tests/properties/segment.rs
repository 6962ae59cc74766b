//! A super-packet becomes what the slow segmentation makes of it, wherever the read put its bytes.

use crate::common::{
    Association, LEAD, Random, Tcp, complete, front_len, headers_len, internet_checksum, ip_len,
    next_checksum_is_right, open_one, pseudo_header, put16, sealed_len, slow_segments, udp,
};
use crate::runner;
use ipsec_datapath::DropReason;
use ipsec_datapath::counters::Counters;
use ipsec_datapath::esp::{Content, encapsulate};
use ipsec_datapath::sad::OutboundSa;
use ipsec_datapath::segment::{Layout, Offload, Segmented, segment};
use ipsec_datapath::suite::SuiteName;
use ipsec_wire::{Run, Slot};
use proptest::prelude::*;
use std::cell::Cell;

/// Puts a read where a scattering read of `iovec_count` buffers would; the last takes all that is
/// left. What is around is not zero.
pub(crate) fn read_into(packet: &[u8], layout: &Layout, iovec_count: usize) -> Vec<u8> {
    let mut arena = vec![0x5a; 400 * 1024 + layout.payload(iovec_count)];
    let mut rest = packet;
    for index in 0..iovec_count {
        let (at, room) = if index == 0 {
            (
                LEAD + layout.front_len,
                layout.headers_len + layout.segment_len,
            )
        } else {
            (layout.payload(index), layout.segment_len)
        };
        let part = if index + 1 == iovec_count {
            rest.len()
        } else {
            room.min(rest.len())
        };
        arena[at..at + part].copy_from_slice(&rest[..part]);
        rest = &rest[part..];
    }
    assert!(rest.is_empty());
    arena
}

/// Any super-packet that a kernel could send into a TUN, and its segment length.
fn super_packet(random: &mut Random) -> (Vec<u8>, usize) {
    let v6 = random.chance(2);
    let payload_len = match random.below(6) {
        0 => 1 + random.below(40) as usize,
        1 => 60_000 + random.below(5_300) as usize,
        _ => 1 + random.below(20_000) as usize,
    };
    let traffic_class = random.next() as u8;
    let payload_of = |random: &mut Random, len: usize| match random.below(8) {
        // The sums that round to nothing.
        0 => vec![0; len],
        1 => vec![0xff; len],
        _ => random.bytes(len),
    };
    let mut packet = if random.chance(3) {
        let payload = payload_of(random, payload_len);
        let mut packet = udp(
            v6,
            traffic_class,
            (random.next() as u16, random.next() as u16),
            &[],
        );
        packet.extend_from_slice(&payload);
        packet
    } else {
        let tcp = Tcp {
            v6,
            traffic_class,
            ports: (random.next() as u16, random.next() as u16),
            sequence: if random.chance(3) {
                u32::MAX - 3_000
            } else {
                random.next() as u32
            },
            acknowledgment: random.next() as u32,
            flags: random.next() as u8,
            window: random.next() as u16,
            ip_options: vec![1; 4 * random.below(11) as usize],
            options: {
                let words = 4 * random.below(11) as usize;
                random.bytes(words)
            },
        };
        let payload = payload_of(random, payload_len);
        let mut packet = tcp.packet(&[]);
        packet.extend_from_slice(&payload);
        packet
    };
    packet.truncate(65_535);
    if !v6 {
        let id = *random.pick(&[0u16, 1, 0xfff0, 0xffff]);
        put16(&mut packet, 4, id);
    }
    complete(&mut packet);
    // What a kernel leaves in the checksum field is the sum of the pseudo-header; anything may be there.
    let next = ip_len(&packet);
    let at = next
        + if packet[if v6 { 6 } else { 9 }] == 6 {
            16
        } else {
            6
        };
    put16(&mut packet, at, random.next() as u16);
    let payload_len = packet.len() - headers_len(&packet);
    let least = payload_len.div_ceil(1_000).max(1);
    let segment_len = match random.below(6) {
        0 => payload_len,
        1 => payload_len + random.below(50) as usize,
        2 => *random.pick(&[1_448usize, 1_440, 1_368, 8_948, 536, 100]),
        3 => (payload_len / 2).max(1),
        _ => 1 + random.below(9_000) as usize,
    };
    (packet, segment_len.max(least))
}

fn segmented(
    sa: &OutboundSa,
    packet: &[u8],
    (layout, iovecs): (&Layout, usize),
    segment_len: usize,
) -> (Vec<u8>, Vec<Slot>, Result<Segmented, DropReason>) {
    let mut arena = read_into(packet, layout, iovecs);
    let mut slots = vec![Slot::default(); 1_024];
    let protocol = packet[if packet[0] >> 4 == 6 { 6 } else { 9 }];
    let offload = if protocol == 6 {
        Offload::Tcp { segment_len }
    } else {
        Offload::Udp { segment_len }
    };
    let outcome = segment(
        &mut arena,
        &mut slots,
        (layout, iovecs, packet.len()),
        offload,
        sa,
    );
    (arena, slots, outcome)
}

#[test]
fn equals_the_slow_segmentation_wherever_the_bytes_lie() {
    let (in_place, moved, packets) = (Cell::new(0u32), Cell::new(0u32), Cell::new(0usize));
    let too_big = Cell::new(0u32);
    let tfc_lens = prop::sample::select(vec![0usize, 0, 0, 600, 1_500]);
    runner(2_500)
        .run(&(any::<u64>(), tfc_lens), |(seed, tfc_pad_to_len)| {
            let mut random = Random(seed);
            let (packet, segment_len) = super_packet(&mut random);
            let headers = headers_len(&packet);
            let suite = *random.pick(SuiteName::ALL);
            let association = Association {
                tfc_pad_to_len,
                ..Association::of(suite)
            };
            let sa = association.outbound();
            let right = Layout::of(&sa, headers, segment_len);
            let layout = match random.below(5) {
                0 => {
                    let guess = 60 + random.below(9_000) as usize;
                    let guess_headers = *random.pick(&[40usize, 52, 60, 72, 120]);
                    Layout::of(&sa, guess_headers, guess)
                }
                // Read for the SA of another suite.
                2 => {
                    let other = Association::of(*random.pick(SuiteName::ALL)).outbound();
                    Layout::of(&other, headers, segment_len)
                }
                // Right but for the cell, as after an SA with other padding.
                1 => Layout {
                    cell_len: right.cell_len + 4,
                    ..right
                },
                _ => right,
            };
            let iovecs = match random.below(4) {
                0 => 1,
                1 => 1 + random.below(8) as usize,
                2 => (packet.len() - headers).div_ceil(segment_len),
                _ => 130,
            };
            let (mut arena, mut slots, outcome) =
                segmented(&sa, &packet, (&layout, iovecs), segment_len);
            let wanted = slow_segments(&packet, segment_len);
            let cell_len = sealed_len(suite, headers + segment_len, tfc_pad_to_len);
            if LEAD + wanted.len() * cell_len > arena.len() {
                prop_assert_eq!(outcome, Err(DropReason::TooBig));
                too_big.set(too_big.get() + 1);
                return Ok(());
            }
            let outcome = outcome.map_err(|reason| TestCaseError::fail(format!("{reason:?}")))?;
            prop_assert_eq!(outcome.packets, wanted.len());
            let wanted_layout = Layout {
                front_len: front_len(suite),
                outside_len: 0,
                headers_len: headers,
                segment_len,
                cell_len,
            };
            prop_assert_eq!(outcome.layout, wanted_layout);
            for (index, (slot, wanted)) in slots.iter().zip(&wanted).enumerate() {
                prop_assert!(
                    arena[slot.range()] == wanted[..],
                    "packet {} of {}: {:02x?} is not {:02x?}",
                    index,
                    outcome.packets,
                    &arena[slot.range()][..headers.min(60)],
                    &wanted[..headers.min(60)]
                );
                // Cell behind cell, each as long as what the packet becomes.
                prop_assert_eq!(slot.cell_start as usize, LEAD + index * cell_len);
                let cell_len = (slot.cell_end - slot.cell_start) as usize;
                prop_assert_eq!(cell_len, sealed_len(suite, wanted.len(), tfc_pad_to_len));
            }
            // Headers of any length are read in place only where the first buffer holds them all.
            let together =
                iovecs == 1 || packet.len().min(120) <= layout.headers_len + layout.segment_len;
            let lies_right = together && layout == wanted_layout && iovecs >= wanted.len();
            prop_assert_eq!(outcome.moved, !lies_right);
            if outcome.moved {
                moved.set(moved.get() + 1)
            } else {
                in_place.set(in_place.get() + 1)
            }
            packets.set(packets.get() + wanted.len());
            // And what was made can be sealed where it lies and opened by the peer.
            if wanted.len() < 50 {
                let count = outcome.packets;
                let mut run =
                    Run::new(&mut arena, &mut slots[..count]).expect("slots in the arena");
                encapsulate(&sa, &mut run, Content::Ip, 1).expect("room");
                let mut peer = association.inbound();
                for (index, wanted) in wanted.iter().enumerate() {
                    let opened = open_one(&mut peer, run.packet(index), 0, &Counters::default());
                    // ECN: an outer field of Not-ECT changes nothing.
                    prop_assert_eq!(opened.as_ref(), Ok(wanted));
                }
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(
        in_place.get() > 300 && moved.get() > 300,
        "{} in place, {} moved",
        in_place.get(),
        moved.get()
    );
    assert!(packets.get() > 20_000, "{}", packets.get());
    assert!(too_big.get() < 250, "{} did not fit", too_big.get());
}

/// The layout of small packets read before: then the headers of the next do not lie together.
#[test]
fn a_layout_with_a_short_first_buffer_never_makes_another_packet() {
    runner(600)
        .run(&any::<u64>(), |seed| {
            let mut random = Random(seed);
            let (packet, segment_len) = super_packet(&mut random);
            let headers = headers_len(&packet);
            let sa = Association::of(*random.pick(SuiteName::ALL)).outbound();
            let (guess_headers, guess) = (
                *random.pick(&[28usize, 40, 48, 52, 60]),
                1 + random.below(70) as usize,
            );
            let layout = if random.chance(2) {
                Layout::of(&sa, headers, segment_len)
            } else {
                Layout::of(&sa, guess_headers, guess)
            };
            let iovecs = *random.pick(&[1usize, 2, 40, 130]);
            let (arena, slots, outcome) = segmented(&sa, &packet, (&layout, iovecs), segment_len);
            let outcome = outcome.map_err(|reason| TestCaseError::fail(format!("{reason:?}")))?;
            let wanted = slow_segments(&packet, segment_len);
            prop_assert_eq!(outcome.packets, wanted.len());
            for (slot, wanted) in slots.iter().zip(&wanted) {
                prop_assert!(
                    arena[slot.range()] == wanted[..],
                    "{:?} {} iovecs",
                    layout,
                    iovecs
                );
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_lone_packet_gets_its_checksum_and_its_cell() {
    let with_zero_sum = Cell::new(0u32);
    runner(1_500)
        .run(&(any::<u64>(), any::<bool>()), |(seed, to_complete)| {
            let mut random = Random(seed);
            let v6 = random.chance(2);
            let len = random.below(9_000) as usize;
            let payload = random.bytes(len);
            let class = random.next() as u8;
            let mut wanted = if random.chance(2) {
                udp(v6, class, (random.next() as u16, 53), &payload)
            } else {
                Tcp {
                    v6,
                    traffic_class: class,
                    ..Tcp::default()
                }
                .packet(&payload)
            };
            let next = ip_len(&wanted);
            let is_tcp = wanted[if v6 { 6 } else { 9 }] == 6;
            let offset = if is_tcp { 16 } else { 6 };
            if !is_tcp && payload.len() >= 2 && random.chance(4) {
                // The word that makes the sum come out as zero, which UDP sends as all ones.
                put16(&mut wanted, next + 8, 0);
                put16(&mut wanted, next + 6, 0);
                let word = internet_checksum(&[&pseudo_header(&wanted), &wanted[next..]]);
                put16(&mut wanted, next + 8, word);
                complete(&mut wanted);
                prop_assert_eq!(&wanted[next + 6..next + 8], &[0xff, 0xff]);
                with_zero_sum.set(with_zero_sum.get() + 1);
            }
            prop_assert!(next_checksum_is_right(&wanted));
            let mut packet = wanted.clone();
            if to_complete {
                // As the kernel leaves it: the sum of the pseudo-header, not complemented.
                let partial = !internet_checksum(&[&pseudo_header(&packet)]);
                put16(&mut packet, next + offset, partial);
            }
            let suite = *random.pick(SuiteName::ALL);
            let sa = Association::of(suite).outbound();
            let (headers, guess) = (
                *random.pick(&[40usize, 120]),
                80 + random.below(3_000) as usize,
            );
            let other = Association::of(*random.pick(SuiteName::ALL)).outbound();
            let layout = Layout::of(if random.chance(2) { &sa } else { &other }, headers, guess);
            let iovecs = *random.pick(&[1usize, 2, 3, 130]);
            let mut arena = read_into(&packet, &layout, iovecs);
            let mut slots = [Slot::default(); 2];
            let offload = Offload::None {
                checksum: to_complete.then_some((next, offset)),
            };
            let outcome = segment(
                &mut arena,
                &mut slots,
                (&layout, iovecs, packet.len()),
                offload,
                &sa,
            );
            prop_assert_eq!(outcome.map(|outcome| outcome.packets), Ok(1));
            prop_assert!(
                arena[slots[0].range()] == wanted[..],
                "{:?} {} iovecs {} bytes",
                layout,
                iovecs,
                packet.len()
            );
            let slot = slots[0];
            prop_assert_eq!(slot.headroom(), front_len(suite));
            let cell_len = (slot.cell_end - slot.cell_start) as usize;
            prop_assert_eq!(cell_len, sealed_len(suite, wanted.len(), 0));
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(with_zero_sum.get() > 50, "{}", with_zero_sum.get());
}

/// RFC 768: a UDP checksum that comes out as zero is sent as all ones, in each datagram.
#[test]
fn a_udp_checksum_of_zero_is_sent_as_ones() {
    let sa = Association::default().outbound();
    let layout = Layout::of(&sa, 120, 1_400);
    for v6 in [false, true] {
        let mut whole = udp(v6, 0, (9, 53), &[0x31; 2_500]);
        let headers = headers_len(&whole);
        let field = ip_len(&whole) + 6;
        for index in 0..3 {
            let word = headers + index * 1_000;
            put16(&mut whole, word, 0);
            let mut datagram = slow_segments(&whole, 1_000).remove(index);
            put16(&mut datagram, field, 0);
            let next = ip_len(&datagram);
            let rest = internet_checksum(&[&pseudo_header(&datagram), &datagram[next..]]);
            put16(&mut whole, word, rest);
        }
        let (arena, slots, outcome) = segmented(&sa, &whole, (&layout, 130), 1_000);
        assert_eq!(outcome.map(|done| done.packets), Ok(3));
        for slot in &slots[..3] {
            let datagram = &arena[slot.range()];
            assert_eq!(datagram[field..field + 2], [0xff, 0xff], "IPv6 {v6}");
            assert!(next_checksum_is_right(datagram));
        }
    }
}

#[test]
fn what_does_not_agree_is_refused() {
    let sa = Association::default().outbound();
    let layout = Layout::of(&sa, 120, 1_400);
    let packet = Tcp::default().packet(&[7; 3_000]);
    let check = |packet: &[u8], offload, slots: usize, wanted| {
        let mut arena = read_into(packet, &layout, 130);
        let mut slots = vec![Slot::default(); slots];
        let outcome = segment(
            &mut arena,
            &mut slots,
            (&layout, 130, packet.len()),
            offload,
            &sa,
        );
        assert_eq!(
            outcome.map(|outcome| outcome.packets),
            wanted,
            "{offload:?}"
        );
    };
    let malformed = Err(DropReason::MalformedOutbound);
    check(&packet, Offload::Tcp { segment_len: 1_000 }, 3, Ok(3));
    check(
        &packet,
        Offload::Tcp { segment_len: 1_000 },
        2,
        Err(DropReason::TooBig),
    );
    check(
        &packet,
        Offload::Tcp { segment_len: 1 },
        4_000,
        Err(DropReason::TooBig),
    );
    check(&packet, Offload::Tcp { segment_len: 0 }, 9, malformed);
    check(&packet, Offload::Udp { segment_len: 1_000 }, 9, malformed);
    check(
        &packet[..52],
        Offload::Tcp { segment_len: 1_000 },
        9,
        malformed,
    );
    check(
        &packet[..30],
        Offload::Tcp { segment_len: 1_000 },
        9,
        malformed,
    );
    check(&[], Offload::Tcp { segment_len: 1_000 }, 9, malformed);
    check(
        &[0x75; 80],
        Offload::Tcp { segment_len: 1_000 },
        9,
        malformed,
    );
    check(
        &packet,
        Offload::None {
            checksum: Some((3_050, 16)),
        },
        9,
        malformed,
    );
    check(
        &packet,
        Offload::None {
            checksum: Some((70_000, 16)),
        },
        9,
        malformed,
    );
    check(
        &packet,
        Offload::None { checksum: None },
        0,
        Err(DropReason::TooBig),
    );
}
