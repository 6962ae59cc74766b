//! The cipher suites. Composition only: every primitive is a library's.
//!
//! A suite has two halves: a [`Sealer`] for an outbound SA, an [`Opener`] for an inbound one. Both
//! work in place on a whole ESP packet, SPI through ICV.

mod aead;
mod cbc_hmac;
mod key;

pub use aead::RingAead;
pub use cbc_hmac::{CbcHmacOpener, CbcHmacSealer};
pub use key::{IvKey, KeyMaterial};

use crate::limits::{AEAD_ALIGNMENT, AEAD_ICV_LEN, AEAD_IV_LEN, AES_BLOCK_LEN, SALT_LEN};
use ipsec_wire::esp::HEADER_LEN;

/// Length of an AES key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AesKey {
    /// 128 bits.
    Aes128,
    /// 192 bits.
    Aes192,
    /// 256 bits.
    Aes256,
}

/// An HMAC with its truncation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HmacHash {
    /// HMAC-SHA1-96 (RFC 2404), for old peers.
    Sha1,
    /// HMAC-SHA-256-128 (RFC 4868).
    Sha256,
    /// HMAC-SHA-384-192 (RFC 4868).
    Sha384,
    /// HMAC-SHA-512-256 (RFC 4868).
    Sha512,
}

/// Cipher and integrity of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SuiteName {
    /// AES-GCM with a 128-bit key and a 16-byte ICV (RFC 4106).
    Aes128Gcm16,
    /// AES-GCM with a 256-bit key and a 16-byte ICV (RFC 4106).
    Aes256Gcm16,
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// AES-CBC (RFC 3602), then HMAC over what was encrypted (RFC 4303 section 3.3.2.1).
    AesCbcHmac(AesKey, HmacHash),
}

macro_rules! suite_names {
    ($($name:literal = $suite:expr;)*) => {
        impl SuiteName {
            /// Every suite.
            pub const ALL: &'static [Self] = &[$($suite,)*];

            /// The suite that the control plane calls so.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some($suite),)*
                    _ => None,
                }
            }
        }
    };
}

suite_names! {
    "aes128gcm16" = Self::Aes128Gcm16;
    "aes256gcm16" = Self::Aes256Gcm16;
    "chacha20poly1305" = Self::ChaCha20Poly1305;
    "aes128-sha1" = Self::AesCbcHmac(AesKey::Aes128, HmacHash::Sha1);
    "aes128-sha256" = Self::AesCbcHmac(AesKey::Aes128, HmacHash::Sha256);
    "aes128-sha384" = Self::AesCbcHmac(AesKey::Aes128, HmacHash::Sha384);
    "aes128-sha512" = Self::AesCbcHmac(AesKey::Aes128, HmacHash::Sha512);
    "aes192-sha1" = Self::AesCbcHmac(AesKey::Aes192, HmacHash::Sha1);
    "aes192-sha256" = Self::AesCbcHmac(AesKey::Aes192, HmacHash::Sha256);
    "aes192-sha384" = Self::AesCbcHmac(AesKey::Aes192, HmacHash::Sha384);
    "aes192-sha512" = Self::AesCbcHmac(AesKey::Aes192, HmacHash::Sha512);
    "aes256-sha1" = Self::AesCbcHmac(AesKey::Aes256, HmacHash::Sha1);
    "aes256-sha256" = Self::AesCbcHmac(AesKey::Aes256, HmacHash::Sha256);
    "aes256-sha384" = Self::AesCbcHmac(AesKey::Aes256, HmacHash::Sha384);
    "aes256-sha512" = Self::AesCbcHmac(AesKey::Aes256, HmacHash::Sha512);
}

impl AesKey {
    const fn len(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }
}

impl HmacHash {
    /// RFC 4868 section 2.1.1 and RFC 2404 section 3: a key as long as the hash.
    const fn key_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// RFC 4868 section 2.3 and RFC 2404 section 2: half of the hash, 96 bits of SHA-1.
    const fn icv_len(self) -> usize {
        match self {
            Self::Sha1 => 12,
            Self::Sha256 => 16,
            Self::Sha384 => 24,
            Self::Sha512 => 32,
        }
    }
}

impl SuiteName {
    /// Bytes of keying material: the encryption key, with the salt of an AEAD, then the integrity
    /// key (RFC 4303, and RFC 7296 section 2.17 for the order).
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm16 => 16 + SALT_LEN,
            Self::Aes256Gcm16 | Self::ChaCha20Poly1305 => 32 + SALT_LEN,
            Self::AesCbcHmac(aes, hmac) => aes.len() + hmac.key_len(),
        }
    }

    /// What the suite adds to a payload.
    pub const fn sizes(self) -> Sizes {
        match self {
            Self::Aes128Gcm16 | Self::Aes256Gcm16 | Self::ChaCha20Poly1305 => Sizes {
                front_len: HEADER_LEN + AEAD_IV_LEN,
                icv_len: AEAD_ICV_LEN,
                alignment: AEAD_ALIGNMENT,
            },
            Self::AesCbcHmac(_, hmac) => Sizes {
                front_len: HEADER_LEN + AES_BLOCK_LEN,
                icv_len: hmac.icv_len(),
                alignment: AES_BLOCK_LEN,
            },
        }
    }
}

/// The lengths of a suite's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// SPI, Sequence Number and IV in front of the payload.
    pub front_len: usize,
    /// Bytes of ICV.
    pub icv_len: usize,
    /// What the payload with its trailer is a multiple of.
    pub alignment: usize,
}

impl Sizes {
    /// Bytes of the ESP packet that `payload_len` bytes, TFC padding included, become.
    #[inline]
    pub const fn sealed_len(self, payload_len: usize) -> usize {
        self.front_len + (payload_len + 2).next_multiple_of(self.alignment) + self.icv_len
    }
}

/// Key material has the wrong length for its suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "key material has {found} bytes; the suite takes {wanted}, encryption key then salt or integrity key"
)]
pub struct KeyLength {
    /// Bytes given.
    pub found: usize,
    /// Bytes needed.
    pub wanted: usize,
}

/// The bytes are not what the peer sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAuthentic;

/// The whole sequence number of a packet, and whether its high half is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// All 64 bits.
    pub number: u64,
    /// Extended numbers (RFC 4303 section 2.2.1).
    pub extended: bool,
}

/// Seals the packets of one outbound SA.
// There is one in each SA, beside what a packet needs anyway: a box would be one more line of cache.
#[allow(clippy::large_enum_variant)]
pub enum Sealer {
    /// One algorithm for both.
    Aead(RingAead),
    /// Encryption, then HMAC.
    CbcHmac(CbcHmacSealer),
}

impl Sealer {
    /// From key material; `iv_key` makes the IVs of the suites that need unpredictable ones.
    pub fn new(
        suite: SuiteName,
        material: &KeyMaterial,
        iv_key: &IvKey,
    ) -> Result<Self, KeyLength> {
        Ok(match suite {
            SuiteName::AesCbcHmac(aes, hmac) => {
                Self::CbcHmac(CbcHmacSealer::new(aes, hmac, material, iv_key)?)
            }
            _ => Self::Aead(RingAead::new(suite, material)?),
        })
    }

    /// Seals `packet` in place: SPI and Sequence Number and the payload with its trailer are there,
    /// IV and ICV are written. The caller never uses a number twice.
    #[inline]
    pub fn seal(&self, sequence: Sequence, packet: &mut [u8]) -> Result<(), NotAuthentic> {
        match self {
            Self::Aead(aead) => aead.seal_packet(sequence, packet),
            Self::CbcHmac(suite) => suite.seal_packet(sequence, packet),
        }
    }
}

/// Opens the packets of one inbound SA.
// There is one in each SA, beside what a packet needs anyway: a box would be one more line of cache.
#[allow(clippy::large_enum_variant)]
pub enum Opener {
    /// One algorithm for both.
    Aead(RingAead),
    /// HMAC, then decryption.
    CbcHmac(CbcHmacOpener),
}

impl Opener {
    /// From key material.
    pub fn new(suite: SuiteName, material: &KeyMaterial) -> Result<Self, KeyLength> {
        Ok(match suite {
            SuiteName::AesCbcHmac(aes, hmac) => {
                Self::CbcHmac(CbcHmacOpener::new(aes, hmac, material)?)
            }
            _ => Self::Aead(RingAead::new(suite, material)?),
        })
    }

    /// Opens `packet`, at least as long as the suite's front, trailer and ICV, in place; returns how
    /// many bytes behind the front are payload with trailer: none where the ICV is right and what it
    /// covers cannot be decrypted. On failure the contents are undefined and go nowhere.
    #[inline]
    pub fn open(&self, sequence: Sequence, packet: &mut [u8]) -> Result<usize, NotAuthentic> {
        match self {
            Self::Aead(aead) => aead.open_packet(sequence, packet),
            Self::CbcHmac(suite) => suite.open_packet(sequence, packet),
        }
    }
}
