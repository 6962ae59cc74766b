//! One outbound SA.

use super::sequence_number::SequenceCounter;
use super::{SaCounters, SaError, check_sequence_number, check_spi};
use crate::selector::Selector;
use crate::suite::{IvKey, KeyMaterial, Sealer, Sizes, SuiteName};
use crate::transport::Mode;
use crate::tunnel_header::TunnelHeader;

/// What the control plane gives.
pub struct OutboundSaParameters {
    /// SPI, chosen by the peer.
    pub spi: u32,
    /// The SPD entry that it serves.
    pub entry: String,
    /// Which of the entry's packets it may carry.
    pub selector: Selector,
    /// Cipher suite.
    pub suite: SuiteName,
    /// Encryption key, then salt or integrity key.
    pub key: KeyMaterial,
    /// Random, for this SA alone.
    pub iv_key: IvKey,
    /// Extended sequence numbers (RFC 4303 section 2.2.1).
    pub extended: bool,
    /// First sequence number to use.
    pub first_sequence_number: u64,
    /// Durable reservation, [`super::sequence_number::UNBOUNDED`] for none.
    pub reserved_up_to: u64,
    /// Inner packets shorter than this are padded to it (TFC, RFC 4303 section 2.7); 0 for none.
    pub tfc_pad_to_len: usize,
    /// Outer addresses, ports and header fields.
    pub tunnel: TunnelHeader,
    /// Whole packets, or what is behind their IP header.
    pub mode: Mode,
}

/// Shared by all workers.
pub struct OutboundSa {
    pub(crate) spi: u32,
    pub(crate) extended: bool,
    pub(crate) tfc_pad_to_len: usize,
    pub(crate) suite: Sealer,
    pub(crate) sizes: Sizes,
    entry: String,
    selector: Selector,
    tunnel: TunnelHeader,
    mode: Mode,
    sequence: SequenceCounter,
    counters: SaCounters,
}

impl OutboundSa {
    /// Makes the SA; the key material is wiped with the parameters.
    pub fn new(parameters: OutboundSaParameters) -> Result<Self, SaError> {
        check_spi(parameters.spi)?;
        // One past the last number is an SA that has none left.
        let used = parameters.first_sequence_number.saturating_sub(1);
        check_sequence_number(used, parameters.extended)?;
        let suite = Sealer::new(parameters.suite, &parameters.key, &parameters.iv_key)?;
        let sequence = SequenceCounter::new(
            parameters.first_sequence_number,
            parameters.extended,
            parameters.reserved_up_to,
        );
        Ok(Self {
            spi: parameters.spi,
            extended: parameters.extended,
            // RFC 4303 section 2.7: a payload that does not say its own length bears no padding behind it.
            tfc_pad_to_len: match parameters.mode {
                Mode::Tunnel => parameters.tfc_pad_to_len,
                Mode::Transport => 0,
            },
            suite,
            sizes: parameters.suite.sizes(),
            entry: parameters.entry,
            selector: parameters.selector,
            tunnel: parameters.tunnel,
            mode: parameters.mode,
            sequence,
            counters: SaCounters::default(),
        })
    }

    /// SPI.
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// The SPD entry that it serves.
    pub fn entry(&self) -> &str {
        &self.entry
    }

    /// Which packets it may carry.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// Outer header.
    pub fn tunnel(&self) -> &TunnelHeader {
        &self.tunnel
    }

    /// Mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The sequence number counter.
    pub fn sequence(&self) -> &SequenceCounter {
        &self.sequence
    }

    /// Counters.
    pub fn counters(&self) -> &SaCounters {
        &self.counters
    }

    /// Bytes of the ESP packet, SPI through ICV, that an inner packet becomes.
    #[inline]
    pub fn sealed_len(&self, inner_len: usize) -> usize {
        self.sizes.sealed_len(inner_len.max(self.tfc_pad_to_len))
    }

    /// The lengths of its suite.
    #[inline]
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }
}
