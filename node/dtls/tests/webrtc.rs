//! webrtc-dtls as a client: tokio's clock stands still but for the next event, so that its tasks keep our time.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use kit::{
    Seeded,
    credentials::{IDENTITY, KEY},
    network::Weather,
    scale,
    server::{Event, Server},
    soak::report,
};
use tokio::time::{Instant as TokioInstant, sleep_until};
use webrtc_dtls::{
    cipher_suite::CipherSuiteId,
    config::{Config, ExtendedMasterSecretType},
    conn::DTLSConn,
    crypto::Certificate,
};
use webrtc_util::conn::{Conn, conn_pipe::pipe};

fn psk() -> Config {
    Config {
        psk: Some(Arc::new(|_| Ok(KEY.to_vec()))),
        psk_identity_hint: Some(IDENTITY.to_vec()),
        cipher_suites: vec![CipherSuiteId::Tls_Psk_With_Aes_128_Ccm_8],
        ..Config::default()
    }
}

fn certificate(certificate: &Certificate, suite: CipherSuiteId) -> Config {
    Config {
        certificates: vec![certificate.clone()],
        cipher_suites: vec![suite],
        insecure_skip_verify: true,
        extended_master_secret: ExtendedMasterSecretType::Require,
        ..Config::default()
    }
}

/// Connects, has a record echoed, and closes.
async fn client(conn: Arc<dyn Conn + Send + Sync>, config: Config) -> Result<(), webrtc_dtls::Error> {
    let conn = DTLSConn::new(conn, config, true, None).await?;
    let mut buffer = [0; 64];
    // Its answer or ours may still be under way.
    tokio::time::sleep(Duration::from_secs(100)).await;
    conn.write(b"there and back", None).await?;
    let len = conn.read(&mut buffer, Some(Duration::from_secs(5))).await?;
    assert_eq!(&buffer[..len], b"there and back");
    conn.close().await
}

/// Drives one client to its end.
async fn drive(server: &mut Server, config: Config, mut weather: Weather) -> Result<(), webrtc_dtls::Error> {
    let (theirs, ours) = pipe();
    let mut task = tokio::spawn(client(Arc::new(theirs), config));
    let began = now();
    let mut flying: Vec<(Instant, bool, Vec<u8>)> = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let sent: Vec<_> = server.sent.drain(..).collect();
        for datagram in sent {
            let copies = weather.copies(now() - began);
            flying.extend(copies.into_iter().map(|late| (now() + late, false, datagram.clone())));
        }
        let next = flying.iter().map(|(at, ..)| *at).chain(server.poll_timeout()).min();
        let event = async {
            match next {
                Some(at) => sleep_until(TokioInstant::from_std(at)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            done = &mut task => return done.unwrap(),
            len = ours.recv(&mut buffer) => {
                let copies = weather.copies(now() - began);
                let datagram = buffer[..len.unwrap()].to_vec();
                flying.extend(copies.into_iter().map(|late| (now() + late, true, datagram.clone())));
            }
            () = event => {
                flying.sort_by_key(|(at, ..)| *at);
                let arrived = flying.partition_point(|(at, ..)| *at <= now());
                for (_, to_server, datagram) in flying.drain(..arrived) {
                    if to_server {
                        server.handle_datagram(now(), &datagram);
                    } else {
                        ours.send(&datagram).await.unwrap();
                    }
                }
                if server.poll_timeout().is_some_and(|due| due <= now()) {
                    server.handle_timeout(now());
                }
            }
        }
    }
}

fn now() -> Instant {
    TokioInstant::now().into_std()
}

fn server(random: &mut Seeded) -> Server {
    let mut server = Server::new(now());
    server.echoes = true;
    server.config.handshake_timeout = Duration::from_secs(3600);
    server.config.mtu = 400 + random.below(900) as usize;
    server
}

#[tokio::test(start_paused = true)]
async fn it_connects_with_a_key_and_with_certificates() {
    let own = Certificate::generate_self_signed(["urn:dev:1".to_owned()]).unwrap();
    for config in [
        psk(),
        certificate(&own, CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Ccm_8),
        certificate(&own, CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256),
    ] {
        let mut server = server(&mut Seeded::new(0));
        server.leaves = vec![own.certificate[0].to_vec()];
        drive(&mut server, config, Weather::fair()).await.unwrap();
        assert!(server.events.contains(&Event::Established { resumed: false }));
    }
}

#[tokio::test(start_paused = true)]
async fn it_connects_over_ways_that_lose_and_overtake() {
    let count = scale(100, 1400);
    for seed in 0..count {
        let mut random = Seeded::new(seed);
        let mut server = server(&mut random);
        let result = drive(&mut server, psk(), Weather::bad(seed)).await;
        assert!(result.is_ok(), "seed {seed}: {result:?}, {:?}", server.events);
    }
    let found = format!("{count} schedules, all completed");
    report("webrtc", "webrtc-dtls over bad networks", "it_connects_over_ways_that_lose_and_overtake", found);
}
