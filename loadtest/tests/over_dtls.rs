//! The whole command over DTLS, against a small server on godwit-dtls in this process. That the client agrees with
//! other implementations is tested in that crate.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output as Ended};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType, ResponseType};
use godwit_dtls::cid::{Cid, CidKeys};
use godwit_dtls::gate::{Gate, Verdict};
use godwit_dtls::nonce::NonceSource;
use godwit_dtls::record::{ContentType, Records};
use godwit_dtls::signature::SigningKey;
use godwit_dtls::{
    Answer, Association, Config, Context, Modes, Naming, Output, Psk, Question, Secret, ServerIdentity,
    SessionId, SessionName, StoreKind, StoredSession, Subject,
};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

struct Names(CidKeys, SystemRandom);

impl Naming for Names {
    fn name(&mut self) -> Cid {
        let mut random = [0; 5];
        self.1.fill(&mut random).unwrap();
        self.0.mint(random, 0)
    }

    fn session_id(&mut self, name: &SessionName) -> SessionId {
        let mut id = [0; 32];
        self.1.fill(&mut id[8..]).unwrap();
        id[..8].copy_from_slice(&name.0);
        SessionId(id)
    }
}

type Stored = (Vec<u8>, Vec<u8>);

/// Knows every identity under the tool's default seed, takes every key, and answers what devices ask.
struct Server {
    socket: UdpSocket,
    config: Config,
    gate: Gate,
    nonces: NonceSource,
    names: Names,
    random: SystemRandom,
    associations: HashMap<SocketAddr, Association>,
    homes: HashMap<Cid, SocketAddr>,
    sessions: HashMap<SessionId, Stored>,
    provisional: HashMap<SessionName, Stored>,
}

impl Server {
    fn new() -> Self {
        let random = SystemRandom::new();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["server".into()]).unwrap().self_signed(&key).unwrap();
        let signing = SigningKey::from_pkcs8(key.serialized_der(), &random).unwrap();
        let identity = ServerIdentity::new(signing, vec![certificate.der().to_vec()]).unwrap();
        let config = Config {
            modes: Modes { psk: true, raw_public_key: true, x509: true },
            identity: Some(Arc::new(identity)),
            ..Config::default()
        };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self {
            socket,
            config,
            gate: Gate::new(&[1; 32]),
            nonces: NonceSource::new(1, 0, u32::MAX),
            names: Names(CidKeys::new(0, &[2; 32]), random.clone()),
            random,
            associations: HashMap::new(),
            homes: HashMap::new(),
            sessions: HashMap::new(),
            provisional: HashMap::new(),
        }
    }

    fn touch(&mut self, peer: SocketAddr, act: impl FnOnce(&mut Association, &mut Context<'_>)) {
        let Some(association) = self.associations.get_mut(&peer) else { return };
        let mut cx = Context {
            now: Instant::now(),
            unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
            config: &self.config,
            nonces: &mut self.nonces,
            random: &self.random,
            naming: &mut self.names,
        };
        act(association, &mut cx);
    }

    fn with(&mut self, peer: SocketAddr, act: impl FnOnce(&mut Association, &mut Context<'_>)) {
        self.touch(peer, act);
        while let Some(output) = self.associations.get_mut(&peer).and_then(Association::poll) {
            match output {
                Output::Transmit(datagram) => drop(self.socket.send_to(&datagram, peer)),
                Output::Ask(ticket, question) => {
                    let answer = self.answer(peer, question);
                    self.touch(peer, |association, cx| association.provide(cx, ticket, answer));
                }
                Output::Application { bytes, .. } => {
                    let reply = respond(&bytes);
                    self.touch(peer, |association, cx| association.send(cx, &reply).unwrap());
                }
                Output::Closed(_) => drop(self.associations.remove(&peer)),
                Output::Established { .. }
                | Output::Repeated { .. }
                | Output::NumbersDue
                | Output::HandshakeFailed(_) => {}
            }
        }
    }

    fn answer(&mut self, peer: SocketAddr, question: Question) -> Answer {
        match question {
            Question::Psk { identity } => {
                let seed = hmac::Key::new(hmac::HMAC_SHA256, b"godwit-load");
                let key = Secret::new(&hmac::sign(&seed, &identity).as_ref()[..16]);
                Answer::Psk(Some(Psk { key, subject: Subject::default() }))
            }
            Question::Peer(_) => Answer::Peer(Ok(Subject::default())),
            Question::Session(id) => {
                let stored = self.sessions.get(&id);
                let stored =
                    stored.map(|(secrets, numbers)| StoredSession::decode(secrets, numbers).unwrap());
                Answer::Session(stored.map(Box::new))
            }
            Question::Store(session, kind) => {
                let bytes = (session.encode_secrets().to_vec(), session.numbers.encode());
                match kind {
                    StoreKind::Full => drop(self.sessions.insert(session.id(), bytes)),
                    StoreKind::Provisional => drop(self.provisional.insert(session.name(), bytes)),
                }
                session.cid().map(|cid| self.homes.insert(cid, peer));
                Answer::Stored(Ok(()))
            }
            Question::Promote(name) => {
                let (secrets, numbers) = self.provisional.remove(&name).unwrap();
                let id = StoredSession::decode(&secrets, &numbers).unwrap().id();
                self.sessions.insert(id, (secrets, numbers));
                Answer::Stored(Ok(()))
            }
        }
    }

    fn handle(&mut self, from: SocketAddr, datagram: &[u8]) {
        let Some(Ok(first)) = Records::parse(datagram, 8).next() else { return };
        let mut home = from;
        if first.content_type == ContentType::Tls12Cid {
            let Some(cid) = self.names.0.recognise(first.cid) else { return };
            home = self.homes[&cid];
            if home != from {
                // Without the address rules of a real node.
                let association = self.associations.remove(&home).unwrap();
                self.associations.insert(from, association);
                self.homes.insert(cid, from);
                home = from;
            }
        } else if first.content_type == ContentType::Handshake && first.fragment.first() == Some(&1) {
            match self.gate.handle(0, from, datagram) {
                Verdict::Answer(answer) => drop(self.socket.send_to(&answer, from)),
                Verdict::Admit => {
                    self.associations.entry(from).or_default();
                    self.with(from, |association, cx| _ = association.handle_admitted(cx, datagram));
                }
                Verdict::Drop(_) => {}
            }
            return;
        }
        self.with(home, |association, cx| _ = association.handle_datagram(cx, datagram));
    }

    fn start() -> Running {
        let mut server = Self::new();
        let (address, stop) = (server.socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((len, from)) = server.socket.recv_from(&mut buffer) {
                    server.handle(from, &buffer[..len]);
                }
            }
        });
        Running { address, stop, thread: Some(thread) }
    }
}

struct Running {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A registration is created, everything else is changed or deleted.
fn respond(request: &[u8]) -> Vec<u8> {
    let request = Packet::from_bytes(request).unwrap();
    let mut reply = Packet::new();
    reply.header.set_type(MessageType::Acknowledgement);
    reply.header.message_id = request.header.message_id;
    reply.set_token(request.get_token().to_vec());
    let segments = request.get_option(CoapOption::UriPath).map_or(0, std::collections::LinkedList::len);
    let code = match request.header.code {
        MessageClass::Request(RequestType::Post) if segments == 1 => ResponseType::Created,
        MessageClass::Request(RequestType::Delete) => ResponseType::Deleted,
        _ => ResponseType::Changed,
    };
    if code == ResponseType::Created {
        reply.add_option(CoapOption::LocationPath, b"rd".to_vec());
        reply.add_option(CoapOption::LocationPath, b"one".to_vec());
    }
    reply.header.code = MessageClass::Response(code);
    reply.to_bytes().unwrap()
}

fn load(args: &[&str]) -> Ended {
    Command::new(env!("CARGO_BIN_EXE_godwit-load")).args(args).output().unwrap()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs 30 devices that register, update for a second, and leave.
fn play(name: &str, more: &[&str]) -> serde_json::Value {
    let server = Server::start();
    let (json, address) = (file(&format!("{name}.json")), server.address.to_string());
    let mut args = vec!["run", "--quiet", "--server", &address, "-n", "30", "--register-rate", "300/s"];
    args.extend(["--update-rate", "100/s", "--duration", "1s", "--settle", "100ms", "--deregister"]);
    args.extend(["--ack-timeout", "500ms", "--json", json.to_str().unwrap()]);
    args.extend(more);
    let result = load(&args);
    assert!(result.status.success(), "{}{}", text(&result.stdout), text(&result.stderr));
    let report: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(report["registered"], 30);
    for row in report["actions"].as_array().unwrap() {
        assert_eq!(row["acknowledged"], row["sent"], "{row}");
    }
    report
}

fn count(report: &serde_json::Value, name: &str) -> u64 {
    report["dtls"][name].as_u64().unwrap()
}

#[test]
fn a_fleet_speaks_psk_with_one_handshake_each() {
    for (name, more) in [
        ("psk", &["--dtls", "psk"][..]),
        ("psk-cbc", &["--dtls", "psk", "--suite", "cbc", "--cid", "0"]),
        ("psk-plain", &["--dtls", "psk", "--suite", "cbc", "--no-etm", "--no-ems"]),
    ] {
        let report = play(name, more);
        assert_eq!((count(&report, "started"), count(&report, "full")), (30, 30), "{name}");
        assert_eq!((count(&report, "resumed"), count(&report, "closed_by_server")), (0, 0), "{name}");
    }
}

#[test]
fn sessions_are_resumed_and_survive_changes_of_port() {
    let keys = file("resume-keys.log");
    let report = play(
        "resume",
        &[
            "--dtls",
            "psk",
            "--cid",
            "5",
            "--resume-rate",
            "40/s",
            "--rebind",
            "60/s",
            "--key-log",
            keys.to_str().unwrap(),
        ],
    );
    assert_eq!((count(&report, "full"), count(&report, "not_resumed")), (30, 0));
    assert!(count(&report, "resumed") >= 35 && count(&report, "rebinds") == 60, "{}", report["dtls"]);
    assert_eq!(report["dtls"]["failures"], serde_json::json!({}));
    let log = fs::read_to_string(keys).unwrap();
    assert_eq!(log.lines().count() as u64, 30 + count(&report, "resumed"));
    let line = |line: &str| {
        let parts: Vec<_> = line.split(' ').collect();
        parts[0] == "CLIENT_RANDOM" && (parts[1].len(), parts[2].len()) == (64, 96)
    };
    assert!(log.lines().all(line));
}

#[test]
fn keys_and_certificates_come_from_a_file_that_the_tool_makes() {
    for kind in ["rpk", "x509"] {
        let credentials = file(&format!("{kind}.ndjson"));
        let path = credentials.to_str().unwrap();
        let made = load(&["credentials", kind, "-n", "30", "--output", path]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let report = play(kind, &["--dtls", kind, "--credentials", path, "--cid", "8"]);
        assert_eq!(count(&report, "full"), 30, "{kind}");
    }
}

#[test]
fn keys_for_psk_are_lines_that_an_import_of_devices_takes() {
    let credentials = file("psk.ndjson");
    let made = load(&["credentials", "psk", "-n", "3", "--output", credentials.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let lines = fs::read_to_string(credentials).unwrap();
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for line in lines {
        let fields: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["endpoint", "psk_hex", "psk_identity"]);
        assert_eq!(line["psk_hex"].as_str().unwrap().len(), 32);
    }
}

#[test]
fn webrtc_dtls_is_another_client_of_the_same_server() {
    play("webrtc", &["--dtls", "webrtc"]);
}

#[test]
fn flags_without_what_they_need_name_it() {
    for (args, hint) in [
        (&["run", "--cid", "8"][..], "--cid needs --dtls"),
        (&["run", "--dtls", "webrtc", "--rebind", "1/s"], "--rebind is nothing that --dtls webrtc can do"),
        (&["run", "--dtls", "rpk"], "godwit-load credentials rpk"),
        (&["run", "--dtls", "psk", "--psk", "xyz"], "--psk is no hex"),
        (&["run", "--dtls", "psk", "--identity", "me"], "--identity has no {}"),
    ] {
        let result = load(args);
        assert_eq!(result.status.code(), Some(2), "{args:?}");
        assert!(text(&result.stderr).contains(hint), "{}", text(&result.stderr));
    }
}
