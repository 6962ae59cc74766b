//! The outbound sequence number (RFC 4303 section 3.3.3): one shared counter, reserved by run.

use crate::verdict::DropReason;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// No durable reservation bounds the counter.
pub const UNBOUNDED: u64 = u64::MAX;

/// The counter of one outbound SA. Any worker may reserve.
#[derive(Debug)]
#[repr(align(64))]
pub struct SequenceCounter {
    /// Last number given out. Relaxed: uniqueness comes from the atomic update alone.
    last: AtomicU64,
    /// Highest number that is durably reserved.
    reserved: AtomicU64,
    /// Highest number of the SA: 2^32-1, or 2^64-2 with extended numbers.
    limit: u64,
    /// Set when the control plane was asked for a higher reservation and has not answered.
    asked: AtomicBool,
}

/// What a reservation brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// First number of the run.
    pub first: u64,
    /// Fewer than [`LOW_WATER`] numbers of the durable reservation are left: ask for more, once.
    pub ask_for_more: bool,
}

impl SequenceCounter {
    /// A counter that gives `first` next.
    pub fn new(first: u64, extended: bool, reserved: u64) -> Self {
        let limit = if extended {
            u64::MAX - 1
        } else {
            u64::from(u32::MAX)
        };
        Self {
            last: AtomicU64::new(first.max(1) - 1),
            reserved: AtomicU64::new(reserved),
            limit,
            asked: AtomicBool::new(false),
        }
    }

    /// Takes `count` consecutive numbers, all or none.
    #[inline]
    pub fn reserve(&self, count: u64) -> Result<Reserved, DropReason> {
        let bound = self.reserved.load(Ordering::Acquire);
        let limit = self.limit.min(bound);
        let taken = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                let end = last.checked_add(count)?;
                (end <= limit).then_some(end)
            });
        match taken {
            Ok(last) => {
                let end = last + count;
                let low = bound != UNBOUNDED && bound - end < LOW_WATER;
                Ok(Reserved {
                    first: last + 1,
                    ask_for_more: low && self.ask(),
                })
            }
            Err(last) if last.saturating_add(count) > self.limit => {
                // RFC 4303 section 3.3.3: the number must not cycle.
                Err(DropReason::SequenceOverflow)
            }
            Err(_) => Err(DropReason::SequenceNotReserved),
        }
    }

    /// True for the first caller since the last confirmation.
    pub fn ask(&self) -> bool {
        !self.asked.load(Ordering::Relaxed) && !self.asked.swap(true, Ordering::Relaxed)
    }

    /// Numbers up to `up_to` are durably reserved. Never lowers the bound.
    pub fn confirm(&self, up_to: u64) {
        // Release: whoever sees the bound sees that the control plane's write came before.
        self.reserved.fetch_max(up_to, Ordering::Release);
        self.asked.store(false, Ordering::Relaxed);
    }

    /// The last number given out.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// The durable reservation, if there is one.
    pub fn reserved(&self) -> Option<u64> {
        match self.reserved.load(Ordering::Relaxed) {
            UNBOUNDED => None,
            bound => Some(bound),
        }
    }

    /// The highest number of this SA.
    pub fn limit(&self) -> u64 {
        self.limit
    }
}

/// A reservation with fewer numbers left than this is to be raised: a second of traffic at half a
/// million packets a second, which a disk sync fits into many times.
pub const LOW_WATER: u64 = 1 << 19;
