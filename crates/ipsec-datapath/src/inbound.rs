//! The inbound journey (RFC 4301 section 5.2, RFC 4303 section 3.4), by run: the datagrams of one
//! receive that have one SPI.
//!
//! `Received -> (SA found) -> Fresh -> Authenticated -> new -> policy checked -> delivered`

use crate::counters::{Counter, Counters};
use crate::esp::{Opened, open};
use crate::limits::RUN_PACKETS_MAX;
use crate::replay_window::{Authenticated, Refused};
use crate::sad::InboundSa;
use crate::selector::Direction;
use crate::transport::{self, Mode, Outer};
use crate::tunnel_header::decapsulate_ecn;
use crate::verdict::DropReason;
use ahash::AHashMap;
use ipsec_wire::{IpPacket, ProtocolNumber, Run, checksum, esp, ipv4};

/// What became of one packet of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboundVerdict {
    /// The slot is the inner packet, trimmed to its own length.
    Deliver,
    /// Refused and counted.
    Drop(DropReason),
}

/// What the control plane has to know of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboundNotice {
    /// The SA's first good packet (RFC 7296 section 2.8).
    pub first_use: bool,
    /// A packet of the run was authentic and new, so that it says where the peer is (RFC 7296
    /// section 2.23).
    pub authentic: bool,
    /// The durable bound is to be raised; the highest authentic number of the run.
    pub ask_for_more: Option<u64>,
}

/// The inbound SAs of one worker, found by SPI.
#[derive(Default)]
pub struct InboundSad {
    sas: AHashMap<u32, Box<InboundSa>>,
}

impl InboundSad {
    /// Adds an SA, or gives it back when its SPI is taken.
    pub fn add(&mut self, sa: Box<InboundSa>) -> Result<(), Box<InboundSa>> {
        match self.sas.entry(sa.spi()) {
            std::collections::hash_map::Entry::Occupied(_) => Err(sa),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(sa);
                Ok(())
            }
        }
    }

    /// Removes an SA.
    pub fn remove(&mut self, spi: u32) -> Option<Box<InboundSa>> {
        self.sas.remove(&spi)
    }

    /// The SA of an SPI.
    #[inline]
    pub fn find(&mut self, spi: u32) -> Option<&mut InboundSa> {
        self.sas.get_mut(&spi).map(|sa| &mut **sa)
    }
}

/// Room for the intermediate states of one run; made once a worker.
pub struct InboundScratch {
    opened: Vec<(u32, Opened)>,
    numbers: Vec<Authenticated>,
    committed: Vec<Result<(), Refused>>,
}

impl Default for InboundScratch {
    fn default() -> Self {
        Self {
            opened: Vec::with_capacity(RUN_PACKETS_MAX),
            numbers: Vec::with_capacity(RUN_PACKETS_MAX),
            committed: Vec::with_capacity(RUN_PACKETS_MAX),
        }
    }
}

/// Processes a run of ESP packets, SPI through ICV each, of one SA. `outer` is what
/// they came in; `verdicts` is as long as the run. A delivered slot becomes the inner packet. In transport
/// mode each cell has room for an IP header in front of its packet.
pub fn open_run(
    sa: &mut InboundSa,
    run: &mut Run<'_>,
    outer: &Outer,
    verdicts: &mut [InboundVerdict],
    (scratch, counters, now_ms): (&mut InboundScratch, &Counters, u64),
) -> InboundNotice {
    let mut notice = InboundNotice::default();
    scratch.opened.clear();
    scratch.numbers.clear();
    scratch.committed.clear();
    // Steps 3 and 4: the window looked at, then the ICV.
    for (index, verdict) in verdicts.iter_mut().enumerate() {
        let packet = run.packet_mut(index);
        let opened = match check(sa, packet) {
            Ok(fresh) => open(sa, packet, fresh),
            Err(reason) => Err(reason),
        };
        match opened {
            // An authentic number above what is durably accounted for: not taken, for a restarted
            // receiver would not remember it; the bound is raised for those that follow.
            Ok(opened) if opened.number.sequence_number() > sa.reserved_up_to => {
                notice.ask_for_more = notice
                    .ask_for_more
                    .max(Some(opened.number.sequence_number()));
                *verdict = InboundVerdict::Drop(DropReason::ReplayNotReserved);
            }
            Ok(opened) => {
                scratch.numbers.push(opened.number);
                scratch.opened.push((index as u32, opened));
            }
            Err(reason) => *verdict = InboundVerdict::Drop(reason),
        }
    }
    // Step 5: the window moved once, and what was new.
    if !scratch.numbers.is_empty() {
        scratch.committed.resize(scratch.numbers.len(), Ok(()));
        sa.window.commit(&scratch.numbers, &mut scratch.committed);
        counters.count(Counter::ReplayCommits, 1);
        notice.authentic = scratch.committed.iter().any(Result::is_ok);
        sa.counters().show_sequence_number(sa.window.top());
        if sa.window.top() >= sa.ask_at {
            notice.ask_for_more = notice.ask_for_more.max(Some(sa.window.top()));
        }
    }
    if notice.ask_for_more.is_some() && !sa.may_ask(now_ms) {
        notice.ask_for_more = None;
    }
    // Step 6: what came out, and whether this SA may bring it.
    let (mut packets, mut bytes) = (0, 0);
    for ((index, opened), committed) in scratch.opened.iter().zip(&scratch.committed) {
        let index = *index as usize;
        verdicts[index] = match committed
            .map_err(DropReason::from)
            .and_then(|()| accept(sa, run, index, opened, (outer, counters)))
        {
            Ok(inner_len) => {
                packets += 1;
                bytes += inner_len as u64;
                InboundVerdict::Deliver
            }
            Err(reason) => InboundVerdict::Drop(reason),
        };
    }
    for verdict in &*verdicts {
        if let InboundVerdict::Drop(reason) = verdict {
            counters.refuse(*reason, 1);
            sa.counters().refuse(*reason, 1);
        }
    }
    if packets > 0 {
        counters.count(Counter::EspOpened, packets);
        sa.counters().add(packets as u64, bytes, now_ms);
        notice.first_use = !std::mem::replace(&mut sa.used, true);
    }
    notice
}

impl From<Refused> for DropReason {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooOld => Self::ReplayTooOld,
            Refused::Duplicate => Self::ReplayDuplicate,
        }
    }
}

#[inline]
fn check(sa: &InboundSa, packet: &[u8]) -> Result<crate::replay_window::Fresh, DropReason> {
    let (_, sequence_low) = esp::header(packet).ok_or(DropReason::Short)?;
    sa.window.check(sequence_low).map_err(DropReason::from)
}

/// RFC 4303 sections 2.4 to 2.7 and RFC 4301 section 5.2 step 4 for one authentic, new packet.
fn accept(
    sa: &InboundSa,
    run: &mut Run<'_>,
    index: usize,
    opened: &Opened,
    (outer, counters): (&Outer, &Counters),
) -> Result<usize, DropReason> {
    let (payload_len, next_header) = opened.payload?;
    if sa.mode == Mode::Transport {
        return accept_payload(sa, run, index, (payload_len as usize, next_header), outer);
    }
    let outer_ecn = outer.traffic_class & 3;
    match next_header {
        ProtocolNumber::IPV4 | ProtocolNumber::IPV6 => {}
        ProtocolNumber::NONE => return Err(DropReason::Dummy),
        _ => return Err(DropReason::Mode),
    }
    run.narrow(index, sa.sizes.front_len, payload_len as usize);
    let inner = IpPacket::parse(run.packet(index)).map_err(|_| DropReason::MalformedInner)?;
    if inner.is_v6() != (next_header == ProtocolNumber::IPV6) {
        return Err(DropReason::MalformedInner);
    }
    if !sa.selector.matches(Direction::Inbound, &inner.flow_key()) {
        return Err(DropReason::SelectorMismatch);
    }
    let (inner_len, is_v6, inner_ecn) = (
        inner.bytes().len(),
        inner.is_v6(),
        inner.traffic_class() & 3,
    );
    if inner_ecn != outer_ecn {
        let decision = decapsulate_ecn(inner_ecn, outer_ecn);
        if decision.unexpected {
            counters.count(Counter::EcnUnexpected, 1);
        }
        let ecn = decision.ecn.ok_or(DropReason::EcnNotCapable)?;
        set_ecn(run.packet_mut(index), is_v6, ecn);
    }
    // RFC 4303 section 2.7: TFC padding ends where the inner packet says that it ends.
    run.narrow(index, 0, inner_len);
    Ok(inner_len)
}

/// The same in transport mode: the IP header is that of the outer packet, whose Traffic Class is the
/// packet's own.
fn accept_payload(
    sa: &InboundSa,
    run: &mut Run<'_>,
    index: usize,
    (payload_len, next_header): (usize, ProtocolNumber),
    outer: &Outer,
) -> Result<usize, DropReason> {
    if next_header == ProtocolNumber::NONE {
        return Err(DropReason::Dummy);
    }
    let header_len = transport::header_len(outer, next_header).ok_or(DropReason::Mode)?;
    run.narrow(index, sa.sizes.front_len, payload_len);
    let packet = run
        .grow(index, header_len, 0)
        .map_err(|_| DropReason::MalformedInner)?;
    transport::write_header(packet, outer, next_header).ok_or(DropReason::MalformedInner)?;
    let packet = IpPacket::parse(packet).map_err(|_| DropReason::MalformedInner)?;
    // RFC 4301 section 5.2 step 4, with the addresses that the packet came with.
    if !sa.selector.matches(Direction::Inbound, &packet.flow_key()) {
        return Err(DropReason::SelectorMismatch);
    }
    Ok(packet.bytes().len())
}

fn set_ecn(packet: &mut [u8], is_v6: bool, ecn: u8) {
    if is_v6 {
        packet[1] = packet[1] & !0x30 | ecn << 4;
        return;
    }
    let old = u16::from_be_bytes([packet[0], packet[1]]);
    packet[ipv4::TOS] = packet[ipv4::TOS] & !3 | ecn;
    let new = u16::from_be_bytes([packet[0], packet[1]]);
    let sum = u16::from_be_bytes([packet[ipv4::CHECKSUM], packet[ipv4::CHECKSUM + 1]]);
    packet[ipv4::CHECKSUM..ipv4::CHECKSUM + 2]
        .copy_from_slice(&checksum::update(sum, old, new).to_be_bytes());
}
