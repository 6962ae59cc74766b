//! The SAD (RFC 4301 section 4.4.2): per direction the parameters that the control plane gave and
//! the state that only packets change.

mod inbound_sa;
mod outbound_sa;
pub mod sequence_number;

pub use inbound_sa::{
    InboundSa, InboundSaParameters, MAPPING_INTERVAL_MS, RESERVATION_AHEAD_MAX,
    RESERVATION_AHEAD_MIN,
};
pub use outbound_sa::{OutboundSa, OutboundSaParameters};

use crate::replay_window::WindowSize;
use crate::suite::KeyLength;
use crate::verdict::{DROP_REASON_COUNT, DropReason};
use ipsec_wire::esp::SPI_MIN;
use std::sync::atomic::{AtomicU64, Ordering};

/// An SA cannot be made of these parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaError {
    /// Reserved SPI.
    #[error("SPI {0} is reserved: an SPI is 256 or more (RFC 4303 section 2.1)")]
    ReservedSpi(u32),
    /// Key length.
    #[error(transparent)]
    Key(#[from] KeyLength),
    /// Window size.
    #[error(transparent)]
    Window(#[from] WindowSize),
    /// A first sequence number above what the SA can count to.
    #[error("sequence number {0} is beyond what the SA can use")]
    SequenceNumber(u64),
}

/// A number that an SA counts to, or up to which it refuses.
fn check_sequence_number(number: u64, extended: bool) -> Result<(), SaError> {
    let limit = if extended {
        u64::MAX - 1
    } else {
        u64::from(u32::MAX)
    };
    if number > limit {
        Err(SaError::SequenceNumber(number))
    } else {
        Ok(())
    }
}

fn check_spi(spi: u32) -> Result<(), SaError> {
    if spi < SPI_MIN {
        Err(SaError::ReservedSpi(spi))
    } else {
        Ok(())
    }
}

/// Counters of one SA. One worker adds; anybody reads.
#[derive(Debug)]
#[repr(align(64))]
pub struct SaCounters {
    packets: AtomicU64,
    bytes: AtomicU64,
    /// Highest sequence number used or taken, as the control plane may see it.
    sequence_number: AtomicU64,
    last_used_ms: AtomicU64,
    drops: [AtomicU64; DROP_REASON_COUNT],
}

impl Default for SaCounters {
    fn default() -> Self {
        Self {
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            sequence_number: AtomicU64::new(0),
            last_used_ms: AtomicU64::new(u64::MAX),
            drops: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl SaCounters {
    /// Adds packets and the bytes of their inner packets.
    #[inline]
    pub fn add(&self, packets: u64, bytes: u64, now_ms: u64) {
        // Relaxed: counters order nothing. Atomic adds, for several workers may share an outbound SA.
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_used_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self, reason: DropReason, count: u64) {
        self.drops[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn show_sequence_number(&self, number: u64) {
        self.sequence_number.store(number, Ordering::Relaxed);
    }

    /// Packets.
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// Bytes of inner packets.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Right edge of the window, as last committed.
    pub fn sequence_number(&self) -> u64 {
        self.sequence_number.load(Ordering::Relaxed)
    }

    /// When the SA last carried a packet, by the clock that `now_ms` came from.
    pub fn last_used_ms(&self) -> Option<u64> {
        match self.last_used_ms.load(Ordering::Relaxed) {
            u64::MAX => None,
            at => Some(at),
        }
    }

    /// Packets refused for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Ordering::Relaxed)
    }
}
