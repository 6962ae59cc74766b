//! TUN to network: one read, one decision, one reservation, one send.

use crate::event::{AuditLimiter, Event, EventSender};
use crate::hold::{AcquireLimiter, Held, Hold};
use crate::limits::{ASK_AGAIN_MS, LAYOUT_SEGMENT_LEN_MIN, OUTBOUND_ARENA_LEN};
use crate::sockets::{Carries, Sockets, target_of};
use crate::worker::{Flow, Worker};
use ipsec_datapath::esp::Content;
use ipsec_datapath::limits::RUN_PACKETS_MAX;
use ipsec_datapath::outbound::{Decision, Outbound, seal_run};
use ipsec_datapath::sad::OutboundSa;
use ipsec_datapath::segment::{self, Layout, Offload};
use ipsec_datapath::spd::Spd;
use ipsec_datapath::suite::SuiteName;
use ipsec_datapath::tunnel_header::TunnelHeader;
use ipsec_datapath::{Counter, Counters, DropReason};
use ipsec_io::Part;
use ipsec_io::network::{NetworkQueue, Target};
use ipsec_io::offload::ReadOffload;
use ipsec_io::tun::{PART_COUNT_MAX, TunQueue, TunRead};
use ipsec_wire::{FlowKey, IpPacket, Run, Slot};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// What the control plane asks of it.
pub(crate) enum OutboundCommand {
    /// Puts a policy in force and answers.
    ReplaceSpd(Arc<Spd>, Sender<()>),
    /// Adds SAs whose SPIs are free, the newest last, and answers.
    Add(Vec<(Arc<OutboundSa>, TunnelHeader)>, Sender<()>),
    /// Removes SAs and answers.
    Remove(Vec<u32>, Sender<()>),
    /// Sends an SA's packets elsewhere and answers.
    Redirect(u32, TunnelHeader, Sender<()>),
    /// Sends datagrams that are not ESP and answers.
    Send(Vec<Outgoing>, Sender<()>),
    /// Ends the thread.
    Stop,
}

/// An IKE datagram or a keepalive. This worker sends them too, for Don't Fragment is a matter of the
/// socket, and ESP goes by the same one.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// By which socket.
    pub(crate) carries: Carries,
    /// Where to.
    pub(crate) target: Target,
    /// The payload of UDP, the Non-ESP Marker included.
    pub(crate) bytes: Vec<u8>,
    /// What is counted when it went.
    pub(crate) counter: Counter,
}

/// The thread's state.
pub struct OutboundWorker<T, N> {
    tun: T,
    sockets: Sockets<N>,
    outbound: Outbound,
    arena: Box<[u8]>,
    slots: Box<[Slot]>,
    layout: Layout,
    parts: Vec<Part>,
    counters: Arc<Counters>,
    events: EventSender,
    audit: AuditLimiter,
    acquires: AcquireLimiter,
    /// `None`: nobody negotiates SAs, so nothing waits for one.
    hold: Option<Hold>,
    asked_ms: u64,
}

impl<T: TunQueue, N: NetworkQueue> OutboundWorker<T, N> {
    pub(crate) fn new(
        tun: T,
        sockets: Sockets<N>,
        outbound: Outbound,
        counters: Arc<Counters>,
        events: EventSender,
    ) -> Self {
        let mut worker = Self {
            tun,
            sockets,
            outbound,
            arena: vec![0; OUTBOUND_ARENA_LEN].into(),
            slots: vec![Slot::default(); RUN_PACKETS_MAX].into(),
            // TCP with timestamps over IPv4 in an MTU of 1438 is what a usual tunnel sees first.
            layout: Layout::new(SuiteName::Aes256Gcm16.sizes(), 52, 1386),
            parts: Vec::with_capacity(PART_COUNT_MAX),
            counters,
            events,
            audit: AuditLimiter::default(),
            acquires: AcquireLimiter::default(),
            hold: None,
            asked_ms: 0,
        };
        worker.lay_out();
        worker
    }

    /// Keeps packets while their SA is negotiated.
    pub(crate) fn hold_packets(&mut self) {
        self.hold = Some(Hold::default());
    }

    /// Where the next read puts its bytes: a payload in each cell, all that is left in the last.
    fn lay_out(&mut self) {
        let Layout {
            headers_len,
            segment_len,
            ..
        } = self.layout;
        let whole = usize::from(u16::MAX) + 1;
        self.parts.clear();
        let start = self.layout.first_packet();
        self.parts.push(Part {
            start,
            len: headers_len + segment_len,
        });
        let mut placed = headers_len + segment_len;
        while placed < whole {
            let last = self.parts.len() + 1 == PART_COUNT_MAX;
            let len = if last { whole - placed } else { segment_len };
            self.parts.push(Part {
                start: self.layout.payload(self.parts.len()),
                len,
            });
            placed += len;
        }
    }

    /// Steps of RFC 4301 section 5.1 for one read; `held_ms` is since when it waited.
    fn run(&mut self, read: &TunRead, held_ms: Option<u64>, now_ms: u64) {
        let whole = self.parts[0].start..self.parts[0].start + self.parts[0].len.min(read.len);
        let head = match IpPacket::parse_head(&self.arena[whole], read.len) {
            Ok(packet) => packet,
            Err(_) => return self.refuse(DropReason::MalformedOutbound, 1, None, now_ms),
        };
        let key = head.flow_key();
        if is_link_scope(&key) {
            return self.counters.count(Counter::TunLinkScope, 1);
        }
        let index = match self.outbound.decide(&key, &self.counters) {
            Decision::Protect(index) => index,
            Decision::Acquire(entry) => {
                self.acquire(entry, &key, now_ms);
                return self.wait_for_sa(entry, read, held_ms.unwrap_or(now_ms));
            }
            Decision::Drop(reason) => return self.refuse(reason, 1, Some(&key), now_ms),
        };
        let offload = match read.offload {
            ReadOffload::None => Offload::None { checksum: None },
            ReadOffload::Checksum { start, offset } => Offload::None {
                checksum: Some((start, offset)),
            },
            ReadOffload::Tcp { segment_len } => Offload::Tcp { segment_len },
            ReadOffload::Udp { segment_len } => Offload::Udp { segment_len },
            ReadOffload::Unknown => {
                return self.refuse(DropReason::MalformedOutbound, 1, Some(&key), now_ms);
            }
        };
        let Some((sa, tunnel)) = self.outbound.view().sa(index) else {
            return self.refuse(DropReason::NoSaOutbound, 1, Some(&key), now_ms);
        };
        let (sa, tunnel) = (&*Arc::clone(sa), *tunnel);
        let target = target_of(&tunnel, &head);
        let segmented = segment::segment(
            &mut self.arena,
            &mut self.slots,
            (&self.layout, self.parts.len(), read.len),
            offload,
            sa,
        );
        let segmented = match segmented {
            Ok(segmented) => segmented,
            Err(reason) => return self.refuse(reason, 1, Some(&key), now_ms),
        };
        self.counters
            .count(Counter::TunPacketsRead, segmented.packets);
        if segmented.packets > 1 {
            let counter = if segmented.moved {
                Counter::SegmentsMoved
            } else {
                Counter::SegmentsInPlace
            };
            self.counters.count(counter, 1);
        }
        if held_ms.is_some() {
            self.counters.count(Counter::HoldReleased, 1);
        }
        self.seal_and_send(
            sa,
            &tunnel,
            &target,
            (segmented.packets, segmented.content),
            now_ms,
        );
        if segmented.layout != self.layout && segmented.layout.segment_len >= LAYOUT_SEGMENT_LEN_MIN
        {
            self.layout = segmented.layout;
            self.lay_out();
        }
    }

    fn seal_and_send(
        &mut self,
        sa: &OutboundSa,
        tunnel: &TunnelHeader,
        target: &Target,
        (packets, content): (usize, Content),
        now_ms: u64,
    ) {
        let slots = &mut self.slots[..packets];
        let Some(mut run) = Run::new(&mut self.arena, slots) else {
            return self.refuse(DropReason::TooBig, packets, None, now_ms);
        };
        match seal_run(sa, &mut run, content, now_ms, &self.counters) {
            Ok(sealed) => {
                if sealed.ask_for_more {
                    self.ask_for_more(sa);
                }
            }
            Err(reason) => {
                self.audit_outbound(sa, reason, now_ms);
                // Asked before, yet the question or its answer may have been lost.
                if reason == DropReason::SequenceNotReserved
                    && now_ms.saturating_sub(self.asked_ms) >= ASK_AGAIN_MS
                {
                    self.asked_ms = now_ms;
                    self.ask_for_more(sa);
                }
                return;
            }
        }
        let (Some(first), Some(last)) =
            (self.slots[..packets].first(), self.slots[..packets].last())
        else {
            return;
        };
        let segment_len = first.len as usize;
        let bytes = &self.arena[first.start as usize..last.range().end];
        let Some(socket) = self.sockets.for_tunnel(tunnel) else {
            return self.refuse(DropReason::SendFailed, packets, None, now_ms);
        };
        let sent = socket.send(target, bytes, segment_len);
        self.counters.count(Counter::NetworkSends, sent.calls);
        if sent.failed > 0 {
            self.counters.refuse(DropReason::SendFailed, sent.failed);
        }
        if sent.gso_turned_off {
            self.counters.count(Counter::UdpGsoFallbacks, 1);
        }
    }

    fn ask_for_more(&self, sa: &OutboundSa) {
        let used = sa.sequence().last();
        // Twice the low-water mark ahead, so that a full block is free when this one is confirmed.
        let wanted = used
            .saturating_add(2 * ipsec_datapath::sad::sequence_number::LOW_WATER)
            .min(sa.sequence().limit());
        let event = Event::ReserveLow {
            outbound: true,
            spi: sa.spi(),
            used,
            wanted,
        };
        self.events.send(event, &self.counters);
    }

    fn acquire(&mut self, entry: u32, key: &FlowKey, now_ms: u64) {
        if !self.acquires.admits(entry, key, now_ms) {
            return;
        }
        let spd = self.outbound.view().spd();
        let name = spd.entries()[entry as usize].name.as_str().into();
        let event = Event::Acquire {
            entry: name,
            key: *key,
        };
        if self.events.send(event, &self.counters) {
            self.acquires.told(entry, key, now_ms);
        }
    }

    /// Keeps what was read until the SA of its entry is there, within limits.
    fn wait_for_sa(&mut self, entry: u32, read: &TunRead, since_ms: u64) {
        let Some(hold) = &mut self.hold else {
            return self.counters.refuse(DropReason::NoSaOutbound, 1);
        };
        let mut bytes = Vec::with_capacity(read.len);
        for part in &self.parts {
            let len = part.len.min(read.len - bytes.len());
            bytes.extend_from_slice(&self.arena[part.start..part.start + len]);
        }
        let held = Held {
            entry,
            at_ms: since_ms,
            offload: read.offload,
            bytes: bytes.into(),
        };
        if !hold.keep(held) {
            self.counters.refuse(DropReason::HoldFull, 1);
        }
    }

    /// Lets the packets of an entry, or all, go through policy again.
    fn release(&mut self, entry: Option<u32>, now_ms: u64) {
        self.expire(now_ms);
        let released = self
            .hold
            .as_mut()
            .map_or_else(Vec::new, |hold| hold.release(entry));
        for held in released {
            let mut rest = &*held.bytes;
            for part in &self.parts {
                let (here, after) = rest.split_at(part.len.min(rest.len()));
                self.arena[part.start..part.start + here.len()].copy_from_slice(here);
                rest = after;
            }
            let read = TunRead {
                len: held.bytes.len(),
                offload: held.offload,
            };
            self.run(&read, Some(held.at_ms), now_ms);
        }
    }

    fn expire(&mut self, now_ms: u64) {
        let expired = self.hold.as_mut().map_or(0, |hold| hold.expire(now_ms));
        if expired > 0 {
            self.counters.refuse(DropReason::HoldExpired, expired);
        }
    }

    /// Sends what is not ESP. UDP promises nothing, so a refusal is counted and IKE sends again.
    fn send_others(&mut self, datagrams: Vec<Outgoing>) {
        for datagram in datagrams {
            let failed = self
                .sockets
                .find(datagram.carries, datagram.target.local)
                .is_none_or(|socket| {
                    let len = datagram.bytes.len();
                    socket.send(&datagram.target, &datagram.bytes, len).failed > 0
                });
            if failed {
                self.counters.refuse(DropReason::IkeSendFailed, 1);
            } else {
                self.counters.count(datagram.counter, 1);
            }
        }
    }

    fn refuse(&mut self, reason: DropReason, count: usize, key: Option<&FlowKey>, now_ms: u64) {
        self.counters.refuse(reason, count);
        if !reason.audit() {
            return;
        }
        let Some(count) = self.audit.admit(reason, now_ms) else {
            return;
        };
        let (source, destination) = key.map_or_else(Default::default, |key| {
            (
                address(key.is_v6, key.source),
                address(key.is_v6, key.destination),
            )
        });
        let event = Event::Audit {
            reason,
            spi: 0,
            sequence_number: 0,
            source,
            destination,
            count,
        };
        self.events.send(event, &self.counters);
    }

    fn audit_outbound(&mut self, sa: &OutboundSa, reason: DropReason, now_ms: u64) {
        if reason == DropReason::SequenceOverflow
            && let Some(count) = self.audit.admit(reason, now_ms)
        {
            let event = Event::Audit {
                reason,
                spi: sa.spi(),
                sequence_number: sa.sequence().last(),
                source: sa.tunnel().local.to_string(),
                destination: sa.tunnel().remote.to_string(),
                count,
            };
            self.events.send(event, &self.counters);
            self.events
                .send(Event::SequenceExhausted { spi: sa.spi() }, &self.counters);
        }
    }
}

fn address(is_v6: bool, bits: u128) -> String {
    let address = if is_v6 {
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    } else {
        IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
    };
    address.to_string()
}

impl<T: TunQueue + 'static, N: NetworkQueue + 'static> Worker for OutboundWorker<T, N> {
    type Command = OutboundCommand;

    fn handle(&mut self, command: OutboundCommand, now_ms: u64) -> Flow {
        // Whoever asked may have given up waiting for an answer.
        match command {
            OutboundCommand::ReplaceSpd(spd, reply) => {
                self.outbound.view_mut().replace_spd(spd);
                self.acquires.clear();
                let _ = reply.send(());
                self.release(None, now_ms);
            }
            OutboundCommand::Add(sas, reply) => {
                let entries: Vec<_> = sas
                    .iter()
                    .map(|(sa, _)| self.outbound.view().spd().position(sa.entry()))
                    .collect();
                let view = self.outbound.view_mut();
                for (sa, tunnel) in sas {
                    view.add(sa, tunnel);
                }
                let _ = reply.send(());
                if self.hold.is_some() {
                    for entry in entries.into_iter().flatten() {
                        self.release(Some(entry as u32), now_ms);
                    }
                }
            }
            OutboundCommand::Remove(spis, reply) => {
                let view = self.outbound.view_mut();
                for spi in spis {
                    view.remove(spi);
                }
                let _ = reply.send(());
            }
            OutboundCommand::Redirect(spi, tunnel, reply) => {
                self.outbound.view_mut().redirect(spi, tunnel);
                let _ = reply.send(());
            }
            OutboundCommand::Send(datagrams, reply) => {
                self.send_others(datagrams);
                let _ = reply.send(());
            }
            OutboundCommand::Stop => {
                // What waits goes nowhere any more.
                self.expire(u64::MAX);
                return Flow::Stop;
            }
        }
        Flow::Continue
    }

    fn turn(&mut self, now_ms: u64) -> std::io::Result<bool> {
        self.expire(now_ms);
        match self.tun.read(&mut self.arena, &self.parts) {
            Ok(Some(read)) => {
                self.counters.count(Counter::TunReads, 1);
                self.run(&read, None, now_ms);
                Ok(true)
            }
            Ok(None) => Ok(false),
            // The interface is down: nothing comes until it is up again, and it is watched.
            Err(error) if is_down(&error) => {
                std::thread::sleep(std::time::Duration::from_millis(20));
                Ok(false)
            }
            Err(error) if is_gone(&error) => Err(std::io::Error::other(
                "the tunnel interface was deleted under the gateway; start the gateway again",
            )),
            Err(error) => Err(error),
        }
    }

    fn wakes_at_ms(&self) -> Option<u64> {
        self.hold.as_ref().and_then(Hold::expires_at_ms)
    }

    fn wait_for<'a>(&'a self, fds: &mut Vec<BorrowedFd<'a>>) {
        fds.push(self.tun.as_fd());
    }
}

/// Multicast that no router forwards: ff02::/16 (RFC 4291 section 2.7), 224.0.0.0/24 (RFC 5771
/// section 4). On a TUN only the kernel's own housekeeping has such destinations.
fn is_link_scope(key: &FlowKey) -> bool {
    if key.is_v6 {
        key.destination >> 112 == 0xff02
    } else {
        key.destination >> 8 == 0xe0_00_00
    }
}

/// EIO: the interface is down.
fn is_down(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(5)
}

/// EBADFD: the interface was deleted.
fn is_gone(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(77)
}
