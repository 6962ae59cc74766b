//! AES-CBC with HMAC: RFC 3602's own packets, scapy's, forged and malformed ones, and the IVs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use ipsec_datapath::DropReason::{self, *};
use ipsec_datapath::counters::Counters;
use ipsec_datapath::esp::Content;
use ipsec_datapath::suite::{
    AesKey, CbcHmacSealer, HmacHash, IvKey, KeyMaterial, Sequence, SuiteName,
};
use ring::hmac;
use std::collections::HashSet;

const SUITES: [(AesKey, usize); 3] = [
    (AesKey::Aes128, 16),
    (AesKey::Aes192, 24),
    (AesKey::Aes256, 32),
];
/// Key and ICV bytes, written out of RFC 4868 and RFC 2404.
const HASHES: [(HmacHash, usize, usize); 4] = [
    (HmacHash::Sha1, 20, 12),
    (HmacHash::Sha256, 32, 16),
    (HmacHash::Sha384, 48, 24),
    (HmacHash::Sha512, 64, 32),
];

fn sealer(aes: AesKey, hash: HmacHash, key: &[u8]) -> CbcHmacSealer {
    let iv_key = IvKey::from_random([9; 32]);
    CbcHmacSealer::new(aes, hash, &KeyMaterial::new(key), &iv_key).expect("key length")
}

fn algorithm(hash: HmacHash) -> hmac::Algorithm {
    match hash {
        HmacHash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        HmacHash::Sha256 => hmac::HMAC_SHA256,
        HmacHash::Sha384 => hmac::HMAC_SHA384,
        HmacHash::Sha512 => hmac::HMAC_SHA512,
    }
}

/// Makes the ICV of these bytes right, whatever they are.
fn with_icv(association: &Association, covered: &[u8]) -> Vec<u8> {
    let SuiteName::AesCbcHmac(_, hash) = association.suite else {
        panic!("an HMAC suite");
    };
    let (_, key_len, icv_len) = HASHES[HASHES.iter().position(|row| row.0 == hash).unwrap()];
    let key = &association.key[association.key.len() - key_len..];
    let tag = hmac::sign(&hmac::Key::new(algorithm(hash), key), covered);
    [covered, &tag.as_ref()[..icv_len]].concat()
}

/// An authentic packet with this plaintext, trailer included, of whole blocks.
fn authentic(association: &Association, number: u64, plaintext: &[u8]) -> Vec<u8> {
    let SuiteName::AesCbcHmac(aes, hash) = association.suite else {
        panic!("an HMAC suite");
    };
    let icv_len = HASHES.iter().find(|row| row.0 == hash).unwrap().2;
    let mut packet = [
        &association.spi.to_be_bytes()[..],
        &(number as u32).to_be_bytes(),
        &[0; 16],
        plaintext,
        &vec![0; icv_len],
    ]
    .concat();
    let sequence = Sequence {
        number,
        extended: association.extended,
    };
    sealer(aes, hash, &association.key)
        .seal_with_iv(sequence, [7; 16], &mut packet)
        .expect("whole blocks");
    packet
}

fn hmac_suites() -> impl Iterator<Item = SuiteName> {
    SUITES.into_iter().flat_map(|(aes, _)| {
        HASHES
            .into_iter()
            .map(move |(hash, ..)| SuiteName::AesCbcHmac(aes, hash))
    })
}

#[test]
fn every_pair_has_a_name_and_the_key_of_its_rfcs() {
    for (aes, bits) in [("aes128", 0), ("aes192", 1), ("aes256", 2)] {
        for (hash, row) in [("sha1", 0), ("sha256", 1), ("sha384", 2), ("sha512", 3)] {
            let suite = SuiteName::from_name(&format!("{aes}-{hash}")).expect("a suite");
            assert_eq!(suite, SuiteName::AesCbcHmac(SUITES[bits].0, HASHES[row].0));
            assert_eq!(suite.key_len(), SUITES[bits].1 + HASHES[row].1);
            assert_eq!(suite.sizes().icv_len, HASHES[row].2);
            assert!(SuiteName::ALL.contains(&suite));
        }
    }
    assert_eq!(SuiteName::ALL.len(), 15);
    for other in ["aes192gcm16", "aes256", "aes256-md5", ""] {
        assert_eq!(SuiteName::from_name(other), None);
    }
}

/// Cases 1 to 4 are CBC alone, 5 to 8 whole ESP packets without an ICV.
#[test]
fn rfc_3602_section_4() {
    let all = vectors("esp-aes-cbc-rfc3602.json");
    let (mut raw, mut esp) = (0, 0);
    for vector in &all {
        let id = text(vector, "id");
        let key = [bytes(vector, "key"), vec![3; 32]].concat();
        let iv: [u8; 16] = bytes(vector, "iv").try_into().expect("a block");
        let plaintext = bytes(vector, "plaintext");
        let sealer = sealer(AesKey::Aes128, HmacHash::Sha256, &key);
        let (spi, number) = if text(vector, "kind") == "raw-cbc" {
            raw += 1;
            (0x1234, 1)
        } else {
            esp += 1;
            (number(vector, "spi") as u32, number(vector, "seq"))
        };
        let head = [&spi.to_be_bytes()[..], &(number as u32).to_be_bytes()].concat();
        let mut packet = [&head[..], &[0; 16], &plaintext, &[0; 16]].concat();
        let sequence = Sequence {
            number,
            extended: false,
        };
        sealer.seal_with_iv(sequence, iv, &mut packet).expect(id);
        let covered = &packet[..packet.len() - 16];
        let wanted = [&head[..], &iv, &bytes(vector, "ciphertext")].concat();
        assert_eq!(covered, wanted, "{id}");
        if vector["esp_packet"].is_string() {
            assert_eq!(covered, bytes(vector, "esp_packet"), "{id}");
        }
        if text(vector, "kind") == "esp-tunnel" {
            // With an ICV of the HMAC library's, the RFC's packet is opened to its inner one.
            let association = Association {
                spi,
                suite: SuiteName::AesCbcHmac(AesKey::Aes128, HmacHash::Sha256),
                key: key.clone(),
                ..Default::default()
            };
            let packet = with_icv(&association, &bytes(vector, "esp_packet"));
            let counters = Counters::default();
            let opened = open_one(&mut association.inbound(), &packet, 0, &counters);
            assert_eq!(opened, Ok(bytes(vector, "inner_packet")), "{id}");
        }
    }
    assert_eq!((raw, esp), (4, 4));
}

#[test]
fn scapy_matrix() {
    let (mut tunnel, mut transport, mut extended_count) = (0, 0, 0);
    for vector in vectors("esp-ah-scapy-matrix.json") {
        if vector["cipher"].as_str() != Some("AES-CBC") {
            continue;
        }
        let id = text(&vector, "id");
        let hash = match text(&vector, "integrity") {
            "HMAC-SHA1-96" => HmacHash::Sha1,
            "SHA2-256-128" => HmacHash::Sha256,
            "SHA2-384-192" => HmacHash::Sha384,
            "SHA2-512-256" => HmacHash::Sha512,
            _ => continue,
        };
        let encryption = bytes(&vector, "enc_key");
        let aes = SUITES
            .iter()
            .find(|row| row.1 == encryption.len())
            .unwrap()
            .0;
        let key = [encryption, bytes(&vector, "auth_key")].concat();
        let extended = vector["esn"].as_bool().expect("esn");
        let sequence = vector["seq_hi"].as_u64().unwrap_or(0) << 32 | number(&vector, "seq");
        let wire = bytes(&vector, "wire_packet");
        let packet = &wire[number(&vector, "esp_offset") as usize..];
        let ecn = if is_v6(&wire) { wire[1] >> 4 } else { wire[1] } & 3;
        let association = Association {
            spi: number(&vector, "spi") as u32,
            suite: SuiteName::AesCbcHmac(aes, hash),
            key: key.clone(),
            extended,
            right_edge: sequence - 1,
            ..Default::default()
        };
        let counters = Counters::default();
        let opened = open_one(&mut association.inbound(), packet, ecn, &counters);
        if text(&vector, "mode") == "transport" {
            assert_eq!(opened, Err(Mode), "{id}");
            transport += 1;
            continue;
        }
        let inner = bytes(&vector, "inner_packet");
        assert_eq!(opened.as_ref(), Ok(&inner), "{id}");
        if extended {
            extended_count += 1;
            let wrong = Association {
                right_edge: (sequence ^ (1 << 32)) - 1,
                ..association.clone()
            };
            let refused = open_one(&mut wrong.inbound(), packet, ecn, &counters);
            assert_eq!(refused, Err(Integrity), "{id}: the high half is covered");
        }
        // Trailer by RFC 4303 section 2.4, written out.
        let mut plaintext = inner.clone();
        let mut pad = 0u8;
        while !(plaintext.len() + 2).is_multiple_of(16) {
            pad += 1;
            plaintext.push(pad);
        }
        plaintext.extend_from_slice(&[pad, if is_v6(&inner) { 41 } else { 4 }]);
        let mut sealed = [&packet[..24], &plaintext].concat();
        sealed.resize(packet.len(), 0);
        let iv = bytes(&vector, "iv").try_into().expect("a block");
        let number = Sequence {
            number: sequence,
            extended,
        };
        sealer(aes, hash, &key)
            .seal_with_iv(number, iv, &mut sealed)
            .expect(id);
        assert_eq!(sealed, packet, "{id}");
        tunnel += 1;
    }
    assert_eq!((tunnel, transport), (36, 22));
    assert!(extended_count > 10, "{extended_count}");
}

#[test]
fn what_we_seal_the_peer_opens_and_any_changed_bit_is_refused() {
    let mut random = Random(7);
    for suite in hmac_suites() {
        for extended in [false, true] {
            let association = Association {
                extended,
                ..Association::of(suite)
            };
            let sa = association.outbound();
            for len in [0usize, 1, 13, 14, 15, 16, 17, 1_400] {
                let inner = udp(len % 2 == 1, 0, (1, 2), &random.bytes(len));
                let packet = seal(&sa, 1, &inner, Content::Ip);
                assert_eq!(packet.len(), sealed_len(suite, inner.len(), 0));
                let counters = Counters::default();
                let opened = open_one(&mut association.inbound(), &packet, 0, &counters);
                assert_eq!(opened, Ok(inner), "{suite:?} {len}");
                // SPI, sequence number and IV are covered, and so are ciphertext and ICV.
                for bit in (0..packet.len() * 8).step_by(if len == 0 { 1 } else { 97 }) {
                    let mut wrong = packet.clone();
                    wrong[bit / 8] ^= 1 << (bit % 8);
                    let counters = Counters::default();
                    let mut peer = association.inbound();
                    let refused = open_one(&mut peer, &wrong, 0, &counters);
                    // RFC 4303 section 2.2: 0 is never sent, and the window knows it.
                    let number_zero = wrong[4..8] == [0; 4];
                    let wanted = if number_zero { ReplayTooOld } else { Integrity };
                    assert_eq!(refused, Err(wanted), "{suite:?} bit {bit}");
                    assert_eq!(peer.right_edge(), 0, "the window did not move");
                }
            }
        }
    }
}

#[test]
fn malformed_and_authentic() {
    let whole = udp(false, 0, (1, 2), b"twelve bytes");
    for suite in hmac_suites() {
        let association = Association::of(suite);
        let icv_len = suite.sizes().icv_len;
        let plaintext = |tail: &[u8]| [&whole[..], tail].concat();
        let with_trailer = plaintext(&[1, 2, 3, 4, 5, 6, 6, 4]);
        assert_eq!(with_trailer.len(), 48);
        let good = authentic(&association, 1, &with_trailer);
        let front = &good[..24];
        let rows: Vec<(&str, Vec<u8>, Result<(), DropReason>)> = vec![
            ("right", good.clone(), Ok(())),
            (
                "Pad Length beyond the payload",
                authentic(&association, 1, &[&[0; 14][..], &[255, 4]].concat()),
                Err(Padding),
            ),
            (
                "Pad Length one beyond the payload",
                authentic(&association, 1, &[&[0; 14][..], &[15, 4]].concat()),
                Err(Padding),
            ),
            (
                "padding of zeroes",
                authentic(&association, 1, &plaintext(&[0, 0, 0, 0, 0, 0, 6, 4])),
                Err(Padding),
            ),
            (
                "one wrong byte of padding",
                authentic(&association, 1, &plaintext(&[1, 2, 3, 4, 5, 7, 6, 4])),
                Err(Padding),
            ),
            (
                "nothing but padding",
                authentic(
                    &association,
                    1,
                    &[&(1..=14).collect::<Vec<u8>>()[..], &[14, 4]].concat(),
                ),
                Err(MalformedInner),
            ),
            (
                "a Next Header that is not IP",
                authentic(&association, 1, &plaintext(&[1, 2, 3, 4, 5, 6, 6, 17])),
                Err(Mode),
            ),
            (
                "a dummy",
                authentic(&association, 1, &plaintext(&[1, 2, 3, 4, 5, 6, 6, 59])),
                Err(Dummy),
            ),
            // RFC 3602 section 2.4: whole blocks; the ICV is right over these.
            (
                "half a block",
                with_icv(&association, &[front, &[5; 24]].concat()),
                Err(Padding),
            ),
            (
                "two bytes",
                with_icv(&association, &[front, &[5; 2]].concat()),
                Err(Padding),
            ),
            ("no payload", with_icv(&association, front), Err(Short)),
            (
                "half an IV",
                with_icv(&association, &good[..16]),
                Err(Short),
            ),
            ("header alone", good[..8].to_vec(), Err(Short)),
            (
                "an ICV that is too short",
                good[..good.len() - 1].to_vec(),
                Err(Integrity),
            ),
            (
                "bytes behind the ICV",
                [&good[..], &[0]].concat(),
                Err(Integrity),
            ),
            (
                "bad padding and a bad ICV: the ICV is looked at first",
                {
                    let mut bad = authentic(&association, 1, &[255; 32]);
                    let last = bad.len() - icv_len;
                    bad[last] ^= 1;
                    bad
                },
                Err(Integrity),
            ),
            (
                "half a block and a bad ICV",
                [front, &[5; 24], &vec![0; icv_len]].concat(),
                Err(Integrity),
            ),
        ];
        for (what, packet, wanted) in rows {
            let counters = Counters::default();
            let mut peer = association.inbound();
            let outcome = open_one(&mut peer, &packet, 0, &counters);
            assert_eq!(outcome.map(drop), wanted, "{suite:?}: {what}");
            // Whatever was authentic moves the window, and nothing else does.
            let moves = !matches!(wanted, Err(Short | Integrity));
            assert_eq!(peer.right_edge() != 0, moves, "{suite:?}: {what}");
            if moves {
                let again = open_one(&mut peer, &packet, 0, &counters);
                assert_eq!(again, Err(ReplayDuplicate), "{suite:?}: {what}");
                // The window is asked before the ICV: a wrong one is not even computed.
                let mut wrong = packet.clone();
                *wrong.last_mut().unwrap() ^= 1;
                let again = open_one(&mut peer, &wrong, 0, &counters);
                assert_eq!(again, Err(ReplayDuplicate), "{suite:?}: {what}");
            }
        }
    }
}

/// RFC 3602 section 3: the next IV is not to be told from the earlier ones.
#[test]
fn ivs_are_the_forward_cipher_over_the_number() {
    let association = Association {
        extended: true,
        ..Association::of(SuiteName::from_name("aes128-sha256").unwrap())
    };
    let sa = association.outbound();
    let inner = udp(false, 0, (1, 2), b"x");
    let mut seen = HashSet::new();
    for number in (1..2_000).chain((1u64 << 32) - 5..(1 << 32) + 5) {
        let packet = seal(&sa, number, &inner, Content::Ip);
        let iv: [u8; 16] = packet[8..24].try_into().expect("16");
        // The other half of AES gives the number back, under the key of the IVs and no other.
        use aes::cipher::{BlockCipherDecrypt, KeyInit};
        let mut block = aes::cipher::Array::from(iv);
        aes::Aes256Dec::new(&[0x3c; 32].into()).decrypt_block(&mut block);
        assert_eq!(u128::from_be_bytes(block.into()), u128::from(number));
        assert!(seen.insert(iv), "IV of {number} was there");
    }
    // Another SA with the same key has other IVs.
    let again = sealer(AesKey::Aes128, HmacHash::Sha256, &association.key);
    assert!(
        !seen.contains(&iv_of(&again)),
        "the IVs are those of the IV key"
    );
}

fn iv_of(sealer: &CbcHmacSealer) -> [u8; 16] {
    let mut packet = vec![0; 24 + 16 + 16];
    let sequence = Sequence {
        number: 1,
        extended: true,
    };
    ipsec_datapath::suite::CbcHmacSealer::seal_packet(sealer, sequence, &mut packet)
        .expect("sealed");
    packet[8..24].try_into().expect("16")
}
