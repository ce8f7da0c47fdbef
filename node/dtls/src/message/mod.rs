//! The handshake messages of RFC 6347 §4.2: one file per message, each a view that is parsed from a body and written
//! into one.
//!
//! Views borrow. A body is what follows the 12-byte handshake header, put together from its fragments.

mod certificate;
mod certificate_request;
mod certificate_verify;
mod client_hello;
mod client_key_exchange;
mod finished;
mod header;
mod hello_verify_request;
mod server_hello;
mod server_key_exchange;

pub use certificate::{CertificateType, Chain, MAX_CHAIN, RawPublicKey};
pub use certificate_request::CertificateRequest;
pub use certificate_verify::{CertificateVerify, Signed};
pub use client_hello::{ClientHello, HelloPrefix, MAX_SESSION_ID};
pub use client_key_exchange::ClientKeyExchange;
pub use finished::Finished;
pub use header::{Fragment, Fragments, HEADER_LEN, MessageType};
pub use hello_verify_request::HelloVerifyRequest;
pub use server_hello::ServerHello;
pub use server_key_exchange::{EcdhePoint, PskHint, ServerKeyExchange};

use crate::wire::Malformed;

/// A version as the wire writes it: one's complement, so that the newer is the smaller number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub u16);

impl Version {
    /// What a HelloVerifyRequest and a first ClientHello's record carry.
    pub const DTLS_1_0: Version = Version(0xfeff);
    /// The one that this crate speaks.
    pub const DTLS_1_2: Version = Version(0xfefd);

    /// Whether a client that says this also speaks DTLS 1.2 (RFC 6347 §4.2.1).
    pub fn reaches_1_2(self) -> bool {
        self.0 >> 8 == 0xfe && self.0 <= Version::DTLS_1_2.0
    }
}

/// One whole handshake message, put together from its fragments or not yet cut into them.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: MessageType,
    /// Its place in the handshake, counted by its sender.
    pub seq: u16,
    /// Everything after the header.
    pub body: Vec<u8>,
}

impl Message {
    /// A message with the body that `encode` writes.
    pub fn new(kind: MessageType, seq: u16, encode: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut body = Vec::new();
        encode(&mut body);
        Message { kind, seq, body }
    }

    /// As if it had never been cut: the form that is hashed (RFC 6347 §4.2.6).
    pub fn header(&self) -> [u8; HEADER_LEN] {
        header::bytes(self.kind, self.body.len(), self.seq, 0, self.body.len())
    }

    /// Header and body in one fragment.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.header()[..], &self.body].concat()
    }

    /// A message that has no body: HelloRequest, ServerHelloDone.
    pub fn expect_empty(&self) -> Result<(), Malformed> {
        if self.body.is_empty() { Ok(()) } else { Err(Malformed::Trailing(self.body.len())) }
    }
}

/// Without the body, which may hold an identity.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} ({} bytes)", self.kind, self.seq, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_downwards() {
        assert!(Version::DTLS_1_2.reaches_1_2());
        assert!(Version(0xfefc).reaches_1_2());
        assert!(!Version::DTLS_1_0.reaches_1_2());
        assert!(!Version(0x0303).reaches_1_2());
    }
}
