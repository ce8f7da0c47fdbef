//! The whole server and a good client with an enemy between them: datagrams changed, lost, repeated, made up, look-ups
//! and writes late or failing, owners that die. Nothing panics, and in the end nothing waits.
//!
//! Both draw from fixed bytes, so that an input does the same each time.
#![no_main]
#![allow(deprecated, reason = "ring has no other source of randomness that repeats")]

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arbitrary::Arbitrary;
use godwit_dtls::{
    Answer, Association, CloseReason, Config, Context, Modes, Naming, NotStored, Numbering, Output, Psk,
    Question, Secret, ServerIdentity, SessionId, SessionName, StoreKind, StoredSession, Subject, Ticket,
    Unacceptable,
    cid::{Cid, CidKeys},
    client::{self, Client, Credential, Settings},
    gate::{Gate, Verdict},
    message::{Fragment, MessageType},
    nonce::NonceSource,
    record::{ContentType, Header},
    signature::SigningKey,
};
use libfuzzer_sys::fuzz_target;
use ring::{
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
    test::rand::FixedByteRandom,
};

#[derive(Debug, Arbitrary)]
enum Step {
    /// The client begins, perhaps to resume.
    Begin {
        resume: bool,
    },
    /// A datagram under way arrives, perhaps changed or cut, perhaps to stay for another time.
    Deliver {
        pick: u8,
        keep: bool,
        change: Option<(u16, u8)>,
        cut: Option<u8>,
    },
    Lose {
        pick: u8,
    },
    /// The enemy's bytes.
    Inject {
        bytes: Vec<u8>,
    },
    /// The enemy's message in the clear, with the next numbers.
    Forge {
        content_type: u8,
        kind: u8,
        seq: u8,
        total: u16,
        offset: u8,
        body: Vec<u8>,
    },
    /// All that is under way arrives, all that is asked is answered, as long as there is anything.
    Calm,
    /// The store answers the oldest question.
    Answer {
        fails: bool,
    },
    Wait {
        millis: u16,
    },
    Say {
        client: bool,
        len: u16,
    },
    Close {
        client: bool,
    },
    /// The owner dies; another goes on with what is stored.
    TakeOver {
        exact: bool,
    },
}

#[derive(Debug, Arbitrary)]
struct Input {
    mode: u8,
    cid: Option<u8>,
    mtu: u8,
    etm: bool,
    ems: bool,
    steps: Vec<Step>,
}

struct Names(u64);

impl Naming for Names {
    fn name(&mut self) -> Cid {
        self.0 += 1;
        CidKeys::new(1, b"tags").mint([0, 0, (self.0 >> 16) as u8, (self.0 >> 8) as u8, self.0 as u8], 3)
    }

    fn session_id(&mut self, name: &SessionName) -> SessionId {
        let mut id = [9; 32];
        id[..8].copy_from_slice(&name.0);
        SessionId(id)
    }
}

const SERVER_RANDOM: FixedByteRandom = FixedByteRandom { byte: 0x35 };
const CLIENT_RANDOM: FixedByteRandom = FixedByteRandom { byte: 0x53 };
const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 40_000);
const UNIX: u64 = 1_780_272_000;

struct World {
    now: Instant,
    began: Instant,
    gate: Gate,
    config: Config,
    names: Names,
    nonces: NonceSource,
    association: Option<Association>,
    questions: Vec<(Ticket, Question)>,
    stored: Vec<StoredSession>,
    provisional: Vec<StoredSession>,
    client: Client,
    credential: Credential,
    /// Whether to the server, and what.
    flying: Vec<(bool, Vec<u8>)>,
}

fuzz_target!(|input: Input| {
    let mut world = World::new(&input);
    world.client(|client, cx, out, credential| client.start(cx, credential, false, out));
    for step in input.steps {
        world.apply(step);
        let kept = world.flying.len().min(32);
        world.flying.drain(..world.flying.len() - kept);
    }
    // Whatever waits ends by its timers alone.
    for _ in 0..200 {
        while !world.questions.is_empty() {
            world.answer(false);
        }
        let Some(due) = world.association.as_ref().and_then(Association::poll_timeout) else { break };
        world.now = world.now.max(due);
        world.server(Association::handle_timeout);
    }
    assert!(world.association.is_none_or(|association| association.poll_timeout().is_none()));
});

impl World {
    fn new(input: &Input) -> Self {
        #[allow(clippy::disallowed_methods, reason = "an instant to start from; time is stepped")]
        let began = Instant::now();
        // The certificates are for the keys that these bytes give.
        let key = |byte| {
            let random = FixedByteRandom { byte };
            let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
            SigningKey::from_pkcs8(der.expect("any scalar").as_ref(), &random).expect("a key of P-256")
        };
        let chain = vec![include_bytes!("support/server.der").to_vec()];
        let credential = match input.mode % 3 {
            0 => Credential::Psk { identity: b"urn:dev:1".to_vec(), key: Secret::new(*b"0123456789abcdef") },
            1 => Credential::RawPublicKey(Arc::new(key(0x22))),
            _ => Credential::X509 {
                key: Arc::new(key(0x22)),
                chain: [include_bytes!("support/device.der").to_vec()].into(),
            },
        };
        let settings = Settings {
            encrypt_then_mac: input.etm,
            extended_master_secret: input.ems,
            datagram: 120 + usize::from(input.mtu) * 4,
            ..Settings::default()
        };
        let cid = input.cid.map(|len| vec![7; usize::from(len % 33)]);
        World {
            now: began,
            began,
            gate: Gate::new(b"the cluster's secret of 32 bytes"),
            config: Config {
                modes: Modes { psk: true, raw_public_key: true, x509: true },
                identity: Some(Arc::new(
                    ServerIdentity::new(key(0x11), chain).expect("they belong together"),
                )),
                mtu: 120 + usize::from(input.mtu) * 4,
                ..Config::default()
            },
            names: Names(0),
            nonces: NonceSource::new(1, 0, u32::MAX),
            association: None,
            questions: Vec::new(),
            stored: Vec::new(),
            provisional: Vec::new(),
            client: Client::new(Arc::new(settings), cid.as_deref()),
            credential,
            flying: Vec::new(),
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Begin { resume } => {
                self.client(|client, cx, out, credential| client.start(cx, credential, resume, out));
            }
            Step::Deliver { pick, keep, change, cut } if !self.flying.is_empty() => {
                let at = usize::from(pick) % self.flying.len();
                let (to_server, mut datagram) =
                    if keep { self.flying[at].clone() } else { self.flying.remove(at) };
                if let Some((position, value)) = change {
                    let position = usize::from(position) % datagram.len();
                    datagram[position] ^= value;
                }
                if let Some(cut) = cut {
                    datagram.truncate(usize::from(cut));
                }
                self.deliver(to_server, &datagram);
            }
            Step::Lose { pick } if !self.flying.is_empty() => {
                self.flying.remove(usize::from(pick) % self.flying.len());
            }
            Step::Inject { bytes } => self.deliver(true, &bytes),
            Step::Forge { content_type, kind, seq, total, offset, body } => {
                let (total, offset) = (usize::from(total), usize::from(offset));
                let mut plaintext = Vec::new();
                if offset + body.len() <= total {
                    Fragment { kind: MessageType(kind), total, seq: seq.into(), offset, bytes: &body }
                        .encode(&mut plaintext);
                } else {
                    plaintext = body;
                }
                plaintext.truncate(4096);
                let mut datagram = Vec::new();
                Header::plain(ContentType::from(content_type % 32), 1000)
                    .encode_plain(&plaintext, &mut datagram);
                self.deliver(true, &datagram);
            }
            Step::Calm => {
                for _ in 0..64 {
                    if self.flying.is_empty() && self.questions.is_empty() {
                        break;
                    }
                    for (to_server, datagram) in std::mem::take(&mut self.flying) {
                        self.deliver(to_server, &datagram);
                    }
                    self.answer(false);
                }
            }
            Step::Answer { fails } => self.answer(fails),
            Step::Wait { millis } => {
                self.now += Duration::from_millis(millis.into());
                self.server(Association::handle_timeout);
                self.client(|client, cx, out, _| client.handle_timeout(cx, out));
            }
            Step::Say { client: true, len } => {
                let mut datagram = Vec::new();
                let cx = client::Context { now: self.now, random: &CLIENT_RANDOM };
                let plaintext = vec![b'x'; usize::from(len % 2000)];
                if self.client.seal(cx, &plaintext, &mut datagram) == Ok(true) {
                    self.flying.push((true, datagram));
                }
            }
            Step::Say { client: false, len } => {
                self.server(|association, cx| {
                    let _ = association.send(cx, &vec![b'y'; usize::from(len % 2000)]);
                });
            }
            Step::Close { client: true } => self.client(|client, cx, out, _| client.close(cx, out)),
            Step::Close { client: false } => self.server(Association::close),
            Step::TakeOver { exact } => {
                let provisional = self.provisional.last();
                let Some(stored) = provisional.or(self.stored.last()).cloned() else { return };
                let stored = StoredSession::decode(&stored.encode_secrets(), &stored.numbers.encode())
                    .expect("what is written can be read");
                let numbering = if exact { Numbering::Exact } else { Numbering::Jump };
                self.questions.clear();
                self.association = Some(Association::resume(stored, numbering));
            }
            Step::Deliver { .. } | Step::Lose { .. } => {}
        }
    }

    fn deliver(&mut self, to_server: bool, datagram: &[u8]) {
        if !to_server {
            self.client(|client, cx, out, _| client.handle_datagram(cx, datagram, out));
            return;
        }
        let unix = UNIX + (self.now - self.began).as_secs();
        match self.gate.handle(unix, SocketAddr::from(PEER), datagram) {
            Verdict::Answer(answer) => {
                assert!(answer.len() <= datagram.len());
                self.flying.push((false, answer));
            }
            Verdict::Admit => {
                self.association.get_or_insert_with(Association::new);
                self.server(|association, cx| {
                    let _ = association.handle_admitted(cx, datagram);
                });
            }
            Verdict::Drop(_) => self.server(|association, cx| {
                let _ = association.handle_datagram(cx, datagram);
            }),
        }
    }

    fn answer(&mut self, fails: bool) {
        if self.questions.is_empty() {
            return;
        }
        let (ticket, question) = self.questions.remove(0);
        let subject = Subject::new(b"device").expect("short");
        let answer = match question {
            Question::Psk { .. } if fails => Answer::Psk(None),
            Question::Psk { .. } => {
                Answer::Psk(Some(Psk { key: Secret::new(*b"0123456789abcdef"), subject }))
            }
            Question::Peer(_) if fails => Answer::Peer(Err(Unacceptable::Denied)),
            Question::Peer(_) => Answer::Peer(Ok(subject)),
            Question::Session(id) => {
                let found = self.stored.iter().rev().find(|stored| stored.id() == id && !fails);
                Answer::Session(found.cloned().map(Box::new))
            }
            Question::Store(..) | Question::Promote(_) if fails => Answer::Stored(Err(NotStored)),
            Question::Store(session, StoreKind::Full) => {
                self.stored.push(*session);
                Answer::Stored(Ok(()))
            }
            Question::Store(session, StoreKind::Provisional) => {
                self.provisional.push(*session);
                Answer::Stored(Ok(()))
            }
            Question::Promote(name) => {
                // A second owner of the same stored bytes promotes what the first one has.
                if let Some(found) = self.provisional.iter().position(|session| session.name() == name) {
                    self.stored.push(self.provisional.remove(found));
                }
                let is_known = self.stored.iter().any(|session| session.name() == name);
                Answer::Stored(if is_known { Ok(()) } else { Err(NotStored) })
            }
        };
        self.server(|association, cx| association.provide(cx, ticket, answer));
    }

    fn server(&mut self, input: impl FnOnce(&mut Association, &mut Context<'_>)) {
        let Some(mut association) = self.association.take() else { return };
        let mut cx = Context {
            now: self.now,
            unix: UNIX + (self.now - self.began).as_secs(),
            config: &self.config,
            nonces: &mut self.nonces,
            random: &SERVER_RANDOM,
            naming: &mut self.names,
        };
        input(&mut association, &mut cx);
        let mut over = false;
        while let Some(output) = association.poll() {
            match output {
                Output::Transmit(datagram) => {
                    assert!(datagram.len() <= 4096);
                    self.flying.push((false, datagram));
                }
                Output::Ask(ticket, question) => self.questions.push((ticket, question)),
                Output::Closed(reason) => {
                    if reason == CloseReason::PeerClosed {
                        association.close(&mut cx);
                    }
                    over = true;
                }
                Output::NumbersDue => drop(association.numbers()),
                Output::Application { bytes, .. } => assert!(bytes.len() <= 1 << 14),
                Output::Established { .. } | Output::HandshakeFailed(_) => {}
            }
        }
        if over {
            self.questions.clear();
        } else {
            self.association = Some(association);
        }
    }

    fn client(
        &mut self,
        input: impl FnOnce(&mut Client, client::Context<'_>, &mut Vec<client::Output>, Credential),
    ) {
        let cx = client::Context { now: self.now, random: &CLIENT_RANDOM };
        let mut outputs = Vec::new();
        input(&mut self.client, cx, &mut outputs, self.credential.clone());
        for output in outputs {
            if let client::Output::Transmit(datagram) = output {
                self.flying.push((true, datagram));
            }
        }
    }
}
