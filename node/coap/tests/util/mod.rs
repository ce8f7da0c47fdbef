//! What the tests share: stepped time, raw messages, and a peer with its outputs drained.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses a part")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use coap_lite::{MessageType, Packet};
use godwit_coap::{Code, Config, Event, Fate, Peer, Request, RequestId, Response, Token};

pub const CON: MessageType = MessageType::Confirmable;
pub const NON: MessageType = MessageType::NonConfirmable;
pub const ACK: MessageType = MessageType::Acknowledgement;
pub const RST: MessageType = MessageType::Reset;

/// An instant to start from; all others are reckoned from it.
#[expect(clippy::disallowed_methods, reason = "an instant to start from; time is stepped")]
pub fn start() -> Instant {
    Instant::now()
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn token(bytes: &[u8]) -> Token {
    Token::new(bytes).unwrap()
}

pub fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A peer, the clock, and what came out since it was last looked at.
pub struct Bench {
    pub peer: Peer,
    pub now: Instant,
    pub start: Instant,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        let now = start();
        Self { peer: Peer::new(Arc::new(config), 0x3000, 7), now, start: now }
    }

    pub fn put(&mut self, datagram: &[u8]) -> Fate {
        self.peer.handle_datagram(self.now, datagram)
    }

    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.peer.poll_transmit()).collect()
    }

    /// The one datagram that was sent, read by the codec alone.
    pub fn sent_one(&mut self) -> Packet {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:02x?}");
        Packet::from_bytes(&sent.remove(0)).unwrap()
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.peer.poll_event()).collect()
    }

    pub fn event(&mut self) -> Event {
        let mut events = self.events();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    /// The one request that was raised.
    pub fn request(&mut self) -> (RequestId, Request) {
        match self.event() {
            Event::Request { id, request, .. } => (id, request),
            other => panic!("{other:?}"),
        }
    }

    /// The one response that was raised.
    pub fn response(&mut self) -> Response {
        match self.event() {
            Event::Response { response, .. } => response,
            other => panic!("{other:?}"),
        }
    }

    pub fn respond(&mut self, id: RequestId, response: Response) {
        self.peer.respond(self.now, id, response).unwrap();
    }

    /// Lets time pass, with every timeout at its deadline; what is sent comes with the time since the start.
    pub fn pass(&mut self, time: Duration) -> Vec<(Duration, Vec<u8>)> {
        let end = self.now + time;
        let mut sent = Vec::new();
        while let Some(at) = self.peer.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.peer.handle_timeout(self.now);
            sent.extend(self.sent().into_iter().map(|datagram| (self.now - self.start, datagram)));
        }
        self.now = end;
        sent
    }
}

/// A message made by the codec alone.
pub fn message(
    kind: MessageType,
    code: Code,
    message_id: u16,
    token: &[u8],
    options: &[(u16, &[u8])],
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = Packet::new();
    packet.header.set_type(kind);
    packet.header.code = code.0.into();
    packet.header.message_id = message_id;
    packet.set_token(token.to_vec());
    for (number, value) in options {
        packet.add_option((*number).into(), value.to_vec());
    }
    packet.payload = payload.to_vec();
    packet.to_bytes_unlimited().unwrap()
}

pub fn empty(kind: MessageType, message_id: u16) -> Vec<u8> {
    message(kind, Code::EMPTY, message_id, &[], &[], &[])
}

/// The first value of an option as a number.
pub fn number(packet: &Packet, option: u16) -> Option<u32> {
    let value = packet.get_first_option(option.into())?;
    Some(value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

pub fn code(packet: &Packet) -> Code {
    Code(packet.header.code.into())
}

pub const OBSERVE: u16 = 6;
pub const ETAG: u16 = 4;
pub const URI_PATH: u16 = 11;
pub const BLOCK2: u16 = 23;
pub const BLOCK1: u16 = 27;
pub const SIZE2: u16 = 28;
pub const SIZE1: u16 = 60;

/// The messages of an exchange among the published vectors, in order: name, `client` or `server`, bytes.
pub fn vectors(exchange: &str) -> Vec<(String, String, Vec<u8>)> {
    let file: serde_json::Value = serde_json::from_str(include_str!("../vectors/coap.json")).unwrap();
    let text = |vector: &serde_json::Value, key: &str| vector[key].as_str().unwrap_or_default().to_owned();
    let of_exchange: Vec<_> = file["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|vector| vector["exchange"] == exchange)
        .map(|vector| (text(vector, "id"), text(vector, "from"), hex(&text(vector, "hex"))))
        .collect();
    assert!(!of_exchange.is_empty(), "{exchange}");
    of_exchange
}
