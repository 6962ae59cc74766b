//! The compiled search: a segment tree over the boundaries of one address dimension. Each range of
//! an entry is cut into O(log n) nodes, and a lookup walks one path from root to leaf; at each node
//! the entries stand in policy order, so the walk stops there at the first match or at the best
//! found so far. Memory is O(n log n) whatever the overlap; no policy makes it explode.

use super::SpdEntry;
use crate::selector::{AddressRange, Direction, in_addresses, sides};
use ipsec_wire::FlowKey;

#[derive(Debug)]
pub(super) struct Classifier {
    v4: Tree,
    v6: Tree,
}

/// The tree of one family.
#[derive(Debug)]
struct Tree {
    /// Whether the tree is over remote addresses (else local).
    by_remote: bool,
    /// First address of each elementary interval, ascending; the first is 0.
    starts: Vec<u128>,
    /// Heap-ordered nodes over the intervals: `(first, count)` into `lists`.
    nodes: Vec<(u32, u32)>,
    /// Entry positions, ascending within a node.
    lists: Vec<u32>,
}

impl Classifier {
    pub(super) fn compile(entries: &[SpdEntry], direction: Direction) -> Self {
        let chosen: Vec<(u32, &SpdEntry)> = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.speaks_of(direction))
            .map(|(position, entry)| (position as u32, entry))
            .collect();
        Self {
            v4: Tree::compile(&chosen, false),
            v6: Tree::compile(&chosen, true),
        }
    }

    pub(super) fn search(
        &self,
        entries: &[SpdEntry],
        direction: Direction,
        key: &FlowKey,
    ) -> Option<usize> {
        let tree = if key.is_v6 { &self.v6 } else { &self.v4 };
        let (local, remote, local_port, remote_port) = sides(direction, key);
        let address = if tree.by_remote { remote } else { local };
        let mut best = u32::MAX;
        let leaf = tree.starts.partition_point(|start| *start <= address) - 1;
        let mut node = tree.starts.len().next_power_of_two() + leaf;
        while node >= 1 {
            let (first, count) = tree.nodes[node];
            for position in &tree.lists[first as usize..(first + count) as usize] {
                if *position >= best {
                    break;
                }
                let selector = &entries[*position as usize].selector;
                let other = if tree.by_remote {
                    &selector.local
                } else {
                    &selector.remote
                };
                let other_address = if tree.by_remote { local } else { remote };
                if in_addresses(other, key.is_v6, other_address)
                    && selector.matches_next_layer(key, local_port, remote_port)
                {
                    best = *position;
                    break;
                }
            }
            node /= 2;
        }
        (best != u32::MAX).then_some(best as usize)
    }
}

/// The ranges of one family that a list covers; an empty list covers all.
fn ranges_of(list: &[AddressRange], is_v6: bool) -> Vec<(u128, u128)> {
    let whole = if is_v6 {
        u128::MAX
    } else {
        u128::from(u32::MAX)
    };
    if list.is_empty() {
        return vec![(0, whole)];
    }
    list.iter()
        .filter(|range| range.is_v6 == is_v6)
        .map(|range| (range.from, range.to))
        .collect()
}

/// Sorted and merged, so that no entry stands twice on one path.
fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match merged.last_mut() {
            Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

impl Tree {
    fn compile(entries: &[(u32, &SpdEntry)], is_v6: bool) -> Self {
        // The dimension with more different boundaries tells entries apart better.
        let boundaries = |remote: bool| {
            let mut starts = vec![0u128];
            for (_, entry) in entries {
                let list = if remote {
                    &entry.selector.remote
                } else {
                    &entry.selector.local
                };
                for (from, to) in ranges_of(list, is_v6) {
                    starts.push(from);
                    if let Some(after) = to.checked_add(1) {
                        starts.push(after);
                    }
                }
            }
            starts.sort_unstable();
            starts.dedup();
            starts
        };
        let (remote, local) = (boundaries(true), boundaries(false));
        let by_remote = remote.len() >= local.len();
        let starts = if by_remote { remote } else { local };
        let leaves = starts.len().next_power_of_two();
        let mut lists: Vec<Vec<u32>> = vec![Vec::new(); 2 * leaves];
        for (position, entry) in entries {
            let other = if by_remote {
                &entry.selector.local
            } else {
                &entry.selector.remote
            };
            if ranges_of(other, is_v6).is_empty() {
                continue;
            }
            let list = if by_remote {
                &entry.selector.remote
            } else {
                &entry.selector.local
            };
            for (from, to) in merged(ranges_of(list, is_v6)) {
                let first = starts.partition_point(|start| *start < from);
                let past = starts.partition_point(|start| *start <= to);
                let (mut low, mut high) = (leaves + first, leaves + past);
                while low < high {
                    if low & 1 == 1 {
                        lists[low].push(*position);
                        low += 1;
                    }
                    if high & 1 == 1 {
                        high -= 1;
                        lists[high].push(*position);
                    }
                    low /= 2;
                    high /= 2;
                }
            }
        }
        let mut flat = Vec::with_capacity(lists.iter().map(Vec::len).sum());
        let nodes = lists
            .into_iter()
            .map(|list| {
                let node = (flat.len() as u32, list.len() as u32);
                flat.extend(list);
                node
            })
            .collect();
        Self {
            by_remote,
            starts,
            nodes,
            lists: flat,
        }
    }
}
