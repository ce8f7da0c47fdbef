//! The process itself: identity, data directory, metrics port, log.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, span};

/// Identity and place of this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Name of this node, 1 to 63 letters, digits, `-`, `_` or `.`. Unset: the host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The one directory that the node writes in. It is locked: one process each.
    #[schemars(extend("x-shape" = "a path"))]
    pub data_dir: PathBuf,
    /// Longest time from SIGTERM to the end: the last 5 s (of less than 10 s the last half) are kept for telemetry under way, the
    /// time before for calls, exchanges and writes.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub drain_grace: Duration,
}

impl Default for Node {
    fn default() -> Self {
        Self { id: None, data_dir: PathBuf::from("godwit-data"), drain_grace: Duration::from_secs(30) }
    }
}

impl Node {
    /// The node's id: the setting, else the host name, else `godwit`.
    #[must_use]
    pub fn id(&self) -> String {
        self.id.clone().or_else(host_name).unwrap_or_else(|| "godwit".to_owned())
    }
}

fn host_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    is_node_id(&name).then_some(name)
}

/// Whether a text can name a node.
pub(super) fn is_node_id(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// The cluster that this node belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Name of the cluster in `ce_source` of telemetry records, 1 to 63 letters, digits, `-`, `_` or `.`.
    pub name: String,
    /// Secret that all nodes of the cluster share: 32 bytes in 64 hexadecimal digits. Cookies and Connection IDs are made
    /// under keys that are derived from it. Up to eight in rotation, each behind a generation from 0 to 7:
    /// `1:<digits> 0:<digits>`. The first is used, all are accepted; without a generation it is 0. Unset: a node with the
    /// embedded store makes one in the data directory, `secrets/cluster.key`; with Redis it must be given, the same to all
    /// nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret<String>>,
    /// File that holds `secret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub secret_file: Option<PathBuf>,
    /// TCP address for the other nodes. Off loopback it needs `cluster.tls`. Served where the store is shared.
    #[schemars(extend("x-shape" = "an `address:port`"))]
    pub listen: SocketAddr,
    /// Where the other nodes reach this one. Unset: `listen`, which then must be no wildcard.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "an `address:port`"))]
    pub advertise: Option<SocketAddr>,
    /// Mutual TLS between the nodes.
    pub tls: ClusterTls,
    /// Times of heartbeats, liveness and lanes, in percent of their defaults: heartbeats every 2 s, a member without one for
    /// 10 s is dead. The same on all nodes. 10 to 300.
    #[schemars(range(min = 10, max = 300))]
    pub timers_percent: u32,
}

impl Cluster {
    /// Where the other nodes reach this one.
    #[must_use]
    pub fn advertised(&self) -> SocketAddr {
        self.advertise.unwrap_or(self.listen)
    }
}

/// Key material for the links between nodes. Each node's certificate must carry `cluster.name` as a DNS name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterTls {
    /// File of the node's certificate chain, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub cert_file: Option<PathBuf>,
    /// The node's private key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret<String>>,
    /// File that holds `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub key_file: Option<PathBuf>,
    /// File of the authorities that the nodes' certificates must chain to, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub ca_file: Option<PathBuf>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: "godwit".to_owned(),
            secret: None,
            secret_file: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5691)),
            advertise: None,
            tls: ClusterTls::default(),
            timers_percent: 100,
        }
    }
}

/// Metrics and health, on one port of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// TCP address of `/metrics`, `/live` and `/ready`, plain HTTP.
    #[schemars(extend("x-shape" = "an `address:port`"))]
    pub listen: SocketAddr,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)) }
    }
}

/// The log, on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Least level, `error`, `warn`, `info`, `debug` or `trace`; or directives per module, such as
    /// `info,godwit::ingress=debug`. Device addresses appear at `debug` and below only.
    pub level: String,
    /// Shape of a line.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
