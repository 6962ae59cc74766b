//! The one public type of the crate: opens devices, starts workers, takes the verbs of the seam.

use crate::boundary::{Boundary, BoundaryOptions};
use crate::event::{Event, EventReceiver, EventSender, channel};
use crate::inbound_worker::{InboundCommand, InboundWorker};
use crate::limits::JOIN_WAIT;
use crate::open::{configure_link, note_offloads, open_sockets, open_tun, seeds};
use crate::outbound_worker::{OutboundCommand, OutboundWorker, Outgoing};
use crate::sockets::{Carries, Sockets, carrier};
use crate::worker::WorkerHandle;
use ipsec_datapath::outbound::{Outbound, OutboundView};
use ipsec_datapath::sad::{InboundSa, OutboundSa, SaCounters};
use ipsec_datapath::spd::{Action, Spd, SpdEntry, SpdError};
use ipsec_datapath::tunnel_header::{Encapsulation, TunnelHeader};
use ipsec_datapath::udp_encapsulation::NON_ESP_MARKER_LEN;
use ipsec_datapath::{Counter, Counters, DropReason};
use ipsec_host as host;
use ipsec_io::OpenError;
use ipsec_io::network::{SocketNetwork, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel as reply_channel};
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
    /// UDP port of IKE, where IKE is served: then packets also wait for their SAs.
    pub ike_port: Option<u16>,
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
    /// More addresses to listen on than the bound.
    #[error("{0} addresses to listen on: at most 16 are taken, or 0.0.0.0 and :: for all")]
    TooManyAddresses(usize),
    /// A datagram's local port is none of ours.
    #[error("{0} is not a port that IKE is sent from here")]
    NotOurPort(u16),
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

/// A new SA.
pub enum NewSa {
    /// To send with.
    Outbound(Box<OutboundSa>),
    /// To receive with.
    Inbound(Box<InboundSa>),
}

impl NewSa {
    fn entry(&self) -> &str {
        match self {
            Self::Outbound(sa) => sa.entry(),
            Self::Inbound(sa) => sa.entry(),
        }
    }
}

/// Names one direction of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SaKey {
    /// Direction.
    pub outbound: bool,
    /// SPI.
    pub spi: u32,
}

/// The two ends of an SA's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaEndpoint {
    /// Our address.
    pub local: IpAddr,
    /// The peer's.
    pub remote: IpAddr,
    /// UDP with its ports, or raw ESP.
    pub encapsulation: Encapsulation,
}

impl SaEndpoint {
    /// Where the peer's UDP encapsulation comes from.
    pub fn udp_remote(&self) -> Option<SocketAddr> {
        match self.encapsulation {
            Encapsulation::Udp { remote_port, .. } => {
                Some(SocketAddr::new(self.remote, remote_port))
            }
            Encapsulation::Esp => None,
        }
    }
}

/// A datagram for a peer that is not ESP.
#[derive(Clone, Debug)]
pub struct IkeToSend {
    /// Our address and port; the address unspecified: the kernel chooses.
    pub local: SocketAddr,
    /// The peer.
    pub remote: SocketAddr,
    /// The message without a marker; `None`: a NAT keepalive (RFC 3948 section 2.3).
    pub payload: Option<Vec<u8>>,
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
    outbound_sas: BTreeMap<u32, OutboundRow>,
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
        let udp = sockets
            .iter()
            .find(|socket| socket.carries == Carries::UdpEncapsulation)
            .map(|socket| &socket.queue);
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
        let view = OutboundView::new(Arc::clone(&spd), Vec::new());
        let mut outbound = OutboundWorker::new(
            tun.clone(),
            sockets.clone(),
            Outbound::new(view, seeds()?),
            Arc::clone(&counters[0]),
            events.clone(),
        );
        if options.ike_port.is_some() {
            outbound.hold_packets();
        }
        let inbound = InboundWorker::new(
            tun,
            sockets.clone(),
            tun_segmentation,
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
            outbound_sas: BTreeMap::new(),
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
        self.spd = Arc::clone(&spd);
        self.ask_outbound(|reply| OutboundCommand::ReplaceSpd(spd, reply))?;
        if let Some(boundary) = &mut self.boundary {
            boundary.finish()?;
        }
        Ok(took_over)
    }

    /// Gives the outbound worker a command and waits until it was taken.
    fn ask_outbound(
        &self,
        command: impl FnOnce(Sender<()>) -> OutboundCommand,
    ) -> Result<(), GatewayError> {
        let (reply, answer) = reply_channel();
        if !self.outbound.send(command(reply)) {
            return Err(GatewayError::Closed);
        }
        answer.recv().map_err(|_| GatewayError::Closed)
    }

    /// The same for the inbound worker.
    fn ask_inbound<T>(
        &self,
        command: impl FnOnce(Sender<T>) -> InboundCommand,
    ) -> Result<T, GatewayError> {
        let (reply, answer) = reply_channel();
        if !self.inbound.send(command(reply)) {
            return Err(GatewayError::Closed);
        }
        answer.recv().map_err(|_| GatewayError::Closed)
    }

    /// Adds SAs, all or none: those to receive with first, so that what a peer answers is understood.
    pub fn add(&mut self, sas: Vec<NewSa>) -> Result<(), GatewayError> {
        let keys = self.check_new(&sas)?;
        let added_ms = self.now_ms();
        let (mut inbound, mut outbound, mut peers) = (Vec::new(), Vec::new(), BTreeSet::new());
        for sa in sas {
            match sa {
                NewSa::Inbound(sa) => {
                    let row = InboundRow {
                        entry: sa.entry().to_string(),
                        counters: Arc::clone(sa.counters()),
                        reserved_up_to: sa.reserved_up_to(),
                        added_ms,
                    };
                    self.inbound_sas.insert(sa.spi(), row);
                    inbound.push(sa);
                }
                NewSa::Outbound(sa) => {
                    let tunnel = *sa.tunnel();
                    let sa: Arc<OutboundSa> = Arc::from(sa);
                    outbound.push((Arc::clone(&sa), tunnel));
                    peers.insert(tunnel.remote);
                    let row = OutboundRow {
                        sa,
                        tunnel,
                        added_ms,
                    };
                    self.outbound_sas.insert(row.sa.spi(), row);
                }
            }
        }
        let mut installed = Ok(());
        if !inbound.is_empty() {
            installed = self.ask_inbound(|reply| InboundCommand::Add(inbound, reply));
        }
        if installed.is_ok() && !outbound.is_empty() {
            installed = self.ask_outbound(|reply| OutboundCommand::Add(outbound, reply));
        }
        let installed =
            installed.and_then(|()| peers.into_iter().try_for_each(|peer| self.know_peer(peer)));
        if installed.is_err() {
            // A worker that has ended has nothing that could be taken back.
            let _ = self.delete(&keys);
        }
        installed
    }

    fn know_peer(&mut self, peer: IpAddr) -> Result<(), GatewayError> {
        match &mut self.boundary {
            Some(boundary) => Ok(boundary.add_peer(peer)?),
            None => Ok(()),
        }
    }

    /// The keys of new SAs, where all of them can be added.
    fn check_new(&self, sas: &[NewSa]) -> Result<Vec<SaKey>, GatewayError> {
        let mut keys = BTreeSet::new();
        for sa in sas {
            let key = match sa {
                NewSa::Inbound(sa) => SaKey {
                    outbound: false,
                    spi: sa.spi(),
                },
                NewSa::Outbound(sa) => {
                    self.check_socket(sa.tunnel())?;
                    SaKey {
                        outbound: true,
                        spi: sa.spi(),
                    }
                }
            };
            if self.has(key) || !keys.insert(key) {
                return Err(GatewayError::SaExists(key.spi));
            }
            self.check_entry(sa.entry())?;
        }
        Ok(keys.into_iter().collect())
    }

    fn has(&self, key: SaKey) -> bool {
        if key.outbound {
            self.outbound_sas.contains_key(&key.spi)
        } else {
            self.inbound_sas.contains_key(&key.spi)
        }
    }

    fn check_socket(&self, tunnel: &TunnelHeader) -> Result<(), GatewayError> {
        if self.sockets.serves(carrier(tunnel), tunnel.remote) {
            return Ok(());
        }
        let kind = match tunnel.encapsulation {
            Encapsulation::Udp { .. } => "UDP",
            Encapsulation::Esp => "raw ESP",
        };
        let remote = tunnel.remote;
        Err(GatewayError::NoSocket(format!("{kind} to {remote}")))
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
            let row = self.outbound_sas.get(&spi);
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

    /// New ends of an SA's packets (RFC 4555, RFC 7296 section 2.23), from one batch to the next.
    /// Outbound: where its packets go, from which address and how wrapped. Inbound: what
    /// [`Event::Mapping`] compares with; an SA is found by its SPI, so nothing is refused by it.
    pub fn update_endpoint(
        &mut self,
        key: SaKey,
        endpoint: SaEndpoint,
    ) -> Result<(), GatewayError> {
        let spi = key.spi;
        if !self.has(key) {
            return Err(GatewayError::NoSuchSa(spi));
        }
        if !key.outbound {
            let remote = endpoint.udp_remote();
            return self.ask_inbound(|reply| InboundCommand::Redirect(spi, remote, reply));
        }
        let row = self.outbound_sas.get(&spi);
        let row = row.ok_or(GatewayError::NoSuchSa(spi))?;
        let tunnel = TunnelHeader {
            local: endpoint.local,
            remote: endpoint.remote,
            encapsulation: endpoint.encapsulation,
            ..row.tunnel
        };
        let old = row.tunnel.remote;
        self.check_socket(&tunnel)?;
        self.ask_outbound(|reply| OutboundCommand::Redirect(spi, tunnel, reply))?;
        if let Some(row) = self.outbound_sas.get_mut(&spi) {
            row.tunnel = tunnel;
        }
        if let Some(boundary) = &mut self.boundary {
            boundary.remove_peer(old);
        }
        self.know_peer(tunnel.remote)
    }

    /// Removes SAs and returns their last states; those that are not there are left out.
    pub fn delete(&mut self, keys: &[SaKey]) -> Result<Vec<SaRow>, GatewayError> {
        let spis = |outbound: bool| -> Vec<u32> {
            keys.iter()
                .filter(|key| key.outbound == outbound && self.has(**key))
                .map(|key| key.spi)
                .collect()
        };
        let (outbound, inbound) = (spis(true), spis(false));
        let asked_outbound = if outbound.is_empty() {
            Ok(())
        } else {
            self.ask_outbound(|reply| OutboundCommand::Remove(outbound.clone(), reply))
        };
        let asked_inbound = if inbound.is_empty() {
            Ok(())
        } else {
            self.ask_inbound(|reply| InboundCommand::Remove(inbound.clone(), reply))
        };
        let now_ms = self.now_ms();
        let mut rows = Vec::with_capacity(outbound.len() + inbound.len());
        for spi in outbound {
            let Some(row) = self.outbound_sas.remove(&spi) else {
                continue;
            };
            if let Some(boundary) = &mut self.boundary {
                boundary.remove_peer(row.tunnel.remote);
            }
            rows.push(outbound_row(&row, now_ms));
        }
        for spi in inbound {
            if let Some(row) = self.inbound_sas.remove(&spi) {
                rows.push(inbound_row(spi, &row, now_ms));
            }
        }
        asked_outbound.and(asked_inbound).map(|()| rows)
    }

    /// All SAs, from what the workers publish: nobody is asked and nothing waits.
    pub fn query_sad(&self) -> Vec<SaRow> {
        let now_ms = self.now_ms();
        let outbound = self
            .outbound_sas
            .values()
            .map(|row| outbound_row(row, now_ms));
        let inbound = self
            .inbound_sas
            .iter()
            .map(|(spi, row)| inbound_row(*spi, row, now_ms));
        outbound.chain(inbound).collect()
    }

    /// The same of a few; those that are not there are left out.
    pub fn query(&self, keys: &[SaKey]) -> Vec<SaRow> {
        let now_ms = self.now_ms();
        keys.iter()
            .filter_map(|key| {
                if key.outbound {
                    let row = self.outbound_sas.get(&key.spi)?;
                    Some(outbound_row(row, now_ms))
                } else {
                    let row = self.inbound_sas.get(&key.spi)?;
                    Some(inbound_row(key.spi, row, now_ms))
                }
            })
            .collect()
    }

    /// Sends IKE messages and keepalives, each by the socket of its local port: behind the Non-ESP
    /// Marker from the port of encapsulation (RFC 3948 section 2.2), bare from that of IKE. What the
    /// kernel refuses is counted.
    pub fn send_ike(&self, datagrams: Vec<IkeToSend>) -> Result<(), GatewayError> {
        let datagrams = datagrams
            .into_iter()
            .map(|datagram| self.outgoing(datagram))
            .collect::<Result<_, _>>()?;
        self.ask_outbound(|reply| OutboundCommand::Send(datagrams, reply))
    }

    fn outgoing(&self, datagram: IkeToSend) -> Result<Outgoing, GatewayError> {
        let IkeToSend {
            local,
            remote,
            payload,
        } = datagram;
        let port = local.port();
        let carries = if port == self.options.port {
            Carries::UdpEncapsulation
        } else if payload.is_some() && Some(port) == self.options.ike_port {
            Carries::Ike
        } else {
            return Err(GatewayError::NotOurPort(port));
        };
        let counter = match payload {
            Some(_) => Counter::IkeDatagramsSent,
            None => Counter::KeepalivesSent,
        };
        let bytes = match (payload, carries) {
            (None, _) => vec![0xff],
            (Some(payload), Carries::Ike) => payload,
            (Some(payload), _) => {
                let mut bytes = vec![0; NON_ESP_MARKER_LEN];
                bytes.extend_from_slice(&payload);
                bytes
            }
        };
        Ok(Outgoing {
            carries,
            target: Target {
                remote,
                local: local.ip(),
                traffic_class: 0,
                // IKE without fragments of its own relies on those of IP.
                dont_fragment: false,
            },
            bytes,
            counter,
        })
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
