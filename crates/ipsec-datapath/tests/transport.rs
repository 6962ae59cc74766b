//! Transport mode against the scapy matrix, the slow way, and what does not fit.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use ipsec_datapath::DropReason;
use ipsec_datapath::counters::Counters;
use ipsec_datapath::esp::{Content, encapsulate};
use ipsec_datapath::inbound::{InboundScratch, InboundVerdict, open_run};
use ipsec_datapath::segment::{Layout, Offload, segment};
use ipsec_datapath::suite::SuiteName;
use ipsec_datapath::transport::{Mode, Outer};
use ipsec_datapath::tunnel_header::{DontFragment, Encapsulation, TunnelHeader};
use ipsec_wire::{ProtocolNumber, Run, Slot};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ROOM: usize = 64;

fn ends(packet: &[u8]) -> (IpAddr, IpAddr) {
    if is_v6(packet) {
        let at = |at: usize| {
            let bytes: [u8; 16] = packet[at..at + 16].try_into().expect("16");
            IpAddr::V6(Ipv6Addr::from(bytes))
        };
        (at(8), at(24))
    } else {
        let at = |at: usize| {
            let bytes: [u8; 4] = packet[at..at + 4].try_into().expect("4");
            IpAddr::V4(Ipv4Addr::from(bytes))
        };
        (at(12), at(16))
    }
}

/// The SA between the two hosts of a packet.
fn between(packet: &[u8], suite: SuiteName) -> Association {
    let (local, remote) = ends(packet);
    Association {
        mode: Mode::Transport,
        tunnel: TunnelHeader {
            local,
            remote,
            encapsulation: Encapsulation::Esp,
            dont_fragment: DontFragment::Copy,
        },
        ..Association::of(suite)
    }
}

fn outer_of(packet: &[u8], in_udp: bool) -> Outer {
    let traffic_class = if is_v6(packet) {
        packet[0] << 4 | packet[1] >> 4
    } else {
        packet[1]
    };
    Outer {
        traffic_class,
        addresses: Some(ends(packet)),
        in_udp,
    }
}

/// Opens one ESP packet with room for an IP header in front.
fn open(association: &Association, esp: &[u8], outer: &Outer) -> Result<Vec<u8>, DropReason> {
    let mut arena = vec![0xee; ROOM];
    arena.extend_from_slice(esp);
    let mut slots = [Slot {
        start: ROOM as u32,
        len: esp.len() as u32,
        cell_start: 0,
        cell_end: arena.len() as u32,
    }];
    let mut run = Run::new(&mut arena, &mut slots).expect("a slot");
    let mut verdicts = [InboundVerdict::Deliver];
    let mut scratch = InboundScratch::default();
    let room = (&mut scratch, &Counters::default(), 1);
    open_run(
        &mut association.inbound(),
        &mut run,
        outer,
        &mut verdicts,
        room,
    );
    match verdicts[0] {
        InboundVerdict::Deliver => Ok(run.packet(0).to_vec()),
        InboundVerdict::Drop(reason) => Err(reason),
    }
}

/// Without what does not travel inside: IPv4 options, extension headers outside, identification and flags, TTL or Hop Limit, the flow
/// label.
fn as_delivered(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if is_v6(&packet) {
        // Scapy leaves destination options outside too.
        while matches!(packet[6], 0 | 60) {
            packet[6] = packet[40];
            let len = 8 * (usize::from(packet[41]) + 1);
            packet.drain(40..40 + len);
            let payload_len = packet.len() as u16 - 40;
            put16(&mut packet, 4, payload_len);
        }
        packet[1] &= 0xf0;
        packet[2..4].fill(0);
        packet[7] = 64;
    } else {
        packet.drain(20..ip_len(packet.as_slice()));
        packet[0] = 0x45;
        let len = packet.len() as u16;
        put16(&mut packet, 2, len);
        packet[4..8].copy_from_slice(&[0, 0, 0x40, 0]);
        packet[8] = 64;
        packet[10..12].fill(0);
        let sum = internet_checksum(&[&packet[..20]]);
        put16(&mut packet, 10, sum);
    }
    packet
}

/// Segments what a TUN read brought and seals it; the packets as they leave, and whether they lie one
/// behind the other.
fn seal_read(
    association: &Association,
    packet: &[u8],
    layout: &Layout,
    offload: Offload,
) -> Result<(Vec<Vec<u8>>, bool), DropReason> {
    let sa = association.outbound();
    let mut arena = vec![0x5a; 300_000];
    let at = layout.first_packet();
    arena[at..at + packet.len()].copy_from_slice(packet);
    let mut slots = vec![Slot::default(); 1_024];
    let done = segment(
        &mut arena,
        &mut slots,
        (layout, 1, packet.len()),
        offload,
        &sa,
    )?;
    let slots = &mut slots[..done.packets];
    let mut run = Run::new(&mut arena, slots).expect("slots");
    encapsulate(&sa, &mut run, done.content, 1).map_err(|(_, reason)| reason)?;
    let together = run
        .slots()
        .windows(2)
        .all(|pair| pair[0].start + pair[0].len == pair[1].start);
    let sealed = (0..run.len())
        .map(|index| run.packet(index).to_vec())
        .collect();
    Ok((sealed, together))
}

#[test]
fn scapy_matrix() {
    let (mut opened, mut natted) = (0, 0);
    for vector in vectors("esp-ah-scapy-matrix.json") {
        if text(&vector, "mode") != "transport" || text(&vector, "proto") != "esp" {
            continue;
        }
        let id = text(&vector, "id");
        let key = [
            bytes(&vector, "enc_key"),
            vector["auth_key"].as_str().map_or_else(Vec::new, hex),
        ]
        .concat();
        let name = match (text(&vector, "cipher"), vector["integrity"].as_str()) {
            ("AES-GCM", _) if key.len() == 20 => "aes128gcm16".to_owned(),
            ("AES-GCM", _) => "aes256gcm16".to_owned(),
            ("CHACHA20-POLY1305", _) => "chacha20poly1305".to_owned(),
            ("AES-CBC", Some(integrity)) => {
                let hash = match integrity {
                    "HMAC-SHA1-96" => "sha1",
                    "SHA2-256-128" => "sha256",
                    "SHA2-384-192" => "sha384",
                    "SHA2-512-256" => "sha512",
                    _ => continue,
                };
                format!("aes{}-{hash}", bytes(&vector, "enc_key").len() * 8)
            }
            _ => continue,
        };
        let suite = SuiteName::from_name(&name).expect(&name);
        let wire = bytes(&vector, "wire_packet");
        let esp = &wire[number(&vector, "esp_offset") as usize..];
        let inner = bytes(&vector, "inner_packet");
        let extended = vector["esn"].as_bool().expect("esn");
        let sequence = vector["seq_hi"].as_u64().unwrap_or(0) << 32 | number(&vector, "seq");
        let association = Association {
            spi: number(&vector, "spi") as u32,
            suite,
            key,
            extended,
            right_edge: sequence - 1,
            ..between(&inner, suite)
        };
        let in_udp = vector["nat_t"].as_bool().expect("nat_t");
        natted += usize::from(in_udp);
        let outcome = open(&association, esp, &outer_of(&wire, in_udp)).expect(id);
        // Scapy may write a Traffic Class outside that is not the inner one.
        let mut wanted = inner.clone();
        if is_v6(&wanted) {
            wanted[..2].copy_from_slice(&wire[..2]);
        } else {
            wanted[1] = wire[1];
        }
        assert_eq!(outcome, as_delivered(&wanted), "{id}");
        opened += 1;
        // An SA of tunnel mode does not take it.
        let tunnel_mode = Association {
            mode: Mode::Tunnel,
            ..association
        };
        let refused = open(&tunnel_mode, esp, &outer_of(&wire, in_udp));
        assert_eq!(refused, Err(DropReason::Mode), "{id}");
    }
    assert_eq!(opened, 19 + 22);
    assert_eq!(natted, 4);
}

#[test]
fn super_packets_leave_as_the_slow_segmentation_says() {
    let mut random = Random(11);
    for round in 0..400 {
        let v6 = round % 2 == 1;
        let suite = *random.pick(SuiteName::ALL);
        let payload_len = 1 + random.below(40_000) as usize;
        let payload = random.bytes(payload_len);
        let packet = if random.chance(2) {
            let mut packet = udp(v6, 0, (7, 8), &[]);
            packet.extend_from_slice(&payload);
            complete(&mut packet);
            packet
        } else {
            Tcp {
                v6,
                ..Tcp::default()
            }
            .packet(&payload)
        };
        let is_tcp = next_protocol(&packet) == 6;
        let segment_len = 200 + random.below(1_300) as usize;
        let association = between(&packet, suite);
        let sa = association.outbound();
        let (headers, outside) = (headers_len(&packet), ip_len(&packet));
        let layout = match random.below(3) {
            // Where such packets were read before, after tunnel mode, and after another suite.
            0 => Layout::outside(&sa, outside, headers, segment_len),
            1 => Layout::of(&sa, 52, 1_386),
            _ => {
                let other = Association::of(*random.pick(SuiteName::ALL)).outbound();
                Layout::outside(&other, 40, 72, 1_000)
            }
        };
        let offload = if is_tcp {
            Offload::Tcp { segment_len }
        } else {
            Offload::Udp { segment_len }
        };
        let (sealed, together) =
            seal_read(&association, &packet, &layout, offload).expect("sealed");
        assert!(together, "one send carries them");
        let wanted = slow_segments(&packet, segment_len);
        assert_eq!(sealed.len(), wanted.len());
        let peer = Association {
            window: 64,
            ..association
        };
        for (index, (esp, wanted)) in sealed.iter().zip(&wanted).enumerate() {
            let upper_len = wanted.len() - outside;
            assert_eq!(esp.len(), sealed_len(suite, upper_len, 0));
            let delivered = open(&peer, esp, &outer_of(wanted, false)).expect("authentic");
            assert!(
                delivered == as_delivered(wanted),
                "{suite:?} packet {index}"
            );
            assert!(next_checksum_is_right(&delivered));
        }
    }
}

#[test]
fn a_lone_packet_of_any_protocol() {
    for suite in SuiteName::ALL.iter().copied() {
        for v6 in [false, true] {
            for protocol in [1u8, 6, 17, 47, 58, 60, 89, 132] {
                let mut packet = ip_header(v6, protocol, 0xb9);
                // Destination options are a header like the rest, behind ESP; 59 ends the chain.
                packet.extend_from_slice(&[59, 0, 1, 4, 0, 0, 0, 0]);
                packet.extend_from_slice(&[0x5c; 41]);
                if !v6 {
                    packet[6] = 0x40;
                }
                complete(&mut packet);
                let association = Association {
                    // It would say nothing of its own length.
                    tfc_pad_to_len: 900,
                    ..between(&packet, suite)
                };
                let layout = Layout::of(&association.outbound(), 40, 1_000);
                let offload = Offload::None { checksum: None };
                let (sealed, _) =
                    seal_read(&association, &packet, &layout, offload).expect("sealed");
                let outside = ip_len(&packet);
                assert_eq!(
                    sealed[0].len(),
                    sealed_len(suite, packet.len() - outside, 0)
                );
                let delivered = open(&association, &sealed[0], &outer_of(&packet, false));
                let mut wanted = as_delivered(&packet);
                if v6 && protocol == 60 {
                    // These were behind ESP, and are still there.
                    wanted = packet.clone();
                    wanted[1] &= 0xf0;
                    wanted[2..4].fill(0);
                    wanted[7] = 64;
                }
                assert_eq!(delivered, Ok(wanted), "{suite:?} {protocol}");
            }
        }
    }
}

/// RFC 3948 section 3.1.2: a NAT changed the addresses that the checksum covers.
#[test]
fn checksums_behind_a_nat_are_made_right() {
    let suite = SuiteName::Aes256Gcm16;
    for v6 in [false, true] {
        for tcp in [false, true] {
            let packet = if tcp {
                Tcp {
                    v6,
                    ..Tcp::default()
                }
                .packet(b"odd")
            } else {
                udp(v6, 0, (1, 2), b"odd")
            };
            let association = between(&packet, suite);
            let layout = Layout::of(&association.outbound(), 40, 1_000);
            let offload = Offload::None { checksum: None };
            let (sealed, _) = seal_read(&association, &packet, &layout, offload).expect("sealed");
            let public = if v6 { "2001:db8:aa::1" } else { "198.51.100.7" };
            let (_, destination) = ends(&packet);
            let mut outer = Outer {
                addresses: Some((public.parse().expect("an address"), destination)),
                ..outer_of(&packet, true)
            };
            let delivered = open(&association, &sealed[0], &outer).expect("delivered");
            assert_eq!(ends(&delivered).0.to_string(), public);
            assert!(next_checksum_is_right(&delivered), "v6 {v6}, tcp {tcp}");
            // Without UDP there is no NAT, and the sender's own checksum is the receiver's to judge.
            outer.in_udp = false;
            let delivered = open(&association, &sealed[0], &outer).expect("delivered");
            assert!(!next_checksum_is_right(&delivered));
        }
    }
    // RFC 768: no checksum stays none.
    let mut packet = udp(false, 0, (1, 2), b"none");
    put16(&mut packet, 26, 0);
    let association = between(&packet, suite);
    let layout = Layout::of(&association.outbound(), 40, 1_000);
    let offload = Offload::None { checksum: None };
    let (sealed, _) = seal_read(&association, &packet, &layout, offload).expect("sealed");
    let delivered = open(&association, &sealed[0], &outer_of(&packet, true)).expect("delivered");
    assert_eq!(delivered[26..28], [0, 0]);
}

#[test]
fn what_transport_mode_cannot_carry_is_refused() {
    let refused = Err(DropReason::NotTransportable);
    let seal = |packet: &[u8], association: &Association| {
        let layout = Layout::of(&association.outbound(), 40, 1_000);
        let offload = Offload::None { checksum: None };
        seal_read(association, packet, &layout, offload).map(|_| ())
    };
    let good = udp(false, 0, (1, 2), b"good");
    let association = between(&good, SuiteName::Aes128Gcm16);
    assert_eq!(seal(&good, &association), Ok(()));
    for field in [0x2000u16, 0x0003] {
        let mut fragment = good.clone();
        put16(&mut fragment, 6, field);
        assert_eq!(seal(&fragment, &association), refused);
    }
    let options = Tcp {
        ip_options: vec![1; 4],
        ..Tcp::default()
    }
    .packet(b"x");
    assert_eq!(seal(&options, &association), refused);
    let offload = Offload::Tcp { segment_len: 1 };
    let layout = Layout::of(&association.outbound(), 40, 1_000);
    assert_eq!(
        seal_read(&association, &options, &layout, offload).map(drop),
        refused
    );
    let mut stranger = good.clone();
    stranger[15] ^= 1;
    assert_eq!(seal(&stranger, &association), refused);
    let mut elsewhere = good.clone();
    elsewhere[19] ^= 1;
    assert_eq!(seal(&elsewhere, &association), refused);
    // RFC 4303 section 3.1.1: hop-by-hop, routing and fragment headers go in front of ESP.
    for (header, fits) in [(0u8, false), (43, false), (44, false), (60, true)] {
        let mut packet = ip_header(true, header, 0);
        let extension: [u8; 8] = match header {
            44 => [17, 0, 0, 1, 0, 0, 0, 1],
            43 => [17, 0, 4, 0, 0, 0, 0, 0],
            _ => [17, 0, 1, 4, 0, 0, 0, 0],
        };
        packet.extend_from_slice(&extension);
        packet.extend_from_slice(&[0, 1, 0, 2, 0, 8, 0, 0]);
        put16(&mut packet, 4, 16);
        let association = between(&packet, SuiteName::Aes128Gcm16);
        let wanted = if fits { Ok(()) } else { refused };
        assert_eq!(seal(&packet, &association), wanted, "{header}");
    }
}

#[test]
fn what_comes_in_is_checked() {
    let packet = udp(false, 0, (1, 2), b"checked");
    let association = between(&packet, SuiteName::Aes128Gcm16);
    let sa = association.outbound();
    let outer = outer_of(&packet, false);
    let upper = &packet[20..];
    let sealed = |content| seal(&sa, 1, upper, content);
    assert_eq!(
        open(
            &association,
            &sealed(Content::Payload(ProtocolNumber::UDP)),
            &outer
        )
        .map(drop),
        Ok(())
    );
    assert_eq!(
        open(&association, &sealed(Content::Dummy), &outer),
        Err(DropReason::Dummy)
    );
    // RFC 4303 section 3.1.1: of IPv6 these go in front of ESP; of IPv4 they are numbers like others.
    for header in [
        ProtocolNumber::HOP_BY_HOP,
        ProtocolNumber::ROUTING,
        ProtocolNumber::FRAGMENT,
    ] {
        let six = outer_of(&udp(true, 0, (1, 2), b""), false);
        let esp = sealed(Content::Payload(header));
        assert_eq!(open(&association, &esp, &six), Err(DropReason::Mode));
        assert_eq!(open(&association, &esp, &outer).map(drop), Ok(()));
    }
    // The selectors are held against the addresses that it came with.
    let esp = sealed(Content::Payload(ProtocolNumber::UDP));
    let narrow = Association {
        selector: ipsec_datapath::selector::Selector {
            remote: vec![range("10.1.0.7", "10.1.0.7")],
            ..Default::default()
        },
        ..association.clone()
    };
    assert_eq!(open(&narrow, &esp, &outer).map(drop), Ok(()));
    let spoofed = Outer {
        addresses: Some(("10.1.0.8".parse().unwrap(), ends(&packet).1)),
        ..outer
    };
    assert_eq!(
        open(&narrow, &esp, &spoofed),
        Err(DropReason::SelectorMismatch)
    );
    // Without addresses there is no packet; nor where there is no room for its header.
    let nowhere = Outer {
        addresses: None,
        ..outer
    };
    assert_eq!(open(&association, &esp, &nowhere), Err(DropReason::Mode));
    assert_eq!(
        open_one(&mut association.inbound(), &esp, 0, &Counters::default()),
        Err(DropReason::Mode)
    );
}
