//! Sealing a run.

use super::{AdditionalData, trailer};
use crate::limits::{ESP_FRONT_LEN, ICV_LEN, PACKET_LEN_MAX};
use crate::sad::OutboundSa;
use crate::suite::Suite;
use crate::verdict::DropReason;
use ipsec_wire::{ProtocolNumber, Run, esp};

/// What the payload of the run's packets is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// IP packets, in tunnel mode.
    Ip,
    /// Dummy packets (RFC 4303 section 2.6), whatever bytes they hold.
    Dummy,
}

/// Makes each packet of the run an ESP packet, SPI through ICV, in its cell; numbers count up from
/// `first_sequence_number`, which the caller has reserved for the run and for nothing else.
///
/// # Errors
/// The first packet whose cell has no room; packets before it are sealed, and its and later numbers
/// are lost, which anti-replay does not mind.
pub fn encapsulate(
    sa: &OutboundSa,
    run: &mut Run<'_>,
    content: Content,
    first_sequence_number: u64,
) -> Result<(), (usize, DropReason)> {
    for (index, sequence_number) in (0..run.len()).zip(first_sequence_number..) {
        seal_one(sa, run, index, content, sequence_number).map_err(|reason| (index, reason))?;
    }
    Ok(())
}

#[inline]
fn seal_one(
    sa: &OutboundSa,
    run: &mut Run<'_>,
    index: usize,
    content: Content,
    sequence_number: u64,
) -> Result<(), DropReason> {
    let inner = run.packet(index);
    let inner_len = inner.len();
    let next_header = match (content, inner.first().map_or(0, |byte| byte >> 4)) {
        (Content::Dummy, _) => ProtocolNumber::NONE,
        (Content::Ip, 4) => ProtocolNumber::IPV4,
        (Content::Ip, 6) => ProtocolNumber::IPV6,
        _ => return Err(DropReason::MalformedOutbound),
    };
    let payload_len = inner_len.max(sa.tfc_pad_to_len);
    let trailer_len = trailer::padding_len(payload_len) + 2;
    let tail = payload_len - inner_len + trailer_len + ICV_LEN;
    if ESP_FRONT_LEN + inner_len + tail > PACKET_LEN_MAX {
        return Err(DropReason::TooBig);
    }
    let packet = run
        .grow(index, ESP_FRONT_LEN, tail)
        .map_err(|_| DropReason::TooBig)?;
    // RFC 4106 section 3.1: the IV is unique for the key; see the suite for the argument.
    let iv = sequence_number.to_be_bytes();
    let (front, rest) = packet.split_at_mut(ESP_FRONT_LEN);
    front.copy_from_slice(&esp::header_with_iv(sa.spi, sequence_number as u32, iv));
    let (plaintext, icv) = rest.split_at_mut(payload_len + trailer_len);
    // Cleared, so that no bytes of an older packet leave in the TFC padding.
    plaintext[inner_len..payload_len].fill(0);
    trailer::write(&mut plaintext[payload_len..], next_header);
    let aad = AdditionalData::new(sa.spi, sequence_number, sa.extended);
    let tag = sa
        .suite
        .seal(iv, aad.as_slice(), plaintext)
        .map_err(|_| DropReason::TooBig)?;
    icv.copy_from_slice(&tag);
    Ok(())
}
