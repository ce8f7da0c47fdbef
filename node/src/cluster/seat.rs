//! A node's place in its cluster: listener, links, heartbeat and what follows the other nodes' news.

use std::{io, net::SocketAddr, sync::Arc, thread, time::Duration};

use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    heart::Heart,
    link::{self, Hub, Tls, TlsError},
    news::News,
};
use crate::{
    clock,
    config::Config,
    endpoint::{Process, Service},
    health::Readiness,
    identity::Owner,
    models::Models,
    ownership::Timings,
    shard::listener::Listener,
    store::{Lane, StoreError},
};

/// How long a node that stops answers what still comes, by way of its peers.
const LINGER: Duration = Duration::from_secs(15);

/// Why a node can't take its place.
#[derive(Debug, Error)]
pub enum SeatError {
    /// The address.
    #[error("`cluster.listen`: {0} can't be bound: {1}")]
    Bind(SocketAddr, io::Error),
    /// Mutual TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A place that is reserved: the port is bound, and nobody answers yet.
pub struct Reserved {
    hub: Arc<Hub>,
    listener: std::net::TcpListener,
}

impl Reserved {
    /// Binds the port and reads the keys.
    ///
    /// # Errors
    /// See [`SeatError`].
    pub fn new(config: &Config, owner: &Owner) -> Result<Self, SeatError> {
        let cluster = &config.cluster;
        let tls = Tls::open(cluster)?;
        let failed = |error| SeatError::Bind(cluster.listen, error);
        let listener = std::net::TcpListener::bind(cluster.listen).map_err(failed)?;
        let advertised = match cluster.advertise {
            Some(advertised) => advertised,
            None => listener.local_addr().map_err(failed)?,
        };
        let timings = Timings::scaled(cluster.timers_percent);
        Ok(Self { hub: Hub::new(owner.clone(), advertised, timings, tls), listener })
    }

    /// The other nodes, once they are known.
    #[must_use]
    pub fn hub(&self) -> Arc<Hub> {
        self.hub.clone()
    }

    /// Begins to answer peers.
    ///
    /// # Errors
    /// The thread of the links can't be made.
    pub fn take(
        self,
        service: &Service,
        readiness: &Readiness,
        listeners: Vec<Listener>,
    ) -> io::Result<Seat> {
        let (stop, stopped) = watch::channel(false);
        let Self { hub, listener } = self;
        let process = service.process().clone();
        let links = link::start(hub.clone(), service.clone(), listener, stopped)?;
        let heart = Heart::new(hub.clone(), process.clone(), readiness.clone(), listeners);
        Ok(Seat { hub, process, heart, links, stop, tasks: Vec::new() })
    }
}

/// A place that is taken.
pub struct Seat {
    hub: Arc<Hub>,
    process: Arc<Process>,
    heart: Arc<Heart>,
    links: thread::JoinHandle<()>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Seat {
    /// Joins the cluster. See [`Heart::join`].
    ///
    /// # Errors
    /// Lanes can't be taken.
    pub async fn join(
        &mut self,
        service: &Service,
        models: Arc<Models>,
        shards: u16,
    ) -> Result<Vec<Lane>, StoreError> {
        let lanes = self.heart.join(shards).await?;
        let changes = self.process.changes.subscribe();
        let operations = self.process.operations.subscribe();
        self.tasks = vec![
            tokio::spawn(self.heart.clone().run()),
            tokio::spawn(super::watch::tell(self.hub.clone(), changes)),
            tokio::spawn(super::watch::tell(self.hub.clone(), operations)),
            tokio::spawn(News::new(service.clone(), models).run()),
        ];
        Ok(lanes)
    }

    /// Gives all devices up, and goes on handing what comes for them to whoever has them, for as long as flows may still
    /// lead here and `within` allows.
    pub async fn drain(&self, service: &Service, within: Duration) {
        let begun = clock::now();
        self.heart.drain();
        if tokio::time::timeout(within, service.drain()).await.is_err() {
            tracing::warn!("not all devices were given up within node.drain_grace");
        }
        let scaled = LINGER.mul_f64(self.hub.members().timings().heartbeat.as_secs_f64() / 2.0);
        let linger = scaled.min(within).saturating_sub(begun.elapsed());
        if !self.hub.members().others(clock::boot()).is_empty() {
            tokio::time::sleep(linger).await;
        }
    }

    /// Leaves.
    pub fn leave(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        // Nobody listens any more when this fails.
        let _ = self.stop.send(true);
        if self.links.join().is_err() {
            tracing::error!("the thread of the links has died");
        }
    }
}
