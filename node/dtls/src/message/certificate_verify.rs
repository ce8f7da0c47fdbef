//! CertificateVerify, and the signature inside it and inside ServerKeyExchange.

use crate::wire::{Malformed, Reader, write_bytes};

/// A signature with its scheme (RFC 5246 §4.7); neither is checked here: see [`crate::signature`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Hash and algorithm, such as 0x0403.
    pub scheme: u16,
    /// For ECDSA, the DER of r and s.
    pub signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Signed { scheme: reader.u16()?, signature: reader.vector16()? })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.scheme.to_be_bytes());
        write_bytes::<2>(out, self.signature);
    }
}

/// The client's proof that it holds the key it showed: a signature over all messages before (RFC 5246 §7.4.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateVerify<'a>(pub Signed<'a>);

impl<'a> CertificateVerify<'a> {
    /// Nothing may follow the signature.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let signed = Signed::read(&mut reader)?;
        reader.finish()?;
        Ok(CertificateVerify(signed))
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}
