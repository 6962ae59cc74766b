//! The cipher suites behind one trait. Composition only: every primitive is a library's.

mod aead;
mod key;

pub use aead::RingAead;
pub use key::KeyMaterial;

use crate::limits::SALT_LEN;

/// The AEAD suites of RFC 4106 and RFC 7634.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SuiteName {
    /// AES-GCM with a 128-bit key and a 16-byte ICV.
    Aes128Gcm16,
    /// AES-GCM with a 256-bit key and a 16-byte ICV.
    Aes256Gcm16,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

impl SuiteName {
    /// Bytes of cipher key, then salt.
    pub const fn key_len(self) -> usize {
        SALT_LEN
            + match self {
                Self::Aes128Gcm16 => 16,
                Self::Aes256Gcm16 | Self::ChaCha20Poly1305 => 32,
            }
    }
}

/// Key material has the wrong length for its suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key material has {found} bytes; the suite takes {wanted}, cipher key then salt")]
pub struct KeyLength {
    /// Bytes given.
    pub found: usize,
    /// Bytes needed.
    pub wanted: usize,
}

/// The bytes are not what the peer sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAuthentic;

/// Seals and opens one packet in place. IV, ICV and alignment are those of [`crate::limits`] for
/// every suite so far.
pub trait Suite: Send + Sync {
    /// Seals `plaintext` in place and returns the ICV. The caller never uses an IV twice.
    fn seal(&self, iv: [u8; 8], aad: &[u8], plaintext: &mut [u8])
    -> Result<[u8; 16], NotAuthentic>;

    /// Opens `sealed`, ciphertext then ICV, in place; returns the bytes of plaintext at its start.
    /// On failure the contents are undefined and go nowhere.
    fn open(&self, iv: [u8; 8], aad: &[u8], sealed: &mut [u8]) -> Result<usize, NotAuthentic>;
}
