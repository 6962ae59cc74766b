//! One inbound SA.

use super::{SaCounters, SaError, check_spi};
use crate::replay_window::ReplayWindow;
use crate::selector::Selector;
use crate::suite::{KeyMaterial, RingAead, SuiteName};
use std::sync::Arc;

/// What the control plane gives.
pub struct InboundSaParameters {
    /// SPI, chosen by us.
    pub spi: u32,
    /// The SPD entry that it serves.
    pub entry: String,
    /// What decrypted packets may be (RFC 4301 section 5.2 step 4).
    pub selector: Selector,
    /// Cipher suite.
    pub suite: SuiteName,
    /// Cipher key then salt.
    pub key: KeyMaterial,
    /// Extended sequence numbers.
    pub extended: bool,
    /// Window in packets, 0 for none.
    pub replay_window_packets: u32,
    /// Right edge to start from: every number up to it is refused.
    pub right_edge: u64,
    /// Durable bound on what is accepted, `u64::MAX` for none.
    pub reserved_up_to: u64,
}

/// Owned by one worker: its window needs no lock.
pub struct InboundSa {
    pub(crate) suite: RingAead,
    pub(crate) extended: bool,
    pub(crate) window: ReplayWindow,
    pub(crate) selector: Selector,
    pub(crate) reserved_up_to: u64,
    pub(crate) ask_at: u64,
    pub(crate) used: bool,
    spi: u32,
    entry: Arc<str>,
    counters: Arc<SaCounters>,
}

impl InboundSa {
    /// Makes the SA; the key material is wiped with the parameters.
    pub fn new(parameters: InboundSaParameters) -> Result<Self, SaError> {
        check_spi(parameters.spi)?;
        let counters = Arc::new(SaCounters::default());
        counters.show_sequence_number(parameters.right_edge);
        let mut sa = Self {
            suite: RingAead::new(parameters.suite, &parameters.key)?,
            extended: parameters.extended,
            window: ReplayWindow::new(
                parameters.replay_window_packets,
                parameters.extended,
                parameters.right_edge,
            )?,
            selector: parameters.selector,
            reserved_up_to: u64::MAX,
            ask_at: u64::MAX,
            used: false,
            spi: parameters.spi,
            entry: parameters.entry.into(),
            counters,
        };
        sa.confirm(parameters.reserved_up_to);
        Ok(sa)
    }

    /// SPI.
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// The SPD entry that it serves.
    pub fn entry(&self) -> &Arc<str> {
        &self.entry
    }

    /// Counters, to read from other threads.
    pub fn counters(&self) -> &Arc<SaCounters> {
        &self.counters
    }

    /// Right edge of the window.
    pub fn right_edge(&self) -> u64 {
        self.window.top()
    }

    /// Durable bound, if there is one.
    pub fn reserved_up_to(&self) -> Option<u64> {
        (self.reserved_up_to != u64::MAX).then_some(self.reserved_up_to)
    }

    /// Numbers up to `up_to` are durably accounted for and may be accepted.
    pub fn confirm(&mut self, up_to: u64) {
        self.reserved_up_to = up_to;
        // Asked when half of what is ahead is used; the new bound is twice as far when that was quick.
        self.ask_at = match up_to {
            u64::MAX => u64::MAX,
            up_to => self.window.top() + up_to.saturating_sub(self.window.top()) / 2,
        };
    }
}
