//! Signatures of authorities with P-521 keys, by the crate `p521`. A signature is public, so nothing
//! here is secret.

use p521::ecdsa::{DerSignature, VerifyingKey, signature::hazmat::PrehashVerifier};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// ECDSA on P-521 (RFC 5758 section 3.2) with one of the hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EcdsaP521 {
    /// With SHA-256.
    Sha256,
    /// With SHA-384.
    Sha384,
    /// With SHA-512.
    Sha512,
}

/// Octets of the longest hash. As a number, a shorter one is the same with zeros in front.
const HASH_LEN: usize = 64;
/// SEC 1 section 2.3.3.
const UNCOMPRESSED: u8 = 4;

impl EcdsaP521 {
    /// For path validation.
    pub(crate) const ALL: &'static [&'static dyn SignatureVerificationAlgorithm] =
        &[&Self::Sha256, &Self::Sha384, &Self::Sha512];

    fn hash(self, message: &[u8]) -> [u8; HASH_LEN] {
        let mut padded = [0; HASH_LEN];
        match self {
            Self::Sha256 => padded[32..].copy_from_slice(&Sha256::digest(message)),
            Self::Sha384 => padded[16..].copy_from_slice(&Sha384::digest(message)),
            Self::Sha512 => padded.copy_from_slice(&Sha512::digest(message)),
        }
        padded
    }
}

impl SignatureVerificationAlgorithm for EcdsaP521 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        // RFC 5480 section 2.2: other forms of a point need not be taken, and ring takes none.
        if public_key.first() != Some(&UNCOMPRESSED) {
            return Err(InvalidSignature);
        }
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = DerSignature::from_bytes(signature).map_err(|_| InvalidSignature)?;
        key.verify_prehash(&self.hash(message), &signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self {
            Self::Sha256 => alg_id::ECDSA_SHA256,
            Self::Sha384 => alg_id::ECDSA_SHA384,
            Self::Sha512 => alg_id::ECDSA_SHA512,
        }
    }
}
