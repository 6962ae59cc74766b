//! Plain counters. Each worker has its own set and is its only writer; anybody may read.

use crate::verdict::{DROP_REASON_COUNT, DropReason};
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// What is counted besides refusals.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Counter { $($(#[$doc])* $variant,)* }

        impl Counter {
            /// All counters in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The counter's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

counters! {
    /// Reads of the TUN that brought something.
    TunReads = "tun_reads";
    /// IP packets read from the TUN, segments counted one by one.
    TunPacketsRead = "tun_packets_read";
    /// Packets of link scope that the kernel itself puts on every interface (multicast listener
    /// reports, router solicitations): there is no link behind the TUN, so they go nowhere.
    TunLinkScope = "tun_link_scope";
    /// Writes to the TUN.
    TunWrites = "tun_writes";
    /// IP packets written to the TUN, pieces counted one by one.
    TunPacketsWritten = "tun_packets_written";
    /// Super-packets whose payload lay where its packets were to be.
    SegmentsInPlace = "segments_in_place";
    /// Super-packets that had to be moved.
    SegmentsMoved = "segments_moved";
    /// Searches: one a run, hit or miss.
    SpdLookups = "spd_lookups";
    /// Searches that the flow cache answered.
    SpdCacheHits = "spd_cache_hits";
    /// Reservations of sequence numbers: one a run.
    SequenceReservations = "sequence_reservations";
    /// ESP packets sealed.
    EspSealed = "esp_sealed";
    /// ESP packets opened, checked and new.
    EspOpened = "esp_opened";
    /// System calls that sent ESP.
    NetworkSends = "network_sends";
    /// System calls that received something.
    NetworkReceives = "network_receives";
    /// Datagrams received, those that the kernel had merged counted one by one.
    NetworkDatagrams = "network_datagrams";
    /// Moves of a replay window: one a run.
    ReplayCommits = "replay_commits";
    /// NAT keepalives (RFC 3948 section 2.3).
    Keepalives = "keepalives";
    /// IKE datagrams.
    IkeDatagrams = "ike_datagrams";
    /// IKE datagrams sent.
    IkeDatagramsSent = "ike_datagrams_sent";
    /// NAT keepalives sent.
    KeepalivesSent = "keepalives_sent";
    /// Packets that were kept until their SA was there, and then went on.
    HoldReleased = "hold_released";
    /// Packets whose ECN combination RFC 6040 section 4.2 calls to be logged.
    EcnUnexpected = "ecn_unexpected";
    /// Sends with UDP segmentation offload that the kernel refused, so that it was turned off.
    UdpGsoFallbacks = "udp_gso_fallbacks";
    /// Events dropped because their queue was full.
    EventsLost = "events_lost";
}

/// One worker's counters.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    counts: [AtomicU64; Counter::ALL.len()],
    drops: [AtomicU64; DROP_REASON_COUNT],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            drops: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// Adds as the only writer: no locked instruction.
#[inline]
fn add(cell: &AtomicU64, count: u64) {
    // Relaxed: a counter orders nothing.
    cell.store(
        cell.load(Ordering::Relaxed).wrapping_add(count),
        Ordering::Relaxed,
    );
}

impl Counters {
    /// Counts `count` of `counter`. Only the owning worker may call it.
    #[inline]
    pub fn count(&self, counter: Counter, count: usize) {
        add(&self.counts[counter as usize], count as u64);
    }

    /// Counts `count` packets refused for `reason`. Only the owning worker may call it.
    #[inline]
    pub fn refuse(&self, reason: DropReason, count: usize) {
        add(&self.drops[reason as usize], count as u64);
    }

    /// The value of a counter.
    pub fn value(&self, counter: Counter) -> u64 {
        self.counts[counter as usize].load(Ordering::Relaxed)
    }

    /// How many packets were refused for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Ordering::Relaxed)
    }
}
