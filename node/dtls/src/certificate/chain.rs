//! From a chain to an anchor (RFC 5280 §6), by rustls-webpki.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::CertificateError;

/// Which of a certificate's dates count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// All of them, at this second since 1970.
    At(u64),
    /// None: devices outlive their certificates, and some have no clock to renew them by. There must still be one
    /// moment at which the whole chain was valid.
    Ignored,
}

/// Whom we trust to name clients. Without any, no chain is accepted.
#[derive(Debug, Clone, Default)]
pub struct Anchors(Vec<TrustAnchor<'static>>);

impl Anchors {
    /// Of certificates in DER; an error names the first that is none by its place.
    pub fn new<'a>(
        certificates: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, (usize, CertificateError)> {
        let anchor = |(at, der): (usize, &[u8])| {
            let der = CertificateDer::from(der);
            let anchor = anchor_from_trusted_cert(&der).map_err(|_| (at, CertificateError::Malformed))?;
            Ok(anchor.to_owned())
        };
        certificates.into_iter().enumerate().map(anchor).collect::<Result<_, _>>().map(Anchors)
    }

    /// Whether there is nobody to trust.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A path from `chain`'s first certificate through the others, in any order, to an anchor. The first must be no
    /// authority's own and allow client authentication if it restricts its use.
    ///
    /// A self-signed certificate that is to be trusted by itself is compared as a whole instead.
    pub fn verify(&self, chain: &[&[u8]], validity: Validity) -> Result<(), CertificateError> {
        let Some((&leaf, others)) = chain.split_first() else {
            return Err(CertificateError::Missing);
        };
        let second = match validity {
            Validity::At(second) => second,
            Validity::Ignored => latest_beginning(chain)?,
        };
        let leaf = CertificateDer::from(leaf);
        let leaf = EndEntityCert::try_from(&leaf).map_err(reason)?;
        let others: Vec<CertificateDer<'_>> = others.iter().map(|&der| CertificateDer::from(der)).collect();
        leaf.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &self.0,
            &others,
            UnixTime::since_unix_epoch(Duration::from_secs(second)),
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map(drop)
        .map_err(reason)
    }
}

/// If the certificates were ever valid all at once, they were when the last of them began to be.
fn latest_beginning(chain: &[&[u8]]) -> Result<u64, CertificateError> {
    let mut latest = 0;
    for der in chain {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        latest = latest.max(certificate.validity().not_before.timestamp());
    }
    Ok(latest.unsigned_abs())
}

fn reason(error: Error) -> CertificateError {
    match error {
        Error::UnknownIssuer => CertificateError::UnknownIssuer,
        Error::CertExpired { .. } => CertificateError::Expired,
        Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        Error::InvalidSignatureForPublicKey
        | Error::SignatureAlgorithmMismatch
        | Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => CertificateError::BadSignature,
        Error::BadDer
        | Error::BadDerTime
        | Error::TrailingData(_)
        | Error::UnsupportedCertVersion
        | Error::InvalidSerialNumber
        | Error::ExtensionValueInvalid => CertificateError::Malformed,
        _ => CertificateError::WrongUse,
    }
}
