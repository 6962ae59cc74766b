//! Path validation of certificates, for IKE.

use ipsec_certificates::{CrlRule, PathRequest, Purpose, validate};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

/// What is validated, against what. All certificates and CRLs are DER.
#[napi(object)]
pub struct NativePathRequest {
    /// Leaf first.
    pub certificates: Vec<Uint8Array>,
    pub anchors: Vec<Uint8Array>,
    pub crls: Vec<Uint8Array>,
    /// Every certificate must be known to be good; else none may be known to be revoked.
    pub known_good: bool,
    /// Seconds since 1970.
    pub time_seconds: i64,
    /// The leaf is for signing OCSP answers; else for IKE.
    pub ocsp_signing: bool,
}

/// The path, leaf first and without the anchor; or why there is none.
#[napi(object)]
#[derive(Default)]
pub struct NativePathReply {
    pub path: Vec<Uint8Array>,
    pub anchor_index: u32,
    /// One of the words below; null: the path is good.
    pub refused: Option<String>,
    /// Seconds since 1970, where the reason has a time.
    pub at_seconds: Option<i64>,
    pub detail: String,
}

/// Validates a path (RFC 5280 section 6).
#[napi]
pub fn validate_path(request: NativePathRequest) -> NativePathReply {
    let certificates: Vec<&[u8]> = request.certificates.iter().map(|each| &**each).collect();
    let anchors: Vec<&[u8]> = request.anchors.iter().map(|each| &**each).collect();
    let crls: Vec<&[u8]> = request.crls.iter().map(|each| &**each).collect();
    let validated = validate(&PathRequest {
        certificates: &certificates,
        anchors: &anchors,
        crls: &crls,
        crl_rule: CrlRule::new(request.known_good),
        time_seconds: u64::try_from(request.time_seconds).unwrap_or(0),
        purpose: Purpose::new(request.ocsp_signing),
    });
    match validated {
        Ok(path) => NativePathReply {
            path: path.certificates.into_iter().map(Uint8Array::new).collect(),
            anchor_index: u32::try_from(path.anchor_index).unwrap_or(u32::MAX),
            ..NativePathReply::default()
        },
        Err(refusal) => {
            let (word, at) = refusal.word();
            NativePathReply {
                refused: Some(word.to_owned()),
                at_seconds: at.and_then(|at| i64::try_from(at).ok()),
                detail: refusal.to_string(),
                ..NativePathReply::default()
            }
        }
    }
}
