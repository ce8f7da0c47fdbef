//! The 12 bytes before each handshake fragment (RFC 6347 §4.2.2).

use crate::wire::{Malformed, Reader};

/// Of one handshake header.
pub const HEADER_LEN: usize = 12;

/// The first byte of a handshake message.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageType(pub u8);

#[allow(missing_docs, reason = "the names of RFC 5246 §7.4 and RFC 6347 §4.2.2")]
impl MessageType {
    pub const HELLO_REQUEST: MessageType = MessageType(0);
    pub const CLIENT_HELLO: MessageType = MessageType(1);
    pub const SERVER_HELLO: MessageType = MessageType(2);
    pub const HELLO_VERIFY_REQUEST: MessageType = MessageType(3);
    pub const NEW_SESSION_TICKET: MessageType = MessageType(4);
    pub const CERTIFICATE: MessageType = MessageType(11);
    pub const SERVER_KEY_EXCHANGE: MessageType = MessageType(12);
    pub const CERTIFICATE_REQUEST: MessageType = MessageType(13);
    pub const SERVER_HELLO_DONE: MessageType = MessageType(14);
    pub const CERTIFICATE_VERIFY: MessageType = MessageType(15);
    pub const CLIENT_KEY_EXCHANGE: MessageType = MessageType(16);
    pub const FINISHED: MessageType = MessageType(20);
}

impl std::fmt::Debug for MessageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match *self {
            Self::HELLO_REQUEST => "HelloRequest",
            Self::CLIENT_HELLO => "ClientHello",
            Self::SERVER_HELLO => "ServerHello",
            Self::HELLO_VERIFY_REQUEST => "HelloVerifyRequest",
            Self::NEW_SESSION_TICKET => "NewSessionTicket",
            Self::CERTIFICATE => "Certificate",
            Self::SERVER_KEY_EXCHANGE => "ServerKeyExchange",
            Self::CERTIFICATE_REQUEST => "CertificateRequest",
            Self::SERVER_HELLO_DONE => "ServerHelloDone",
            Self::CERTIFICATE_VERIFY => "CertificateVerify",
            Self::CLIENT_KEY_EXCHANGE => "ClientKeyExchange",
            Self::FINISHED => "Finished",
            MessageType(other) => return write!(f, "MessageType({other})"),
        })
    }
}

/// One fragment of a handshake message; a whole message is the fragment that covers it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Of which message.
    pub kind: MessageType,
    /// The length of the whole message, without header.
    pub total: usize,
    /// The message's place in the handshake.
    pub seq: u16,
    /// Where these bytes belong; `offset + bytes.len()` never exceeds `total`.
    pub offset: usize,
    /// The fragment itself.
    pub bytes: &'a [u8],
}

impl<'a> Fragment<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let kind = MessageType(reader.u8()?);
        let total = reader.u24()?;
        let seq = reader.u16()?;
        let offset = reader.u24()?;
        let len = reader.u24()?;
        if offset + len > total {
            return Err(Malformed::FragmentRange { offset, len, of: total });
        }
        Ok(Fragment { kind, total, seq, offset, bytes: reader.take(len)? })
    }

    /// Whether it is the whole message.
    pub fn is_whole(&self) -> bool {
        self.bytes.len() == self.total
    }

    /// Appends header and bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&bytes(self.kind, self.total, self.seq, self.offset, self.bytes.len()));
        out.extend_from_slice(self.bytes);
    }
}

/// Without the bytes, which may hold an identity.
impl std::fmt::Debug for Fragment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} [{}+{}/{}]", self.kind, self.seq, self.offset, self.bytes.len(), self.total)
    }
}

/// The fragments in one handshake record: most stacks put one into each, but more are allowed.
///
/// Ends after the first error, as nothing tells where the next fragment would begin.
#[derive(Debug, Clone)]
pub struct Fragments<'a>(Reader<'a>);

impl<'a> Fragments<'a> {
    /// Of the plaintext of one record of type handshake.
    pub fn parse(record: &'a [u8]) -> Self {
        Fragments(Reader::new(record))
    }
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Result<Fragment<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let fragment = Fragment::read(&mut self.0);
        if fragment.is_err() {
            self.0 = Reader::new(&[]);
        }
        Some(fragment)
    }
}

pub(super) fn bytes(
    kind: MessageType,
    total: usize,
    seq: u16,
    offset: usize,
    len: usize,
) -> [u8; HEADER_LEN] {
    let [_, _, _, _, _, t2, t1, t0] = (total as u64).to_be_bytes();
    let [_, _, _, _, _, o2, o1, o0] = (offset as u64).to_be_bytes();
    let [_, _, _, _, _, l2, l1, l0] = (len as u64).to_be_bytes();
    let [s1, s0] = seq.to_be_bytes();
    [kind.0, t2, t1, t0, s1, s0, o2, o1, o0, l2, l1, l0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_beyond_its_message_is_refused() {
        let header = bytes(MessageType::FINISHED, 12, 3, 8, 5);
        let mut fragments = Fragments::parse(&header);
        assert_eq!(fragments.next(), Some(Err(Malformed::FragmentRange { offset: 8, len: 5, of: 12 })));
        assert_eq!(fragments.next(), None);
    }

    #[test]
    fn one_record_may_hold_several_messages() {
        let mut record = Vec::new();
        let done = Fragment { kind: MessageType::SERVER_HELLO_DONE, total: 0, seq: 2, offset: 0, bytes: &[] };
        let part = Fragment { kind: MessageType::FINISHED, total: 9, seq: 3, offset: 4, bytes: b"abc" };
        done.encode(&mut record);
        part.encode(&mut record);
        assert_eq!(Fragments::parse(&record).collect::<Vec<_>>(), [Ok(done), Ok(part)]);
    }
}
