//! ServerKeyExchange: a signed ECDHE point, or a PSK hint.

use super::Signed;
use crate::wire::{Malformed, Reader, write_bytes};

/// RFC 8422 §5.4: the only curve type that is still allowed.
const NAMED_CURVE: u8 = 3;

/// The part of an ECDHE exchange that is signed, after both randoms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EcdhePoint<'a> {
    /// Such as 23, secp256r1.
    pub group: u16,
    /// As the group writes it; for secp256r1 65 bytes, uncompressed.
    pub point: &'a [u8],
}

impl EcdhePoint<'_> {
    /// Appends the parameters alone.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(NAMED_CURVE);
        out.extend_from_slice(&self.group.to_be_bytes());
        write_bytes::<1>(out, self.point);
    }

    /// What is signed: client random, server random, parameters (RFC 8422 §5.4).
    pub fn signed_bytes(&self, client_random: &[u8; 32], server_random: &[u8; 32]) -> Vec<u8> {
        let mut bytes = [&client_random[..], server_random].concat();
        self.encode(&mut bytes);
        bytes
    }
}

/// The server's half of an ECDHE_ECDSA exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerKeyExchange<'a> {
    /// The ephemeral key.
    pub params: EcdhePoint<'a>,
    /// Over [`EcdhePoint::signed_bytes`]. An exchange without it does not parse.
    pub signed: Signed<'a>,
}

impl<'a> ServerKeyExchange<'a> {
    /// Group and scheme are not looked at.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        match reader.u8()? {
            NAMED_CURVE => {}
            other => return Err(Malformed::IllegalValue(other.into())),
        }
        let group = reader.u16()?;
        let point = reader.vector8()?;
        if point.is_empty() {
            return Err(Malformed::VectorLength(0));
        }
        let signed = Signed::read(&mut reader)?;
        reader.finish()?;
        Ok(ServerKeyExchange { params: EcdhePoint { group, point }, signed })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.params.encode(out);
        self.signed.encode(out);
    }
}

/// Under a PSK suite: a hint for the choice of the identity (RFC 4279 §2). This crate's server sends none, as
/// node-coap-client breaks on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PskHint<'a>(pub &'a [u8]);

impl<'a> PskHint<'a> {
    /// Nothing may follow the hint.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let hint = reader.vector16()?;
        reader.finish()?;
        Ok(PskHint(hint))
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_bytes::<2>(out, self.0);
    }
}
