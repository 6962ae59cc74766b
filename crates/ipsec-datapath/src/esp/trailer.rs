//! Padding, Pad Length and Next Header (RFC 4303 section 2.4 to 2.6).

use ipsec_wire::ProtocolNumber;

/// Writes padding 1, 2, 3, Pad Length and Next Header; `trailer` is exactly these.
#[inline]
pub(super) fn write(trailer: &mut [u8], next_header: ProtocolNumber) {
    let padding = trailer.len() - 2;
    for (value, byte) in (1..).zip(&mut trailer[..padding]) {
        *byte = value;
    }
    trailer[padding] = padding as u8;
    trailer[padding + 1] = next_header.0;
}

/// Padding is not what RFC 4303 section 2.4 says.
pub(super) struct BadPadding;

/// Payload length and Next Header of a decrypted payload with trailer.
#[inline]
pub(super) fn read(plaintext: &[u8]) -> Result<(usize, ProtocolNumber), BadPadding> {
    let (rest, [pad_len, next_header]) = plaintext.split_last_chunk::<2>().ok_or(BadPadding)?;
    let payload_len = rest
        .len()
        .checked_sub(usize::from(*pad_len))
        .ok_or(BadPadding)?;
    // RFC 4303 section 2.4: the receiver should inspect the padding of an algorithm that does not
    // specify its content; after a good ICV a wrong one is a broken peer.
    let ascending = (1..=u8::MAX)
        .zip(&rest[payload_len..])
        .all(|(want, byte)| want == *byte);
    if ascending {
        Ok((payload_len, ProtocolNumber(*next_header)))
    } else {
        Err(BadPadding)
    }
}
