//! Certificates in files: the server's own chain, and the authorities that it trusts.

use godwit_dtls::certificate::Leaf;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use super::fault::Problem;
use super::private::{Point, point};

/// A server's own chain, its own certificate first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Each certificate in DER.
    pub certificates: Vec<Vec<u8>>,
    /// The public key of the first.
    pub point: Point,
    /// The subject of the first, as people read it.
    pub subject: String,
    /// Unix seconds from which the first is valid, and until which.
    pub validity: (i64, i64),
}

impl Chain {
    /// Checks what the file of a chain says: that each certificate reads, was issued by the next one, and that the first
    /// is for ECDSA on secp256r1. Signatures are for devices to check.
    pub(super) fn of(certificates: Vec<Vec<u8>>) -> Result<Self, Problem> {
        let mut read = Vec::with_capacity(certificates.len());
        for (at, der) in certificates.iter().enumerate() {
            read.push(parse(der).ok_or(Problem::BadCertificate(at + 1))?);
        }
        let own = read.first().ok_or(Problem::NoCertificate)?;
        let out_of_order = read.windows(2).position(|pair| pair[0].issuer() != pair[1].subject());
        if let Some(at) = out_of_order {
            return Err(Problem::ChainOrder(at + 1));
        }
        let point = public_point(own)?;
        Leaf::parse(&certificates[0]).map_err(|_| Problem::BadCertificate(1))?;
        let validity = own.validity();
        let subject = own.subject().to_string();
        let validity = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Ok(Self { certificates, point, subject, validity })
    }
}

/// Every certificate of a file, in DER: blocks of PEM, or one certificate in DER.
pub(super) fn certificates(content: &[u8]) -> Result<Vec<Vec<u8>>, Problem> {
    if content.first() == Some(&0x30) {
        return Ok(vec![content.to_vec()]);
    }
    let mut found = Vec::new();
    for block in Pem::iter_from_buffer(content) {
        // What does not read ends the list: a chain cut short fails later with its place.
        let Ok(block) = block else { return Err(Problem::BadCertificate(found.len() + 1)) };
        if matches!(block.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE") {
            found.push(block.contents);
        }
    }
    if found.is_empty() { Err(Problem::NoCertificate) } else { Ok(found) }
}

/// The certificate, if that is all there is in the bytes.
pub(super) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().and_then(|(rest, certificate)| rest.is_empty().then_some(certificate))
}

fn public_point(certificate: &X509Certificate<'_>) -> Result<Point, Problem> {
    let spki = certificate.public_key();
    let named = |oid: &x509_parser::der_parser::Oid<'_>| {
        let oid = oid.to_id_string();
        oid.parse().map_or(oid, super::private::name)
    };
    if spki.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return Err(Problem::Algorithm(named(&spki.algorithm.algorithm)));
    }
    let curve = spki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    match curve {
        Some(curve) if curve == OID_EC_P256 => {}
        Some(curve) => return Err(Problem::Curve(named(&curve))),
        None => return Err(Problem::Curve("of its own parameters".to_owned())),
    }
    point(&spki.subject_public_key.data).ok_or(Problem::BadCertificate(1))
}
