//! A DTLS server on one UDP socket for trying peers: credentials and sessions in memory, one thread.
//!
//! ```text
//! server [--listen 127.0.0.1:5684]      prints "listening on ADDRESS" when ready; port 0 picks one
//!        [--psk IDENTITY=HEXKEY]...     keys by identity; at least one turns mode PSK on
//!        [--key KEY.pem]                PKCS#8; turns raw public keys on, with --cert also X.509
//!        [--cert CHAIN.pem]             leaf first
//!        [--ca ANCHORS.pem]             clients' chains must lead here; without it any certificate will do
//!        [--rpk SPKI.der]...            clients' raw keys; without it any key will do
//!        [--suites c0a8,00ae,...]       in order of preference, default all
//!        [--cid 8|0]                    length of our Connection ID, default 8
//!        [--ems prefer|require] [--mtu BYTES] [--first MILLISECONDS (first retransmission)]
//!        [--answer echo|coap]           application data: back as it came, or 2.05 "godwit" to any CoAP request,
//!                                       and what lets a Leshan client register
//!        [--slow MILLISECONDS]          every question is answered that much later
//!        [--restart-every N]            after every N application records all associations are dropped and resumed from
//!                                       their stored bytes, as after a crash; with --exact as after a hand-over
//! ```
//! Prints one line for each event: `established PEER mode suite cid=LEN/LEN resumed|full`, `application PEER LEN`,
//! `failed PEER why`, `closed PEER why`, `restarted`.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example talks, and has a clock and a socket"
)]

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use godwit_dtls::{
    Answer, Association, CidPolicy, Config, Context, Ems, Modes, Naming, Numbering, Output, PeerCredential,
    Psk, Question, Secret, ServerIdentity, Session, SessionId, SessionName, StoreKind, StoredSession,
    Subject, Ticket, Unacceptable,
    certificate::{Anchors, Validity},
    cid::{Cid, CidKeys},
    gate::{Gate, Verdict},
    nonce::NonceSource,
    record::{ContentType, Records},
    signature::SigningKey,
    suite::CipherSuite,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _};

type Failure = Box<dyn std::error::Error>;

/// What the command line says.
struct Options {
    listen: SocketAddr,
    config: Config,
    keys: HashMap<Vec<u8>, Secret>,
    anchors: Option<Anchors>,
    raw_keys: Vec<Vec<u8>>,
    coap: bool,
    slow: Duration,
    restart_every: Option<u64>,
    numbering: Numbering,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self {
            listen: "127.0.0.1:5684".parse()?,
            config: Config { modes: Modes { psk: false, ..Modes::default() }, ..Config::default() },
            keys: HashMap::new(),
            anchors: None,
            raw_keys: Vec::new(),
            coap: false,
            slow: Duration::ZERO,
            restart_every: None,
            numbering: Numbering::Jump,
        };
        let (mut key, mut chain) = (None, Vec::new());
        let config = &mut options.config;
        while let Some(name) = arguments.next() {
            if name == "--exact" {
                options.numbering = Numbering::Exact;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--listen" => options.listen = value.parse()?,
                "--psk" => {
                    let (identity, hex) = value.split_once('=').ok_or("--psk IDENTITY=HEXKEY")?;
                    let secret = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes())?;
                    options.keys.insert(identity.as_bytes().to_vec(), Secret::new(secret));
                    config.modes.psk = true;
                }
                "--key" => key = Some(PrivatePkcs8KeyDer::from_pem_slice(&std::fs::read(value)?)?),
                "--cert" => chain = certificates(&value)?,
                "--ca" => {
                    let anchors = certificates(&value)?;
                    let anchors = Anchors::new(anchors.iter().map(Vec::as_slice));
                    options.anchors = Some(anchors.map_err(|(at, why)| format!("certificate {at}: {why}"))?);
                }
                "--rpk" => options.raw_keys.push(std::fs::read(value)?),
                "--suites" => {
                    let suite = |hex| {
                        let id = u16::from_str_radix(hex, 16).ok()?;
                        CipherSuite::from_id(id)
                    };
                    config.suites =
                        value.split(',').map(suite).collect::<Option<_>>().ok_or("unknown suite")?;
                }
                "--cid" => config.cid = if value == "0" { CidPolicy::Off } else { CidPolicy::Offer },
                "--ems" => config.ems = if value == "require" { Ems::Require } else { Ems::Prefer },
                "--mtu" => config.mtu = value.parse()?,
                "--first" => config.first_retransmission = Duration::from_millis(value.parse()?),
                "--answer" => options.coap = value == "coap",
                "--slow" => options.slow = Duration::from_millis(value.parse()?),
                "--restart-every" => options.restart_every = Some(value.parse()?),
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        if let Some(key) = key {
            let key = SigningKey::from_pkcs8(key.secret_pkcs8_der(), &SystemRandom::new())?;
            config.modes = Modes { raw_public_key: true, x509: !chain.is_empty(), ..config.modes };
            config.identity = Some(Arc::new(ServerIdentity::new(key, chain)?));
        }
        Ok(options)
    }
}

fn certificates(path: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let pem = std::fs::read(path)?;
    let chain = CertificateDer::pem_slice_iter(&pem).map(|der| der.map(|der| der.to_vec()));
    Ok(chain.collect::<Result<_, _>>()?)
}

struct Names {
    keys: CidKeys,
    random: SystemRandom,
}

impl Naming for Names {
    fn name(&mut self) -> Cid {
        let mut random = [0; 5];
        self.random.fill(&mut random).expect("randomness");
        self.keys.mint(random, 0)
    }

    fn session_id(&mut self, name: &SessionName) -> SessionId {
        let mut id = [0; 32];
        self.random.fill(&mut id[8..]).expect("randomness");
        id[..8].copy_from_slice(&name.0);
        SessionId(id)
    }
}

struct Server {
    options: Options,
    socket: UdpSocket,
    gate: Gate,
    nonces: NonceSource,
    names: Names,
    random: SystemRandom,
    associations: HashMap<SocketAddr, Association>,
    /// Where the records of a Connection ID belong.
    cids: HashMap<Cid, SocketAddr>,
    /// Encoded, as a store would have them.
    sessions: HashMap<SessionId, (Vec<u8>, Vec<u8>)>,
    provisional: HashMap<SessionName, (Vec<u8>, Vec<u8>)>,
    /// Answers that are still being looked up.
    waiting: Vec<(Instant, SocketAddr, Ticket, Answer)>,
    received: u64,
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Server {
    fn new(options: Options) -> Result<Self, Failure> {
        let random = SystemRandom::new();
        let mut secret = [0; 32];
        random.fill(&mut secret).map_err(|_| "no randomness")?;
        let second = u32::try_from(unix())?;
        Ok(Self {
            socket: UdpSocket::bind(options.listen)?,
            gate: Gate::new(&secret),
            nonces: NonceSource::new(1, second.saturating_sub(1), u32::MAX),
            names: Names { keys: CidKeys::new(0, &secret), random: random.clone() },
            random,
            associations: HashMap::new(),
            cids: HashMap::new(),
            sessions: HashMap::new(),
            provisional: HashMap::new(),
            waiting: Vec::new(),
            received: 0,
            options,
        })
    }

    fn run(&mut self) -> Result<(), Failure> {
        println!("listening on {}", self.socket.local_addr()?);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let due = self.due();
            let wait =
                due.map_or(Duration::from_secs(60), |due| due.saturating_duration_since(Instant::now()));
            self.socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
            match self.socket.recv_from(&mut buffer) {
                Ok((len, peer)) => self.handle_datagram(peer, &buffer[..len]),
                // A peer whose port is closed again: its datagrams are its own concern.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => return Err(error.into()),
            }
            self.handle_timeouts();
        }
    }

    fn due(&self) -> Option<Instant> {
        let timers = self.associations.values().filter_map(Association::poll_timeout);
        timers.chain(self.waiting.iter().map(|waiting| waiting.0)).min()
    }

    fn with(&mut self, peer: SocketAddr, act: impl FnOnce(&mut Association, &mut Context<'_>)) {
        let Some(association) = self.associations.get_mut(&peer) else { return };
        let mut cx = Context {
            now: Instant::now(),
            unix: unix(),
            config: &self.options.config,
            nonces: &mut self.nonces,
            random: &self.random,
            naming: &mut self.names,
        };
        act(association, &mut cx);
        self.settle(peer);
    }

    fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8]) {
        let Some(Ok(first)) = Records::parse(datagram, 8).next() else { return };
        if first.content_type == ContentType::Tls12Cid {
            let cid = self.names.keys.recognise(first.cid);
            if let Some(&home) = cid.and_then(|cid| self.cids.get(&cid)) {
                self.with(home, |association, cx| {
                    let _ = association.handle_datagram(cx, datagram);
                });
                self.follow(home, from);
            }
            return;
        }
        let is_hello = first.epoch == 0 && matches!(first.fragment.first(), Some(1));
        if is_hello && first.content_type == ContentType::Handshake {
            match self.gate.handle(unix(), from, datagram) {
                Verdict::Answer(answer) => drop(self.socket.send_to(&answer, from)),
                Verdict::Admit => {
                    self.associations.entry(from).or_default();
                    self.with(from, |association, cx| {
                        let _ = association.handle_admitted(cx, datagram);
                    });
                    return;
                }
                Verdict::Drop(_) => {}
            }
        }
        self.with(from, |association, cx| {
            let _ = association.handle_datagram(cx, datagram);
        });
    }

    /// A device that shows up at another address takes its association with it. (Without the node's address rules.)
    fn follow(&mut self, home: SocketAddr, from: SocketAddr) {
        if home != from
            && let Some(association) = self.associations.remove(&home)
        {
            if let Some(cid) = association.session().and_then(Session::cid) {
                self.cids.insert(cid, from);
            }
            self.associations.insert(from, association);
        }
    }

    fn handle_timeouts(&mut self) {
        let now = Instant::now();
        let due = |association: &Association| association.poll_timeout().is_some_and(|due| due <= now);
        let peers: Vec<_> = self
            .associations
            .iter()
            .filter(|(_, association)| due(association))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in peers {
            self.with(peer, Association::handle_timeout);
        }
        let (ready, waiting) = self.waiting.drain(..).partition(|waiting| waiting.0 <= now);
        self.waiting = waiting;
        for (_, peer, ticket, answer) in Vec::from_iter::<Vec<_>>(ready) {
            self.with(peer, |association, cx| association.provide(cx, ticket, answer));
        }
    }

    /// Carries out what an association wants.
    fn settle(&mut self, peer: SocketAddr) {
        while let Some(output) = self.associations.get_mut(&peer).and_then(Association::poll) {
            match output {
                Output::Transmit(datagram) => drop(self.socket.send_to(&datagram, peer)),
                Output::Ask(ticket, question) => {
                    let answer = self.answer(peer, question);
                    self.waiting.push((Instant::now() + self.options.slow, peer, ticket, answer));
                }
                Output::Established { resumed, .. } => self.established(peer, resumed),
                Output::Application { bytes, .. } => self.application(peer, &bytes),
                Output::Repeated { .. } => {}
                Output::NumbersDue => self.store_numbers(peer),
                Output::HandshakeFailed(why) => println!("failed {peer} {why}"),
                Output::Closed(why) => {
                    println!("closed {peer} {why}");
                    self.with(peer, Association::close);
                    self.associations.remove(&peer);
                }
            }
        }
    }

    fn answer(&mut self, peer: SocketAddr, question: Question) -> Answer {
        match question {
            Question::Psk { identity } => Answer::Psk(self.options.keys.get(&identity).map(|key| Psk {
                key: key.clone(),
                subject: Subject::new(&identity[..identity.len().min(Subject::MAX)]).expect("cut to fit"),
            })),
            Question::Peer(credential) => Answer::Peer(self.judge(&credential)),
            Question::Session(id) => {
                let stored = self
                    .sessions
                    .get(&id)
                    .and_then(|(secrets, numbers)| StoredSession::decode(secrets, numbers).ok());
                Answer::Session(stored.map(Box::new))
            }
            Question::Store(session, kind) => {
                let bytes = (session.encode_secrets().to_vec(), session.numbers.encode());
                match kind {
                    StoreKind::Full => drop(self.sessions.insert(session.id(), bytes)),
                    StoreKind::Provisional => drop(self.provisional.insert(session.name(), bytes)),
                }
                if let Some(cid) = session.cid() {
                    self.cids.insert(cid, peer);
                }
                Answer::Stored(Ok(()))
            }
            Question::Promote(name) => {
                if let Some((secrets, numbers)) = self.provisional.remove(&name)
                    && let Ok(session) = StoredSession::decode(&secrets, &numbers)
                {
                    self.sessions.insert(session.id(), (secrets, numbers));
                }
                Answer::Stored(Ok(()))
            }
        }
    }

    fn judge(&self, credential: &PeerCredential) -> Result<Subject, Unacceptable> {
        match (credential, &self.options.anchors) {
            (PeerCredential::RawPublicKey(spki), _) => {
                let known = &self.options.raw_keys;
                if !known.is_empty() && !known.contains(spki) {
                    return Err(Unacceptable::Unknown);
                }
            }
            (PeerCredential::Chain(chain), Some(anchors)) => {
                let chain: Vec<_> = chain.iter().map(Vec::as_slice).collect();
                anchors.verify(&chain, Validity::At(unix())).map_err(|_| Unacceptable::UnknownAuthority)?;
            }
            (PeerCredential::Chain(_), None) => {}
        }
        Ok(Subject::default())
    }

    fn established(&mut self, peer: SocketAddr, resumed: bool) {
        let Some(session) = self.associations.get(&peer).and_then(Association::session) else { return };
        println!(
            "established {peer} {:?} {} cid={}/{} {}",
            session.mode(),
            session.suite().name(),
            session.cid().map_or(0, |cid| cid.0.len()),
            session.peer_cid().len(),
            if resumed { "resumed" } else { "full" },
        );
    }

    fn application(&mut self, peer: SocketAddr, bytes: &[u8]) {
        println!("application {peer} {}", bytes.len());
        let answer = if self.options.coap { coap_answer(bytes) } else { Some(bytes.to_vec()) };
        if let Some(answer) = answer
            && let Some(association) = self.associations.get_mut(&peer)
        {
            let mut cx = Context {
                now: Instant::now(),
                unix: unix(),
                config: &self.options.config,
                nonces: &mut self.nonces,
                random: &self.random,
                naming: &mut self.names,
            };
            if let Err(why) = association.send(&mut cx, &answer) {
                println!("unsent {peer} {why}");
            }
        }
        self.received += 1;
        if self.options.restart_every.is_some_and(|every| self.received.is_multiple_of(every)) {
            self.restart(peer);
        }
    }

    fn store_numbers(&mut self, peer: SocketAddr) {
        let Some(association) = self.associations.get_mut(&peer) else { return };
        let Some(numbers) = association.numbers() else { return };
        let Some(id) = association.session().map(Session::id) else { return };
        if let Some(stored) = self.sessions.get_mut(&id) {
            stored.1 = numbers.encode();
        }
    }

    /// Forgets everything but stored bytes.
    fn restart(&mut self, current: SocketAddr) {
        // What is answered was sent before the crash.
        while let Some(output) = self.associations.get_mut(&current).and_then(Association::poll) {
            if let Output::Transmit(datagram) = output {
                drop(self.socket.send_to(&datagram, current));
            }
        }
        let peers: Vec<_> = self.associations.keys().copied().collect();
        for peer in peers {
            if self.options.numbering == Numbering::Exact {
                self.store_numbers(peer);
            }
            let Some(association) = self.associations.remove(&peer) else { continue };
            let Some(session) = association.session() else { continue };
            if let Some((secrets, numbers)) = self.sessions.get_mut(&session.id())
                && let Ok(stored) = StoredSession::decode(secrets, numbers)
            {
                let resumed = Association::resume(stored, self.options.numbering);
                // What a claim writes.
                let mark = resumed.export().map(|export| export.numbers.encode());
                *numbers = mark.unwrap_or_default();
                self.associations.insert(peer, resumed);
            }
        }
        println!("restarted");
    }
}

/// An ACK or NON under the request's token: 2.05 with a fixed payload; to a POST as an LwM2M server, 2.01 with the location
/// "rd/1" to one segment of a path and 2.04 to more.
fn coap_answer(request: &[u8]) -> Option<Vec<u8>> {
    let [first, code, id_high, id_low, rest @ ..] = request else { return None };
    let (token, options) = rest.split_at_checked(usize::from(first & 0x0f))?;
    let (code, rest) = match code {
        2 if path_segments(options) == 1 => (0x41, &b"\x82rd\x011"[..]),
        2 => (0x44, &b""[..]),
        1..32 => (0x45, &b"\xffgodwit"[..]),
        _ => return None,
    };
    let kind = if first >> 4 & 3 == 0 { 2 } else { 1 };
    let head = [0x40 | kind << 4 | first & 0x0f, code, *id_high, *id_low];
    Some([&head[..], token, rest].concat())
}

/// How many Uri-Path options there are (RFC 7252 §3.1); lengths above 268 end the count.
fn path_segments(mut options: &[u8]) -> usize {
    let (mut number, mut segments) = (0, 0);
    while let [head, rest @ ..] = options
        && *head != 0xff
    {
        options = rest;
        let mut field = |nibble: u8| match (nibble, options) {
            (13, [more, rest @ ..]) => {
                options = rest;
                13 + usize::from(*more)
            }
            _ => usize::from(nibble),
        };
        number += field(head >> 4);
        let length = field(head & 0x0f);
        segments += usize::from(number == 11);
        options = options.get(length..).unwrap_or_default();
    }
    segments
}

fn main() -> Result<(), Failure> {
    let options = Options::parse(std::env::args().skip(1))?;
    Server::new(options)?.run()
}
