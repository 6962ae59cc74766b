//! The workers over in-memory twins of TUN and network: what one read and one receive cost, and what
//! a receive may hold.

use crate::event::{Event, EventReceiver, EventSender, channel};
use crate::inbound_worker::{InboundCommand, InboundWorker};
use crate::outbound_worker::{OutboundCommand, OutboundWorker, Outgoing};
use crate::sockets::{Carries, Socket, Sockets};
use crate::worker::Worker;
use ipsec_datapath::outbound::{Outbound, OutboundView};
use ipsec_datapath::sad::sequence_number::UNBOUNDED;
use ipsec_datapath::sad::{InboundSa, InboundSaParameters, OutboundSa, OutboundSaParameters};
use ipsec_datapath::selector::Selector;
use ipsec_datapath::spd::{Action, Spd, SpdEntry};
use ipsec_datapath::suite::{IvKey, KeyMaterial, SuiteName};
use ipsec_datapath::transport::Mode;
use ipsec_datapath::tunnel_header::{DontFragment, Encapsulation, TunnelHeader};
use ipsec_datapath::{Counter, Counters, DropReason};
use ipsec_io::network::{ChannelNetwork, Datagrams, NetworkPeer, Target};
use ipsec_io::offload::{ReadOffload, WriteOffload};
use ipsec_io::tun::{ChannelTun, TunPeer};
use ipsec_wire::checksum::{Sum, pseudo_header};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

const MSS: usize = 1386;
const HEADERS: usize = 52;
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

fn tunnel() -> TunnelHeader {
    TunnelHeader {
        local: LOCAL,
        remote: REMOTE,
        encapsulation: Encapsulation::Udp {
            local_port: 4500,
            remote_port: 4500,
        },
        dont_fragment: DontFragment::Copy,
    }
}

fn outbound_sa(spi: u32) -> OutboundSa {
    OutboundSa::new(outbound_parameters(spi)).unwrap()
}

fn outbound_parameters(spi: u32) -> OutboundSaParameters {
    OutboundSaParameters {
        spi,
        entry: "lan".into(),
        selector: Selector::default(),
        suite: SuiteName::Aes256Gcm16,
        key: KeyMaterial::new(&[spi as u8; 36]),
        iv_key: IvKey::from_random([0; 32]),
        extended: true,
        first_sequence_number: 1,
        reserved_up_to: UNBOUNDED,
        tfc_pad_to_len: 0,
        tunnel: tunnel(),
        mode: Mode::Tunnel,
    }
}

fn inbound_sa(spi: u32) -> Box<InboundSa> {
    Box::new(
        InboundSa::new(InboundSaParameters {
            spi,
            entry: "lan".into(),
            selector: Selector::default(),
            suite: SuiteName::Aes256Gcm16,
            key: KeyMaterial::new(&[spi as u8; 36]),
            extended: true,
            replay_window_packets: 1024,
            right_edge: 0,
            reserved_up_to: u64::MAX,
            mode: Mode::Tunnel,
        })
        .unwrap(),
    )
}

/// A TCP super-packet as a kernel gives it: lengths of the whole, a partial checksum.
fn super_packet(payload_len: usize) -> Vec<u8> {
    let mut packet = vec![0; HEADERS + payload_len];
    packet[0] = 0x45;
    let total_len = packet.len() as u16;
    packet[2..4].copy_from_slice(&total_len.to_be_bytes());
    packet[4..6].copy_from_slice(&7u16.to_be_bytes());
    packet[6] = 0x40;
    packet[8] = 64;
    packet[9] = 6;
    packet[12..16].copy_from_slice(&[10, 1, 0, 2]);
    packet[16..20].copy_from_slice(&[10, 2, 0, 2]);
    packet[20..24].copy_from_slice(&[0x9c, 0x40, 0x14, 0x51]);
    packet[24..28].copy_from_slice(&1000u32.to_be_bytes());
    packet[32] = 8 << 4;
    packet[33] = 0x18;
    packet[34..36].copy_from_slice(&512u16.to_be_bytes());
    packet[40..42].copy_from_slice(&[1, 1]);
    packet[42..44].copy_from_slice(&[8, 10]);
    let checksum = Sum::ZERO.add_bytes(&packet[..20]).finish();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    let partial = pseudo_header(&packet[12..20], 6, HEADERS - 20 + payload_len).fold();
    packet[36..38].copy_from_slice(&partial.to_be_bytes());
    for (index, byte) in packet[HEADERS..].iter_mut().enumerate() {
        *byte = (index / 3) as u8;
    }
    packet
}

struct Out {
    worker: OutboundWorker<ChannelTun, ChannelNetwork>,
    tun: TunPeer,
    network: NetworkPeer,
    counters: Arc<Counters>,
    events: EventReceiver,
}

fn spd(action: Action) -> Arc<Spd> {
    let entry = SpdEntry {
        name: "lan".into(),
        outbound: true,
        inbound: true,
        selector: Selector::default(),
        action,
    };
    Arc::new(Spd::compile(1, vec![entry]).unwrap())
}

fn view(action: Action, sas: Vec<OutboundSa>) -> OutboundView {
    let sas = sas.into_iter().map(|sa| {
        let tunnel = *sa.tunnel();
        (Arc::new(sa), tunnel)
    });
    OutboundView::new(spd(action), sas.collect())
}

/// The one socket of most tests.
fn nat_socket(network: ChannelNetwork) -> Sockets<ChannelNetwork> {
    let mut sockets = Sockets::default();
    sockets.push(Socket {
        queue: network,
        carries: Carries::UdpEncapsulation,
        bound: SocketAddr::new(LOCAL, 4500),
    });
    sockets
}

fn out(view: OutboundView) -> Out {
    let (tun, tun_peer) = ChannelTun::pair().unwrap();
    let (network, network_peer) = ChannelNetwork::pair().unwrap();
    let (sender, events) = channel();
    let counters = Arc::new(Counters::default());
    let sockets = nat_socket(network);
    let outbound = Outbound::new(view, [1, 2, 3, 4]);
    let worker = OutboundWorker::new(tun, sockets, outbound, Arc::clone(&counters), sender);
    Out {
        worker,
        tun: tun_peer,
        network: network_peer,
        counters,
        events,
    }
}

struct In {
    worker: InboundWorker<ChannelTun, ChannelNetwork>,
    tun: TunPeer,
    network: NetworkPeer,
    counters: Arc<Counters>,
    events: EventReceiver,
    sender: EventSender,
}

fn inn(spis: &[u32]) -> In {
    let (tun, tun_peer) = ChannelTun::pair().unwrap();
    let (network, network_peer) = ChannelNetwork::pair().unwrap();
    let (sender, events) = channel();
    let counters = Arc::new(Counters::default());
    let sockets = nat_socket(network);
    let mut worker = InboundWorker::new(tun, sockets, true, Arc::clone(&counters), sender.clone());
    for spi in spis {
        let (reply, answer) = std::sync::mpsc::channel();
        worker.handle(InboundCommand::Add(vec![inbound_sa(*spi)], reply), 0);
        answer.recv().unwrap();
    }
    In {
        worker,
        tun: tun_peer,
        network: network_peer,
        counters,
        events,
        sender,
    }
}

fn from_peer() -> Target {
    Target {
        remote: SocketAddr::new(REMOTE, 4500),
        local: LOCAL,
        traffic_class: 0,
        dont_fragment: true,
    }
}

/// Reads `packet` and returns what was sent.
fn send(out: &mut Out, packet: Vec<u8>, offload: ReadOffload) -> Vec<Datagrams> {
    out.tun.send.send((packet, offload)).unwrap();
    assert!(out.worker.turn(0).unwrap());
    out.network.receive.try_iter().collect()
}

fn sealed_lone(spi: u32, packets: usize) -> Vec<Vec<u8>> {
    let mut out = out(view(Action::Protect, vec![outbound_sa(spi)]));
    let tcp = ReadOffload::Tcp { segment_len: MSS };
    let sent = send(&mut out, super_packet(packets * MSS), tcp);
    sent.iter()
        .flat_map(|(bytes, len, _)| bytes.chunks(*len).map(<[u8]>::to_vec))
        .collect()
}

#[test]
fn a_read_of_44_segments_costs_one_lookup_one_reservation_and_one_send() {
    let mut out = out(view(Action::Protect, vec![outbound_sa(0x101)]));
    let tcp = ReadOffload::Tcp { segment_len: MSS };
    let sent = send(&mut out, super_packet(44 * MSS), tcp);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0.len(), 44 * 1472);
    assert_eq!(sent[0].1, 1472);
    for (counter, count) in [
        (Counter::TunReads, 1),
        (Counter::SpdLookups, 1),
        (Counter::SequenceReservations, 1),
        (Counter::NetworkSends, 1),
        (Counter::EspSealed, 44),
        (Counter::TunPacketsRead, 44),
        (Counter::SegmentsInPlace, 1),
        (Counter::SegmentsMoved, 0),
    ] {
        assert_eq!(out.counters.value(counter), count, "{}", counter.name());
    }
    // The other end: one receive, one window move, one write, and the bytes that went in.
    let mut inn = inn(&[0x101]);
    inn.network
        .send
        .send((sent[0].0.clone(), 1472, from_peer()))
        .unwrap();
    assert!(inn.worker.turn(0).unwrap());
    let written: Vec<_> = inn.tun.receive.try_iter().collect();
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].0, super_packet(44 * MSS));
    assert_eq!(
        written[0].1,
        WriteOffload::Tcp {
            is_v6: false,
            next_layer: 20,
            headers_len: HEADERS as u16,
            segment_len: MSS as u16
        }
    );
    for (counter, count) in [
        (Counter::NetworkReceives, 1),
        (Counter::ReplayCommits, 1),
        (Counter::EspOpened, 44),
        (Counter::TunWrites, 1),
    ] {
        assert_eq!(inn.counters.value(counter), count, "{}", counter.name());
    }
}

#[test]
fn a_wrong_guess_of_the_layout_gives_the_same_packets() {
    let mut out = out(view(Action::Protect, vec![outbound_sa(0x101)]));
    let segment_len = 1000;
    let tcp = ReadOffload::Tcp { segment_len };
    let first = send(&mut out, super_packet(10_300), tcp);
    let second = send(&mut out, super_packet(10_300), tcp);
    assert_eq!(out.counters.value(Counter::SegmentsMoved), 1);
    assert_eq!(out.counters.value(Counter::SegmentsInPlace), 1);
    let mut inn = inn(&[0x101]);
    for (bytes, len, _) in first.into_iter().chain(second) {
        inn.network.send.send((bytes, len, from_peer())).unwrap();
        assert!(inn.worker.turn(0).unwrap());
        let written: Vec<_> = inn.tun.receive.try_iter().collect();
        assert_eq!(written.len(), 1);
        assert_eq!(written[0].0, super_packet(10_300));
    }
}

#[test]
fn one_receive_may_hold_two_spis_ike_a_keepalive_and_a_packet_twice() {
    let (a, b) = (sealed_lone(0x101, 3), sealed_lone(0x202, 2));
    let mut ike = vec![0; 1472];
    ike[4] = 0xab;
    // GRO merges by address, port and length only, so all of these can come at once.
    let order = [&a[0], &b[0], &ike, &a[1], &a[1], &b[1], &a[2]];
    let bytes: Vec<u8> = order.into_iter().flatten().copied().chain([0xff]).collect();
    let mut inn = inn(&[0x101, 0x202]);
    inn.network.send.send((bytes, 1472, from_peer())).unwrap();
    assert!(inn.worker.turn(0).unwrap());
    assert_eq!(inn.counters.value(Counter::EspOpened), 5);
    assert_eq!(inn.counters.dropped(DropReason::ReplayDuplicate), 1);
    assert_eq!(inn.counters.value(Counter::IkeDatagrams), 1);
    assert_eq!(inn.counters.value(Counter::Keepalives), 1);
    assert_eq!(inn.counters.value(Counter::NetworkDatagrams), 8);
    let events = inn.events.receive().unwrap();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Ike(ike) if ike.payload.len() == 1468))
    );
    let delivered: usize = inn
        .tun
        .receive
        .try_iter()
        .map(|(packet, _)| (packet.len() - HEADERS) / MSS)
        .sum();
    assert_eq!(delivered, 5);
}

#[test]
fn a_policy_is_replaced_between_two_batches() {
    let mut out = out(view(Action::Protect, vec![outbound_sa(0x101)]));
    assert_eq!(
        send(&mut out, super_packet(MSS), ReadOffload::None).len(),
        1
    );
    let (reply, answer) = std::sync::mpsc::channel();
    out.worker
        .handle(OutboundCommand::ReplaceSpd(spd(Action::Discard), reply), 0);
    answer.recv().unwrap();
    // The cached decision of the old policy is void.
    assert!(send(&mut out, super_packet(MSS), ReadOffload::None).is_empty());
    assert_eq!(out.counters.dropped(DropReason::PolicyDiscard), 1);
}

#[test]
fn protect_without_an_sa_drops_and_asks_for_one_once_a_second() {
    let mut out = out(view(Action::Protect, vec![]));
    for _ in 0..5 {
        assert!(send(&mut out, super_packet(MSS), ReadOffload::None).is_empty());
    }
    assert_eq!(out.counters.dropped(DropReason::NoSaOutbound), 5);
    let events = out.events.receive().unwrap();
    let acquires = events
        .iter()
        .filter(|event| matches!(event, Event::Acquire { .. }))
        .count();
    assert_eq!(acquires, 1);
}

#[test]
fn an_unknown_spi_is_counted_and_audited_within_limits() {
    let packets = sealed_lone(0x303, 40);
    let mut inn = inn(&[0x101]);
    inn.network
        .send
        .send((packets.concat(), 1472, from_peer()))
        .unwrap();
    assert!(inn.worker.turn(0).unwrap());
    assert_eq!(inn.counters.dropped(DropReason::NoSa), 40);
    assert!(inn.tun.receive.try_iter().next().is_none());
    let events = inn.events.receive().unwrap();
    assert_eq!(events.len(), 10);
}

#[test]
fn what_came_in_two_receives_is_written_at_once_where_both_are_there() {
    let mut out = out(view(Action::Protect, vec![outbound_sa(0x101)]));
    let tcp = ReadOffload::Tcp { segment_len: MSS };
    let packet = super_packet(47 * MSS);
    let sent = send(&mut out, packet.clone(), tcp);
    let (bytes, len, _) = &sent[0];
    let mut inn = inn(&[0x101]);
    // As the kernel's limit of 64 KiB a send makes it: 44 and 3.
    for part in bytes.chunks(44 * len) {
        inn.network
            .send
            .send((part.to_vec(), *len, from_peer()))
            .unwrap();
    }
    assert!(inn.worker.turn(0).unwrap());
    let written: Vec<_> = inn.tun.receive.try_iter().collect();
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].0, packet);
}

#[test]
fn the_kernels_own_housekeeping_on_the_tun_is_no_refusal() {
    let mut out = out(view(Action::Protect, vec![outbound_sa(0x101)]));
    // A router solicitation from the unspecified address to all routers, ff02::2.
    let mut packet = vec![0; 48];
    packet[0] = 0x60;
    packet[5] = 8;
    packet[6] = 58;
    packet[7] = 255;
    packet[24..26].copy_from_slice(&[0xff, 0x02]);
    packet[39] = 2;
    packet[40] = 133;
    assert!(send(&mut out, packet, ReadOffload::None).is_empty());
    assert_eq!(out.counters.value(Counter::TunLinkScope), 1);
    assert!(
        DropReason::ALL
            .iter()
            .all(|reason| out.counters.dropped(*reason) == 0)
    );
}

fn add(out: &mut Out, sa: OutboundSa, now_ms: u64) {
    let (reply, answer) = std::sync::mpsc::channel();
    let sas = vec![(Arc::new(sa), tunnel())];
    out.worker.handle(OutboundCommand::Add(sas, reply), now_ms);
    answer.recv().unwrap();
}

fn remove(out: &mut Out, spi: u32) {
    let (reply, answer) = std::sync::mpsc::channel();
    out.worker
        .handle(OutboundCommand::Remove(vec![spi], reply), 0);
    answer.recv().unwrap();
}

fn spi_of(datagrams: &Datagrams) -> u32 {
    u32::from_be_bytes(datagrams.0[..4].try_into().unwrap())
}

#[test]
fn a_super_packet_that_waited_is_sent_as_it_came() {
    let mut out = out(view(Action::Protect, vec![]));
    out.worker.hold_packets();
    let tcp = ReadOffload::Tcp { segment_len: MSS };
    assert!(send(&mut out, super_packet(44 * MSS), tcp).is_empty());
    assert_eq!(out.worker.wakes_at_ms(), Some(10_000));
    add(&mut out, outbound_sa(0x101), 9_999);
    let sent: Vec<_> = out.network.receive.try_iter().collect();
    assert_eq!(sent.len(), 1);
    assert_eq!(out.counters.value(Counter::HoldReleased), 1);
    assert_eq!(out.worker.wakes_at_ms(), None);
    let mut inn = inn(&[0x101]);
    inn.network
        .send
        .send((sent[0].0.clone(), sent[0].1, from_peer()))
        .unwrap();
    assert!(inn.worker.turn(0).unwrap());
    let written: Vec<_> = inn.tun.receive.try_iter().collect();
    assert_eq!(written[0].0, super_packet(44 * MSS));
}

#[test]
fn sixty_four_packets_of_an_entry_wait_for_ten_seconds() {
    let mut out = out(view(Action::Protect, vec![]));
    out.worker.hold_packets();
    for _ in 0..66 {
        assert!(send(&mut out, super_packet(MSS), ReadOffload::None).is_empty());
    }
    assert_eq!(out.counters.dropped(DropReason::HoldFull), 2);
    assert_eq!(out.counters.dropped(DropReason::NoSaOutbound), 0);
    assert!(!out.worker.turn(9_999).unwrap());
    assert_eq!(out.counters.dropped(DropReason::HoldExpired), 0);
    assert!(!out.worker.turn(10_000).unwrap());
    assert_eq!(out.counters.dropped(DropReason::HoldExpired), 64);
    add(&mut out, outbound_sa(0x101), 10_001);
    assert!(out.network.receive.try_iter().next().is_none());
}

#[test]
fn what_waits_goes_by_the_policy_of_the_moment_it_goes() {
    let mut out = out(view(Action::Protect, vec![]));
    out.worker.hold_packets();
    assert!(send(&mut out, super_packet(MSS), ReadOffload::None).is_empty());
    let (reply, answer) = std::sync::mpsc::channel();
    let discard = OutboundCommand::ReplaceSpd(spd(Action::Discard), reply);
    out.worker.handle(discard, 1);
    answer.recv().unwrap();
    assert_eq!(out.counters.dropped(DropReason::PolicyDiscard), 1);
    assert!(out.network.receive.try_iter().next().is_none());
}

#[test]
fn an_sa_that_does_not_fit_leaves_the_packet_waiting_with_its_time() {
    let mut out = out(view(Action::Protect, vec![]));
    out.worker.hold_packets();
    assert!(send(&mut out, super_packet(MSS), ReadOffload::None).is_empty());
    let narrow = OutboundSa::new(OutboundSaParameters {
        selector: Selector {
            protocol: Some(ipsec_wire::ProtocolNumber::UDP),
            ..Selector::default()
        },
        ..outbound_parameters(0x103)
    })
    .unwrap();
    add(&mut out, narrow, 4_000);
    assert!(out.network.receive.try_iter().next().is_none());
    assert_eq!(out.worker.wakes_at_ms(), Some(10_000));
    add(&mut out, outbound_sa(0x101), 5_000);
    assert_eq!(out.network.receive.try_iter().count(), 1);
}

#[test]
fn the_newest_sa_of_an_entry_carries_its_packets_and_an_older_one_after_it() {
    let mut out = out(view(Action::Protect, vec![outbound_sa(0x101)]));
    let spi = |out: &mut Out| spi_of(&send(out, super_packet(MSS), ReadOffload::None)[0]);
    assert_eq!(spi(&mut out), 0x101);
    add(&mut out, outbound_sa(0x102), 0);
    assert_eq!(spi(&mut out), 0x102);
    add(&mut out, outbound_sa(0x103), 0);
    remove(&mut out, 0x102);
    assert_eq!(spi(&mut out), 0x103);
    // Its slot is used again by a newer one.
    add(&mut out, outbound_sa(0x104), 0);
    assert_eq!(spi(&mut out), 0x104);
    // A new policy keeps the order.
    let (reply, answer) = std::sync::mpsc::channel();
    let replace = OutboundCommand::ReplaceSpd(spd(Action::Protect), reply);
    out.worker.handle(replace, 0);
    answer.recv().unwrap();
    assert_eq!(spi(&mut out), 0x104);
    remove(&mut out, 0x104);
    assert_eq!(spi(&mut out), 0x103);
    remove(&mut out, 0x103);
    assert_eq!(spi(&mut out), 0x101);
}

#[test]
fn acquires_of_an_entry_are_told_at_a_bounded_rate() {
    let mut out = out(view(Action::Protect, vec![]));
    let mut packet = super_packet(MSS);
    for host in 0..100 {
        packet[19] = host;
        for _ in 0..2 {
            send(&mut out, packet.clone(), ReadOffload::None);
        }
    }
    let acquires = |out: &Out| {
        let events = out.events.receive().unwrap();
        events
            .into_iter()
            .filter(|event| matches!(event, Event::Acquire { .. }))
            .count()
    };
    assert_eq!(acquires(&out), 8);
    out.tun.send.send((packet, ReadOffload::None)).unwrap();
    out.worker.turn(1_000).unwrap();
    assert_eq!(acquires(&out), 1);
}

#[test]
fn ike_has_a_share_of_the_events_that_nothing_else_takes() {
    let (sender, receiver) = channel();
    let counters = Counters::default();
    while sender.send(Event::FirstUse { spi: 1 }, &counters) {}
    let ike = |len: usize| {
        Event::Ike(crate::IkeDatagram {
            local: SocketAddr::new(LOCAL, 500),
            remote: SocketAddr::new(REMOTE, 500),
            payload: vec![0; len],
        })
    };
    let mut taken = 0;
    while sender.send(ike(28), &counters) {
        taken += 1;
    }
    assert_eq!(taken, 512);
    assert!(!sender.send(Event::FirstUse { spi: 1 }, &counters));
    // What was taken out makes room again, each in its own share.
    let mut received = 0;
    while received < 1_024 + 512 {
        received += receiver
            .receive()
            .unwrap()
            .iter()
            .filter(|event| !matches!(event, Event::Lost(_)))
            .count();
    }
    // By bytes too: 4 MiB are 64 of 64 KiB.
    let mut long = 0;
    while sender.send(ike(64 << 10), &counters) {
        long += 1;
    }
    assert_eq!(long, 64);
    assert!(sender.send(Event::FirstUse { spi: 1 }, &counters));
    // Nor is one batch longer than a quarter of a mebibyte.
    assert!(receiver.receive().unwrap().len() <= 5);
}

#[test]
fn ike_that_is_not_whole_is_dropped_and_counted() {
    let mut inn = inn(&[]);
    let jumbo = vec![0; 70_000];
    let len = jumbo.len();
    inn.network.send.send((jumbo, len, from_peer())).unwrap();
    assert!(inn.worker.turn(0).unwrap());
    assert_eq!(inn.counters.dropped(DropReason::Truncated), 1);
    assert_eq!(inn.counters.value(Counter::IkeDatagrams), 0);
    // Of merged ones the last is not whole.
    let merged = vec![0; 70_000];
    inn.network.send.send((merged, 1_000, from_peer())).unwrap();
    assert!(inn.worker.turn(0).unwrap());
    assert_eq!(inn.counters.dropped(DropReason::Truncated), 2);
    assert_eq!(inn.counters.value(Counter::IkeDatagrams), 66);
}

#[test]
fn a_first_use_that_found_no_room_is_told_later() {
    let packets = sealed_lone(0x101, 2);
    let mut inn = inn(&[0x101]);
    let full = || Event::FirstUse { spi: 7 };
    let filler = inn.sender.clone();
    while filler.send_uncounted(full()) {}
    let first_uses = |inn: &In| {
        let events = std::iter::from_fn(|| inn.events.receive());
        let told = |event: &Event| matches!(event, Event::FirstUse { spi: 0x101 });
        let is_last = |events: &Vec<Event>| events.len() < 64;
        let mut count = 0;
        for events in events {
            count += events.iter().filter(|event| told(event)).count();
            if is_last(&events) {
                break;
            }
        }
        count
    };
    let receive = |inn: &mut In, packet: &[u8]| {
        let datagram = (packet.to_vec(), packet.len(), from_peer());
        inn.network.send.send(datagram).unwrap();
        assert!(inn.worker.turn(0).unwrap());
    };
    receive(&mut inn, &packets[0]);
    let mut taken = 0;
    while taken < 1_024 {
        taken += inn.events.receive().unwrap().len();
    }
    receive(&mut inn, &packets[1]);
    assert_eq!(first_uses(&inn), 1);
}

#[test]
fn ike_and_keepalives_leave_by_the_socket_of_their_port() {
    let mut out = out(view(Action::Protect, vec![]));
    let outgoing = |carries, counter| Outgoing {
        carries,
        target: from_peer(),
        bytes: vec![0xff],
        counter,
    };
    let hand_over = |out: &mut Out, datagram: Outgoing| {
        let (reply, answer) = std::sync::mpsc::channel();
        let command = OutboundCommand::Send(vec![datagram], reply);
        out.worker.handle(command, 0);
        answer.recv().unwrap();
    };
    let keepalive = outgoing(Carries::UdpEncapsulation, Counter::KeepalivesSent);
    hand_over(&mut out, keepalive.clone());
    assert_eq!(out.counters.value(Counter::KeepalivesSent), 1);
    let sent: Vec<_> = out.network.receive.try_iter().collect();
    assert_eq!(sent, [(vec![0xff], 1, from_peer())]);
    // There is no socket for it, and then a network that takes nothing.
    hand_over(&mut out, outgoing(Carries::Ike, Counter::IkeDatagramsSent));
    assert_eq!(out.counters.dropped(DropReason::IkeSendFailed), 1);
    drop(std::mem::replace(
        &mut out.network,
        ChannelNetwork::pair().unwrap().1,
    ));
    hand_over(&mut out, keepalive);
    assert_eq!(out.counters.dropped(DropReason::IkeSendFailed), 2);
    assert_eq!(out.counters.value(Counter::IkeDatagramsSent), 0);
    assert_eq!(out.counters.value(Counter::KeepalivesSent), 1);
}

#[test]
fn a_moved_peer_is_told_once_in_five_seconds() {
    let packets = sealed_lone(0x101, 6);
    let mut inn = inn(&[]);
    let mut sa = inbound_sa(0x101);
    sa.set_remote(Some(SocketAddr::new(REMOTE, 4500)));
    let (reply, _answer) = std::sync::mpsc::channel();
    inn.worker.handle(InboundCommand::Add(vec![sa], reply), 0);
    let elsewhere = |port| Target {
        remote: SocketAddr::new(REMOTE, port),
        ..from_peer()
    };
    let mut receive = |packet: &[u8], target: Target, now_ms: u64| {
        let datagram = (packet.to_vec(), packet.len(), target);
        inn.network.send.send(datagram).unwrap();
        assert!(inn.worker.turn(now_ms).unwrap());
        // Something to wait for, so that nothing hangs where nothing is told.
        inn.sender.send_uncounted(Event::Guard(String::new()));
        let events = inn.events.receive().unwrap();
        events
            .iter()
            .filter_map(|event| match event {
                Event::Mapping { spi, remote } => Some((*spi, remote.port())),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(receive(&packets[0], from_peer(), 0), []);
    assert_eq!(receive(&packets[1], elsewhere(5000), 1), [(0x101, 5000)]);
    assert_eq!(receive(&packets[2], elsewhere(5001), 5_000), []);
    // A replayed one says nothing, whenever it comes.
    assert_eq!(receive(&packets[1], elsewhere(5002), 20_000), []);
    let mut forged = packets[3].clone();
    forged[20] ^= 1;
    assert_eq!(receive(&forged, elsewhere(5002), 20_000), []);
    assert_eq!(
        receive(&packets[3], elsewhere(5003), 20_000),
        [(0x101, 5003)]
    );
}

mod transport;
