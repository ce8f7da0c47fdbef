//! webrtc-dtls between fleet and server: each device's plain datagrams go through a session of its own.
//!
//! The fleet speaks plain CoAP to a socket of this process; its source address tells the device. Behind it there is one
//! task with one `DTLSConn` per device. Dearer than the built-in client by far, but no line of it is Godwit's.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use webrtc_dtls::cipher_suite::CipherSuiteId;
use webrtc_dtls::config::{Config, ExtendedMasterSecretType};
use webrtc_dtls::conn::DTLSConn;
use webrtc_util::conn::Conn as _;

use super::credentials::Identities;
use crate::address::AddressPlan;

/// How long a handshake may take before the device's next message starts another.
const PATIENCE: Duration = Duration::from_secs(20);

/// Messages that wait for a device's session.
const WAITING: usize = 4;

/// Runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// Where the fleet sends.
    pub(crate) address: SocketAddrV4,
    _runtime: tokio::runtime::Runtime,
}

impl Gateway {
    /// Stands in for `server`. Devices reach it as if they had sockets of their own at their planned addresses.
    pub(crate) fn start(plan: AddressPlan, server: SocketAddrV4, identities: Identities) -> io::Result<Self> {
        if plan.sockets() > 1 {
            return Err(io::Error::other(
                "its devices need a server on loopback, or one source address each",
            ));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let socket = runtime.block_on(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let SocketAddr::V4(address) = socket.local_addr()? else {
            return Err(io::Error::other("bound to IPv4, got IPv6"));
        };
        runtime.spawn(forward(Arc::new(socket), plan, server, identities));
        Ok(Self { address, _runtime: runtime })
    }
}

async fn forward(socket: Arc<UdpSocket>, plan: AddressPlan, server: SocketAddrV4, identities: Identities) {
    let mut devices: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut buffer = vec![0; 2048];
    while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
        let message = buffer[..len].to_vec();
        let message = match devices.get(&from).map(|device| device.try_send(message)) {
            // Full: lost, as a datagram may be.
            Some(Ok(()) | Err(mpsc::error::TrySendError::Full(_))) => continue,
            Some(Err(mpsc::error::TrySendError::Closed(message))) => message,
            None => buffer[..len].to_vec(),
        };
        let SocketAddr::V4(device) = from else { continue };
        let Some((identity, key)) = plan.device(0, *device.ip()).and_then(|device| identities.psk(device))
        else {
            continue;
        };
        let (sender, receiver) = mpsc::channel(WAITING);
        // The channel is new, and has room.
        let _ = sender.try_send(message);
        devices.insert(from, sender);
        let config = Config {
            cipher_suites: vec![CipherSuiteId::Tls_Psk_With_Aes_128_Ccm_8],
            extended_master_secret: ExtendedMasterSecretType::Request,
            psk: Some(Arc::new(move |_: &[u8]| Ok(key.expose().to_vec()))),
            psk_identity_hint: Some(identity.into_bytes()),
            ..Config::default()
        };
        tokio::spawn(session(socket.clone(), device, server, config, receiver));
    }
}

/// One device: ends with its session, and its next message begins another.
async fn session(
    fleet: Arc<UdpSocket>,
    device: SocketAddrV4,
    server: SocketAddrV4,
    config: Config,
    mut messages: mpsc::Receiver<Vec<u8>>,
) {
    let Ok(socket) = UdpSocket::bind((*device.ip(), 0)).await else { return };
    if socket.connect(server).await.is_err() {
        return;
    }
    let handshake = DTLSConn::new(Arc::new(socket), config, true, None);
    let Ok(Ok(conn)) = tokio::time::timeout(PATIENCE, handshake).await else { return };
    let mut buffer = vec![0; 2048];
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) if conn.send(&message).await.is_ok() => {}
                _ => break,
            },
            received = conn.recv(&mut buffer) => match received {
                // A lost answer is the fleet's to make good.
                Ok(len) => _ = fleet.send_to(&buffer[..len], device).await,
                Err(_) => break,
            },
        }
    }
    let _ = conn.close().await;
}
