//! What is an IP packet and what is not, and that no bytes make the parser panic.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use ipsec_wire::{Fragment, IpPacket, Malformed, ProtocolNumber};
use proptest::collection::vec;
use proptest::prelude::*;

/// RFC 1071, word by word.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn with_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    let header = (usize::from(packet[0] & 15) * 4).min(packet.len());
    packet[10..12].fill(0);
    let sum = internet_checksum(&packet[..header]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn v4(protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let total = (header_len + payload.len()) as u16;
    let mut packet = vec![0x40 | (header_len / 4) as u8, 0xb8];
    packet.extend_from_slice(&total.to_be_bytes());
    packet.extend_from_slice(&[0x12, 0x34]);
    packet.extend_from_slice(&fragment.to_be_bytes());
    packet.extend_from_slice(&[64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend_from_slice(options);
    packet.extend_from_slice(payload);
    with_checksum(packet)
}

fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x6b, 0x80, 0, 1];
    packet.extend_from_slice(&(rest.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[next, 64]);
    packet.extend_from_slice(&[0x20; 16]);
    packet.extend_from_slice(&[0x30; 16]);
    packet.extend_from_slice(rest);
    packet
}

const TCP: [u8; 20] = [
    0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
];

fn refused(packet: &[u8], wanted: Malformed) {
    assert_eq!(
        IpPacket::parse(packet).map(|_| ()),
        Err(wanted),
        "{packet:02x?}"
    );
}

#[test]
fn ipv4_lengths_and_checksum() {
    let whole = v4(6, 0x4000, &[], &TCP);
    let packet = IpPacket::parse(&whole).expect("whole");
    assert_eq!(
        (packet.bytes(), packet.next_layer()),
        (&whole[..], &TCP[..])
    );
    assert_eq!(
        (packet.next_layer_offset(), packet.traffic_class()),
        (20, 0xb8)
    );
    assert!(packet.dont_fragment() && !packet.is_v6());
    assert_eq!(packet.tcp_headers_len(), Some(40));
    assert_eq!(packet.addresses(), [10, 0, 0, 1, 10, 0, 0, 2]);
    // What is behind the packet is not the packet.
    let padded = [&whole[..], &[0; 9]].concat();
    assert_eq!(
        IpPacket::parse(&padded).expect("padded").bytes(),
        &whole[..]
    );
    for cut in 0..whole.len() {
        assert!(IpPacket::parse(&whole[..cut]).is_err(), "{cut}");
    }
    for bit in 0..160 {
        let mut wrong = whole.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(
            IpPacket::parse(&wrong).is_err(),
            "bit {bit} of the header is covered"
        );
    }
    refused(&[], Malformed::Short);
    refused(&[0x45; 19], Malformed::Short);
    refused(
        &with_checksum([&[0x35][..], &whole[1..]].concat()),
        Malformed::Version,
    );
    for ihl in 0..5 {
        refused(
            &with_checksum([&[0x40 | ihl][..], &whole[1..]].concat()),
            Malformed::HeaderLength,
        );
    }
    let mut long = whole.clone();
    long[2..4].copy_from_slice(&41u16.to_be_bytes());
    refused(&with_checksum(long.clone()), Malformed::Length);
    long[2..4].copy_from_slice(&19u16.to_be_bytes());
    refused(&with_checksum(long), Malformed::Length);
}

#[test]
fn ipv4_options_end_with_the_header() {
    for good in [
        &[1, 1, 1, 1][..],
        &[0, 9, 9, 9],
        &[7, 4, 4, 0],
        &[1, 0x94, 3, 0],
        &[68, 2, 1, 0],
    ] {
        assert!(
            IpPacket::parse(&v4(17, 0, good, &[0; 8])).is_ok(),
            "{good:?}"
        );
    }
    for bad in [
        &[7, 5, 4, 0][..],
        &[7, 0, 0, 0],
        &[7, 1, 0, 0],
        &[1, 1, 1, 7],
        &[7, 255, 0, 0],
    ] {
        refused(&v4(17, 0, bad, &[0; 8]), Malformed::HeaderLength);
    }
}

#[test]
fn ipv4_fragments() {
    let key = |packet: &[u8]| IpPacket::parse(packet).expect("a fragment").flow_key();
    let first = v4(6, 0x2000, &[], &TCP);
    assert_eq!(
        IpPacket::parse(&first).expect("first").fragment(),
        Fragment::First
    );
    assert!(key(&first).has_next_layer);
    let later = v4(6, 0x2000 | 100, &[], &TCP);
    assert_eq!(
        IpPacket::parse(&later).expect("later").fragment(),
        Fragment::Later { units: 100 }
    );
    // What lies there is not a TCP header, whatever it looks like.
    assert!(!key(&later).has_next_layer);
    assert_eq!(
        (key(&later).source_port, key(&later).destination_port),
        (0, 0)
    );
    assert_eq!(
        IpPacket::parse(&later).expect("later").tcp_headers_len(),
        None
    );
    // RFC 1858: the first without the ports and flags, and the second over them.
    refused(&v4(6, 0x2000, &[], &TCP[..15]), Malformed::Fragment);
    assert!(IpPacket::parse(&v4(6, 0x2000, &[], &TCP[..16])).is_ok());
    refused(&v4(6, 1, &[], &TCP), Malformed::Fragment);
    // The largest whole: 20 + 8,188 * 8 + 11 = 65,535 bytes, and one more.
    assert!(IpPacket::parse(&v4(17, 8_188, &[], &[0; 11])).is_ok());
    refused(&v4(17, 8_188, &[], &[0; 12]), Malformed::Fragment);
}

#[test]
fn ipv6_extension_headers() {
    let options = |next: u8, units: u8| {
        let mut header = vec![0; usize::from(units) * 8 + 8];
        header[..2].copy_from_slice(&[next, units]);
        header
    };
    let plain = v6(6, &TCP);
    let packet = IpPacket::parse(&plain).expect("plain");
    assert_eq!(
        (packet.traffic_class(), packet.next_layer_offset()),
        (0xb8, 40)
    );
    assert_eq!(packet.addresses(), [[0x20; 16], [0x30; 16]].concat());
    for cut in 0..plain.len() {
        assert!(IpPacket::parse(&plain[..cut]).is_err(), "{cut}");
    }
    // Hop-by-hop, then destination options, then TCP.
    let chain = v6(0, &[options(60, 1), options(6, 0), TCP.to_vec()].concat());
    let packet = IpPacket::parse(&chain).expect("a chain");
    assert_eq!(
        (packet.protocol(), packet.next_layer_offset()),
        (ProtocolNumber::TCP, 64)
    );
    assert_eq!(packet.flow_key().destination_port, 80);
    // Hop-by-hop anywhere else.
    refused(
        &v6(60, &[options(0, 0), options(6, 0), TCP.to_vec()].concat()),
        Malformed::ExtensionHeader,
    );
    // Eight are walked, not nine; 256 bytes, not more.
    let many = |count: usize| {
        let mut rest: Vec<u8> = (1..count).flat_map(|_| options(60, 0)).collect();
        rest.extend(options(6, 0));
        rest.extend(TCP);
        v6(60, &rest)
    };
    assert!(IpPacket::parse(&many(8)).is_ok());
    refused(&many(9), Malformed::ExtensionHeader);
    assert!(IpPacket::parse(&v6(60, &[options(6, 31), TCP.to_vec()].concat())).is_ok());
    refused(
        &v6(60, &[options(6, 32), TCP.to_vec()].concat()),
        Malformed::ExtensionHeader,
    );
    // Past the packet.
    refused(&v6(60, &options(6, 3)[..24]), Malformed::ExtensionHeader);
    refused(&v6(60, &[6, 0, 0]), Malformed::ExtensionHeader);
    // RFC 5095, unless nothing is left to visit.
    let mut routing = options(6, 2);
    routing[3] = 1;
    refused(
        &v6(43, &[routing.clone(), TCP.to_vec()].concat()),
        Malformed::RoutingHeader,
    );
    routing[3] = 0;
    assert!(IpPacket::parse(&v6(43, &[routing, TCP.to_vec()].concat())).is_ok());
    // A jumbogram.
    let mut jumbo = v6(0, &[0, 0, 0xc2, 4, 0, 1, 0, 0]);
    jumbo[4..6].fill(0);
    refused(&jumbo, Malformed::Length);
}

#[test]
fn ipv6_fragments() {
    let fragment = |units: u16, more: u16| {
        let field = (units << 3 | more).to_be_bytes();
        vec![6, 0, field[0], field[1], 0, 0, 0, 9]
    };
    let parse = |units, more, payload: &[u8]| {
        let packet = v6(44, &[&fragment(units, more)[..], payload].concat());
        IpPacket::parse(&packet).map(|packet| (packet.fragment(), packet.flow_key().has_next_layer))
    };
    // RFC 6946: offset 0 and no more is a whole packet.
    assert_eq!(parse(0, 0, &TCP), Ok((Fragment::None, true)));
    assert_eq!(parse(0, 1, &TCP), Ok((Fragment::First, true)));
    assert_eq!(parse(7, 1, &TCP), Ok((Fragment::Later { units: 7 }, false)));
    assert_eq!(parse(1, 0, &TCP), Err(Malformed::Fragment));
    assert_eq!(parse(0, 1, &TCP[..15]), Err(Malformed::Fragment));
    assert_eq!(parse(8_191, 0, &TCP), Err(Malformed::Fragment));
}

#[test]
fn flow_keys() {
    let key = |packet: &[u8]| IpPacket::parse(packet).expect("a packet").flow_key();
    let udp = key(&v4(17, 0, &[], &[0, 7, 1, 0, 0, 8, 0, 0]));
    assert_eq!((udp.source, udp.destination), (0x0a00_0001, 0x0a00_0002));
    assert_eq!(
        (udp.source_port, udp.destination_port, udp.has_next_layer),
        (7, 256, true)
    );
    let icmp = key(&v4(1, 0, &[], &[8, 3, 0, 0]));
    assert_eq!((icmp.source_port, icmp.has_next_layer), (0x0803, true));
    let icmp = key(&v6(58, &[128, 0, 0, 0]));
    assert_eq!((icmp.source_port, icmp.is_v6), (0x8000, true));
    // Too short to say: OPAQUE.
    assert!(!key(&v4(17, 0, &[], &[0, 7, 1])).has_next_layer);
    assert!(!key(&v4(1, 0, &[], &[8])).has_next_layer);
    assert!(!key(&v4(50, 0, &[], &[0; 40])).has_next_layer);
}

#[test]
fn the_head_alone_gives_the_same_key() {
    let payload = [&TCP[..], &[7; 1_000]].concat();
    for whole in [
        v4(6, 0, &[1; 8], &payload),
        v6(6, &payload),
        v6(60, &[&[6, 0, 1, 4, 0, 0, 0, 0][..], &payload].concat()),
    ] {
        let parsed = IpPacket::parse(&whole).expect("whole");
        let head = IpPacket::parse_head(&whole[..100], whole.len()).expect("head");
        assert_eq!(head.flow_key(), parsed.flow_key());
        assert_eq!(head.next_layer_offset(), parsed.next_layer_offset());
        assert_eq!(head.tcp_headers_len(), parsed.tcp_headers_len());
        assert!(
            IpPacket::parse_head(&whole[..100], whole.len() - 1).is_err(),
            "longer than the read"
        );
        for cut in 0..19 {
            assert!(IpPacket::parse_head(&whole[..cut], whole.len()).is_err());
        }
    }
}

fn exercise(data: &[u8], whole_len: usize) {
    for parsed in [IpPacket::parse(data), IpPacket::parse_head(data, whole_len)]
        .into_iter()
        .flatten()
    {
        let _ = (
            parsed.flow_key(),
            parsed.tcp_headers_len(),
            parsed.next_layer(),
            parsed.addresses(),
        );
        let _ = (
            parsed.traffic_class(),
            parsed.dont_fragment(),
            parsed.fragment(),
        );
        assert!(parsed.bytes().len() <= data.len());
        assert!(parsed.next_layer_offset() <= parsed.bytes().len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(mut data in vec(any::<u8>(), 0..120), version in 0u8..8, extra in 0usize..80) {
        if let Some(first) = data.first_mut() {
            match version {
                0..3 => *first = 0x40 | *first & 0xf,
                3..6 => *first = 0x60 | *first & 0xf,
                _ => {}
            }
        }
        let len = data.len();
        exercise(&data, len + extra);
        if len >= 20 && version < 3 {
            data[0] = 0x45 + version;
            data[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            let data = with_checksum(data);
            exercise(&data, len + extra);
        } else if len >= 40 && version < 6 {
            data[4..6].copy_from_slice(&(len as u16 - 40).to_be_bytes());
            data[6] = [0, 43, 44, 60, 6, 17][usize::from(version)];
            exercise(&data, len + extra);
        }
    }

    #[test]
    fn one_changed_byte_of_a_good_one(at in 0usize..80, value in any::<u8>(), which in 0usize..4, cut in 0usize..90) {
        let mut packet = match which {
            0 => v4(6, 0x2000, &[7, 4, 4, 0], &TCP),
            1 => v6(0, &[&[44u8, 0, 1, 4, 0, 0, 0, 0][..], &[60, 0, 0, 1, 0, 0, 0, 1], &[6, 0, 1, 4, 0, 0, 0, 0], &TCP].concat()),
            2 => v6(43, &[&[60u8, 0, 4, 0, 0, 0, 0, 0][..], &[17, 0, 1, 4, 0, 0, 0, 0], &[0; 8]].concat()),
            _ => v4(17, 0, &[], &[0; 12]),
        };
        let at = at % packet.len();
        packet[at] = value;
        if which == 0 || which == 3 {
            packet = with_checksum(packet);
        }
        let len = packet.len();
        exercise(&packet, len);
        exercise(&packet[..cut.min(len)], len);
    }
}
