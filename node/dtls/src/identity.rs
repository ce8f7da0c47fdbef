//! The server's own key pair and certificates.

use std::fmt;

use ring::{
    rand::SecureRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};

/// A P-256 key pair with the two ways to present its public half: bare (RFC 7250) and in a chain of certificates.
pub struct ServerIdentity {
    key: EcdsaKeyPair,
    spki: Vec<u8>,
    chain: Vec<Vec<u8>>,
}

/// Why a key pair can't be used. Which file it came from is for the caller to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a PKCS#8 private key on P-256, or its halves contradict each other.
    #[error("no usable P-256 private key")]
    Key,
    /// The first certificate doesn't parse.
    #[error("the first certificate can't be read")]
    Certificate,
    /// The first certificate is for another key.
    #[error("the first certificate doesn't belong to the private key")]
    OtherKey,
}

impl ServerIdentity {
    /// From a PKCS#8 document that holds its public key, and a chain of DER certificates, leaf first; an empty chain serves
    /// raw public keys only.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn from_pkcs8(
        pkcs8: &[u8],
        chain: Vec<Vec<u8>>,
        random: &dyn SecureRandom,
    ) -> Result<Self, IdentityError> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, random);
        Self::new(key.map_err(|_| IdentityError::Key)?, chain)
    }

    /// From the bare numbers: the private scalar and the two coordinates of the public point, 32 bytes each, big-endian.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn from_numbers(
        private: &[u8; 32],
        x: &[u8; 32],
        y: &[u8; 32],
        chain: Vec<Vec<u8>>,
        random: &dyn SecureRandom,
    ) -> Result<Self, IdentityError> {
        let mut point = [4; 65];
        point[1..33].copy_from_slice(x);
        point[33..].copy_from_slice(y);
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let key = EcdsaKeyPair::from_private_key_and_public_key(algorithm, private, &point, random);
        Self::new(key.map_err(|_| IdentityError::Key)?, chain)
    }

    fn new(key: EcdsaKeyPair, chain: Vec<Vec<u8>>) -> Result<Self, IdentityError> {
        let spki = [P256_SPKI_HEADER, key.public_key().as_ref()].concat();
        if let Some(leaf) = chain.first() {
            use x509_parser::prelude::{FromDer as _, X509Certificate};
            let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| IdentityError::Certificate)?;
            if leaf.tbs_certificate.subject_pki.raw != spki {
                return Err(IdentityError::OtherKey);
            }
        }
        Ok(Self { key, spki, chain })
    }

    /// The SubjectPublicKeyInfo in DER: what a client with raw public keys must know of us.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Certificates in DER, leaf first; may be empty.
    #[must_use]
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// Signs with ECDSA and SHA-256; an ASN.1 signature. `None` if the source of randomness fails.
    pub(crate) fn sign(&self, message: &[u8], random: &dyn SecureRandom) -> Option<Vec<u8>> {
        Some(self.key.sign(random, message).ok()?.as_ref().to_vec())
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerIdentity({} certificates)", self.chain.len())
    }
}

/// DER of `SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING` up to the uncompressed point (RFC 5480 §2).
const P256_SPKI_HEADER: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
    use ring::rand::SystemRandom;

    use super::*;

    #[test]
    fn the_bare_key_is_the_one_in_the_certificate() {
        let pair = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&pair).unwrap().der().to_vec();
        let identity =
            ServerIdentity::from_pkcs8(&pair.serialize_der(), vec![certificate], &SystemRandom::new())
                .unwrap();
        assert_eq!(identity.spki(), pair.subject_public_key_info());
    }

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        let (pair, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let certificate = CertificateParams::default().self_signed(&other).unwrap().der().to_vec();
        let identity =
            ServerIdentity::from_pkcs8(&pair.serialize_der(), vec![certificate], &SystemRandom::new());
        assert_eq!(identity.err(), Some(IdentityError::OtherKey));
    }
}
