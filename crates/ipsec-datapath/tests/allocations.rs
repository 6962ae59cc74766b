//! A warm path allocates nothing: outbound, inbound, and for packets that are refused.

#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use ipsec_datapath::DropReason;
use ipsec_datapath::coalesce::Coalescer;
use ipsec_datapath::counters::Counters;
use ipsec_datapath::esp::Content;
use ipsec_datapath::inbound::{InboundSad, InboundScratch, InboundVerdict, open_run};
use ipsec_datapath::outbound::{Decision, Outbound, OutboundView, seal_run};
use ipsec_datapath::segment::{Layout, Offload, segment};
use ipsec_datapath::selector::Selector;
use ipsec_datapath::spd::{Action, Spd, SpdEntry};
use ipsec_datapath::transport::Outer;
use ipsec_datapath::udp_encapsulation::{Datagram, classify};
use ipsec_wire::{IpPacket, Run, Slot};
use std::alloc::{GlobalAlloc, Layout as MemoryLayout, System};
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    // Per thread, so that other tests and the harness are not counted.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: MemoryLayout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: MemoryLayout) {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: MemoryLayout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and releases of this thread in `work`.
fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

fn entry(name: &str, action: Action, remote: (&str, &str)) -> SpdEntry {
    SpdEntry {
        name: name.into(),
        outbound: true,
        inbound: true,
        selector: Selector {
            remote: vec![range(remote.0, remote.1)],
            ..Selector::default()
        },
        action,
    }
}

/// One gateway's both sides, warm after the first round.
struct Fixture {
    outbound: Outbound,
    sad: InboundSad,
    counters: Counters,
    scratch: InboundScratch,
    coalescer: Coalescer,
    super_packet: Vec<u8>,
    layout: Layout,
    arena: Vec<u8>,
    slots: Vec<Slot>,
    verdicts: Vec<InboundVerdict>,
}

const SEGMENT: usize = 1_388;

impl Fixture {
    fn new() -> Self {
        let association = Association {
            window: 1_024,
            entry: "peer".into(),
            extended: true,
            ..Default::default()
        };
        let entries = vec![
            entry("closed", Action::Discard, ("203.0.113.0", "203.0.113.255")),
            entry("open", Action::Bypass, ("198.51.100.0", "198.51.100.255")),
            entry("waiting", Action::Protect, ("192.0.2.0", "192.0.2.255")),
            entry("peer", Action::Protect, ("10.2.0.0", "10.2.0.255")),
        ];
        let spd = Arc::new(Spd::compile(1, entries).expect("legal"));
        let view = OutboundView::new(spd, vec![(Arc::new(association.outbound()), tunnel())]);
        let mut sad = InboundSad::default();
        assert!(sad.add(Box::new(association.inbound())).is_ok());
        let super_packet = Tcp::default().packet(&vec![7; 40 * SEGMENT + 100]);
        let (sa, _) = view.sa(0).expect("the SA");
        let layout = Layout::of(sa, 52, SEGMENT);
        Self {
            outbound: Outbound::new(view, [1, 2, 3, 4]),
            sad,
            counters: Counters::default(),
            scratch: InboundScratch::default(),
            coalescer: Coalescer::new(true),
            super_packet,
            layout,
            arena: vec![0; 200_000],
            slots: vec![Slot::default(); 1_024],
            verdicts: vec![InboundVerdict::Deliver; 1_024],
        }
    }

    /// The read lies in one piece, so that payloads move too.
    fn read(&mut self) {
        let at = self.layout.first_packet();
        self.arena[at..at + self.super_packet.len()].copy_from_slice(&self.super_packet);
    }

    fn seal(&mut self) -> usize {
        let head = IpPacket::parse(&self.super_packet).expect("a packet");
        let Decision::Protect(index) = self.outbound.decide(&head.flow_key(), &self.counters)
        else {
            panic!("protected");
        };
        let (sa, _) = self.outbound.view().sa(index).expect("the SA");
        let sa = &*Arc::clone(sa);
        let done = segment(
            &mut self.arena,
            &mut self.slots,
            (&self.layout, 1, self.super_packet.len()),
            Offload::Tcp {
                segment_len: SEGMENT,
            },
            sa,
        )
        .expect("segments");
        let mut run = Run::new(&mut self.arena, &mut self.slots[..done.packets]).expect("slots");
        seal_run(sa, &mut run, Content::Ip, 1, &self.counters).expect("sealed");
        done.packets
    }

    fn open(&mut self, count: usize) -> (usize, usize) {
        let (spi, _) =
            ipsec_wire::esp::header(&self.arena[self.slots[0].range()]).expect("a header");
        let sa = self.sad.find(spi).expect("an SA");
        let mut run = Run::new(&mut self.arena, &mut self.slots[..count]).expect("slots");
        open_run(
            sa,
            &mut run,
            &Outer::of_ecn(0),
            &mut self.verdicts[..count],
            (&mut self.scratch, &self.counters, 1),
        );
        let (mut delivered, mut written) = (0, 0);
        let mut emit = |_: &mut [u8], _: &ipsec_datapath::coalesce::Piece| written += 1;
        for index in 0..count {
            if self.verdicts[index] == InboundVerdict::Deliver {
                delivered += 1;
                self.coalescer
                    .push(&mut self.arena, self.slots[index], &mut emit);
            }
        }
        self.coalescer.flush(&mut self.arena, &mut emit);
        (delivered, written)
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(
        allocations_of(|| drop(std::hint::black_box(Box::new(5u64)))),
        2
    );
    assert_eq!(allocations_of(|| ()), 0);
}

#[test]
fn a_warm_path_allocates_nothing() {
    let mut fixture = Fixture::new();
    for round in 0..4 {
        fixture.read();
        let mut count = 0;
        let outbound = allocations_of(|| count = fixture.seal());
        let mut outcome = (0, 0);
        let inbound = allocations_of(|| outcome = fixture.open(count));
        assert_eq!((count, outcome), (41, (41, 1)));
        if round > 0 {
            assert_eq!((outbound, inbound), (0, 0), "round {round}");
        }
    }
    assert_eq!(drops(&fixture.counters), []);
}

#[test]
fn packets_of_many_flows_allocate_nothing() {
    let mut fixture = Fixture::new();
    let packets: Vec<Vec<u8>> = (0..30u16)
        .map(|flow| {
            Tcp {
                ports: (flow % 12, 80),
                ..Tcp::default()
            }
            .packet(&[1; 100])
        })
        .chain((0..10u16).map(|flow| udp(false, 0, (flow % 3, 53), &[2; 50])))
        .collect();
    let sa = Association {
        entry: "peer".into(),
        extended: true,
        ..Default::default()
    }
    .outbound();
    for round in 0..3u64 {
        let sealed: Vec<Vec<u8>> = packets
            .iter()
            .zip(1..)
            .map(|(packet, number)| common::seal(&sa, round * 100 + number, packet, Content::Ip))
            .collect();
        let (arena, slots) = arena_of(&sealed);
        fixture.arena[..arena.len()].copy_from_slice(&arena);
        fixture.slots[..slots.len()].copy_from_slice(&slots);
        let mut outcome = (0, 0);
        let count = allocations_of(|| outcome = fixture.open(slots.len()));
        assert_eq!(outcome.0, 40);
        assert!(round == 0 || count == 0, "{count} in round {round}");
    }
}

#[test]
fn refused_packets_allocate_nothing() {
    let mut fixture = Fixture::new();
    fixture.read();
    let count = fixture.seal();
    let sealed: Vec<Vec<u8>> = fixture.slots[..count]
        .iter()
        .map(|slot| fixture.arena[slot.range()].to_vec())
        .collect();
    fixture.open(count);
    let mut flows: Vec<Vec<u8>> = Vec::new();
    for remote in [
        [203, 0, 113, 1],
        [198, 51, 100, 1],
        [192, 0, 2, 1],
        [8, 8, 8, 8],
    ] {
        let mut packet = udp(false, 0, (1, 2), b"refused");
        packet[16..20].copy_from_slice(&remote);
        complete(&mut packet);
        flows.push(packet);
    }
    for round in 0..3 {
        let spent = allocations_of(|| {
            // Outbound: discarded, misrouted, without SA, without entry.
            for packet in &flows {
                let key = IpPacket::parse(packet).expect("a packet").flow_key();
                match fixture.outbound.decide(&key, &fixture.counters) {
                    Decision::Drop(reason) => fixture.counters.refuse(reason, 1),
                    Decision::Acquire(_) => fixture.counters.refuse(DropReason::NoSaOutbound, 1),
                    Decision::Protect(_) => panic!("refused"),
                }
            }
        });
        assert_eq!(spent, 0, "outbound, round {round}");
        // Inbound: replayed, forged, too short, of nobody.
        for change in ["replayed", "forged", "short", "of nobody"] {
            for (index, packet) in sealed.iter().enumerate() {
                let slot = &mut fixture.slots[index];
                *slot = Slot {
                    start: (index * 2_000) as u32,
                    len: packet.len() as u32,
                    cell_start: (index * 2_000) as u32,
                    cell_end: (index * 2_000 + packet.len()) as u32,
                };
                fixture.arena[slot.range()].copy_from_slice(packet);
                match change {
                    "forged" => fixture.arena[slot.start as usize + 4] ^= 0x10,
                    "short" => {
                        fixture.arena[slot.start as usize + 4] ^= 0x10;
                        slot.len = 20;
                    }
                    "of nobody" => fixture.arena[slot.start as usize] ^= 0x10,
                    _ => {}
                }
            }
            let mut delivered = 0;
            let spent = allocations_of(|| {
                if change == "of nobody" {
                    for slot in &fixture.slots[..count] {
                        let Datagram::Esp { spi, .. } = classify(&fixture.arena[slot.range()])
                        else {
                            panic!("ESP");
                        };
                        assert!(fixture.sad.find(spi).is_none());
                        fixture.counters.refuse(DropReason::NoSa, 1);
                    }
                } else {
                    delivered = fixture.open(count).0;
                }
            });
            assert_eq!((spent, delivered), (0, 0), "{change}, round {round}");
        }
    }
    let each = 3 * count as u64;
    let mut found = drops(&fixture.counters);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("integrity", each),
            ("no_sa", each),
            ("no_sa_outbound", 3),
            ("policy_bypass_misrouted", 3),
            ("policy_discard", 3),
            ("policy_no_match", 3),
            ("replay_duplicate", each),
            ("short", each),
        ]
    );
}
