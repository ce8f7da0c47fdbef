//! ServerHello.

use super::{MAX_SESSION_ID, Version};
use crate::{
    extension::ServerExtensions,
    wire::{Malformed, Reader, write_bytes},
};

/// The server's choice (RFC 5246 §7.4.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHello<'a> {
    /// Always [`Version::DTLS_1_2`] from this crate.
    pub version: Version,
    /// The server's random bytes.
    pub random: &'a [u8; 32],
    /// The client's, if its session is resumed; a new one otherwise.
    pub session_id: &'a [u8],
    /// One of the client's.
    pub cipher_suite: u16,
    /// Answers to the client's; left out altogether if there are none.
    pub extensions: ServerExtensions<'a>,
}

impl<'a> ServerHello<'a> {
    /// Refuses any compression method but null.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let version = Version(reader.u16()?);
        let random = reader.array()?;
        let session_id = reader.vector8()?;
        if session_id.len() > MAX_SESSION_ID {
            return Err(Malformed::VectorLength(session_id.len()));
        }
        let cipher_suite = reader.u16()?;
        match reader.u8()? {
            0 => {}
            other => return Err(Malformed::IllegalValue(other.into())),
        }
        let extensions = ServerExtensions::read(&mut reader)?;
        reader.finish()?;
        Ok(ServerHello { version, random, session_id, cipher_suite, extensions })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.0.to_be_bytes());
        out.extend_from_slice(self.random);
        write_bytes::<1>(out, self.session_id);
        out.extend_from_slice(&self.cipher_suite.to_be_bytes());
        out.push(0);
        self.extensions.encode(out);
    }
}
