//! Library mode: SAs, window and policy over packets in a caller's arena, one call a batch.
//!
//! A descriptor is five 32-bit words: start, length, cell start, cell end, status. Status 0 is done;
//! else it is one more than the position of the reason in `dropReasonNames()`.

use crate::convert::{inbound_sa, outbound_sa, spd_entry, unsigned};
use crate::errors::NativeError;
use crate::types::{NativeSa, NativeSpdEntry};
use ipsec_datapath::esp::{Content, encapsulate};
use ipsec_datapath::inbound::{InboundScratch, InboundVerdict, open_run};
use ipsec_datapath::replay_window::{Refused, ReplayWindow};
use ipsec_datapath::sad::{InboundSa, OutboundSa};
use ipsec_datapath::selector::Direction;
use ipsec_datapath::spd::Spd;
use ipsec_datapath::transport::{self, Mode, Outer};
use ipsec_datapath::udp_encapsulation::{Datagram, classify};
use ipsec_datapath::{Counters, DropReason};
use ipsec_wire::{Fragment, IpPacket, ProtocolNumber, Run, Slot, esp};
use napi::bindgen_prelude::{BigInt, Uint8Array, Uint32Array};
use napi_derive::napi;

const WORDS: usize = 5;

fn thrown(error: NativeError) -> napi::Error {
    napi::Error::from_reason(format!("{}: {}", error.code, error.message))
}

fn status(reason: DropReason) -> u32 {
    reason as u32 + 1
}

/// Names of the reasons, by status less one.
#[napi]
pub fn drop_reason_names() -> Vec<String> {
    DropReason::ALL
        .iter()
        .map(|reason| reason.name().to_owned())
        .collect()
}

fn read_slot(words: &[u32]) -> Slot {
    Slot {
        start: words[0],
        len: words[1],
        cell_start: words[2],
        cell_end: words[3],
    }
}

fn write_slot(words: &mut [u32], slot: &Slot) {
    words[0] = slot.start;
    words[1] = slot.len;
}

/// One outbound SA.
#[napi]
pub struct NativeOutboundSa {
    sa: OutboundSa,
    slots: Vec<Slot>,
    marks: Vec<OutboundMark>,
}

/// A packet to seal: its place in the batch, and what its headers say.
#[derive(Clone, Copy)]
struct OutboundMark {
    index: u32,
    traffic_class: u8,
    dont_fragment: bool,
    /// Bytes of it that stay outside.
    outside_len: usize,
    content: Content,
}

#[napi]
impl NativeOutboundSa {
    #[napi(constructor)]
    pub fn new(sa: NativeSa) -> napi::Result<Self> {
        let sa = outbound_sa(&sa).map_err(thrown)?;
        Ok(Self {
            sa,
            slots: Vec::new(),
            marks: Vec::new(),
        })
    }

    /// Seals IP packets into outer packets. Returns how many were sealed.
    #[napi]
    pub fn encapsulate(
        &mut self,
        mut arena: Uint8Array,
        mut descriptors: Uint32Array,
        count: u32,
    ) -> u32 {
        // SAFETY: JavaScript runs on this thread and not during the call, so nobody else has these.
        let (arena, words) = unsafe { (arena.as_mut(), descriptors.as_mut()) };
        self.gather(arena, words, count, |sa, bytes| {
            let packet = IpPacket::parse(bytes).map_err(|_| DropReason::MalformedOutbound)?;
            if packet.bytes().len() != bytes.len() {
                return Err(DropReason::MalformedOutbound);
            }
            if !sa
                .selector()
                .matches(Direction::Outbound, &packet.flow_key())
            {
                return Err(DropReason::PolicyNoMatch);
            }
            let (outside_len, content) = match sa.mode() {
                Mode::Tunnel => (0, Content::Ip),
                Mode::Transport => transport::split(&packet, sa.tunnel())?,
            };
            Ok(OutboundMark {
                index: 0,
                traffic_class: packet.traffic_class(),
                dont_fragment: sa.tunnel().df_for(&packet),
                outside_len,
                content,
            })
        });
        self.seal(arena, words)
    }

    /// Makes dummy packets (RFC 4303 section 2.6) of whatever the cells hold.
    #[napi]
    pub fn dummy(
        &mut self,
        mut arena: Uint8Array,
        mut descriptors: Uint32Array,
        count: u32,
    ) -> u32 {
        // SAFETY: JavaScript runs on this thread and not during the call, so nobody else has these.
        let (arena, words) = unsafe { (arena.as_mut(), descriptors.as_mut()) };
        self.gather(arena, words, count, |_, _| {
            Ok(OutboundMark {
                index: 0,
                traffic_class: 0,
                dont_fragment: true,
                outside_len: 0,
                content: Content::Dummy,
            })
        });
        self.seal(arena, words)
    }

    /// Collects the packets to seal, with what `judge` says of each.
    fn gather(
        &mut self,
        arena: &[u8],
        words: &mut [u32],
        count: u32,
        judge: impl Fn(&OutboundSa, &[u8]) -> Result<OutboundMark, DropReason>,
    ) {
        self.slots.clear();
        self.marks.clear();
        for (index, words) in words
            .chunks_exact_mut(WORDS)
            .take(count as usize)
            .enumerate()
        {
            let slot = read_slot(words);
            let judged = if slot.fits(arena.len()) {
                judge(&self.sa, &arena[slot.range()])
            } else {
                Err(DropReason::MalformedOutbound)
            };
            match judged {
                Ok(mark) => {
                    self.marks.push(OutboundMark {
                        index: index as u32,
                        ..mark
                    });
                    self.slots.push(Slot {
                        start: slot.start + mark.outside_len as u32,
                        len: slot.len - mark.outside_len as u32,
                        ..slot
                    });
                }
                Err(reason) => words[4] = status(reason),
            }
        }
    }

    fn seal(&mut self, arena: &mut [u8], words: &mut [u32]) -> u32 {
        let Self { sa, slots, marks } = self;
        let fail = |words: &mut [u32], from: usize, reason: DropReason| {
            for mark in &marks[from..] {
                words[mark.index as usize * WORDS + 4] = status(reason);
            }
        };
        let inner_bytes: u64 = slots.iter().map(|slot| u64::from(slot.len)).sum();
        let reserved = match sa.sequence().reserve(slots.len() as u64) {
            Ok(reserved) => reserved,
            Err(reason) => {
                fail(words, 0, reason);
                return 0;
            }
        };
        let mut sealed = 0;
        // A run has one content; in tunnel mode that is the whole batch.
        for group in marks.chunk_by(|a, b| a.content == b.content) {
            let part = sealed..sealed + group.len();
            let Some(mut run) = Run::new(arena, &mut slots[part]) else {
                return 0;
            };
            let first = reserved.first + sealed as u64;
            let outcome = encapsulate(sa, &mut run, group[0].content, first);
            if let Err((done, reason)) = outcome {
                sealed += done;
                fail(words, sealed, reason);
                break;
            }
            sealed += group.len();
        }
        let Some(mut run) = Run::new(arena, slots) else {
            return 0;
        };
        let mut finished = 0;
        for (at, mark) in marks[..sealed].iter().enumerate() {
            let words = &mut words[mark.index as usize * WORDS..][..WORDS];
            let outer = run.grow(at, sa.tunnel().len(), 0).ok().and_then(|packet| {
                sa.tunnel().write(
                    packet,
                    mark.traffic_class,
                    mark.dont_fragment,
                    (reserved.first + at as u64) as u16,
                )
            });
            match outer {
                Some(()) => {
                    write_slot(words, &run.slots()[at]);
                    words[4] = 0;
                    finished += 1;
                }
                None => words[4] = status(DropReason::TooBig),
            }
        }
        sa.counters().add(u64::from(finished), inner_bytes, 0);
        finished
    }

    /// The last sequence number used.
    #[napi(getter)]
    pub fn sequence_number(&self) -> BigInt {
        self.sa.sequence().last().into()
    }
}

/// One inbound SA.
#[napi]
pub struct NativeInboundSa {
    sa: InboundSa,
    counters: Counters,
    scratch: InboundScratch,
    slots: Vec<Slot>,
    marks: Vec<(u32, Outer)>,
    verdicts: Vec<InboundVerdict>,
}

#[napi]
impl NativeInboundSa {
    #[napi(constructor)]
    pub fn new(sa: NativeSa) -> napi::Result<Self> {
        Ok(Self {
            sa: inbound_sa(&sa).map_err(thrown)?,
            counters: Counters::default(),
            scratch: InboundScratch::default(),
            slots: Vec::new(),
            marks: Vec::new(),
            verdicts: Vec::new(),
        })
    }

    /// Opens outer packets into inner ones. Returns how many are to be delivered.
    #[napi]
    pub fn decapsulate(
        &mut self,
        mut arena: Uint8Array,
        mut descriptors: Uint32Array,
        count: u32,
    ) -> u32 {
        // SAFETY: JavaScript runs on this thread and not during the call, so nobody else has these.
        let (arena, words) = unsafe { (arena.as_mut(), descriptors.as_mut()) };
        self.slots.clear();
        self.marks.clear();
        for (index, words) in words
            .chunks_exact_mut(WORDS)
            .take(count as usize)
            .enumerate()
        {
            let slot = read_slot(words);
            let outer = if slot.fits(arena.len()) {
                outer(&arena[slot.range()], &self.sa)
            } else {
                Err(DropReason::Short)
            };
            match outer {
                Ok((skip, len, outer)) => {
                    self.marks.push((index as u32, outer));
                    let start = slot.start + skip as u32;
                    self.slots.push(Slot {
                        start,
                        len: len as u32,
                        ..slot
                    });
                }
                Err(reason) => words[4] = status(reason),
            }
        }
        let mut delivered = 0;
        let mut from = 0;
        // A run has one outer header, as far as it is looked at.
        while from < self.slots.len() {
            let outer = self.marks[from].1;
            let len = self.marks[from..]
                .iter()
                .take_while(|mark| mark.1 == outer)
                .count();
            delivered += self.open(arena, words, from..from + len, &outer);
            from += len;
        }
        delivered
    }

    fn open(
        &mut self,
        arena: &mut [u8],
        words: &mut [u32],
        part: std::ops::Range<usize>,
        outer: &Outer,
    ) -> u32 {
        let Self {
            sa,
            counters,
            scratch,
            slots,
            marks,
            verdicts,
        } = self;
        verdicts.clear();
        verdicts.resize(part.len(), InboundVerdict::Deliver);
        let slots = &mut slots[part.clone()];
        let Some(mut run) = Run::new(arena, slots) else {
            return 0;
        };
        open_run(sa, &mut run, outer, verdicts, (scratch, counters, 0));
        let mut delivered = 0;
        for ((slot, verdict), (index, _)) in slots.iter().zip(verdicts).zip(&marks[part]) {
            let words = &mut words[*index as usize * WORDS..][..WORDS];
            match verdict {
                InboundVerdict::Deliver => {
                    write_slot(words, slot);
                    words[4] = 0;
                    delivered += 1;
                }
                InboundVerdict::Drop(reason) => words[4] = status(*reason),
            }
        }
        delivered
    }

    /// The right edge of the window.
    #[napi(getter)]
    pub fn sequence_number(&self) -> BigInt {
        self.sa.right_edge().into()
    }
}

/// Where ESP lies in an outer packet, how long it is, and what the SA looks at of the outer header.
fn outer(packet: &[u8], sa: &InboundSa) -> Result<(usize, usize, Outer), DropReason> {
    let packet = IpPacket::parse(packet).map_err(|_| DropReason::Short)?;
    // RFC 4303 section 3.4.1: ESP is given whole packets.
    if packet.fragment() != Fragment::None {
        return Err(DropReason::OuterFragment);
    }
    let (skip, found) = match packet.protocol() {
        ProtocolNumber::ESP => (0, esp::header(packet.next_layer()).map(|(spi, _)| spi)),
        ProtocolNumber::UDP => match packet.next_layer().get(8..).map(classify) {
            Some(Datagram::Esp { spi, .. }) => (8, Some(spi)),
            _ => return Err(DropReason::Short),
        },
        _ => return Err(DropReason::NoSa),
    };
    match found {
        Some(found) if found == sa.spi() => {
            let outer = match sa.mode() {
                Mode::Tunnel => Outer::of_ecn(packet.traffic_class()),
                Mode::Transport => Outer {
                    traffic_class: packet.traffic_class(),
                    addresses: Some(transport::addresses(&packet)),
                    in_udp: packet.protocol() == ProtocolNumber::UDP,
                },
            };
            let skip = packet.next_layer_offset() + skip;
            Ok((skip, packet.bytes().len() - skip, outer))
        }
        Some(_) => Err(DropReason::NoSa),
        None => Err(DropReason::Short),
    }
}

/// An anti-replay window by itself.
#[napi]
pub struct NativeReplayWindow {
    window: ReplayWindow,
}

#[napi]
impl NativeReplayWindow {
    #[napi(constructor)]
    pub fn new(packets: u32, esn: bool, right_edge: BigInt) -> napi::Result<Self> {
        let right_edge = unsigned(&right_edge).map_err(thrown)?;
        let window = ReplayWindow::new(packets, esn, right_edge)
            .map_err(|error| thrown(NativeError::new("IPSEC_ERR_USAGE", error)))?;
        Ok(Self { window })
    }

    /// Whether each number (its low 32 bits) would be taken: 0 yes, else a status.
    #[napi]
    pub fn check(&self, numbers: Uint32Array) -> Uint8Array {
        numbers
            .iter()
            .map(|low| verdict(self.window.check(*low).map(drop)))
            .collect::<Vec<_>>()
            .into()
    }

    /// Takes numbers whose packets the caller has authenticated, in one call: 0 new, else a status.
    #[napi]
    pub fn commit(&mut self, numbers: Uint32Array) -> Uint8Array {
        let mut verdicts = vec![0; numbers.len()];
        let mut fresh = Vec::with_capacity(numbers.len());
        let mut places = Vec::with_capacity(numbers.len());
        for (place, low) in numbers.iter().enumerate() {
            match self.window.check(*low) {
                Ok(number) => {
                    fresh.push(number.authenticated_by_caller());
                    places.push(place);
                }
                Err(refused) => verdicts[place] = verdict(Err(refused)),
            }
        }
        let mut committed = vec![Ok(()); fresh.len()];
        self.window.commit(&fresh, &mut committed);
        for (place, result) in places.into_iter().zip(committed) {
            verdicts[place] = verdict(result);
        }
        verdicts.into()
    }

    /// The highest number taken.
    #[napi(getter)]
    pub fn right_edge(&self) -> BigInt {
        self.window.top().into()
    }
}

fn verdict(result: Result<(), Refused>) -> u8 {
    result.map_or_else(|refused| status(DropReason::from(refused)) as u8, |()| 0)
}

/// A compiled policy by itself.
#[napi]
pub struct NativeSpd {
    spd: Spd,
}

#[napi]
impl NativeSpd {
    #[napi(constructor)]
    pub fn new(version: u32, entries: Vec<NativeSpdEntry>) -> napi::Result<Self> {
        let entries = entries
            .iter()
            .map(|entry| spd_entry(entry).map(|(entry, _)| entry))
            .collect::<Result<Vec<_>, _>>()
            .map_err(thrown)?;
        let spd = Spd::compile(u64::from(version), entries)
            .map_err(|error| thrown(NativeError::new("IPSEC_ERR_SPD_INVALID", error)))?;
        Ok(Self { spd })
    }

    /// For each packet of a batch the position of the deciding entry; -1: none, so DISCARD; -2: not
    /// an IP packet that policy can be applied to.
    #[napi]
    pub fn search(
        &self,
        outbound: bool,
        arena: Uint8Array,
        descriptors: Uint32Array,
        count: u32,
    ) -> Vec<i32> {
        let direction = if outbound {
            Direction::Outbound
        } else {
            Direction::Inbound
        };
        descriptors
            .chunks_exact(WORDS)
            .take(count as usize)
            .map(|words| {
                let slot = read_slot(words);
                if !slot.fits(arena.len()) {
                    return -2;
                }
                IpPacket::parse(&arena[slot.range()]).map_or(-2, |packet| {
                    let found = self.spd.search(direction, &packet.flow_key());
                    found.map_or(-1, |position| position as i32)
                })
            })
            .collect()
    }
}
