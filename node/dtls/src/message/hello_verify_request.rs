//! HelloVerifyRequest.

use super::Version;
use crate::wire::{Malformed, Reader, write_bytes};

/// The server's only answer to a hello without a good cookie (RFC 6347 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelloVerifyRequest<'a> {
    /// [`Version::DTLS_1_0`], whatever will be negotiated.
    pub version: Version,
    /// To be sent back as it is; tinydtls reads at most 32 bytes.
    pub cookie: &'a [u8],
}

impl<'a> HelloVerifyRequest<'a> {
    /// Nothing may follow the cookie.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let request = HelloVerifyRequest { version: Version(reader.u16()?), cookie: reader.vector8()? };
        reader.finish()?;
        Ok(request)
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.0.to_be_bytes());
        write_bytes::<1>(out, self.cookie);
    }
}
