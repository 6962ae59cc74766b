//! Opening one packet. The window is asked before ([`Fresh`]) and told after ([`Authenticated`]).

use super::{AdditionalData, trailer};
use crate::limits::{ESP_FRONT_LEN, ICV_LEN};
use crate::replay_window::{Authenticated, Fresh};
use crate::sad::InboundSa;
use crate::suite::Suite;
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

/// Opens `packet`, SPI through ICV, in place: the payload lies at `ESP_FRONT_LEN`.
#[inline]
pub fn open(sa: &InboundSa, packet: &mut [u8], fresh: Fresh) -> Result<Opened, DropReason> {
    if packet.len() < ESP_FRONT_LEN + 2 + ICV_LEN {
        return Err(DropReason::Short);
    }
    let (front, sealed) = packet.split_at_mut(ESP_FRONT_LEN);
    let mut iv = [0; 8];
    iv.copy_from_slice(&front[8..]);
    let number = fresh.sequence_number();
    let aad = AdditionalData::new(sa.spi(), number, sa.extended);
    let plaintext_len = sa
        .suite
        .open(iv, aad.as_slice(), sealed)
        .map_err(|_| DropReason::Integrity)?;
    let payload = trailer::read(&sealed[..plaintext_len])
        .map(|(len, next_header)| (len as u32, next_header))
        .map_err(|_| DropReason::Padding);
    Ok(Opened {
        number: fresh.authenticated(),
        payload,
    })
}
