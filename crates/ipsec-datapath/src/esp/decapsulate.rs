//! Opening one packet. The window is asked before ([`Fresh`]) and told after ([`Authenticated`]).

use super::trailer;
use crate::replay_window::{Authenticated, Fresh};
use crate::sad::InboundSa;
use crate::suite::Sequence;
use crate::verdict::DropReason;
use ipsec_wire::ProtocolNumber;

/// What was in an ESP packet with a good ICV. Nothing of it may be used before the window took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// For the window.
    pub number: Authenticated,
    /// Bytes of payload, TFC padding included; or why the payload is not usable.
    pub payload: Result<(u32, ProtocolNumber), DropReason>,
}

/// Opens `packet`, SPI through ICV, in place: the payload lies behind the front of the
/// SA's suite.
#[inline]
pub fn open(sa: &InboundSa, packet: &mut [u8], fresh: Fresh) -> Result<Opened, DropReason> {
    let front_len = sa.sizes.front_len;
    if packet.len() < front_len + 2 + sa.sizes.icv_len {
        return Err(DropReason::Short);
    }
    let sequence = Sequence {
        number: fresh.sequence_number(),
        extended: sa.extended,
    };
    let plaintext_len = sa
        .suite
        .open(sequence, packet)
        .map_err(|_| DropReason::Integrity)?;
    let payload = trailer::read(&packet[front_len..front_len + plaintext_len])
        .map(|(len, next_header)| (len as u32, next_header))
        .map_err(|_| DropReason::Padding);
    Ok(Opened {
        number: fresh.authenticated(),
        payload,
    })
}
