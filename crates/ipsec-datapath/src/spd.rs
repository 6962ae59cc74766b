//! The SPD (RFC 4301 section 4.4.1): an immutable compiled copy of one version of the ordered
//! policy. TypeScript owns it; a change is a new version.

mod cache;
mod classifier;

pub use cache::FlowCache;

use crate::limits::SPD_ENTRIES_MAX;
use crate::selector::{Direction, Selector, SelectorError};
use ahash::AHashMap;
use classifier::Classifier;
use ipsec_wire::FlowKey;

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// By IPsec, or not at all.
    Protect,
    /// Without IPsec.
    Bypass,
    /// Dropped.
    Discard,
}

/// One ordered entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpdEntry {
    /// Its name, unique in the SPD.
    pub name: String,
    /// Whether it speaks of outbound packets.
    pub outbound: bool,
    /// Whether it speaks of inbound packets.
    pub inbound: bool,
    /// What packets it speaks of.
    pub selector: Selector,
    /// What is done with them.
    pub action: Action,
}

impl SpdEntry {
    fn speaks_of(&self, direction: Direction) -> bool {
        match direction {
            Direction::Outbound => self.outbound,
            Direction::Inbound => self.inbound,
        }
    }
}

/// The policy cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpdError {
    /// More entries than the bound.
    #[error("an SPD has at most 1000000 entries, this one {0}")]
    TooMany(usize),
    /// A selector is not legal.
    #[error("entry {name}: {reason}")]
    Selector {
        /// The entry.
        name: String,
        /// What is wrong with it.
        reason: SelectorError,
    },
    /// Two entries have one name.
    #[error("two entries are named {0}")]
    DuplicateName(String),
}

/// One version of the policy.
#[derive(Debug)]
pub struct Spd {
    version: u64,
    entries: Vec<SpdEntry>,
    positions: AHashMap<String, usize>,
    outbound: Classifier,
    inbound: Classifier,
}

impl Spd {
    /// Compiles entries in their order.
    pub fn compile(version: u64, entries: Vec<SpdEntry>) -> Result<Self, SpdError> {
        if entries.len() > SPD_ENTRIES_MAX {
            return Err(SpdError::TooMany(entries.len()));
        }
        let mut positions = AHashMap::with_capacity(entries.len());
        for (position, entry) in entries.iter().enumerate() {
            if let Err(reason) = entry.selector.validate() {
                return Err(SpdError::Selector {
                    name: entry.name.clone(),
                    reason,
                });
            }
            if positions.insert(entry.name.clone(), position).is_some() {
                return Err(SpdError::DuplicateName(entry.name.clone()));
            }
        }
        let outbound = Classifier::compile(&entries, Direction::Outbound);
        let inbound = Classifier::compile(&entries, Direction::Inbound);
        Ok(Self {
            version,
            entries,
            positions,
            outbound,
            inbound,
        })
    }

    /// The version that the control plane gave.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The entries in order.
    pub fn entries(&self) -> &[SpdEntry] {
        &self.entries
    }

    /// The position of the entry of this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// The first entry that matches, by the compiled search; `None` is DISCARD.
    pub fn search(&self, direction: Direction, key: &FlowKey) -> Option<usize> {
        let classifier = match direction {
            Direction::Outbound => &self.outbound,
            Direction::Inbound => &self.inbound,
        };
        classifier.search(&self.entries, direction, key)
    }

    /// The same by looking at one entry after the other: the meaning that the compiled search is
    /// held to.
    pub fn search_ordered(&self, direction: Direction, key: &FlowKey) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.speaks_of(direction) && entry.selector.matches(direction, key))
    }
}
