//! The configuration: defaults < preset < file < environment < flags.
//!
//! A struct per part, with its defaults beside it; the reference in `docs/configuration.md` and the JSON Schema are
//! generated from these structs and their comments.

mod check;
mod contents;
mod data_dir;
mod decimal;
mod fault;
pub mod keyring;
mod keys;
mod load;
mod node;
mod outputs;
mod print;
mod redis;
mod reference;
mod secret;
mod security;
mod server;
pub mod size;
mod source;
pub mod span;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use data_dir::{DataDir, DataDirError};
pub use fault::{Fault, Faults, Problem};
pub use keys::{Key, Section, schema, sections};
pub use load::{Inputs, Loaded, load};
pub use node::{Cluster, ClusterTls, Log, LogFormat, Metrics, Node};
pub use outputs::{
    AckAfter, Admin, FileSink, Fsync, Kafka, KafkaTopics, KafkaValues, Route, SaslMechanism, Sink, SinkKind,
    Spool, Store, StoreKind, Tls,
};
pub use print::print;
pub use redis::{Redis, RedisMode, RedisTls};
pub use reference::reference;
pub use secret::{REDACTED, Secret};
pub use security::{Dtls, Ems, Identity, Mode, Modes, ReplayFloor, Security, Suite};
pub use server::{Coap, Limits, Registration, Server};
pub use source::{PRESETS, Source};

/// Every setting of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Identity and place of this process.
    pub node: Node,
    /// The LwM2M server's sockets.
    pub server: Server,
    /// DTLS 1.2 towards devices.
    pub dtls: Dtls,
    /// Transmission parameters of CoAP (RFC 7252 §4.8).
    pub coap: Coap,
    /// How devices prove who they are, and how the server does.
    pub security: Security,
    /// How devices come to be registered, and for how long.
    pub registration: Registration,
    /// Bounds on memory and work.
    pub limits: Limits,
    /// Where registrations, observations and operations live.
    pub store: Store,
    /// The cluster that this node belongs to.
    pub cluster: Cluster,
    /// Where telemetry goes.
    pub sink: Sink,
    /// The gRPC admin API.
    pub admin: Admin,
    /// Metrics and health.
    pub metrics: Metrics,
    /// The log, on standard error.
    pub log: Log,
}
