//! Vectors of others, by the files of `test/vectors`.

#![allow(clippy::unwrap_used)]

use ipsec_certificates::EcdsaP521;
use rustls_pki_types::SignatureVerificationAlgorithm;
use serde::Deserialize;

#[derive(Deserialize)]
struct Whole {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    file: String,
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    public_key_der: String,
    tests: Vec<Test>,
}

/// Number, message, signature, result.
#[derive(Deserialize)]
struct Test(u32, String, String, String);

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// Octets of an uncompressed point of P-521, which ends a SubjectPublicKeyInfo.
const POINT_LEN: usize = 133;

#[test]
fn ecdsa_p521_of_wycheproof() {
    let path = format!(
        "{}/../../test/vectors/wycheproof-signatures.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let whole: Whole = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let file = whole
        .files
        .iter()
        .find(|each| each.file == "ecdsa_secp521r1_sha512_test.json")
        .unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in &file.groups {
        let key = bytes(&group.public_key_der);
        let point = &key[key.len() - POINT_LEN..];
        for Test(number, message, signature, result) in &group.tests {
            let (message, signature) = (bytes(message), bytes(signature));
            let verify = |algorithm: EcdsaP521| {
                algorithm
                    .verify_signature(point, &message, &signature)
                    .is_ok()
            };
            assert_eq!(verify(EcdsaP521::Sha512), result == "valid", "{number}");
            assert!(!verify(EcdsaP521::Sha256), "{number} with another hash");
            assert!(!verify(EcdsaP521::Sha384), "{number} with another hash");
            if result == "valid" {
                valid += 1;
            } else {
                invalid += 1;
            }
        }
    }
    assert!(valid > 50 && invalid > 50, "{valid} valid, {invalid} not");
}
