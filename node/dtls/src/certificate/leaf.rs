//! The peer's own certificate: its key and its names.

use x509_parser::prelude::*;

use super::{CertificateError, PublicKey};

/// What counts of an end entity's certificate, copied out of it. Nothing in it is trusted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// What the CertificateVerify must be signed with.
    pub key: PublicKey,
    /// Common names and alternative names of type DNS, URI and e-mail, as they stand.
    pub names: Vec<String>,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970, still within.
    pub not_after: i64,
}

/// Names read of one certificate.
const MAX_NAMES: usize = 32;

impl Leaf {
    /// Of one certificate in DER, with nothing behind it.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        let alternative = certificate
            .subject_alternative_name()
            .map_err(|_| CertificateError::Malformed)?
            .into_iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
                    Some(*name)
                }
                _ => None,
            });
        Ok(Leaf {
            key: PublicKey::from_spki(certificate.public_key().raw)?,
            names: common.chain(alternative).take(MAX_NAMES).map(str::to_owned).collect(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }

    /// Whether it speaks for this endpoint: one name equals it, byte for byte.
    pub fn is_named(&self, endpoint: &str) -> bool {
        self.names.iter().any(|name| name == endpoint)
    }
}
