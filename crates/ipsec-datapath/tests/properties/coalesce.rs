//! What is merged can be taken apart again into the very packets, and a flow keeps its order.

use crate::common::{
    Random, Tcp, arena_of, complete, headers_len, internet_checksum, ip_checksum_is_right, ip_len,
    is_v6, next_protocol, pseudo_header, put16, slow_segments, udp,
};
use crate::runner;
use ipsec_datapath::coalesce::{Coalescer, Piece};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::HashMap;

/// What went to the TUN: which packets, by their place in the input, and the bytes written.
struct Written {
    packets: Vec<usize>,
    bytes: Vec<u8>,
    segment_len: Option<usize>,
}

fn coalesce(packets: &[Vec<u8>], enabled: bool) -> Vec<Written> {
    let (mut arena, slots) = arena_of(packets);
    let mut written = Vec::new();
    let mut coalescer = Coalescer::new(enabled);
    let mut emit = |arena: &mut [u8], piece: &Piece| {
        let owner = |at: u32| {
            slots
                .iter()
                .position(|slot| (slot.start..slot.start + slot.len).contains(&at))
                .expect("bytes of a packet")
        };
        let mut bytes = arena[piece.first.range()].to_vec();
        let mut members = vec![owner(piece.first.start)];
        for (at, len) in &piece.rest {
            bytes.extend_from_slice(&arena[*at as usize..(*at + *len) as usize]);
            members.push(owner(*at));
        }
        assert_eq!(piece.merged.is_some(), !piece.rest.is_empty());
        if let Some(merged) = piece.merged {
            assert_eq!(merged.is_v6, is_v6(&bytes));
            assert_eq!(usize::from(merged.next_layer), ip_len(&bytes));
            assert_eq!(usize::from(merged.headers_len), headers_len(&bytes));
        }
        written.push(Written {
            packets: members,
            bytes,
            segment_len: piece.merged.map(|merged| usize::from(merged.segment_len)),
        });
    };
    for slot in &slots {
        coalescer.push(&mut arena, *slot, &mut emit);
    }
    coalescer.flush(&mut arena, &mut emit);
    written
}

/// A super-packet as a kernel hands it over: lengths of the whole, and as TCP checksum the sum of the
/// pseudo-header.
fn kernel_super(tcp: &Tcp, payload: &[u8]) -> Vec<u8> {
    let mut packet = tcp.packet(payload);
    let partial = !internet_checksum(&[&pseudo_header(&packet)]);
    let at = ip_len(&packet) + 16;
    put16(&mut packet, at, partial);
    packet
}

fn any_tcp(random: &mut Random) -> Tcp {
    Tcp {
        v6: random.chance(2),
        traffic_class: random.next() as u8,
        ports: (random.next() as u16, random.next() as u16),
        sequence: if random.chance(4) {
            u32::MAX - 5_000
        } else {
            random.next() as u32
        },
        acknowledgment: random.next() as u32,
        flags: *random.pick(&[0x10u8, 0x18, 0x50, 0x58]),
        window: random.next() as u16,
        ip_options: Vec::new(),
        options: {
            let len = 4 * random.below(11) as usize;
            random.bytes(len)
        },
    }
}

#[test]
fn segments_of_one_become_that_one_again() {
    let merged = Cell::new(0usize);
    runner(1_500)
        .run(&any::<u64>(), |seed| {
            let mut random = Random(seed);
            let tcp = any_tcp(&mut random);
            let count = 2 + random.below(127) as usize;
            let headers = headers_len(&tcp.packet(&[]));
            let most = (65_535 - headers) / count;
            let segment_len = 1 + random.below(most as u64) as usize;
            let last = 1 + random.below(segment_len as u64) as usize;
            let payload = random.bytes((count - 1) * segment_len + last);
            let whole = kernel_super(&tcp, &payload);
            let segments = slow_segments(&whole, segment_len);
            prop_assert_eq!(segments.len(), count);
            let written = coalesce(&segments, true);
            prop_assert_eq!(written.len(), 1, "{} segments of {}", count, segment_len);
            prop_assert_eq!(written[0].segment_len, Some(segment_len));
            prop_assert!(
                written[0].bytes == whole,
                "{:02x?} is not {:02x?}",
                &written[0].bytes[..headers],
                &whole[..headers]
            );
            merged.set(merged.get() + count);
            // Switched off each goes by itself.
            let written = coalesce(&segments, false);
            prop_assert_eq!(written.len(), count);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(merged.get() > 50_000);
}

/// One difference each, by name; `true` where the kernel would still merge.
fn second_segments(v6: bool) -> Vec<(&'static str, bool, Vec<u8>)> {
    let base = Tcp {
        v6,
        traffic_class: 0x20,
        ..Tcp::default()
    };
    let next = Tcp {
        sequence: base.sequence + 100,
        ..base.clone()
    };
    let id = |packet: &mut Vec<u8>, id: u16| {
        if !v6 {
            put16(packet, 4, id);
            complete(packet);
        }
    };
    let made = |tcp: Tcp, len: usize| {
        let mut packet = tcp.packet(&vec![9; len]);
        id(&mut packet, 0x7702);
        packet
    };
    let with = |change: &dyn Fn(&mut Tcp)| {
        let mut tcp = next.clone();
        change(&mut tcp);
        tcp
    };
    let patched = |at: usize, value: u8| {
        let mut packet = made(next.clone(), 100);
        packet[at] = value;
        complete(&mut packet);
        packet
    };
    let mut bad_checksum = made(next.clone(), 100);
    *bad_checksum.last_mut().expect("payload") ^= 1;
    let mut all = vec![
        ("the next", true, made(next.clone(), 100)),
        ("a shorter one", true, made(next.clone(), 60)),
        ("with PSH", true, made(with(&|tcp| tcp.flags = 0x18), 100)),
        ("a longer one", false, made(next.clone(), 101)),
        ("without payload", false, made(next.clone(), 0)),
        ("a gap", false, made(with(&|tcp| tcp.sequence += 1), 100)),
        ("the same again", false, made(base.clone(), 100)),
        (
            "an overlap",
            false,
            made(with(&|tcp| tcp.sequence -= 1), 100),
        ),
        (
            "another acknowledgment",
            false,
            made(with(&|tcp| tcp.acknowledgment += 1), 100),
        ),
        (
            "another window",
            false,
            made(with(&|tcp| tcp.window += 1), 100),
        ),
        (
            "other options",
            false,
            made(with(&|tcp| tcp.options[7] = 9), 100),
        ),
        (
            "more options",
            false,
            made(with(&|tcp| tcp.options.extend([1; 4])), 100),
        ),
        (
            "other ports",
            false,
            made(with(&|tcp| tcp.ports.0 += 1), 100),
        ),
        (
            "another traffic class",
            false,
            made(with(&|tcp| tcp.traffic_class = 0x28), 100),
        ),
        (
            "another ECN field",
            false,
            made(with(&|tcp| tcp.traffic_class = 0x21), 100),
        ),
        ("FIN", false, made(with(&|tcp| tcp.flags = 0x11), 100)),
        ("SYN", false, made(with(&|tcp| tcp.flags = 0x12), 100)),
        ("RST", false, made(with(&|tcp| tcp.flags = 0x14), 100)),
        ("URG", false, made(with(&|tcp| tcp.flags = 0x30), 100)),
        ("ECE", false, made(with(&|tcp| tcp.flags = 0x50), 100)),
        ("CWR", false, made(with(&|tcp| tcp.flags = 0x90), 100)),
        (
            "without ACK",
            false,
            made(with(&|tcp| tcp.flags = 0x00), 100),
        ),
        ("a bad checksum", false, bad_checksum),
        (
            "a hop limit one less",
            false,
            patched(if v6 { 7 } else { 8 }, 60),
        ),
        (
            "another address",
            false,
            patched(if v6 { 23 } else { 15 }, 0x99),
        ),
        (
            "the reserved bits",
            false,
            patched(if v6 { 52 } else { 32 }, 0x81),
        ),
    ];
    if v6 {
        all.push(("another flow label", false, patched(3, 0x35)));
    } else {
        let mut fixed = made(next.clone(), 100);
        id(&mut fixed, 0x7701);
        all.push(("the same ID under DF", true, fixed));
        let mut far = made(next.clone(), 100);
        id(&mut far, 0x7710);
        all.push(("another ID", false, far));
        all.push(("without DF", false, patched(6, 0)));
        all.push(("a first fragment", false, patched(6, 0x20)));
        all.push(("a later fragment", false, patched(7, 9)));
        let mut options = next;
        options.ip_options = vec![1; 4];
        all.push(("IP options", false, made(options, 100)));
    }
    all
}

#[test]
fn one_difference_keeps_two_apart() {
    let mut seen = 0;
    for v6 in [false, true] {
        let first = Tcp {
            v6,
            traffic_class: 0x20,
            ..Tcp::default()
        }
        .packet(&[9; 100]);
        for (name, merges, second) in second_segments(v6) {
            let packets = [first.clone(), second];
            let written = coalesce(&packets, true);
            assert_eq!(
                written.len(),
                if merges { 1 } else { 2 },
                "{name}, IPv6 {v6}"
            );
            if !merges {
                // A later fragment has no ports and so no flow: it waits for nobody.
                let order = if name == "a later fragment" {
                    [1, 0]
                } else {
                    [0, 1]
                };
                assert_eq!(written[0].bytes, packets[order[0]], "{name}");
                assert_eq!(written[1].bytes, packets[order[1]], "{name}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 32 + 27);
}

#[test]
fn a_pushed_or_short_one_is_the_last_and_64_kib_is_the_end() {
    let tcp = Tcp::default();
    let make = |sequence: u32, id: u16, flags: u8, len: usize| {
        let mut packet = Tcp {
            sequence,
            flags,
            ..tcp.clone()
        }
        .packet(&vec![3; len]);
        put16(&mut packet, 4, id);
        complete(&mut packet);
        packet
    };
    let groups = |packets: &[Vec<u8>]| -> Vec<usize> {
        coalesce(packets, true)
            .iter()
            .map(|written| written.packets.len())
            .collect()
    };
    let pushed = [make(0, 1, 0x18, 100), make(100, 2, 0x10, 100)];
    assert_eq!(groups(&pushed), [1, 1]);
    let pushed = [
        make(0, 1, 0x10, 100),
        make(100, 2, 0x18, 100),
        make(200, 3, 0x10, 100),
    ];
    assert_eq!(groups(&pushed), [2, 1]);
    let short = [
        make(0, 1, 0x10, 100),
        make(100, 2, 0x10, 99),
        make(199, 3, 0x10, 99),
    ];
    assert_eq!(groups(&short), [2, 1]);
    let many: Vec<_> = (0..60)
        .map(|index| make(index * 1_400, index as u16, 0x10, 1_400))
        .collect();
    let parts = groups(&many);
    assert_eq!(
        parts,
        [46, 14],
        "46 of 1,400 bytes and 52 of headers fit 65,535"
    );
    let most: Vec<_> = (0..300)
        .map(|index| make(index * 8, index as u16, 0x10, 8))
        .collect();
    assert_eq!(groups(&most), [129, 129, 42]);
}

/// A flow is what a host sees as one: addresses, protocol, ports.
fn flow_of(packet: &[u8]) -> Vec<u8> {
    let next = ip_len(packet);
    let addresses = if is_v6(packet) {
        &packet[8..40]
    } else {
        &packet[12..20]
    };
    [addresses, &packet[next..next + 4], &[next_protocol(packet)]].concat()
}

#[test]
fn what_is_merged_comes_apart_and_flows_keep_their_order() {
    let (merged, groups) = (Cell::new(0usize), Cell::new(0usize));
    runner(1_500)
        .run(&any::<u64>(), |seed| {
            let mut random = Random(seed);
            // More flows than groups, so that open ones are turned out.
            let flow_count = 1 + random.below(12) as usize;
            let mut flows: Vec<(Tcp, u16)> = (0..flow_count)
                .map(|index| {
                    let mut tcp = any_tcp(&mut random);
                    tcp.ports = (index as u16, 443);
                    tcp.options.truncate(12);
                    tcp.flags = 0x10;
                    (tcp, random.next() as u16)
                })
                .collect();
            let mut packets = Vec::new();
            for _ in 0..random.below(120) {
                let at = random.below(flow_count as u64) as usize;
                let (tcp, id) = &mut flows[at];
                let len = *random.pick(&[100usize, 100, 100, 100, 100, 100, 40, 150, 0]);
                let mut sent = tcp.clone();
                match random.below(24) {
                    0 => sent.flags = 0x11,
                    1 => sent.flags = 0x18,
                    2 => sent.sequence = sent.sequence.wrapping_add(100),
                    3 => sent.acknowledgment = sent.acknowledgment.wrapping_add(1),
                    4 => sent.traffic_class ^= 0x04,
                    5 => sent.flags = 0x50,
                    _ => {}
                }
                let fill = random.next() as u8;
                let mut packet = sent.packet(&vec![fill; len]);
                if !sent.v6 {
                    put16(&mut packet, 4, *id);
                    if random.chance(12) {
                        packet[6] = 0;
                    }
                    complete(&mut packet);
                }
                if random.chance(24) {
                    let at = packet.len() - 1;
                    packet[at] ^= 0x40;
                }
                if random.chance(20) {
                    // The same addresses and ports, another protocol.
                    packet = udp(sent.v6, 0, sent.ports, &[fill; 30]);
                }
                tcp.sequence = tcp.sequence.wrapping_add(len as u32);
                *id = id.wrapping_add(u16::from(!random.chance(10)));
                packets.push(packet);
            }
            let written = coalesce(&packets, true);
            let mut seen = vec![false; packets.len()];
            let mut last_of: HashMap<Vec<u8>, usize> = HashMap::new();
            for one in &written {
                for index in &one.packets {
                    prop_assert!(
                        !std::mem::replace(&mut seen[*index], true),
                        "packet {} twice",
                        index
                    );
                    let before = last_of.insert(flow_of(&packets[*index]), *index);
                    prop_assert!(
                        before.is_none_or(|before| before < *index),
                        "{} behind {:?}",
                        index,
                        before
                    );
                }
                let Some(segment_len) = one.segment_len else {
                    prop_assert_eq!(&one.bytes, &packets[one.packets[0]]);
                    continue;
                };
                merged.set(merged.get() + one.packets.len());
                groups.set(groups.get() + 1);
                prop_assert!(ip_checksum_is_right(&one.bytes));
                let partial = !internet_checksum(&[&pseudo_header(&one.bytes)]);
                let at = ip_len(&one.bytes) + 16;
                prop_assert_eq!(&one.bytes[at..at + 2], &partial.to_be_bytes());
                let apart = slow_segments(&one.bytes, segment_len);
                prop_assert_eq!(apart.len(), one.packets.len());
                for (segment, index) in apart.iter().zip(&one.packets) {
                    let (mut segment, mut original) = (segment.clone(), packets[*index].clone());
                    if !is_v6(&original) && original[6] & 0x40 != 0 {
                        // RFC 6864: the ID of a packet that may not be fragmented means nothing.
                        for packet in [&mut segment, &mut original] {
                            put16(packet, 4, 0);
                            complete(packet);
                        }
                    }
                    prop_assert_eq!(segment, original);
                }
            }
            prop_assert!(seen.iter().all(|seen| *seen), "each packet is written");
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(
        merged.get() > 10_000 && groups.get() > 3_000,
        "{} in {}",
        merged.get(),
        groups.get()
    );
}
