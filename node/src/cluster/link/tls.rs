//! Who may be a peer: whoever has a certificate of the cluster's authority in the cluster's name.

use std::{fs, io, net::SocketAddr, path::PathBuf};

use thiserror::Error;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::config;

/// Why nodes can't speak with each other.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Not loopback, and no TLS.
    #[error("cluster.{setting} {address} is not loopback: set cluster.tls.cert_file, key_file and ca_file")]
    Plaintext {
        /// The setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
    },
    /// Some of certificate, key and authority.
    #[error("cluster.tls: cert_file, key (or key_file) and ca_file go together")]
    Incomplete,
    /// A file can't be read.
    #[error("cluster.tls: {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Key material of the links, for both directions; none: plaintext on loopback.
#[derive(Clone)]
pub struct Tls(Option<Material>);

#[derive(Clone)]
struct Material {
    identity: Identity,
    authority: Certificate,
    /// The name that every node's certificate carries.
    name: String,
}

impl Tls {
    /// Plaintext, for tests on loopback.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// As configured. Peers' certificates must chain to `cluster.tls.ca_file` and carry `cluster.name`.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn open(cluster: &config::Cluster) -> Result<Self, TlsError> {
        let tls = &cluster.tls;
        let key = match (&tls.key, &tls.key_file) {
            (Some(key), _) => Some(key.expose().clone().into_bytes()),
            (None, Some(path)) => Some(read(path)?),
            (None, None) => None,
        };
        let (certificate, key, authority) = match (&tls.cert_file, key, &tls.ca_file) {
            (Some(certificate), Some(key), Some(authority)) => (read(certificate)?, key, read(authority)?),
            (None, None, None) => {
                let advertised = cluster.advertised();
                for (setting, address) in [("listen", cluster.listen), ("advertise", advertised)] {
                    if !address.ip().to_canonical().is_loopback() {
                        return Err(TlsError::Plaintext { setting, address });
                    }
                }
                return Ok(Self::off());
            }
            _ => return Err(TlsError::Incomplete),
        };
        Ok(Self(Some(Material {
            identity: Identity::from_pem(certificate, key),
            authority: Certificate::from_pem(authority),
            name: cluster.name.clone(),
        })))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn client(&self) -> Option<ClientTlsConfig> {
        let Material { identity, authority, name } = self.0.clone()?;
        Some(ClientTlsConfig::new().identity(identity).ca_certificate(authority).domain_name(name))
    }

    pub(super) fn server(&self) -> Option<ServerTlsConfig> {
        let Material { identity, authority, .. } = self.0.clone()?;
        Some(ServerTlsConfig::new().identity(identity).client_ca_root(authority))
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::File { path: path.clone(), error })
}
