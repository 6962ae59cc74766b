//! The outbound journey (RFC 4301 section 5.1): decide, reserve, seal, by run.

use crate::counters::{Counter, Counters};
use crate::esp::{Content, encapsulate};
use crate::sad::OutboundSa;
use crate::selector::Direction;
use crate::spd::{Action, FlowCache, Spd};
use crate::tunnel_header::TunnelHeader;
use crate::verdict::DropReason;
use ahash::AHashMap;
use ipsec_wire::{FlowKey, Run};
use std::sync::Arc;

/// Policy and SAs as one outbound worker sees them. It changes between two batches, one SA at a
/// time, so that installing many does not copy all of them each time.
pub struct OutboundView {
    spd: Arc<Spd>,
    /// Slots that [`Decision::Protect`] names; a free one is used again.
    sas: Vec<Option<ViewedSa>>,
    free: Vec<u32>,
    by_spi: AHashMap<u32, u32>,
    /// For each SPD entry the indices of its SAs, the newest first.
    by_entry: Vec<Vec<u32>>,
    /// Counts SAs, so that their order survives a new policy.
    added: u64,
}

struct ViewedSa {
    sa: Arc<OutboundSa>,
    /// Where its packets go: the peer's endpoint may change during the life of an SA.
    tunnel: TunnelHeader,
    added: u64,
}

impl OutboundView {
    /// Joins policy and SAs, the newest last. SPIs differ from each other.
    pub fn new(spd: Arc<Spd>, sas: Vec<(Arc<OutboundSa>, TunnelHeader)>) -> Self {
        let mut view = Self {
            by_entry: vec![Vec::new(); spd.entries().len()],
            spd,
            sas: Vec::new(),
            free: Vec::new(),
            by_spi: AHashMap::new(),
            added: 0,
        };
        for (sa, tunnel) in sas {
            view.add(sa, tunnel);
        }
        view
    }

    /// Adds an SA: of those that fit a packet the newest carries it. Its SPI is not in the view.
    pub fn add(&mut self, sa: Arc<OutboundSa>, tunnel: TunnelHeader) {
        self.added += 1;
        let index = self.free.pop().unwrap_or(self.sas.len() as u32);
        if index as usize == self.sas.len() {
            self.sas.push(None);
        }
        self.by_spi.insert(sa.spi(), index);
        if let Some(position) = self.spd.position(sa.entry()) {
            self.by_entry[position].insert(0, index);
        }
        self.sas[index as usize] = Some(ViewedSa {
            sa,
            tunnel,
            added: self.added,
        });
    }

    /// Removes an SA; whether it was there. An older one of its entry carries on.
    pub fn remove(&mut self, spi: u32) -> bool {
        let Some(index) = self.by_spi.remove(&spi) else {
            return false;
        };
        if let Some(viewed) = self.sas[index as usize].take()
            && let Some(position) = self.spd.position(viewed.sa.entry())
        {
            self.by_entry[position].retain(|other| *other != index);
        }
        self.free.push(index);
        true
    }

    /// Sends an SA's packets elsewhere; whether it was there.
    pub fn redirect(&mut self, spi: u32, tunnel: TunnelHeader) -> bool {
        let viewed = self
            .by_spi
            .get(&spi)
            .and_then(|index| self.sas[*index as usize].as_mut());
        viewed.is_some_and(|viewed| {
            viewed.tunnel = tunnel;
            true
        })
    }

    /// Puts a new policy in force over the same SAs.
    pub fn replace_spd(&mut self, spd: Arc<Spd>) {
        let mut by_entry = vec![Vec::new(); spd.entries().len()];
        let mut order: Vec<(u64, u32)> = (0..)
            .zip(&self.sas)
            .filter_map(|(index, viewed)| Some((viewed.as_ref()?.added, index)))
            .collect();
        order.sort_unstable_by(|a, b| b.cmp(a));
        for (_, index) in order {
            let viewed = self.sas[index as usize].as_ref();
            if let Some(position) = viewed.and_then(|viewed| spd.position(viewed.sa.entry())) {
                by_entry[position].push(index);
            }
        }
        self.spd = spd;
        self.by_entry = by_entry;
    }

    /// The SA that [`Decision::Protect`] names, and its outer header.
    pub fn sa(&self, index: u32) -> Option<(&Arc<OutboundSa>, &TunnelHeader)> {
        let viewed = self.sas.get(index as usize)?.as_ref()?;
        Some((&viewed.sa, &viewed.tunnel))
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
                    self.sa(**index)
                        .is_some_and(|(sa, _)| sa.selector().matches(Direction::Outbound, key))
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
    view: OutboundView,
    /// Changes with the view: decisions cached under another number are void.
    epoch: u64,
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
    pub fn new(view: OutboundView, seeds: [u64; 4]) -> Self {
        Self {
            view,
            epoch: 0,
            cache: FlowCache::new(seeds),
        }
    }

    /// The view in force.
    pub fn view(&self) -> &OutboundView {
        &self.view
    }

    /// To change the view, between two batches: cached decisions are void.
    pub fn view_mut(&mut self) -> &mut OutboundView {
        self.epoch += 1;
        &mut self.view
    }

    /// Steps 2 and 3, once a run: which entry, which SA.
    #[inline]
    pub fn decide(&mut self, key: &FlowKey, counters: &Counters) -> Decision {
        counters.count(Counter::SpdLookups, 1);
        if let Some(decision) = self.cache.get(self.epoch, key) {
            counters.count(Counter::SpdCacheHits, 1);
            return decision;
        }
        let decision = self.view.decide(key);
        self.cache.put(self.epoch, *key, decision);
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
