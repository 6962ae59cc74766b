//! Key bytes between the seam and the cipher.

use zeroize::Zeroizing;

/// Encryption key, then salt or integrity key. Wiped when dropped; never printed. The expanded key
/// inside the cipher lives as long as its SA.
pub struct KeyMaterial(Zeroizing<Vec<u8>>);

impl KeyMaterial {
    /// Takes a copy; the caller wipes its own.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The key that makes unpredictable IVs of sequence numbers: random bytes, drawn for one outbound SA
/// and used for no other. Suites whose IV may be a counter do not look at it.
pub struct IvKey(Zeroizing<[u8; 32]>);

impl IvKey {
    /// Takes a copy of bytes from the system's random generator.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
