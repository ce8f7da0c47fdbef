//! A scripted CoAP client: each message is written and read by the test.

use std::{
    cell::RefCell,
    collections::VecDeque,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType};

use godwit_dtls::client::Failure;

use crate::{Dtls, Node, PATIENCE, secure::Secure, transport};

/// How long a confirmable message waits for its acknowledgement before it is sent again, the longest that RFC 7252 §4.8 has.
const ACK_TIMEOUT: Duration = Duration::from_secs(3);

/// One CoAP message, with shorthands to make and to read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message(pub Packet);

/// A UDP socket that speaks CoAP to one node.
#[derive(Debug)]
pub struct Raw {
    socket: UdpSocket,
    server: SocketAddr,
    message_id: u16,
    waiting: VecDeque<Message>,
    /// DTLS beneath, once it has shaken hands.
    secure: RefCell<Option<Box<Secure>>>,
}

impl Message {
    /// A confirmable request: `POST /rd?ep=a`.
    pub fn request(method: &str, uri: &str) -> Message {
        let mut packet = Packet::new();
        packet.header.set_type(MessageType::Confirmable);
        packet.header.code = MessageClass::Request(match method {
            "GET" => RequestType::Get,
            "POST" => RequestType::Post,
            "PUT" => RequestType::Put,
            "DELETE" => RequestType::Delete,
            "FETCH" => RequestType::Fetch,
            "PATCH" => RequestType::Patch,
            "iPATCH" => RequestType::IPatch,
            _ => panic!("no method {method}"),
        });
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            packet.add_option(CoapOption::UriPath, segment.into());
        }
        for query in query.split('&').filter(|query| !query.is_empty()) {
            packet.add_option(CoapOption::UriQuery, query.into());
        }
        Message(packet)
    }

    /// An empty message: ping, ACK or RST.
    pub fn empty(kind: MessageType, message_id: u16) -> Message {
        let mut packet = Packet::new();
        packet.header.set_type(kind);
        packet.header.code = MessageClass::Empty;
        packet.header.message_id = message_id;
        Message(packet)
    }

    /// The piggybacked response to this request, "2.05".
    pub fn answer(&self, code: &str) -> Message {
        let mut packet = Packet::new();
        packet.header.set_type(MessageType::Acknowledgement);
        packet.header.message_id = self.0.header.message_id;
        packet.set_token(self.0.get_token().to_vec());
        packet.header.set_code(code);
        Message(packet)
    }

    /// A notification of the observation that this request began.
    pub fn notification(&self, message_id: u16, observe: u32) -> Message {
        let mut message = self.answer("2.05").observe(observe);
        message.0.header.set_type(MessageType::Confirmable);
        message.0.header.message_id = message_id;
        message
    }

    /// Of another type.
    pub fn kind(mut self, kind: MessageType) -> Message {
        self.0.header.set_type(kind);
        self
    }

    /// With this payload.
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Message {
        self.0.payload = payload.into();
        self
    }

    /// With a Content-Format.
    pub fn format(self, format: u16) -> Message {
        self.uint(CoapOption::ContentFormat, format.into())
    }

    /// With an Observe option.
    pub fn observe(self, value: u32) -> Message {
        self.uint(CoapOption::Observe, value)
    }

    /// With a Block1 or Block2 option.
    pub fn block(self, option: CoapOption, number: u32, more: bool, size: u32) -> Message {
        let exponent = size.trailing_zeros() - 4;
        self.uint(option, number << 4 | u32::from(more) << 3 | exponent)
    }

    /// With an option that holds a number.
    pub fn uint(mut self, option: CoapOption, value: u32) -> Message {
        let bytes = value.to_be_bytes();
        let zeros = value.leading_zeros() as usize / 8;
        self.0.add_option(option, bytes[zeros..].to_vec());
        self
    }

    /// With an option.
    pub fn option(mut self, option: CoapOption, value: impl Into<Vec<u8>>) -> Message {
        self.0.add_option(option, value.into());
        self
    }

    /// "2.05", "0.01" for a GET, "0.00" for an empty message.
    pub fn code(&self) -> String {
        self.0.header.get_code()
    }

    /// The value of an option that holds a number.
    pub fn number(&self, option: CoapOption) -> Option<u32> {
        let value = self.0.get_first_option(option)?;
        Some(value.iter().fold(0, |number, &byte| number << 8 | u32::from(byte)))
    }

    /// Texts of an option that may come several times, joined by `/`.
    pub fn text(&self, option: CoapOption) -> String {
        let values = self.0.get_option(option).into_iter().flatten();
        let texts: Vec<_> = values.map(|value| String::from_utf8_lossy(value).into_owned()).collect();
        texts.join("/")
    }

    /// The payload as text.
    pub fn body(&self) -> String {
        String::from_utf8_lossy(&self.0.payload).into_owned()
    }

    /// Its message id.
    pub fn id(&self) -> u16 {
        self.0.header.message_id
    }

    /// Token.
    pub fn token(&self) -> &[u8] {
        self.0.get_token()
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.0.header.code, MessageClass::Request(_))
    }

    /// Path and method of a request, "GET /3/0".
    pub fn target(&self) -> String {
        let method = match self.0.header.code {
            MessageClass::Request(RequestType::Get) => "GET",
            MessageClass::Request(RequestType::Post) => "POST",
            MessageClass::Request(RequestType::Put) => "PUT",
            MessageClass::Request(RequestType::Delete) => "DELETE",
            MessageClass::Request(RequestType::Fetch) => "FETCH",
            MessageClass::Request(RequestType::IPatch) => "iPATCH",
            _ => "?",
        };
        format!("{method} /{}", self.text(CoapOption::UriPath))
    }
}

impl Raw {
    /// Of a socket on 127.0.0.1 with a port of its own.
    pub fn new(server: SocketAddr) -> Raw {
        Raw::bound("127.0.0.1:0".parse().unwrap(), server)
    }

    /// One that plays this device: over plain CoAP, and in a test binary named `over_psk` over DTLS, with a key that its
    /// device is given.
    #[track_caller]
    pub fn device(node: &Node, endpoint: &str) -> Raw {
        match transport::key(node, endpoint) {
            None => Raw::new(node.coap()),
            Some(key) => Raw::secured(node.coaps(), Dtls::psk(endpoint, &key)),
        }
    }

    /// Of a socket on this address.
    pub fn bound(local: SocketAddr, server: SocketAddr) -> Raw {
        let socket = UdpSocket::bind(local).unwrap();
        Raw { socket, server, message_id: 0x1000, waiting: VecDeque::new(), secure: RefCell::default() }
    }

    /// One that has shaken hands with the node, and speaks over DTLS from then on.
    #[track_caller]
    pub fn secured(server: SocketAddr, dtls: Dtls) -> Raw {
        Raw::try_secured(server, dtls).expect("the handshake succeeds")
    }

    /// The same, if the node lets it.
    pub fn try_secured(server: SocketAddr, dtls: Dtls) -> Result<Raw, Failure> {
        let mut raw = Raw::before_handshake(server, dtls);
        raw.handshake(false)?;
        Ok(raw)
    }

    /// One that is to speak over DTLS and has not shaken hands yet.
    pub fn before_handshake(server: SocketAddr, dtls: Dtls) -> Raw {
        let mut raw = Raw::new(server);
        raw.secure = RefCell::new(Some(Box::new(Secure::new(dtls))));
        raw
    }

    /// Shakes hands anew, offering the session that there is with `resume`; whether it was resumed.
    pub fn handshake(&mut self, resume: bool) -> Result<bool, Failure> {
        let secure = self.secure.get_mut().as_mut().expect("a secured client");
        secure.handshake(&self.socket, self.server, resume)
    }

    /// Shakes hands over DTLS, and loses what the node answers to its Finished; `meanwhile` happens then.
    pub fn secured_losing_the_end(
        server: SocketAddr,
        dtls: Dtls,
        meanwhile: impl FnOnce(),
    ) -> Result<Raw, Failure> {
        let mut raw = Raw::new(server);
        let mut secure = Box::new(Secure::new(dtls));
        secure.handshake_losing_the_end(&raw.socket, raw.server, meanwhile)?;
        raw.secure = RefCell::new(Some(secure));
        Ok(raw)
    }

    /// Shakes hands over DTLS; `send` does what it likes with the datagrams, by the socket.
    pub fn secured_through(
        server: SocketAddr,
        dtls: Dtls,
        send: impl FnMut(&UdpSocket, &[u8]),
    ) -> Result<Raw, Failure> {
        let mut raw = Raw::new(server);
        let mut secure = Box::new(Secure::new(dtls));
        secure.handshake_through(&raw.socket, raw.server, false, send)?;
        raw.secure = RefCell::new(Some(secure));
        Ok(raw)
    }

    /// Goes on from another port, as behind a NAT that has forgotten it.
    pub fn rebind(&mut self) {
        self.socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    }

    /// Ends the DTLS session in order.
    pub fn close(&mut self) {
        if let Some(secure) = self.secure.get_mut() {
            secure.close(&self.socket, self.server);
        }
    }

    /// Whether its DTLS session is open, as far as it knows.
    pub fn is_open(&self) -> bool {
        self.secure.borrow().as_ref().is_some_and(|secure| secure.is_open())
    }

    /// The Connection ID that the node gave it; empty without.
    pub fn server_cid(&self) -> Vec<u8> {
        self.secure.borrow().as_ref().map(|secure| secure.server_cid().to_vec()).unwrap_or_default()
    }

    /// A message as the datagram that would carry it now: each has a number of its own.
    pub fn datagram(&self, message: &Message) -> Vec<u8> {
        let bytes = message.0.to_bytes().unwrap();
        match &mut *self.secure.borrow_mut() {
            Some(secure) => secure.seal(&bytes),
            None => bytes,
        }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// A message id that it has not used yet.
    pub fn fresh_id(&mut self) -> u16 {
        self.message_id = self.message_id.wrapping_add(1);
        self.message_id
    }

    /// The request with a message id and a token of its own.
    pub fn numbered(&mut self, mut message: Message) -> Message {
        message.0.header.message_id = self.fresh_id();
        message.0.set_token(self.message_id.to_be_bytes().to_vec());
        message
    }

    /// Sends a message as it is.
    pub fn send(&self, message: &Message) {
        let datagram = self.datagram(message);
        self.send_bytes(&datagram);
    }

    /// Sends any bytes.
    pub fn send_bytes(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).unwrap();
    }

    /// The next message that `matches`; others stay for later calls. `None` after `patience`.
    pub fn find(&mut self, patience: Duration, matches: impl Fn(&Message) -> bool) -> Option<Message> {
        if let Some(place) = self.waiting.iter().position(&matches) {
            return self.waiting.remove(place);
        }
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).unwrap();
            let Ok((length, from)) = self.socket.recv_from(&mut buffer) else { continue };
            assert_eq!(from, self.server, "answers come from where requests went");
            let plaintexts = match self.secure.get_mut() {
                Some(secure) => secure.open(&self.socket, self.server, &buffer[..length]),
                None => vec![buffer[..length].to_vec()],
            };
            for plaintext in plaintexts {
                let message = Packet::from_bytes(&plaintext).expect("the node speaks CoAP");
                self.waiting.push_back(Message(message));
            }
            if let Some(place) = self.waiting.iter().position(&matches) {
                return self.waiting.remove(place);
            }
        }
    }

    /// The next message that `matches`.
    #[track_caller]
    pub fn next(&mut self, what: &str, matches: impl Fn(&Message) -> bool) -> Message {
        match self.find(PATIENCE, matches) {
            Some(message) => message,
            None => panic!("never came: {what}; came: {:#?}", self.waiting),
        }
    }

    /// The next request from the node. Its repetitions, and requests that were answered, are not told apart.
    #[track_caller]
    pub fn next_request(&mut self, target: &str) -> Message {
        self.next(target, |message| message.is_request() && message.target() == target)
    }

    /// Sends a request under a new message id and token, and waits for its response.
    #[track_caller]
    pub fn call(&mut self, message: Message) -> Message {
        let message = self.numbered(message);
        self.exchange(&message)
    }

    /// Sends a request as it is, and waits for the response with its token. A confirmable one that is not acknowledged is
    /// sent again, as every device does (RFC 7252 §4.2): a node may leave a message to be repeated.
    #[track_caller]
    pub fn exchange(&mut self, message: &Message) -> Message {
        let (id, token) = (message.id(), message.0.get_token().to_vec());
        let is_response = |response: &Message| {
            matches!(response.0.header.code, MessageClass::Response(_)) && response.0.get_token() == token
        };
        let is_ack = |it: &Message| it.0.header.get_type() == MessageType::Acknowledgement && it.id() == id;
        let repeats = message.0.header.get_type() == MessageType::Confirmable;
        let deadline = Instant::now() + PATIENCE;
        self.send(message);
        let response = loop {
            if let Some(response) = self.find(ACK_TIMEOUT, is_response) {
                break response;
            }
            let target = message.target();
            assert!(
                Instant::now() < deadline,
                "never came: the response to {target}; came: {:#?}",
                self.waiting
            );
            if repeats && !self.waiting.iter().any(is_ack) {
                self.send(message);
            }
        };
        if response.0.header.get_type() == MessageType::Confirmable {
            self.send(&Message::empty(MessageType::Acknowledgement, response.id()));
        }
        response
    }

    /// Registers, "ep=a&lwm2m=1.1", with these links; the registration id.
    #[track_caller]
    pub fn register(&mut self, query: &str, links: &str) -> String {
        let request = Message::request("POST", &format!("/rd?{query}")).format(40).payload(links);
        let response = self.call(request);
        assert_eq!(response.code(), "2.01", "{}", response.body());
        let location = response.text(CoapOption::LocationPath);
        location.strip_prefix("rd/").expect("the location is rd/<id>").to_owned()
    }

    /// Sends an empty message and waits for the RST that answers it: what was sent before has been dealt with.
    #[track_caller]
    pub fn ping(&mut self) {
        let id = self.fresh_id();
        self.send(&Message::empty(MessageType::Confirmable, id));
        self.next("RST to a ping", |message| {
            message.id() == id && message.0.header.get_type() == MessageType::Reset
        });
    }

    /// Takes what came and was not asked for yet.
    pub fn drain(&mut self) -> Vec<Message> {
        let _ = self.find(Duration::from_millis(1), |_| false);
        self.waiting.drain(..).collect()
    }
}
