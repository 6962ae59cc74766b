//! ML-KEM-768 and ML-KEM-1024 (draft-ietf-ipsecme-ikev2-mlkem). A private key is its seed.

use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::{B32, EncapsulationKey, MlKem768, MlKem1024, Seed, ml_kem_768, ml_kem_1024};
use zeroize::{Zeroize, Zeroizing};

/// A ciphertext, and the secret inside it.
pub struct Encapsulation {
    /// Goes to the owner of the key.
    pub ciphertext: Vec<u8>,
    /// The shared secret.
    pub secret: Zeroizing<[u8; 32]>,
}

/// The encapsulation key of a seed (d | z, 64 bytes); `bits` is 768 or 1024.
pub fn encapsulation_key(bits: u32, seed: &[u8]) -> Option<Vec<u8>> {
    let mut seed = Seed::try_from(seed).ok()?;
    let key = match bits {
        768 => {
            let key = ml_kem_768::DecapsulationKey::from_seed(seed);
            Some(key.encapsulation_key().to_bytes().to_vec())
        }
        1024 => {
            let key = ml_kem_1024::DecapsulationKey::from_seed(seed);
            Some(key.encapsulation_key().to_bytes().to_vec())
        }
        _ => None,
    };
    seed.zeroize();
    key
}

/// Encapsulates to a peer's key with 32 random bytes, which serve once.
pub fn encapsulate(bits: u32, key: &[u8], randomness: &[u8]) -> Option<Encapsulation> {
    let mut message = B32::try_from(randomness).ok()?;
    let sealed = match bits {
        768 => key_768(key).map(|key| {
            let (ciphertext, secret) = key.encapsulate_deterministic(&message);
            (ciphertext.to_vec(), secret)
        }),
        1024 => key_1024(key).map(|key| {
            let (ciphertext, secret) = key.encapsulate_deterministic(&message);
            (ciphertext.to_vec(), secret)
        }),
        _ => None,
    };
    message.zeroize();
    sealed.map(|(ciphertext, secret)| Encapsulation {
        ciphertext,
        secret: Zeroizing::new(secret.into()),
    })
}

fn key_768(bytes: &[u8]) -> Option<EncapsulationKey<MlKem768>> {
    EncapsulationKey::new(&bytes.try_into().ok()?).ok()
}

fn key_1024(bytes: &[u8]) -> Option<EncapsulationKey<MlKem1024>> {
    EncapsulationKey::new(&bytes.try_into().ok()?).ok()
}

/// The secret of a ciphertext. One that was not made for this key gives another secret and no
/// error (FIPS 203 section 6.3).
pub fn decapsulate(bits: u32, seed: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut seed = Seed::try_from(seed).ok()?;
    let secret = match bits {
        768 => ml_kem_768::Ciphertext::try_from(ciphertext)
            .ok()
            .map(|sealed| ml_kem_768::DecapsulationKey::from_seed(seed).decapsulate(&sealed)),
        1024 => ml_kem_1024::Ciphertext::try_from(ciphertext)
            .ok()
            .map(|sealed| ml_kem_1024::DecapsulationKey::from_seed(seed).decapsulate(&sealed)),
        _ => None,
    };
    seed.zeroize();
    secret.map(|secret| Zeroizing::new(secret.into()))
}
