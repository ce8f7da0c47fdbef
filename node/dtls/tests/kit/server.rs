//! A node in small: the gate, one association, and the look-ups and writes that it asks for.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use godwit_dtls::{
    Answer, Association, CloseReason, Config, Context, HandshakeFailure, Modes, Naming, NotStored, Numbering,
    Output, PeerCredential, Psk, Question, Secret, Session, SessionId, SessionName, Stage, StoreKind,
    StoredSession, Subject, Ticket, Unacceptable,
    certificate::{Anchors, Leaf, Validity},
    cid::{Cid, CidKeys},
    gate::{DropReason, Gate, Verdict},
    nonce::NonceSource,
    record::{ContentType, Records},
};
use ring::rand::SystemRandom;

use super::credentials::{CREDENTIALS, IDENTITY, KEY};

/// Unix time at the start of every test.
pub const UNIX: u64 = 1_780_272_000;

/// What happened, but for datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Established { resumed: bool },
    Application(Vec<u8>),
    HandshakeFailed(HandshakeFailure),
    Closed(CloseReason),
}

/// Names that count up, so that no two are alike.
struct Names {
    keys: CidKeys,
    next: u64,
}

impl Naming for Names {
    fn name(&mut self) -> Cid {
        self.next += 1;
        let bytes = self.next.to_be_bytes();
        self.keys.mint(*bytes.last_chunk().unwrap(), 7)
    }

    fn session_id(&mut self, name: &SessionName) -> SessionId {
        let mut id = [0x5e; 32];
        id[..8].copy_from_slice(&name.0);
        SessionId(id)
    }
}

/// The server under test with everything that a node has around it.
pub struct Server {
    pub config: Config,
    pub psks: HashMap<Vec<u8>, Vec<u8>>,
    /// Keys that those are taking the place of.
    pub former_psks: HashMap<Vec<u8>, Vec<u8>>,
    pub spkis: Vec<Vec<u8>>,
    /// Certificates that are taken as they are, without an authority.
    pub leaves: Vec<Vec<u8>>,
    /// By session id.
    pub sessions: HashMap<SessionId, StoredSession>,
    /// By name of keys.
    pub provisional: HashMap<SessionName, StoredSession>,
    /// How long each look-up and write takes.
    pub store_delay: Duration,
    pub store_fails: bool,
    /// Sends every application record back.
    pub echoes: bool,
    pub events: Vec<Event>,
    pub sent: VecDeque<Vec<u8>>,
    pub association: Option<Association>,
    pub gate_drops: Vec<DropReason>,
    gate: Gate,
    peer: SocketAddr,
    anchors: Anchors,
    names: Names,
    nonces: NonceSource,
    random: SystemRandom,
    began: Instant,
    answers: VecDeque<(Instant, Ticket, Answer)>,
    /// Every explicit nonce that was sent, under whatever keys.
    pub sealed: HashSet<[u8; 8]>,
}

impl Server {
    /// All three modes, one PSK, one raw key, one authority.
    pub fn new(began: Instant) -> Self {
        let credentials = &*CREDENTIALS;
        let config = Config {
            modes: Modes { psk: true, raw_public_key: true, x509: true },
            identity: Some(credentials.server.clone()),
            ..Config::default()
        };
        Server {
            config,
            psks: HashMap::from([(IDENTITY.to_vec(), KEY.to_vec())]),
            former_psks: HashMap::new(),
            spkis: vec![credentials.device.spki()],
            leaves: Vec::new(),
            sessions: HashMap::new(),
            provisional: HashMap::new(),
            store_delay: Duration::ZERO,
            store_fails: false,
            echoes: false,
            events: Vec::new(),
            sent: VecDeque::new(),
            association: None,
            gate_drops: Vec::new(),
            gate: Gate::new(b"the cluster's secret of 32 bytes"),
            peer: SocketAddr::from(([127, 0, 0, 1], 40_000)),
            anchors: Anchors::new([&credentials.authority[..]]).unwrap(),
            names: Names { keys: CidKeys::new(1, b"tags"), next: 0 },
            nonces: NonceSource::new(1, 0, u32::MAX),
            random: SystemRandom::new(),
            began,
            answers: VecDeque::new(),
            sealed: HashSet::new(),
        }
    }

    /// A datagram from the one peer: strangers' hellos through the gate, all else to the association.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        let unix = self.unix(now);
        match self.gate.handle(unix, self.peer, datagram) {
            Verdict::Answer(answer) => {
                assert!(answer.len() <= datagram.len(), "an answer that amplifies");
                self.sent.push_back(answer);
            }
            Verdict::Admit => {
                self.association.get_or_insert_with(Association::new);
                self.with(now, |association, cx| {
                    let _ = association.handle_admitted(cx, datagram);
                });
            }
            Verdict::Drop(reason) if self.association.is_none() && !self.activate(datagram) => {
                self.gate_drops.push(reason);
            }
            Verdict::Drop(_) => self.with(now, |association, cx| {
                let _ = association.handle_datagram(cx, datagram);
            }),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while self.answers.front().is_some_and(|(due, ..)| *due <= now) {
            let (_, ticket, answer) = self.answers.pop_front().unwrap();
            self.with(now, |association, cx| association.provide(cx, ticket, answer));
        }
        self.with(now, Association::handle_timeout);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let answer = self.answers.front().map(|(due, ..)| *due);
        let timer = self.association.as_ref().and_then(Association::poll_timeout);
        [answer, timer].into_iter().flatten().min()
    }

    /// Takes one datagram and every write and look-up that it brings; gives what is sent.
    pub fn exchange(&mut self, now: Instant, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.handle_datagram(now, datagram);
        self.settle(now)
    }

    /// Answers all that is asked, now.
    pub fn settle(&mut self, now: Instant) -> Vec<Vec<u8>> {
        while !self.answers.is_empty() {
            self.answers.iter_mut().for_each(|(due, ..)| *due = now);
            self.handle_timeout(now);
        }
        self.sent.drain(..).collect()
    }

    pub fn send(&mut self, now: Instant, plaintext: &[u8]) {
        self.with(now, |association, cx| association.send(cx, plaintext).unwrap());
    }

    pub fn close(&mut self, now: Instant) {
        self.with(now, Association::close);
    }

    /// As another node would: what is stored, and nothing else, goes on.
    pub fn take_over(&mut self, stored: StoredSession, numbering: Numbering) {
        self.answers.clear();
        self.association = Some(Association::resume(stored, numbering));
    }

    /// The owner dies: all that it had but not stored is gone, a write that was asked for has happened or not.
    pub fn die(&mut self) {
        self.association = None;
        self.answers.clear();
        self.sent.clear();
    }

    /// A stored session that this datagram authenticates goes on, as after a restart.
    fn activate(&mut self, datagram: &[u8]) -> bool {
        let mut stored = self.provisional.values().chain(self.sessions.values());
        match stored.find(|stored| stored.authenticate(datagram).is_ok()) {
            Some(stored) => self.association = Some(Association::resume(stored.clone(), Numbering::Jump)),
            None => return false,
        }
        true
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub fn is_established(&self) -> bool {
        self.association.as_ref().is_some_and(|association| association.session().is_some())
    }

    /// Look-ups and writes under way.
    pub fn open_questions(&self) -> usize {
        self.answers.len()
    }

    fn unix(&self, now: Instant) -> u64 {
        UNIX + now.saturating_duration_since(self.began).as_secs()
    }

    fn with(&mut self, now: Instant, input: impl FnOnce(&mut Association, &mut Context<'_>)) {
        let unix = self.unix(now);
        let Some(mut association) = self.association.take() else { return };
        let mut cx = Context {
            now,
            unix,
            config: &self.config,
            nonces: &mut self.nonces,
            random: &self.random,
            naming: &mut self.names,
        };
        input(&mut association, &mut cx);
        let mut over = false;
        while let Some(output) = association.poll() {
            match output {
                Output::Transmit(datagram) => {
                    note_nonces(&mut self.sealed, &datagram);
                    self.sent.push_back(datagram);
                }
                Output::Ask(ticket, question) => {
                    let answer = answer(
                        question,
                        [&self.psks, &self.former_psks],
                        &self.spkis,
                        &self.leaves,
                        &self.anchors,
                        &mut self.sessions,
                        &mut self.provisional,
                        self.store_fails,
                    );
                    self.answers.push_back((now + self.store_delay, ticket, answer));
                    assert!(self.answers.len() <= 2, "more questions open than an association may have");
                }
                Output::Established { resumed, .. } => self.events.push(Event::Established { resumed }),
                Output::Application { bytes, .. } => {
                    if self.echoes {
                        // A refusal shows in the events, or in what is missing.
                        let _ = association.send(&mut cx, &bytes);
                    }
                    self.events.push(Event::Application(bytes));
                }
                Output::Repeated { .. } => {}
                Output::NumbersDue => {
                    let id = association.session().map(Session::id);
                    if let (Some(numbers), Some(id)) = (association.numbers(), id) {
                        self.sessions.entry(id).and_modify(|stored| stored.numbers = numbers);
                    }
                }
                Output::HandshakeFailed(failure) => self.events.push(Event::HandshakeFailed(failure)),
                Output::Closed(reason) => {
                    if reason == CloseReason::PeerClosed {
                        association.close(&mut cx);
                    }
                    if let (false, Some(session)) = (reason.allows_resumption(), association.session()) {
                        self.sessions.remove(&session.id());
                    }
                    self.events.push(Event::Closed(reason));
                    over = true;
                }
            }
        }
        if over {
            // What a node does with an association that is over: nothing of it stays.
            self.answers.clear();
        } else {
            self.association = Some(association);
        }
    }
}

/// No nonce is ever sent twice, whichever owner seals: a lane gives each value once. (Records with a Connection ID aren't
/// read: how long the client's is depends on its keys.)
fn note_nonces(sealed: &mut HashSet<[u8; 8]>, datagram: &[u8]) {
    for record in Records::parse(datagram, 0) {
        let Ok(record) = record else { return };
        match record.content_type {
            ContentType::Tls12Cid => return,
            _ if record.epoch == 0 => {}
            _ => {
                let nonce = *record.fragment.first_chunk().expect("a protected record has a nonce or an IV");
                assert!(sealed.insert(nonce), "a nonce came twice");
            }
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "the parts of a server while its association is lent out")]
fn answer(
    question: Question,
    psks: [&HashMap<Vec<u8>, Vec<u8>>; 2],
    spkis: &[Vec<u8>],
    leaves: &[Vec<u8>],
    anchors: &Anchors,
    sessions: &mut HashMap<SessionId, StoredSession>,
    provisional: &mut HashMap<SessionName, StoredSession>,
    store_fails: bool,
) -> Answer {
    match question {
        Question::Psk { identity } => Answer::psk(
            psks.into_iter()
                .filter_map(|psks| psks.get(&identity))
                .map(|key| Psk { key: Secret::new(&key[..]), subject: Subject::new(b"device 1").unwrap() }),
        ),
        Question::Peer(credential) => Answer::Peer(
            match &credential {
                PeerCredential::RawPublicKey(spki) if spkis.contains(spki) => Ok(()),
                PeerCredential::RawPublicKey(_) => Err(Unacceptable::Unknown),
                PeerCredential::Chain(chain) if leaves.contains(&chain[0]) => Ok(()),
                PeerCredential::Chain(chain) => {
                    let chain: Vec<_> = chain.iter().map(Vec::as_slice).collect();
                    let verdict = anchors.verify(&chain, Validity::At(UNIX));
                    let named = Leaf::parse(chain[0]).is_ok_and(|leaf| leaf.is_named("urn:dev:1"));
                    match verdict {
                        Ok(()) if named => Ok(()),
                        Ok(()) => Err(Unacceptable::Unknown),
                        Err(_) => Err(Unacceptable::UnknownAuthority),
                    }
                }
            }
            .map(|()| Subject::new(b"device 1").unwrap()),
        ),
        Question::Session(id) => Answer::Session(sessions.get(&id).cloned().map(Box::new)),
        Question::Store(..) | Question::Promote(_) if store_fails => Answer::Stored(Err(NotStored)),
        Question::Store(session, StoreKind::Full) => {
            sessions.insert(session.id(), *session);
            Answer::Stored(Ok(()))
        }
        Question::Store(session, StoreKind::Provisional) => {
            provisional.insert(session.name(), *session);
            Answer::Stored(Ok(()))
        }
        Question::Promote(name) => {
            let mut session = provisional.remove(&name).expect("what is promoted was stored");
            session.numbers.stage = Stage::Settled;
            sessions.insert(session.id(), session);
            Answer::Stored(Ok(()))
        }
    }
}
