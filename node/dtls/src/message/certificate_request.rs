//! CertificateRequest.

use crate::wire::{Codes, Malformed, Reader, write_bytes};

/// `ecdsa_sign`, the one certificate type asked for (RFC 8422 §5.5).
const ECDSA_SIGN: u8 = 64;

/// The server's wish to see a certificate (RFC 5246 §7.4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateRequest<'a> {
    /// Kinds of keys, at least one.
    pub types: &'a [u8],
    /// Signature schemes, at least one.
    pub schemes: Codes<'a>,
    /// Distinguished names as they stand, each with a two-byte length; empty: any authority.
    pub authorities: &'a [u8],
}

impl<'a> CertificateRequest<'a> {
    /// Asks for an ECDSA key of whatever authority (RFC 7250 §4.4 wants the list empty for raw keys).
    pub fn ecdsa(schemes: Codes<'a>) -> Self {
        CertificateRequest { types: &[ECDSA_SIGN], schemes, authorities: &[] }
    }

    /// The names in `authorities` are only counted off, not read.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let types = reader.vector8()?;
        if types.is_empty() {
            return Err(Malformed::VectorLength(0));
        }
        let schemes = Codes::read(&mut reader)?;
        let authorities = reader.vector16()?;
        reader.finish()?;
        let mut names = Reader::new(authorities);
        while !names.is_empty() {
            names.vector16()?;
        }
        Ok(CertificateRequest { types, schemes, authorities })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_bytes::<1>(out, self.types);
        write_bytes::<2>(out, self.schemes.as_bytes());
        write_bytes::<2>(out, self.authorities);
    }
}
