//! What waits while SAs are negotiated: acquires told at a bounded rate, and a bounded number of
//! packets kept for a bounded time.

use crate::limits::{
    ACQUIRE_INTERVAL_MS, ACQUIRE_PER_ENTRY_COUNT, ACQUIRE_REMEMBERED_MAX, HOLD_COUNT, HOLD_LEN,
    HOLD_MS, HOLD_PER_ENTRY_COUNT,
};
use ipsec_io::offload::ReadOffload;
use ipsec_wire::FlowKey;
use std::collections::{HashMap, VecDeque};

/// One read of the TUN that waits: a packet, or a super-packet not yet segmented.
pub(crate) struct Held {
    /// Position of its SPD entry.
    pub(crate) entry: u32,
    /// Since when.
    pub(crate) at_ms: u64,
    /// As it was read.
    pub(crate) offload: ReadOffload,
    /// As it was read.
    pub(crate) bytes: Box<[u8]>,
}

/// The packets that wait, the oldest first.
#[derive(Default)]
pub(crate) struct Hold {
    packets: VecDeque<Held>,
    len: usize,
}

impl Hold {
    /// Keeps a packet; false when no more may wait.
    pub(crate) fn keep(&mut self, held: Held) -> bool {
        let of_entry = self
            .packets
            .iter()
            .filter(|other| other.entry == held.entry)
            .count();
        if of_entry >= HOLD_PER_ENTRY_COUNT
            || self.packets.len() >= HOLD_COUNT
            || self.len + held.bytes.len() > HOLD_LEN
        {
            return false;
        }
        self.len += held.bytes.len();
        // One that could not go keeps its time, so it may be older than the last.
        let at = self
            .packets
            .partition_point(|other| other.at_ms <= held.at_ms);
        self.packets.insert(at, held);
        true
    }

    /// Takes out the packets of an entry, or all.
    pub(crate) fn release(&mut self, entry: Option<u32>) -> Vec<Held> {
        let (taken, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.packets)
            .into_iter()
            .partition(|held| entry.is_none_or(|entry| held.entry == entry));
        self.len = kept.iter().map(|held| held.bytes.len()).sum();
        self.packets = kept;
        taken.into()
    }

    /// Drops what waited too long; how many.
    pub(crate) fn expire(&mut self, now_ms: u64) -> usize {
        let mut expired = 0;
        while let Some(held) = self.packets.front()
            && now_ms.saturating_sub(held.at_ms) >= HOLD_MS
        {
            self.len -= held.bytes.len();
            self.packets.pop_front();
            expired += 1;
        }
        expired
    }

    /// When the oldest has waited long enough.
    pub(crate) fn expires_at_ms(&self) -> Option<u64> {
        self.packets.front().map(|held| held.at_ms + HOLD_MS)
    }
}

/// Which acquires are told.
#[derive(Default)]
pub(crate) struct AcquireLimiter {
    /// By entry and the packet's addresses: when it was told.
    told: HashMap<(u32, u128, u128), u64>,
    /// By entry: when its interval began, and how many it had.
    entries: HashMap<u32, (u64, u32)>,
}

impl AcquireLimiter {
    /// Whether an acquire may be told now. [`Self::told`] says that it was.
    pub(crate) fn admits(&mut self, entry: u32, key: &FlowKey, now_ms: u64) -> bool {
        let recent = |at: u64| now_ms.saturating_sub(at) < ACQUIRE_INTERVAL_MS;
        let of_entry = self.entries.get(&entry);
        let entry_full =
            of_entry.is_some_and(|(at, count)| recent(*at) && *count >= ACQUIRE_PER_ENTRY_COUNT);
        let pair = (entry, key.source, key.destination);
        !entry_full && !self.told.get(&pair).is_some_and(|at| recent(*at))
    }

    /// Remembers an acquire.
    pub(crate) fn told(&mut self, entry: u32, key: &FlowKey, now_ms: u64) {
        if self.told.len() >= ACQUIRE_REMEMBERED_MAX {
            self.told.clear();
        }
        if self.entries.len() >= ACQUIRE_REMEMBERED_MAX {
            self.entries.clear();
        }
        self.told
            .insert((entry, key.source, key.destination), now_ms);
        let (at, count) = self.entries.entry(entry).or_insert((now_ms, 0));
        if now_ms.saturating_sub(*at) >= ACQUIRE_INTERVAL_MS {
            (*at, *count) = (now_ms, 0);
        }
        *count += 1;
    }

    /// Entries have other positions from here on.
    pub(crate) fn clear(&mut self) {
        self.told.clear();
        self.entries.clear();
    }
}
