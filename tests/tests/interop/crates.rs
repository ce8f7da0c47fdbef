//! Peers that are Rust crates.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use dimpl::{Config, Dtls, DtlsCertificate, Output, PskResolver};
use godwit_tests::pem;
use tokio::runtime::Runtime;
use webrtc_dtls::{cipher_suite::CipherSuiteId, conn::DTLSConn, crypto::Certificate};

use crate::{
    peer::{PATIENCE, Peer, Result, Start, check_answer, request},
    table::{ECDSA_CCM_8, PSK_CCM_8},
    world::PSK_KEY,
};

const PATIENT: Option<Duration> = Some(PATIENCE);

struct Webrtc {
    runtime: Runtime,
    connection: Option<DTLSConn>,
    server: std::net::SocketAddr,
    config: webrtc_dtls::config::Config,
}

pub(crate) fn webrtc(start: &Start) -> Result<Box<dyn Peer>> {
    let suite = match start.case.suite {
        PSK_CCM_8 => CipherSuiteId::Tls_Psk_With_Aes_128_Ccm_8,
        ECDSA_CCM_8 => CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Ccm_8,
        _ => CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
    };
    let mut config = webrtc_dtls::config::Config { cipher_suites: vec![suite], ..Default::default() };
    match start.identity {
        None => {
            config.psk = Some(Arc::new(|_| Ok(PSK_KEY.to_vec())));
            config.psk_identity_hint = Some(start.case.endpoint().into());
        }
        Some(identity) => {
            let key = pem("PRIVATE_KEY", identity.pkcs8());
            let own = Certificate::from_pem(&(key + &identity.chain_pem()));
            config.certificates = vec![own.map_err(|error| error.to_string())?];
            config.roots_cas.add(start.world.authority().certificate().to_vec().into()).unwrap();
            config.server_name = "godwit".into();
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    Ok(Box::new(Webrtc { runtime, connection: None, server: start.server, config }))
}

impl Peer for Webrtc {
    fn connect(&mut self) -> Result<()> {
        let (server, config) = (self.server, self.config.clone());
        let connected = self.runtime.block_on(async {
            let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            socket.connect(server).await.unwrap();
            let connection = DTLSConn::new(Arc::new(socket), config, true, None);
            tokio::time::timeout(PATIENCE, connection).await
        });
        let connection = connected.map_err(|_| "no handshake")?.map_err(|error| error.to_string())?;
        self.connection = Some(connection);
        Ok(())
    }

    fn exchange(&mut self) -> Result<()> {
        let connection = self.connection.as_ref().unwrap();
        let request = request();
        let answer = self.runtime.block_on(async {
            connection.write(&request, PATIENT).await?;
            let mut buffer = vec![0; 2048];
            let length = connection.read(&mut buffer, PATIENT).await?;
            buffer.truncate(length);
            Ok::<_, webrtc_dtls::Error>(buffer)
        });
        check_answer(&request, &answer.map_err(|error| error.to_string())?)
    }
}

/// Drives dimpl's state machine over a socket.
struct Dimpl {
    socket: UdpSocket,
    dtls: Dtls,
    authority: Option<Vec<u8>>,
}

struct Key;

impl PskResolver for Key {
    fn resolve(&self, _: &[u8]) -> Option<Vec<u8>> {
        Some(PSK_KEY.into())
    }
}

pub(crate) fn dimpl(start: &Start) -> Result<Box<dyn Peer>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(start.server).unwrap();
    let now = Instant::now();
    let mut dtls = match start.identity {
        None => {
            let config = Config::builder().with_psk_client(start.case.endpoint().into(), Arc::new(Key));
            Dtls::new_12_psk(Arc::new(config.build().map_err(|error| error.to_string())?), now)
        }
        Some(identity) => {
            let own = DtlsCertificate {
                certificate: identity.chain()[0].clone(),
                private_key: identity.pkcs8().to_vec(),
            };
            Dtls::new_12(Arc::new(Config::default()), own, now)
        }
    };
    dtls.set_active(true);
    let authority = start.identity.map(|_| start.world.identity().chain()[0].clone());
    Ok(Box::new(Dimpl { socket, dtls, authority }))
}

/// What a turn of the state machine told.
enum Told {
    Connected,
    Data(Vec<u8>),
}

impl Dimpl {
    fn next(&mut self, until: Instant) -> Result<Told> {
        let mut buffer = vec![0; 4096];
        let mut told = None;
        loop {
            let timer = loop {
                match self.dtls.poll_output(&mut buffer) {
                    Output::Packet(bytes) => drop(self.socket.send(bytes)),
                    Output::Connected => told = Some(Told::Connected),
                    Output::ApplicationData(bytes) => told = Some(Told::Data(bytes.into())),
                    Output::PeerCert(certificate) if Some(certificate) != self.authority.as_deref() => {
                        return Err("another certificate".into());
                    }
                    Output::Timeout(at) => break at,
                    _ => {}
                }
            };
            if let Some(told) = told.take() {
                return Ok(told);
            }
            if Instant::now() > until {
                return Err("no answer".into());
            }
            let wait = timer.min(until).saturating_duration_since(Instant::now());
            self.socket.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).unwrap();
            let result = match self.socket.recv(&mut buffer) {
                Ok(length) => self.dtls.handle_packet(&buffer[..length]),
                Err(_) => self.dtls.handle_timeout(Instant::now()),
            };
            result.map_err(|error| error.to_string())?;
        }
    }
}

impl Peer for Dimpl {
    fn connect(&mut self) -> Result<()> {
        self.dtls.handle_timeout(Instant::now()).map_err(|error| error.to_string())?;
        match self.next(Instant::now() + PATIENCE)? {
            Told::Connected => Ok(()),
            Told::Data(_) => Err("data before the handshake's end".into()),
        }
    }

    fn exchange(&mut self) -> Result<()> {
        let request = request();
        self.dtls.send_application_data(&request).map_err(|error| error.to_string())?;
        match self.next(Instant::now() + PATIENCE)? {
            Told::Data(answer) => check_answer(&request, &answer),
            Told::Connected => Err("connected twice".into()),
        }
    }
}
