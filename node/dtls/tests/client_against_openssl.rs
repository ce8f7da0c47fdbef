//! The client against OpenSSL's server, which knows nothing of us: every mode and suite that both speak.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test with a real peer and its time"
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
    certificate::PublicKey,
    client::{Client, Context, Credential, Failure, Output, Settings, Trust},
    extension::MaxFragmentLength,
    flight::Backoff,
    signature::SigningKey,
    suite::CipherSuite::{self, *},
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use ring::rand::SystemRandom;

const PSK: [u8; 16] = [0xa5; 16];
const PATIENCE: Duration = Duration::from_secs(10);

/// OpenSSL's server at a port of loopback; ends with its stdin.
struct Server {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
    port: u16,
}

impl Server {
    fn start(args: &[&str]) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "openssl is needed");
            println!("skipped: no openssl");
            return None;
        }
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new("openssl")
            .args(["s_server", "-dtls1_2", "-no_ticket", "-quiet"])
            .args(["-accept", &format!("127.0.0.1:{port}")])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (send, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| _ = send.send(line));
        });
        let stdin = child.stdin.take().unwrap();
        Some(Self { child, stdin, lines, port })
    }

    /// Waits for a line with this text.
    fn hears(&self, text: &str) {
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
struct Peer {
    client: Client,
    socket: UdpSocket,
    random: SystemRandom,
    outputs: Vec<Output>,
    passed: usize,
    lose: fn(usize) -> bool,
}

impl Peer {
    fn new(server: &Server, settings: Settings) -> Self {
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

    fn act(&mut self, call: impl FnOnce(&mut Client, Context<'_>, &mut Vec<Output>)) {
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
    fn next(&mut self) -> Output {
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

    fn start(&mut self, credential: Credential, resume: bool) -> Output {
        self.act(|client, cx, out| client.start(cx, credential, resume, out));
        self.next()
    }

    fn say(&mut self, text: &str) {
        let cx = Context { now: Instant::now(), random: &self.random };
        let mut datagram = Vec::new();
        assert_eq!(self.client.seal(cx, text.as_bytes(), &mut datagram), Ok(true));
        self.socket.send(&datagram).unwrap();
    }

    /// Application data in both directions.
    fn talk(&mut self, server: &mut Server) {
        self.say("hello from us\n");
        server.hears("hello from us");
        server.stdin.write_all(b"hello from OpenSSL\n").unwrap();
        assert_eq!(self.next(), Output::Application(b"hello from OpenSSL\n".to_vec()));
    }
}

fn settings(suite: CipherSuite) -> Settings {
    let backoff = Backoff { first: Duration::from_millis(150), cap: Duration::from_secs(1) };
    Settings { suites: vec![suite], backoff, attempts: 12, ..Settings::default() }
}

fn psk() -> Credential {
    Credential::Psk { identity: b"urn:dev:1".to_vec(), key: Secret::new(PSK) }
}

const CIPHERS: &str = "ALL:@SECLEVEL=0";

fn psk_server(more: &[&str]) -> Option<Server> {
    let key = "a5".repeat(16);
    let mut args = vec!["-nocert", "-psk", &key, "-cipher", CIPHERS];
    args.extend(more);
    Server::start(&args)
}

#[test]
fn psk_suites_carry_data_both_ways() {
    for (suite, etm, ems) in [
        (PskAes128Ccm8, true, true),
        (PskAes128Ccm8, true, false),
        (PskAes128Cbc, true, true),
        (PskAes128Cbc, false, true),
    ] {
        let Some(mut server) = psk_server(&[]) else { return };
        let settings = Settings { encrypt_then_mac: etm, extended_master_secret: ems, ..settings(suite) };
        let mut peer = Peer::new(&server, settings);
        assert_eq!(peer.start(psk(), false), Output::Established { resumed: false }, "{suite:?} {etm}");
        let session = peer.client.session().unwrap();
        assert_eq!((session.suite(), session.has_extended_master_secret()), (suite, ems));
        peer.talk(&mut server);
    }
}

#[test]
fn a_server_with_cookies_is_answered() {
    let Some(mut server) = psk_server(&["-listen"]) else { return };
    let mut peer = Peer::new(&server, settings(PskAes128Ccm8));
    assert_eq!(peer.start(psk(), false), Output::Established { resumed: false });
    peer.talk(&mut server);
}

#[test]
fn a_closed_session_is_resumed_with_new_keys() {
    let Some(mut server) = psk_server(&[]) else { return };
    let mut peer = Peer::new(&server, settings(PskAes128Ccm8));
    assert_eq!(peer.start(psk(), false), Output::Established { resumed: false });
    peer.talk(&mut server);
    let first = peer.client.session().unwrap().clone();
    assert_eq!(first.session_id().len(), 32);
    peer.act(Client::close);
    assert_eq!(peer.start(psk(), true), Output::Established { resumed: true });
    let second = peer.client.session().unwrap();
    assert_eq!(second.session_id(), first.session_id());
    assert_ne!(second.key_log(), first.key_log());
    peer.talk(&mut server);
}

#[test]
fn a_wrong_key_and_a_silent_server_end_the_handshake() {
    let Some(server) = psk_server(&[]) else { return };
    let mut peer = Peer::new(&server, Settings { attempts: 3, ..settings(PskAes128Ccm8) });
    let wrong = Credential::Psk { identity: b"urn:dev:1".to_vec(), key: Secret::new([1; 16]) };
    // OpenSSL drops the record that it can't open, as RFC 6347 §4.1.2.7 asks.
    let Output::Closed(Some(Failure::Timeout | Failure::Alert(_))) = peer.start(wrong, false) else {
        panic!("a wrong key")
    };
    let mut peer = Peer::new(&server, Settings { attempts: 2, ..settings(PskAes128Ccm8) });
    peer.lose = |_| true;
    assert_eq!(peer.start(psk(), false), Output::Closed(Some(Failure::Timeout)));
}

#[test]
fn every_lost_datagram_of_a_handshake_is_made_good() {
    let losses: [fn(usize) -> bool; 8] = [
        |n| n == 1,
        |n| n == 2,
        |n| n == 3,
        |n| n == 4,
        |n| n == 5,
        |n| n == 6,
        |n| n % 3 == 0,
        |n| n % 5 < 2,
    ];
    for lose in losses {
        let Some(mut server) = psk_server(&["-listen"]) else { return };
        let mut peer = Peer::new(&server, settings(PskAes128Ccm8));
        peer.lose = lose;
        assert_eq!(peer.start(psk(), false), Output::Established { resumed: false });
        peer.lose = |_| false;
        peer.talk(&mut server);
    }
}

/// Files of a key and its self-signed certificate, for OpenSSL's command line.
struct Identity {
    key: KeyPair,
    certificate: rcgen::Certificate,
    files: [PathBuf; 2],
}

impl Identity {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let files = ["key", "crt"].map(|kind| folder.join(format!("{name}.{kind}")));
        std::fs::write(&files[0], key.serialize_pem()).unwrap();
        std::fs::write(&files[1], certificate.pem()).unwrap();
        Self { key, certificate, files }
    }

    fn signing_key(&self) -> Arc<SigningKey> {
        Arc::new(SigningKey::from_pkcs8(self.key.serialized_der(), &SystemRandom::new()).unwrap())
    }

    fn credential(&self) -> Credential {
        let chain = vec![self.certificate.der().to_vec()];
        Credential::X509 { key: self.signing_key(), chain: chain.into() }
    }

    fn serve(&self, more: &[&str]) -> Option<Server> {
        let [key, certificate] = self.files.each_ref().map(|file| file.to_str().unwrap());
        let mut args = vec!["-key", key, "-cert", certificate, "-cipher", CIPHERS];
        args.extend(more);
        Server::start(&args)
    }
}

#[test]
fn certificates_are_shown_and_checked_with_every_ecdhe_suite() {
    let (server_identity, client_identity) = (Identity::new("suite-server"), Identity::new("suite-client"));
    for suite in [EcdheEcdsaAes128Ccm8, EcdheEcdsaAes128Gcm, EcdheEcdsaAes128Cbc] {
        for ask in [&["-Verify", "1", "-verify_quiet"][..], &[]] {
            let Some(mut server) = server_identity.serve(ask) else { return };
            let trust = Trust::Key(server_identity.signing_key().public_key());
            let mut peer = Peer::new(&server, Settings { trust, ..settings(suite) });
            let credential = client_identity.credential();
            assert_eq!(peer.start(credential, false), Output::Established { resumed: false }, "{suite:?}");
            peer.talk(&mut server);
        }
    }
}

#[test]
fn a_certificate_handshake_in_small_pieces_survives_loss_and_is_resumed() {
    let (server_identity, client_identity) = (Identity::new("cut-server"), Identity::new("cut-client"));
    let Some(mut server) = server_identity.serve(&["-Verify", "1", "-verify_quiet", "-mtu", "256"]) else {
        return;
    };
    let settings = Settings {
        datagram: 200,
        max_fragment_length: Some(MaxFragmentLength::Bytes512),
        ..settings(EcdheEcdsaAes128Ccm8)
    };
    let mut peer = Peer::new(&server, settings);
    peer.lose = |n| n % 5 == 4;
    let credential = client_identity.credential();
    assert_eq!(peer.start(credential.clone(), false), Output::Established { resumed: false });
    assert_eq!(peer.client.session().unwrap().max_plaintext(), 512);
    peer.lose = |_| false;
    peer.talk(&mut server);
    peer.act(Client::close);
    assert_eq!(peer.start(credential, true), Output::Established { resumed: true });
    peer.talk(&mut server);
}

#[test]
fn another_servers_key_is_refused() {
    let (server_identity, other) = (Identity::new("real-server"), Identity::new("other-server"));
    let Some(server) = server_identity.serve(&[]) else { return };
    let trusted: PublicKey = other.signing_key().public_key();
    let settings = Settings { trust: Trust::Key(trusted), ..settings(EcdheEcdsaAes128Ccm8) };
    let mut peer = Peer::new(&server, settings);
    let refused = peer.start(other.credential(), false);
    assert_eq!(refused, Output::Closed(Some(Failure::Untrusted)));
}
