//! A P-256 public key and its one DER form.

use super::CertificateError;
use crate::agreement::POINT_LEN;

/// Of the DER of every key that is taken.
pub const SPKI_LEN: usize = SPKI_HEAD.len() + POINT_LEN;

/// SubjectPublicKeyInfo of id-ecPublicKey on secp256r1 up to the point (RFC 5480 §2): DER leaves no choice in it, so
/// that equal keys are equal bytes.
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// An uncompressed point. Whether it lies on the curve shows when a signature is verified with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; POINT_LEN]);

impl PublicKey {
    /// Of a SubjectPublicKeyInfo in DER, as a raw public key (RFC 7250) or inside a certificate.
    pub fn from_spki(der: &[u8]) -> Result<Self, CertificateError> {
        let point = der.strip_prefix(&SPKI_HEAD).ok_or(CertificateError::UnsupportedKey)?;
        let point: [u8; POINT_LEN] = point.try_into().map_err(|_| CertificateError::UnsupportedKey)?;
        if point[0] == 4 { Ok(PublicKey(point)) } else { Err(CertificateError::UnsupportedKey) }
    }

    pub(crate) fn from_point(point: [u8; POINT_LEN]) -> Self {
        PublicKey(point)
    }

    /// 4, x, y.
    pub fn point(&self) -> &[u8; POINT_LEN] {
        &self.0
    }

    /// The DER that [`PublicKey::from_spki`] takes.
    pub fn to_spki(&self) -> [u8; SPKI_LEN] {
        let mut der = [0; SPKI_LEN];
        let (head, point) = der.split_at_mut(SPKI_HEAD.len());
        head.copy_from_slice(&SPKI_HEAD);
        point.copy_from_slice(&self.0);
        der
    }
}

/// The first bytes of x: enough to tell keys apart in a log.
impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [_, a, b, c, d, ..] = self.0;
        write!(f, "PublicKey({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_of_a_key_is_taken() {
        let mut point = [7; POINT_LEN];
        point[0] = 4;
        let der = PublicKey::from_point(point).to_spki();
        assert_eq!(PublicKey::from_spki(&der).map(|key| *key.point()), Ok(point));

        for len in 0..der.len() {
            assert!(PublicKey::from_spki(&der[..len]).is_err());
        }
        assert!(PublicKey::from_spki(&[&der[..], &[0]].concat()).is_err());
        for at in 0..=SPKI_HEAD.len() {
            let mut other = der;
            other[at] ^= 1;
            assert_eq!(PublicKey::from_spki(&other), Err(CertificateError::UnsupportedKey), "byte {at}");
        }
    }
}
