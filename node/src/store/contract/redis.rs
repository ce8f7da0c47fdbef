//! A real redis-server, and a real Redis Cluster of three masters, as subjects of the suite.

use std::sync::{Mutex, PoisonError, Weak};

use super::*;
use crate::{
    config::{Redis, RedisMode},
    store::redis::{Client, Clock, RedisStore},
};

#[path = "../../../../tests/src/redis.rs"]
#[allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, unreachable_pub)]
pub(crate) mod server;

/// A server that tests share while one of them runs.
pub(crate) struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The server; it is started if none runs.
    pub(crate) fn start(&self, start: impl FnOnce() -> T) -> Arc<T> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let server = Arc::new(start());
            *running = Arc::downgrade(&server);
            server
        })
    }
}

static SINGLE: Shared<server::Redis> = Shared::new();
static CLUSTER: Shared<server::RedisCluster> = Shared::new();

/// The servers that a subject keeps running.
#[derive(Clone)]
enum Server {
    Single(Arc<server::Redis>),
    Cluster(Arc<server::RedisCluster>),
}

/// A store with a prefix of its own.
pub(super) struct OnRedis {
    server: Server,
    settings: Redis,
    now: Arc<AtomicU64>,
    store: RedisStore,
}

impl OnRedis {
    pub(super) fn single() -> Option<Self> {
        // Durability is not the suite's matter, and costs time.
        let start = || SINGLE.start(|| server::Redis::with(&[]));
        server::available().then(|| Self::on(Server::Single(start())))
    }

    pub(super) fn cluster() -> Option<Self> {
        let start = || CLUSTER.start(server::RedisCluster::start);
        server::available().then(|| Self::on(Server::Cluster(start())))
    }

    fn on(server: Server) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (mode, addresses) = match &server {
            Server::Single(server) => (RedisMode::Single, vec![server.address()]),
            Server::Cluster(cluster) => (RedisMode::Cluster, cluster.addresses()),
        };
        let prefix = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let settings = Redis {
            mode,
            addresses,
            prefix,
            timeout: std::time::Duration::from_secs(20),
            ..Redis::default()
        };
        let now = Arc::new(AtomicU64::new(START));
        Self { store: open(&settings, &now), server, settings, now }
    }
}

fn open(settings: &Redis, now: &Arc<AtomicU64>) -> RedisStore {
    let now = Arc::clone(now);
    let clock: Clock = Arc::new(move || now.load(Ordering::SeqCst));
    RedisStore::with(Client::new(settings).unwrap(), Some(clock), true)
}

impl Subject for OnRedis {
    fn store(&self) -> &dyn StateStore {
        &self.store
    }

    fn advance(&mut self, ms: u64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
    }

    fn set_back(&mut self, ms: u64) {
        self.now.fetch_sub(ms, Ordering::SeqCst);
    }

    fn reopen(&mut self) {
        self.store = open(&self.settings, &self.now);
    }

    fn fresh(&self) -> Box<dyn Subject> {
        Box::new(Self::on(self.server.clone()))
    }

    fn cases(&self) -> u32 {
        match self.server {
            Server::Single(_) => 10,
            Server::Cluster(_) => 3,
        }
    }

    fn is_shared(&self) -> bool {
        true
    }
}
