//! Signatures with ecdsa_secp256r1_sha256, the one scheme of this crate, by ring.

use ring::{
    rand::SecureRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
    },
};

use crate::{
    alert::{AlertDescription, Tell},
    certificate::PublicKey,
    extension::ECDSA_SECP256R1_SHA256,
    message::Signed,
};

/// Our own long-lived key.
pub struct SigningKey(EcdsaKeyPair);

/// Why a signature counts for nothing, or could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A scheme that was not offered.
    #[error("signature scheme {0:04x}")]
    Scheme(u16),
    /// Not this key's, not over these bytes, with an r or s of 0 or beyond the order, or not DER.
    #[error("the signature is wrong")]
    Wrong,
    /// The key is not PKCS#8 of P-256 with its public half.
    #[error("not a PKCS#8 key of P-256")]
    Key,
    /// The system gave no random bytes.
    #[error("no random bytes")]
    Random,
}

impl Tell for SignatureError {
    fn alert(&self) -> AlertDescription {
        match self {
            SignatureError::Scheme(_) => AlertDescription::ILLEGAL_PARAMETER,
            SignatureError::Wrong => AlertDescription::DECRYPT_ERROR,
            SignatureError::Key | SignatureError::Random => AlertDescription::INTERNAL_ERROR,
        }
    }
}

impl SigningKey {
    /// Of PKCS#8 in DER; the public key inside must belong to the private one.
    pub fn from_pkcs8(der: &[u8], random: &dyn SecureRandom) -> Result<Self, SignatureError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, random)
            .map(SigningKey)
            .map_err(|_| SignatureError::Key)
    }

    /// The half that peers may know.
    pub fn public_key(&self) -> PublicKey {
        let point = self.0.public_key().as_ref();
        PublicKey::from_point(point.try_into().expect("invariant: ring writes P-256 points uncompressed"))
    }

    /// The DER of r and s, 70 to 72 bytes. Hashes `message` itself; costs some 20 µs.
    pub fn sign(&self, message: &[u8], random: &dyn SecureRandom) -> Result<Vec<u8>, SignatureError> {
        let signature = self.0.sign(random, message).map_err(|_| SignatureError::Random)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({:?})", self.public_key())
    }
}

/// Whether `key` signed `message`, which is hashed here. Costs some 60 µs.
pub fn verify(key: &PublicKey, message: &[u8], signed: Signed<'_>) -> Result<(), SignatureError> {
    if signed.scheme != ECDSA_SECP256R1_SHA256 {
        return Err(SignatureError::Scheme(signed.scheme));
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.point())
        .verify(message, signed.signature)
        .map_err(|_| SignatureError::Wrong)
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    #[test]
    fn only_its_own_key_and_bytes_verify_a_signature() {
        let random = SystemRandom::new();
        let key = || {
            let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
            SigningKey::from_pkcs8(der.as_ref(), &random).unwrap()
        };
        let (ours, others) = (key(), key());
        let signature = ours.sign(b"randoms and point", &random).unwrap();
        let signed = Signed { scheme: ECDSA_SECP256R1_SHA256, signature: &signature };
        assert_eq!(verify(&ours.public_key(), b"randoms and point", signed), Ok(()));
        assert_eq!(verify(&others.public_key(), b"randoms and point", signed), Err(SignatureError::Wrong));
        assert_eq!(verify(&ours.public_key(), b"randoms and points", signed), Err(SignatureError::Wrong));
        assert_eq!(
            verify(&ours.public_key(), b"randoms and point", Signed { scheme: 0x0203, ..signed }),
            Err(SignatureError::Scheme(0x0203))
        );
    }

    #[test]
    fn a_signature_of_zeros_is_refused() {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key = SigningKey::from_pkcs8(der.as_ref(), &random).unwrap().public_key();
        for signature in [
            &[0x30, 6, 2, 1, 0, 2, 1, 0][..],
            &[0x30, 6, 2, 1, 0, 2, 1, 1],
            &[0x30, 6, 2, 1, 1, 2, 1, 0],
            &[0x30, 4, 2, 0, 2, 0],
            &[],
        ] {
            let signed = Signed { scheme: ECDSA_SECP256R1_SHA256, signature };
            assert_eq!(verify(&key, b"any", signed), Err(SignatureError::Wrong), "{signature:?}");
        }
    }
}
