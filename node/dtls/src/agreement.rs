//! Ephemeral Diffie-Hellman over P-256 (RFC 8422), by ring. One exchange costs some 70 µs.

use ring::{
    agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    rand::SecureRandom,
};
use zeroize::Zeroizing;

use crate::alert::{AlertDescription, Tell};

/// An uncompressed point: 4, x, y.
pub const POINT_LEN: usize = 65;

/// One side's key for one handshake.
pub struct KeyAgreement {
    private: EphemeralPrivateKey,
    public: [u8; POINT_LEN],
}

/// Why no secret was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgreementError {
    /// The peer's bytes are no point of the curve, or a compressed one.
    #[error("not an uncompressed point of P-256")]
    Point,
    /// The system gave no random bytes.
    #[error("no random bytes")]
    Random,
}

impl Tell for AgreementError {
    fn alert(&self) -> AlertDescription {
        match self {
            AgreementError::Point => AlertDescription::ILLEGAL_PARAMETER,
            AgreementError::Random => AlertDescription::INTERNAL_ERROR,
        }
    }
}

impl KeyAgreement {
    /// A fresh key pair.
    pub fn generate(random: &dyn SecureRandom) -> Result<Self, AgreementError> {
        let private =
            EphemeralPrivateKey::generate(&ECDH_P256, random).map_err(|_| AgreementError::Random)?;
        let public = private.compute_public_key().map_err(|_| AgreementError::Random)?;
        let public = public.as_ref().try_into().expect("invariant: ring writes P-256 points uncompressed");
        Ok(KeyAgreement { private, public })
    }

    /// The point for the peer.
    pub fn public(&self) -> &[u8; POINT_LEN] {
        &self.public
    }

    /// The premaster secret, the x of the shared point (RFC 8422 §5.10). The key is gone after it.
    pub fn premaster(self, peer: &[u8]) -> Result<Zeroizing<[u8; 32]>, AgreementError> {
        agree_ephemeral(self.private, &UnparsedPublicKey::new(&ECDH_P256, peer), |shared| {
            let mut premaster = Zeroizing::new([0; 32]);
            premaster.copy_from_slice(shared);
            premaster
        })
        .map_err(|_| AgreementError::Point)
    }
}

impl std::fmt::Debug for KeyAgreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyAgreement")
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    #[test]
    fn both_sides_agree() {
        let random = SystemRandom::new();
        let (one, other) =
            (KeyAgreement::generate(&random).unwrap(), KeyAgreement::generate(&random).unwrap());
        let (for_one, for_other) = (*other.public(), *one.public());
        assert_eq!(one.premaster(&for_one).unwrap(), other.premaster(&for_other).unwrap());
    }
}
