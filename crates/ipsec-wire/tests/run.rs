//! Slots stay in their cells and cells in their arena.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use ipsec_wire::checksum::{Sum, pseudo_header, update};
use ipsec_wire::{NoRoom, Run, Slot, esp, ipv4, tcp};
use proptest::collection::vec;
use proptest::prelude::*;

fn slot(cell_start: u32, start: u32, len: u32, cell_end: u32) -> Slot {
    Slot {
        start,
        len,
        cell_start,
        cell_end,
    }
}

#[test]
fn only_slots_that_fit_make_a_run() {
    let good = slot(10, 20, 30, 60);
    for (slot, fits) in [
        (good, true),
        (slot(0, 0, 0, 0), true),
        (slot(100, 100, 0, 100), true),
        (slot(20, 10, 5, 60), false),
        (slot(10, 20, 41, 60), false),
        (slot(10, 20, 30, 101), false),
        (slot(10, u32::MAX, 1, 60), false),
        (slot(0, 1, u32::MAX, u32::MAX), false),
        (slot(60, 70, 0, 10), false),
    ] {
        let mut arena = [0; 100];
        assert_eq!(
            Run::new(&mut arena, &mut [good, slot]).is_some(),
            fits,
            "{slot:?}"
        );
    }
}

#[test]
fn a_packet_grows_into_its_own_room_and_no_further() {
    let mut arena: Vec<u8> = (0..100).collect();
    let mut slots = [slot(10, 20, 30, 60), slot(60, 60, 40, 100)];
    let mut run = Run::new(&mut arena, &mut slots).expect("fits");
    assert_eq!((run.len(), run.is_empty()), (2, false));
    assert_eq!(
        (run.slots()[0].headroom(), run.slots()[0].tailroom()),
        (10, 10)
    );
    assert_eq!(run.grow(0, 11, 0), Err(NoRoom));
    assert_eq!(run.grow(0, 0, 11), Err(NoRoom));
    assert_eq!(run.grow(1, 1, 0), Err(NoRoom));
    assert_eq!(run.packet(0)[0], 20, "a refusal changes nothing");
    let grown = run.grow(0, 10, 10).expect("room");
    assert_eq!((grown[0], grown.len()), (10, 50));
    run.narrow(0, 2, 5);
    assert_eq!(run.packet(0), [12, 13, 14, 15, 16]);
    run.packet_mut(1)[0] = 9;
    assert_eq!(run.packet(1)[0], 9);
}

#[test]
#[should_panic(expected = "a part of a packet lies within it")]
fn no_part_reaches_out() {
    let mut arena = [0; 100];
    let mut slots = [slot(0, 0, 10, 100)];
    Run::new(&mut arena, &mut slots)
        .expect("fits")
        .narrow(0, 5, 6);
}

#[test]
fn headers() {
    assert_eq!(esp::header(&[1, 2, 3, 4, 0, 0, 0]), None);
    let header = esp::header_of(0x0102_0304, 5);
    assert_eq!(header, [1, 2, 3, 4, 0, 0, 0, 5]);
    assert_eq!(esp::header(&header), Some((0x0102_0304, 5)));
    let mut segment = [0u8; 60];
    for (words, wanted) in [(0u8, None), (4, None), (5, Some(20)), (15, Some(60))] {
        segment[tcp::DATA_OFFSET] = words << 4;
        assert_eq!(tcp::header_len(&segment), wanted);
    }
    assert_eq!(tcp::header_len(&segment[..59]), None);
    assert_eq!(tcp::header_len(&segment[..12]), None);
    let mut header = [
        0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 9, 9, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    ipv4::set_length_and_id(&mut header, 1_500, 0xffff);
    assert_eq!(Sum::ZERO.add_bytes(&header).finish(), 0);
    assert_eq!(header[2..6], [5, 220, 0xff, 0xff]);
}

/// RFC 1071, word by word.
fn obvious(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for pair in parts.concat().chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_in_parts_are_the_sum(
        parts in vec(vec(any::<u8>(), 0..400), 0..4),
        tail in vec(any::<u8>(), 0..400),
        number in any::<u32>(),
        short in any::<u16>(),
    ) {
        let even: Vec<Vec<u8>> = parts.iter().map(|part| part[..part.len() & !1].to_vec()).collect();
        let mut sum = Sum::ZERO.add_u32(number).add_u16(short);
        let (number, short) = (number.to_be_bytes(), short.to_be_bytes());
        let mut all: Vec<&[u8]> = vec![&number, &short];
        for part in &even {
            sum = sum.plus(Sum::ZERO.add_bytes(part));
            all.push(part);
        }
        all.push(&tail);
        prop_assert_eq!(sum.add_bytes(&tail).finish(), obvious(&all));
    }

    #[test]
    fn pseudo_headers(v6 in any::<bool>(), addresses in any::<[u8; 32]>(), protocol in any::<u8>(), len in 0usize..65_536) {
        let addresses = if v6 { &addresses[..] } else { &addresses[..8] };
        let tail = [0, protocol];
        let found = pseudo_header(addresses, protocol, len).finish();
        prop_assert_eq!(found, obvious(&[addresses, &tail, &(len as u32).to_be_bytes()]));
    }

    /// RFC 1624: the change of one word, on headers of which some sum to nothing but ones.
    #[test]
    fn an_update_is_a_new_sum(mut header in any::<[u8; 20]>(), at in prop::sample::select(vec![0usize, 2, 4, 6, 8]), new in any::<u16>(), zeros in any::<bool>()) {
        header[0] |= 0x40;
        if zeros {
            header[2..].fill(0);
        }
        ipv4::set_checksum(&mut header);
        let sum = u16::from_be_bytes([header[10], header[11]]);
        let old = u16::from_be_bytes([header[at], header[at + 1]]);
        let new = if at == 0 { new | 0x4000 } else { new };
        let updated = update(sum, old, new);
        header[at..at + 2].copy_from_slice(&new.to_be_bytes());
        header[10..12].copy_from_slice(&updated.to_be_bytes());
        prop_assert_eq!(obvious(&[&header]), 0);
    }
}
