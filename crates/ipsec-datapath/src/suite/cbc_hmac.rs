//! AES-CBC (RFC 3602) with HMAC-SHA-2 (RFC 4868) or HMAC-SHA1-96 (RFC 2404): encrypt, then
//! authenticate SPI, Sequence Number, IV and ciphertext, and the high half of an extended number,
//! which does not travel (RFC 4303 section 2.2.1). AES and CBC are RustCrypto's, HMAC is ring's.
//!
//! ```text
//! | SPI | Sequence Number | IV (16) | payload, padding, trailer | ICV |
//!                                   |<------- encrypted ------->|
//! |<-------------------- authenticated ------------------------>|(+ high half)
//! ```
//!
//! **Opening**: the ICV is compared in constant time before a byte is decrypted, so padding is looked
//! at only where the key's owner wrote it, and nothing about it can be asked by a forger (the oracle
//! of Vaudenay's attack).
//!
//! **The IV** must be unpredictable to whoever chooses plaintext (RFC 3602 section 3): who knows the
//! next IV can test a guess of an earlier block. Here the IV of packet `n` is `AES-256(iv_key, n)`:
//! the forward cipher over a nonce, as NIST SP 800-38A appendix C has it, under a key of its own that
//! was drawn at random for this SA, never leaves it and encrypts nothing else.
//! - `n` is the whole 64-bit sequence number, used once, so all inputs of one `iv_key` differ.
//! - AES is a pseudorandom permutation: distinct inputs give outputs that cannot be told from
//!   distinct random blocks without `iv_key`, however many earlier IVs were seen on the wire.
//!   Predicting one would be telling AES from random.
//! - A permutation never gives an IV twice. After a restart of a manually keyed SA `iv_key` is another
//!   one; that two of its blocks meet has the odds of two random blocks, and all it would show is
//!   whether two packets begin with the same bytes.
//! - The cipher's own key is not used for it: then an IV would be a block of ciphertext under that
//!   key, and a chosen first block of plaintext could be compared with it.
//!
//! One block of AES a packet, and no system call.

use super::{AesKey, HmacHash, IvKey, KeyLength, KeyMaterial, NotAuthentic, Sequence, SuiteName};
use crate::limits::AES_BLOCK_LEN;
use aes::cipher::{
    Array, Block, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt,
    InnerIvInit, KeyInit, consts::U16,
};
use aes::{Aes128Dec, Aes128Enc, Aes192Dec, Aes192Enc, Aes256Dec, Aes256Enc};
use ipsec_wire::esp::HEADER_LEN;
use ring::hmac;
use subtle::ConstantTimeEq;

const FRONT_LEN: usize = HEADER_LEN + AES_BLOCK_LEN;

/// Encryption key and integrity key of keying material.
fn split(
    aes: AesKey,
    hash: HmacHash,
    material: &KeyMaterial,
) -> Result<(&[u8], Integrity), KeyLength> {
    let wrong = KeyLength {
        found: material.bytes().len(),
        wanted: SuiteName::AesCbcHmac(aes, hash).key_len(),
    };
    if wrong.found != wrong.wanted {
        return Err(wrong);
    }
    let (encryption, integrity) = material.bytes().split_at(aes.len());
    Ok((encryption, Integrity::new(hash, integrity)))
}

/// The integrity half.
struct Integrity {
    key: hmac::Key,
    icv_len: usize,
}

impl Integrity {
    fn new(hash: HmacHash, key: &[u8]) -> Self {
        let algorithm = match hash {
            HmacHash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            HmacHash::Sha256 => hmac::HMAC_SHA256,
            HmacHash::Sha384 => hmac::HMAC_SHA384,
            HmacHash::Sha512 => hmac::HMAC_SHA512,
        };
        Self {
            key: hmac::Key::new(algorithm, key),
            icv_len: hash.icv_len(),
        }
    }

    /// RFC 4303 section 3.3.2.1 and 2.2.1: over the packet up to the ICV, then the high half.
    #[inline]
    fn tag(&self, covered: &[u8], sequence: Sequence) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(covered);
        if sequence.extended {
            let high = (sequence.number >> 32) as u32;
            context.update(&high.to_be_bytes());
        }
        context.sign()
    }
}

/// The expanded key of one direction.
enum Cipher<K128, K192, K256> {
    Aes128(K128),
    Aes192(K192),
    Aes256(K256),
}

impl<K128: KeyInit, K192: KeyInit, K256: KeyInit> Cipher<K128, K192, K256> {
    fn new(aes: AesKey, key: &[u8]) -> Option<Self> {
        match aes {
            AesKey::Aes128 => K128::new_from_slice(key).ok().map(Self::Aes128),
            AesKey::Aes192 => K192::new_from_slice(key).ok().map(Self::Aes192),
            AesKey::Aes256 => K256::new_from_slice(key).ok().map(Self::Aes256),
        }
    }
}

#[inline]
fn encrypt<C: BlockCipherEncrypt<BlockSize = U16>>(cipher: &C, iv: [u8; 16], data: &mut [u8]) {
    let (blocks, _) = Block::<C>::slice_as_chunks_mut(data);
    cbc::Encryptor::inner_iv_init(cipher, &Array::from(iv)).encrypt_blocks(blocks);
}

#[inline]
fn decrypt<C: BlockCipherDecrypt<BlockSize = U16>>(cipher: &C, iv: [u8; 16], data: &mut [u8]) {
    let (blocks, _) = Block::<C>::slice_as_chunks_mut(data);
    cbc::Decryptor::inner_iv_init(cipher, &Array::from(iv)).decrypt_blocks(blocks);
}

/// The outbound half.
pub struct CbcHmacSealer {
    cipher: Cipher<Aes128Enc, Aes192Enc, Aes256Enc>,
    integrity: Integrity,
    iv_cipher: Aes256Enc,
}

impl CbcHmacSealer {
    /// From encryption key then integrity key.
    pub fn new(
        aes: AesKey,
        hash: HmacHash,
        material: &KeyMaterial,
        iv_key: &IvKey,
    ) -> Result<Self, KeyLength> {
        let (key, integrity) = split(aes, hash, material)?;
        let wrong = KeyLength {
            found: key.len(),
            wanted: aes.len(),
        };
        Ok(Self {
            cipher: Cipher::new(aes, key).ok_or(wrong)?,
            integrity,
            iv_cipher: Aes256Enc::new(&Array::from(*iv_key.bytes())),
        })
    }

    #[inline]
    fn iv(&self, number: u64) -> [u8; AES_BLOCK_LEN] {
        let mut block = Array::from([0; AES_BLOCK_LEN]);
        block[8..].copy_from_slice(&number.to_be_bytes());
        self.iv_cipher.encrypt_block(&mut block);
        block.into()
    }

    /// Seals a packet in place with the IV of its number.
    #[inline]
    pub fn seal_packet(&self, sequence: Sequence, packet: &mut [u8]) -> Result<(), NotAuthentic> {
        let iv = self.iv(sequence.number);
        self.seal_with_iv(sequence, iv, packet)
    }

    /// The primitive, with an IV of the caller's: what a vector or a forger chooses.
    #[inline]
    pub fn seal_with_iv(
        &self,
        sequence: Sequence,
        iv: [u8; AES_BLOCK_LEN],
        packet: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let covered_len = packet
            .len()
            .checked_sub(self.integrity.icv_len)
            .filter(|len| *len >= FRONT_LEN)
            .ok_or(NotAuthentic)?;
        let (covered, icv) = packet.split_at_mut(covered_len);
        let (front, plaintext) = covered.split_at_mut(FRONT_LEN);
        if !plaintext.len().is_multiple_of(AES_BLOCK_LEN) {
            return Err(NotAuthentic);
        }
        front[HEADER_LEN..].copy_from_slice(&iv);
        match &self.cipher {
            Cipher::Aes128(cipher) => encrypt(cipher, iv, plaintext),
            Cipher::Aes192(cipher) => encrypt(cipher, iv, plaintext),
            Cipher::Aes256(cipher) => encrypt(cipher, iv, plaintext),
        }
        let tag = self.integrity.tag(covered, sequence);
        icv.copy_from_slice(&tag.as_ref()[..self.integrity.icv_len]);
        Ok(())
    }
}

/// The inbound half.
pub struct CbcHmacOpener {
    cipher: Cipher<Aes128Dec, Aes192Dec, Aes256Dec>,
    integrity: Integrity,
}

impl CbcHmacOpener {
    /// From encryption key then integrity key.
    pub fn new(aes: AesKey, hash: HmacHash, material: &KeyMaterial) -> Result<Self, KeyLength> {
        let (key, integrity) = split(aes, hash, material)?;
        let wrong = KeyLength {
            found: key.len(),
            wanted: aes.len(),
        };
        Ok(Self {
            cipher: Cipher::new(aes, key).ok_or(wrong)?,
            integrity,
        })
    }

    #[inline]
    pub(super) fn open_packet(
        &self,
        sequence: Sequence,
        packet: &mut [u8],
    ) -> Result<usize, NotAuthentic> {
        let covered_len = packet
            .len()
            .checked_sub(self.integrity.icv_len)
            .filter(|len| *len >= FRONT_LEN)
            .ok_or(NotAuthentic)?;
        let (covered, icv) = packet.split_at_mut(covered_len);
        // RFC 4303 section 3.4.4.1: the ICV first, then decryption.
        let tag = self.integrity.tag(covered, sequence);
        if !bool::from(tag.as_ref()[..self.integrity.icv_len].ct_eq(icv)) {
            return Err(NotAuthentic);
        }
        let (front, sealed) = covered.split_at_mut(FRONT_LEN);
        // An authentic peer that sent no whole blocks: nothing in it is payload.
        if !sealed.len().is_multiple_of(AES_BLOCK_LEN) {
            return Ok(0);
        }
        let mut iv = [0; AES_BLOCK_LEN];
        iv.copy_from_slice(&front[HEADER_LEN..]);
        match &self.cipher {
            Cipher::Aes128(cipher) => decrypt(cipher, iv, sealed),
            Cipher::Aes192(cipher) => decrypt(cipher, iv, sealed),
            Cipher::Aes256(cipher) => decrypt(cipher, iv, sealed),
        }
        Ok(sealed.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn vectors(file: &str) -> Vec<serde_json::Value> {
        let path = format!("{}/../../test/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
        let root: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(
            root["source"]
                .as_str()
                .is_some_and(|source| !source.is_empty())
        );
        root["vectors"].as_array().unwrap().clone()
    }

    fn hex(value: &serde_json::Value) -> Vec<u8> {
        let text = value.as_str().unwrap();
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn icv(hash: HmacHash, vector: &serde_json::Value) -> Vec<u8> {
        let integrity = Integrity::new(hash, &hex(&vector["key"]));
        let sequence = Sequence {
            number: 1 << 40,
            extended: false,
        };
        let tag = integrity.tag(&hex(&vector["data"]), sequence);
        tag.as_ref()[..integrity.icv_len].to_vec()
    }

    #[test]
    fn rfc_4868_section_2_7_2() {
        let mut used = 0;
        for vector in vectors("hmac-sha2-rfc4868.json") {
            for (name, hash) in [
                ("HMAC-SHA-256-128", HmacHash::Sha256),
                // The RFC's own slip in one label; the value has 192 bits.
                ("HMAC-SHA-384-128", HmacHash::Sha384),
                ("HMAC-SHA-384-192", HmacHash::Sha384),
                ("HMAC-SHA-512-256", HmacHash::Sha512),
            ] {
                let wanted = &vector["outputs"][name];
                if wanted.is_string() {
                    assert_eq!(icv(hash, &vector), hex(wanted), "{}", vector["id"]);
                    used += 1;
                }
            }
        }
        assert_eq!(used, 12);
    }

    #[test]
    fn rfc_2404_of_rfc_2202() {
        let all = vectors("hmac-sha1-rfc2202.json");
        for vector in &all {
            let wanted = hex(&vector["auth_hmac_sha1_96"]);
            assert_eq!(icv(HmacHash::Sha1, vector), wanted, "{}", vector["id"]);
        }
        assert_eq!(all.len(), 7);
    }
}
