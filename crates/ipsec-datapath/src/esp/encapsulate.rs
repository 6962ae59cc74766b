//! Sealing a run.

use super::trailer;
use crate::limits::PACKET_LEN_MAX;
use crate::sad::OutboundSa;
use crate::suite::Sequence;
use crate::verdict::DropReason;
use ipsec_wire::{ProtocolNumber, Run, esp};

/// What the payload of the run's packets is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// IP packets, in tunnel mode.
    Ip,
    /// What was behind an IP header, in transport mode.
    Payload(ProtocolNumber),
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
        (Content::Payload(protocol), _) => protocol,
        (Content::Ip, 4) => ProtocolNumber::IPV4,
        (Content::Ip, 6) => ProtocolNumber::IPV6,
        _ => return Err(DropReason::MalformedOutbound),
    };
    let payload_len = inner_len.max(sa.tfc_pad_to_len);
    let front_len = sa.sizes.front_len;
    let sealed_len = sa.sizes.sealed_len(payload_len);
    if sealed_len > PACKET_LEN_MAX {
        return Err(DropReason::TooBig);
    }
    let packet = run
        .grow(index, front_len, sealed_len - front_len - inner_len)
        .map_err(|_| DropReason::TooBig)?;
    packet[..esp::HEADER_LEN].copy_from_slice(&esp::header_of(sa.spi, sequence_number as u32));
    let icv_at = sealed_len - sa.sizes.icv_len;
    let (padding, trailer) =
        packet[front_len + inner_len..icv_at].split_at_mut(payload_len - inner_len);
    // Cleared, so that no bytes of an older packet leave in the TFC padding.
    padding.fill(0);
    trailer::write(trailer, next_header);
    let sequence = Sequence {
        number: sequence_number,
        extended: sa.extended,
    };
    sa.suite
        .seal(sequence, packet)
        .map_err(|_| DropReason::TooBig)
}
