//! Network to TUN: one receive, runs by SPI, one window move a run, pieces of one stream in one write.

use crate::event::{AuditLimiter, Event, EventSender, IkeDatagram};
use crate::limits::{
    INBOUND_BUFFER_LEN, RECEIVES_PER_FLUSH, TRANSPORT_BUFFER_LEN, TRANSPORT_LEAD_LEN,
};
use crate::sockets::{Carries, Sockets};
use crate::worker::{Flow, Worker};
use ipsec_datapath::coalesce::{Coalescer, Piece};
use ipsec_datapath::inbound::{
    InboundNotice, InboundSad, InboundScratch, InboundVerdict, open_run,
};
use ipsec_datapath::limits::{COALESCE_PIECES_MAX, RUN_PACKETS_MAX};
use ipsec_datapath::sad::InboundSa;
use ipsec_datapath::transport::{Mode, Outer};
use ipsec_datapath::udp_encapsulation::{Datagram, IKE_HEADER_LEN, NON_ESP_MARKER_LEN, classify};
use ipsec_datapath::{Counter, Counters, DropReason};
use ipsec_io::Part;
use ipsec_io::network::{NetworkQueue, Received};
use ipsec_io::offload::WriteOffload;
use ipsec_io::tun::TunQueue;
use ipsec_wire::{Run, Slot, esp};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// What the control plane asks of it.
pub(crate) enum InboundCommand {
    /// Adds SAs whose SPIs are free. In the boxes that the SAD keeps them in: they are not copied.
    #[allow(clippy::vec_box)]
    Add(Vec<Box<InboundSa>>, Sender<()>),
    /// Removes SAs; those that are not there are passed over.
    Remove(Vec<u32>, Sender<()>),
    /// Sets where an SA's peer is.
    Redirect(u32, Option<SocketAddr>, Sender<()>),
    /// Sets the durable bound of an SA, never below what it has accepted; answers the bound in force.
    Bound(u32, u64, Sender<Option<u64>>),
    /// Ends the thread.
    Stop,
}

/// The thread's state.
pub struct InboundWorker<T, N> {
    tun: T,
    sockets: Sockets<N>,
    state: State,
    buffer: Box<[u8]>,
}

/// Everything but the ends, so that both can be borrowed at once.
struct State {
    sad: InboundSad,
    scratch: InboundScratch,
    slots: Box<[Slot]>,
    verdicts: Box<[InboundVerdict]>,
    coalescer: Coalescer,
    parts: Vec<Part>,
    /// Where packets of transport mode SAs are opened; empty until there is such an SA.
    transport: Vec<u8>,
    counters: Arc<Counters>,
    events: EventSender,
    audit: AuditLimiter,
}

impl<T: TunQueue, N: NetworkQueue> InboundWorker<T, N> {
    pub(crate) fn new(
        tun: T,
        sockets: Sockets<N>,
        coalesce: bool,
        counters: Arc<Counters>,
        events: EventSender,
    ) -> Self {
        Self {
            tun,
            sockets,
            state: State {
                sad: InboundSad::default(),
                scratch: InboundScratch::default(),
                slots: vec![Slot::default(); RUN_PACKETS_MAX].into(),
                verdicts: vec![InboundVerdict::Deliver; RUN_PACKETS_MAX].into(),
                coalescer: Coalescer::new(coalesce),
                parts: Vec::with_capacity(COALESCE_PIECES_MAX + 1),
                transport: Vec::new(),
                counters,
                events,
                audit: AuditLimiter::default(),
            },
            buffer: vec![0; INBOUND_BUFFER_LEN * RECEIVES_PER_FLUSH].into(),
        }
    }
}

/// Consecutive datagrams of one receive with one SPI; their slots are the first of the state's.
#[derive(Clone, Copy)]
struct SpiRun {
    spi: u32,
    count: usize,
}

/// One receive, by what and when it was.
struct Arrival<'a> {
    received: &'a Received,
    carries: Carries,
    bound: SocketAddr,
    now_ms: u64,
}

impl Arrival<'_> {
    fn outer(&self) -> Outer {
        let Received {
            remote,
            local,
            traffic_class,
            ..
        } = *self.received;
        Outer {
            traffic_class,
            addresses: local.map(|local| (remote.ip().to_canonical(), local.to_canonical())),
            in_udp: self.carries != Carries::Esp,
        }
    }
}

impl State {
    /// One receive: its datagrams may be ESP of several SAs, IKE and keepalives in any mixture, so
    /// each is looked at; consecutive ones of one SPI are a run.
    fn receive(&mut self, arrival: &Arrival<'_>, buffer: &mut [u8], tun: &mut impl TunQueue) {
        let Arrival {
            received, carries, ..
        } = *arrival;
        let mut end = received.start + received.len;
        let mut at = received.start;
        if received.truncated {
            // Of merged datagrams the last is the one without its end.
            self.counters.refuse(DropReason::Truncated, 1);
            let last = received.len.saturating_sub(1) % received.segment_len + 1;
            end -= last.min(received.len);
            if end == at {
                return;
            }
        }
        let mut run: Option<SpiRun> = None;
        let mut datagrams = 0;
        // An empty datagram is one too.
        while at < end || datagrams == 0 {
            let len = received.segment_len.min(end - at);
            let payload = &buffer[at..at + len];
            datagrams += 1;
            let kind = match carries {
                Carries::UdpEncapsulation => classify(payload),
                Carries::Ike if payload.len() >= IKE_HEADER_LEN => Datagram::Ike,
                Carries::Ike => Datagram::Short,
                // RFC 4303 section 2.1: SPI 0 has no meaning on the wire of raw ESP.
                Carries::Esp => {
                    esp::header(payload).map_or(Datagram::Short, |(spi, sequence_low)| {
                        Datagram::Esp { spi, sequence_low }
                    })
                }
            };
            let spi = match kind {
                Datagram::Esp { spi, .. } => Some(spi),
                other => {
                    self.not_esp(other, payload, arrival);
                    None
                }
            };
            match (spi, &mut run) {
                (Some(spi), Some(run)) if spi == run.spi && run.count < RUN_PACKETS_MAX => {
                    self.slots[run.count] = slot(at, len);
                    run.count += 1;
                }
                (spi, current) => {
                    if let Some(run) = current.take() {
                        self.open(run, arrival, buffer, tun);
                    }
                    if let Some(spi) = spi {
                        self.slots[0] = slot(at, len);
                        *current = Some(SpiRun { spi, count: 1 });
                    }
                }
            }
            at += len.max(1);
        }
        if let Some(run) = run {
            self.open(run, arrival, buffer, tun);
        }
        self.counters.count(Counter::NetworkReceives, 1);
        self.counters.count(Counter::NetworkDatagrams, datagrams);
    }

    /// Writes what is still being coalesced: nothing is held back when a turn ends.
    fn flush(&mut self, buffer: &mut [u8], tun: &mut impl TunQueue) {
        let Self {
            coalescer,
            parts,
            counters,
            ..
        } = self;
        coalescer.flush(buffer, &mut |arena, piece| {
            write(tun, arena, piece, parts, counters)
        });
    }

    fn open(
        &mut self,
        run_of: SpiRun,
        arrival: &Arrival<'_>,
        buffer: &mut [u8],
        tun: &mut impl TunQueue,
    ) {
        let SpiRun { spi, count } = run_of;
        let now_ms = arrival.now_ms;
        let Self {
            sad,
            scratch,
            slots,
            verdicts,
            coalescer,
            parts,
            transport,
            counters,
            ..
        } = self;
        let mut apart = std::mem::take(transport);
        let slots = &mut slots[..count];
        // The bytes of a transport mode SA's packets lie elsewhere, so what is held back of others is
        // written first, and theirs before anything else is taken.
        let is_transport = sad.find(spi).is_some_and(|sa| sa.mode() == Mode::Transport);
        let buffer = if is_transport {
            coalescer.flush(buffer, &mut |arena, piece| {
                write(tun, arena, piece, parts, counters);
            });
            move_apart(buffer, &mut apart, slots);
            &mut apart[..]
        } else {
            buffer
        };
        let verdicts = &mut verdicts[..count];
        let mut notice = InboundNotice::default();
        verdicts.fill(InboundVerdict::Drop(DropReason::NoSa));
        match sad.find(spi) {
            Some(sa) => {
                if let Some(mut run) = Run::new(buffer, slots) {
                    let room = (&mut *scratch, &**counters, now_ms);
                    notice = open_run(sa, &mut run, &arrival.outer(), verdicts, room);
                }
            }
            // RFC 4303 section 3.4.2: no SA, discard. Nothing is answered.
            None => counters.refuse(DropReason::NoSa, count),
        }
        for (slot, verdict) in slots.iter().zip(&*verdicts) {
            if *verdict == InboundVerdict::Deliver {
                coalescer.push(buffer, *slot, &mut |arena, piece| {
                    write(tun, arena, piece, parts, counters);
                });
            }
        }
        if is_transport {
            coalescer.flush(buffer, &mut |arena, piece| {
                write(tun, arena, piece, parts, counters);
            });
        }
        self.tell(run_of, notice, arrival, buffer);
        self.transport = apart;
    }

    /// What the control plane has to know of a run.
    fn tell(
        &mut self,
        SpiRun { spi, count }: SpiRun,
        notice: InboundNotice,
        arrival: &Arrival<'_>,
        buffer: &[u8],
    ) {
        let Arrival {
            received,
            carries,
            now_ms,
            ..
        } = *arrival;
        if notice.first_use
            && !self.events.send(Event::FirstUse { spi }, &self.counters)
            && let Some(sa) = self.sad.find(spi)
        {
            sa.forget_first_use();
        }
        // RFC 7296 section 2.23: only what is authentic, and only where there may be a NAT.
        if notice.authentic
            && carries == Carries::UdpEncapsulation
            && let Some(sa) = self.sad.find(spi)
            && sa.has_moved(received.remote, now_ms)
        {
            let remote = received.remote;
            if self
                .events
                .send(Event::Mapping { spi, remote }, &self.counters)
            {
                sa.moved(now_ms);
            }
        }
        if let Some(used) = notice.ask_for_more {
            let wanted = used.saturating_add(self.reservation_ahead(spi, now_ms));
            let event = Event::ReserveLow {
                outbound: false,
                spi,
                used,
                wanted,
            };
            self.events.send(event, &self.counters);
        }
        for index in 0..count {
            let InboundVerdict::Drop(reason) = self.verdicts[index] else {
                continue;
            };
            if !reason.audit() {
                continue;
            }
            let Some(told) = self.audit.admit(reason, now_ms) else {
                continue;
            };
            // The cell starts with the ESP header, which opening leaves as it was.
            let at = self.slots[index].cell_start as usize;
            let sequence = buffer
                .get(at..)
                .and_then(esp::header)
                .map_or(0, |(_, low)| low);
            let event = Event::Audit {
                reason,
                spi,
                sequence_number: u64::from(sequence),
                source: received.remote.ip().to_string(),
                destination: received
                    .local
                    .map_or_else(String::new, |local| local.to_string()),
                count: told,
            };
            self.events.send(event, &self.counters);
        }
    }

    /// How far ahead an inbound bound is put: what a restarted receiver may have to refuse. It starts
    /// small and grows fourfold while it is used up within a second, so that it is about two seconds of
    /// traffic at any rate.
    fn reservation_ahead(&mut self, spi: u32, now_ms: u64) -> u64 {
        self.sad
            .find(spi)
            .map_or(0, |sa| sa.reservation_ahead(now_ms))
    }

    fn not_esp(&mut self, kind: Datagram, payload: &[u8], arrival: &Arrival<'_>) {
        let Arrival {
            received,
            carries,
            bound,
            ..
        } = *arrival;
        match kind {
            Datagram::Keepalive => self.counters.count(Counter::Keepalives, 1),
            Datagram::Ike => {
                self.counters.count(Counter::IkeDatagrams, 1);
                let marker_len = match carries {
                    Carries::Ike => 0,
                    Carries::UdpEncapsulation | Carries::Esp => NON_ESP_MARKER_LEN,
                };
                let local = received.local.unwrap_or(bound.ip());
                let datagram = IkeDatagram {
                    local: SocketAddr::new(local, bound.port()),
                    remote: received.remote,
                    payload: payload[marker_len..].to_vec(),
                };
                if !self.events.send(Event::Ike(datagram), &self.counters) {
                    self.counters.refuse(DropReason::IkeQueueFull, 1);
                }
            }
            Datagram::Short | Datagram::Esp { .. } => {
                self.counters.refuse(DropReason::Short, 1);
            }
        }
    }
}

/// Copies packets into cells with room for an IP header in front. The cell begins with a copy of the
/// ESP header, which an audit record tells of when the IP header lies on the packet's own.
fn move_apart(buffer: &[u8], apart: &mut [u8], slots: &mut [Slot]) {
    let mut at = 0;
    for slot in slots {
        let packet = &buffer[slot.range()];
        let end = at + TRANSPORT_LEAD_LEN + packet.len();
        // A run is of one receive, for which there is room; more would be refused as no packet.
        let Some(cell) = apart.get_mut(at..end) else {
            slot.len = 0;
            continue;
        };
        let header_len = esp::HEADER_LEN.min(packet.len());
        cell[..header_len].copy_from_slice(&packet[..header_len]);
        cell[TRANSPORT_LEAD_LEN..].copy_from_slice(packet);
        *slot = Slot {
            start: (at + TRANSPORT_LEAD_LEN) as u32,
            len: packet.len() as u32,
            cell_start: at as u32,
            cell_end: end as u32,
        };
        at = end;
    }
}

fn slot(start: usize, len: usize) -> Slot {
    Slot {
        start: start as u32,
        len: len as u32,
        cell_start: start as u32,
        cell_end: (start + len) as u32,
    }
}

fn write(
    tun: &mut impl TunQueue,
    arena: &[u8],
    piece: &Piece,
    parts: &mut Vec<Part>,
    counters: &Counters,
) {
    parts.clear();
    parts.push(Part {
        start: piece.first.start as usize,
        len: piece.first.len as usize,
    });
    parts.extend(piece.rest.iter().map(|(start, len)| Part {
        start: *start as usize,
        len: *len as usize,
    }));
    let offload = match piece.merged {
        None => WriteOffload::None,
        Some(merged) => WriteOffload::Tcp {
            is_v6: merged.is_v6,
            next_layer: merged.next_layer,
            headers_len: merged.headers_len,
            segment_len: merged.segment_len,
        },
    };
    match tun.write(offload, arena, parts) {
        Ok(()) => {
            counters.count(Counter::TunWrites, 1);
            counters.count(Counter::TunPacketsWritten, parts.len());
        }
        Err(_) => counters.refuse(DropReason::DeliverFailed, parts.len()),
    }
}

impl<T: TunQueue + 'static, N: NetworkQueue + 'static> Worker for InboundWorker<T, N> {
    type Command = InboundCommand;

    fn handle(&mut self, command: InboundCommand, _now_ms: u64) -> Flow {
        // Whoever asked may have given up waiting for the answer.
        match command {
            InboundCommand::Add(sas, reply) => {
                for sa in sas {
                    if sa.mode() == Mode::Transport {
                        self.state.transport.resize(TRANSPORT_BUFFER_LEN, 0);
                    }
                    // Free: the gateway keeps the list of what is here.
                    let _ = self.state.sad.add(sa);
                }
                let _ = reply.send(());
            }
            InboundCommand::Remove(spis, reply) => {
                for spi in spis {
                    self.state.sad.remove(spi);
                }
                let _ = reply.send(());
            }
            InboundCommand::Redirect(spi, remote, reply) => {
                if let Some(sa) = self.state.sad.find(spi) {
                    sa.set_remote(remote);
                }
                let _ = reply.send(());
            }
            InboundCommand::Bound(spi, up_to, reply) => {
                let bound = self.state.sad.find(spi).map(|sa| {
                    sa.confirm(up_to.max(sa.right_edge()));
                    up_to.max(sa.right_edge())
                });
                let _ = reply.send(bound);
            }
            InboundCommand::Stop => return Flow::Stop,
        }
        Flow::Continue
    }

    fn turn(&mut self, now_ms: u64) -> std::io::Result<bool> {
        let Self {
            tun,
            sockets,
            state,
            buffer,
        } = self;
        let mut any = false;
        for socket in sockets.iter_mut() {
            // A super-packet of 47 segments travels as 44 and 3: what is already there is taken
            // before the pieces are written, so that it is one write again.
            for index in 0..RECEIVES_PER_FLUSH {
                let at = index * INBOUND_BUFFER_LEN;
                match socket
                    .queue
                    .receive(&mut buffer[at..at + INBOUND_BUFFER_LEN])
                {
                    Ok(Some(mut received)) => {
                        any = true;
                        received.start += at;
                        let arrival = Arrival {
                            received: &received,
                            carries: socket.carries,
                            bound: socket.bound,
                            now_ms,
                        };
                        state.receive(&arrival, buffer, tun);
                    }
                    Ok(None) => break,
                    // An ICMP error of an earlier send is reported here and is a hint at most.
                    Err(error) if is_transient(&error) => any = true,
                    Err(error) => return Err(error),
                }
            }
            state.flush(buffer, tun);
        }
        Ok(any)
    }

    fn wait_for<'a>(&'a self, fds: &mut Vec<BorrowedFd<'a>>) {
        fds.extend(self.sockets.iter().map(|socket| socket.queue.as_fd()));
    }
}

fn is_transient(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
    ) || matches!(error.raw_os_error(), Some(90 | 92 | 93 | 71))
}
