//! webrtc-dtls's server as an echo: what another DTLS stack of the same language charges.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;

use godwit_dtls::Secret;
use webrtc_dtls::cipher_suite::CipherSuiteId;
use webrtc_dtls::config::{ClientAuthType, Config};
use webrtc_dtls::crypto::Certificate;
use webrtc_dtls::listener::listen;
use webrtc_util::conn::Listener as _;

/// Serves clients with this PSK, whatever their identity, or without one those with any certificate, until it is killed.
/// `ready` gets the address.
pub(crate) fn serve(
    bind: SocketAddrV4,
    psk: Option<Secret>,
    ready: impl FnOnce(String) -> io::Result<()>,
) -> io::Result<()> {
    let config = match psk {
        Some(psk) => Config {
            psk: Some(Arc::new(move |_: &[u8]| Ok(psk.expose().to_vec()))),
            psk_identity_hint: Some(b"echo".to_vec()),
            cipher_suites: vec![CipherSuiteId::Tls_Psk_With_Aes_128_Ccm_8],
            ..Config::default()
        },
        None => Config {
            certificates: vec![
                Certificate::generate_self_signed(["echo".to_owned()]).map_err(io::Error::other)?,
            ],
            client_auth: ClientAuthType::RequireAnyClientCert,
            cipher_suites: vec![CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Ccm_8],
            ..Config::default()
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async move {
        let listener = listen(bind, config).await.map_err(io::Error::other)?;
        ready(listener.addr().await.map_err(io::Error::other)?.to_string())?;
        loop {
            // A handshake that fails is its client's.
            let Ok((connection, _)) = listener.accept().await else { continue };
            tokio::spawn(async move {
                let mut buffer = [0; 2048];
                while let Ok(len) = connection.recv(&mut buffer).await {
                    if len == 0 || connection.send(&buffer[..len]).await.is_err() {
                        break;
                    }
                }
                let _ = connection.close().await;
            });
        }
    })
}
