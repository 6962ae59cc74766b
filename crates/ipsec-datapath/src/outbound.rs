//! The outbound journey (RFC 4301 section 5.1): decide, reserve, seal, by run.

use crate::counters::{Counter, Counters};
use crate::esp::{Content, encapsulate};
use crate::sad::OutboundSa;
use crate::selector::Direction;
use crate::spd::{Action, FlowCache, Spd};
use crate::tunnel_header::TunnelHeader;
use crate::verdict::DropReason;
use ipsec_wire::{FlowKey, Run};
use std::sync::Arc;

/// One version of policy and SAs, as the outbound workers see it. Immutable: a change is a new one.
pub struct OutboundView {
    generation: u64,
    spd: Arc<Spd>,
    sas: Vec<Arc<OutboundSa>>,
    /// Where each SA's packets go: the peer's endpoint may change during the life of an SA.
    tunnels: Vec<TunnelHeader>,
    /// For each SPD entry the indices of its SAs, the newest first.
    by_entry: Vec<Vec<u32>>,
}

impl OutboundView {
    /// Joins policy and SAs. `generation` differs from that of every other view of the process.
    pub fn new(generation: u64, spd: Arc<Spd>, sas: Vec<(Arc<OutboundSa>, TunnelHeader)>) -> Self {
        let (sas, tunnels): (Vec<_>, Vec<_>) = sas.into_iter().unzip();
        let mut by_entry = vec![Vec::new(); spd.entries().len()];
        for (index, sa) in sas.iter().enumerate().rev() {
            if let Some(position) = spd.position(sa.entry()) {
                by_entry[position].push(index as u32);
            }
        }
        Self {
            generation,
            spd,
            sas,
            tunnels,
            by_entry,
        }
    }

    /// The SAs.
    pub fn sas(&self) -> &[Arc<OutboundSa>] {
        &self.sas
    }

    /// Outer header of each SA, in their order.
    pub fn tunnels(&self) -> &[TunnelHeader] {
        &self.tunnels
    }

    /// The policy.
    pub fn spd(&self) -> &Arc<Spd> {
        &self.spd
    }

    fn decide(&self, key: &FlowKey) -> Decision {
        let Some(position) = self.spd.search(Direction::Outbound, key) else {
            return Decision::Drop(DropReason::PolicyNoMatch);
        };
        match self.spd.entries()[position].action {
            Action::Discard => Decision::Drop(DropReason::PolicyDiscard),
            Action::Bypass => Decision::Drop(DropReason::PolicyBypassMisrouted),
            Action::Protect => self.by_entry[position]
                .iter()
                .find(|index| {
                    self.sas[**index as usize]
                        .selector()
                        .matches(Direction::Outbound, key)
                })
                .map_or(Decision::Acquire(position as u32), |index| {
                    Decision::Protect(*index)
                }),
        }
    }
}

/// What the policy says of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Seal with this SA of the view.
    Protect(u32),
    /// PROTECT by this SPD entry, and no SA: negotiate one (RFC 4301 section 5.1 step 3a).
    Acquire(u32),
    /// Drop.
    Drop(DropReason),
}

/// One worker's outbound side.
pub struct Outbound {
    view: Arc<OutboundView>,
    cache: FlowCache<Decision>,
}

/// A run was sealed; what the control plane has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The durable reservation runs low.
    pub ask_for_more: bool,
}

impl Outbound {
    /// With random cache seeds.
    pub fn new(view: Arc<OutboundView>, seeds: [u64; 4]) -> Self {
        Self {
            view,
            cache: FlowCache::new(seeds),
        }
    }

    /// The view in force.
    pub fn view(&self) -> &Arc<OutboundView> {
        &self.view
    }

    /// Puts a new view in force, between two batches; cached decisions of the old one are void.
    pub fn replace(&mut self, view: Arc<OutboundView>) {
        self.view = view;
    }

    /// Steps 2 and 3, once a run: which entry, which SA.
    #[inline]
    pub fn decide(&mut self, key: &FlowKey, counters: &Counters) -> Decision {
        counters.count(Counter::SpdLookups, 1);
        if let Some(decision) = self.cache.get(self.view.generation, key) {
            counters.count(Counter::SpdCacheHits, 1);
            return decision;
        }
        let decision = self.view.decide(key);
        self.cache.put(self.view.generation, *key, decision);
        decision
    }
}

/// Steps 5 and 6, once a run: one reservation, then each packet sealed in its cell. A refusal
/// is of the whole run, and counted.
#[inline]
pub fn seal_run(
    sa: &OutboundSa,
    run: &mut Run<'_>,
    content: Content,
    now_ms: u64,
    counters: &Counters,
) -> Result<Sealed, DropReason> {
    let count = run.len();
    let inner_bytes: u64 = run.slots().iter().map(|slot| u64::from(slot.len)).sum();
    let refuse = |reason: DropReason| {
        counters.refuse(reason, count);
        sa.counters().refuse(reason, count as u64);
        reason
    };
    counters.count(Counter::SequenceReservations, 1);
    let reserved = sa.sequence().reserve(count as u64).map_err(refuse)?;
    // What was sealed before the packet without room goes nowhere either.
    encapsulate(sa, run, content, reserved.first).map_err(|(_, reason)| refuse(reason))?;
    counters.count(Counter::EspSealed, count);
    sa.counters().add(count as u64, inner_bytes, now_ms);
    Ok(Sealed {
        ask_for_more: reserved.ask_for_more,
    })
}
