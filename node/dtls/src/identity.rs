//! The server's own key pair and certificates.

use std::fmt;

use ring::rand::SecureRandom;

use crate::{
    certificate::{CertificateError, Leaf, SPKI_LEN},
    signature::{SignatureError, SigningKey},
};

/// A P-256 key pair with the two ways to present its public half: bare (RFC 7250) and in a chain of certificates.
pub struct ServerIdentity {
    key: SigningKey,
    spki: [u8; SPKI_LEN],
    chain: Vec<Vec<u8>>,
}

/// Why a key pair can't be used. Which file it came from is for the caller to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The first certificate can't be read, or is for a kind of key that we don't sign with.
    #[error("the first certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The first certificate is for another key.
    #[error("the first certificate doesn't belong to the private key")]
    OtherKey,
}

impl ServerIdentity {
    /// From a key and a chain of DER certificates, leaf first; an empty chain serves raw public keys only.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn new(key: SigningKey, chain: Vec<Vec<u8>>) -> Result<Self, IdentityError> {
        if let Some(leaf) = chain.first()
            && Leaf::parse(leaf)?.key != key.public_key()
        {
            return Err(IdentityError::OtherKey);
        }
        Ok(Self { spki: key.public_key().to_spki(), key, chain })
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

    pub(crate) fn sign(&self, message: &[u8], random: &dyn SecureRandom) -> Result<Vec<u8>, SignatureError> {
        self.key.sign(message, random)
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerIdentity({:?}, {} certificates)", self.key.public_key(), self.chain.len())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
    use ring::rand::SystemRandom;

    use super::*;

    fn key(pair: &KeyPair) -> SigningKey {
        SigningKey::from_pkcs8(&pair.serialize_der(), &SystemRandom::new()).unwrap()
    }

    fn certificate(pair: &KeyPair) -> Vec<u8> {
        CertificateParams::default().self_signed(pair).unwrap().der().to_vec()
    }

    #[test]
    fn the_bare_key_is_the_one_in_the_certificate() {
        let pair = KeyPair::generate().unwrap();
        let identity = ServerIdentity::new(key(&pair), vec![certificate(&pair)]).unwrap();
        assert_eq!(identity.spki(), pair.subject_public_key_info());
    }

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        let (pair, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let identity = ServerIdentity::new(key(&pair), vec![certificate(&other)]);
        assert_eq!(identity.err(), Some(IdentityError::OtherKey));
    }
}
