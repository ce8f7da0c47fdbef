//! Certificate, which is one of two things: a chain (RFC 5246 §7.4.2) or a bare key (RFC 7250 §3).

use crate::wire::{Malformed, Reader, write_bytes, write_vector};

/// Certificates read of one chain.
pub const MAX_CHAIN: usize = 10;

/// What `client_certificate_type` and `server_certificate_type` negotiate (RFC 7250 §4, IANA TLS Certificate Types).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CertificateType {
    /// What counts when nothing was negotiated.
    X509 = 0,
    /// A SubjectPublicKeyInfo and nothing more.
    RawPublicKey = 2,
}

impl CertificateType {
    /// Other registered types (OpenPGP, 1609.2) are `None`.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(CertificateType::X509),
            2 => Some(CertificateType::RawPublicKey),
            _ => None,
        }
    }
}

/// A Certificate message of type X.509: DER certificates, the sender's own first. Empty: the sender has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain<'a>(pub Vec<&'a [u8]>);

impl<'a> Chain<'a> {
    /// Refuses empty certificates and more than [`MAX_CHAIN`] of them; their contents are not looked at.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let mut list = Reader::new(reader.vector24()?);
        reader.finish()?;
        let mut chain = Vec::new();
        while !list.is_empty() {
            let der = list.vector24()?;
            if der.is_empty() {
                return Err(Malformed::VectorLength(0));
            }
            if chain.len() == MAX_CHAIN {
                return Err(Malformed::TooMany(MAX_CHAIN));
            }
            chain.push(der);
        }
        Ok(Chain(chain))
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_vector::<3>(out, |out| self.0.iter().for_each(|der| write_bytes::<3>(out, der)));
    }
}

/// A Certificate message of type RawPublicKey: one SubjectPublicKeyInfo in DER. Empty: the sender has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawPublicKey<'a>(pub &'a [u8]);

impl<'a> RawPublicKey<'a> {
    /// The key is not looked at: see [`crate::certificate::PublicKey`].
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let spki = reader.vector24()?;
        reader.finish()?;
        Ok(RawPublicKey(spki))
    }

    /// Appends the body: no list around the key, unlike X.509.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_bytes::<3>(out, self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_bounded() {
        let mut body = Vec::new();
        Chain(vec![b"der"; MAX_CHAIN]).encode(&mut body);
        assert_eq!(Chain::parse(&body).unwrap().0.len(), MAX_CHAIN);
        body.clear();
        Chain(vec![b"der"; MAX_CHAIN + 1]).encode(&mut body);
        assert_eq!(Chain::parse(&body), Err(Malformed::TooMany(MAX_CHAIN)));
    }

    #[test]
    fn no_certificate_is_a_message_but_an_empty_one_is_not() {
        assert_eq!(Chain::parse(&[0, 0, 0]), Ok(Chain(Vec::new())));
        assert_eq!(Chain::parse(&[0, 0, 3, 0, 0, 0]), Err(Malformed::VectorLength(0)));
        assert_eq!(Chain::parse(&[0, 0, 0, 0]), Err(Malformed::Trailing(1)));
    }
}
