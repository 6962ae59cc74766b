//! AES-GCM (RFC 4106) and ChaCha20-Poly1305 (RFC 7634) by ring: both take a 12-byte nonce of 4
//! bytes salt and 8 bytes IV, the ESP header as additional data, and give a 16-byte ICV.
//!
//! Nonce uniqueness: the IV of an outbound packet is its 64-bit sequence number. Numbers come from
//! one counter an SA that only counts up and stops before it would wrap, or before what was durably
//! reserved; a manually keyed SA starts above everything an earlier process could have used. So no
//! (key, IV) pair is used twice.

use super::{KeyLength, KeyMaterial, NotAuthentic, Suite, SuiteName};
use crate::limits::SALT_LEN;
use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};

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
        };
        let (key, salt) = bytes.split_last_chunk::<SALT_LEN>().ok_or(wrong)?;
        let key = UnboundKey::new(algorithm, key).map_err(|_| wrong)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            salt: *salt,
        })
    }

    #[inline]
    fn nonce(&self, iv: [u8; 8]) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..SALT_LEN].copy_from_slice(&self.salt);
        nonce[SALT_LEN..].copy_from_slice(&iv);
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Suite for RingAead {
    #[inline]
    fn seal(
        &self,
        iv: [u8; 8],
        aad: &[u8],
        plaintext: &mut [u8],
    ) -> Result<[u8; 16], NotAuthentic> {
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(iv), Aad::from(aad), plaintext)
            .map_err(|_| NotAuthentic)?;
        let mut icv = [0; 16];
        icv.copy_from_slice(tag.as_ref());
        Ok(icv)
    }

    #[inline]
    fn open(&self, iv: [u8; 8], aad: &[u8], sealed: &mut [u8]) -> Result<usize, NotAuthentic> {
        let plaintext = self
            .key
            .open_in_place(self.nonce(iv), Aad::from(aad), sealed)
            .map_err(|_| NotAuthentic)?;
        Ok(plaintext.len())
    }
}
