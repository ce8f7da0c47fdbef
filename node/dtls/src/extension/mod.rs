//! The hello extensions that count here, as the client sends them and as the server answers.
//!
//! Unknown ones are ignored, among them `supported_versions` (a client that also speaks 1.3 gets 1.2) and session
//! tickets. The same one twice is an error, also of an unknown one.

mod client;
mod server;

pub use client::ClientExtensions;
pub use server::ServerExtensions;

use smallvec::SmallVec;

use crate::wire::{Malformed, Reader, write_vector};

/// Extensions read of one hello.
const MAX_EXTENSIONS: usize = 64;

/// Numbers of extensions (IANA TLS ExtensionType Values).
mod code {
    pub(super) const SERVER_NAME: u16 = 0;
    pub(super) const MAX_FRAGMENT_LENGTH: u16 = 1;
    pub(super) const SUPPORTED_GROUPS: u16 = 10;
    pub(super) const EC_POINT_FORMATS: u16 = 11;
    pub(super) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(super) const CLIENT_CERTIFICATE_TYPE: u16 = 19;
    pub(super) const SERVER_CERTIFICATE_TYPE: u16 = 20;
    pub(super) const ENCRYPT_THEN_MAC: u16 = 22;
    pub(super) const EXTENDED_MASTER_SECRET: u16 = 23;
    pub(super) const CONNECTION_ID: u16 = 54;
    pub(super) const RENEGOTIATION_INFO: u16 = 0xff01;
}

/// The group secp256r1, in `supported_groups` and in a key exchange.
pub const SECP256R1: u16 = 23;

/// The signature scheme ecdsa_secp256r1_sha256.
pub const ECDSA_SECP256R1_SHA256: u16 = 0x0403;

/// The one point format that is not deprecated (RFC 8422 §5.1.2).
pub const UNCOMPRESSED: u8 = 0;

/// RFC 6066 §4: the largest plaintext of a record that the client takes, and the largest that it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "each names its number of bytes")]
pub enum MaxFragmentLength {
    Bytes512 = 1,
    Bytes1024 = 2,
    Bytes2048 = 3,
    Bytes4096 = 4,
}

impl MaxFragmentLength {
    /// Of the code on the wire, which is also the one to be stored.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(MaxFragmentLength::Bytes512),
            2 => Some(MaxFragmentLength::Bytes1024),
            3 => Some(MaxFragmentLength::Bytes2048),
            4 => Some(MaxFragmentLength::Bytes4096),
            _ => None,
        }
    }

    /// 512 to 4096.
    pub fn bytes(self) -> usize {
        256 << self as u8
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let code = reader.u8()?;
        MaxFragmentLength::from_code(code).ok_or(Malformed::IllegalValue(code.into()))
    }
}

/// Hands each extension of a hello to `take`, which leaves unread what it does not know: then `false`.
fn read_each<'a>(
    reader: &mut Reader<'a>,
    mut take: impl FnMut(u16, &mut Reader<'a>) -> Result<bool, Malformed>,
) -> Result<(), Malformed> {
    if reader.is_empty() {
        return Ok(());
    }
    let mut block = Reader::new(reader.vector16()?);
    let mut seen: SmallVec<[u16; 24]> = SmallVec::new();
    while !block.is_empty() {
        let code = block.u16()?;
        let mut body = Reader::new(block.vector16()?);
        if seen.contains(&code) {
            return Err(Malformed::DuplicateExtension(code));
        }
        if seen.len() == MAX_EXTENSIONS {
            return Err(Malformed::TooMany(MAX_EXTENSIONS));
        }
        seen.push(code);
        let known = take(code, &mut body).map_err(|error| match error {
            Malformed::IllegalValue(_) => error,
            _ => Malformed::Extension(code),
        })?;
        if known && !body.is_empty() {
            return Err(Malformed::Extension(code));
        }
    }
    Ok(())
}

/// A vector with a one-byte length that may not be empty.
fn some_bytes<'a>(body: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let bytes = body.vector8()?;
    if bytes.is_empty() { Err(Malformed::VectorLength(0)) } else { Ok(bytes) }
}

fn write_one(out: &mut Vec<u8>, code: u16, body: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&code.to_be_bytes());
    write_vector::<2>(out, body);
}

/// The whole block, or nothing at all if `each` writes no extension.
fn write_block(out: &mut Vec<u8>, each: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write_vector::<2>(out, each);
    if out.len() == start + 2 {
        out.truncate(start);
    }
}
