//! What IKE needs and node:crypto lacks: ML-KEM (FIPS 203), AES-CMAC (RFC 4493) and AES-XCBC (RFC
//! 3566). Randomness is an argument: the caller has the generator. An argument of a wrong length,
//! or an encapsulation key that FIPS 203 section 7.2 refuses, gives nothing.

#![forbid(unsafe_code)]

mod aes_mac;
mod ml_kem;

pub use aes_mac::{aes_cmac, aes_xcbc};
pub use ml_kem::{Encapsulation, decapsulate, encapsulate, encapsulation_key};
