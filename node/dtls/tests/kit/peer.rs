//! Clients, each behind the same few verbs; and dimpl, which is not ours.

use std::{
    collections::VecDeque,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use dimpl::{Config, Dtls, DtlsCertificate, PskResolver, crypto::Dtls12CipherSuite};

use super::credentials::{Device, IDENTITY, KEY};

/// A client as the network sees it.
pub trait Peer {
    /// Sends its first flight; with `resume` it offers the session that it has.
    fn begin(&mut self, now: Instant, resume: bool);
    fn handle_datagram(&mut self, now: Instant, datagram: &[u8]);
    fn handle_timeout(&mut self, now: Instant);
    fn poll_timeout(&self) -> Option<Instant>;
    fn poll_transmit(&mut self) -> Option<Vec<u8>>;
    /// Whether application data can be sent, under keys of the latest handshake.
    fn is_established(&self) -> bool;
    /// Why it gave up.
    fn failure(&self) -> Option<String>;
    fn send(&mut self, now: Instant, plaintext: &[u8]);
    /// Every application record so far.
    fn received(&self) -> &[Vec<u8>];
}

/// dimpl: PSK with CCM_8, or X.509 with GCM.
pub struct Dimpl {
    dtls: Dtls,
    due: Option<Instant>,
    sent: VecDeque<Vec<u8>>,
    connected: bool,
    failure: Option<String>,
    received: Vec<Vec<u8>>,
}

struct OnePsk;

impl PskResolver for OnePsk {
    fn resolve(&self, _: &[u8]) -> Option<Vec<u8>> {
        Some(KEY.to_vec())
    }
}

/// Datagram sizes, each with a configuration for PSK and one for certificates: to check its cryptography anew for each
/// client would take most of the time.
static CONFIGS: LazyLock<[(Arc<Config>, Arc<Config>); 5]> = LazyLock::new(|| {
    [200, 350, 576, 900, 1200].map(|mtu| {
        let config = || {
            Config::builder()
                .mtu(mtu)
                .flight_start_rto(Duration::from_secs(1))
                .flight_retries(200)
                .handshake_timeout(Duration::from_secs(3600))
        };
        let psk = config()
            .dtls12_cipher_suites(&[Dtls12CipherSuite::PSK_AES128_CCM_8])
            .with_psk_client(IDENTITY.to_vec(), Arc::new(OnePsk));
        let x509 = config().dtls12_cipher_suites(&[Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256]);
        (Arc::new(psk.build().unwrap()), Arc::new(x509.build().unwrap()))
    })
});

impl Dimpl {
    /// With `device` X.509, without PSK. `size` chooses how large its datagrams are.
    pub fn new(now: Instant, device: Option<&Device>, size: u64) -> Self {
        let (psk, x509) = &CONFIGS[(size % 5) as usize];
        let mut dtls = match device {
            None => Dtls::new_12_psk(psk.clone(), now),
            Some(device) => {
                let certificate =
                    DtlsCertificate { certificate: device.chain[0].clone(), private_key: device.pkcs8() };
                Dtls::new_12(x509.clone(), certificate, now)
            }
        };
        dtls.set_active(true);
        Dimpl {
            dtls,
            due: None,
            sent: VecDeque::new(),
            connected: false,
            failure: None,
            received: Vec::new(),
        }
    }

    fn drain(&mut self) {
        let mut buffer = vec![0; 4096];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                dimpl::Output::Packet(packet) => self.sent.push_back(packet.to_vec()),
                dimpl::Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                dimpl::Output::Connected => self.connected = true,
                dimpl::Output::ApplicationData(bytes) => self.received.push(bytes.to_vec()),
                dimpl::Output::Timeout(due) => {
                    self.due = Some(due);
                    return;
                }
                _ => {}
            }
        }
    }

    fn note(&mut self, result: Result<(), dimpl::Error>) {
        match result {
            Ok(()) => self.drain(),
            Err(error) => {
                self.failure.get_or_insert(error.to_string());
                self.due = None;
            }
        }
    }
}

impl Peer for Dimpl {
    fn begin(&mut self, now: Instant, _: bool) {
        self.handle_timeout(now);
    }

    fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        if self.failure.is_none() {
            let result = self.dtls.handle_timeout(now).and_then(|()| self.dtls.handle_packet(datagram));
            self.note(result);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.failure.is_none() {
            let result = self.dtls.handle_timeout(now);
            self.note(result);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.sent.pop_front()
    }

    fn is_established(&self) -> bool {
        self.connected
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    fn send(&mut self, _: Instant, plaintext: &[u8]) {
        let result = self.dtls.send_application_data(plaintext).map(drop);
        self.note(result);
    }

    fn received(&self) -> &[Vec<u8>] {
        &self.received
    }
}
