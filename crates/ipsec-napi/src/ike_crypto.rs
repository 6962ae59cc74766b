//! What IKE needs and node:crypto lacks: ML-KEM (FIPS 203), AES-CMAC (RFC 4493) and AES-XCBC (RFC
//! 3566). Randomness is an argument: the caller has the generator. An argument of a wrong length,
//! or an encapsulation key that FIPS 203 section 7.2 refuses, gives nothing.

use aes::Aes128;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use cmac::{Cmac, Mac};
use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::{B32, EncapsulationKey, MlKem768, MlKem1024, Seed, ml_kem_768, ml_kem_1024};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;
use zeroize::Zeroize;

/// A ciphertext, and the secret inside it.
#[napi(object)]
pub struct NativeEncapsulation {
    pub ciphertext: Uint8Array,
    pub secret: Uint8Array,
}

/// The encapsulation key of a seed (d | z, 64 bytes); `bits` is 768 or 1024.
#[napi]
pub fn ml_kem_encapsulation_key(bits: u32, seed: Uint8Array) -> Option<Uint8Array> {
    let mut seed = Seed::try_from(seed.as_ref()).ok()?;
    let key = match bits {
        768 => Some(
            ml_kem_768::DecapsulationKey::from_seed(seed)
                .encapsulation_key()
                .to_bytes()
                .to_vec(),
        ),
        1024 => Some(
            ml_kem_1024::DecapsulationKey::from_seed(seed)
                .encapsulation_key()
                .to_bytes()
                .to_vec(),
        ),
        _ => None,
    };
    seed.zeroize();
    key.map(Uint8Array::from)
}

/// Encapsulates to a peer's key with 32 random bytes, which serve once.
#[napi]
pub fn ml_kem_encapsulate(
    bits: u32,
    key: Uint8Array,
    randomness: Uint8Array,
) -> Option<NativeEncapsulation> {
    let mut message = B32::try_from(randomness.as_ref()).ok()?;
    let sealed = match bits {
        768 => encapsulation_key_768(&key).map(|key| {
            let (ciphertext, secret) = key.encapsulate_deterministic(&message);
            (ciphertext.to_vec(), secret)
        }),
        1024 => encapsulation_key_1024(&key).map(|key| {
            let (ciphertext, secret) = key.encapsulate_deterministic(&message);
            (ciphertext.to_vec(), secret)
        }),
        _ => None,
    };
    message.zeroize();
    sealed.map(|(ciphertext, mut secret)| {
        let reply = NativeEncapsulation {
            ciphertext: ciphertext.into(),
            secret: secret.to_vec().into(),
        };
        secret.zeroize();
        reply
    })
}

fn encapsulation_key_768(bytes: &[u8]) -> Option<EncapsulationKey<MlKem768>> {
    EncapsulationKey::new(&bytes.try_into().ok()?).ok()
}

fn encapsulation_key_1024(bytes: &[u8]) -> Option<EncapsulationKey<MlKem1024>> {
    EncapsulationKey::new(&bytes.try_into().ok()?).ok()
}

/// The secret of a ciphertext, 32 bytes. A ciphertext that was not made for this key gives another
/// secret and no error (FIPS 203 section 6.3).
#[napi]
pub fn ml_kem_decapsulate(
    bits: u32,
    seed: Uint8Array,
    ciphertext: Uint8Array,
) -> Option<Uint8Array> {
    let mut seed = Seed::try_from(seed.as_ref()).ok()?;
    let secret = match bits {
        768 => ml_kem_768::Ciphertext::try_from(ciphertext.as_ref())
            .ok()
            .map(|sealed| ml_kem_768::DecapsulationKey::from_seed(seed).decapsulate(&sealed)),
        1024 => ml_kem_1024::Ciphertext::try_from(ciphertext.as_ref())
            .ok()
            .map(|sealed| ml_kem_1024::DecapsulationKey::from_seed(seed).decapsulate(&sealed)),
        _ => None,
    };
    seed.zeroize();
    secret.map(|mut secret| {
        let reply = secret.to_vec().into();
        secret.zeroize();
        reply
    })
}

/// AES-128-CMAC, 16 bytes; the key has 16.
#[napi]
pub fn aes_cmac(key: Uint8Array, data: Uint8Array) -> Option<Uint8Array> {
    let mut mac = Cmac::<Aes128>::new_from_slice(&key).ok()?;
    mac.update(&data);
    Some(mac.finalize().into_bytes().to_vec().into())
}

/// AES-XCBC-MAC, 16 bytes; the key has 16.
#[napi]
pub fn aes_xcbc(key: Uint8Array, data: Uint8Array) -> Option<Uint8Array> {
    let cipher = Aes128::new_from_slice(&key).ok()?;
    // RFC 3566 section 4: K1 encrypts, K2 masks a whole last block, K3 a padded one.
    let [mut first, mut whole, mut padded] = [1_u8, 2, 3].map(|number| {
        let mut block = Block::<Aes128>::from([number; 16]);
        cipher.encrypt_block(&mut block);
        block
    });
    let chain = Aes128::new(&first);
    let last_offset = data.len().saturating_sub(1) / 16 * 16;
    let (head, last) = data.split_at(last_offset);
    let mut state = Block::<Aes128>::default();
    for block in head.chunks_exact(16) {
        mix(&mut state, block);
        chain.encrypt_block(&mut state);
    }
    mix(&mut state, last);
    if last.len() == 16 {
        mix(&mut state, &whole);
    } else {
        state[last.len()] ^= 0x80;
        mix(&mut state, &padded);
    }
    chain.encrypt_block(&mut state);
    first.zeroize();
    whole.zeroize();
    padded.zeroize();
    Some(state.to_vec().into())
}

fn mix(state: &mut [u8], bytes: &[u8]) {
    for (to, from) in state.iter_mut().zip(bytes) {
        *to ^= from;
    }
}
