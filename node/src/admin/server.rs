//! The gRPC server: checked at the start, drained at the end.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use godwit_proto::{
    DESCRIPTORS,
    v1::{
        cluster_service_server::ClusterServiceServer, device_service_server::DeviceServiceServer,
        model_service_server::ModelServiceServer, node_service_server::NodeServiceServer,
        operation_service_server::OperationServiceServer, profile_service_server::ProfileServiceServer,
        registration_service_server::RegistrationServiceServer, store_service_server::StoreServiceServer,
        telemetry_service_server::TelemetryServiceServer,
    },
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    service::Routes,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};

use super::{
    access::{AccessLayer, Gate},
    journal::Journal,
    room::{Parts, Room},
    service,
};
use crate::{
    callers::{Tokens, TokensError},
    config,
};

/// How long calls get to end once the node stops; streams and waiting commands end at once.
const GRACE: Duration = Duration::from_secs(5);

/// The largest request: an import of 1 MiB and room around it.
const MAX_REQUEST: usize = 4 << 20;

/// Why the admin API can't start or go on.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Not loopback, and no TLS.
    #[error(
        "admin.listen {0} is not loopback: set admin.tls.cert_file and key_file, or admin.allow_plaintext = true"
    )]
    Plaintext(SocketAddr),
    /// Not loopback, and everybody could do everything.
    #[error(
        "admin.listen {0} is not loopback: set admin.tokens_file, or admin.tls.client_ca_file for client certificates"
    )]
    Unauthenticated(SocketAddr),
    /// A certificate without a key, or the other way round.
    #[error("admin.tls: {0}")]
    Incomplete(&'static str),
    /// A file of the TLS settings can't be read.
    #[error("admin.tls: {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The tokens file can't be used.
    #[error("admin.tokens_file: {0}")]
    Tokens(#[from] TokensError),
    /// Certificate or key can't be used.
    #[error("admin.tls: {0}")]
    Tls(tonic::transport::Error),
    /// The address can't be listened on.
    #[error("admin.listen {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The server broke off.
    #[error("the admin API broke off: {0}")]
    Transport(tonic::transport::Error),
}

/// Connections that wait to be taken.
const BACKLOG: u32 = 1024;

/// The admin API with an address of its own, where connections are refused until it listens.
pub struct Admin {
    socket: TcpSocket,
    address: SocketAddr,
    tls: Option<ServerTlsConfig>,
    gate: Gate,
    parts: Parts,
}

/// The admin API, listening but not yet answering.
pub struct Listening {
    listener: TcpListener,
    tls: Option<ServerTlsConfig>,
    gate: Gate,
    parts: Parts,
}

/// Serves the admin API until `shutdown` ends, then for at most 5 s more.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    config: &config::Admin,
    parts: Parts,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    Admin::bind(config, parts)?.listen()?.run(shutdown).await
}

impl Admin {
    /// Checks the settings, reads their files and binds the address: what is wrong is wrong before the node begins
    /// to work. Nobody is kept waiting by a node that itself waits: callers are refused until [`Admin::listen`].
    ///
    /// # Errors
    /// See [`ServeError`].
    pub fn bind(config: &config::Admin, parts: Parts) -> Result<Self, ServeError> {
        let loopback = config.listen.ip().to_canonical().is_loopback();
        let tls = tls(&config.tls)?;
        if tls.is_none() && !loopback && !config.allow_plaintext {
            return Err(ServeError::Plaintext(config.listen));
        }
        let tokens = config.tokens_file.as_deref().map(Tokens::open).transpose()?;
        let gate = if tokens.is_some() || config.tls.client_ca_file.is_some() {
            Gate::Closed { tokens, certificate_role: config.client_role }
        } else if loopback {
            tracing::warn!(listen = %config.listen, "without admin.tokens_file every local caller is admin");
            Gate::Open
        } else {
            return Err(ServeError::Unauthenticated(config.listen));
        };
        let failed = |error| ServeError::Listen(config.listen, error);
        let socket = match config.listen {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = socket.map_err(failed)?;
        // A node that comes back takes the port that its last connections still close.
        socket.set_reuseaddr(true).map_err(failed)?;
        socket.bind(config.listen).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, tls, gate, parts })
    }

    /// Where it listens, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Lets callers connect.
    ///
    /// # Errors
    /// [`ServeError::Listen`]: somebody else began to listen there meanwhile.
    pub fn listen(self) -> Result<Listening, ServeError> {
        let Self { socket, address, tls, gate, parts } = self;
        let listener = socket.listen(BACKLOG).map_err(|error| ServeError::Listen(address, error))?;
        Ok(Listening { listener, tls, gate, parts })
    }
}

impl Listening {
    /// Answers until `shutdown` ends. Then streams and waiting commands end with `UNAVAILABLE`, and what else is
    /// under way gets 5 s.
    ///
    /// # Errors
    /// [`ServeError::Tls`], [`ServeError::Transport`].
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let (stop, stopping) = watch::channel(false);
        let journal = Journal::follow(self.parts.endpoints.watch());
        let room = Arc::new(Room::new(self.parts, journal, stopping));
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .tcp_nodelay(true);
        if let Some(tls) = self.tls {
            server = server.tls_config(tls).map_err(ServeError::Tls)?;
        }
        let (health, health_service) = tonic_health::server::health_reporter();
        let routes = routes(&room).add_service(health_service);
        let until = {
            let mut stop = stop.subscribe();
            async move {
                let _ = stop.wait_for(|stop| *stop).await;
            }
        };
        let serving = server
            .layer(AccessLayer::new(self.gate))
            .add_routes(routes)
            .serve_with_incoming_shutdown(TcpListenerStream::new(self.listener), until);
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return ended.map_err(ServeError::Transport),
            () = shutdown => {}
        }
        health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        stop.send_replace(true);
        match tokio::time::timeout(GRACE, serving).await {
            Ok(ended) => ended.map_err(ServeError::Transport),
            Err(_) => {
                tracing::warn!("calls of the admin API were cut off, their time was over");
                Ok(())
            }
        }
    }
}

/// Every service but health, which is the server's own.
fn routes(room: &Arc<Room>) -> Routes {
    let size = MAX_REQUEST;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let broken = "invariant: descriptors that were compiled in can be read";
    Routes::new(
        DeviceServiceServer::new(service::device::Devices(room.clone())).max_decoding_message_size(size),
    )
    .add_service(
        ProfileServiceServer::new(service::profile::Profiles(room.clone())).max_decoding_message_size(size),
    )
    .add_service(
        ModelServiceServer::new(service::model::ObjectModels(room.clone())).max_decoding_message_size(size),
    )
    .add_service(ClusterServiceServer::new(service::cluster::Cluster(room.clone())))
    .add_service(RegistrationServiceServer::new(service::registration::Registrations(room.clone())))
    .add_service(OperationServiceServer::new(service::operation::Operations(room.clone())))
    .add_service(NodeServiceServer::new(service::node::Nodes(room.clone())))
    .add_service(StoreServiceServer::new(service::store::Store(room.clone())))
    .add_service(TelemetryServiceServer::new(service::telemetry::Telemetry(room.clone())))
    .add_service(reflection().build_v1().expect(broken))
    .add_service(reflection().build_v1alpha().expect(broken))
}

fn tls(config: &config::Tls) -> Result<Option<ServerTlsConfig>, ServeError> {
    let key = match (&config.key, &config.key_file) {
        (Some(key), _) => Some(key.expose().clone().into_bytes()),
        (None, Some(path)) => Some(read(path)?),
        (None, None) => None,
    };
    let (certificate, key) = match (&config.cert_file, key) {
        (Some(path), Some(key)) => (read(path)?, key),
        (Some(_), None) => return Err(ServeError::Incomplete("cert_file needs key or key_file")),
        (None, Some(_)) => return Err(ServeError::Incomplete("a key needs cert_file")),
        (None, None) if config.client_ca_file.is_some() => {
            return Err(ServeError::Incomplete("client_ca_file needs cert_file and key_file"));
        }
        (None, None) => return Ok(None),
    };
    let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    if let Some(path) = &config.client_ca_file {
        tls = tls.client_ca_root(Certificate::from_pem(read(path)?));
    }
    Ok(Some(tls))
}

fn read(path: &Path) -> Result<Vec<u8>, ServeError> {
    fs::read(path).map_err(|error| ServeError::File { path: path.to_owned(), error })
}
