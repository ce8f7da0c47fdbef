//! What TLS needs of its files: certificates, a key that belongs to them, authorities; all in PEM.

use rustls::{
    RootCertStore,
    client::verify_server_name,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use thiserror::Error;

/// Why TLS can't use what a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unusable {
    /// No PEM block of a certificate, or a cut one.
    #[error("holds no certificate in PEM")]
    NoCertificate,
    /// The first certificate is none of X.509 version 3.
    #[error("its first certificate can't be read")]
    Certificate,
    /// No PEM block of a private key.
    #[error("holds no private key in PEM")]
    NoKey,
    /// A private key of another kind, or a damaged one.
    #[error("holds no key that TLS can use")]
    Key,
    /// The key of another certificate.
    #[error("not the key of the certificate")]
    OtherKey,
    /// The certificate does not carry the name.
    #[error("the certificate does not carry it")]
    OtherName,
    /// No certificate carries such a name.
    #[error("no certificate carries such a name")]
    NotAName,
}

/// Certificates of one side: its own, then the intermediate ones.
#[derive(Debug)]
pub struct Chain(Vec<CertificateDer<'static>>);

impl Chain {
    /// Reads the certificates; the first must be one, the others are left to the handshake.
    ///
    /// # Errors
    /// [`Unusable::NoCertificate`], [`Unusable::Certificate`].
    pub fn read(pem: &[u8]) -> Result<Self, Unusable> {
        let chain = certificates(pem)?;
        ParsedCertificate::try_from(&chain[0]).map_err(|_| Unusable::Certificate)?;
        Ok(Self(chain))
    }

    /// Whether the first private key in `pem` is the one of the certificate.
    ///
    /// # Errors
    /// [`Unusable::NoKey`], [`Unusable::Key`], [`Unusable::OtherKey`].
    pub fn owns(&self, pem: &[u8]) -> Result<(), Unusable> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| Unusable::NoKey)?;
        let key = any_supported_type(&key).map_err(|_| Unusable::Key)?;
        // A key that does not tell its public half is a key all the same.
        if key.public_key().is_none() {
            return Ok(());
        }
        CertifiedKey::new(self.0.clone(), key).keys_match().map_err(|_| Unusable::OtherKey)
    }

    /// Whether a peer that looks for `name`, among the alternative names alone, takes the certificate for it.
    ///
    /// # Errors
    /// [`Unusable::OtherName`], [`Unusable::NotAName`].
    pub fn carries(&self, name: &str) -> Result<(), Unusable> {
        let name = ServerName::try_from(name).map_err(|_| Unusable::NotAName)?;
        let certificate = ParsedCertificate::try_from(&self.0[0]).map_err(|_| Unusable::Certificate)?;
        verify_server_name(&certificate, &name).map_err(|_| Unusable::OtherName)
    }
}

/// Whether `pem` holds an authority that certificates can chain to.
///
/// # Errors
/// [`Unusable::NoCertificate`], [`Unusable::Certificate`].
pub fn authority(pem: &[u8]) -> Result<(), Unusable> {
    let (added, _) = RootCertStore::empty().add_parsable_certificates(certificates(pem)?);
    if added == 0 { Err(Unusable::Certificate) } else { Ok(()) }
}

/// At least one, not looked into.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.ok().filter(|read| !read.is_empty()).ok_or(Unusable::NoCertificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_owns_its_key_and_no_other() {
        let ((certificate, key), (_, other)) = (pair("a"), pair("a"));
        let chain = Chain::read(certificate.as_bytes()).unwrap();
        assert_eq!(chain.owns(key.as_bytes()), Ok(()));
        assert_eq!(chain.owns(other.as_bytes()), Err(Unusable::OtherKey));
        assert_eq!(chain.owns(certificate.as_bytes()), Err(Unusable::NoKey));
        let cut = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(chain.owns(cut.as_bytes()), Err(Unusable::Key));
    }

    #[test]
    fn a_certificate_carries_its_alternative_names_and_no_other() {
        let chain = Chain::read(pair("plant-7").0.as_bytes()).unwrap();
        assert_eq!(chain.carries("plant-7"), Ok(()));
        assert_eq!(chain.carries("plant-8"), Err(Unusable::OtherName));
        assert_eq!(chain.carries("plant..7"), Err(Unusable::NotAName));
    }

    #[test]
    fn what_is_no_certificate_is_told_from_what_is_no_pem() {
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, fault) in [
            ("", Unusable::NoCertificate),
            ("nonsense", Unusable::NoCertificate),
            (damaged, Unusable::Certificate),
        ] {
            assert_eq!(authority(text.as_bytes()), Err(fault), "{text}");
            assert_eq!(Chain::read(text.as_bytes()).err(), Some(fault), "{text}");
        }
        let (certificate, key) = pair("a");
        assert_eq!(authority(certificate.as_bytes()), Ok(()));
        assert_eq!(authority(key.as_bytes()), Err(Unusable::NoCertificate));
    }
}
