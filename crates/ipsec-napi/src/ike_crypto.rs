//! What IKE needs and node:crypto lacks. Null: an argument has a wrong length or is refused.

use ipsec_primitives as primitives;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

/// A ciphertext, and the secret inside it.
#[napi(object)]
pub struct NativeEncapsulation {
    pub ciphertext: Uint8Array,
    pub secret: Uint8Array,
}

/// The encapsulation key of a seed (d | z, 64 bytes); `bits` is 768 or 1024.
#[napi]
pub fn ml_kem_encapsulation_key(bits: u32, seed: Uint8Array) -> Option<Uint8Array> {
    primitives::encapsulation_key(bits, &seed).map(Uint8Array::from)
}

/// Encapsulates to a peer's key with 32 random bytes, which serve once.
#[napi]
pub fn ml_kem_encapsulate(
    bits: u32,
    key: Uint8Array,
    randomness: Uint8Array,
) -> Option<NativeEncapsulation> {
    primitives::encapsulate(bits, &key, &randomness).map(|sealed| NativeEncapsulation {
        ciphertext: sealed.ciphertext.into(),
        secret: sealed.secret.to_vec().into(),
    })
}

/// The secret of a ciphertext, 32 bytes. A ciphertext that was not made for this key gives another
/// secret and no error (FIPS 203 section 6.3).
#[napi]
pub fn ml_kem_decapsulate(
    bits: u32,
    seed: Uint8Array,
    ciphertext: Uint8Array,
) -> Option<Uint8Array> {
    primitives::decapsulate(bits, &seed, &ciphertext).map(|secret| secret.to_vec().into())
}

/// AES-128-CMAC, 16 bytes; the key has 16.
#[napi]
pub fn aes_cmac(key: Uint8Array, data: Uint8Array) -> Option<Uint8Array> {
    primitives::aes_cmac(&key, &data).map(|mac| mac.to_vec().into())
}

/// AES-XCBC-MAC, 16 bytes; the key has 16.
#[napi]
pub fn aes_xcbc(key: Uint8Array, data: Uint8Array) -> Option<Uint8Array> {
    primitives::aes_xcbc(&key, &data).map(|mac| mac.to_vec().into())
}
