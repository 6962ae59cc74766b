//! A worker's cache of decisions by the full flow key. A new policy or SA view empties it by its
//! generation, so a cached decision is always one that the current view would give.

use crate::limits::FLOW_CACHE_ENTRIES;
use ahash::RandomState;
use ipsec_wire::FlowKey;

#[derive(Clone, Copy)]
struct Line<D> {
    key: FlowKey,
    generation: u64,
    decision: D,
}

/// Two-way set-associative and bounded; seeded at random, so a stranger cannot aim at one bucket.
pub struct FlowCache<D> {
    lines: Box<[[Option<Line<D>>; 2]]>,
    hasher: RandomState,
}

impl<D: Copy> FlowCache<D> {
    /// An empty cache with the given hash seeds.
    pub fn new(seeds: [u64; 4]) -> Self {
        Self {
            lines: vec![[None, None]; FLOW_CACHE_ENTRIES / 2].into(),
            hasher: RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]),
        }
    }

    fn bucket(&self, key: &FlowKey) -> usize {
        self.hasher.hash_one(key) as usize & (self.lines.len() - 1)
    }

    /// The decision of this generation for a key.
    pub fn get(&self, generation: u64, key: &FlowKey) -> Option<D> {
        self.lines[self.bucket(key)]
            .iter()
            .flatten()
            .find(|line| line.generation == generation && line.key == *key)
            .map(|line| line.decision)
    }

    /// Keeps a decision; the older of two in the bucket gives way.
    pub fn put(&mut self, generation: u64, key: FlowKey, decision: D) {
        let bucket = self.bucket(&key);
        let ways = &mut self.lines[bucket];
        ways[1] = ways[0].take();
        ways[0] = Some(Line {
            key,
            generation,
            decision,
        });
    }
}
