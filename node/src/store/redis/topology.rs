//! Where Redis is: one server, a master that Sentinels name, or a Redis Cluster; and how a connection to it is made.

use std::{fs, io, path::PathBuf, sync::Arc};

use redis::{
    AsyncConnectionConfig, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::config::{Redis, RedisMode, Secret};

/// What is wrong with the settings of a Redis.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A file of a secret or a certificate.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// What the client refuses.
    #[error("{0}")]
    Refused(String),
}

impl From<RedisError> for SettingsError {
    fn from(error: RedisError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// How connections are made.
#[derive(Clone)]
pub(super) enum Topology {
    Single(redis::Client, AsyncConnectionConfig),
    /// Asks the Sentinels anew for each connection, one after the other.
    Sentinel(Arc<Mutex<SentinelClient>>, AsyncConnectionConfig),
    Cluster(ClusterClient),
}

/// A connection that many requests share: a clone is the same connection.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Topology {
    /// Of these settings.
    pub(super) fn new(settings: &Redis) -> Result<Self, SettingsError> {
        let tls = &settings.tls;
        let certificates = tls.enabled.then(|| certificates(settings)).transpose()?;
        let user = user(settings.username.as_deref(), &settings.password, settings.password_file.as_ref())?;
        let addresses = settings.addresses.iter().filter_map(|address| {
            let (host, port) = Redis::host_and_port(address)?;
            Some((host.to_owned(), port))
        });
        let addresses: Vec<ConnectionAddr> = addresses
            .map(|(host, port)| match tls.enabled {
                true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
                false => ConnectionAddr::Tcp(host, port),
            })
            .collect();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.timeout));
        Ok(match settings.mode {
            RedisMode::Single => {
                let address = addresses.into_iter().next();
                let address = address.ok_or_else(|| SettingsError::Refused("no address".to_owned()))?;
                let info = info(address, user.set_db(settings.database.into()))?;
                let client = match certificates {
                    Some(certificates) => redis::Client::build_with_tls(info, certificates)?,
                    None => redis::Client::open(info)?,
                };
                Self::Single(client, config)
            }
            RedisMode::Sentinel => {
                let client = sentinel(settings, addresses, &user, certificates)?;
                Self::Sentinel(Arc::new(Mutex::new(client)), config)
            }
            RedisMode::Cluster => Self::Cluster(cluster(settings, addresses, &user, certificates)?),
        })
    }

    /// Makes a connection, whose driver runs on the runtime of the caller.
    pub(super) async fn connect(&self) -> RedisResult<Connection> {
        Ok(match self {
            Self::Single(client, config) => {
                Connection::One(client.get_multiplexed_async_connection_with_config(config).await?)
            }
            Self::Sentinel(client, config) => {
                Connection::One(client.lock().await.get_async_connection_with_config(config).await?)
            }
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        })
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl Connection {
    /// Which process of which history it leads to, as heartbeats name it; `None`: to several, or it does not say.
    pub(super) async fn process(&self) -> RedisResult<Option<String>> {
        if matches!(self, Self::Cluster(_)) {
            return Ok(None);
        }
        let (server, replication) = (info_of("server"), info_of("replication"));
        let texts = [self.clone().send(server).await?, self.clone().send(replication).await?];
        Ok(process_of(&texts[0], &texts[1]))
    }

    /// The same of each master of a Redis Cluster; of any other nothing.
    pub(super) async fn processes(&self) -> RedisResult<Vec<String>> {
        if !matches!(self, Self::Cluster(_)) {
            return Ok(Vec::new());
        }
        let all = self.clone().send_to_all(Cmd::new().arg("INFO").to_owned()).await?;
        Ok(all.iter().filter_map(|info| process_of(info, info)).collect())
    }

    /// Sends a command to where its key is.
    pub(super) async fn send(self, command: Cmd) -> RedisResult<Value> {
        match self {
            Self::One(mut connection) => connection.send_packed_command(&command).await,
            Self::Cluster(mut connection) => connection.req_packed_command(&command).await,
        }
    }

    /// Sends a command that names no key to the master of one.
    pub(super) async fn send_to(self, command: Cmd, key: &[u8]) -> RedisResult<Value> {
        match self {
            Self::One(mut connection) => connection.send_packed_command(&command).await,
            Self::Cluster(mut connection) => {
                let route = Route::new(slot(key), SlotAddr::Master);
                let node = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route));
                connection.route_command(command, node).await
            }
        }
    }

    /// Sends a command to every master, and answers each one's answer.
    pub(super) async fn send_to_all(self, command: Cmd) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(mut connection) => Ok(vec![connection.send_packed_command(&command).await?]),
            Self::Cluster(mut connection) => {
                let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                Ok(match connection.route_command(command, all).await? {
                    Value::Map(pairs) => pairs.into_iter().map(|(_, value)| value).collect(),
                    Value::Array(values) => values,
                    value => vec![value],
                })
            }
        }
    }
}

fn info_of(section: &str) -> Cmd {
    Cmd::new().arg("INFO").arg(section).to_owned()
}

/// `run_id/master_replid`, as lua/beat.lua writes it.
fn process_of(server: &Value, replication: &Value) -> Option<String> {
    let field = |info: &Value, name: &str| {
        let text = match info {
            Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
            Value::SimpleString(text) | Value::VerbatimString { text, .. } => text,
            _ => return None,
        };
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.trim().to_owned())
    };
    Some(format!("{}/{}", field(server, "run_id")?, field(replication, "master_replid")?))
}

fn info(address: ConnectionAddr, user: RedisConnectionInfo) -> RedisResult<ConnectionInfo> {
    Ok(address.into_connection_info()?.set_redis_settings(user))
}

fn user(
    name: Option<&str>,
    password: &Option<Secret<String>>,
    file: Option<&PathBuf>,
) -> Result<RedisConnectionInfo, SettingsError> {
    let mut user = RedisConnectionInfo::default();
    if let Some(password) = secret(password, file)? {
        user = user.set_password(password.expose());
        if let Some(name) = name {
            user = user.set_username(name);
        }
    }
    Ok(user)
}

/// A secret as the configuration gives it, without the line's end of a file.
fn secret(
    text: &Option<Secret<String>>,
    file: Option<&PathBuf>,
) -> Result<Option<Secret<String>>, SettingsError> {
    match (text, file) {
        (Some(text), _) => Ok(Some(text.clone())),
        (None, Some(path)) => {
            let text = read(path)?;
            let text = String::from_utf8(text).map_err(|_| SettingsError::File {
                path: path.clone(),
                source: io::Error::new(io::ErrorKind::InvalidData, "not a text"),
            })?;
            Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())))
        }
        (None, None) => Ok(None),
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, SettingsError> {
    fs::read(path).map_err(|source| SettingsError::File { path: path.clone(), source })
}

fn certificates(settings: &Redis) -> Result<TlsCertificates, SettingsError> {
    let tls = &settings.tls;
    let key = secret(&tls.key, tls.key_file.as_ref())?;
    let client_tls = match (&tls.cert_file, key) {
        (Some(cert), Some(key)) => {
            Some(ClientTlsConfig { client_cert: read(cert)?, client_key: key.expose().clone().into_bytes() })
        }
        _ => None,
    };
    Ok(TlsCertificates { client_tls, root_cert: tls.ca_file.as_ref().map(read).transpose()? })
}

fn sentinel(
    settings: &Redis,
    addresses: Vec<ConnectionAddr>,
    user: &RedisConnectionInfo,
    certificates: Option<TlsCertificates>,
) -> Result<SentinelClient, SettingsError> {
    let mut builder = SentinelClientBuilder::new(addresses, &settings.master, SentinelServerType::Master)?
        .set_client_to_redis_db(settings.database.into());
    if let Some(password) = user.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(name) = user.username() {
        builder = builder.set_client_to_redis_username(name);
    }
    let file = settings.sentinel_password_file.as_ref();
    if let Some(password) = secret(&settings.sentinel_password, file)? {
        builder = builder.set_client_to_sentinel_password(password.expose());
        if let Some(name) = &settings.sentinel_username {
            builder = builder.set_client_to_sentinel_username(name);
        }
    }
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    Ok(builder.build()?)
}

fn cluster(
    settings: &Redis,
    addresses: Vec<ConnectionAddr>,
    user: &RedisConnectionInfo,
    certificates: Option<TlsCertificates>,
) -> Result<ClusterClient, SettingsError> {
    let nodes = addresses.into_iter().map(|address| info(address, user.clone()));
    let mut builder = ClusterClientBuilder::new(nodes.collect::<RedisResult<Vec<_>>>()?)
        .connection_timeout(settings.connect_timeout)
        .response_timeout(settings.timeout)
        .overall_response_timeout(Some(settings.timeout))
        // Redirections, a slot that moves, a master that is being replaced: within the time of one answer.
        .retries(8)
        .min_retry_wait(20)
        .max_retry_wait(250);
    if let Some(certificates) = certificates {
        builder = builder.tls(TlsMode::Secure).certs(certificates);
    }
    Ok(builder.build()?)
}

/// The slot of a key: CRC-16 (XMODEM) of what its first braces hold, if they hold anything, else of the whole, modulo 16384.
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|from| {
        let rest = &key[from + 1..];
        let length = rest.iter().position(|byte| *byte == b'}').filter(|length| *length > 0)?;
        Some(&rest[..length])
    });
    let crc =
        tag.unwrap_or(key).iter().fold(0_u16, |crc, byte| {
            (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
                if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 }
            })
        });
    crc & 0x3fff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lies_where_redis_looks_for_it() {
        // The check value of CRC-16/XMODEM, and CLUSTER KEYSLOT.
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"gw:{dpu72e6kfgi7n7tnz}"), slot(b"dpu72e6kfgi7n7tnz"));
        assert_eq!(slot(b"foo{}{bar}"), 8_363, "empty braces are no tag");
    }
}
