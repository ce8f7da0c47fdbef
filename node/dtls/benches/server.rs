//! What the server costs beside webrtc-dtls's and a bare UDP echo, in one run:
//! `cargo bench -p godwit-dtls --features client --bench server`.
//!
//! Each server has one thread, whose CPU time the kernel counts; the client is the light one, on another thread, so that its
//! work is in no figure. Everything goes over loopback, one datagram at a time.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use godwit_dtls::{
    Answer, Association, Config, Context, Modes, Naming, Output, Psk, Question, Secret, ServerIdentity,
    Session, SessionId, SessionName, StoredSession, Subject,
    agreement::KeyAgreement,
    cid::{Cid, CidKeys},
    client::{self, Client, Credential, Settings},
    extension::ECDSA_SECP256R1_SHA256,
    gate::{Gate, Verdict},
    message::Signed,
    nonce::NonceSource,
    signature::{self, SigningKey},
    suite::CipherSuite,
};
use rcgen::{CertificateParams, KeyPair};
use ring::rand::{SecureRandom as _, SystemRandom};
use webrtc_dtls::{
    cipher_suite::CipherSuiteId,
    config::{ClientAuthType, Config as WebrtcConfig},
    crypto::Certificate,
    listener::listen,
};
use webrtc_util::conn::Listener as _;

const KEY: [u8; 16] = [7; 16];
const ECHOES: u32 = 20_000;
const HANDSHAKES: u32 = 300;
const IDLE: usize = 5_000;

/// Counts the live heap.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator unchanged.
#[expect(unsafe_code, reason = "an allocator that counts")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

/// Where a server listens, and which thread is its own.
struct Running {
    address: SocketAddr,
    schedstat: String,
}

impl Running {
    /// Starts `serve` on a thread of its own; it reports its address when it is ready.
    fn start(serve: impl FnOnce(mpsc::Sender<SocketAddr>) + Send + 'static) -> Self {
        let (ready, address) = mpsc::channel();
        let (thread, threads) = mpsc::channel();
        std::thread::spawn(move || {
            thread.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
            serve(ready);
        });
        let schedstat = format!("/proc/{}/schedstat", threads.recv().unwrap().display());
        Self { address: address.recv().unwrap(), schedstat }
    }

    fn cpu(&self) -> Duration {
        cpu(&self.schedstat)
    }

    /// CPU time of the server per round of `work`, in microseconds.
    fn measure(&self, rounds: u32, mut work: impl FnMut()) -> f64 {
        (0..rounds / 20).for_each(|_| work());
        let before = self.cpu();
        (0..rounds).for_each(|_| work());
        (self.cpu() - before).as_secs_f64() * 1e6 / f64::from(rounds)
    }
}

/// CPU time that a thread has had.
fn cpu(schedstat: &str) -> Duration {
    let text = std::fs::read_to_string(schedstat).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn bare_echo(ready: mpsc::Sender<SocketAddr>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    ready.send(socket.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 2048];
    loop {
        let (len, peer) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&buffer[..len], peer).unwrap();
    }
}

struct Names(CidKeys, SystemRandom);

impl Naming for Names {
    fn name(&mut self) -> Cid {
        let mut random = [0; 5];
        self.1.fill(&mut random).unwrap();
        self.0.mint(random, 0)
    }

    fn session_id(&mut self, _: &SessionName) -> SessionId {
        let mut id = [0; 32];
        self.1.fill(&mut id).unwrap();
        SessionId(id)
    }
}

/// The least that a node has around associations.
struct Node {
    config: Config,
    gate: Gate,
    nonces: NonceSource,
    random: SystemRandom,
    names: Names,
    sessions: HashMap<SessionId, StoredSession>,
    unix: u64,
}

impl Node {
    fn new(config: Config) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Self {
            config,
            gate: Gate::new(&[1; 32]),
            nonces: NonceSource::new(1, 0, u32::MAX),
            random: SystemRandom::new(),
            names: Names(CidKeys::new(0, &[2; 32]), SystemRandom::new()),
            sessions: HashMap::new(),
            unix,
        }
    }

    fn context(&mut self) -> Context<'_> {
        Context {
            now: Instant::now(),
            unix: self.unix,
            config: &self.config,
            nonces: &mut self.nonces,
            random: &self.random,
            naming: &mut self.names,
        }
    }

    /// Takes one datagram with all that follows from it; echoes application data.
    fn handle(
        &mut self,
        peer: SocketAddr,
        association: &mut Option<Box<Association>>,
        datagram: &[u8],
        mut send: impl FnMut(&[u8]),
    ) {
        let is_hello = datagram[0] == 22 && datagram[3..5] == [0, 0] && datagram[13] == 1;
        let mut admitted = false;
        if is_hello {
            match self.gate.handle(self.unix, peer, datagram) {
                Verdict::Answer(answer) => return send(&answer),
                Verdict::Admit => admitted = true,
                Verdict::Drop(_) => return,
            }
        }
        if admitted {
            association.get_or_insert_default();
        }
        let Some(live) = association else { return };
        let mut cx = self.context();
        let _ = match admitted {
            true => live.handle_admitted(&mut cx, datagram),
            false => live.handle_datagram(&mut cx, datagram),
        };
        while let Some(output) = live.poll() {
            match output {
                Output::Transmit(datagram) => send(&datagram),
                Output::Ask(ticket, question) => {
                    let answer = match question {
                        Question::Psk { .. } => {
                            Answer::Psk(Some(Psk { key: Secret::new(KEY), subject: Subject::default() }))
                        }
                        Question::Peer(_) => Answer::Peer(Ok(Subject::default())),
                        Question::Session(id) => {
                            Answer::Session(self.sessions.get(&id).cloned().map(Box::new))
                        }
                        Question::Store(session, _) => {
                            self.sessions.insert(session.id(), *session);
                            Answer::Stored(Ok(()))
                        }
                        Question::Promote(_) => Answer::Stored(Ok(())),
                    };
                    live.provide(&mut self.context(), ticket, answer);
                }
                Output::Application { bytes, .. } => live.send(&mut self.context(), &bytes).unwrap(),
                Output::NumbersDue => drop(live.numbers()),
                Output::Established { .. } | Output::Repeated { .. } | Output::HandshakeFailed(_) => {}
                Output::Closed(_) => {
                    *association = None;
                    return;
                }
            }
        }
    }
}

fn godwit(config: Config) -> impl FnOnce(mpsc::Sender<SocketAddr>) + Send {
    move |ready| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        ready.send(socket.local_addr().unwrap()).unwrap();
        let mut node = Node::new(config);
        let mut associations: HashMap<SocketAddr, Option<Box<Association>>> = HashMap::new();
        let mut buffer = [0; 2048];
        loop {
            let (len, peer) = socket.recv_from(&mut buffer).unwrap();
            let association = associations.entry(peer).or_default();
            node.handle(peer, association, &buffer[..len], |answer| {
                socket.send_to(answer, peer).unwrap();
            });
        }
    }
}

fn webrtc(config: WebrtcConfig) -> impl FnOnce(mpsc::Sender<SocketAddr>) + Send {
    move |ready| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(tokio::task::LocalSet::new().run_until(async move {
            let listener = listen("127.0.0.1:0", config).await.unwrap();
            ready.send(listener.addr().await.unwrap()).unwrap();
            loop {
                // A handshake that fails (a closed client's last alert looks like one) is none of ours.
                let Ok((connection, _)) = listener.accept().await else { continue };
                tokio::task::spawn_local(async move {
                    let mut buffer = [0; 2048];
                    while let Ok(len) = connection.recv(&mut buffer).await {
                        if len == 0 || connection.send(&buffer[..len]).await.is_err() {
                            break;
                        }
                    }
                    let _ = connection.close().await;
                });
            }
        }));
    }
}

/// A light client on a socket of its own.
struct Device {
    socket: UdpSocket,
    client: Client,
    random: SystemRandom,
    buffer: [u8; 2048],
}

impl Device {
    fn new(server: SocketAddr, settings: Arc<Settings>, cid: Option<&[u8]>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { socket, client: Client::new(settings, cid), random: SystemRandom::new(), buffer: [0; 2048] }
    }

    fn cx(random: &SystemRandom) -> client::Context<'_> {
        client::Context { now: Instant::now(), random }
    }

    fn shake_hands(&mut self, credential: &Credential, resume: bool) {
        let mut outputs = Vec::new();
        self.client.start(Self::cx(&self.random), credential.clone(), resume, &mut outputs);
        loop {
            let mut established = false;
            for output in outputs.drain(..) {
                match output {
                    client::Output::Transmit(datagram) => drop(self.socket.send(&datagram).unwrap()),
                    client::Output::Established { resumed } => {
                        assert_eq!(resumed, resume);
                        established = true;
                    }
                    other => panic!("{other:?}"),
                }
            }
            if established {
                return;
            }
            let len = self.socket.recv(&mut self.buffer).unwrap();
            self.client.handle_datagram(Self::cx(&self.random), &self.buffer[..len], &mut outputs);
        }
    }

    fn echo(&mut self, bytes: &[u8]) {
        let mut datagram = Vec::new();
        assert!(self.client.seal(Self::cx(&self.random), bytes, &mut datagram).unwrap());
        self.socket.send(&datagram).unwrap();
        let mut outputs = Vec::new();
        while !outputs.iter().any(|output| matches!(output, client::Output::Application(_))) {
            let len = self.socket.recv(&mut self.buffer).unwrap();
            self.client.handle_datagram(Self::cx(&self.random), &self.buffer[..len], &mut outputs);
        }
    }
}

struct Keys {
    pair: KeyPair,
    certificate: Vec<u8>,
}

impl Keys {
    fn new() -> Self {
        let pair = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["bench".to_owned()]).unwrap().self_signed(&pair).unwrap();
        let certificate = certificate.der().to_vec();
        Self { pair, certificate }
    }

    fn signing(&self) -> SigningKey {
        SigningKey::from_pkcs8(&self.pair.serialize_der(), &SystemRandom::new()).unwrap()
    }
}

fn settings(suite: CipherSuite) -> Arc<Settings> {
    Arc::new(Settings { suites: vec![suite], ..Settings::default() })
}

fn config(keys: &Keys) -> Config {
    Config {
        modes: Modes { psk: true, raw_public_key: true, x509: true },
        identity: Some(Arc::new(
            ServerIdentity::new(keys.signing(), vec![keys.certificate.clone()]).unwrap(),
        )),
        ..Config::default()
    }
}

fn main() {
    let (ours, theirs) = (Keys::new(), Keys::new());
    let psk = Credential::Psk { identity: b"bench".to_vec(), key: Secret::new(KEY) };
    let x509 =
        Credential::X509 { key: Arc::new(theirs.signing()), chain: Arc::new([theirs.certificate.clone()]) };
    let raw = Credential::RawPublicKey(Arc::new(theirs.signing()));
    let text = [0x2a; 64];

    println!("CPU of the server, µs each");
    let bare = Running::start(bare_echo);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(bare.address).unwrap();
    let mut buffer = [0; 256];
    let echo = bare.measure(ECHOES, || {
        socket.send(&text).unwrap();
        socket.recv(&mut buffer).unwrap();
    });
    println!("{:<52} {echo:>8.1}", "64-byte echo, bare UDP");

    let server = Running::start(godwit(config(&ours)));
    for (name, suite, cid) in [
        ("CCM_8", CipherSuite::PskAes128Ccm8, None),
        ("CCM_8, Connection ID", CipherSuite::PskAes128Ccm8, Some(&[1; 8][..])),
        ("CBC_SHA256, encrypt-then-MAC", CipherSuite::PskAes128Cbc, None),
    ] {
        let mut device = Device::new(server.address, settings(suite), cid);
        device.shake_hands(&psk, false);
        let echo = server.measure(ECHOES, || device.echo(&text));
        println!("{:<52} {echo:>8.1}", format!("64-byte echo, PSK {name}"));
    }
    let ccm = CipherSuite::EcdheEcdsaAes128Ccm8;
    for (name, credential, suite, resume) in [
        ("PSK", &psk, CipherSuite::PskAes128Ccm8, false),
        ("PSK, resumed", &psk, CipherSuite::PskAes128Ccm8, true),
        ("ECDHE, raw public keys", &raw, ccm, false),
        ("ECDHE, X.509 both sides", &x509, ccm, false),
        ("ECDHE, X.509, resumed", &x509, ccm, true),
    ] {
        let mut device = Device::new(server.address, settings(suite), None);
        if resume {
            device.shake_hands(credential, false);
        }
        let each = server.measure(HANDSHAKES, || {
            if !resume {
                device = Device::new(server.address, settings(suite), None);
            }
            device.shake_hands(credential, resume);
        });
        println!("{:<52} {each:>8.1}   {:>6.0}/s", format!("handshake, {name}"), 1e6 / each);
    }

    let each = bare_crypto(&ours.signing(), &theirs.signing());
    println!("{:<52} {each:>8.1}", "  of which agreement and signatures, alone");

    println!("\nthe same of webrtc-dtls");
    let server = Running::start(webrtc(WebrtcConfig {
        psk: Some(Arc::new(|_| Ok(KEY.to_vec()))),
        psk_identity_hint: Some(b"hint".to_vec()),
        cipher_suites: vec![CipherSuiteId::Tls_Psk_With_Aes_128_Ccm_8],
        ..WebrtcConfig::default()
    }));
    let mut device = Device::new(server.address, settings(CipherSuite::PskAes128Ccm8), None);
    device.shake_hands(&psk, false);
    let echo = server.measure(ECHOES, || device.echo(&text));
    println!("{:<52} {echo:>8.1}", "64-byte echo, PSK CCM_8");
    // Its clients stay: with their sockets closed its listener stopped answering the next ones.
    let mut devices = Vec::new();
    let each = server.measure(HANDSHAKES, || {
        let mut device = Device::new(server.address, settings(CipherSuite::PskAes128Ccm8), None);
        device.shake_hands(&psk, false);
        devices.push(device);
    });
    println!("{:<52} {each:>8.1}   {:>6.0}/s", "handshake, PSK", 1e6 / each);
    let server = Running::start(webrtc(WebrtcConfig {
        certificates: vec![Certificate::generate_self_signed(["bench".to_owned()]).unwrap()],
        client_auth: ClientAuthType::RequireAnyClientCert,
        cipher_suites: vec![CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Ccm_8],
        ..WebrtcConfig::default()
    }));
    let each = server.measure(HANDSHAKES, || {
        let mut device = Device::new(server.address, settings(ccm), None);
        device.shake_hands(&x509, false);
        devices.push(device);
    });
    println!("{:<52} {each:>8.1}   {:>6.0}/s", "handshake, ECDHE, X.509 both sides", 1e6 / each);

    println!("\nmemory, bytes");
    println!("{:<52} {:>8}", "Session", size_of::<Session>());
    println!("{:<52} {:>8}", "Association", size_of::<Association>());
    for (name, cid) in [("no Connection ID", None), ("8-byte Connection IDs", Some(&[1; 8][..]))] {
        println!(
            "{:<52} {:>8}",
            format!("idle association with its heap, PSK, {name}"),
            idle(config(&ours), &psk, cid)
        );
    }
}

/// What an ECDHE handshake with both sides' keys can't do without, in microseconds.
fn bare_crypto(ours: &SigningKey, theirs: &SigningKey) -> f64 {
    let random = SystemRandom::new();
    let message = [5; 512];
    let signature = theirs.sign(&message, &random).unwrap();
    let peer = *KeyAgreement::generate(&random).unwrap().public();
    let before = cpu("/proc/thread-self/schedstat");
    for _ in 0..HANDSHAKES * 5 {
        let agreement = KeyAgreement::generate(&random).unwrap();
        ours.sign(&message, &random).unwrap();
        agreement.premaster(&peer).unwrap();
        let signed = Signed { scheme: ECDSA_SECP256R1_SHA256, signature: &signature };
        signature::verify(&theirs.public_key(), &message, signed).unwrap();
    }
    (cpu("/proc/thread-self/schedstat") - before).as_secs_f64() * 1e6 / f64::from(HANDSHAKES * 5)
}

/// The heap that an established association takes, its own struct included.
fn idle(config: Config, credential: &Credential, cid: Option<&[u8]>) -> usize {
    let mut node = Node::new(config);
    let settings = settings(CipherSuite::PskAes128Ccm8);
    let random = SystemRandom::new();
    let mut associations = Vec::with_capacity(IDLE);
    let mut before = 0;
    for index in 0..IDLE + 100 {
        if index == 100 {
            associations.clear();
            node.sessions = HashMap::new();
            before = LIVE.load(Ordering::Relaxed);
        }
        let mut client = Client::new(settings.clone(), cid);
        let mut association = None;
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut outputs = Vec::new();
        client.start(Device::cx(&random), credential.clone(), false, &mut outputs);
        // One record each way after the handshake, as any device has it.
        let mut said = false;
        while !outputs.is_empty() || !said {
            if outputs.is_empty() {
                said = true;
                let mut datagram = Vec::new();
                client.seal(Device::cx(&random), b"x", &mut datagram).unwrap();
                outputs.push(client::Output::Transmit(datagram));
            }
            for output in std::mem::take(&mut outputs) {
                if let client::Output::Transmit(datagram) = output {
                    let mut answers = Vec::new();
                    node.handle(peer, &mut association, &datagram, |answer| answers.push(answer.to_vec()));
                    for answer in answers {
                        client.handle_datagram(Device::cx(&random), &answer, &mut outputs);
                    }
                }
            }
        }
        node.sessions = HashMap::new();
        associations.push(association.unwrap());
    }
    (LIVE.load(Ordering::Relaxed) - before) / IDLE
}
