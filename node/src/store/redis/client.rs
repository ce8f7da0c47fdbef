//! The way to Redis, for all that keep something in it: connections, the keys' prefix, scripts.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::{self, ThreadId},
};

use tokio::{
    runtime,
    sync::{oneshot, watch},
};

use super::{
    link::Link,
    topology::{SettingsError, Topology},
};
use crate::{
    config::Redis,
    store::{StoreError, StoreFuture},
};

/// A client of the configured Redis. A clone is the same client.
///
/// Each thread that runs an actix arbiter has connections of its own, whose drivers run on its runtime, so that no request
/// crosses threads; all other threads share those of one thread that the client starts when it is first needed.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    prefix: String,
    wait_replicas: u32,
    wait_ms: u64,
    topology: Topology,
    /// Counts connections that were lost, and those made in their place.
    losses: watch::Sender<u64>,
    links: Mutex<HashMap<(ThreadId, Purpose), Link>>,
    background: OnceLock<Result<Background, StoreError>>,
}

/// What a connection is for: one behind another waits until that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Requests that are answered at once.
    Requests,
    /// Writes that wait until replicas have them.
    Replicated,
}

/// The runtime of all threads without one that lasts.
struct Background {
    thread: ThreadId,
    handle: runtime::Handle,
    /// Dropped, it ends the thread.
    _end: oneshot::Sender<()>,
}

impl Client {
    /// A client with these settings. Nothing is connected yet.
    ///
    /// # Errors
    /// When a file can't be read, or a setting can't be used.
    pub fn new(settings: &Redis) -> Result<Self, SettingsError> {
        Ok(Self(Arc::new(Inner {
            prefix: format!("{}:", settings.prefix),
            wait_replicas: settings.wait_replicas,
            wait_ms: u64::try_from(settings.timeout.as_millis() / 2).unwrap_or(u64::MAX).max(1),
            topology: Topology::new(settings)?,
            losses: watch::Sender::new(0),
            links: Mutex::default(),
            background: OnceLock::new(),
        })))
    }

    /// The key of this name: with the prefix before it.
    #[must_use]
    pub fn key(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        [self.0.prefix.as_bytes(), name.as_ref()].concat()
    }

    /// Starts a task on the runtime of this thread, or of the client's own where this one has none that lasts, and hands it
    /// that thread's link. The task runs on even if nobody waits for its answer.
    pub fn run<T, F>(&self, purpose: Purpose, task: impl FnOnce(Link) -> F) -> StoreFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (thread, handle) = match self.place() {
            Ok(place) => place,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let answer = task(self.link(thread, purpose));
        let (sender, receiver) = oneshot::channel();
        handle.spawn(async move {
            // The caller may have stopped waiting.
            sender.send(answer.await).ok();
        });
        let ended = || StoreError::Unavailable("the thread of the request has ended".to_owned());
        Box::pin(async move { receiver.await.unwrap_or_else(|_| Err(ended())) })
    }

    /// Counts up when a connection is lost, and when one is made in its place.
    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        self.0.losses.subscribe()
    }

    /// How many replicas a write on [`Purpose::Replicated`] waits for, and how long, in milliseconds.
    pub(super) fn replicas(&self) -> (u32, u64) {
        (self.0.wait_replicas, self.0.wait_ms)
    }

    /// What a connection is for that carries a write for which replicas may be waited.
    pub(super) fn weighty(&self) -> Purpose {
        if self.0.wait_replicas == 0 { Purpose::Requests } else { Purpose::Replicated }
    }

    fn place(&self) -> Result<(ThreadId, runtime::Handle), StoreError> {
        if actix::Arbiter::try_current().is_some()
            && let Ok(handle) = runtime::Handle::try_current()
        {
            return Ok((thread::current().id(), handle));
        }
        let background = self.0.background.get_or_init(Background::start).as_ref();
        background.map(|it| (it.thread, it.handle.clone())).map_err(Clone::clone)
    }

    fn link(&self, thread: ThreadId, purpose: Purpose) -> Link {
        let mut links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
        links
            .entry((thread, purpose))
            .or_insert_with(|| Link::new(self.0.topology.clone(), self.0.losses.clone()))
            .clone()
    }
}

impl Background {
    fn start() -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| StoreError::Unavailable(error.to_string());
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("redis".into()).spawn(move || {
            runtime.block_on(async {
                ended.await.ok();
            });
        });
        Ok(Self { thread: thread.map_err(failed)?.thread().id(), handle, _end: end })
    }
}
