//! A super-packet of the TUN into the slots of a run.
//!
//! The TUN is read straight into slots laid out for the segment size last seen, so that each payload
//! lies where its ESP packet will be: `[ESP front | headers | payload | trailer and ICV]` a cell, cell
//! behind cell. Sealed cells of one size are then one UDP GSO send as they lie. Where the guess was
//! wrong the payloads are moved once.

use crate::esp::Content;
use crate::limits::{LEAD_LEN, RUN_PACKETS_MAX};
use crate::sad::OutboundSa;
use crate::suite::Sizes;
use crate::transport::{self, Mode};
use crate::verdict::DropReason;
use ipsec_wire::checksum::{Sum, pseudo_header};
use ipsec_wire::{IpPacket, ProtocolNumber, Slot, ipv4, ipv6, tcp};

/// Where the slots of a read are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of SPI, Sequence Number and IV in front of each packet.
    pub front_len: usize,
    /// Bytes of the IP header, which in transport mode stays outside; 0 in tunnel mode. It lies where
    /// the front of its packet will be written, and in what is free before.
    pub outside_len: usize,
    /// Bytes of IP and TCP or UDP headers in front of each payload.
    pub headers_len: usize,
    /// Bytes of payload of each packet but the last.
    pub segment_len: usize,
    /// Bytes of a cell.
    pub cell_len: usize,
}

impl Layout {
    /// The layout for packets of `headers_len + segment_len` bytes on an SA with these sizes.
    pub const fn new(sizes: Sizes, headers_len: usize, segment_len: usize) -> Self {
        Self {
            front_len: sizes.front_len,
            outside_len: 0,
            headers_len,
            segment_len,
            cell_len: sizes.sealed_len(headers_len + segment_len),
        }
    }

    /// The same for the packets of `sa`, which may pad them.
    pub fn of(sa: &OutboundSa, headers_len: usize, segment_len: usize) -> Self {
        Self::outside(sa, 0, headers_len, segment_len)
    }

    /// The same where the first `outside_len` bytes of the headers are not sealed.
    pub fn outside(
        sa: &OutboundSa,
        outside_len: usize,
        headers_len: usize,
        segment_len: usize,
    ) -> Self {
        Self {
            outside_len,
            cell_len: sa.sealed_len(headers_len - outside_len + segment_len),
            ..Self::new(sa.sizes(), headers_len, segment_len)
        }
    }

    /// Offset of the first inner packet.
    pub const fn first_packet(&self) -> usize {
        LEAD_LEN + self.front_len - self.outside_len
    }

    /// Offset of payload `index`.
    pub const fn payload(&self, index: usize) -> usize {
        self.first_packet() + index * self.cell_len + self.headers_len
    }
}

/// Offload of one TUN read, as its virtio-net header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// One packet; the checksum at `start + offset` is to be completed if there is one.
    None {
        /// Where the checksummed part starts, and where in it the checksum lies.
        checksum: Option<(usize, usize)>,
    },
    /// TCP segments of this many bytes of payload.
    Tcp {
        /// Bytes of payload a segment.
        segment_len: usize,
    },
    /// UDP datagrams of this many bytes of payload.
    Udp {
        /// Bytes of payload a datagram.
        segment_len: usize,
    },
}

/// A super-packet's own measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Measures {
    headers_len: usize,
    next_layer: usize,
    segment_len: usize,
    payload_len: usize,
    is_v6: bool,
    is_tcp: bool,
}

/// What a read became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmented {
    /// How many packets.
    pub packets: usize,
    /// The layout they lie in.
    pub layout: Layout,
    /// Whether payloads had to be moved.
    pub moved: bool,
    /// What the slots hold.
    pub content: Content,
}

/// Bytes of a read that lie together at [`Layout::first_packet`]: a lone buffer took all.
fn first_buffer_len(read_layout: &Layout, iovec_count: usize, len: usize) -> usize {
    if iovec_count <= 1 {
        return len;
    }
    len.min(read_layout.headers_len + read_layout.segment_len)
}

/// A read of `len` bytes lies in `arena` by `read_layout`: brings the bytes together at
/// [`Layout::first_packet`] unless they already are.
fn linearize(arena: &mut [u8], read_layout: &Layout, iovec_count: usize, len: usize) {
    let mut done = first_buffer_len(read_layout, iovec_count, len);
    let mut index = 1;
    while done < len {
        let from = read_layout.payload(index);
        // The last iovec takes all that is left.
        let part = if index + 1 == iovec_count {
            len - done
        } else {
            read_layout.segment_len.min(len - done)
        };
        arena.copy_within(from..from + part, read_layout.first_packet() + done);
        done += part;
        index += 1;
    }
}

/// Turns one TUN read into packets with whole headers and checksums, each in a cell with room for
/// what `sa` adds. `slots` takes at most its own length.
///
/// # Errors
/// [`DropReason::MalformedOutbound`] when headers and offload do not agree, [`DropReason::TooBig`]
/// when the packets do not fit arena or slots.
pub fn segment(
    arena: &mut [u8],
    slots: &mut [Slot],
    (read_layout, iovec_count, len): (&Layout, usize, usize),
    offload: Offload,
    sa: &OutboundSa,
) -> Result<Segmented, DropReason> {
    let head_len = first_buffer_len(read_layout, iovec_count, len);
    let at = read_layout.first_packet();
    let (outside_len, content) = match sa.mode() {
        Mode::Tunnel => (0, Content::Ip),
        Mode::Transport => {
            let head = arena.get(at..at + head_len).ok_or(DropReason::TooBig)?;
            let head =
                IpPacket::parse_head(head, len).map_err(|_| DropReason::MalformedOutbound)?;
            transport::split(&head, sa.tunnel())?
        }
    };
    match offload {
        Offload::None { checksum } => {
            let moved = len > head_len;
            if moved {
                linearize(arena, read_layout, iovec_count, len);
            }
            let packet = arena.get_mut(at..at + len).ok_or(DropReason::TooBig)?;
            if let Some((start, offset)) = checksum {
                complete_checksum(packet, start, offset)?;
            }
            *slots.first_mut().ok_or(DropReason::TooBig)? =
                cell(at + outside_len, len - outside_len, sa, arena.len())
                    .ok_or(DropReason::TooBig)?;
            Ok(Segmented {
                packets: 1,
                layout: *read_layout,
                moved,
                content,
            })
        }
        Offload::Tcp { segment_len } | Offload::Udp { segment_len } => {
            let is_tcp = matches!(offload, Offload::Tcp { .. });
            // Headers can only be read where they lie together.
            let together = head_len >= HEADERS_LEN_MAX.min(len);
            if !together {
                linearize(arena, read_layout, iovec_count, len);
            }
            let measures = measure(
                arena,
                read_layout.first_packet(),
                len,
                (segment_len, is_tcp),
            )?;
            let Measures {
                headers_len,
                payload_len,
                ..
            } = measures;
            let packets = payload_len.div_ceil(segment_len);
            let layout = Layout::outside(sa, outside_len, headers_len, segment_len);
            if packets > slots.len().min(RUN_PACKETS_MAX)
                || LEAD_LEN + packets * layout.cell_len > arena.len()
            {
                return Err(DropReason::TooBig);
            }
            let in_place = together && layout == *read_layout && packets <= iovec_count;
            if !in_place {
                if together {
                    linearize(arena, read_layout, iovec_count, len);
                }
                // A packet read for another suite lies a little too near or too far.
                let from = read_layout.first_packet();
                arena.copy_within(from..from + len, layout.first_packet());
                scatter(arena, &layout, packets, payload_len);
            }
            write_headers(arena, &layout, packets, &measures);
            for (index, slot) in slots[..packets].iter_mut().enumerate() {
                let part = segment_len.min(payload_len - index * segment_len);
                // The last packet may be shorter; its cell still ends where its ICV will.
                let at = layout.first_packet() + index * layout.cell_len + outside_len;
                *slot = cell(at, headers_len - outside_len + part, sa, arena.len())
                    .ok_or(DropReason::TooBig)?;
            }
            Ok(Segmented {
                packets,
                layout,
                moved: !in_place,
                content,
            })
        }
    }
}

/// The slot of a packet that lies `at`, with room for what `sa` adds.
fn cell(at: usize, packet_len: usize, sa: &OutboundSa, arena_len: usize) -> Option<Slot> {
    let cell_start = at.checked_sub(sa.sizes().front_len)?;
    let cell_end = cell_start + sa.sealed_len(packet_len);
    (cell_end <= arena_len).then_some(Slot {
        start: at as u32,
        len: packet_len as u32,
        cell_start: cell_start as u32,
        cell_end: cell_end as u32,
    })
}

/// Payloads from one behind the other into their cells, the last first, for each moves up.
fn scatter(arena: &mut [u8], layout: &Layout, packets: usize, payload_len: usize) {
    let linear = layout.payload(0);
    for index in (1..packets).rev() {
        let at = index * layout.segment_len;
        let part = layout.segment_len.min(payload_len - at);
        arena.copy_within(linear + at..linear + at + part, layout.payload(index));
    }
}

/// Reads the headers of a super-packet. The virtio-net header's own header length is not trusted:
/// for forwarded packets it is a hint only.
fn measure(
    arena: &[u8],
    at: usize,
    len: usize,
    (segment_len, is_tcp): (usize, bool),
) -> Result<Measures, DropReason> {
    let malformed = DropReason::MalformedOutbound;
    let head = &arena[at..(at + len).min(arena.len())];
    let first = head.first().ok_or(malformed)?;
    let is_v6 = first >> 4 == 6;
    let next_layer = if is_v6 {
        if head.len() < ipv6::HEADER_LEN || segment_len == 0 {
            return Err(malformed);
        }
        // Kernels segment behind no extension header that a TUN would show.
        let protocol = if is_tcp {
            ProtocolNumber::TCP
        } else {
            ProtocolNumber::UDP
        };
        if head[ipv6::NEXT_HEADER] != protocol.0 {
            return Err(malformed);
        }
        ipv6::HEADER_LEN
    } else {
        let header_len = usize::from(first & 0xf) * 4;
        let protocol = if is_tcp {
            ProtocolNumber::TCP
        } else {
            ProtocolNumber::UDP
        };
        if first >> 4 != 4
            || header_len < ipv4::HEADER_LEN
            || head.len() < header_len
            || head[ipv4::PROTOCOL] != protocol.0
        {
            return Err(malformed);
        }
        header_len
    };
    let next = head.get(next_layer..).ok_or(malformed)?;
    let next_len = if is_tcp {
        tcp::header_len(next).ok_or(malformed)?
    } else {
        8
    };
    let headers_len = next_layer + next_len;
    if segment_len == 0 || len <= headers_len || headers_len > HEADERS_LEN_MAX {
        return Err(malformed);
    }
    let payload_len = len - headers_len;
    Ok(Measures {
        headers_len,
        next_layer,
        segment_len,
        payload_len,
        is_v6,
        is_tcp,
    })
}

/// IPv4 with all options and TCP with all options.
pub const HEADERS_LEN_MAX: usize = 120;

/// Writes the headers of every packet from those of the first: lengths, ID, sequence number, flags
/// and checksums. The first packet's headers are written last, for they are the template.
fn write_headers(arena: &mut [u8], layout: &Layout, packets: usize, measures: &Measures) {
    let Measures {
        headers_len,
        next_layer,
        segment_len,
        payload_len,
        is_v6,
        is_tcp,
    } = *measures;
    let mut template = [0u8; HEADERS_LEN_MAX];
    let template = &mut template[..headers_len];
    template.copy_from_slice(&arena[layout.first_packet()..layout.first_packet() + headers_len]);
    let identification = u16::from_be_bytes([template[4], template[5]]);
    let checksum_at = next_layer + if is_tcp { tcp::CHECKSUM } else { 6 };
    let (mut sequence, flags) = if is_tcp {
        (
            tcp::sequence(&template[next_layer..]),
            template[next_layer + tcp::FLAGS],
        )
    } else {
        (0, 0)
    };
    template[checksum_at..checksum_at + 2].fill(0);
    let addresses = if is_v6 { 8..40 } else { 12..20 };
    let protocol = if is_tcp {
        ProtocolNumber::TCP
    } else {
        ProtocolNumber::UDP
    };
    let base = pseudo_header(&template[addresses], protocol.0, 0);
    for index in 0..packets {
        let at = index * segment_len;
        let part = segment_len.min(payload_len - at);
        let start = layout.first_packet() + index * layout.cell_len;
        let payload_at = start + headers_len;
        // Apart from the arena: in transport mode the IP header would lie on the packet before.
        let mut headers = [0u8; HEADERS_LEN_MAX];
        let headers = &mut headers[..headers_len];
        headers.copy_from_slice(template);
        if is_v6 {
            let len = (headers_len - ipv6::HEADER_LEN + part) as u16;
            headers[ipv6::PAYLOAD_LEN..ipv6::PAYLOAD_LEN + 2].copy_from_slice(&len.to_be_bytes());
        } else {
            let id = identification.wrapping_add(index as u16);
            ipv4::set_length_and_id(&mut headers[..next_layer], (headers_len + part) as u16, id);
        }
        let next_len = headers_len - next_layer + part;
        let next = &mut headers[next_layer..];
        if is_tcp {
            next[tcp::SEQUENCE..tcp::SEQUENCE + 4].copy_from_slice(&sequence.to_be_bytes());
            sequence = sequence.wrapping_add(part as u32);
            // RFC 9293: FIN and PSH belong to the last segment, RFC 3168: CWR to the first.
            let mut here = flags;
            if index + 1 != packets {
                here &= !(tcp::FIN | tcp::PSH);
            }
            if index != 0 {
                here &= !tcp::CWR;
            }
            next[tcp::FLAGS] = here;
        } else {
            next[4..6].copy_from_slice(&(next_len as u16).to_be_bytes());
        }
        let sum = base
            .add_u16(next_len as u16)
            .plus(Sum::ZERO.add_bytes(next))
            .add_bytes(&arena[payload_at..payload_at + part]);
        let mut checksum = sum.finish();
        if !is_tcp && checksum == 0 {
            checksum = 0xffff;
        }
        headers[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
        let sealed_at = start + layout.outside_len;
        arena[sealed_at..payload_at].copy_from_slice(&headers[layout.outside_len..]);
    }
}

/// Completes the partial checksum of a lone packet: the field holds the pseudo-header sum.
fn complete_checksum(packet: &mut [u8], start: usize, offset: usize) -> Result<(), DropReason> {
    let at = start
        .checked_add(offset)
        .ok_or(DropReason::MalformedOutbound)?;
    if at + 2 > packet.len() || start > packet.len() {
        return Err(DropReason::MalformedOutbound);
    }
    let mut checksum = Sum::ZERO.add_bytes(&packet[start..]).finish();
    if checksum == 0 && offset == 6 {
        // RFC 768: a computed zero is sent as all ones.
        checksum = 0xffff;
    }
    packet[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}
