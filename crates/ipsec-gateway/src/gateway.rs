//! The one public type of the crate: opens devices, starts workers, takes the verbs of the seam.

use crate::boundary::{Boundary, BoundaryOptions};
use crate::event::{Event, EventReceiver, EventSender, channel};
use crate::inbound_worker::{InboundCommand, InboundWorker};
use crate::limits::JOIN_WAIT;
use crate::open::{configure_link, note_offloads, open_sockets, open_tun, seeds};
use crate::outbound_worker::{OutboundCommand, OutboundWorker};
use crate::sockets::Sockets;
use crate::worker::WorkerHandle;
use ipsec_datapath::outbound::{Outbound, OutboundView};
use ipsec_datapath::sad::{InboundSa, OutboundSa, SaCounters};
use ipsec_datapath::spd::{Action, Spd, SpdEntry, SpdError};
use ipsec_datapath::tunnel_header::{Encapsulation, TunnelHeader};
use ipsec_datapath::udp_encapsulation::NON_ESP_MARKER_LEN;
use ipsec_datapath::{Counter, Counters, DropReason};
use ipsec_host as host;
use ipsec_io::OpenError;
use ipsec_io::network::{NetworkQueue, SocketNetwork, Target};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::channel as reply_channel;
use std::time::Instant;

/// How to open a gateway.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Name, TUN, interfaces, ports.
    pub boundary: BoundaryOptions,
    /// Whether the guard is installed at all.
    pub guard: bool,
    /// Addresses to listen on.
    pub listen: Vec<IpAddr>,
    /// UDP port of encapsulation.
    pub port: u16,
    /// Open UDP sockets.
    pub udp: bool,
    /// Open raw ESP sockets.
    pub esp: bool,
    /// Ask for segmentation offload on the TUN.
    pub tun_segmentation: bool,
    /// Ask for it on sending UDP.
    pub udp_gso: bool,
    /// Ask for merged receives of UDP.
    pub udp_gro: bool,
    /// Leave TUN and guard in place when closed.
    pub keep_guard: bool,
}

/// What was opened.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Segmentation offload on the TUN.
    pub tun_segmentation: bool,
    /// On sending UDP.
    pub udp_gso: bool,
    /// Merged receives.
    pub udp_gro: bool,
    /// One sentence for each thing that is not as it could be.
    pub notes: Vec<String>,
    /// A guard of an earlier run is there.
    pub guard_found: bool,
}

/// A verb failed.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A device or socket.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The host's network stack.
    #[error(transparent)]
    Host(#[from] host::Error),
    /// The policy.
    #[error(transparent)]
    Spd(#[from] SpdError),
    /// A thread or descriptor of ours.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The SPI is taken in this direction.
    #[error("an SA with SPI {0:#010x} exists")]
    SaExists(u32),
    /// There is no such SA.
    #[error("no SA with SPI {0:#010x}")]
    NoSuchSa(u32),
    /// The SA names an entry that the SPD does not have, or that does not say PROTECT.
    #[error("no SPD entry named {0} says PROTECT")]
    NoSuchEntry(String),
    /// The SA has no durable reservation that could be raised.
    #[error("the SA with SPI {0:#010x} has no durable reservation")]
    NoReservation(u32),
    /// No socket for the SA's encapsulation and family was opened.
    #[error("no socket for {0}: add the address family or the encapsulation to what is opened")]
    NoSocket(String),
    /// Two addresses of one family to listen on.
    #[error(
        "{0} is a second address of its family to listen on: this version takes one a family, or \
         0.0.0.0 and :: for all"
    )]
    SecondAddress(IpAddr),
    /// The gateway was closed, or the worker has ended.
    #[error("the datapath is closed")]
    Closed,
}

/// One SA as the control plane sees it.
#[derive(Clone, Debug)]
pub struct SaRow {
    /// Direction.
    pub outbound: bool,
    /// SPI.
    pub spi: u32,
    /// SPD entry.
    pub entry: String,
    /// Last number used, or right edge of the window.
    pub sequence_number: u64,
    /// Durable bound.
    pub reserved_up_to: Option<u64>,
    /// Packets.
    pub packets: u64,
    /// Bytes of inner packets.
    pub bytes: u64,
    /// Since it was added.
    pub age_ms: u64,
    /// Since its last packet.
    pub idle_ms: Option<u64>,
    /// Refusals by reason, only those that occurred.
    pub drops: Vec<(DropReason, u64)>,
}

/// All counters, workers added up.
#[derive(Clone, Debug, Default)]
pub struct CounterSnapshot {
    /// By name.
    pub counters: Vec<(&'static str, u64)>,
    /// Refusals by name, the guard's included.
    pub drops: Vec<(String, u64)>,
}

struct OutboundRow {
    sa: Arc<OutboundSa>,
    tunnel: TunnelHeader,
    added_ms: u64,
}

struct InboundRow {
    entry: String,
    counters: Arc<SaCounters>,
    reserved_up_to: Option<u64>,
    added_ms: u64,
}

/// A running datapath.
pub struct Gateway {
    options: GatewayOptions,
    outbound: WorkerHandle<OutboundCommand>,
    inbound: WorkerHandle<InboundCommand>,
    counters: [Arc<Counters>; 2],
    events: Option<EventSender>,
    sockets: Sockets<SocketNetwork>,
    boundary: Option<Boundary>,
    spd: Arc<Spd>,
    generation: u64,
    outbound_sas: Vec<OutboundRow>,
    inbound_sas: BTreeMap<u32, InboundRow>,
    started: Instant,
    closed: bool,
}

impl Gateway {
    /// Opens devices and sockets and starts the workers with an empty policy, which lets nothing
    /// through.
    pub fn open(options: GatewayOptions) -> Result<(Self, Facts, EventReceiver), GatewayError> {
        let interface = options.boundary.interface.clone();
        let was_there = host::link::exists(&interface).unwrap_or(true);
        let opened = Self::try_open(options);
        if opened.is_err() && !was_there {
            // What this start made and nobody will serve; the guard does not depend on it.
            let _ = host::link::delete(&interface);
        }
        opened
    }

    fn try_open(options: GatewayOptions) -> Result<(Self, Facts, EventReceiver), GatewayError> {
        let mut notes = Vec::new();
        let guard_found = options.guard
            && host::Guard::owners()
                .unwrap_or_default()
                .contains(&options.boundary.owner);
        let (tun, tun_segmentation) = open_tun(&options)?;
        configure_link(&options, &mut notes)?;
        let sockets = open_sockets(&options)?;
        let udp = sockets.udp_v4.as_ref().or(sockets.udp_v6.as_ref());
        let facts = Facts {
            tun_segmentation,
            udp_gso: udp.is_some_and(SocketNetwork::gso),
            udp_gro: udp.is_some_and(SocketNetwork::gro),
            notes: note_offloads(notes, &options, tun_segmentation, udp),
            guard_found,
        };
        let (events, receiver) = channel();
        let started = Instant::now();
        let counters = [Arc::new(Counters::default()), Arc::new(Counters::default())];
        let spd = Arc::new(Spd::compile(0, Vec::new())?);
        let view = Arc::new(OutboundView::new(0, Arc::clone(&spd), Vec::new()));
        let outbound = OutboundWorker::new(
            tun.clone(),
            sockets.clone(),
            Outbound::new(view, seeds()?),
            Arc::clone(&counters[0]),
            events.clone(),
        );
        let inbound = InboundWorker::new(
            tun,
            sockets.clone(),
            (options.port, tun_segmentation),
            Arc::clone(&counters[1]),
            events.clone(),
        );
        let gateway = Self {
            outbound: WorkerHandle::start("ipsec-out", outbound, started, events.clone())?,
            inbound: WorkerHandle::start("ipsec-in", inbound, started, events.clone())?,
            counters,
            events: Some(events),
            sockets,
            boundary: options
                .guard
                .then(|| Boundary::new(options.boundary.clone())),
            spd,
            generation: 0,
            outbound_sas: Vec::new(),
            inbound_sas: BTreeMap::new(),
            started,
            closed: false,
            options,
        };
        Ok((gateway, facts, receiver))
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Replaces the policy: a guard as strict as both, the workers, the exact guard. `true`: a guard
    /// of an earlier run was taken over.
    pub fn replace_spd(
        &mut self,
        version: u64,
        entries: Vec<(SpdEntry, bool)>,
    ) -> Result<bool, GatewayError> {
        let plain = entries.iter().map(|(entry, _)| entry.clone()).collect();
        let spd = Arc::new(Spd::compile(version, plain)?);
        let mut took_over = false;
        if let (Some(boundary), Some(events)) = (&mut self.boundary, &self.events) {
            let events = events.clone();
            let report = move |what| {
                let _ = events.send_uncounted(Event::Guard(what));
            };
            took_over = boundary.begin(&entries, report)?.took_over();
        }
        self.spd = spd;
        self.publish()?;
        if let Some(boundary) = &mut self.boundary {
            boundary.finish()?;
        }
        Ok(took_over)
    }

    /// Gives the outbound worker policy and SAs as they are, and waits until it has them.
    fn publish(&mut self) -> Result<(), GatewayError> {
        self.generation += 1;
        let sas = self
            .outbound_sas
            .iter()
            .map(|row| (Arc::clone(&row.sa), row.tunnel))
            .collect();
        let view = Arc::new(OutboundView::new(
            self.generation,
            Arc::clone(&self.spd),
            sas,
        ));
        let (reply, answer) = reply_channel();
        if !self.outbound.send(OutboundCommand::Replace(view, reply)) {
            return Err(GatewayError::Closed);
        }
        answer.recv().map_err(|_| GatewayError::Closed)
    }

    /// Adds an outbound SA.
    pub fn add_outbound(&mut self, sa: OutboundSa) -> Result<(), GatewayError> {
        if self
            .outbound_sas
            .iter()
            .any(|row| row.sa.spi() == sa.spi() && row.tunnel.remote == sa.tunnel().remote)
        {
            return Err(GatewayError::SaExists(sa.spi()));
        }
        self.check_entry(sa.entry())?;
        let tunnel = *sa.tunnel();
        if self.sockets.for_tunnel(&tunnel).is_none() {
            let kind = match tunnel.encapsulation {
                Encapsulation::Udp { .. } => "UDP",
                Encapsulation::Esp => "raw ESP",
            };
            return Err(GatewayError::NoSocket(format!(
                "{kind} to {}",
                tunnel.remote
            )));
        }
        self.outbound_sas.push(OutboundRow {
            sa: Arc::new(sa),
            tunnel,
            added_ms: self.now_ms(),
        });
        self.publish()?;
        if let Some(boundary) = &mut self.boundary {
            boundary.add_peer(tunnel.remote)?;
        }
        Ok(())
    }

    /// Adds an inbound SA.
    pub fn add_inbound(&mut self, sa: InboundSa) -> Result<(), GatewayError> {
        self.check_entry(sa.entry())?;
        let spi = sa.spi();
        let row = InboundRow {
            entry: sa.entry().to_string(),
            counters: Arc::clone(sa.counters()),
            reserved_up_to: sa.reserved_up_to(),
            added_ms: self.now_ms(),
        };
        let (reply, answer) = reply_channel();
        if !self.inbound.send(InboundCommand::Add(Box::new(sa), reply)) {
            return Err(GatewayError::Closed);
        }
        if !answer.recv().map_err(|_| GatewayError::Closed)? {
            return Err(GatewayError::SaExists(spi));
        }
        self.inbound_sas.insert(spi, row);
        Ok(())
    }

    fn check_entry(&self, entry: &str) -> Result<(), GatewayError> {
        let found = self
            .spd
            .position(entry)
            .map(|position| &self.spd.entries()[position]);
        match found {
            Some(found) if found.action == Action::Protect => Ok(()),
            _ => Err(GatewayError::NoSuchEntry(entry.to_owned())),
        }
    }

    /// Sets the durable bound of an SA and returns the bound in force. Outbound it only rises: call
    /// when the higher one is on disk. Inbound it may be lowered too, never below what was accepted:
    /// then write the returned one to disk afterwards.
    pub fn reserve(&mut self, outbound: bool, spi: u32, up_to: u64) -> Result<u64, GatewayError> {
        if outbound {
            let row = self.outbound_sas.iter().find(|row| row.sa.spi() == spi);
            let sequence = row.ok_or(GatewayError::NoSuchSa(spi))?.sa.sequence();
            sequence
                .reserved()
                .ok_or(GatewayError::NoReservation(spi))?;
            sequence.confirm(up_to);
            return sequence.reserved().ok_or(GatewayError::NoReservation(spi));
        }
        let row = self
            .inbound_sas
            .get_mut(&spi)
            .ok_or(GatewayError::NoSuchSa(spi))?;
        let reserved = row
            .reserved_up_to
            .as_mut()
            .ok_or(GatewayError::NoReservation(spi))?;
        let (reply, answer) = reply_channel();
        if !self.inbound.send(InboundCommand::Bound(spi, up_to, reply)) {
            return Err(GatewayError::Closed);
        }
        let bound = answer.recv().map_err(|_| GatewayError::Closed)?;
        *reserved = bound.ok_or(GatewayError::NoSuchSa(spi))?;
        Ok(*reserved)
    }

    /// A new peer endpoint. An inbound SA is found by its SPI alone, so for it nothing changes.
    pub fn update_endpoint(
        &mut self,
        outbound: bool,
        spi: u32,
        remote: SocketAddr,
    ) -> Result<(), GatewayError> {
        if !outbound {
            return match self.inbound_sas.contains_key(&spi) {
                true => Ok(()),
                false => Err(GatewayError::NoSuchSa(spi)),
            };
        }
        let row = self
            .outbound_sas
            .iter_mut()
            .find(|row| row.sa.spi() == spi)
            .ok_or(GatewayError::NoSuchSa(spi))?;
        row.tunnel.remote = remote.ip();
        if let Encapsulation::Udp { remote_port, .. } = &mut row.tunnel.encapsulation {
            *remote_port = remote.port();
        }
        self.publish()
    }

    /// Removes an SA and returns its last state.
    pub fn delete(&mut self, outbound: bool, spi: u32) -> Result<SaRow, GatewayError> {
        let now_ms = self.now_ms();
        if outbound {
            let position = self
                .outbound_sas
                .iter()
                .position(|row| row.sa.spi() == spi)
                .ok_or(GatewayError::NoSuchSa(spi))?;
            let row = self.outbound_sas.remove(position);
            self.publish()?;
            return Ok(outbound_row(&row, now_ms));
        }
        let (reply, answer) = reply_channel();
        if !self.inbound.send(InboundCommand::Remove(spi, reply)) {
            return Err(GatewayError::Closed);
        }
        answer.recv().map_err(|_| GatewayError::Closed)?;
        let row = self
            .inbound_sas
            .remove(&spi)
            .ok_or(GatewayError::NoSuchSa(spi))?;
        Ok(inbound_row(spi, &row, now_ms))
    }

    /// All SAs, from what the workers publish: nobody is asked and nothing waits.
    pub fn query_sad(&self) -> Vec<SaRow> {
        let now_ms = self.now_ms();
        let outbound = self
            .outbound_sas
            .iter()
            .map(|row| outbound_row(row, now_ms));
        let inbound = self
            .inbound_sas
            .iter()
            .map(|(spi, row)| inbound_row(*spi, row, now_ms));
        outbound.chain(inbound).collect()
    }

    /// Sends an IKE message behind the Non-ESP Marker (RFC 3948 section 2.2).
    pub fn send_ike(
        &mut self,
        local: IpAddr,
        remote: SocketAddr,
        payload: &[u8],
    ) -> Result<(), GatewayError> {
        let socket = if remote.is_ipv6() {
            &mut self.sockets.udp_v6
        } else {
            &mut self.sockets.udp_v4
        };
        let socket = socket
            .as_mut()
            .ok_or_else(|| GatewayError::NoSocket(format!("UDP to {remote}")))?;
        let mut datagram = vec![0; NON_ESP_MARKER_LEN];
        datagram.extend_from_slice(payload);
        let target = Target {
            remote,
            local,
            traffic_class: 0,
            dont_fragment: false,
        };
        match socket.send(&target, &datagram, datagram.len()).failed {
            0 => Ok(()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::HostUnreachable).into()),
        }
    }

    /// One snapshot of all counters, the guard's drops included.
    pub fn counters(&self) -> CounterSnapshot {
        let sum = |value: &dyn Fn(&Counters) -> u64| {
            self.counters.iter().map(|counters| value(counters)).sum()
        };
        let counters = Counter::ALL
            .iter()
            .map(|counter| (counter.name(), sum(&|counters| counters.value(*counter))))
            .collect();
        let mut drops: Vec<(String, u64)> = DropReason::ALL
            .iter()
            .map(|reason| {
                (
                    reason.name().to_owned(),
                    sum(&|counters| counters.dropped(*reason)),
                )
            })
            .collect();
        if self.boundary.is_some() {
            drops.extend(host::Guard::counters(&self.options.boundary.owner).unwrap_or_default());
        }
        CounterSnapshot { counters, drops }
    }

    /// Stops intake, then workers, then guard and TUN as was asked. Idempotent.
    pub fn close(&mut self) -> Result<Vec<SaRow>, GatewayError> {
        if self.closed {
            return Ok(Vec::new());
        }
        self.closed = true;
        self.outbound.send(OutboundCommand::Stop);
        self.inbound.send(InboundCommand::Stop);
        self.outbound.join(JOIN_WAIT);
        self.inbound.join(JOIN_WAIT);
        let last = self.query_sad();
        if let Some(boundary) = &mut self.boundary {
            boundary.release();
        }
        self.sockets = Sockets::default();
        // Keys go with the SAs.
        self.outbound_sas.clear();
        self.inbound_sas.clear();
        self.events = None;
        if !self.options.keep_guard {
            if self.boundary.is_some() {
                host::reach::remove(&self.options.boundary.owner)?;
                host::Guard::remove(&self.options.boundary.owner)?;
            }
            if host::link::exists(&self.options.boundary.interface)? {
                host::link::delete(&self.options.boundary.interface)?;
            }
        }
        Ok(last)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // An error has nobody to go to; the guard is the safe side.
        let _ = self.close();
    }
}

fn outbound_row(row: &OutboundRow, now_ms: u64) -> SaRow {
    let counters = row.sa.counters();
    SaRow {
        outbound: true,
        spi: row.sa.spi(),
        entry: row.sa.entry().to_owned(),
        sequence_number: row.sa.sequence().last(),
        reserved_up_to: row.sa.sequence().reserved(),
        ..common_row(counters, row.added_ms, now_ms)
    }
}

fn inbound_row(spi: u32, row: &InboundRow, now_ms: u64) -> SaRow {
    SaRow {
        outbound: false,
        spi,
        entry: row.entry.clone(),
        sequence_number: row.counters.sequence_number(),
        reserved_up_to: row.reserved_up_to,
        ..common_row(&row.counters, row.added_ms, now_ms)
    }
}

fn common_row(counters: &SaCounters, added_ms: u64, now_ms: u64) -> SaRow {
    SaRow {
        outbound: false,
        spi: 0,
        entry: String::new(),
        sequence_number: 0,
        reserved_up_to: None,
        packets: counters.packets(),
        bytes: counters.bytes(),
        age_ms: now_ms.saturating_sub(added_ms),
        idle_ms: counters.last_used_ms().map(|at| now_ms.saturating_sub(at)),
        drops: DropReason::ALL
            .iter()
            .map(|reason| (*reason, counters.dropped(*reason)))
            .filter(|(_, count)| *count > 0)
            .collect(),
    }
}
