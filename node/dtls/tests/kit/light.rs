//! The crate's own client behind the verbs of every client.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use godwit_dtls::{
    Secret,
    client::{Client, Context, Credential, Output, Settings},
};
use ring::rand::SystemRandom;

use super::{
    credentials::{CREDENTIALS, Device, IDENTITY, KEY, signing_key},
    peer::Peer,
};

/// See the file's head.
pub struct Light {
    pub client: Client,
    credential: Credential,
    random: SystemRandom,
    outputs: Vec<Output>,
    sent: VecDeque<Vec<u8>>,
    established: bool,
    failure: Option<String>,
    received: Vec<Vec<u8>>,
}

/// How a [`Light`] client shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Psk,
    RawPublicKey,
    X509,
}

impl Mode {
    pub fn credential(self) -> Credential {
        match self {
            Mode::Psk => psk(IDENTITY, KEY),
            Mode::RawPublicKey => Credential::RawPublicKey(signing_key(&CREDENTIALS.device)),
            Mode::X509 => x509(&CREDENTIALS.device),
        }
    }
}

pub fn psk(identity: &[u8], key: &[u8]) -> Credential {
    Credential::Psk { identity: identity.to_vec(), key: Secret::new(key) }
}

pub fn x509(device: &Device) -> Credential {
    Credential::X509 { key: signing_key(device), chain: device.chain.clone().into() }
}

impl Light {
    pub fn new(credential: Credential, settings: Settings, cid: Option<&[u8]>) -> Self {
        Light {
            client: Client::new(Arc::new(settings), cid),
            credential,
            random: SystemRandom::new(),
            outputs: Vec::new(),
            sent: VecDeque::new(),
            established: false,
            failure: None,
            received: Vec::new(),
        }
    }

    fn with(&mut self, now: Instant, input: impl FnOnce(&mut Client, Context<'_>, &mut Vec<Output>)) {
        input(&mut self.client, Context { now, random: &self.random }, &mut self.outputs);
        for output in self.outputs.drain(..) {
            match output {
                Output::Transmit(datagram) => self.sent.push_back(datagram),
                Output::Established { .. } => self.established = true,
                Output::Application(bytes) => self.received.push(bytes),
                Output::Closed(reason) => self.failure = Some(format!("{reason:?}")),
            }
        }
    }

    pub fn close(&mut self, now: Instant) {
        self.with(now, Client::close);
    }
}

impl Peer for Light {
    fn begin(&mut self, now: Instant, resume: bool) {
        self.established = false;
        self.failure = None;
        let credential = self.credential.clone();
        self.with(now, |client, cx, out| client.start(cx, credential, resume, out));
    }

    fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        self.with(now, |client, cx, out| client.handle_datagram(cx, datagram, out));
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.with(now, Client::handle_timeout);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.client.poll_timeout()
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.sent.pop_front()
    }

    fn is_established(&self) -> bool {
        self.established
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    fn send(&mut self, now: Instant, plaintext: &[u8]) {
        let mut datagram = Vec::new();
        let cx = Context { now, random: &self.random };
        assert!(self.client.seal(cx, plaintext, &mut datagram).unwrap(), "no open session");
        self.sent.push_back(datagram);
    }

    fn received(&self) -> &[Vec<u8>] {
        &self.received
    }
}
