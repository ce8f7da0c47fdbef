//! ClientKeyExchange, whose shape follows from the suite.

use crate::wire::{Malformed, Reader, write_bytes};

/// The client's half of the key exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ClientKeyExchange<'a> {
    /// Under a PSK suite: who the client is (RFC 4279 §2). Any bytes, up to 65,535 here.
    Psk(&'a [u8]),
    /// Under an ECDHE suite: its point (RFC 8422 §5.7), never empty.
    Ecdhe(&'a [u8]),
}

impl<'a> ClientKeyExchange<'a> {
    /// For the suites 0xC0A8 and 0x00AE.
    pub fn parse_psk(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let identity = reader.vector16()?;
        reader.finish()?;
        Ok(ClientKeyExchange::Psk(identity))
    }

    /// For the ECDHE_ECDSA suites.
    pub fn parse_ecdhe(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let point = reader.vector8()?;
        reader.finish()?;
        if point.is_empty() {
            return Err(Malformed::VectorLength(0));
        }
        Ok(ClientKeyExchange::Ecdhe(point))
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            ClientKeyExchange::Psk(identity) => write_bytes::<2>(out, identity),
            ClientKeyExchange::Ecdhe(point) => write_bytes::<1>(out, point),
        }
    }
}

/// Without the identity.
impl std::fmt::Debug for ClientKeyExchange<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClientKeyExchange::Psk(identity) => write!(f, "Psk({} bytes)", identity.len()),
            ClientKeyExchange::Ecdhe(point) => write!(f, "Ecdhe({} bytes)", point.len()),
        }
    }
}
