//! No sequence number is given twice, whoever asks, and the counter stops where it must (RFC 4303
//! section 3.3.3).

use ipsec_datapath::DropReason::{SequenceNotReserved, SequenceOverflow};
use ipsec_datapath::sad::sequence_number::{LOW_WATER, SequenceCounter, UNBOUNDED};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Four threads take runs until nothing is left.
fn take_all(counter: &SequenceCounter, confirm: impl Fn(usize) + Sync) -> (Vec<u64>, usize) {
    let asked = AtomicUsize::new(0);
    // All at once, for the shortest time to collide in.
    let start = Barrier::new(4);
    let taken: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let (asked, confirm, start) = (&asked, &confirm, &start);
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    let mut random = crate::common::Random(thread);
                    start.wait();
                    loop {
                        let count = 1 + random.below(4);
                        match counter.reserve(count) {
                            Ok(reserved) => {
                                mine.extend(reserved.first..reserved.first + count);
                                if reserved.ask_for_more {
                                    confirm(asked.fetch_add(1, Ordering::Relaxed));
                                }
                            }
                            Err(_) if count > 1 => {
                                // Perhaps fewer are left.
                                match counter.reserve(1) {
                                    Ok(reserved) => mine.push(reserved.first),
                                    Err(_) => return mine,
                                }
                            }
                            Err(_) => return mine,
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let mut all: Vec<u64> = taken.concat();
    all.sort_unstable();
    (all, asked.load(Ordering::Relaxed))
}

fn is_each_once(numbers: &[u64], first: u64, last: u64) {
    assert_eq!(numbers.first(), Some(&first));
    assert_eq!(numbers.last(), Some(&last));
    assert!(
        numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "each once and none missing"
    );
}

#[test]
fn four_threads_share_32_bits_to_their_end() {
    let first = u64::from(u32::MAX) - 2_000_000;
    let counter = SequenceCounter::new(first, false, UNBOUNDED);
    let (numbers, asked) = take_all(&counter, |_| {});
    is_each_once(&numbers, first, u64::from(u32::MAX));
    assert_eq!(asked, 0, "nothing to ask without a reservation");
    assert_eq!(counter.reserve(1), Err(SequenceOverflow));
    assert_eq!(counter.last(), u64::from(u32::MAX));
    // The end is final: no confirmation moves it.
    counter.confirm(u64::MAX);
    assert_eq!(counter.reserve(1), Err(SequenceOverflow));
}

#[test]
fn four_threads_stop_at_the_reservation_and_go_on_after_it_is_raised() {
    let reserved = LOW_WATER + 50_000;
    let counter = SequenceCounter::new(1, false, reserved);
    let (numbers, asked) = take_all(&counter, |_| {});
    is_each_once(&numbers, 1, reserved);
    assert_eq!(asked, 1, "asked once until answered");
    assert_eq!(counter.reserve(1), Err(SequenceNotReserved));
    counter.confirm(reserved + 1_000);
    let (numbers, asked) = take_all(&counter, |_| {});
    is_each_once(&numbers, reserved + 1, reserved + 1_000);
    assert_eq!(asked, 1);
    // A late answer does not lower it.
    counter.confirm(5);
    assert_eq!(counter.reserved(), Some(reserved + 1_000));
    assert_eq!(counter.reserve(1), Err(SequenceNotReserved));
}

#[test]
fn raised_while_threads_run() {
    let step = LOW_WATER * 2;
    let counter = SequenceCounter::new(1, true, step);
    let (numbers, asked) = take_all(&counter, |round| {
        if round < 2 {
            counter.confirm((round as u64 + 2) * step);
        }
    });
    is_each_once(&numbers, 1, 3 * step);
    assert_eq!(asked, 3);
}

#[test]
fn the_ends_of_extended_numbers() {
    let counter = SequenceCounter::new(u64::MAX - 3, true, UNBOUNDED);
    assert_eq!(counter.limit(), u64::MAX - 1);
    assert_eq!(counter.reserve(4), Err(SequenceOverflow), "all or none");
    assert_eq!(counter.reserve(u64::MAX), Err(SequenceOverflow));
    assert_eq!(
        counter.reserve(2).map(|taken| taken.first),
        Ok(u64::MAX - 3)
    );
    assert_eq!(
        counter.reserve(1).map(|taken| taken.first),
        Ok(u64::MAX - 1)
    );
    assert_eq!(counter.reserve(1), Err(SequenceOverflow));
    // Across 2^32 nothing happens.
    let counter = SequenceCounter::new((1 << 32) - 1, true, UNBOUNDED);
    assert_eq!(
        counter.reserve(3).map(|taken| taken.first),
        Ok((1 << 32) - 1)
    );
    assert_eq!(counter.last(), (1 << 32) + 1);
    // RFC 4303 section 2.2: the first packet has number 1.
    assert_eq!(
        SequenceCounter::new(0, false, UNBOUNDED)
            .reserve(1)
            .map(|taken| taken.first),
        Ok(1)
    );
}
