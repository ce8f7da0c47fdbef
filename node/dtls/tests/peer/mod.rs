//! Our client with a socket and real time, and other makers' servers as child processes.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "each test binary uses a part; the peers are real, and so is their time"
)]

use std::{
    io::{BufRead, BufReader, Write},
    net::UdpSocket,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use godwit_dtls::{
    Secret,
    client::{Client, Context, Credential, Output, Settings},
    flight::Backoff,
    signature::SigningKey,
    suite::CipherSuite,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use ring::rand::SystemRandom;

pub const PSK: [u8; 16] = [0xa5; 16];
const PATIENCE: Duration = Duration::from_secs(10);

/// A server of another maker's at a port of loopback; ends with this value.
pub struct Server {
    child: Child,
    pub stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
    pub port: u16,
}

impl Server {
    /// Runs a program; `args` get the port. `None`, and a word about it, where the program isn't installed.
    pub fn start(program: &str, args: impl FnOnce(u16) -> Vec<String>) -> Option<Self> {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let spawned = Command::new(program)
            .args(args(port))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = spawned else {
            assert!(std::env::var_os("CI").is_none(), "{program} is needed");
            println!("skipped: no {program}");
            return None;
        };
        let (send, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| _ = send.send(line));
        });
        let stdin = child.stdin.take().unwrap();
        Some(Self { child, stdin, lines, port })
    }

    /// Waits for a line with this text.
    pub fn hears(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("never heard {text:?}"));
            if line.contains(text) {
                return;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client with a socket. Datagrams that `lose` points at never leave or never arrive.
pub struct Peer {
    pub client: Client,
    pub socket: UdpSocket,
    pub random: SystemRandom,
    pub outputs: Vec<Output>,
    pub passed: usize,
    pub lose: fn(usize) -> bool,
}

impl Peer {
    pub fn new(server: &Server, settings: Settings) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", server.port)).unwrap();
        Self {
            client: Client::new(Arc::new(settings), None),
            socket,
            random: SystemRandom::new(),
            outputs: Vec::new(),
            passed: 0,
            lose: |_| false,
        }
    }

    pub fn act(&mut self, call: impl FnOnce(&mut Client, Context<'_>, &mut Vec<Output>)) {
        let cx = Context { now: Instant::now(), random: &self.random };
        let mut outputs = Vec::new();
        call(&mut self.client, cx, &mut outputs);
        for output in outputs {
            match output {
                Output::Transmit(datagram) => {
                    self.passed += 1;
                    if !(self.lose)(self.passed) {
                        // Refused while the server starts: sent again as if lost.
                        let _ = self.socket.send(&datagram);
                    }
                }
                other => self.outputs.push(other),
            }
        }
    }

    /// Drives until there is another output than datagrams.
    pub fn next(&mut self) -> Output {
        let end = Instant::now() + PATIENCE;
        while self.outputs.is_empty() {
            let now = Instant::now();
            assert!(now < end, "nothing happened");
            let due = self.client.poll_timeout().map_or(end, |due| due.min(end));
            let wait = due.saturating_duration_since(now).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(wait)).unwrap();
            let mut buffer = [0; 4096];
            match self.socket.recv(&mut buffer) {
                Ok(len) => {
                    self.passed += 1;
                    if !(self.lose)(self.passed) {
                        self.act(|client, cx, out| client.handle_datagram(cx, &buffer[..len], out));
                    }
                }
                Err(_) => self.act(Client::handle_timeout),
            }
        }
        self.outputs.remove(0)
    }

    pub fn start(&mut self, credential: Credential, resume: bool) -> Output {
        self.act(|client, cx, out| client.start(cx, credential, resume, out));
        self.next()
    }

    pub fn say(&mut self, text: &str) {
        let cx = Context { now: Instant::now(), random: &self.random };
        let mut datagram = Vec::new();
        assert_eq!(self.client.seal(cx, text.as_bytes(), &mut datagram), Ok(true));
        self.socket.send(&datagram).unwrap();
    }

    /// Application data in both directions.
    pub fn talk(&mut self, server: &mut Server) {
        self.say("hello from us\n");
        server.hears("hello from us");
        server.stdin.write_all(b"hello from OpenSSL\n").unwrap();
        assert_eq!(self.next(), Output::Application(b"hello from OpenSSL\n".to_vec()));
    }
}

pub fn settings(suite: CipherSuite) -> Settings {
    let backoff = Backoff { first: Duration::from_millis(150), cap: Duration::from_secs(1) };
    Settings { suites: vec![suite], backoff, attempts: 12, ..Settings::default() }
}

pub fn psk() -> Credential {
    Credential::Psk { identity: b"urn:dev:1".to_vec(), key: Secret::new(PSK) }
}

/// Files of a key and its self-signed certificate, for OpenSSL's command line.
pub struct Identity {
    pub key: KeyPair,
    pub certificate: rcgen::Certificate,
    pub files: [PathBuf; 2],
}

impl Identity {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let files = ["key", "crt"].map(|kind| folder.join(format!("{name}.{kind}")));
        std::fs::write(&files[0], key.serialize_pem()).unwrap();
        std::fs::write(&files[1], certificate.pem()).unwrap();
        Self { key, certificate, files }
    }

    pub fn signing_key(&self) -> Arc<SigningKey> {
        Arc::new(SigningKey::from_pkcs8(self.key.serialized_der(), &SystemRandom::new()).unwrap())
    }

    pub fn credential(&self) -> Credential {
        let chain = vec![self.certificate.der().to_vec()];
        Credential::X509 { key: self.signing_key(), chain: chain.into() }
    }
}
