//! Why a handshake or a session ended.

use thiserror::Error;

use crate::{
    agreement::AgreementError,
    alert::{AlertDescription, Tell},
    certificate::CertificateError,
    message::MessageType,
    protection::SealError,
    signature::SignatureError,
    wire::Malformed,
};

/// Sorted by fault: the way, the server's bytes, the server's choices, our own limits.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// No answer to the last of [`attempts`](super::Settings::attempts) flights.
    #[error("no answer")]
    Timeout,
    /// The server ended it.
    #[error("the server sent {0}")]
    Alert(AlertDescription),
    /// A whole message that is not what its type says.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A message that has no place here.
    #[error("{0:?} out of order")]
    Unexpected(MessageType),
    /// Not DTLS 1.2.
    #[error("version {0:#06x}")]
    Version(u16),
    /// A suite that was not offered.
    #[error("suite {0:#06x} was not offered")]
    Suite(u16),
    /// An extension that was not offered, or another answer than the resumed session had.
    #[error("an extension answered against the rules")]
    Extension,
    /// The server's key is not the one that is trusted.
    #[error("another server's key")]
    Untrusted,
    /// The server's certificate or key can't be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The server's signature is wrong, or we could not make ours.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The server's point is none.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// The server's Finished does not prove that it saw the same handshake.
    #[error("wrong Finished")]
    Finished,
    /// Nothing can be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No randomness.
    #[error("no randomness")]
    NoEntropy,
    /// None of the suites in the settings fits the credential.
    #[error("no suite for this credential")]
    NoSuite,
}

impl Tell for Failure {
    fn alert(&self) -> AlertDescription {
        match self {
            Self::Timeout => AlertDescription::USER_CANCELED,
            Self::Malformed(error) => error.alert(),
            Self::Unexpected(_) => AlertDescription::UNEXPECTED_MESSAGE,
            Self::Version(_) => AlertDescription::PROTOCOL_VERSION,
            Self::Suite(_) => AlertDescription::ILLEGAL_PARAMETER,
            Self::Extension => AlertDescription::UNSUPPORTED_EXTENSION,
            Self::Untrusted => AlertDescription::CERTIFICATE_UNKNOWN,
            Self::Certificate(error) => error.alert(),
            Self::Signature(error) => error.alert(),
            Self::Agreement(error) => error.alert(),
            Self::Finished => AlertDescription::DECRYPT_ERROR,
            Self::Alert(_) | Self::Seal(_) | Self::NoEntropy | Self::NoSuite => {
                AlertDescription::INTERNAL_ERROR
            }
        }
    }
}
