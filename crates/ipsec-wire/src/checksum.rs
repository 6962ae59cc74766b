//! The Internet checksum (RFC 1071), with a vector path chosen at run time so that one binary
//! serves every CPU.
//!
//! Sums are kept in native byte order: the one's complement sum commutes with a byte swap
//! (RFC 1071 section 2 (B)), so only [`finish`] has to know about the order.

/// An unfolded one's complement sum of 16-bit words in native byte order.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Adds bytes. All parts but the last must have an even length.
    #[inline]
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        Self(self.0 + sum_bytes(bytes))
    }

    /// Adds a 16-bit number in host order, as if its network-order bytes were in the data.
    #[inline]
    #[must_use]
    pub fn add_u16(self, value: u16) -> Self {
        Self(self.0 + u64::from(value.to_be()))
    }

    /// Adds a 32-bit number in host order, as if its network-order bytes were in the data.
    #[inline]
    #[must_use]
    pub fn add_u32(self, value: u32) -> Self {
        self.add_u16((value >> 16) as u16).add_u16(value as u16)
    }

    /// Adds another sum.
    #[inline]
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The folded sum in host order, not complemented: what a partial checksum field holds.
    #[inline]
    pub fn fold(self) -> u16 {
        let mut sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        u16::from_be(sum as u16)
    }

    /// The checksum in host order: the complement of the folded sum.
    #[inline]
    pub fn finish(self) -> u16 {
        !self.fold()
    }
}

/// The pseudo-header sum of IPv4 and IPv6 alike (RFC 9293 section 3.1, RFC 8200 section 8.1):
/// `addresses` is source and destination, 8 or 32 bytes.
#[inline]
pub fn pseudo_header(addresses: &[u8], protocol: u8, upper_len: usize) -> Sum {
    Sum(sum_scalar(addresses))
        .add_u16(u16::from(protocol))
        .add_u32(upper_len as u32)
}

/// RFC 1624 equation 3: the checksum after one 16-bit word went from `old` to `new`.
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let mut sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    !(sum as u16)
}

#[inline]
fn sum_bytes(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= 128 {
        if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512bw") {
            // SAFETY: the CPU was found to have AVX-512F and BW.
            #[allow(unsafe_code)]
            return unsafe { sum_avx512(bytes) };
        }
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU was found to have AVX2.
            #[allow(unsafe_code)]
            return unsafe { sum_avx2(bytes) };
        }
    }
    sum_scalar(bytes)
}

fn sum_scalar(bytes: &[u8]) -> u64 {
    let mut sum = 0u64;
    let (chunks, rest) = bytes.as_chunks::<4>();
    for chunk in chunks {
        sum += u64::from(u32::from_ne_bytes(*chunk));
    }
    match *rest {
        [a, b, c] => {
            sum += u64::from(u16::from_ne_bytes([a, b])) + u64::from(u16::from_ne_bytes([c, 0]))
        }
        [a, b] => sum += u64::from(u16::from_ne_bytes([a, b])),
        [a] => sum += u64::from(u16::from_ne_bytes([a, 0])),
        _ => {}
    }
    sum
}

// The body of the vector paths: 32-bit lanes of 16-bit words, which the compiler turns into vector
// adds of the width that the caller's target features allow. A lane takes two words a round, so it
// cannot overflow in fewer than 32,768 rounds; a packet has at most 65,535 bytes, 1,024 rounds.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn sum_lanes<const BYTES: usize, const LANES: usize>(bytes: &[u8]) -> u64 {
    let mut sum = 0u64;
    for part in bytes.chunks(BYTES * 16_384) {
        let mut lanes = [0u32; LANES];
        let (blocks, rest) = part.as_chunks::<BYTES>();
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<4>().0) {
                let word = u32::from_ne_bytes(*word);
                *lane += (word & 0xffff) + (word >> 16);
            }
        }
        sum += lanes.iter().map(|lane| u64::from(*lane)).sum::<u64>();
        sum += sum_scalar(rest);
    }
    sum
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(bytes: &[u8]) -> u64 {
    sum_lanes::<128, 32>(bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn sum_avx512(bytes: &[u8]) -> u64 {
    sum_lanes::<256, 64>(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    /// RFC 1071 section 4.1, word by word.
    fn obvious(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
            sum += u32::from(word);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn equals_the_obvious_sum_for_every_length_and_path() {
        let data: Vec<u8> = (0..70_000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        for len in (0..1600).chain([9_000, 65_535, 65_534, 70_000]) {
            let expected = obvious(&data[..len]);
            assert_eq!(
                Sum::ZERO.add_bytes(&data[..len]).finish(),
                expected,
                "length {len}"
            );
            assert_eq!(
                Sum(sum_scalar(&data[..len])).finish(),
                expected,
                "scalar, length {len}"
            );
        }
        let ones = std::vec![0xffu8; 65_534];
        assert_eq!(Sum::ZERO.add_bytes(&ones).finish(), obvious(&ones));
    }

    #[test]
    fn rfc_1071_section_3_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::ZERO.add_bytes(&bytes).fold(), 0xddf2);
    }

    #[test]
    fn rfc_1624_section_4_example() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }
}
