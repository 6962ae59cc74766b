//! No bytes make the datapath panic: not those of strangers, and not those of an authentic peer that
//! means harm.

use crate::common::{
    Association, Random, Tcp, arena_of, complete, ip_checksum_is_right, is_v6, open_all, put16, udp,
};
use crate::runner;
use ipsec_datapath::DropReason;
use ipsec_datapath::coalesce::Coalescer;
use ipsec_datapath::counters::Counters;
use ipsec_datapath::segment::{Layout, Offload, segment};
use ipsec_datapath::selector::{Direction, Selector};
use ipsec_datapath::suite::{KeyMaterial, RingAead, SuiteName};
use ipsec_datapath::udp_encapsulation::classify;
use ipsec_wire::{IpPacket, Slot};
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::Cell;

/// Bytes that look like packets more often than chance has it.
fn nearly_a_packet(random: &mut Random) -> Vec<u8> {
    let len = random.below(120) as usize;
    let payload = random.bytes(len);
    let v6 = random.chance(2);
    let mut packet = match random.below(4) {
        0 => return payload,
        1 => udp(v6, random.next() as u8, (5, 6), &payload),
        2 => Tcp {
            v6,
            flags: random.next() as u8,
            ..Tcp::default()
        }
        .packet(&payload),
        _ => {
            // A chain of extension headers with lengths of chance.
            let mut packet = udp(true, 0, (5, 6), &[]);
            packet[6] = *random.pick(&[0u8, 43, 44, 60, 60]);
            packet.truncate(40);
            for _ in 0..random.below(12) {
                packet.extend_from_slice(&[
                    *random.pick(&[0u8, 43, 44, 60, 6, 17, 58, 59]),
                    *random.pick(&[0u8, 0, 0, 1, 2, 31]),
                ]);
                let rest = random.bytes(6);
                packet.extend_from_slice(&rest);
            }
            packet.extend_from_slice(&payload);
            let len = packet.len() - 40;
            put16(&mut packet, 4, len as u16);
            packet
        }
    };
    for _ in 0..random.below(4) {
        let at = random.below(packet.len().min(64) as u64) as usize;
        packet[at] = random.next() as u8;
    }
    if random.chance(2)
        && !is_v6(&packet)
        && usize::from(packet[0] & 15) * 4 <= packet.len()
        && packet[0] & 15 >= 5
    {
        let keep = packet[2..4].to_vec();
        complete_ip(&mut packet);
        packet[2..4].copy_from_slice(&keep);
        complete_ip(&mut packet);
    }
    if random.chance(6) {
        let len = random.below(packet.len() as u64 + 1) as usize;
        packet.truncate(len);
    }
    packet
}

fn complete_ip(packet: &mut [u8]) {
    let header = usize::from(packet[0] & 15) * 4;
    put16(packet, 10, 0);
    let sum = crate::common::internet_checksum(&[&packet[..header]]);
    put16(packet, 10, sum);
}

#[test]
fn an_authentic_peer_with_any_payload() {
    let (delivered, reasons) = (Cell::new(0u32), Cell::new(0u64));
    let association = Association {
        window: 0,
        ..Default::default()
    };
    let aead = RingAead::new(association.suite, &KeyMaterial::new(&association.key)).expect("key");
    runner(6_000)
        .run(&(any::<u64>(), 0u8..4), |(seed, outer_ecn)| {
            let mut random = Random(seed);
            let mut sealed = Vec::new();
            for _ in 0..8 {
                let mut plaintext = nearly_a_packet(&mut random);
                if random.chance(5) {
                    let tail = random.below(40) as usize;
                    let tail = random.bytes(tail);
                    plaintext.extend_from_slice(&tail);
                }
                let pad = if random.chance(8) {
                    random.next() as u8
                } else {
                    random.below(4) as u8
                };
                plaintext.extend(1..=pad.min(9));
                plaintext.push(pad.min(if random.chance(8) { 255 } else { 9 }));
                let family = plaintext[0] >> 4;
                plaintext.push(match random.below(12) {
                    0 => random.next() as u8,
                    _ if family == 6 => 41,
                    _ => 4,
                });
                if random.chance(12) {
                    let len = random.below(6) as usize;
                    plaintext.truncate(len);
                }
                let front = [
                    &association.spi.to_be_bytes()[..],
                    &[0, 0, 0, 1],
                    &random.next().to_be_bytes(),
                ]
                .concat();
                let iv = front[8..16].try_into().expect("8");
                let icv = aead.seal(iv, &front[..8], &mut plaintext).expect("sealed");
                sealed.push([front, plaintext, icv.to_vec()].concat());
            }
            let counters = Counters::default();
            let mut sa = association.inbound();
            let (outcomes, _) = open_all(&mut sa, &sealed, outer_ecn, &counters);
            for outcome in &outcomes {
                match outcome {
                    Ok(inner) => {
                        // What is delivered is a whole IP packet with a right header checksum.
                        let parsed = IpPacket::parse(inner);
                        prop_assert!(
                            parsed.is_ok_and(|packet| packet.bytes().len() == inner.len())
                        );
                        prop_assert!(ip_checksum_is_right(inner));
                        delivered.set(delivered.get() + 1);
                    }
                    Err(reason) => reasons.set(reasons.get() | 1 << *reason as u8),
                }
            }
            // And the kernel's side of it takes anything that was delivered.
            let inner: Vec<Vec<u8>> = outcomes.into_iter().flatten().collect();
            let (mut arena, slots) = arena_of(&inner);
            let mut coalescer = Coalescer::new(true);
            let mut emitted = 0;
            for slot in &slots {
                coalescer.push(&mut arena, *slot, &mut |_, piece| {
                    emitted += 1 + piece.rest.len()
                });
            }
            coalescer.flush(&mut arena, &mut |_, piece| emitted += 1 + piece.rest.len());
            prop_assert_eq!(emitted, inner.len());
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(delivered.get() > 5_000, "{}", delivered.get());
    for reason in [
        DropReason::Padding,
        DropReason::Mode,
        DropReason::MalformedInner,
        DropReason::Short,
    ] {
        assert!(reasons.get() & 1 << reason as u8 != 0, "{reason:?} was met");
    }
}

#[test]
fn a_stranger_with_any_bytes() {
    let association = Association::default();
    let packets = vec(vec(any::<u8>(), 0..90), 1..20);
    runner(2_000)
        .run(&(packets, any::<u8>()), |(packets, outer_ecn)| {
            let counters = Counters::default();
            let (outcomes, notice) =
                open_all(&mut association.inbound(), &packets, outer_ecn, &counters);
            prop_assert!(outcomes.iter().all(Result::is_err));
            prop_assert_eq!(notice.ask_for_more, None);
            prop_assert!(!notice.first_use);
            for packet in &packets {
                let _ = classify(packet);
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_kernel_with_any_bytes() {
    runner(4_000)
        .run(&any::<u64>(), |seed| {
            let mut random = Random(seed);
            let packet = nearly_a_packet(&mut random);
            if let Ok(parsed) = IpPacket::parse(&packet) {
                let key = parsed.flow_key();
                let _ = Selector::default().matches(Direction::Outbound, &key);
            }
            let sa = Association::of(*random.pick(SuiteName::ALL)).outbound();
            let layout = Layout::of(&sa, 40, 100 + random.below(100) as usize);
            let mut arena = vec![0; 70_000];
            let at = layout.first_packet();
            arena[at..at + packet.len()].copy_from_slice(&packet);
            let mut slots = vec![Slot::default(); 70];
            let segment_len = random.below(60) as usize;
            let offload = match random.below(3) {
                0 => Offload::None {
                    checksum: Some((random.below(150) as usize, random.below(20) as usize)),
                },
                1 => Offload::Tcp { segment_len },
                _ => Offload::Udp { segment_len },
            };
            if let Ok(done) = segment(
                &mut arena,
                &mut slots,
                (&layout, 1, packet.len()),
                offload,
                &sa,
            ) {
                for slot in &slots[..done.packets] {
                    prop_assert!(slot.fits(arena.len()));
                }
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    let mut packet = udp(false, 0, (1, 2), b"");
    complete(&mut packet);
}
