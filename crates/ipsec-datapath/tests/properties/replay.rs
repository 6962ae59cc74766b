//! The replay window is the set of numbers seen among the last W (RFC 4303 section 3.4.3), with the
//! high half of an extended number inferred as Appendix A2.2 says.

use crate::common::{Association, arena_of, complete, drops, ip_header, open_all, open_one, seal};
use crate::runner;
use ipsec_datapath::DropReason::{self, Integrity, ReplayDuplicate, ReplayTooOld};
use ipsec_datapath::counters::{Counter, Counters};
use ipsec_datapath::esp::Content;
use ipsec_datapath::replay_window::ReplayWindow;
use ipsec_datapath::sad::OutboundSa;
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::HashSet;

/// The set-based model.
struct Model {
    seen: HashSet<u64>,
    /// Every number up to here is refused, for it was before our time.
    floor: u64,
    top: u64,
    window: u64,
    extended: bool,
}

impl Model {
    fn new(association: &Association) -> Self {
        Self {
            seen: HashSet::new(),
            floor: association.right_edge,
            top: association.right_edge,
            window: u64::from(association.window),
            extended: association.extended,
        }
    }

    /// Appendix A2.2 said in one sentence: the lowest number not left of the window that has these
    /// low 32 bits.
    fn infer(&self, low: u32) -> i128 {
        if !self.extended {
            return i128::from(low);
        }
        let bottom = i128::from(self.top) - i128::from(self.window) + 1;
        let mut number = (bottom >> 32 << 32) + i128::from(low);
        while number < bottom {
            number += 1 << 32;
        }
        number
    }

    fn takes(&self, number: i128) -> Result<u64, DropReason> {
        let number = u64::try_from(number).map_err(|_| ReplayTooOld)?;
        if number == 0 || u128::from(number) + u128::from(self.window) <= u128::from(self.top) {
            return Err(ReplayTooOld);
        }
        if number <= self.floor || self.seen.contains(&number) {
            return Err(ReplayDuplicate);
        }
        Ok(number)
    }

    /// One run: all looked at against the window as it was, then taken in order.
    fn run(&mut self, run: &[(u64, bool)]) -> Vec<Result<(), DropReason>> {
        let looked: Vec<Result<u64, DropReason>> = run
            .iter()
            .map(|(sent, authentic)| {
                let number = self.takes(self.infer(*sent as u32))?;
                if *authentic && number == *sent {
                    Ok(number)
                } else {
                    Err(Integrity)
                }
            })
            .collect();
        looked
            .into_iter()
            .map(|number| {
                let number = self.takes(i128::from(number?))?;
                self.seen.insert(number);
                self.top = self.top.max(number);
                Ok(())
            })
            .collect()
    }
}

/// How a step finds its number.
#[derive(Clone, Copy, Debug)]
enum Base {
    Top,
    LeftEdge,
    OneWindowAhead,
    WordAhead,
    AfterPrevious,
    Earlier,
    SubspaceBoundary,
    FarAhead,
    SubspaceAhead,
}

const NEAR: &[Base] = &[
    Base::Top,
    Base::LeftEdge,
    Base::OneWindowAhead,
    Base::WordAhead,
    Base::AfterPrevious,
    Base::AfterPrevious,
    Base::Earlier,
    Base::SubspaceBoundary,
];
const ALL: &[Base] = &[
    Base::Top,
    Base::Top,
    Base::Top,
    Base::Top,
    Base::LeftEdge,
    Base::LeftEdge,
    Base::LeftEdge,
    Base::LeftEdge,
    Base::OneWindowAhead,
    Base::WordAhead,
    Base::WordAhead,
    Base::AfterPrevious,
    Base::AfterPrevious,
    Base::AfterPrevious,
    Base::AfterPrevious,
    Base::AfterPrevious,
    Base::AfterPrevious,
    Base::AfterPrevious,
    Base::AfterPrevious,
    Base::Earlier,
    Base::Earlier,
    Base::Earlier,
    Base::SubspaceBoundary,
    Base::FarAhead,
    Base::SubspaceAhead,
];

type Step = (Base, i64, bool);

fn step(bases: &'static [Base]) -> impl Strategy<Value = Step> {
    (
        prop::sample::select(bases),
        -3i64..=3,
        prop::bool::weighted(0.93),
    )
}

struct Walk {
    previous: u64,
    history: Vec<u64>,
}

impl Walk {
    fn resolve(
        &mut self,
        (base, delta, authentic): Step,
        top: u64,
        association: &Association,
    ) -> (u64, bool) {
        let (top, window) = (i128::from(top), i128::from(association.window));
        let delta = i128::from(delta);
        let number = match base {
            Base::Top => top + delta,
            Base::LeftEdge => top - window + delta,
            Base::OneWindowAhead => top + window + delta,
            Base::WordAhead => (((top >> 6) + 1 + delta.abs()) << 6) | ((delta & 1) * 63),
            Base::AfterPrevious => i128::from(self.previous) + 1,
            Base::Earlier => {
                let back = (delta + 3) as usize * 5 + 1;
                let at = self.history.len().saturating_sub(back);
                i128::from(self.history.get(at).copied().unwrap_or(1))
            }
            Base::SubspaceBoundary => ((top + (1 << 31)) >> 32 << 32) + delta,
            Base::FarAhead => top + (1 << 30) + delta,
            Base::SubspaceAhead => top + (1 << 32) - window + delta,
        };
        // A sender stops one short of 2^64-1; the draft-mcgrew vectors have that last one.
        let last = if association.extended {
            u64::MAX - 1
        } else {
            u64::from(u32::MAX)
        };
        let number = number.clamp(0, i128::from(last)) as u64;
        self.previous = number;
        self.history.push(number);
        (number, authentic)
    }
}

fn association() -> impl Strategy<Value = Association> {
    let windows: Vec<u32> = (6..=16).map(|shift| 1 << shift).collect();
    let edges = vec![
        0u64,
        1,
        63,
        64,
        1_000,
        (1 << 32) - 70_000,
        (1 << 32) - 65,
        (1 << 32) - 2,
        (1 << 32) - 1,
        1 << 32,
        (1 << 32) + 62,
        (1 << 32) + 70_000,
        (7 << 32) - 3,
        u64::MAX - 70_000,
        u64::MAX - 5,
    ];
    (
        prop::sample::select(windows),
        any::<bool>(),
        prop::sample::select(edges),
    )
        .prop_map(|(window, extended, edge)| Association {
            window,
            extended,
            right_edge: if extended { edge } else { edge % (1 << 32) },
            ..Association::default()
        })
}

fn inner() -> Vec<u8> {
    let mut packet = ip_header(false, 59, 0);
    complete(&mut packet);
    packet
}

fn packet_of(outbound: &OutboundSa, inner: &[u8], (sent, authentic): (u64, bool)) -> Vec<u8> {
    let mut packet = seal(outbound, sent, inner, Content::Ip);
    if !authentic {
        *packet.last_mut().expect("ICV") ^= 1;
    }
    packet
}

#[test]
fn equals_the_set_of_numbers_seen() {
    let inner = inner();
    let (packets, delivered, duplicates_within) =
        (Cell::new(0u32), Cell::new(0u32), Cell::new(0u32));
    let runs = vec(vec(step(ALL), 1..70), 1..12);
    runner(4_000)
        .run(&(association(), runs), |(association, runs)| {
            let outbound = association.outbound();
            let mut sa = association.inbound();
            let mut model = Model::new(&association);
            let mut walk = Walk {
                previous: association.right_edge,
                history: Vec::new(),
            };
            let counters = Counters::default();
            let mut commits = 0;
            for steps in runs {
                let run: Vec<(u64, bool)> = steps
                    .into_iter()
                    .map(|step| walk.resolve(step, model.top, &association))
                    .collect();
                let wanted = model.run(&run);
                let sealed: Vec<Vec<u8>> = run
                    .iter()
                    .map(|sent| packet_of(&outbound, &inner, *sent))
                    .collect();
                let (found, _) = open_all(&mut sa, &sealed, 0, &counters);
                let found: Vec<_> = found
                    .into_iter()
                    .map(|outcome| outcome.map(|_| ()))
                    .collect();
                prop_assert_eq!(&found, &wanted, "{:?}", run);
                prop_assert_eq!(sa.right_edge(), model.top);
                packets.set(packets.get() + run.len() as u32);
                delivered.set(delivered.get() + wanted.iter().flatten().count() as u32);
                let mut within = HashSet::new();
                for (sent, outcome) in run.iter().zip(&wanted) {
                    if !within.insert(*sent) && *outcome == Err(ReplayDuplicate) {
                        duplicates_within.set(duplicates_within.get() + 1);
                    }
                }
                commits += 1;
                prop_assert!(
                    counters.value(Counter::ReplayCommits) <= commits,
                    "one move a run"
                );
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    // The walk reaches what it is for.
    assert!(packets.get() > 200_000, "{} packets", packets.get());
    assert!(delivered.get() > 50_000, "{} delivered", delivered.get());
    assert!(
        duplicates_within.get() > 2_000,
        "{} duplicates in their run",
        duplicates_within.get()
    );
}

#[test]
fn how_a_stream_is_cut_into_runs_changes_nothing() {
    let inner = inner();
    runner(400)
        .run(
            &(
                association(),
                vec((step(NEAR), prop::bool::weighted(0.2)), 1..120),
            ),
            |(association, steps)| {
                let outbound = association.outbound();
                let mut walk = Walk {
                    previous: association.right_edge,
                    history: Vec::new(),
                };
                // Numbers are walked over a model that takes them one at a time.
                let mut model = Model::new(&association);
                let mut wanted = Vec::new();
                let mut sealed = Vec::new();
                for (step, _) in &steps {
                    let sent = walk.resolve(*step, model.top, &association);
                    wanted.push(model.run(&[sent])[0].is_ok());
                    sealed.push(packet_of(&outbound, &inner, sent));
                }
                let mut sa = association.inbound();
                let counters = Counters::default();
                let mut found = Vec::new();
                let mut run = Vec::new();
                for (packet, (_, cut)) in sealed.into_iter().zip(&steps) {
                    run.push(packet);
                    if *cut {
                        found.extend(open_all(&mut sa, &run, 0, &counters).0);
                        run.clear();
                    }
                }
                found.extend(open_all(&mut sa, &run, 0, &counters).0);
                let found: Vec<bool> = found.iter().map(Result::is_ok).collect();
                prop_assert_eq!(found, wanted);
                prop_assert_eq!(sa.right_edge(), model.top);
                Ok(())
            },
        )
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// Runs in order as a sender makes them, longer than the ring, with every one replayed after.
#[test]
fn full_runs_in_order_then_all_of_them_again() {
    let inner = inner();
    for window in (6..=16).map(|shift| 1u32 << shift) {
        for edge in [0u64, (1 << 32) - 1_500] {
            let association = Association {
                window,
                extended: true,
                right_edge: edge,
                ..Default::default()
            };
            let outbound = association.outbound();
            let mut sa = association.inbound();
            let mut model = Model::new(&association);
            let counters = Counters::default();
            let mut next = edge + 1;
            for count in [1u64, 2, 63, 64, 65, 128, 129, 700, 1_024, 1_000, 1] {
                let run: Vec<(u64, bool)> = (next..next + count).map(|sent| (sent, true)).collect();
                next += count;
                let sealed: Vec<Vec<u8>> = run
                    .iter()
                    .map(|sent| packet_of(&outbound, &inner, *sent))
                    .collect();
                for _ in 0..2 {
                    let wanted = model.run(&run);
                    let (found, _) = open_all(&mut sa, &sealed, 0, &counters);
                    let found: Vec<_> = found
                        .into_iter()
                        .map(|outcome| outcome.map(|_| ()))
                        .collect();
                    assert_eq!(found, wanted, "window {window}, {count} from {}", run[0].0);
                }
            }
            assert_eq!(sa.right_edge(), next - 1);
        }
    }
}

#[test]
fn without_a_window_nothing_is_a_replay() {
    let association = Association {
        window: 0,
        ..Default::default()
    };
    let outbound = association.outbound();
    let mut sa = association.inbound();
    let counters = Counters::default();
    for sent in [5u64, 5, 1, 0, 4_000_000_000, 1] {
        let packet = packet_of(&outbound, &inner(), (sent, true));
        assert!(open_one(&mut sa, &packet, 0, &counters).is_ok(), "{sent}");
    }
    assert_eq!(sa.right_edge(), 4_000_000_000);
    assert_eq!(drops(&counters), []);
    // RFC 4303 section 2.2.1: extended numbers need a window.
    assert!(ReplayWindow::new(0, true, 0).is_err());
}

#[test]
fn sizes_are_powers_of_two_from_64_to_65536() {
    for packets in 0..=200_000u32 {
        let legal = packets == 0 || (packets.is_power_of_two() && (64..=65_536).contains(&packets));
        assert_eq!(
            ReplayWindow::new(packets, false, 0).is_ok(),
            legal,
            "{packets}"
        );
    }
}

#[test]
fn after_a_restart_all_up_to_the_edge_is_refused() {
    for extended in [false, true] {
        let association = Association {
            extended,
            ..Default::default()
        };
        let mut window = ReplayWindow::new(1_024, extended, 0).expect("size");
        window.refuse_up_to(5_000);
        assert_eq!(window.top(), 5_000);
        for number in 1..=5_000u32 {
            assert!(
                window
                    .check(number)
                    .map(|fresh| fresh.sequence_number() > 5_000)
                    .unwrap_or(true)
            );
        }
        assert_eq!(window.check(5_001).expect("new").sequence_number(), 5_001);
        // Never to the left.
        window.refuse_up_to(10);
        assert_eq!(window.top(), 5_000);
        drop(association);
    }
}

#[test]
fn the_durable_bound_holds_back_authentic_numbers_and_asks() {
    let association = Association {
        inbound_reserved: 100,
        ..Default::default()
    };
    let outbound = association.outbound();
    let mut sa = association.inbound();
    let counters = Counters::default();
    let sealed: Vec<Vec<u8>> = [99u64, 100, 101, 102]
        .iter()
        .map(|sent| packet_of(&outbound, &inner(), (*sent, true)))
        .collect();
    let (found, notice) = open_all(&mut sa, &sealed, 0, &counters);
    let found: Vec<_> = found
        .into_iter()
        .map(|outcome| outcome.map(|_| ()))
        .collect();
    let held = DropReason::ReplayNotReserved;
    assert_eq!(found, [Ok(()), Ok(()), Err(held), Err(held)]);
    assert_eq!(notice.ask_for_more, Some(102));
    assert!(notice.first_use);
    // Not taken means not seen: it comes again after the bound was raised.
    assert_eq!(sa.right_edge(), 100);
    sa.confirm(1_000);
    let (found, notice) = open_all(&mut sa, &sealed[2..], 0, &counters);
    assert!(found.iter().all(Result::is_ok));
    assert!(!notice.first_use);
    // A forged number above the bound asks for nothing.
    let mut forged = packet_of(&outbound, &inner(), (5_000, true));
    forged[20] ^= 1;
    let (_, notice) = open_all(&mut sa, &[forged], 0, &counters);
    assert_eq!(notice.ask_for_more, None);
    let (arena, slots) = arena_of(&sealed);
    assert_eq!(
        arena.len(),
        slots.iter().map(|slot| slot.len as usize).sum::<usize>()
    );
}
