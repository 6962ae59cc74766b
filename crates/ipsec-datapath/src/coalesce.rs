//! Pieces of one TCP stream into one super-packet, under the rules of the kernel's own GRO: the
//! first packet's headers and then payloads where they lie, so one gathering write carries all.

use crate::limits::{COALESCE_GROUPS_MAX, COALESCE_PIECES_MAX, PACKET_LEN_MAX};
use ipsec_wire::checksum::pseudo_header;
use ipsec_wire::{IpPacket, ProtocolNumber, Slot, ipv4, ipv6, tcp};

/// One packet or super-packet to write to the TUN.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The first packet, whose headers speak for all.
    pub first: Slot,
    /// Payloads behind it, in order.
    pub rest: Vec<(u32, u32)>,
    /// What the virtio-net header has to say; `None` for a lone packet.
    pub merged: Option<Merged>,
}

/// Measures of a super-packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// IPv6 rather than IPv4.
    pub is_v6: bool,
    /// Offset of the TCP header.
    pub next_layer: u16,
    /// Bytes of all headers.
    pub headers_len: u16,
    /// Bytes of payload of each packet but the last.
    pub segment_len: u16,
}

struct Group {
    piece: Piece,
    headers_len: usize,
    next_layer: usize,
    is_v6: bool,
    next_sequence: u32,
    next_identification: u16,
    segment_len: usize,
    total_len: usize,
    flags: u8,
    /// A short or pushed segment ends the group.
    closed: bool,
    live: bool,
}

/// Collects the delivered packets of one receive. Flush it before the next: nothing is held back.
pub struct Coalescer {
    groups: Vec<Group>,
    live: usize,
    enabled: bool,
}

impl Coalescer {
    /// `enabled` false passes every packet by itself.
    pub fn new(enabled: bool) -> Self {
        let groups = (0..COALESCE_GROUPS_MAX).map(|_| Group::empty()).collect();
        Self {
            groups,
            live: 0,
            enabled,
        }
    }

    /// Takes one packet; `emit` gets what can be written, in an order that keeps each flow's.
    pub fn push(&mut self, arena: &mut [u8], slot: Slot, emit: &mut impl FnMut(&mut [u8], &Piece)) {
        let Some(candidate) = self
            .enabled
            .then(|| Candidate::of(&arena[slot.range()]))
            .flatten()
        else {
            // Not mergeable itself, yet behind what it follows in its flow.
            self.flush_flow_of(arena, slot, emit);
            emit(
                arena,
                &Piece {
                    first: slot,
                    rest: Vec::new(),
                    merged: None,
                },
            );
            return;
        };
        let packet = &arena[slot.range()];
        if let Some(index) = self.find(arena, packet, &candidate) {
            if self.groups[index].takes(arena, packet, &candidate) {
                self.groups[index].append(slot, &candidate);
                return;
            }
            self.flush_one(index, arena, emit);
        }
        if self.live == self.groups.len() {
            self.flush(arena, emit);
        }
        self.groups[self.live].start(slot, &candidate);
        self.live += 1;
    }

    /// Emits all that is open.
    pub fn flush(&mut self, arena: &mut [u8], emit: &mut impl FnMut(&mut [u8], &Piece)) {
        for index in 0..self.live {
            if self.groups[index].live {
                self.groups[index].finish(arena);
                emit(arena, &self.groups[index].piece);
                self.groups[index].live = false;
            }
        }
        self.live = 0;
    }

    fn flush_one(
        &mut self,
        index: usize,
        arena: &mut [u8],
        emit: &mut impl FnMut(&mut [u8], &Piece),
    ) {
        self.groups[index].finish(arena);
        emit(arena, &self.groups[index].piece);
        self.groups[index].live = false;
    }

    fn flush_flow_of(
        &mut self,
        arena: &mut [u8],
        slot: Slot,
        emit: &mut impl FnMut(&mut [u8], &Piece),
    ) {
        if self.live == 0 {
            return;
        }
        let Ok(packet) = IpPacket::parse(&arena[slot.range()]) else {
            return;
        };
        let key = packet.flow_key();
        for index in 0..self.live {
            let group = &self.groups[index];
            if group.live
                && IpPacket::parse(&arena[group.piece.first.range()])
                    .is_ok_and(|first| first.flow_key() == key)
            {
                self.flush_one(index, arena, emit);
            }
        }
    }

    /// The open group of the same addresses and ports.
    fn find(&self, arena: &[u8], packet: &[u8], candidate: &Candidate) -> Option<usize> {
        (0..self.live).find(|index| {
            let group = &self.groups[*index];
            if !group.live || group.is_v6 != candidate.is_v6 {
                return false;
            }
            let first = &arena[group.piece.first.range()];
            let addresses = if candidate.is_v6 { 8..40 } else { 12..20 };
            first[addresses.clone()] == packet[addresses]
                && first[group.next_layer..group.next_layer + 4]
                    == packet[candidate.next_layer..candidate.next_layer + 4]
        })
    }
}

/// A packet that may start or continue a super-packet.
struct Candidate {
    is_v6: bool,
    next_layer: usize,
    headers_len: usize,
    payload_len: usize,
    sequence: u32,
    identification: u16,
    flags: u8,
}

impl Candidate {
    /// `None` where the kernel's GRO would not merge: no plain TCP data with ACK and perhaps PSH, or
    /// a wrong checksum, which a super-packet's new one would hide.
    fn of(bytes: &[u8]) -> Option<Self> {
        let is_v6 = bytes.first()? >> 4 == 6;
        let next_layer = if is_v6 {
            if bytes.len() < 60 || bytes[ipv6::NEXT_HEADER] != ProtocolNumber::TCP.0 {
                return None;
            }
            ipv6::HEADER_LEN
        } else {
            // No options and no fragment, as GRO wants.
            if bytes.len() < 40
                || bytes[0] != 0x45
                || bytes[ipv4::PROTOCOL] != ProtocolNumber::TCP.0
                || u16::from_be_bytes([bytes[6], bytes[7]]) & 0x3fff != 0
            {
                return None;
            }
            ipv4::HEADER_LEN
        };
        let segment = &bytes[next_layer..];
        let headers_len = next_layer + tcp::header_len(segment)?;
        let flags = segment[tcp::FLAGS];
        let payload_len = bytes.len() - headers_len;
        if flags & !(tcp::PSH | tcp::ECE) != tcp::ACK || payload_len == 0 {
            return None;
        }
        let addresses = if is_v6 { &bytes[8..40] } else { &bytes[12..20] };
        let sum = pseudo_header(addresses, ProtocolNumber::TCP.0, segment.len());
        if sum.add_bytes(segment).finish() != 0 {
            return None;
        }
        Some(Self {
            is_v6,
            next_layer,
            headers_len,
            payload_len,
            sequence: tcp::sequence(segment),
            identification: u16::from_be_bytes([bytes[4], bytes[5]]),
            flags,
        })
    }
}

impl Group {
    fn empty() -> Self {
        let piece = Piece {
            first: Slot::default(),
            rest: Vec::with_capacity(COALESCE_PIECES_MAX),
            merged: None,
        };
        Self {
            piece,
            headers_len: 0,
            next_layer: 0,
            is_v6: false,
            next_sequence: 0,
            next_identification: 0,
            segment_len: 0,
            total_len: 0,
            flags: 0,
            closed: false,
            live: false,
        }
    }

    fn start(&mut self, slot: Slot, candidate: &Candidate) {
        self.piece.first = slot;
        self.piece.rest.clear();
        self.piece.merged = None;
        self.headers_len = candidate.headers_len;
        self.next_layer = candidate.next_layer;
        self.is_v6 = candidate.is_v6;
        self.next_sequence = candidate
            .sequence
            .wrapping_add(candidate.payload_len as u32);
        self.next_identification = candidate.identification.wrapping_add(1);
        self.segment_len = candidate.payload_len;
        self.total_len = slot.len as usize;
        self.flags = candidate.flags;
        self.closed = candidate.flags & tcp::PSH != 0;
        self.live = true;
    }

    /// The kernel's conditions (tcp_gro_receive and inet_gro_receive): same headers but for length,
    /// ID, sequence number, PSH and checksum; the next bytes of the stream; no longer than the first.
    fn takes(&self, arena: &[u8], packet: &[u8], candidate: &Candidate) -> bool {
        let first = &arena[self.piece.first.range()];
        let same_ip = if self.is_v6 {
            first[..4] == packet[..4] && first[ipv6::HOP_LIMIT] == packet[ipv6::HOP_LIMIT]
        } else {
            let atomic = first[ipv4::FLAGS] & 0x40 != 0;
            first[ipv4::TOS] == packet[ipv4::TOS]
                && first[6..9] == packet[6..9]
                && (candidate.identification == self.next_identification
                    || atomic && first[4..6] == packet[4..6])
        };
        let (mine, theirs) = (&first[self.next_layer..], &packet[candidate.next_layer..]);
        same_ip
            && !self.closed
            && candidate.headers_len == self.headers_len
            && candidate.sequence == self.next_sequence
            && candidate.payload_len <= self.segment_len
            && self.total_len + candidate.payload_len <= PACKET_LEN_MAX
            && self.piece.rest.len() < COALESCE_PIECES_MAX
            && mine[tcp::ACKNOWLEDGMENT..tcp::ACKNOWLEDGMENT + 5]
                == theirs[tcp::ACKNOWLEDGMENT..tcp::ACKNOWLEDGMENT + 5]
            && (self.flags ^ candidate.flags) & !tcp::PSH == 0
            // Window, urgent pointer and options; the checksum lies between.
            && mine[14..16] == theirs[14..16]
            && mine[18..self.headers_len - self.next_layer]
                == theirs[18..candidate.headers_len - candidate.next_layer]
    }

    fn append(&mut self, slot: Slot, candidate: &Candidate) {
        let at = slot.start + candidate.headers_len as u32;
        self.piece.rest.push((at, candidate.payload_len as u32));
        self.next_sequence = self
            .next_sequence
            .wrapping_add(candidate.payload_len as u32);
        self.next_identification = self.next_identification.wrapping_add(1);
        self.total_len += candidate.payload_len;
        self.flags |= candidate.flags;
        self.closed = candidate.flags & tcp::PSH != 0 || candidate.payload_len < self.segment_len;
    }

    /// Makes the first packet's headers those of the whole: length, PSH, and as TCP checksum the sum
    /// of the pseudo-header, which is what a partial checksum holds.
    fn finish(&mut self, arena: &mut [u8]) {
        if self.piece.rest.is_empty() {
            return;
        }
        self.piece.merged = Some(Merged {
            is_v6: self.is_v6,
            next_layer: self.next_layer as u16,
            headers_len: self.headers_len as u16,
            segment_len: self.segment_len as u16,
        });
        let start = self.piece.first.start as usize;
        let headers = &mut arena[start..start + self.headers_len];
        let total_len = self.total_len as u16;
        if self.is_v6 {
            let len = total_len - ipv6::HEADER_LEN as u16;
            headers[ipv6::PAYLOAD_LEN..ipv6::PAYLOAD_LEN + 2].copy_from_slice(&len.to_be_bytes());
        } else {
            let id = u16::from_be_bytes([headers[4], headers[5]]);
            ipv4::set_length_and_id(&mut headers[..self.next_layer], total_len, id);
        }
        let addresses = if self.is_v6 { 8..40 } else { 12..20 };
        let upper_len = self.total_len - self.next_layer;
        let partial = pseudo_header(&headers[addresses], ProtocolNumber::TCP.0, upper_len).fold();
        headers[self.next_layer + tcp::FLAGS] |= self.flags;
        let at = self.next_layer + tcp::CHECKSUM;
        headers[at..at + 2].copy_from_slice(&partial.to_be_bytes());
    }
}
