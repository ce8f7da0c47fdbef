//! DTLS under a scripted client: the light client of the DTLS crate over a test's own socket.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use godwit_dtls::{
    client::{Client, Context, Credential, Failure, Output, Settings},
    record::Records,
};
use ring::rand::SystemRandom;

use crate::PATIENCE;

/// How a scripted client speaks DTLS.
#[derive(Debug, Clone)]
pub struct Dtls {
    /// Who it is.
    pub credential: Credential,
    /// Whether it takes a Connection ID of the node's. It wants none for itself.
    pub cid: bool,
    /// Everything else.
    pub settings: Settings,
}

impl Dtls {
    /// By a pre-shared key, with a Connection ID.
    pub fn psk(identity: &str, key: &[u8]) -> Dtls {
        let key = godwit_dtls::Secret::new(key);
        let credential = Credential::Psk { identity: identity.into(), key };
        Dtls { credential, cid: true, settings: Settings::default() }
    }

    /// Without a Connection ID.
    pub fn without_cid(self) -> Dtls {
        Dtls { cid: false, ..self }
    }
}

/// One client's side.
#[derive(Debug)]
pub(crate) struct Secure {
    client: Client,
    credential: Credential,
    random: SystemRandom,
}

impl Secure {
    pub(crate) fn new(dtls: Dtls) -> Secure {
        let cid: Option<&[u8]> = if dtls.cid { Some(&[]) } else { None };
        let client = Client::new(Arc::new(dtls.settings), cid);
        Secure { client, credential: dtls.credential, random: SystemRandom::new() }
    }

    /// Shakes hands; whether the session was resumed.
    pub(crate) fn handshake(
        &mut self,
        socket: &UdpSocket,
        server: SocketAddr,
        resume: bool,
    ) -> Result<bool, Failure> {
        self.handshake_through(socket, server, resume, |socket, datagram| {
            socket.send_to(datagram, server).unwrap();
        })
    }

    /// Shakes hands, but never gets the node's answer to the first Finished: `meanwhile` happens after that has left.
    pub(crate) fn handshake_losing_the_end(
        &mut self,
        socket: &UdpSocket,
        server: SocketAddr,
        meanwhile: impl FnOnce(),
    ) -> Result<bool, Failure> {
        let mut meanwhile = Some(meanwhile);
        self.handshake_through(socket, server, false, |socket, datagram| {
            socket.send_to(datagram, server).unwrap();
            let finished = Records::parse(datagram, 8).flatten().any(|record| record.epoch > 0);
            if let Some(meanwhile) = meanwhile.take_if(|_| finished) {
                meanwhile();
                socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                while socket.recv_from(&mut [0; 2048]).is_ok() {}
            }
        })
    }

    /// Shakes hands; `send` does what it likes with the datagrams.
    pub(crate) fn handshake_through(
        &mut self,
        socket: &UdpSocket,
        server: SocketAddr,
        resume: bool,
        mut send: impl FnMut(&UdpSocket, &[u8]),
    ) -> Result<bool, Failure> {
        let mut out = Vec::new();
        let credential = self.credential.clone();
        self.client.start(cx(&self.random), credential, resume, &mut out);
        let mut buffer = [0; 2048];
        let deadline = Instant::now() + PATIENCE;
        loop {
            for output in out.drain(..) {
                match output {
                    Output::Transmit(datagram) => send(socket, &datagram),
                    Output::Established { resumed } => return Ok(resumed),
                    Output::Closed(failure) => return Err(failure.unwrap_or(Failure::Timeout)),
                    Output::Application(_) => {}
                }
            }
            assert!(Instant::now() < deadline, "the handshake neither ended nor failed");
            let due = self.client.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()));
            let wait = due.unwrap_or(PATIENCE).max(Duration::from_millis(1));
            socket.set_read_timeout(Some(wait)).unwrap();
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) if from == server => {
                    self.client.handle_datagram(cx(&self.random), &buffer[..length], &mut out);
                }
                Ok(_) => {}
                Err(_) => self.client.handle_timeout(cx(&self.random), &mut out),
            }
        }
    }

    /// One record.
    pub(crate) fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        let sealed = self.client.seal(cx(&self.random), plaintext, &mut datagram).unwrap();
        assert!(sealed, "there is no session");
        datagram
    }

    /// What a datagram of the node brings; answers of DTLS itself are sent.
    pub(crate) fn open(&mut self, socket: &UdpSocket, server: SocketAddr, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        self.client.handle_datagram(cx(&self.random), datagram, &mut out);
        let mut plaintexts = Vec::new();
        for output in out {
            match output {
                Output::Transmit(datagram) => drop(socket.send_to(&datagram, server).unwrap()),
                Output::Application(plaintext) => plaintexts.push(plaintext),
                Output::Established { .. } | Output::Closed(_) => {}
            }
        }
        plaintexts
    }

    /// Says close_notify.
    pub(crate) fn close(&mut self, socket: &UdpSocket, server: SocketAddr) {
        let mut out = Vec::new();
        self.client.close(cx(&self.random), &mut out);
        for output in out {
            if let Output::Transmit(datagram) = output {
                socket.send_to(&datagram, server).unwrap();
            }
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.client.is_open()
    }

    pub(crate) fn server_cid(&self) -> &[u8] {
        self.client.session().map_or(&[], |session| session.server_cid())
    }
}

fn cx(random: &SystemRandom) -> Context<'_> {
    Context { now: Instant::now(), random }
}
