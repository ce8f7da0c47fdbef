//! What stands before the first allocation: strangers' ClientHellos are answered from nothing but a key until they
//! have shown that they receive at the address they send from (RFC 6347 §4.2.1).

use std::net::SocketAddr;

use crate::{
    cookie::Cookies,
    message::{Fragment, Fragments, HelloPrefix, HelloVerifyRequest, Message, MessageType, Version},
    record::{ContentType, DTLS_1_0, Header, Record, Records},
    wire::Malformed,
};

/// What to do with a datagram from an address without an association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing; no state is kept.
    Drop(DropReason),
    /// Send this HelloVerifyRequest, which is never longer than the datagram; no state is kept.
    Answer(Vec<u8>),
    /// A ClientHello, or its first fragment, with a good cookie: begin a handshake with this very datagram.
    Admit,
}

/// Why a datagram deserves no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Not a record of DTLS.
    Malformed,
    /// A record of another epoch or type, such as one of a session that is not known here.
    NotHandshake,
    /// Another handshake message than a ClientHello.
    NotClientHello,
    /// A fragment that does not hold the cookie field: allocates nothing.
    NoCookieField,
    /// The answer would be longer than the question.
    TooShort,
}

impl DropReason {
    /// For a counter's label.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Malformed => "malformed",
            DropReason::NotHandshake => "not_handshake",
            DropReason::NotClientHello => "not_client_hello",
            DropReason::NoCookieField => "no_cookie_field",
            DropReason::TooShort => "too_short",
        }
    }
}

/// The cookie exchange of one node, or of one shard.
#[derive(Debug)]
pub struct Gate {
    cookies: Cookies,
}

impl Gate {
    /// `secret`: the cluster's, so that every node takes every node's cookies.
    pub fn new(secret: &[u8]) -> Self {
        Gate { cookies: Cookies::new(secret) }
    }

    /// Decides by the first record alone, at this second since 1970. Costs one HMAC, two for a cookie of the step before,
    /// three for a wrong one.
    pub fn handle(&mut self, unix: u64, peer: SocketAddr, datagram: &[u8]) -> Verdict {
        let (record, fragment) = match first_fragment(datagram) {
            Ok(first) => first,
            Err(reason) => return Verdict::Drop(reason),
        };
        let hello = match HelloPrefix::parse(fragment.bytes) {
            Ok(hello) if fragment.offset == 0 => hello,
            Err(Malformed::VectorLength(_)) => return Verdict::Drop(DropReason::Malformed),
            _ => return Verdict::Drop(DropReason::NoCookieField),
        };
        if self.cookies.check(unix, peer, &hello) {
            return Verdict::Admit;
        }
        let cookie = self.cookies.mint(unix, peer, &hello);
        let answer = verify_request(record.number, &cookie);
        if answer.len() > datagram.len() {
            return Verdict::Drop(DropReason::TooShort);
        }
        Verdict::Answer(answer)
    }
}

fn first_fragment(datagram: &[u8]) -> Result<(Record<'_>, Fragment<'_>), DropReason> {
    let record = match Records::parse(datagram, 0).next() {
        Some(Ok(record)) => record,
        Some(Err(_)) | None => return Err(DropReason::Malformed),
    };
    if record.content_type != ContentType::Handshake || record.epoch != 0 {
        return Err(DropReason::NotHandshake);
    }
    let fragment = match Fragments::parse(record.fragment).next() {
        Some(Ok(fragment)) => fragment,
        Some(Err(_)) | None => return Err(DropReason::Malformed),
    };
    if fragment.kind != MessageType::CLIENT_HELLO {
        return Err(DropReason::NotClientHello);
    }
    Ok((record, fragment))
}

/// RFC 6347 §4.2.1: the record number of the hello that is answered, so that none has to be remembered.
fn verify_request(number: u64, cookie: &[u8]) -> Vec<u8> {
    let request = HelloVerifyRequest { version: Version::DTLS_1_0, cookie };
    let message = Message::new(MessageType::HELLO_VERIFY_REQUEST, 0, |out| request.encode(out));
    let header = Header { version: DTLS_1_0, ..Header::plain(ContentType::Handshake, number) };
    let mut datagram = Vec::new();
    header.encode_plain(&message.to_bytes(), &mut datagram);
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{message::ClientHello, wire::Codes};

    const PEER: ([u8; 4], u16) = ([192, 0, 2, 1], 5683);

    /// A ClientHello as one message.
    fn hello(cookie: &[u8], seq: u16) -> Message {
        let hello = ClientHello {
            prefix: HelloPrefix { version: Version::DTLS_1_2, random: &[9; 32], session_id: &[], cookie },
            cipher_suites: Codes::new(&[0xc0, 0xa8]).unwrap(),
            extensions: Default::default(),
        };
        Message::new(MessageType::CLIENT_HELLO, seq, |out| hello.encode(out))
    }

    fn record(number: u64, plaintext: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        Header::plain(ContentType::Handshake, number).encode_plain(plaintext, &mut datagram);
        datagram
    }

    fn part(message: &Message, from: usize, to: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let bytes = &message.body[from..to];
        Fragment { kind: message.kind, total: message.body.len(), seq: message.seq, offset: from, bytes }
            .encode(&mut out);
        out
    }

    fn answer(gate: &mut Gate, datagram: &[u8]) -> Vec<u8> {
        match gate.handle(1000, PEER.into(), datagram) {
            Verdict::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn cookie_of(answer: &[u8]) -> Vec<u8> {
        answer[28..].to_vec()
    }

    #[test]
    fn the_smallest_hello_is_answered_with_less_and_then_admitted() {
        let mut gate = Gate::new(b"secret");
        let first = record(7, &hello(&[], 0).to_bytes());
        let answer = answer(&mut gate, &first);
        assert!(answer.len() < first.len());
        assert_eq!(answer[..3], [22, 0xfe, 0xff]);
        assert_eq!(answer[10], 7, "the hello's record number");
        assert_eq!(answer[17..19], [0, 0], "message number 0");
        assert_eq!(answer[25..28], [0xfe, 0xff, 16]);
        let second = record(8, &hello(&cookie_of(&answer), 1).to_bytes());
        assert_eq!(gate.handle(1000, PEER.into(), &second), Verdict::Admit);
        let stale = gate.handle(3000, PEER.into(), &second);
        assert!(matches!(stale, Verdict::Answer(_)), "a stale cookie is as none: {stale:?}");
    }

    #[test]
    fn a_first_fragment_with_the_cookie_is_enough_and_no_other_fragment_is() {
        let mut gate = Gate::new(b"secret");
        let cookie = cookie_of(&answer(&mut gate, &record(0, &hello(&[], 0).to_bytes())));
        let message = hello(&cookie, 1);
        let whole = message.body.len();
        assert_eq!(gate.handle(1000, PEER.into(), &record(1, &part(&message, 0, 52))), Verdict::Admit);
        for (from, to) in [(0, 51), (0, 20), (0, 0), (52, whole), (1, whole)] {
            assert_eq!(
                gate.handle(1000, PEER.into(), &record(1, &part(&message, from, to))),
                Verdict::Drop(DropReason::NoCookieField),
                "{from}..{to}"
            );
        }
    }

    #[test]
    fn an_answer_longer_than_its_question_is_not_sent() {
        let mut gate = Gate::new(b"secret");
        let message = hello(&[], 0);
        let cut = record(0, &part(&message, 0, 36));
        assert!(matches!(gate.handle(0, PEER.into(), &cut), Verdict::Answer(_)), "61 bytes for 44");
        for len in 0..cut.len() {
            if let Verdict::Answer(answer) = gate.handle(0, PEER.into(), &cut[..len]) {
                panic!("{} bytes for {len}", answer.len());
            }
        }
    }

    #[test]
    fn what_is_no_client_hello_is_dropped() {
        let mut gate = Gate::new(b"secret");
        let mut drop = |datagram: &[u8]| match gate.handle(0, PEER.into(), datagram) {
            Verdict::Drop(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(drop(&[]), DropReason::Malformed);
        assert_eq!(drop(b"GET / HTTP/1.1\r\n\r\n"), DropReason::Malformed);
        assert_eq!(drop(&record(0, &[])), DropReason::Malformed);
        let finished = Message::new(MessageType::FINISHED, 0, |out| out.extend([0; 80]));
        assert_eq!(drop(&record(0, &finished.to_bytes())), DropReason::NotClientHello);
        let mut alert = record(0, &hello(&[], 0).to_bytes());
        alert[0] = 21;
        assert_eq!(drop(&alert), DropReason::NotHandshake);
        let mut sealed = record(0, &hello(&[], 0).to_bytes());
        sealed[4] = 1;
        assert_eq!(drop(&sealed), DropReason::NotHandshake);
        let mut long_id = hello(&[], 0);
        long_id.body[34] = 33;
        long_id.body.extend([0; 40]);
        assert_eq!(drop(&record(0, &long_id.to_bytes())), DropReason::Malformed);
    }
}
