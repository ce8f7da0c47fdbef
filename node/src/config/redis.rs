//! The Redis that `store.kind = "redis"` keeps everything in.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, span};

/// The Redis of `store.kind = "redis"`, version 6.2 or later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// How Redis is run: `single`, one server; `sentinel`, a master that Sentinels name; `cluster`, Redis Cluster.
    pub mode: RedisMode,
    /// `host:port` of the server, of the Sentinels, or of some nodes of the Redis Cluster.
    pub addresses: Vec<String>,
    /// The master's name at the Sentinels.
    pub master: String,
    /// Database number; 0 in a Redis Cluster.
    #[schemars(range(max = 65535))]
    pub database: u32,
    /// What every key begins with, before a colon: Godwit clusters that share a Redis each have their own. 1 to 32 letters,
    /// digits, `-`, `_` or `.`.
    pub prefix: String,
    /// ACL user. Unset: Redis's default user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// That user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret<String>>,
    /// File that holds `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub password_file: Option<PathBuf>,
    /// ACL user at the Sentinels, whose passwords are their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_username: Option<String>,
    /// That user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password: Option<Secret<String>>,
    /// File that holds `sentinel_password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub sentinel_password_file: Option<PathBuf>,
    /// Longest time that a connection may take to be made.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub connect_timeout: Duration,
    /// Longest time that an answer may take. After it the connection is given up and made anew.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub timeout: Duration,
    /// Replicas that must have a registration, a credential or an operation before it counts as written (`WAIT`, on a connection
    /// of its own). 0 waits for none; then a master that dies may take the last writes with it.
    #[schemars(range(max = 8))]
    pub wait_replicas: u32,
    /// How long a node remembers what it wrote, to write it again to a Redis that comes back without it: after a failover, or from
    /// an older copy. Counts back from when Redis was last seen whole. Longer costs memory: about 1 KiB for each device that was
    /// claimed within it.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub remember: Duration,
    /// TLS towards Redis, and towards Sentinels.
    pub tls: RedisTls,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            mode: RedisMode::Single,
            addresses: vec!["127.0.0.1:6379".to_owned()],
            master: "mymaster".to_owned(),
            database: 0,
            prefix: "gw".to_owned(),
            username: None,
            password: None,
            password_file: None,
            sentinel_username: None,
            sentinel_password: None,
            sentinel_password_file: None,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(2),
            wait_replicas: 0,
            remember: Duration::from_mins(2),
            tls: RedisTls::default(),
        }
    }
}

/// How Redis is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum RedisMode {
    /// One server.
    Single,
    /// A master that Sentinels name.
    Sentinel,
    /// Redis Cluster.
    Cluster,
}

/// TLS of a client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisTls {
    /// Speak TLS.
    pub enabled: bool,
    /// File of the authorities that the server's certificate must chain to, PEM. Unset: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub ca_file: Option<PathBuf>,
    /// File of the node's own certificate chain, PEM, where the server asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub cert_file: Option<PathBuf>,
    /// The private key of that certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret<String>>,
    /// File that holds `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub key_file: Option<PathBuf>,
}

impl Redis {
    /// Host and port of an address: `host:port`, an IPv6 host in brackets.
    pub(crate) fn host_and_port(address: &str) -> Option<(&str, u16)> {
        let (host, port) = address.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(bracketed) => bracketed.strip_suffix(']')?,
            None => host,
        };
        let odd = |c: char| c.is_whitespace() || matches!(c, '/' | '@');
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (!host.is_empty() && !host.contains(odd)).then_some((host, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_host_and_a_port() {
        assert_eq!(Redis::host_and_port("redis.svc:6379"), Some(("redis.svc", 6379)));
        assert_eq!(Redis::host_and_port("[::1]:1"), Some(("::1", 1)));
        for odd in ["redis", ":1", "a:0", "a:b", "redis://a:1", "u@a:1", "[::1:1"] {
            assert_eq!(Redis::host_and_port(odd), None, "{odd}");
        }
    }
}
