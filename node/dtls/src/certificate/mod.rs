//! What a peer shows of itself: a public key, or an X.509 chain with one at its head.

mod chain;
mod key;
mod leaf;

pub use chain::{Anchors, Validity};
pub use key::{PublicKey, SPKI_LEN};
pub use leaf::Leaf;

use crate::alert::{AlertDescription, Tell};

/// Why a certificate or a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is none.
    #[error("no certificate")]
    Missing,
    /// Not DER, not X.509, or with bytes behind it.
    #[error("a malformed certificate")]
    Malformed,
    /// A key of another kind than P-256, or with a compressed point or written-out parameters.
    #[error("not an uncompressed P-256 key of a named curve")]
    UnsupportedKey,
    /// No path to an anchor.
    #[error("signed by nobody that is trusted here")]
    UnknownIssuer,
    /// `notAfter` of a certificate on the path has passed.
    #[error("an expired certificate")]
    Expired,
    /// `notBefore` of a certificate on the path is yet to come.
    #[error("a certificate that is not valid yet")]
    NotValidYet,
    /// A signature on the path is wrong, or of an algorithm that is not taken.
    #[error("a wrong signature in the chain")]
    BadSignature,
    /// Constraints, key usage or a critical extension forbid this use.
    #[error("a certificate for another use")]
    WrongUse,
}

impl Tell for CertificateError {
    fn alert(&self) -> AlertDescription {
        match self {
            // RFC 5246 §7.4.6: a missing certificate is a handshake_failure.
            CertificateError::Missing => AlertDescription::HANDSHAKE_FAILURE,
            CertificateError::UnsupportedKey => AlertDescription::UNSUPPORTED_CERTIFICATE,
            CertificateError::UnknownIssuer => AlertDescription::UNKNOWN_CA,
            CertificateError::Expired | CertificateError::NotValidYet => {
                AlertDescription::CERTIFICATE_EXPIRED
            }
            CertificateError::Malformed | CertificateError::BadSignature | CertificateError::WrongUse => {
                AlertDescription::BAD_CERTIFICATE
            }
        }
    }
}
