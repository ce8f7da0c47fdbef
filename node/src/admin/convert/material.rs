//! Public keys and certificates as callers give them: DER or PEM, or DER in hex or base64 digits.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use godwit_dtls::certificate::{CertificateError, Leaf, PublicKey};
use ring::{
    agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey},
    rand::SystemRandom,
};
use x509_parser::{
    pem::Pem,
    prelude::{FromDer, X509Certificate, X509Name},
};

use crate::admin::error::{AdminError, invalid};

/// The largest key or certificate, as given.
const LIMIT: usize = 16 * 1024;

/// The SubjectPublicKeyInfo of a key on P-256, in the one form that devices send.
pub(super) fn public_key(field: &str, given: &[u8]) -> Result<Vec<u8>, AdminError> {
    let der = der(field, given, "PUBLIC KEY")?;
    let key = PublicKey::from_spki(&der).map_err(|_| {
        invalid(field, "must be the SubjectPublicKeyInfo of an uncompressed key on P-256 (secp256r1)")
    })?;
    if !is_on_curve(&key) {
        return Err(invalid(field, "is no point of the curve P-256"));
    }
    Ok(key.to_spki().to_vec())
}

/// A device's own certificate, in DER.
pub(super) fn certificate(field: &str, given: &[u8]) -> Result<Vec<u8>, AdminError> {
    let der = der(field, given, "CERTIFICATE")?;
    match Leaf::parse(&der) {
        Ok(_) => Ok(der),
        Err(CertificateError::UnsupportedKey) => {
            Err(invalid(field, "is of a key that is not on P-256 (secp256r1)"))
        }
        Err(error) => Err(invalid(field, format!("must be an X.509 certificate: {error}"))),
    }
}

/// The name of an authority, in DER: from its certificate, or as it stands.
pub(super) fn issuer(field: &str, given: &[u8]) -> Result<Vec<u8>, AdminError> {
    let der = der(field, given, "CERTIFICATE")?;
    let whole = |rest: &[u8]| rest.is_empty();
    if let Ok((rest, certificate)) = X509Certificate::from_der(&der)
        && whole(rest)
    {
        return Ok(certificate.subject().as_raw().to_vec());
    }
    match X509Name::from_der(&der) {
        Ok((rest, name)) if whole(rest) && name.iter_attributes().next().is_some() => Ok(der),
        _ => Err(invalid(field, "must be an authority's certificate, or its name in DER")),
    }
}

/// The DER of what was given in any form. Digits that mean one thing in hex and another in base64 are in doubt.
fn der(field: &str, given: &[u8], label: &str) -> Result<Vec<u8>, AdminError> {
    if given.len() > LIMIT {
        return Err(invalid(field, format!("has {} bytes, must have at most {LIMIT}", given.len())));
    }
    if is_sequence(given) {
        return Ok(given.to_vec());
    }
    let text = std::str::from_utf8(given).map_err(|_| invalid(field, "is neither DER nor text"))?.trim();
    if text.is_empty() {
        return Err(invalid(field, "must not be empty"));
    }
    if text.starts_with("-----BEGIN") {
        let blocks = Pem::iter_from_buffer(text.as_bytes());
        let found = blocks.map_while(Result::ok).find(|block| block.label == label);
        return found
            .map(|block| block.contents)
            .ok_or_else(|| invalid(field, format!("holds no PEM block {label:?}")));
    }
    let digits: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let hex = HEXLOWER_PERMISSIVE.decode(digits.as_bytes());
    let base64 = BASE64.decode(digits.as_bytes());
    let sequence = |bytes: &Vec<u8>| is_sequence(bytes);
    match (hex.as_ref().ok().filter(|it| sequence(it)), base64.as_ref().ok().filter(|it| sequence(it))) {
        (Some(_), Some(_)) => Err(invalid(field, "reads as hex and as base64: give it as PEM")),
        (Some(der), None) | (None, Some(der)) => Ok(der.clone()),
        (None, None) => Err(invalid(field, fault(&digits, hex.is_ok() || base64.is_ok()))),
    }
}

/// What is wrong with digits that give no DER. Nothing of them is quoted.
fn fault(digits: &str, decodes: bool) -> String {
    let all_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if all_hex && !digits.len().is_multiple_of(2) {
        return format!("has {} hex digits: two make a byte", digits.len());
    }
    if decodes {
        return "holds digits, but no DER in them: perhaps it is cut".to_owned();
    }
    "must be DER, PEM, or DER in hex or base64 digits".to_owned()
}

/// Whether bytes are one DER SEQUENCE and nothing else, as keys, certificates and names are.
fn is_sequence(bytes: &[u8]) -> bool {
    let [0x30, first, rest @ ..] = bytes else { return false };
    let (length, content) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 if !rest.is_empty() => (usize::from(rest[0]), &rest[1..]),
        0x82 if rest.len() >= 2 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
        _ => return false,
    };
    content.len() == length
}

/// An agreement with a point that is not on the curve fails.
fn is_on_curve(key: &PublicKey) -> bool {
    let peer = UnparsedPublicKey::new(&ECDH_P256, key.point());
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
    own.and_then(|own| agreement::agree_ephemeral(own, &peer, |_| ())).is_ok()
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PublicKeyData as _};

    use super::*;

    fn message(result: Result<Vec<u8>, AdminError>) -> String {
        match result {
            Err(AdminError::Invalid { field, fix }) => format!("{field} {fix}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_form_of_a_key_is_the_same_key() {
        let pair = KeyPair::generate().unwrap();
        let der = pair.subject_public_key_info();
        let hex = HEXLOWER.encode(&der);
        let base64 = BASE64.encode(&der);
        let wrapped = format!("{}\n{}\n", &base64[..64], &base64[64..]);
        let forms = [der.clone(), pair.public_key_pem().into_bytes(), hex.to_uppercase().into_bytes()];
        for form in forms.into_iter().chain([base64.into_bytes(), wrapped.into_bytes()]) {
            assert_eq!(public_key("k", &form), Ok(der.clone()));
        }
    }

    #[test]
    fn faults_say_what_was_given() {
        let der = KeyPair::generate().unwrap().subject_public_key_info();
        let hex = HEXLOWER.encode(&der);
        let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let mut off_curve = der.clone();
        *off_curve.last_mut().unwrap() ^= 1;
        for (given, expected) in [
            (b"".to_vec(), "k must not be empty"),
            (hex.as_bytes()[1..].to_vec(), "hex digits: two make a byte"),
            (hex.as_bytes()[2..].to_vec(), "perhaps it is cut"),
            (b"what?".to_vec(), "must be DER, PEM"),
            (b"\xff\xfe".to_vec(), "neither DER nor text"),
            (p384.subject_public_key_info(), "P-256"),
            (off_curve, "no point of the curve"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec(), "\"PUBLIC KEY\""),
            (vec![b'0'; LIMIT + 1], "at most"),
        ] {
            let fault = message(public_key("k", &given));
            assert!(fault.starts_with("k ") && fault.contains(expected), "{fault}");
        }
    }

    #[test]
    fn a_certificate_must_be_one_and_on_the_right_curve() {
        let pair = KeyPair::generate().unwrap();
        let good = CertificateParams::new(vec!["ep".to_owned()]).unwrap().self_signed(&pair).unwrap();
        assert_eq!(certificate("c", good.pem().as_bytes()), Ok(good.der().to_vec()));
        assert!(message(certificate("c", &pair.subject_public_key_info())).contains("X.509"));
        let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let other = CertificateParams::new(vec!["ep".to_owned()]).unwrap().self_signed(&p384).unwrap();
        assert!(message(certificate("c", other.der())).contains("P-256"));
    }

    #[test]
    fn an_issuer_is_a_name_however_it_is_given() {
        let authority = CertificateParams::new(Vec::<String>::new()).unwrap();
        let authority = authority.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let name = issuer("i", authority.pem().as_bytes()).unwrap();
        assert_eq!(issuer("i", &name), Ok(name.clone()), "as it is shown");
        assert!(message(issuer("i", b"\x30\x01\x05")).contains("authority"));
    }
}
