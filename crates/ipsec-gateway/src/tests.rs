//! The workers over in-memory twins of TUN and network: what one read and one receive cost, and what
//! a receive may hold.

use crate::event::{Event, EventReceiver, channel};
use crate::inbound_worker::{InboundCommand, InboundWorker};
use crate::outbound_worker::OutboundWorker;
use crate::sockets::Sockets;
use crate::worker::Worker;
use ipsec_datapath::outbound::{Outbound, OutboundView};
use ipsec_datapath::sad::sequence_number::UNBOUNDED;
use ipsec_datapath::sad::{InboundSa, InboundSaParameters, OutboundSa, OutboundSaParameters};
use ipsec_datapath::selector::Selector;
use ipsec_datapath::spd::{Action, Spd, SpdEntry};
use ipsec_datapath::suite::{IvKey, KeyMaterial, SuiteName};
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
    OutboundSa::new(OutboundSaParameters {
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
    })
    .unwrap()
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

fn view(generation: u64, action: Action, sas: Vec<OutboundSa>) -> Arc<OutboundView> {
    let entry = SpdEntry {
        name: "lan".into(),
        outbound: true,
        inbound: true,
        selector: Selector::default(),
        action,
    };
    let spd = Arc::new(Spd::compile(generation, vec![entry]).unwrap());
    let sas = sas.into_iter().map(|sa| (Arc::new(sa), tunnel())).collect();
    Arc::new(OutboundView::new(generation, spd, sas))
}

fn out(view: Arc<OutboundView>) -> Out {
    let (tun, tun_peer) = ChannelTun::pair().unwrap();
    let (network, network_peer) = ChannelNetwork::pair().unwrap();
    let (sender, events) = channel();
    let counters = Arc::new(Counters::default());
    let sockets = Sockets {
        udp_v4: Some(network),
        ..Sockets::default()
    };
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
}

fn inn(spis: &[u32]) -> In {
    let (tun, tun_peer) = ChannelTun::pair().unwrap();
    let (network, network_peer) = ChannelNetwork::pair().unwrap();
    let (sender, events) = channel();
    let counters = Arc::new(Counters::default());
    let sockets = Sockets {
        udp_v4: Some(network),
        ..Sockets::default()
    };
    let mut worker = InboundWorker::new(tun, sockets, (4500, true), Arc::clone(&counters), sender);
    for spi in spis {
        let (reply, answer) = std::sync::mpsc::channel();
        worker.handle(InboundCommand::Add(inbound_sa(*spi), reply));
        assert!(answer.recv().unwrap());
    }
    In {
        worker,
        tun: tun_peer,
        network: network_peer,
        counters,
        events,
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
    let mut out = out(view(1, Action::Protect, vec![outbound_sa(spi)]));
    let tcp = ReadOffload::Tcp { segment_len: MSS };
    let sent = send(&mut out, super_packet(packets * MSS), tcp);
    sent.iter()
        .flat_map(|(bytes, len, _)| bytes.chunks(*len).map(<[u8]>::to_vec))
        .collect()
}

#[test]
fn a_read_of_44_segments_costs_one_lookup_one_reservation_and_one_send() {
    let mut out = out(view(1, Action::Protect, vec![outbound_sa(0x101)]));
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
    let mut out = out(view(1, Action::Protect, vec![outbound_sa(0x101)]));
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
    let mut out = out(view(1, Action::Protect, vec![outbound_sa(0x101)]));
    assert_eq!(
        send(&mut out, super_packet(MSS), ReadOffload::None).len(),
        1
    );
    let (reply, answer) = std::sync::mpsc::channel();
    let discard = view(2, Action::Discard, vec![]);
    out.worker
        .handle(crate::outbound_worker::OutboundCommand::Replace(
            discard, reply,
        ));
    answer.recv().unwrap();
    // The cached decision of the old policy is void.
    assert!(send(&mut out, super_packet(MSS), ReadOffload::None).is_empty());
    assert_eq!(out.counters.dropped(DropReason::PolicyDiscard), 1);
}

#[test]
fn protect_without_an_sa_drops_and_asks_for_one_once_a_second() {
    let mut out = out(view(1, Action::Protect, vec![]));
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
    let mut out = out(view(1, Action::Protect, vec![outbound_sa(0x101)]));
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
    let mut out = out(view(1, Action::Protect, vec![outbound_sa(0x101)]));
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
