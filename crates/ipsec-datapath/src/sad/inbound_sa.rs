//! One inbound SA.

use super::{SaCounters, SaError, check_sequence_number, check_spi};
use crate::replay_window::ReplayWindow;
use crate::selector::Selector;
use crate::suite::{KeyMaterial, Opener, Sizes, SuiteName};
use crate::transport::Mode;
use std::net::SocketAddr;
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
    /// Encryption key, then salt or integrity key.
    pub key: KeyMaterial,
    /// Extended sequence numbers.
    pub extended: bool,
    /// Window in packets, 0 for none.
    pub replay_window_packets: u32,
    /// Right edge to start from: every number up to it is refused.
    pub right_edge: u64,
    /// Durable bound on what is accepted, `u64::MAX` for none.
    pub reserved_up_to: u64,
    /// Whole packets, or what is behind their IP header.
    pub mode: Mode,
}

/// Owned by one worker: its window needs no lock.
pub struct InboundSa {
    pub(crate) suite: Opener,
    pub(crate) sizes: Sizes,
    pub(crate) extended: bool,
    pub(crate) mode: Mode,
    pub(crate) window: ReplayWindow,
    pub(crate) selector: Selector,
    pub(crate) reserved_up_to: u64,
    pub(crate) ask_at: u64,
    pub(crate) used: bool,
    /// How far ahead the durable bound was put last, and when.
    ahead: u64,
    asked_ms: Option<u64>,
    unanswered: bool,
    /// Where the peer's UDP encapsulation comes from; `None`: nobody asks.
    remote: Option<SocketAddr>,
    /// When it was last told that it comes from elsewhere.
    moved_ms: Option<u64>,
    spi: u32,
    entry: Arc<str>,
    counters: Arc<SaCounters>,
}

impl InboundSa {
    /// Makes the SA; the key material is wiped with the parameters.
    pub fn new(parameters: InboundSaParameters) -> Result<Self, SaError> {
        check_spi(parameters.spi)?;
        check_sequence_number(parameters.right_edge, parameters.extended)?;
        let counters = Arc::new(SaCounters::default());
        counters.show_sequence_number(parameters.right_edge);
        let mut sa = Self {
            suite: Opener::new(parameters.suite, &parameters.key)?,
            sizes: parameters.suite.sizes(),
            extended: parameters.extended,
            mode: parameters.mode,
            window: ReplayWindow::new(
                parameters.replay_window_packets,
                parameters.extended,
                parameters.right_edge,
            )?,
            selector: parameters.selector,
            reserved_up_to: u64::MAX,
            ask_at: u64::MAX,
            used: false,
            ahead: RESERVATION_AHEAD_MIN,
            asked_ms: None,
            unanswered: false,
            remote: None,
            moved_ms: None,
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

    /// Mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The SPD entry that it serves.
    pub fn entry(&self) -> &Arc<str> {
        &self.entry
    }

    /// Counters, to read from other threads.
    pub fn counters(&self) -> &Arc<SaCounters> {
        &self.counters
    }

    /// Sets where the peer's UDP encapsulation is to come from; `None`: it does not matter. Nothing is
    /// refused by it (RFC 4301 section 4.1: an SA is found by its SPI alone).
    pub fn set_remote(&mut self, remote: Option<SocketAddr>) {
        self.remote = remote;
        self.moved_ms = None;
    }

    /// Whether an authentic, new packet from `from` is to be told: the peer's NAT mapping changed, and
    /// that was not told in the last [`MAPPING_INTERVAL_MS`].
    pub fn has_moved(&self, from: SocketAddr, now_ms: u64) -> bool {
        self.remote.is_some_and(|remote| remote != from)
            && self
                .moved_ms
                .is_none_or(|at| now_ms.saturating_sub(at) >= MAPPING_INTERVAL_MS)
    }

    /// It was told.
    pub fn moved(&mut self, now_ms: u64) {
        self.moved_ms = Some(now_ms);
    }

    /// The first use could not be told: the next packet is the first again.
    pub fn forget_first_use(&mut self) {
        self.used = false;
    }

    /// Right edge of the window.
    pub fn right_edge(&self) -> u64 {
        self.window.top()
    }

    /// Durable bound, if there is one.
    pub fn reserved_up_to(&self) -> Option<u64> {
        (self.reserved_up_to != u64::MAX).then_some(self.reserved_up_to)
    }

    /// How far ahead of the window the durable bound is to be put: about two seconds of traffic. It
    /// grows fourfold while it is used up within a second and halves when it lasts for ten. A restarted
    /// receiver refuses what lies below the bound, so it must not be far; a busy one must not wait
    /// for the disk, so it must not be near.
    pub fn reservation_ahead(&mut self, now_ms: u64) -> u64 {
        match self
            .asked_ms
            .map(|asked_ms| now_ms.saturating_sub(asked_ms))
        {
            Some(0..=1_000) => self.ahead = (self.ahead * 4).min(RESERVATION_AHEAD_MAX),
            Some(10_001..) => self.ahead = (self.ahead / 2).max(RESERVATION_AHEAD_MIN),
            Some(_) | None => {}
        }
        self.asked_ms = Some(now_ms);
        self.ahead
    }

    /// Whether the control plane may be asked: not while it has a question to answer, unless that
    /// one may have been lost.
    pub(crate) fn may_ask(&mut self, now_ms: u64) -> bool {
        let lost = self
            .asked_ms
            .is_none_or(|asked_ms| now_ms.saturating_sub(asked_ms) >= ASK_AGAIN_MS);
        !std::mem::replace(&mut self.unanswered, true) || lost
    }

    /// Numbers up to `up_to` are durably accounted for and may be accepted.
    pub fn confirm(&mut self, up_to: u64) {
        self.reserved_up_to = up_to;
        self.unanswered = false;
        // Asked when half of what is ahead is used; the new bound is twice as far when that was quick.
        self.ask_at = match up_to {
            u64::MAX => u64::MAX,
            up_to => self.window.top() + up_to.saturating_sub(self.window.top()) / 2,
        };
    }
}

/// A changed mapping of one SA is told at most once in this time (RFC 7296 section 2.23 lets a peer
/// be followed, and a stranger who replays from everywhere must not make it a flood).
pub const MAPPING_INTERVAL_MS: u64 = 5_000;
/// A burst of this many packets needs no disk: a TCP slow start's first round trips.
pub const RESERVATION_AHEAD_MIN: u64 = 1 << 12;
/// Two seconds at half a million packets a second.
pub const RESERVATION_AHEAD_MAX: u64 = 1 << 20;
/// A question that was not answered for so long is asked again.
const ASK_AGAIN_MS: u64 = 100;
