//! A private key on secp256r1, in every form that people have one in.
//!
//! ```text
//! PEM     PRIVATE KEY (PKCS#8), EC PRIVATE KEY (SEC1)
//! DER     the same two
//! digits  the DER in hexadecimal, or the number itself in 64 digits
//! ```
//! Java writes PKCS#8 without the public half; it then comes from the certificate or from the coordinates given.

use pkcs8::PrivateKeyInfoRef;
use pkcs8::der::asn1::ObjectIdentifier;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use sec1::{EcParameters, EcPrivateKey};
use x509_parser::pem::Pem;

use super::fault::Problem;
use crate::config::Secret;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// Names of what people try instead.
const NAMES: [(&str, &str); 9] = [
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.132.0.33", "secp224r1"),
    ("1.3.132.0.34", "secp384r1"),
    ("1.3.132.0.35", "secp521r1"),
];

/// Before the private number: PKCS#8 version 1 (RFC 5208) around an ECPrivateKey (RFC 5915).
const BEFORE_NUMBER: &[u8] = b"\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b\x02\x01\x01\x04\x20";
/// Between it and the public point.
const BEFORE_POINT: &[u8] = b"\xa1\x44\x03\x42\x00";
/// Before the point in a SubjectPublicKeyInfo (RFC 5480).
const BEFORE_SPKI: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

/// An uncompressed point: 4, x, y.
pub type Point = [u8; 65];

/// A key pair whose halves fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    pkcs8: Secret<Vec<u8>>,
    point: Point,
}

impl KeyPair {
    /// Makes a new one.
    #[must_use]
    pub fn generate() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
        let pkcs8 = pkcs8.expect("invariant: a booted kernel has randomness");
        let private = Private::from_pkcs8(pkcs8.as_ref()).expect("invariant: ring writes what it reads");
        private.complete(None).expect("invariant: ring writes both halves")
    }

    /// PKCS#8 in DER, with the public half.
    #[must_use]
    pub fn pkcs8(&self) -> &Secret<Vec<u8>> {
        &self.pkcs8
    }

    /// The public point.
    #[must_use]
    pub fn point(&self) -> &Point {
        &self.point
    }

    /// The public key as a SubjectPublicKeyInfo in DER, 91 bytes.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        [BEFORE_SPKI, &self.point].concat()
    }
}

/// A private key whose public half may be missing.
#[derive(Debug)]
pub(super) struct Private {
    number: Secret<[u8; 32]>,
    point: Option<Point>,
}

impl Private {
    /// Reads a key in any of the forms above.
    pub(super) fn read(content: &[u8]) -> Result<Self, Problem> {
        if let Some(digits) = hex(content) {
            return match <[u8; 32]>::try_from(digits.expose().as_slice()) {
                Ok(number) => Ok(Self { number: Secret::new(number), point: None }),
                Err(_) => Self::from_der(digits.expose()),
            };
        }
        if content.first() == Some(&0x30) {
            return Self::from_der(content);
        }
        Self::from_pem(content)
    }

    fn from_pem(content: &[u8]) -> Result<Self, Problem> {
        if contains(content, b"ENCRYPTED") {
            return Err(Problem::Encrypted);
        }
        let mut other = None;
        for block in Pem::iter_from_buffer(content) {
            let Ok(block) = block else { break };
            match block.label.as_str() {
                "PRIVATE KEY" => return Self::from_pkcs8(&block.contents),
                "EC PRIVATE KEY" => return Self::from_sec1(&block.contents),
                "RSA PRIVATE KEY" => return Err(Problem::Algorithm("RSA".to_owned())),
                "DSA PRIVATE KEY" => return Err(Problem::Algorithm("DSA".to_owned())),
                "EC PARAMETERS" => {}
                label => other = Some(format!("a {label}")),
            }
        }
        Err(Problem::NotAKey(other))
    }

    fn from_der(der: &[u8]) -> Result<Self, Problem> {
        match Self::from_pkcs8(der) {
            Err(Problem::NotAKey(_)) => Self::from_sec1(der),
            read => read,
        }
    }

    /// PKCS#8 in DER.
    pub(super) fn from_pkcs8(der: &[u8]) -> Result<Self, Problem> {
        let Ok(info) = PrivateKeyInfoRef::try_from(der) else {
            let encrypted = pkcs8::EncryptedPrivateKeyInfoRef::try_from(der).is_ok();
            return Err(if encrypted { Problem::Encrypted } else { Problem::NotAKey(None) });
        };
        if info.algorithm.oid != EC {
            return Err(Problem::Algorithm(name(info.algorithm.oid)));
        }
        match info.algorithm.parameters_oid() {
            Ok(P256) => {}
            Ok(other) => return Err(Problem::Curve(name(other))),
            Err(_) => return Err(Problem::Curve("of its own parameters".to_owned())),
        }
        Self::from_sec1(info.private_key.as_bytes())
    }

    /// An ECPrivateKey of SEC1 (RFC 5915) in DER; without parameters it is taken for one on secp256r1.
    fn from_sec1(der: &[u8]) -> Result<Self, Problem> {
        let key = EcPrivateKey::try_from(der).map_err(|_| Problem::NotAKey(None))?;
        if let Some(EcParameters::NamedCurve(curve)) = key.parameters
            && curve != P256
        {
            return Err(Problem::Curve(name(curve)));
        }
        // Some write the number with a leading zero too many, some leave leading zeros out.
        let significant = &key.private_key[key.private_key.iter().take_while(|byte| **byte == 0).count()..];
        let mut number = [0; 32];
        let at = 32_usize.checked_sub(significant.len()).ok_or(Problem::Range)?;
        number[at..].copy_from_slice(significant);
        Ok(Self { number: Secret::new(number), point: key.public_key.and_then(point) })
    }

    /// The pair, with the public half that stands elsewhere where it is missing here.
    pub(super) fn complete(self, elsewhere: Option<Point>) -> Result<KeyPair, Problem> {
        let point = self.point.or(elsewhere).ok_or(Problem::NoPublicHalf)?;
        let number = self.number.expose();
        if *number == [0; 32] {
            return Err(Problem::Range);
        }
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, number, &point, &SystemRandom::new());
        let pair = pair.map_err(|_| Problem::Halves)?;
        debug_assert_eq!(pair.public_key().as_ref(), point);
        let pkcs8 = [BEFORE_NUMBER, number, BEFORE_POINT, &point].concat();
        Ok(KeyPair { pkcs8: Secret::new(pkcs8), point })
    }
}

/// A point in the uncompressed form; `None` for others, which nobody writes beside a private key.
pub(super) fn point(bytes: &[u8]) -> Option<Point> {
    bytes.try_into().ok().filter(|point: &Point| point[0] == 4)
}

/// What an object identifier names, as people call it.
pub(super) fn name(oid: ObjectIdentifier) -> String {
    let text = oid.to_string();
    let known = NAMES.iter().find(|(known, _)| *known == text);
    known.map_or(text, |(_, name)| (*name).to_owned())
}

/// The bytes of a text of hexadecimal digits and white space; `None` for anything else.
fn hex(content: &[u8]) -> Option<Secret<Vec<u8>>> {
    let digits: Vec<u8> = content.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).ok()?;
    (!bytes.is_empty()).then(|| Secret::new(bytes))
}

fn contains(content: &[u8], word: &[u8]) -> bool {
    content.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_generated_pair_reads_back_from_every_form() {
        let pair = KeyPair::generate();
        let der = pair.pkcs8().expose();
        let digits = data_encoding::HEXUPPER.encode(der);
        let number = &der[BEFORE_NUMBER.len()..][..32];
        let bare = data_encoding::HEXLOWER.encode(number);
        for content in [der.as_slice(), digits.as_bytes(), format!("{bare}\n").as_bytes()] {
            let again = Private::read(content).unwrap().complete(Some(*pair.point())).unwrap();
            assert_eq!(again, pair);
        }
        assert_eq!(Private::read(bare.as_bytes()).unwrap().complete(None), Err(Problem::NoPublicHalf));
        let other = KeyPair::generate();
        let read = Private::read(bare.as_bytes()).unwrap();
        assert_eq!(read.complete(Some(*other.point())), Err(Problem::Halves));
    }

    #[test]
    fn a_number_outside_the_curve_is_refused() {
        let point = *KeyPair::generate().point();
        let zero = Private { number: Secret::new([0; 32]), point: Some(point) };
        assert_eq!(zero.complete(None), Err(Problem::Range));
        let beyond = Private { number: Secret::new([0xff; 32]), point: Some(point) };
        assert_eq!(beyond.complete(None), Err(Problem::Halves));
    }

    #[test]
    fn a_pair_does_not_print_its_private_half() {
        let pair = KeyPair::generate();
        let number = &pair.pkcs8().expose()[BEFORE_NUMBER.len()..][..4];
        assert!(!format!("{pair:?}").contains(&format!("{}, {}, {}", number[0], number[1], number[2])));
    }

    proptest! {
        #[test]
        fn no_content_panics(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Private::read(&content);
        }
    }
}
