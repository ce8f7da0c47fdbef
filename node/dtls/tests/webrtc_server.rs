//! What webrtc-dtls's own server does with odd and with false clients: why it is a peer here, and not the engine.
//!
//! Each test holds for 0.12 and fails once a newer version has mended its fault; then ARCHITECTURE.md, which tells of them, is
//! to be mended too.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use std::{sync::Arc, time::Duration};

use kit::{
    credentials::{IDENTITY, KEY},
    hand::{Hand, Offer},
    start,
};
use tokio::{task::JoinHandle, time::timeout};
use webrtc_dtls::{cipher_suite::CipherSuiteId, config::Config, conn::DTLSConn};
use webrtc_util::conn::{Conn, conn_pipe::pipe};

/// Longer than it waits before it sends anything again.
const SILENCE: Duration = Duration::from_secs(5);

/// A server that accepts one connection, and the way to it.
struct Theirs {
    way: Box<dyn Conn + Send + Sync>,
    accepted: JoinHandle<Result<DTLSConn, webrtc_dtls::Error>>,
}

impl Theirs {
    fn start() -> Self {
        let (theirs, ours) = pipe();
        let config = Config {
            psk: Some(Arc::new(|_| Ok(KEY.to_vec()))),
            psk_identity_hint: Some(b"hint".to_vec()),
            cipher_suites: vec![CipherSuiteId::Tls_Psk_With_Aes_128_Ccm_8],
            ..Config::default()
        };
        let accepted =
            tokio::spawn(async move { DTLSConn::new(Arc::new(theirs), config, false, None).await });
        Theirs { way: Box::new(ours), accepted }
    }

    /// What it answers until it is silent, or gone.
    async fn exchange(&self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let (mut answers, mut buffer) = (Vec::new(), [0; 4096]);
        if self.way.send(datagram).await.is_err() {
            return answers;
        }
        while let Ok(Ok(length)) = timeout(SILENCE, self.way.recv(&mut buffer)).await {
            let datagram = buffer[..length].to_vec();
            // It repeats its flights until something comes.
            if answers.contains(&datagram) || answers.len() > 8 {
                break;
            }
            answers.push(datagram);
        }
        answers
    }

    async fn tell(&self, hand: &mut Hand, datagram: &[u8]) {
        let answers = self.exchange(datagram).await;
        hand.handle(&answers);
    }

    /// A handshake that ends with this Finished, or with the right one; whether the server took it.
    async fn shake_hands(self, finished: Option<[u8; 12]>) -> bool {
        let mut hand = Hand::new(start(), Offer::psk());
        for _ in 0..2 {
            let hello = hand.hello();
            self.tell(&mut hand, &hello).await;
        }
        let exchange = hand.psk_key_exchange(IDENTITY, KEY);
        let finished = finished.unwrap_or_else(|| hand.verify_data());
        let flight = [exchange, hand.change_cipher_spec(), hand.finished_with(&finished)].concat();
        self.way.send(&flight).await.unwrap();
        matches!(timeout(SILENCE, self.accepted).await, Ok(Ok(Ok(_))))
    }
}

#[tokio::test(start_paused = true)]
async fn it_takes_a_finished_that_is_wrong() {
    assert!(Theirs::start().shake_hands(None).await);
    // RFC 5246 §7.4.9: its content must be checked.
    assert!(Theirs::start().shake_hands(Some([0; 12])).await);
}

#[tokio::test(start_paused = true)]
async fn it_never_answers_a_hello_that_would_resume_a_session_or_has_no_extensions() {
    // Its reader spins where the way to it has ended: these last until the test does.
    let mut servers = Vec::new();
    for (offer, answered) in [
        (Offer::psk(), true),
        (Offer::psk().resuming(&[7; 32]), false),
        (Offer { extensions: None, ..Offer::psk() }, false),
    ] {
        let theirs = Theirs::start();
        let hello = Hand::new(start(), offer.clone()).hello();
        assert_eq!(theirs.exchange(&hello).await.is_empty(), !answered, "{offer:?}");
        servers.push(theirs);
    }
}

#[tokio::test(start_paused = true)]
async fn three_bytes_at_the_end_of_the_extensions_end_its_reader() {
    let good = Hand::new(start(), Offer::psk()).hello();
    let mut odd = good.clone();
    // The lengths of record, message, fragment and extensions, of which there is an empty one.
    for length in [12, 16, 24, odd.len() - 5] {
        odd[length] += 3;
    }
    odd.extend([0; 3]);
    let theirs = Theirs::start();
    assert!(theirs.exchange(&odd).await.is_empty());
    assert!(theirs.exchange(&good).await.is_empty(), "it reads nothing any more");
    let other = Theirs::start();
    assert!(!other.exchange(&good).await.is_empty());
}
