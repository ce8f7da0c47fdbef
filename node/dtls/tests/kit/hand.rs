//! A client driven by hand, message by message, so that each can be wrong. The way to the server is perfect.

use std::time::Instant;

use godwit_dtls::{
    agreement::KeyAgreement,
    alert::Alert,
    extension::{ECDSA_SECP256R1_SHA256, MaxFragmentLength, SECP256R1},
    message::{
        CertificateVerify, Chain, ClientKeyExchange, Finished, Fragment, HelloVerifyRequest, Message,
        MessageType, RawPublicKey, ServerHello, ServerKeyExchange, Signed,
    },
    prf::{MasterSecret, Side, psk_premaster},
    protection::{ByNumber, ReadKeys, WriteKeys},
    reassembly::{Limits, Reassembly},
    record::{ContentType, Header, Records},
    signature::SigningKey,
    suite::{Cipher, CipherSuite},
    transcript::Transcript,
};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{credentials::Device, server::Server};

/// One extension as it stands in a hello.
pub type Extension = (u16, Vec<u8>);

pub const EMS: u16 = 23;
pub const ETM: u16 = 22;
pub const MFL: u16 = 1;
pub const CID: u16 = 54;
pub const SNI: u16 = 0;
pub const CLIENT_TYPES: u16 = 19;
pub const SERVER_TYPES: u16 = 20;
pub const RENEGOTIATION_INFO: u16 = 0xff01;
pub const SUPPORTED_VERSIONS: u16 = 43;

/// What the next hello says.
#[derive(Clone, Debug)]
pub struct Offer {
    pub version: u16,
    pub session_id: Vec<u8>,
    pub suites: Vec<u16>,
    /// `None`: not even their length.
    pub extensions: Option<Vec<Extension>>,
    /// Behind the end of the message.
    pub trailing: Vec<u8>,
}

impl Offer {
    /// PSK with CCM_8 and the extended master secret.
    pub fn psk() -> Self {
        Offer {
            version: 0xfefd,
            session_id: Vec::new(),
            suites: vec![CipherSuite::PskAes128Ccm8.id()],
            extensions: Some(vec![(EMS, vec![])]),
            trailing: Vec::new(),
        }
    }

    /// ECDHE with CCM_8, raw public keys on both sides.
    pub fn raw_public_key() -> Self {
        let suites = vec![CipherSuite::EcdheEcdsaAes128Ccm8.id()];
        Offer { suites, ..Offer::psk() }.with(CLIENT_TYPES, &[1, 2]).with(SERVER_TYPES, &[1, 2])
    }

    /// ECDHE with CCM_8 and certificates.
    pub fn x509() -> Self {
        Offer { suites: vec![CipherSuite::EcdheEcdsaAes128Ccm8.id()], ..Offer::psk() }
    }

    /// With one more extension.
    pub fn with(mut self, code: u16, body: &[u8]) -> Self {
        self.extensions.get_or_insert_default().push((code, body.to_vec()));
        self
    }

    /// Without one.
    pub fn without(mut self, code: u16) -> Self {
        self.extensions.get_or_insert_default().retain(|(other, _)| *other != code);
        self
    }

    pub fn suites(mut self, suites: &[CipherSuite]) -> Self {
        self.suites = suites.iter().map(|suite| suite.id()).collect();
        self
    }

    pub fn resuming(mut self, session_id: &[u8]) -> Self {
        self.session_id = session_id.to_vec();
        self
    }

    fn body(&self, random: &[u8; 32], cookie: &[u8]) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend(random);
        body.push(self.session_id.len() as u8);
        body.extend(&self.session_id);
        body.push(cookie.len() as u8);
        body.extend(cookie);
        body.extend((2 * self.suites.len() as u16).to_be_bytes());
        body.extend(self.suites.iter().flat_map(|suite| suite.to_be_bytes()));
        body.extend([1, 0]);
        if let Some(extensions) = &self.extensions {
            let each = extensions.iter().flat_map(|(code, bytes)| {
                [&code.to_be_bytes()[..], &(bytes.len() as u16).to_be_bytes(), bytes].concat()
            });
            let block: Vec<u8> = each.collect();
            body.extend((block.len() as u16).to_be_bytes());
            body.extend(block);
        }
        body.extend(&self.trailing);
        body
    }
}

/// What the server's hello said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    pub random: [u8; 32],
    pub session_id: Vec<u8>,
    pub suite: u16,
    pub extended_master_secret: bool,
    pub encrypt_then_mac: bool,
    pub max_fragment_length: Option<usize>,
    pub connection_id: Option<Vec<u8>>,
    pub renegotiation_info: Option<Vec<u8>>,
    pub server_name: bool,
}

/// A client's side, of which nothing happens by itself but reading.
pub struct Hand {
    pub now: Instant,
    pub offer: Offer,
    pub random: [u8; 32],
    pub cookie: Vec<u8>,
    pub agreed: Option<Agreed>,
    /// The server's messages that came so far, whole and in order.
    pub messages: Vec<Message>,
    /// With the epoch that each came in.
    pub alerts: Vec<(u16, Alert)>,
    pub change_cipher_specs: usize,
    pub application: Vec<Vec<u8>>,
    pub master: Option<MasterSecret>,
    pub keys: Option<(ReadKeys, WriteKeys)>,
    pub transcript: Transcript,
    /// Of the next message.
    pub seq: u16,
    /// Of the next record, by epoch.
    pub numbers: [u64; 2],
    /// What records from the server carry.
    pub own_cid: Vec<u8>,
    incoming: Reassembly,
    system: SystemRandom,
}

impl Hand {
    pub fn new(now: Instant, offer: Offer) -> Self {
        let system = SystemRandom::new();
        let mut random = [0; 32];
        system.fill(&mut random).unwrap();
        let own_cid = offer.extensions.iter().flatten().find(|(code, _)| *code == CID);
        let own_cid = own_cid.map(|(_, body)| body[1..].to_vec()).unwrap_or_default();
        Hand {
            now,
            offer,
            random,
            cookie: Vec::new(),
            agreed: None,
            messages: Vec::new(),
            alerts: Vec::new(),
            change_cipher_specs: 0,
            application: Vec::new(),
            master: None,
            keys: None,
            transcript: Transcript::new(),
            seq: 0,
            numbers: [0; 2],
            own_cid,
            incoming: Reassembly::new(0, Limits::default()),
            system,
        }
    }

    /// Another handshake of the same client: its session's master secret is kept, nothing else.
    pub fn again(&self, offer: Offer) -> Self {
        Hand { master: self.master.clone(), ..Hand::new(self.now, offer) }
    }

    /// The ClientHello with the cookie of the moment. Only one with a cookie is part of the handshake.
    pub fn hello(&mut self) -> Vec<u8> {
        let body = self.offer.body(&self.random, &self.cookie);
        if self.cookie.is_empty() {
            let message = Message { kind: MessageType::CLIENT_HELLO, seq: self.seq, body };
            self.seq += 1;
            return self.plain(ContentType::Handshake, &message.to_bytes());
        }
        self.incoming = Reassembly::new(self.seq, Limits::default());
        self.message(MessageType::CLIENT_HELLO, body)
    }

    /// A message of this body, in the clear and in the transcript.
    pub fn message(&mut self, kind: MessageType, body: Vec<u8>) -> Vec<u8> {
        let message = self.next_message(kind, body);
        self.plain(ContentType::Handshake, &message.to_bytes())
    }

    /// The next message, in the transcript but not sent.
    pub fn next_message(&mut self, kind: MessageType, body: Vec<u8>) -> Message {
        let message = Message { kind, seq: self.seq, body };
        self.seq += 1;
        self.transcript.add(&message);
        message
    }

    /// One record of epoch 0.
    pub fn plain(&mut self, content_type: ContentType, plaintext: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        Header::plain(content_type, self.numbers[0]).encode_plain(plaintext, &mut datagram);
        self.numbers[0] += 1;
        datagram
    }

    /// A message cut into fragments of so many bytes, each in a datagram.
    pub fn fragmented(&mut self, message: &Message, room: usize) -> Vec<Vec<u8>> {
        let total = message.body.len();
        let fragments = (0..total).step_by(room).map(|offset| {
            let bytes = &message.body[offset..total.min(offset + room)];
            let mut out = Vec::new();
            Fragment { kind: message.kind, total, seq: message.seq, offset, bytes }.encode(&mut out);
            out
        });
        let fragments: Vec<_> = fragments.collect();
        fragments.iter().map(|fragment| self.plain(ContentType::Handshake, fragment)).collect()
    }

    /// One record of epoch 1.
    pub fn sealed(&mut self, content_type: ContentType, plaintext: &[u8]) -> Vec<u8> {
        let cid = self.agreed.as_ref().and_then(|agreed| agreed.connection_id.clone()).unwrap_or_default();
        let header = Header::protected(content_type, self.numbers[1], &cid);
        let (_, write) = self.keys.as_ref().expect("keys were derived");
        let mut datagram = Vec::new();
        write.seal(&header, plaintext, &mut ByNumber { random: &self.system }, &mut datagram).unwrap();
        self.numbers[1] += 1;
        datagram
    }

    /// Reads what the server sent.
    pub fn handle(&mut self, datagrams: &[Vec<u8>]) {
        for datagram in datagrams {
            let own_cid = self.own_cid.clone();
            for record in Records::parse(datagram, own_cid.len()) {
                let record = record.expect("the server sends whole records");
                let (content_type, plaintext) = if record.epoch == 0 {
                    (record.content_type, record.fragment.to_vec())
                } else {
                    let (read, _) = self.keys.as_ref().expect("protected records come after keys");
                    match read.open(&record) {
                        Ok(opened) => (opened.content_type, opened.plaintext),
                        Err(_) => continue,
                    }
                };
                self.take(record.epoch, content_type, &plaintext);
            }
        }
    }

    fn take(&mut self, epoch: u16, content_type: ContentType, plaintext: &[u8]) {
        match content_type {
            ContentType::ChangeCipherSpec => {
                self.change_cipher_specs += 1;
                if let (Some(agreed), Some(master), None) = (&self.agreed, &self.master, &self.keys) {
                    // An abbreviated handshake: the server is first.
                    self.keys = Some(self.derive(agreed, master));
                }
            }
            ContentType::Alert => self.alerts.push((epoch, Alert::parse(plaintext).unwrap())),
            ContentType::ApplicationData => self.application.push(plaintext.to_vec()),
            ContentType::Handshake => {
                for fragment in godwit_dtls::message::Fragments::parse(plaintext) {
                    let fragment = fragment.expect("the server sends well-formed fragments");
                    if fragment.kind == MessageType::HELLO_VERIFY_REQUEST {
                        self.cookie = HelloVerifyRequest::parse(fragment.bytes).unwrap().cookie.to_vec();
                    } else {
                        self.incoming.accept(&fragment);
                    }
                }
                while let Some(message) = self.incoming.pop() {
                    if message.kind == MessageType::SERVER_HELLO {
                        self.agreed = Some(agreed(&message.body));
                    }
                    if message.kind != MessageType::HELLO_REQUEST {
                        self.transcript.add(&message);
                    }
                    self.messages.push(message);
                }
            }
            ContentType::Tls12Cid | ContentType::Unknown(_) => panic!("a record of type {content_type:?}"),
        }
    }

    /// One datagram there, what comes back here.
    pub fn tell(&mut self, server: &mut Server, datagram: &[u8]) {
        let answer = server.exchange(self.now, datagram);
        self.handle(&answer);
    }

    /// Both hellos, and the server's flight.
    pub fn greet(&mut self, server: &mut Server) {
        let first = self.hello();
        self.tell(server, &first);
        assert!(!self.cookie.is_empty(), "no cookie came");
        let second = self.hello();
        self.tell(server, &second);
    }

    /// The kinds of the server's messages so far.
    pub fn kinds(&self) -> Vec<MessageType> {
        self.messages.iter().map(|message| message.kind).collect()
    }

    pub fn body(&self, kind: MessageType) -> &[u8] {
        &self.messages.iter().find(|message| message.kind == kind).expect("the message came").body
    }

    /// ClientKeyExchange of a PSK suite; the keys follow from it.
    pub fn psk_key_exchange(&mut self, identity: &[u8], key: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        ClientKeyExchange::Psk(identity).encode(&mut body);
        let datagram = self.message(MessageType::CLIENT_KEY_EXCHANGE, body);
        self.set_premaster(&psk_premaster(key));
        datagram
    }

    /// ClientKeyExchange of an ECDHE suite; the keys follow from it.
    pub fn ecdhe_key_exchange(&mut self) -> Vec<u8> {
        let agreement = KeyAgreement::generate(&self.system).unwrap();
        let mut body = Vec::new();
        ClientKeyExchange::Ecdhe(agreement.public()).encode(&mut body);
        let datagram = self.message(MessageType::CLIENT_KEY_EXCHANGE, body);
        let exchange = ServerKeyExchange::parse(self.body(MessageType::SERVER_KEY_EXCHANGE)).unwrap();
        assert_eq!(exchange.params.group, SECP256R1);
        let premaster = agreement.premaster(exchange.params.point).unwrap();
        self.set_premaster(&premaster[..]);
        datagram
    }

    /// Certificate, bare or as a chain.
    pub fn certificate(&mut self, device: &Device, raw: bool) -> Vec<u8> {
        let mut body = Vec::new();
        if raw {
            RawPublicKey(&device.spki()).encode(&mut body);
        } else {
            Chain(device.chain.iter().map(Vec::as_slice).collect()).encode(&mut body);
        }
        self.message(MessageType::CERTIFICATE, body)
    }

    /// CertificateVerify with this key's signature.
    pub fn certificate_verify(&mut self, key: &SigningKey) -> Vec<u8> {
        let signature = key.sign(self.transcript.messages(), &self.system).unwrap();
        self.certificate_verify_with(&signature)
    }

    /// CertificateVerify with any bytes as the signature.
    pub fn certificate_verify_with(&mut self, signature: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        CertificateVerify(Signed { scheme: ECDSA_SECP256R1_SHA256, signature }).encode(&mut body);
        self.message(MessageType::CERTIFICATE_VERIFY, body)
    }

    pub fn change_cipher_spec(&mut self) -> Vec<u8> {
        self.plain(ContentType::ChangeCipherSpec, &[1])
    }

    /// The right Finished, sealed.
    pub fn finished(&mut self) -> Vec<u8> {
        let verify_data = self.verify_data();
        self.finished_with(&verify_data)
    }

    /// A Finished with any content, sealed.
    pub fn finished_with(&mut self, verify_data: &[u8; 12]) -> Vec<u8> {
        let mut body = Vec::new();
        Finished(verify_data).encode(&mut body);
        let message = self.next_message(MessageType::FINISHED, body);
        self.sealed(ContentType::Handshake, &message.to_bytes())
    }

    pub fn verify_data(&self) -> [u8; 12] {
        self.master.as_ref().unwrap().verify_data(Side::Client, &self.transcript.hash())
    }

    /// The rest of a PSK handshake after [`Hand::greet`]; panics unless it succeeds.
    pub fn complete_psk(&mut self, server: &mut Server, identity: &[u8], key: &[u8]) {
        for datagram in [self.psk_key_exchange(identity, key), self.change_cipher_spec(), self.finished()] {
            self.tell(server, &datagram);
        }
        assert_eq!(self.kinds().last(), Some(&MessageType::FINISHED), "alerts: {:?}", self.alerts);
    }

    /// A whole PSK handshake.
    pub fn establish_psk(&mut self, server: &mut Server, identity: &[u8], key: &[u8]) {
        self.greet(server);
        self.complete_psk(server, identity, key);
    }

    /// The rest of an ECDHE handshake after [`Hand::greet`].
    pub fn complete_ecdhe(&mut self, server: &mut Server, device: &Device, key: &SigningKey, raw: bool) {
        let certificate = self.certificate(device, raw);
        let exchange = self.ecdhe_key_exchange();
        let verify = self.certificate_verify(key);
        for datagram in [certificate, exchange, verify] {
            self.tell(server, &datagram);
        }
        if self.alerts.is_empty() {
            for datagram in [self.change_cipher_spec(), self.finished()] {
                self.tell(server, &datagram);
            }
        }
    }

    /// The rest of an abbreviated handshake after [`Hand::greet`]; panics unless the server resumed.
    pub fn complete_resumption(&mut self, server: &mut Server) {
        assert_eq!(self.kinds(), [MessageType::SERVER_HELLO, MessageType::FINISHED], "a full handshake");
        for datagram in [self.change_cipher_spec(), self.finished()] {
            self.tell(server, &datagram);
        }
    }

    /// One application record there; what comes back is in `application`.
    pub fn say(&mut self, server: &mut Server, text: &[u8]) {
        let datagram = self.sealed(ContentType::ApplicationData, text);
        self.tell(server, &datagram);
    }

    fn set_premaster(&mut self, premaster: &[u8]) {
        let agreed = self.agreed.clone().expect("a ServerHello came");
        let master = if agreed.extended_master_secret {
            MasterSecret::extended(premaster, &self.transcript.hash())
        } else {
            MasterSecret::derive(premaster, &self.random, &agreed.random)
        };
        self.keys = Some(self.derive(&agreed, &master));
        self.master = Some(master);
    }

    fn derive(&self, agreed: &Agreed, master: &MasterSecret) -> (ReadKeys, WriteKeys) {
        let suite = CipherSuite::from_id(agreed.suite).expect("a suite of ours");
        let cipher = match suite {
            CipherSuite::PskAes128Ccm8 | CipherSuite::EcdheEcdsaAes128Ccm8 => Cipher::Ccm8,
            CipherSuite::EcdheEcdsaAes128Gcm => Cipher::Gcm,
            _ if agreed.encrypt_then_mac => Cipher::CbcEtm,
            _ => Cipher::Cbc,
        };
        master.keys(cipher, &self.random, &agreed.random).for_client()
    }
}

fn agreed(body: &[u8]) -> Agreed {
    let hello = ServerHello::parse(body).expect("the server's hello is well-formed");
    let these = hello.extensions;
    Agreed {
        random: *hello.random,
        session_id: hello.session_id.to_vec(),
        suite: hello.cipher_suite,
        extended_master_secret: these.extended_master_secret,
        encrypt_then_mac: these.encrypt_then_mac,
        max_fragment_length: these.max_fragment_length.map(MaxFragmentLength::bytes),
        connection_id: these.connection_id.map(<[u8]>::to_vec),
        renegotiation_info: these.renegotiation_info.map(<[u8]>::to_vec),
        server_name: these.server_name,
    }
}
