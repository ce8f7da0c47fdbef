//! What the node keeps and what it gives out: store, sink, admin API.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Redis, Secret, size, span};
use crate::callers::Role;

/// Where registrations, observations and operations live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Kind of store. `embedded` keeps everything in the data directory; `redis` in a Redis that the nodes of a cluster share;
    /// `memory` forgets at exit, for tests.
    pub kind: StoreKind,
    /// Of the embedded store: `none` survives a killed process; `group` also survives power loss, at one fsync per batch of
    /// commits.
    pub fsync: Fsync,
    /// Key that seals secrets at rest: 32 bytes in 64 hexadecimal digits. Two in rotation: the first is used, both
    /// are accepted. Unset: the embedded store makes one in the data directory, `secrets/store.key`; with Redis it must be
    /// given, the same to all nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal_key: Option<Secret<String>>,
    /// File that holds `seal_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub seal_key_file: Option<PathBuf>,
    /// Use a Redis without data: at the first start of a cluster, or after its Redis was emptied on purpose. Otherwise a node that
    /// meets one is not ready, for it may be the wrong one, or have lost everything.
    pub allow_empty: bool,
    /// The Redis of `store.kind = "redis"`.
    pub redis: Redis,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            kind: StoreKind::Embedded,
            fsync: Fsync::Group,
            seal_key: None,
            seal_key_file: None,
            allow_empty: false,
            redis: Redis::default(),
        }
    }
}

/// Kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum StoreKind {
    /// A folder in the data directory.
    Embedded,
    /// A Redis that nodes share.
    Redis,
    /// Nothing on disk.
    Memory,
}

/// Where telemetry goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sink {
    /// Kind of sink. `stdout` and `file` are newline-delimited JSON; `stdout` is not durable, `file` is written before
    /// the device gets its acknowledgement, so that it survives `kill -9`. With `kafka` all in-sync replicas have the
    /// record before the acknowledgement.
    pub kind: SinkKind,
    /// Records waiting for the sink. Beyond it new ones are refused, and their devices repeat them; for `stdout` they
    /// are dropped and counted, so that a reader who looks away stops no device.
    #[serde(with = "size")]
    #[schemars(with = "size::Shape")]
    pub queue: u64,
    /// Settings of the `file` sink.
    pub file: FileSink,
    /// Settings of the `kafka` sink.
    pub kafka: Kafka,
}

impl Default for Sink {
    fn default() -> Self {
        Self { kind: SinkKind::Stdout, queue: 64 << 20, file: FileSink::default(), kafka: Kafka::default() }
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
    /// Topics of Apache Kafka.
    Kafka,
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

/// The Kafka sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// Brokers to begin with, `host:port`.
    pub brokers: Vec<String>,
    /// Beginning of the topics' names: `<prefix>telemetry`, `<prefix>attributes`, `<prefix>events` and
    /// `<prefix>operations`.
    pub topic_prefix: String,
    /// What a record must have reached before its device gets the acknowledgement: `kafka`, all in-sync replicas; `spool`, those
    /// within `sink.kafka.spool.budget`, or else the spool's disk. With `spool` devices go on while Kafka is away or slow. Its
    /// folder must outlive the process: what is lost with it was acknowledged.
    pub ack_after: AckAfter,
    /// The journal of what was acknowledged and is not in Kafka yet.
    pub spool: Spool,
    /// What values of messages are: `json`, as the file sink has it in `data`, or `protobuf`, the messages of
    /// `godwit.events.v1`.
    pub values: KafkaValues,
    /// Where records go that are not for the topics above: each is a `topic` with the `profile` or the `object` (or both) that it is
    /// for, `{ topic = "meters", profile = "meter" }`. Values that match several go to all of them, and are acknowledged when all
    /// have them. One with `required = false` gets a copy, which no device waits for and no spool keeps.
    #[schemars(extend("x-shape" = "a list of tables"))]
    pub routes: Vec<Route>,
    /// Publish payloads as devices sent them, too, to `<prefix>raw`: the value is the payload, of the type that `content-type` names.
    /// Devices wait for those of notifications and Sends as for the other records, and nobody for those of answers.
    pub raw: bool,
    /// How long a record may wait for others of its partition: more per request cost less CPU.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub linger: Duration,
    /// Make topics that are missing at the start, as `sink.kafka.topics` says.
    pub create_topics: bool,
    /// How topics are made.
    pub topics: KafkaTopics,
    /// Folder of records that Kafka will never take: too large, no such topic, not authorised. A relative one is below
    /// the data directory.
    #[schemars(extend("x-shape" = "a path"))]
    pub dead_letters: PathBuf,
    /// Speak TLS; also by `ca_file` or `cert_file`.
    pub tls: bool,
    /// Authorities of the brokers' certificates, PEM. Unset: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub ca_file: Option<PathBuf>,
    /// The node's own certificate chain, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub cert_file: Option<PathBuf>,
    /// The private key of `cert_file`, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret<String>>,
    /// File that holds `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub key_file: Option<PathBuf>,
    /// How the node authenticates: `plain`, `scram-sha-256` or `scram-sha-512`. Unset: not by SASL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl_mechanism: Option<SaslMechanism>,
    /// User for SASL.
    pub username: String,
    /// Password for SASL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret<String>>,
    /// File that holds `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub password_file: Option<PathBuf>,
    /// Any other setting of librdkafka by its name, `sink.kafka.settings.compression.type = "lz4"`. Those that carry the
    /// promise (idempotence, acks, no time-out) can't be changed. Values are never shown, because some are passwords.
    #[schemars(extend("x-shape" = "a table of texts"))]
    pub settings: BTreeMap<String, Secret<String>>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            topic_prefix: "godwit.".to_owned(),
            ack_after: AckAfter::Kafka,
            spool: Spool::default(),
            values: KafkaValues::Json,
            routes: Vec::new(),
            raw: false,
            linger: Duration::from_millis(5),
            create_topics: false,
            topics: KafkaTopics::default(),
            dead_letters: PathBuf::from("dead-letters"),
            tls: false,
            ca_file: None,
            cert_file: None,
            key: None,
            key_file: None,
            sasl_mechanism: None,
            username: String::new(),
            password: None,
            password_file: None,
            settings: BTreeMap::new(),
        }
    }
}

/// When devices get their acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AckAfter {
    /// Kafka has the record.
    Kafka,
    /// Kafka has the record, or soon the spool.
    Spool,
}

/// The form of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum KafkaValues {
    /// JSON.
    Json,
    /// Protobuf.
    Protobuf,
}

/// A topic for some values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its whole name.
    pub topic: String,
    /// Values of devices of this profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Values of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<u16>,
    /// Whether devices wait until it has them. If not, it gets copies: values go on to the other topics as well, and a copy that can't
    /// be delivered is lost.
    #[serde(default = "required")]
    pub required: bool,
}

fn required() -> bool {
    true
}

/// The Kafka sink's spool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// Its folder, on a disk that outlives the process. A relative one is below the data directory.
    #[schemars(extend("x-shape" = "a path"))]
    pub dir: PathBuf,
    /// What it may hold. Beyond, devices are not acknowledged. The files may take up to twice as much until they are
    /// compacted.
    #[serde(with = "size")]
    #[schemars(with = "size::Shape")]
    pub limit: u64,
    /// How long Kafka may take before the spool takes a record. A device repeats itself after 2 s.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub budget: Duration,
}

impl Default for Spool {
    fn default() -> Self {
        Self { dir: PathBuf::from("spool"), limit: 1 << 30, budget: Duration::from_millis(1500) }
    }
}

/// Topics that the node makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaTopics {
    /// Partitions of each.
    #[schemars(range(min = 1))]
    pub partitions: u16,
    /// Replicas of each partition; from 3 on, `min.insync.replicas` is 2.
    #[schemars(range(min = 1))]
    pub replication: u8,
    /// How long records are kept.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub retention: Duration,
}

impl Default for KafkaTopics {
    fn default() -> Self {
        Self { partitions: 12, replication: 3, retention: Duration::from_hours(7 * 24) }
    }
}

/// Mechanism of SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum SaslMechanism {
    /// The password itself; over TLS only.
    Plain,
    /// RFC 7677.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// RFC 7677 with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
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
