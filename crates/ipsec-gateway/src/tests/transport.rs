//! Transport mode through both workers.

use super::*;

const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 2));
const PEERS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 2, 0, 2));

fn between_hosts() -> TunnelHeader {
    TunnelHeader {
        local: OURS,
        remote: PEERS,
        ..tunnel()
    }
}

fn outbound_transport(spi: u32) -> OutboundSa {
    OutboundSa::new(OutboundSaParameters {
        spi,
        entry: "lan".into(),
        selector: Selector::default(),
        suite: SuiteName::from_name("aes256-sha256").unwrap(),
        key: KeyMaterial::new(&[spi as u8; 64]),
        iv_key: IvKey::from_random([0; 32]),
        extended: true,
        first_sequence_number: 1,
        reserved_up_to: UNBOUNDED,
        tfc_pad_to_len: 0,
        tunnel: between_hosts(),
        mode: Mode::Transport,
    })
    .unwrap()
}

fn inbound_transport(spi: u32) -> Box<InboundSa> {
    let parameters = InboundSaParameters {
        spi,
        entry: "lan".into(),
        selector: Selector::default(),
        suite: SuiteName::from_name("aes256-sha256").unwrap(),
        key: KeyMaterial::new(&[spi as u8; 64]),
        extended: true,
        replay_window_packets: 1024,
        right_edge: 0,
        reserved_up_to: u64::MAX,
        mode: Mode::Transport,
    };
    Box::new(InboundSa::new(parameters).unwrap())
}

/// From the host of the packets.
fn from_host() -> Target {
    Target {
        remote: SocketAddr::new(OURS, 4500),
        local: PEERS,
        traffic_class: 0,
        dont_fragment: true,
    }
}

#[test]
fn a_super_packet_crosses_without_its_ip_header_and_is_one_write_again() {
    let mut out = out(view(Action::Protect, vec![outbound_transport(0x101)]));
    let tcp = ReadOffload::Tcp { segment_len: MSS };
    // The first is read where tunnel mode expects it, the second where it belongs.
    let mut sent = send(&mut out, super_packet(20 * MSS), tcp);
    sent.extend(send(&mut out, super_packet(20 * MSS), tcp));
    assert_eq!(out.counters.value(Counter::SegmentsMoved), 1);
    assert_eq!(out.counters.value(Counter::SegmentsInPlace), 1);
    assert_eq!(out.counters.value(Counter::NetworkSends), 2);
    // SPI, number, IV; TCP header and payload with trailer in blocks of 16; the ICV.
    let sealed_len = 24 + (HEADERS - 20 + MSS + 2).next_multiple_of(16) + 16;
    let mut inn = inn(&[0x202]);
    let (reply, answer) = std::sync::mpsc::channel();
    inn.worker.handle(
        InboundCommand::Add(vec![inbound_transport(0x101)], reply),
        0,
    );
    answer.recv().unwrap();
    for (bytes, len, target) in sent {
        assert_eq!((len, bytes.len()), (sealed_len, 20 * sealed_len));
        assert_eq!(target.remote, SocketAddr::new(PEERS, 4500));
        inn.network.send.send((bytes, len, from_host())).unwrap();
        assert!(inn.worker.turn(0).unwrap());
        let written: Vec<_> = inn.tun.receive.try_iter().collect();
        assert_eq!(written.len(), 1);
        let (packet, offload) = &written[0];
        let wanted = super_packet(20 * MSS);
        // The identification is not sealed; addresses, protocol, lengths and all of TCP are as sent.
        assert_eq!(packet[..4], wanted[..4]);
        assert_eq!(packet[12..], wanted[12..]);
        assert_eq!(packet[9], 6);
        assert_eq!(
            *offload,
            WriteOffload::Tcp {
                is_v6: false,
                next_layer: 20,
                headers_len: HEADERS as u16,
                segment_len: MSS as u16
            }
        );
    }
}

#[test]
fn packets_of_both_modes_in_one_receive_keep_their_bytes() {
    // As many bytes each, as a merged receive has them.
    let tunnel_packets = sealed_lone(0x202, 2);
    let mut out = out(view(Action::Protect, vec![outbound_transport(0x101)]));
    let segment_len = MSS + 4;
    let tcp = ReadOffload::Tcp { segment_len };
    let sent = send(&mut out, super_packet(2 * segment_len), tcp);
    let (bytes, len, _) = &sent[0];
    let transport_packets: Vec<_> = bytes.chunks(*len).map(<[u8]>::to_vec).collect();
    let longest = tunnel_packets[0].len().max(*len);
    let mut inn = inn(&[0x202]);
    let (reply, answer) = std::sync::mpsc::channel();
    inn.worker.handle(
        InboundCommand::Add(vec![inbound_transport(0x101)], reply),
        0,
    );
    answer.recv().unwrap();
    for (tunnelled, transported) in tunnel_packets.iter().zip(&transport_packets) {
        for packet in [tunnelled, transported] {
            inn.network
                .send
                .send((packet.clone(), longest, from_host()))
                .unwrap();
        }
    }
    assert!(inn.worker.turn(0).unwrap());
    assert_eq!(inn.counters.value(Counter::EspOpened), 4);
    let payload: usize = inn
        .tun
        .receive
        .try_iter()
        .map(|(packet, _)| packet.len() - HEADERS)
        .sum();
    assert_eq!(payload, 2 * MSS + 2 * segment_len);
}

#[test]
fn an_audit_record_tells_the_number_of_a_refused_packet() {
    let mut out = out(view(Action::Protect, vec![outbound_transport(0x101)]));
    let sent = send(&mut out, super_packet(MSS), ReadOffload::None);
    let (mut bytes, len, _) = sent[0].clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let mut inn = inn(&[0x202]);
    let (reply, answer) = std::sync::mpsc::channel();
    inn.worker.handle(
        InboundCommand::Add(vec![inbound_transport(0x101)], reply),
        0,
    );
    answer.recv().unwrap();
    inn.network.send.send((bytes, len, from_host())).unwrap();
    assert!(inn.worker.turn(0).unwrap());
    assert_eq!(inn.counters.dropped(DropReason::Integrity), 1);
    let events = inn.events.receive().unwrap();
    assert!(events.iter().any(|event| matches!(
        event,
        Event::Audit {
            reason: DropReason::Integrity,
            spi: 0x101,
            sequence_number: 1,
            ..
        }
    )));
}
