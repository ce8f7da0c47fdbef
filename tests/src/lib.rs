//! What the whole-system tests share: real nodes, real clients, and ways to wait for what they do.
//!
//! Nothing here sleeps for a time and hopes: `wait` and its users wait for a condition, up to [`PATIENCE`], and say
//! what they saw when it never came. A part that a user's machine lacks (Java, Maven, coap-client) is a printed skip;
//! with `CI=true` it is a failure.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

mod admin;
mod binary;
mod checker;
mod cluster;
mod coap_client;
mod ctl;
mod exchanges;
mod fleet;
mod inbox;
mod journal;
mod kafka;
mod leshan;
mod load;
mod node;
mod pki;
mod proxy;
mod raw;
mod redis;
mod report;
mod scale;
mod secure;
mod security;
mod sink;
mod tap;
mod tcp_proxy;
mod transport;
mod wait;

pub use admin::{Admin, reason, value};
pub use checker::{Agreed, Checker, Seen};
pub use cluster::Cluster;
pub use coap_client::{coap_client, coap_client_openssl};
pub use ctl::{Ctl, Watch};
pub use exchanges::{Exchange, Stalls, percentile};
pub use fleet::Fleet;
pub use inbox::Inbox;
pub use journal::Journal;
pub use kafka::{AUTHORIZER, Foreign, Kafka, Message as KafkaMessage};
pub use leshan::{Client, Leshan};
pub use load::Load;
pub use node::{Node, Setup};
pub use pki::{Authority, Identity, pem};
pub use proxy::{Faults, Proxy};
pub use raw::{Message, Raw};
pub use redis::{Backup, Redis, RedisCluster, available as redis_available};
pub use report::report;
pub use scale::{
    Aborted, ClusterLoad, Hostile, KafkaCluster, KafkaFull, KafkaOutages, KafkaSlow, LoadKill, MixedFleet,
    Scale, Sessions,
};
pub use secure::Dtls;
pub use security::Security;
pub use sink::Sink;
pub use tap::{Datagram, read_pcap, write_pcap};
pub use tcp_proxy::TcpProxy;
pub use wait::{PATIENCE, wait, wait_for};

/// Says that a test is skipped for want of `what`; fails where `CI=true`.
pub fn skip(what: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what} is needed where CI=true");
    eprintln!("skipped: {what} is not here; `make install-test-deps` installs it");
}
