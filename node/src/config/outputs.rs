//! What the node keeps and what it gives out: store, sink, admin API.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, size};
use crate::admin::Role;

/// Where registrations, observations and operations live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Kind of store. `embedded` keeps everything in the data directory; `memory` forgets at exit, for tests.
    pub kind: StoreKind,
    /// `none` survives a killed process; `group` also survives power loss, at one fsync per batch of commits.
    pub fsync: Fsync,
    /// Key that seals secrets at rest: 32 bytes in 64 hexadecimal digits. Two in rotation: the first is used, both
    /// are accepted. Unset: the embedded store makes one in the data directory, `secrets/store.key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal_key: Option<Secret<String>>,
    /// File that holds `seal_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub seal_key_file: Option<PathBuf>,
}

impl Default for Store {
    fn default() -> Self {
        Self { kind: StoreKind::Embedded, fsync: Fsync::Group, seal_key: None, seal_key_file: None }
    }
}

/// Kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum StoreKind {
    /// A folder in the data directory.
    Embedded,
    /// Nothing on disk.
    Memory,
}

/// Where telemetry goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sink {
    /// Kind of sink, both in newline-delimited JSON. `stdout` is not durable; `file` is written before the device
    /// gets its acknowledgement, so that it survives `kill -9`.
    pub kind: SinkKind,
    /// Records waiting for the sink. Beyond it new ones are refused, and their devices repeat them; for `stdout` they
    /// are dropped and counted, so that a reader who looks away stops no device.
    #[serde(with = "size")]
    #[schemars(with = "size::Shape")]
    pub queue: u64,
    /// Settings of the `file` sink.
    pub file: FileSink,
}

impl Default for Sink {
    fn default() -> Self {
        Self { kind: SinkKind::Stdout, queue: 64 << 20, file: FileSink::default() }
    }
}

/// Kind of sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SinkKind {
    /// Standard output.
    Stdout,
    /// Rotating files.
    File,
}

/// The rotating file sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FileSink {
    /// Directory of the files. A relative one is below the data directory.
    #[schemars(extend("x-shape" = "a path"))]
    pub dir: PathBuf,
    /// Size at which a file is closed and the next one begun.
    #[serde(with = "size")]
    #[schemars(with = "size::Shape")]
    pub rotate_size: u64,
    /// Closed files that are kept; the oldest beyond are deleted. 0 keeps all: nothing acknowledged is deleted unasked.
    pub keep: u32,
    /// `none` survives a killed process; `group` also survives power loss, at one fsync per batch.
    pub fsync: Fsync,
}

impl Default for FileSink {
    fn default() -> Self {
        Self { dir: PathBuf::from("telemetry"), rotate_size: 256 << 20, keep: 0, fsync: Fsync::None }
    }
}

/// When files are synced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Fsync {
    /// Never.
    None,
    /// Once per batch, before its acknowledgements.
    Group,
}

/// The gRPC admin API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// TCP address of the gRPC services. On loopback without tokens every caller is admin, with a warning; elsewhere
    /// tokens or client certificates are required.
    #[schemars(extend("x-shape" = "an `address:port`"))]
    pub listen: SocketAddr,
    /// Allow gRPC without TLS on an address that is not loopback.
    pub allow_plaintext: bool,
    /// File of `name role sha256` lines: the caller's name, `read`, `operate` or `admin`, and the SHA-256 of its
    /// bearer token in hexadecimal, or `-` for a caller with a client certificate of that name. Read again when it
    /// has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub tokens_file: Option<PathBuf>,
    /// Role of a client certificate whose names `tokens_file` does not list: `read`, `operate` or `admin`.
    pub client_role: Role,
    /// TLS of the gRPC port.
    pub tls: Tls,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5690)),
            allow_plaintext: false,
            tokens_file: None,
            client_role: Role::Read,
            tls: Tls::default(),
        }
    }
}

/// Key material of a TLS server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// File of the server's certificate chain, PEM. With a key it turns TLS on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub cert_file: Option<PathBuf>,
    /// The server's private key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret<String>>,
    /// File that holds `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub key_file: Option<PathBuf>,
    /// File of the authorities that client certificates must chain to, PEM. Set, every caller needs one (mTLS).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub client_ca_file: Option<PathBuf>,
}
