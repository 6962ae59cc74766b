//! AES-GCM (RFC 4106) and ChaCha20-Poly1305 (RFC 7634) by ring: both take a 12-byte nonce of 4
//! bytes salt and 8 bytes IV, the ESP header as additional data, and give a 16-byte ICV.
//!
//! Nonce uniqueness: the IV of an outbound packet is its 64-bit sequence number. Numbers come from
//! one counter an SA that only counts up and stops before it would wrap, or before what was durably
//! reserved; a manually keyed SA starts above everything an earlier process could have used. So no
//! (key, IV) pair is used twice.

use super::{KeyLength, KeyMaterial, NotAuthentic, Sequence, SuiteName};
use crate::limits::{AEAD_ICV_LEN, AEAD_IV_LEN, SALT_LEN};
use ipsec_wire::esp::HEADER_LEN;
use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};

const FRONT_LEN: usize = HEADER_LEN + AEAD_IV_LEN;

/// A ring AEAD with its salt.
pub struct RingAead {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl RingAead {
    /// From cipher key then salt.
    pub fn new(suite: SuiteName, material: &KeyMaterial) -> Result<Self, KeyLength> {
        let bytes = material.bytes();
        let wrong = KeyLength {
            found: bytes.len(),
            wanted: suite.key_len(),
        };
        let algorithm = match suite {
            SuiteName::Aes128Gcm16 => &AES_128_GCM,
            SuiteName::Aes256Gcm16 => &AES_256_GCM,
            SuiteName::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            SuiteName::AesCbcHmac(..) => return Err(wrong),
        };
        let (key, salt) = bytes.split_last_chunk::<SALT_LEN>().ok_or(wrong)?;
        let key = UnboundKey::new(algorithm, key).map_err(|_| wrong)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            salt: *salt,
        })
    }

    #[inline]
    fn nonce(&self, iv: [u8; AEAD_IV_LEN]) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..SALT_LEN].copy_from_slice(&self.salt);
        nonce[SALT_LEN..].copy_from_slice(&iv);
        Nonce::assume_unique_for_key(nonce)
    }

    /// The primitive: seals `plaintext` in place and returns the ICV. The caller never uses an IV
    /// twice.
    #[inline]
    pub fn seal(
        &self,
        iv: [u8; AEAD_IV_LEN],
        aad: &[u8],
        plaintext: &mut [u8],
    ) -> Result<[u8; AEAD_ICV_LEN], NotAuthentic> {
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(iv), Aad::from(aad), plaintext)
            .map_err(|_| NotAuthentic)?;
        let mut icv = [0; AEAD_ICV_LEN];
        icv.copy_from_slice(tag.as_ref());
        Ok(icv)
    }

    /// The primitive: opens `sealed`, ciphertext then ICV, in place; returns the bytes of plaintext
    /// at its start.
    #[inline]
    pub fn open(
        &self,
        iv: [u8; AEAD_IV_LEN],
        aad: &[u8],
        sealed: &mut [u8],
    ) -> Result<usize, NotAuthentic> {
        let plaintext = self
            .key
            .open_in_place(self.nonce(iv), Aad::from(aad), sealed)
            .map_err(|_| NotAuthentic)?;
        Ok(plaintext.len())
    }

    #[inline]
    pub(super) fn seal_packet(
        &self,
        sequence: Sequence,
        packet: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let (front, rest) = packet.split_at_mut_checked(FRONT_LEN).ok_or(NotAuthentic)?;
        // RFC 4106 section 3.1: the IV is unique for the key; the argument is above.
        let iv = sequence.number.to_be_bytes();
        front[HEADER_LEN..].copy_from_slice(&iv);
        let aad = AdditionalData::new(front, sequence);
        let (plaintext, icv) = rest
            .split_last_chunk_mut::<AEAD_ICV_LEN>()
            .ok_or(NotAuthentic)?;
        *icv = self.seal(iv, aad.as_slice(), plaintext)?;
        Ok(())
    }

    #[inline]
    pub(super) fn open_packet(
        &self,
        sequence: Sequence,
        packet: &mut [u8],
    ) -> Result<usize, NotAuthentic> {
        let (front, sealed) = packet.split_at_mut_checked(FRONT_LEN).ok_or(NotAuthentic)?;
        let mut iv = [0; AEAD_IV_LEN];
        iv.copy_from_slice(&front[HEADER_LEN..]);
        let aad = AdditionalData::new(front, sequence);
        self.open(iv, aad.as_slice(), sealed)
    }
}

/// The additional data (RFC 4106 section 5, RFC 7634 section 2.1): SPI and sequence number, 8 bytes,
/// or 12 with extended numbers.
struct AdditionalData {
    bytes: [u8; 12],
    len: usize,
}

impl AdditionalData {
    #[inline]
    fn new(front: &[u8], sequence: Sequence) -> Self {
        let mut bytes = [0; 12];
        if sequence.extended {
            bytes[..4].copy_from_slice(&front[..4]);
            bytes[4..].copy_from_slice(&sequence.number.to_be_bytes());
            Self { bytes, len: 12 }
        } else {
            bytes[..HEADER_LEN].copy_from_slice(&front[..HEADER_LEN]);
            Self {
                bytes,
                len: HEADER_LEN,
            }
        }
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
