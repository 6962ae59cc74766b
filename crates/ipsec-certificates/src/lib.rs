//! Path validation of X.509 certificates (RFC 5280 section 6) for IKE, by `rustls-webpki`. Bytes and
//! a time in, the path or a reason out: no clock, no network, no file. Which identity a certificate
//! must hold, and where CRLs come from, is the caller's.

#![forbid(unsafe_code)]

mod ecdsa_p521;

pub use ecdsa_p521::EcdsaP521;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use std::{sync::LazyLock, time::Duration};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, Error, ExpirationPolicy,
    ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext, RevocationCheckDepth, RevocationOptions, RevocationOptionsBuilder,
    UnknownStatusPolicy, anchor_from_trusted_cert,
};

/// What the leaf is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Signing AUTH payloads.
    Ike,
    /// Signing OCSP answers for its issuer (RFC 6960 section 4.2.2.2).
    OcspSigning,
}

/// What the CRLs must say of each certificate of the path but the anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrlRule {
    /// Nothing that is known says that it is revoked. A CRL past its time still knows what it knew.
    NotRevoked,
    /// A CRL that is in time covers it and does not hold it.
    KnownGood,
}

impl Purpose {
    /// OCSP signing, or IKE.
    #[must_use]
    pub fn new(ocsp_signing: bool) -> Self {
        if ocsp_signing {
            Self::OcspSigning
        } else {
            Self::Ike
        }
    }
}

impl CrlRule {
    /// Known to be good, or only not known to be revoked.
    #[must_use]
    pub fn new(known_good: bool) -> Self {
        if known_good {
            Self::KnownGood
        } else {
            Self::NotRevoked
        }
    }
}

/// What is validated, against what.
#[derive(Debug)]
pub struct PathRequest<'a> {
    /// DER, leaf first. The order of the others does not matter, nor do ones that do not belong.
    pub certificates: &'a [&'a [u8]],
    /// DER certificates of the trust anchors. Their own validity is the caller's to look at.
    pub anchors: &'a [&'a [u8]],
    /// DER; none: revocation is not looked at.
    pub crls: &'a [&'a [u8]],
    /// How the CRLs are read.
    pub crl_rule: CrlRule,
    /// Seconds since 1970.
    pub time_seconds: u64,
    /// What the leaf must be for.
    pub purpose: Purpose,
}

/// A path that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// DER, leaf first, without the anchor.
    pub certificates: Vec<Vec<u8>>,
    /// Which of the anchors it ends in.
    pub anchor_index: usize,
}

/// Why there is no path. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A certificate of the path is past its time.
    #[error("a certificate has expired")]
    Expired(u64),
    /// A certificate of the path is before its time.
    #[error("a certificate is not valid yet")]
    NotYetValid(u64),
    /// A CRL holds a certificate of the path.
    #[error("a certificate is revoked")]
    Revoked,
    /// No CRL covers a certificate of the path.
    #[error("no CRL covers a certificate")]
    RevocationUnknown,
    /// The CRL that covers a certificate is past its time.
    #[error("a CRL has expired")]
    CrlExpired(u64),
    /// A CRL cannot be read, or its signature is wrong.
    #[error("a CRL cannot be used: {0}")]
    CrlUnusable(String),
    /// No way leads to an anchor.
    #[error("no way leads to an anchor")]
    UnknownIssuer,
    /// The signature on a certificate is wrong.
    #[error("the signature on a certificate is wrong")]
    WrongSignature,
    /// A signature algorithm, or a key, that is not known here.
    #[error("a signature algorithm is not taken: {0}")]
    Algorithm(String),
    /// Key purposes without the one that is wanted.
    #[error("the extended key usage does not include what is wanted")]
    Purpose,
    /// A name that the authority may not certify.
    #[error("a name is outside the constraints of an authority")]
    NameConstraint,
    /// A certificate that is no authority has signed another, or the path is longer than allowed.
    #[error("a certificate that is no authority has signed another")]
    NotAuthority,
    /// The leaf is an authority's.
    #[error("the leaf is an authority's")]
    AuthorityAsLeaf,
    /// Everything else.
    #[error("{0}")]
    Other(String),
}

/// What IKE takes of the key purposes: RFC 4945 section 5.1.3.12 wants id-kp-ipsecIKE or any; the
/// ones of TLS and the three old ones of IPsec are what other implementations issue and ask for.
const IKE_PURPOSES: &[&[u8]] = &[
    // 1.3.6.1.5.5.7.3.17 id-kp-ipsecIKE
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x11],
    // 2.5.29.37.0 anyExtendedKeyUsage
    &[0x55, 0x1d, 0x25, 0x00],
    // serverAuth, clientAuth
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01],
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02],
    // ipsecEndSystem, ipsecTunnel, ipsecUser
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x05],
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x06],
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x07],
    // 1.3.6.1.5.5.8.2.2 ikeIntermediate
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x08, 0x02, 0x02],
];
/// 1.3.6.1.5.5.7.3.9 id-kp-OCSPSigning
const OCSP_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09];

impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        match self {
            Self::OcspSigning => KeyUsage::required(OCSP_SIGNING).validate(purposes),
            Self::Ike => {
                let mut present = Vec::new();
                for purpose in purposes {
                    let purpose = purpose?;
                    if IKE_PURPOSES
                        .iter()
                        .any(|id| KeyPurposeId::new(id) == purpose)
                    {
                        return Ok(());
                    }
                    present.push(purpose.to_decoded_oid());
                }
                if present.is_empty() {
                    Ok(())
                } else {
                    Err(Error::RequiredEkuNotFoundContext(
                        RequiredEkuNotFoundContext {
                            required: KeyUsage::required_if_present(IKE_PURPOSES[0]),
                            present,
                        },
                    ))
                }
            }
        }
    }
}

/// Finds a path from the first certificate to an anchor and checks everything on it.
pub fn validate(request: &PathRequest<'_>) -> Result<Path, Refusal> {
    let (leaf, others) = request
        .certificates
        .split_first()
        .ok_or_else(|| Refusal::Other("there is no certificate".to_owned()))?;
    let leaf = CertificateDer::from(*leaf);
    let others: Vec<_> = others
        .iter()
        .map(|der| CertificateDer::from(*der))
        .collect();
    let roots: Vec<_> = request
        .anchors
        .iter()
        .map(|der| CertificateDer::from(*der))
        .collect();
    // An anchor that cannot be read anchors nothing.
    let anchors: Vec<(usize, TrustAnchor<'_>)> = roots
        .iter()
        .enumerate()
        .filter_map(|(index, der)| Some((index, anchor_from_trusted_cert(der).ok()?)))
        .collect();
    let crls = request
        .crls
        .iter()
        .map(|der| BorrowedCertRevocationList::from_der(der).map(CertRevocationList::from))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Refusal::CrlUnusable(error.to_string()))?;
    let crls: Vec<_> = crls.iter().collect();
    let end_entity = EndEntityCert::try_from(&leaf).map_err(Refusal::from)?;
    let trust: Vec<_> = anchors.iter().map(|(_, anchor)| anchor.clone()).collect();
    let path = end_entity
        .verify_for_usage(
            &ALGORITHMS,
            &trust,
            &others,
            UnixTime::since_unix_epoch(Duration::from_secs(request.time_seconds)),
            request.purpose,
            revocation(&crls, request.crl_rule),
            None,
        )
        .map_err(Refusal::from)?;
    let mut certificates = vec![leaf.as_ref().to_vec()];
    certificates.extend(
        path.intermediate_certificates()
            .map(|certificate| certificate.der().as_ref().to_vec()),
    );
    let anchor_index = anchors
        .iter()
        .find(|(_, anchor)| anchor == path.anchor())
        .map_or(0, |(index, _)| *index);
    Ok(Path {
        certificates,
        anchor_index,
    })
}

/// Signatures on certificates and CRLs: SHA-2 alone, RSA of 2048 bits or more. ring has no P-521; for
/// Ed448 no library is at hand that is past its trials.
static ALGORITHMS: LazyLock<Vec<&'static dyn SignatureVerificationAlgorithm>> =
    LazyLock::new(|| [webpki::ALL_VERIFICATION_ALGS, EcdsaP521::ALL].concat());

fn revocation<'a>(
    crls: &'a [&'a CertRevocationList<'a>],
    rule: CrlRule,
) -> Option<RevocationOptions<'a>> {
    let builder = RevocationOptionsBuilder::new(crls).ok()?;
    let builder = builder.with_depth(RevocationCheckDepth::Chain);
    Some(match rule {
        CrlRule::NotRevoked => builder
            .with_status_policy(UnknownStatusPolicy::Allow)
            .with_expiration_policy(ExpirationPolicy::Ignore)
            .build(),
        CrlRule::KnownGood => builder
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build(),
    })
}

impl Refusal {
    /// A word that stays, and the time where there is one.
    #[must_use]
    pub fn word(&self) -> (&'static str, Option<u64>) {
        match self {
            Self::Expired(at) => ("expired", Some(*at)),
            Self::NotYetValid(at) => ("not-yet-valid", Some(*at)),
            Self::Revoked => ("revoked", None),
            Self::RevocationUnknown => ("revocation-unknown", None),
            Self::CrlExpired(at) => ("crl-expired", Some(*at)),
            Self::CrlUnusable(_) => ("crl-unusable", None),
            Self::UnknownIssuer => ("unknown-issuer", None),
            Self::WrongSignature => ("wrong-signature", None),
            Self::Algorithm(_) => ("algorithm", None),
            Self::Purpose => ("purpose", None),
            Self::NameConstraint => ("name-constraint", None),
            Self::NotAuthority => ("not-authority", None),
            Self::AuthorityAsLeaf => ("authority-as-leaf", None),
            Self::Other(_) => ("other", None),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::CertExpired { not_after, .. } => Self::Expired(not_after.as_secs()),
            Error::CertNotValidYet { not_before, .. } => Self::NotYetValid(not_before.as_secs()),
            Error::CertRevoked => Self::Revoked,
            Error::UnknownRevocationStatus => Self::RevocationUnknown,
            Error::CrlExpired { next_update, .. } => Self::CrlExpired(next_update.as_secs()),
            Error::UnknownIssuer => Self::UnknownIssuer,
            Error::InvalidSignatureForPublicKey => Self::WrongSignature,
            Error::RequiredEkuNotFoundContext(_) => Self::Purpose,
            Error::NameConstraintViolation => Self::NameConstraint,
            Error::EndEntityUsedAsCa | Error::PathLenConstraintViolated => Self::NotAuthority,
            Error::CaUsedAsEndEntity => Self::AuthorityAsLeaf,
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                Self::Algorithm(error.to_string())
            }
            Error::InvalidCrlSignatureForPublicKey
            | Error::IssuerNotCrlSigner
            | Error::InvalidCrlNumber
            | Error::UnsupportedCrlVersion
            | Error::UnsupportedDeltaCrl
            | Error::UnsupportedIndirectCrl
            | Error::UnsupportedCrlIssuingDistributionPoint
            | Error::UnsupportedCrlSignatureAlgorithmContext(_)
            | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
                Self::CrlUnusable(error.to_string())
            }
            other => Self::Other(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(certificates: &'a [&'a [u8]], crls: &'a [&'a [u8]]) -> PathRequest<'a> {
        PathRequest {
            certificates,
            anchors: &[],
            crls,
            crl_rule: CrlRule::KnownGood,
            time_seconds: 0,
            purpose: Purpose::Ike,
        }
    }

    #[test]
    fn nothing_and_garbage_are_refused() {
        assert!(matches!(
            validate(&request(&[], &[])),
            Err(Refusal::Other(_))
        ));
        for garbage in [&[][..], &[0x30], &[0x30, 0x80, 0, 0], &[0xff; 64]] {
            assert!(matches!(
                validate(&request(&[garbage], &[])),
                Err(Refusal::Other(_))
            ));
            assert!(matches!(
                validate(&request(&[garbage], &[garbage])),
                Err(Refusal::CrlUnusable(_))
            ));
        }
    }
}
