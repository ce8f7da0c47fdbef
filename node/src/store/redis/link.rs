//! A thread's connection, made when it is first used and anew when it is lost.
//!
//! ```text
//! none ── first request ──► connecting ──► open ── lost: an I/O error, no answer in time, no longer a master ──► none
//!                               └── failed: none is made before the backoff is over, requests fail at once
//! ```

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::{Mutex, watch};

use super::{
    client::Client,
    script::Script,
    topology::{Connection, Topology},
};
use crate::{clock, store::StoreError};

/// Unanswered requests in a row after which a connection to a Redis Cluster is made anew. A master that is away leaves some
/// unanswered, a client that has locked itself up leaves all.
const WEDGED: u32 = 8;
/// The first wait after a connection could not be made, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// One connection that all requests of a thread share. A clone is the same link.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    topology: Topology,
    /// Told of each connection that is lost, and of each that took the place of a lost one.
    losses: watch::Sender<u64>,
    open: RwLock<Option<Open>>,
    /// Held while a connection is made, so that all that wait share it.
    making: Mutex<Making>,
}

#[derive(Clone)]
struct Open {
    number: u64,
    /// Which process of Redis it leads to, if that is one that says so.
    process: Option<Arc<str>>,
    connection: Connection,
    /// Requests in a row that were not answered in time.
    unanswered: Arc<AtomicU32>,
}

#[derive(Default)]
struct Making {
    made: u64,
    failures: u32,
    /// Nothing is tried before, and why.
    barred: Option<(Instant, StoreError)>,
}

impl Link {
    pub(super) fn new(topology: Topology, losses: watch::Sender<u64>) -> Self {
        Self(Arc::new(Inner { topology, losses, open: RwLock::default(), making: Mutex::default() }))
    }

    /// Sends a command and waits for its answer. Commands of one thread reach a server in the order in which their futures
    /// are first polled.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; whether the command was carried out is then unknown.
    pub async fn send(&self, command: Cmd) -> Result<Value, StoreError> {
        Ok(self.ask(command).await?)
    }

    /// Runs a script, which names one key alone: Redis Cluster refuses others while it moves a slot. A server that does
    /// not know the script is given it.
    ///
    /// # Errors
    /// As [`Link::send`].
    pub async fn script(&self, script: &Script, key: &[u8], args: &[&[u8]]) -> Result<Value, StoreError> {
        let call = |name: &str, script: &[u8]| {
            let mut command = Cmd::new();
            command.arg(name).arg(script).arg(1).arg(key).arg(args);
            command
        };
        match self.ask(call("EVALSHA", script.hash())).await {
            Err(Failure::Request(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.send(call("EVAL", script.source())).await
            }
            answer => Ok(answer?),
        }
    }

    /// Runs a script that may only be run by the process that answered the last heartbeat: another one, which has come since,
    /// may have forgotten something, and nobody here knows it yet.
    ///
    /// # Errors
    /// As [`Link::send`]; also if it is another process. Then nothing was carried out.
    pub(super) async fn script_by(
        &self,
        process: Option<&str>,
        script: &Script,
        key: &[u8],
        args: &[&[u8]],
    ) -> Result<Value, StoreError> {
        let other = |open: &Open| match (process, open.process.as_deref()) {
            (Some(known), Some(found)) => known != found,
            _ => false,
        };
        let open = self.open().await?;
        if other(&open) {
            self.give_up(open.number);
            return Err(StoreError::Unavailable("no heartbeat of this process of Redis yet".to_owned()));
        }
        let answer = self.script(script, key, args).await?;
        // It was made anew in between, which is not worth asking twice each time.
        match self.current().is_some_and(|now| other(&now)) {
            true => Err(StoreError::Unavailable("Redis was exchanged meanwhile".to_owned())),
            false => Ok(answer),
        }
    }

    /// Which processes are the masters of a Redis Cluster; of another Redis, or of one of which not all answer, nothing.
    pub(super) async fn masters(&self) -> Vec<String> {
        match self.open().await {
            Ok(open) => open.connection.processes().await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Sends a command to every master.
    pub(super) async fn send_to_all(&self, command: Cmd) -> Result<Vec<Value>, StoreError> {
        let open = self.open().await?;
        let answer = open.connection.clone().send_to_all(command).await;
        answer.map_err(|error| {
            self.judge(&open, &error);
            unavailable(&error)
        })
    }

    /// Waits until as many replicas as were asked for have what was written to the key's master over this link.
    ///
    /// # Errors
    /// As [`Link::send`], also when it took too long: the write was made, and may be lost with its master.
    pub(super) async fn wait_for_replicas(&self, client: &Client, key: &[u8]) -> Result<(), StoreError> {
        let (wanted, patience) = client.replicas();
        if wanted == 0 {
            return Ok(());
        }
        let mut wait = Cmd::new();
        wait.arg("WAIT").arg(wanted).arg(patience);
        let open = self.open().await?;
        let answer = open.connection.clone().send_to(wait, key).await;
        let answer = answer.inspect_err(|error| self.judge(&open, error));
        match answer.map_err(|error| unavailable(&error))? {
            Value::Int(had) if had >= i64::from(wanted) => Ok(()),
            _ => {
                Err(StoreError::Unavailable(format!("fewer than {wanted} replicas of Redis have the write")))
            }
        }
    }

    async fn ask(&self, command: Cmd) -> Result<Value, Failure> {
        let open = self.open().await.map_err(Failure::Connection)?;
        let answer = open.connection.clone().send(command).await.and_then(Value::extract_error);
        match &answer {
            Ok(_) => open.unanswered.store(0, Ordering::Relaxed),
            Err(error) => self.judge(&open, error),
        }
        answer.map_err(Failure::Request)
    }

    /// The connection, made if there is none.
    async fn open(&self) -> Result<Open, StoreError> {
        if let Some(open) = self.current() {
            return Ok(open);
        }
        let mut making = self.0.making.lock().await;
        if let Some(open) = self.current() {
            return Ok(open);
        }
        if let Some((until, error)) = &making.barred
            && clock::now() < *until
        {
            return Err(error.clone());
        }
        let made = match self.0.topology.connect().await {
            Ok(connection) => connection.process().await.or_else(forbidden).map(|it| (connection, it)),
            Err(error) => Err(error),
        };
        match made {
            Ok((connection, process)) => {
                if making.failures > 0 {
                    tracing::info!("connected to Redis again");
                }
                *making = Making { made: making.made + 1, ..Making::default() };
                if making.made > 1 {
                    self.0.losses.send_modify(|losses| *losses += 1);
                }
                let (process, unanswered) = (process.map(Arc::from), Arc::default());
                let open = Open { number: making.made, process, connection, unanswered };
                *self.0.open.write().unwrap_or_else(PoisonError::into_inner) = Some(open.clone());
                Ok(open)
            }
            Err(error) => {
                let wait = (BACKOFF.0 * 2_u32.saturating_pow(making.failures.min(8))).min(BACKOFF.1);
                let reason = reason(&error, true);
                if making.failures == 0 {
                    tracing::warn!(reason, "no connection to Redis");
                }
                making.failures += 1;
                let error = StoreError::Unavailable(reason);
                making.barred = Some((clock::now() + wait, error.clone()));
                Err(error)
            }
        }
    }

    fn current(&self) -> Option<Open> {
        self.0.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the connection up if this error says that it is of no use any more.
    fn judge(&self, open: &Open, error: &RedisError) {
        let cluster = self.0.topology.is_cluster();
        let wedged = error.is_timeout() && open.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= WEDGED;
        if (is_lost(error, cluster) || (cluster && wedged)) && self.give_up(open.number) {
            tracing::warn!(%error, "the connection to Redis is lost");
        }
    }

    /// Makes the connection anew at the next request, unless that was done already.
    fn give_up(&self, number: u64) -> bool {
        let mut open = self.0.open.write().unwrap_or_else(PoisonError::into_inner);
        let is_open = open.take_if(|open| open.number == number).is_some();
        if is_open {
            self.0.losses.send_modify(|losses| *losses += 1);
        }
        is_open
    }
}

/// A user that may not ask which process it is does without.
fn forbidden(error: RedisError) -> Result<Option<String>, RedisError> {
    if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() {
        Err(error)
    } else {
        Ok(None)
    }
}

/// Whether a connection on which this came is to be made anew. One without an answer is: a server that is gone without
/// a word looks like that. So is one to a master that has become a replica.
fn is_lost(error: &RedisError, cluster: bool) -> bool {
    if cluster {
        // It mends its connections itself, unless it has lost all of them, or answers nothing any more.
        return error.kind() == ErrorKind::ClusterConnectionNotFound || error.is_connection_dropped();
    }
    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
}

/// Why a request was not answered.
enum Failure {
    /// It was not sent.
    Connection(StoreError),
    Request(RedisError),
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Connection(error) => error,
            Failure::Request(error) => unavailable(&error),
        }
    }
}

/// What a failure of a request is to callers.
fn unavailable(error: &RedisError) -> StoreError {
    StoreError::Unavailable(reason(error, false))
}

/// What Redis or the way to it says, with the setting to look at where there is one; `connecting`: while a connection was made.
fn reason(error: &RedisError, connecting: bool) -> String {
    if error.is_timeout() {
        return match connecting {
            true => "Redis did not answer while a connection was made; see store.redis.addresses and \
                     store.redis.tls.enabled"
                .into(),
            false => "Redis did not answer within store.redis.timeout".into(),
        };
    }
    let text = error.to_string();
    // A client of a Redis Cluster, or of Sentinels, wraps what the servers said.
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let hint = if says(&["AuthenticationFailed", "NOAUTH", "WRONGPASS"]) {
        "; see store.redis.username and store.redis.password"
    } else if error.code() == Some("NOPERM") || says(&["NoPerm"]) {
        "; docs/redis.md lists what store.redis.username needs"
    } else if says(&["invalid peer certificate"]) {
        "; see store.redis.tls.ca_file and the names in store.redis.addresses"
    } else if says(&["fatal alert"]) {
        "; see store.redis.tls"
    } else if error.kind() == ErrorKind::MasterNameNotFoundBySentinel {
        "; see store.redis.master"
    } else if says(&["cluster support disabled", "not point to a sentinel"])
        || matches!(error.code(), Some("MOVED" | "CROSSSLOT"))
    {
        "; see store.redis.mode"
    } else {
        match error.code() {
            Some("OOM") => "; raise its maxmemory",
            Some("MISCONF") => "; its disk may be full",
            _ if connecting && says(&["reset by peer", "unexpected end of file", "eof"]) => {
                "; see store.redis.addresses and store.redis.tls.enabled"
            }
            _ if connecting => "; see store.redis.addresses",
            _ => "",
        }
    };
    let text = text.replace(" - AuthenticationFailed", "").replace('"', "");
    format!("Redis: {}{hint}", text.trim_end_matches('.'))
}
