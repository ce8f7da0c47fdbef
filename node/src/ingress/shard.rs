//! One shard: a thread with sockets, timers, connections and endpoints of its own.
//!
//! ```text
//!  sockets ─ receive ─► route ─► connections ─► endpoints
//!  sockets ◄─ send ──── outbox ◄─────┴──────────────┘
//!  timers ─ due ─► connections, endpoints        inbox ─► endpoints
//! ```

use std::{rc::Rc, sync::Arc};

use actix::Arbiter;
use godwit_dtls::nonce::NonceSource;

use super::{
    mmsg::{BATCH, RecvBatch, SendBatch},
    route::Router,
    socket::{BoundSocket, Socket},
};
use crate::{
    clock,
    connection::{
        Connections, Place,
        secure::{Ground, settings::Settings},
    },
    endpoint::neighbours::Neighbours,
    endpoint::{Endpoints, Process, ShardMessage},
    metrics::{self, cluster::Path, labels::DropReason},
    shard::{
        ShardId, Target,
        listener::Listener,
        outbox::{Outbox, SocketId},
        timers::Timers,
    },
};

/// What a shard needs where DTLS is spoken.
pub struct Security {
    /// What the process shares.
    pub settings: Arc<Settings>,
    /// The nonces of the shard's own lane.
    pub nonces: NonceSource,
}

/// Starts a shard on a thread of its own. `sockets` are its sockets, one for each listening address; those for DTLS are
/// deaf without `security`. `died` is called when the thread ends before the process does.
pub fn start(
    shard: ShardId,
    process: Arc<Process>,
    coap: Arc<godwit_coap::Config>,
    security: Option<Security>,
    sockets: Vec<BoundSocket>,
    died: impl Fn() + Send + Sync + 'static,
) -> Arbiter {
    let arbiter = Arbiter::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the runtime of a shard can be made")
    });
    arbiter.spawn_fn(move || {
        let died: Arc<dyn Fn() + Send + Sync> = Arc::new(died);
        let guard = DeathBell(died.clone());
        run(shard, process, coap, security, sockets, died);
        // Lives as long as the thread's runtime.
        actix::spawn(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
    });
    arbiter
}

/// Rings when what holds it unwinds.
struct DeathBell(Arc<dyn Fn() + Send + Sync>);

impl Drop for DeathBell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)();
        }
    }
}

fn run(
    shard: ShardId,
    process: Arc<Process>,
    coap: Arc<godwit_coap::Config>,
    security: Option<Security>,
    sockets: Vec<BoundSocket>,
    died: Arc<dyn Fn() + Send + Sync>,
) {
    let metrics = Rc::new(metrics::Shard::new(usize::from(shard)));
    let timers = Rc::new(Timers::<Target>::new(clock::now()));
    let outbox = Rc::new(Outbox::new(sockets.len()));
    let bound: Box<[Listener]> =
        sockets.iter().map(|socket| Listener { address: socket.local(), kind: socket.kind }).collect();
    let kinds = bound.iter().map(|listener| listener.kind).collect();
    let ground = security
        .map(|Security { settings, nonces }| Ground::new(settings, shard, process.inboxes.shards(), nonces));
    let endpoints = Endpoints::new(process.clone(), shard, timers.clone(), metrics.clone());
    let connections = Connections::new(
        coap,
        outbox.clone(),
        timers.clone(),
        endpoints.clone(),
        metrics.clone(),
        ground.clone(),
        bound,
    );
    endpoints.attach(connections.clone());
    let router = Router::new(
        shard,
        process.clone(),
        connections.clone(),
        endpoints.clone(),
        metrics.clone(),
        kinds,
        ground.clone(),
    );
    let sockets: Rc<[Socket]> = sockets
        .into_iter()
        .map(|socket| socket.attach().expect("a bound socket can be watched by a new runtime"))
        .collect();
    for index in 0..sockets.len() {
        vital(&died, receive(sockets.clone(), index, router.clone(), metrics.clone()));
    }
    let relaying = outbox.clone();
    let neighbours = process.neighbours.clone();
    vital(&died, send(sockets, outbox, metrics, neighbours));
    let revoking = connections.clone();
    vital(&died, fire(timers, connections, endpoints.clone()));
    let publishing = endpoints.clone();
    vital(&died, async move { publishing.publish().await });
    let watched = endpoints.clone();
    vital(&died, async move { watched.watch_pulse().await });
    let starting = endpoints.clone();
    vital(&died, async move { starting.start_waiting().await });
    vital(&died, async move {
        loop {
            for message in process.inboxes.of(shard).take().await {
                match message {
                    ShardMessage::Datagram(arrived) => router.take(&arrived),
                    ShardMessage::Presented(presented) => router.present(*presented),
                    ShardMessage::Relayed(datagrams) => {
                        datagrams.into_iter().for_each(|(socket, datagram)| relaying.push(socket, datagram));
                    }
                    ShardMessage::Revoked { device, version } => revoking.revoke(device, version),
                    ShardMessage::LanesExtended(until) => {
                        if let Some(ground) = &ground {
                            ground.extend_lane(until);
                        }
                    }
                    message => endpoints.handle(message),
                }
            }
        }
    });
}

/// Runs one of the tasks without which the shard is deaf: a panic in it ends the process, as the thread's would.
fn vital(died: &Arc<dyn Fn() + Send + Sync>, task: impl Future<Output = ()> + 'static) {
    let bell = DeathBell(died.clone());
    actix::spawn(async move {
        let _bell = bell;
        task.await;
    });
}

async fn receive(sockets: Rc<[Socket]>, index: usize, router: Rc<Router>, metrics: Rc<metrics::Shard>) {
    let socket = &sockets[index];
    let id = SocketId(index as u8);
    let mut batch = RecvBatch::new();
    let mut overflow = 0;
    loop {
        let received = match socket.receive(&mut batch).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error of an earlier datagram, or a moment without memory: the socket goes on.
                tracing::debug!(%error, "receiving failed");
                tokio::task::yield_now().await;
                continue;
            }
        };
        metrics.datagrams_received.increment(received as u64);
        for datagram in (0..received).filter_map(|at| batch.datagram(at)) {
            if let Some(dropped) = datagram.overflow.filter(|dropped| *dropped != overflow) {
                metrics.socket_overflows.increment(u64::from(dropped.wrapping_sub(overflow)));
                overflow = dropped;
            }
            if datagram.truncated {
                metrics.datagrams_dropped[DropReason::Malformed].increment(1);
                continue;
            }
            let from = Place { socket: id, remote: datagram.from, local: datagram.to, via: None };
            router.route(from, datagram.bytes);
        }
        // The actors have their turn, and what they send leaves, before more is read. After a batch that is not full
        // they have it while the socket is waited for.
        if received == BATCH {
            tokio::task::yield_now().await;
        }
    }
}

async fn send(
    sockets: Rc<[Socket]>,
    outbox: Rc<Outbox>,
    metrics: Rc<metrics::Shard>,
    neighbours: Arc<dyn Neighbours>,
) {
    let mut batch = SendBatch::new();
    let mut datagrams = Vec::new();
    loop {
        outbox.filled().await;
        for (index, socket) in sockets.iter().enumerate() {
            outbox.swap(SocketId(index as u8), &mut datagrams);
            if datagrams.is_empty() {
                continue;
            }
            let failed = socket.send(&mut batch, &datagrams) as u64;
            metrics.datagrams_sent.increment(datagrams.len() as u64 - failed);
            metrics.datagrams_dropped[DropReason::SendFailed].increment(failed);
            datagrams.clear();
        }
        let relayed = outbox.take_relayed();
        if !relayed.is_empty() {
            metrics.cluster.paths[Path::Returned].increment(relayed.len() as u64);
            neighbours.transmit(relayed);
        }
    }
}

async fn fire(timers: Rc<Timers<Target>>, connections: Rc<Connections>, endpoints: Rc<Endpoints>) {
    loop {
        timers.due().await;
        let now = clock::now();
        while let Some(target) = timers.pop_due(now) {
            match target {
                Target::Connection(key) => connections.deadline(key),
                Target::Endpoint(key) => endpoints.deadline(key),
            }
        }
    }
}

/// Binds the sockets of all shards: one list of sockets for each shard.
///
/// # Errors
/// Where, and what the kernel says of it.
pub fn bind_all(
    listen: &[Listener],
    shards: usize,
    receive_buffer: usize,
) -> Result<Vec<Vec<BoundSocket>>, (Listener, std::io::Error)> {
    let mut of_shards: Vec<Vec<BoundSocket>> = (0..shards).map(|_| Vec::new()).collect();
    for listener in listen {
        let sockets = super::socket::bind(listener.address, listener.kind, shards, receive_buffer)
            .map_err(|error| (*listener, error))?;
        for (of_shard, socket) in of_shards.iter_mut().zip(sockets) {
            of_shard.push(socket);
        }
    }
    Ok(of_shards)
}
