//! Vectors of others, by the files of `test/vectors`.

#![allow(clippy::unwrap_used)]

use ipsec_primitives::{aes_cmac, aes_xcbc, decapsulate, encapsulate};
use serde::Deserialize;

#[derive(Deserialize)]
struct File<T> {
    vectors: Vec<T>,
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let path = format!("{}/../../test/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str::<File<T>>(&text).unwrap().vectors
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

#[derive(Deserialize)]
struct MacVector {
    id: String,
    key: String,
    data: String,
    mac: Option<String>,
}

#[test]
fn macs_of_the_rfcs() {
    for (name, mac) in [
        (
            "aes-cmac-rfc4493-rfc4494-rfc4615.json",
            aes_cmac as fn(&[u8], &[u8]) -> Option<[u8; 16]>,
        ),
        ("aes-xcbc-rfc3566-rfc4434.json", aes_xcbc),
    ] {
        let mut count = 0;
        for vector in read::<MacVector>(name) {
            let Some(expected) = vector.mac else { continue };
            count += 1;
            let output = mac(&bytes(&vector.key), &bytes(&vector.data)).unwrap();
            assert_eq!(output.to_vec(), bytes(&expected), "{}", vector.id);
        }
        assert!(count > 3);
        assert!(mac(&[0; 15], &[]).is_none());
        assert!(mac(&[0; 32], &[]).is_none());
    }
}

#[derive(Deserialize)]
struct KemVector {
    id: String,
    kind: String,
    method: u32,
    result: String,
    #[serde(default)]
    seed: String,
    #[serde(default)]
    m: String,
    #[serde(default)]
    ek: String,
    #[serde(default)]
    c: String,
    #[serde(rename = "K", default)]
    secret: String,
}

#[test]
fn wycheproof_ml_kem() {
    let (mut valid, mut invalid) = (0, 0);
    for vector in read::<KemVector>("wycheproof-mlkem.json") {
        let bits = if vector.method == 36 { 768 } else { 1024 };
        let secret = match vector.kind.as_str() {
            "encapsulate" => {
                encapsulate(bits, &bytes(&vector.ek), &bytes(&vector.m)).map(|sealed| sealed.secret)
            }
            "decapsulate" => decapsulate(bits, &bytes(&vector.seed), &bytes(&vector.c)),
            _ => continue,
        };
        if vector.result == "valid" {
            valid += 1;
            assert_eq!(
                secret.unwrap().to_vec(),
                bytes(&vector.secret),
                "{}",
                vector.id
            );
        } else {
            invalid += 1;
            assert!(secret.is_none(), "{}", vector.id);
        }
    }
    assert!(valid > 20 && invalid > 20);
}
