//! Key bytes between the seam and the cipher.

use zeroize::Zeroizing;

/// Cipher key then salt. Wiped when dropped; never printed. The expanded key inside the cipher
/// lives as long as its SA.
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
