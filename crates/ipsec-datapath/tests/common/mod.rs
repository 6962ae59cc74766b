//! What the test files share: vectors, SAs, and packets built the slow obvious way.
//!
//! Nothing here calls the code under test to compute an expectation: lengths, checksums and
//! trailers are written out again.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use ipsec_datapath::counters::Counters;
use ipsec_datapath::esp::{Content, encapsulate};
use ipsec_datapath::inbound::{InboundNotice, InboundScratch, InboundVerdict, open_run};
use ipsec_datapath::sad::sequence_number::UNBOUNDED;
use ipsec_datapath::sad::{InboundSa, InboundSaParameters, OutboundSa, OutboundSaParameters};
use ipsec_datapath::selector::{AddressRange, Selector};
use ipsec_datapath::suite::{HmacHash, IvKey, KeyMaterial, SuiteName};
use ipsec_datapath::transport::{Mode, Outer};
use ipsec_datapath::tunnel_header::{DontFragment, Encapsulation, TunnelHeader};
use ipsec_datapath::{Counter, DropReason};
use ipsec_wire::{Run, Slot};
use std::net::IpAddr;

/// SPI, sequence number and IV of an AEAD; written out, not taken from the code under test.
pub const FRONT: usize = 16;
/// What a read leaves free in front of its first cell.
pub const LEAD: usize = 64;
pub const ICV: usize = 16;
pub const SPI: u32 = 0x1122_3344;

pub fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "hex comes in pairs");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits"))
        .collect()
}

/// The `vectors` of a file of `test/vectors`, each file of which says its source.
pub fn vectors(file: &str) -> Vec<serde_json::Value> {
    let root = vector_file(file);
    assert!(
        root["source"]
            .as_str()
            .is_some_and(|source| !source.is_empty()),
        "{file} says its source"
    );
    root["vectors"].as_array().expect("vectors").clone()
}

pub fn vector_file(file: &str) -> serde_json::Value {
    let path = format!("{}/../../test/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    serde_json::from_str(&text).expect(&path)
}

pub fn text<'a>(vector: &'a serde_json::Value, field: &str) -> &'a str {
    vector[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} in {vector}"))
}

pub fn bytes(vector: &serde_json::Value, field: &str) -> Vec<u8> {
    hex(text(vector, field))
}

pub fn number(vector: &serde_json::Value, field: &str) -> u64 {
    let value = &vector[field];
    value.as_u64().unwrap_or_else(|| {
        let digits = value.as_str().expect("a number").trim_start_matches("0x");
        u64::from_str_radix(digits, 16).expect("a hex number")
    })
}

pub fn range(from: &str, to: &str) -> AddressRange {
    let (from, to): (IpAddr, IpAddr) =
        (from.parse().expect("address"), to.parse().expect("address"));
    AddressRange::new(from, to).expect("an ordered range")
}

pub fn tunnel() -> TunnelHeader {
    TunnelHeader {
        local: "192.0.2.1".parse().expect("address"),
        remote: "192.0.2.2".parse().expect("address"),
        encapsulation: Encapsulation::Udp {
            local_port: 4500,
            remote_port: 4500,
        },
        dont_fragment: DontFragment::Copy,
    }
}

/// One SA seen from both ends.
#[derive(Clone, Debug)]
pub struct Association {
    pub spi: u32,
    pub suite: SuiteName,
    pub key: Vec<u8>,
    pub extended: bool,
    pub window: u32,
    pub right_edge: u64,
    pub inbound_reserved: u64,
    pub first: u64,
    pub outbound_reserved: u64,
    pub tfc_pad_to_len: usize,
    pub selector: Selector,
    pub entry: String,
    pub mode: Mode,
    pub tunnel: TunnelHeader,
}

impl Default for Association {
    fn default() -> Self {
        Self {
            spi: SPI,
            suite: SuiteName::Aes128Gcm16,
            key: (0..20).collect(),
            extended: false,
            window: 64,
            right_edge: 0,
            inbound_reserved: UNBOUNDED,
            first: 1,
            outbound_reserved: UNBOUNDED,
            tfc_pad_to_len: 0,
            selector: Selector::default(),
            entry: "entry".into(),
            mode: Mode::Tunnel,
            tunnel: tunnel(),
        }
    }
}

/// IV, ICV and alignment, written out of RFC 4106, RFC 7634, RFC 3602, RFC 4868 and RFC 2404.
fn iv_icv_alignment(suite: SuiteName) -> (usize, usize, usize) {
    match suite {
        SuiteName::Aes128Gcm16 | SuiteName::Aes256Gcm16 | SuiteName::ChaCha20Poly1305 => (8, 16, 4),
        SuiteName::AesCbcHmac(_, HmacHash::Sha1) => (16, 12, 16),
        SuiteName::AesCbcHmac(_, HmacHash::Sha256) => (16, 16, 16),
        SuiteName::AesCbcHmac(_, HmacHash::Sha384) => (16, 24, 16),
        SuiteName::AesCbcHmac(_, HmacHash::Sha512) => (16, 32, 16),
    }
}

/// SPI, sequence number and IV.
pub fn front_len(suite: SuiteName) -> usize {
    8 + iv_icv_alignment(suite).0
}

/// Bytes of the ESP packet (RFC 4303 section 2) that `inner_len` bytes become.
pub fn sealed_len(suite: SuiteName, inner_len: usize, tfc: usize) -> usize {
    let (_, icv, alignment) = iv_icv_alignment(suite);
    let mut plaintext = inner_len.max(tfc) + 2;
    while !plaintext.is_multiple_of(alignment) {
        plaintext += 1;
    }
    front_len(suite) + plaintext + icv
}

impl Association {
    /// With a suite and a key for it.
    pub fn of(suite: SuiteName) -> Self {
        Self {
            suite,
            key: (0..suite.key_len() as u8).collect(),
            ..Default::default()
        }
    }

    pub fn outbound(&self) -> OutboundSa {
        OutboundSa::new(OutboundSaParameters {
            spi: self.spi,
            entry: self.entry.clone(),
            selector: self.selector.clone(),
            suite: self.suite,
            key: KeyMaterial::new(&self.key),
            iv_key: IvKey::from_random([0x3c; 32]),
            extended: self.extended,
            first_sequence_number: self.first,
            reserved_up_to: self.outbound_reserved,
            tfc_pad_to_len: self.tfc_pad_to_len,
            tunnel: self.tunnel,
            mode: self.mode,
        })
        .expect("an outbound SA")
    }

    pub fn inbound(&self) -> InboundSa {
        InboundSa::new(InboundSaParameters {
            spi: self.spi,
            entry: self.entry.clone(),
            selector: self.selector.clone(),
            suite: self.suite,
            key: KeyMaterial::new(&self.key),
            extended: self.extended,
            replay_window_packets: self.window,
            right_edge: self.right_edge,
            reserved_up_to: self.inbound_reserved,
            mode: self.mode,
        })
        .expect("an inbound SA")
    }
}

/// Seals one inner packet under a number of the test's choice.
pub fn seal(sa: &OutboundSa, sequence_number: u64, inner: &[u8], content: Content) -> Vec<u8> {
    let front = sa.sizes().front_len;
    let mut arena = vec![0xa5; front];
    arena.extend_from_slice(inner);
    arena.resize(sa.sealed_len(inner.len()), 0xa5);
    let mut slots = [Slot {
        start: front as u32,
        len: inner.len() as u32,
        cell_start: 0,
        cell_end: arena.len() as u32,
    }];
    let mut run = Run::new(&mut arena, &mut slots).expect("a slot in its arena");
    encapsulate(sa, &mut run, content, sequence_number).expect("sealed");
    run.packet(0).to_vec()
}

/// Packets one behind the other, a slot each.
pub fn arena_of(packets: &[Vec<u8>]) -> (Vec<u8>, Vec<Slot>) {
    let mut arena = Vec::new();
    let slots = packets
        .iter()
        .map(|packet| {
            let start = arena.len() as u32;
            arena.extend_from_slice(packet);
            Slot {
                start,
                len: packet.len() as u32,
                cell_start: start,
                cell_end: arena.len() as u32,
            }
        })
        .collect();
    (arena, slots)
}

/// What became of each packet of a run.
pub fn open_all(
    sa: &mut InboundSa,
    packets: &[Vec<u8>],
    outer_ecn: u8,
    counters: &Counters,
) -> (Vec<Result<Vec<u8>, DropReason>>, InboundNotice) {
    let (mut arena, mut slots) = arena_of(packets);
    let mut run = Run::new(&mut arena, &mut slots).expect("slots in their arena");
    let mut verdicts = vec![InboundVerdict::Drop(DropReason::SendFailed); packets.len()];
    let mut scratch = InboundScratch::default();
    let notice = open_run(
        sa,
        &mut run,
        &Outer::of_ecn(outer_ecn),
        &mut verdicts,
        (&mut scratch, counters, 7),
    );
    let outcome = verdicts
        .iter()
        .enumerate()
        .map(|(index, verdict)| match verdict {
            InboundVerdict::Deliver => Ok(run.packet(index).to_vec()),
            InboundVerdict::Drop(reason) => Err(*reason),
        })
        .collect();
    (outcome, notice)
}

pub fn open_one(
    sa: &mut InboundSa,
    packet: &[u8],
    outer_ecn: u8,
    counters: &Counters,
) -> Result<Vec<u8>, DropReason> {
    open_all(sa, &[packet.to_vec()], outer_ecn, counters)
        .0
        .remove(0)
}

/// All refusals, to see that one counter rose and no other.
pub fn drops(counters: &Counters) -> Vec<(&'static str, u64)> {
    DropReason::ALL
        .iter()
        .map(|reason| (reason.name(), counters.dropped(*reason)))
        .filter(|(_, count)| *count != 0)
        .collect()
}

pub fn counts(counters: &Counters) -> Vec<(&'static str, u64)> {
    Counter::ALL
        .iter()
        .map(|counter| (counter.name(), counters.value(*counter)))
        .filter(|(_, count)| *count != 0)
        .collect()
}

/// RFC 1071, word by word.
pub fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let all: Vec<u8> = parts.concat();
    let mut sum = 0u32;
    for pair in all.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !(sum as u16)
}

pub fn put16(packet: &mut [u8], at: usize, value: u16) {
    packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

pub fn is_v6(packet: &[u8]) -> bool {
    packet[0] >> 4 == 6
}

/// Bytes in front of the next layer, for packets without IPv6 extension headers.
pub fn ip_len(packet: &[u8]) -> usize {
    if is_v6(packet) {
        40
    } else {
        usize::from(packet[0] & 15) * 4
    }
}

pub fn next_protocol(packet: &[u8]) -> u8 {
    if is_v6(packet) { packet[6] } else { packet[9] }
}

/// The pseudo-header of RFC 9293 section 3.1 or RFC 8200 section 8.1, written out.
pub fn pseudo_header(packet: &[u8]) -> Vec<u8> {
    let upper = packet.len() - ip_len(packet);
    let protocol = next_protocol(packet);
    if is_v6(packet) {
        let mut pseudo = packet[8..40].to_vec();
        pseudo.extend_from_slice(&(upper as u32).to_be_bytes());
        pseudo.extend_from_slice(&[0, 0, 0, protocol]);
        pseudo
    } else {
        let mut pseudo = packet[12..20].to_vec();
        pseudo.extend_from_slice(&[0, protocol]);
        pseudo.extend_from_slice(&(upper as u16).to_be_bytes());
        pseudo
    }
}

/// Makes lengths and checksums of an IP packet with TCP or UDP in it right.
pub fn complete(packet: &mut [u8]) {
    let total = packet.len();
    let next = ip_len(packet);
    if is_v6(packet) {
        put16(packet, 4, (total - 40) as u16);
    } else {
        put16(packet, 2, total as u16);
        put16(packet, 10, 0);
        let sum = internet_checksum(&[&packet[..next]]);
        put16(packet, 10, sum);
    }
    match next_protocol(packet) {
        6 => {
            put16(packet, next + 16, 0);
            let sum = internet_checksum(&[&pseudo_header(packet), &packet[next..]]);
            put16(packet, next + 16, sum);
        }
        17 => {
            put16(packet, next + 4, (total - next) as u16);
            put16(packet, next + 6, 0);
            let sum = internet_checksum(&[&pseudo_header(packet), &packet[next..]]);
            // RFC 768: zero means none.
            put16(packet, next + 6, if sum == 0 { 0xffff } else { sum });
        }
        _ => {}
    }
}

/// Whether the TCP or UDP checksum is right: the sum over all is all ones.
pub fn next_checksum_is_right(packet: &[u8]) -> bool {
    internet_checksum(&[&pseudo_header(packet), &packet[ip_len(packet)..]]) == 0
}

pub fn ip_checksum_is_right(packet: &[u8]) -> bool {
    is_v6(packet) || internet_checksum(&[&packet[..ip_len(packet)]]) == 0
}

/// An IPv4 or IPv6 header with everything but lengths and checksums, which [`complete`] writes.
pub fn ip_header(v6: bool, protocol: u8, traffic_class: u8) -> Vec<u8> {
    if v6 {
        let mut header = vec![
            0x60 | traffic_class >> 4,
            traffic_class << 4,
            0x12,
            0x34,
            0,
            0,
            protocol,
            61,
        ];
        header.extend_from_slice(
            &"2001:db8:1::7"
                .parse::<std::net::Ipv6Addr>()
                .expect("v6")
                .octets(),
        );
        header.extend_from_slice(
            &"2001:db8:2::9"
                .parse::<std::net::Ipv6Addr>()
                .expect("v6")
                .octets(),
        );
        header
    } else {
        vec![
            0x45,
            traffic_class,
            0,
            0,
            0x77,
            0x01,
            0x40,
            0,
            61,
            protocol,
            0,
            0,
            10,
            1,
            0,
            7,
            10,
            2,
            0,
            9,
        ]
    }
}

/// A UDP packet with right lengths and checksums.
pub fn udp(v6: bool, traffic_class: u8, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut packet = ip_header(v6, 17, traffic_class);
    packet.extend_from_slice(&ports.0.to_be_bytes());
    packet.extend_from_slice(&ports.1.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(payload);
    complete(&mut packet);
    packet
}

/// What a TCP segment is made of.
#[derive(Clone, Debug)]
pub struct Tcp {
    pub v6: bool,
    pub traffic_class: u8,
    pub ports: (u16, u16),
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: u8,
    pub window: u16,
    pub ip_options: Vec<u8>,
    pub options: Vec<u8>,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            v6: false,
            traffic_class: 0,
            ports: (40_000, 443),
            sequence: 1_000,
            acknowledgment: 77,
            flags: 0x10,
            window: 502,
            ip_options: Vec::new(),
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        }
    }
}

impl Tcp {
    /// A whole packet; its lengths and checksums are right when it is below 64 KiB.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = ip_header(self.v6, 6, self.traffic_class);
        if !self.v6 {
            assert!(self.ip_options.len().is_multiple_of(4) && self.ip_options.len() <= 40);
            packet.extend_from_slice(&self.ip_options);
            packet[0] = 0x45 + (self.ip_options.len() / 4) as u8;
        }
        assert!(self.options.len().is_multiple_of(4) && self.options.len() <= 40);
        packet.extend_from_slice(&self.ports.0.to_be_bytes());
        packet.extend_from_slice(&self.ports.1.to_be_bytes());
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&self.acknowledgment.to_be_bytes());
        packet.push(((5 + self.options.len() / 4) as u8) << 4);
        packet.push(self.flags);
        packet.extend_from_slice(&self.window.to_be_bytes());
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(&self.options);
        packet.extend_from_slice(payload);
        complete(&mut packet);
        packet
    }
}

/// Bytes of all headers of a TCP or UDP packet.
pub fn headers_len(packet: &[u8]) -> usize {
    let next = ip_len(packet);
    next + if next_protocol(packet) == 6 {
        usize::from(packet[next + 12] >> 4) * 4
    } else {
        8
    }
}

/// The slow segmentation: one packet after the other from the super-packet's own headers.
pub fn slow_segments(super_packet: &[u8], segment_len: usize) -> Vec<Vec<u8>> {
    let headers = headers_len(super_packet);
    let next = ip_len(super_packet);
    let tcp = next_protocol(super_packet) == 6;
    let parts: Vec<&[u8]> = super_packet[headers..].chunks(segment_len).collect();
    let mut offset = 0u32;
    let mut segments = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let mut packet = super_packet[..headers].to_vec();
        packet.extend_from_slice(part);
        if !is_v6(&packet) {
            let id = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(index as u16);
            put16(&mut packet, 4, id);
        }
        if tcp {
            let sequence = u32::from_be_bytes(packet[next + 4..next + 8].try_into().expect("4"));
            packet[next + 4..next + 8]
                .copy_from_slice(&sequence.wrapping_add(offset).to_be_bytes());
            let mut flags = packet[next + 13];
            if index + 1 < parts.len() {
                flags &= !(0x01 | 0x08);
            }
            if index > 0 {
                flags &= !0x80;
            }
            packet[next + 13] = flags;
        }
        complete(&mut packet);
        offset = offset.wrapping_add(part.len() as u32);
        segments.push(packet);
    }
    segments
}

/// A small generator for bulk data; the seed comes from proptest or is written in the test.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
