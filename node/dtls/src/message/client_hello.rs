//! ClientHello, and the part of it that the cookie exchange reads.

use super::Version;
use crate::{
    extension::ClientExtensions,
    wire::{Codes, Malformed, Reader, write_bytes},
};

/// Of a session id, in bytes (RFC 5246 §7.4.1.2).
pub const MAX_SESSION_ID: usize = 32;

/// What the cookie needs of a ClientHello: everything up to it, which a first fragment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelloPrefix<'a> {
    /// The newest that the client speaks; never 1.3, which has an extension for that.
    pub version: Version,
    /// The client's random bytes.
    pub random: &'a [u8; 32],
    /// Of the session to resume, at most 32 bytes; often empty.
    pub session_id: &'a [u8],
    /// As the HelloVerifyRequest gave it; empty in a first hello.
    pub cookie: &'a [u8],
}

impl<'a> HelloPrefix<'a> {
    /// Of a body, or of its first fragment if that reaches behind the cookie.
    pub fn parse(start: &'a [u8]) -> Result<Self, Malformed> {
        HelloPrefix::read(&mut Reader::new(start))
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let version = Version(reader.u16()?);
        let random = reader.array()?;
        let session_id = reader.vector8()?;
        if session_id.len() > MAX_SESSION_ID {
            return Err(Malformed::VectorLength(session_id.len()));
        }
        Ok(HelloPrefix { version, random, session_id, cookie: reader.vector8()? })
    }
}

/// A client's offer (RFC 6347 §4.2.1, RFC 5246 §7.4.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// Version, random, session id and cookie.
    pub prefix: HelloPrefix<'a>,
    /// In the client's preference; also signalling values such as 0x00FF.
    pub cipher_suites: Codes<'a>,
    /// Empty if the client sent none at all, which is a hello as good as any other.
    pub extensions: ClientExtensions<'a>,
}

/// RFC 5746 §3.3: as good as an empty `renegotiation_info`.
const EMPTY_RENEGOTIATION_INFO_SCSV: u16 = 0x00ff;

impl<'a> ClientHello<'a> {
    /// Refuses a hello without the null compression method.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let prefix = HelloPrefix::read(&mut reader)?;
        let cipher_suites = Codes::read(&mut reader)?;
        let compression = reader.vector8()?;
        if !compression.contains(&0) {
            return Err(Malformed::VectorLength(compression.len()));
        }
        let extensions = ClientExtensions::read(&mut reader)?;
        reader.finish()?;
        Ok(ClientHello { prefix, cipher_suites, extensions })
    }

    /// Appends the body, with the null compression method.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix.version.0.to_be_bytes());
        out.extend_from_slice(self.prefix.random);
        write_bytes::<1>(out, self.prefix.session_id);
        write_bytes::<1>(out, self.prefix.cookie);
        write_bytes::<2>(out, self.cipher_suites.as_bytes());
        write_bytes::<1>(out, &[0]);
        self.extensions.encode(out);
    }

    /// Whether the client knows RFC 5746, by its extension or by the signalling suite.
    pub fn signals_renegotiation(&self) -> bool {
        self.extensions.renegotiation_info.is_some()
            || self.cipher_suites.contains(EMPTY_RENEGOTIATION_INFO_SCSV)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(tail: &[u8]) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([7; 32]);
        body.extend([0, 0]);
        body.extend(tail);
        body
    }

    #[test]
    fn a_hello_needs_no_extensions() {
        let body = body(&[0, 4, 0xc0, 0xa8, 0, 0xff, 1, 0]);
        let hello = ClientHello::parse(&body).unwrap();
        assert_eq!(hello.extensions, ClientExtensions::default());
        assert!(hello.signals_renegotiation());
        let mut again = Vec::new();
        hello.encode(&mut again);
        assert_eq!(again, body);
    }

    #[test]
    fn bytes_after_the_extensions_are_refused() {
        for extra in 1..6 {
            let mut bytes = body(&[0, 2, 0xc0, 0xa8, 1, 0, 0, 4, 0, 23, 0, 0]);
            assert!(ClientHello::parse(&bytes).is_ok());
            bytes.extend(vec![0; extra]);
            assert_eq!(ClientHello::parse(&bytes), Err(Malformed::Trailing(extra)));
        }
    }

    #[test]
    fn without_null_compression_there_is_no_hello() {
        assert_eq!(
            ClientHello::parse(&body(&[0, 2, 0xc0, 0xa8, 1, 1])),
            Err(Malformed::VectorLength(1)),
            "DEFLATE alone"
        );
        assert_eq!(ClientHello::parse(&body(&[0, 0, 1, 0])), Err(Malformed::VectorLength(0)));
    }

    #[test]
    fn the_prefix_is_read_from_a_first_fragment() {
        let mut whole = vec![0xfe, 0xff];
        whole.extend([1; 32]);
        whole.extend([2, 8, 9, 3, 1, 2, 3]);
        let prefix = HelloPrefix::parse(&whole).unwrap();
        assert_eq!((prefix.session_id, prefix.cookie), (&[8, 9][..], &[1, 2, 3][..]));
        whole.pop();
        assert_eq!(HelloPrefix::parse(&whole), Err(Malformed::Truncated { needed: 3, left: 2 }));
    }
}
