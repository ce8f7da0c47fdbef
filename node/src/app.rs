//! The node: composes its rooms, serves, drains.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use godwit_dtls::nonce::NonceSource;
use godwit_lwm2m::registration::Policy;
use prost::Message;
use thiserror::Error;
use tokio::{net::TcpListener, sync::broadcast};

use crate::{
    admin,
    admission::{Admission, Budgets},
    clock,
    cluster::seat::{self, SeatError},
    config::{self, Config, DataDir, DataDirError, Fsync, Mode, ReplayFloor, Secret, StoreKind},
    connection::secure::settings as dtls,
    endpoint::{
        Directory, Inboxes, Process, Service, ShardMessage, SharedSets,
        neighbours::{Alone, Neighbours},
    },
    entropy,
    grace::Grace,
    health,
    identity::Owner,
    ingress::{self},
    keys::{self, ClusterKeys, Keys},
    metrics,
    models::Models,
    profile::{LoadError, ProfileRegistry, ProfileSource},
    reminders::Reminders,
    seal::Sealer,
    shard::listener::{Kind, Listener},
    store::{
        DocumentKey, Due, Lane, StateStore, StoreError, embedded,
        metered::Metered,
        redis::{self, RedisStore},
    },
    telemetry::{self, Outlet, Site},
};

/// Changes that a watcher may lag behind.
const WATCH_BACKLOG: usize = 4096;
/// How long a shard may take to answer `/live`: turns take milliseconds.
const STALLED: Duration = Duration::from_secs(5);
/// How often the store is asked for what is due.
const SWEEP: Duration = Duration::from_secs(1);
/// The same of a store that nodes share: each of them asks.
const SWEEP_SHARED: Duration = Duration::from_secs(5);
/// How often it is looked whether the nonces of the shards are to be extended.
const LANES_TICK: Duration = Duration::from_secs(1);
/// How long a starting node waits for its Redis.
const REDIS_PATIENCE: Duration = Duration::from_secs(30);
/// After so long any node sees to what is due, whoever's turn it was.
const OVERDUE: Duration = Duration::from_secs(15);
/// Devices that one sweep wakes at most.
const SWEEP_BATCH: usize = 1000;

/// Why the node did not start, or stopped.
#[derive(Debug, Error)]
pub enum AppError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The server's keys do not give a mode that `security.modes` lists.
    #[error(transparent)]
    Keys(#[from] keys::Unavailable),
    /// The embedded store, or the Redis.
    #[error("the store can't be opened: {0}")]
    Store(String),
    /// A stored thing that is needed at start.
    #[error("the store can't be read: {}", .0.reason())]
    Read(#[from] StoreError),
    /// The sink.
    #[error("the sink can't be opened: {0}")]
    Sink(io::Error),
    /// The admin API.
    #[error(transparent)]
    Admin(#[from] admin::ServeError),
    /// A listening address.
    #[error("`{setting}`: {address} can't be bound: {source}")]
    Bind {
        /// The setting.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// The place among the other nodes.
    #[error(transparent)]
    Seat(#[from] SeatError),
    /// The runtime or a signal handler.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A shard's thread has ended.
    #[error("a shard has died; see the log")]
    ShardDied,
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// See [`AppError`].
pub fn run(config: Config) -> Result<(), AppError> {
    let system = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the main runtime can be made")
    });
    system.block_on(serve(Arc::new(config)))
}

async fn serve(config: Arc<Config>) -> Result<(), AppError> {
    let mut stop = Stop::new()?;
    let exporter = metrics::install();
    let readiness = health::Readiness::new();
    let starting = readiness.hold("start");
    let shards = config.server.shard_count();
    // What may be refused is asked for first, so that a node that can't start changes nothing.
    let keys = Arc::new(Keys::open(config.clone())?);
    let receive_buffer = usize::try_from(config.server.receive_buffer).unwrap_or(usize::MAX);
    let security = keys.now();
    let listeners = listeners(&config, &security);
    let sockets =
        ingress::shard::bind_all(&listeners, shards, receive_buffer).map_err(|(listener, source)| {
            let Listener { address, kind } = listener;
            let setting = match kind {
                Kind::Plain => "server.listen",
                Kind::Dtls => "server.listen_dtls",
            };
            AppError::Bind { setting, address, source }
        })?;
    let owner = Owner { node: config.node.id().into(), boot: entropy::u64() };
    let metrics_listener = listen("metrics.listen", config.metrics.listen).await?;
    // From here on it may wait for others: whoever watches it hears that it lives, and it can be told to stop.
    let mut health = health::Port::open(metrics_listener, exporter, readiness.clone());
    let data_dir = DataDir::open(&config.node.data_dir)?;

    let models = Arc::new(Models::new());
    let Some(store) = stop.or(open_store(&config, &data_dir, &readiness, &models)).await else {
        return never_served(health, None).await;
    };
    let store = store?;
    let reserved = store.is_shared().then(|| seat::Reserved::new(&config, &owner)).transpose()?;
    let sealer = Arc::new(sealer(&data_dir.seal_keys(&config.store)?));
    let inboxes = Arc::new(Inboxes::new(shards));
    let sink = telemetry::sink::open(&config.sink, &config.node.data_dir, inboxes.clone())
        .map_err(AppError::Sink)?;
    let process = Arc::new(Process {
        policy: policy(&config),
        site: Arc::new(Site::new(&config.cluster.name, &owner.node)),
        owner,
        profiles: Arc::new(ProfileRegistry::new(StoredProfiles(store.clone()))),
        models: SharedSets::new(models.clone()),
        outlet: Outlet::new(sink),
        directory: Arc::new(Directory::default()),
        inboxes,
        neighbours: match &reserved {
            Some(reserved) => reserved.hub() as Arc<dyn Neighbours>,
            None => Arc::new(Alone),
        },
        changes: broadcast::channel(WATCH_BACKLOG).0,
        operations: broadcast::channel(WATCH_BACKLOG).0,
        draining: AtomicBool::new(false),
        empty_profile: crate::profile::builtin(crate::profile::DEFAULT).expect("invariant: built in"),
        store,
        sealer: sealer.clone(),
        config: config.clone(),
    });
    warn_of(&config, &sockets, &security);
    warn_of_strangers(&process).await;
    let service = Service::new(process.clone());
    let mut seat = match reserved {
        Some(reserved) => Some(reserved.take(&service, &readiness, bound(&sockets))?),
        None => None,
    };
    let drain = Arc::new(tokio::sync::Notify::new());
    let place = admin::Place {
        owner: process.owner.clone(),
        neighbours: process.neighbours.clone(),
        stop: drain.clone(),
    };
    let parts = admin::Parts {
        place,
        store: process.store.clone(),
        endpoints: Arc::new(service.clone()),
        models: models.clone(),
        tail: process.outlet.tail().clone(),
        sink: process.outlet.shared_sink(),
        node: process.owner.node.clone(),
        sealer: sealer.clone(),
        operation_ttl: config.limits.operation_ttl,
    };
    let admin = admin::Admin::bind(&config.admin, parts)?;
    let coap = Arc::new(coap_config(&config));
    let cluster = ClusterKeys::new(&data_dir.cluster_secrets(&config.cluster)?);
    let settings = Arc::new(settings(&config, &security, cluster, sealer));
    let Some(lanes) = stop.or(take_lanes(&mut seat, &service, models, &readiness)).await else {
        return never_served(health, seat).await;
    };
    let lanes = lanes?;
    let admin = admin.listen()?;
    // A seat's heartbeat extends them.
    let first = lanes.first().copied();
    let extender = seat.is_none().then(|| tokio::spawn(extend_lanes(process.clone(), first)));
    let died = Arc::new(tokio::sync::Notify::new());
    let arbiters: Vec<_> = sockets
        .into_iter()
        .zip(lanes)
        .enumerate()
        .map(|(shard, (sockets, lane))| {
            let died = died.clone();
            let nonces = NonceSource::new(lane.number, lane.from.saturating_sub(1), lane.until);
            let security = ingress::shard::Security { settings: settings.clone(), nonces };
            ingress::shard::start(
                shard as u16,
                process.clone(),
                coap.clone(),
                Some(security),
                sockets,
                move || died.notify_one(),
            )
        })
        .collect();
    let sweeper = tokio::spawn(sweep(process.clone()));
    let (offered, dtls) = (config.clone(), settings.clone());
    let watcher = tokio::spawn(keys.watch(move |security| {
        dtls.replace(security.engine(&offered), security.trust.clone());
    }));
    let (stop_admin, admin_stopped) = tokio::sync::watch::channel(false);
    let mut admin = tokio::spawn(admin.run(until(admin_stopped)));
    let pulsing = process.inboxes.clone();
    health.ask(Arc::new(move || {
        let inboxes = pulsing.clone();
        Box::pin(async move { inboxes.stalled(STALLED).await })
    }));
    drop(starting);
    tracing::info!(node = %process.owner.node, shards, "serving");

    let result = tokio::select! {
        () = stop.requested() => Ok(()),
        () = drain.notified() => Ok(()),
        () = died.notified() => Err(AppError::ShardDied),
        ended = &mut admin => Err(broke_off("the admin API", ended.map(|ended| ended.map_err(AppError::from)))),
        ended = health.ended() => {
            Err(broke_off("the metrics port", ended.map(|ended| ended.map_err(AppError::from))))
        }
    };
    readiness.drain();
    let grace = Grace::begin(clock::now(), config.node.drain_grace);
    // No command comes any more for devices that are about to be given up. Nobody listens when this fails.
    let _ = stop_admin.send(true);
    if !admin.is_finished() {
        let _ = tokio::time::timeout(grace.for_calls(clock::now()), admin).await;
    }
    process.draining.store(true, Ordering::Relaxed);
    tracing::info!("draining");
    let draining = grace.for_devices(clock::now());
    match &seat {
        Some(seat) => seat.drain(&service, draining).await,
        None if tokio::time::timeout(draining, service.drain()).await.is_err() => {
            tracing::warn!("not all devices were given up within node.drain_grace");
        }
        None => {}
    }
    sweeper.abort();
    watcher.abort();
    if let Some(extender) = extender {
        extender.abort();
    }
    if !process.outlet.sink().flush(grace.for_sink(clock::now())) {
        tracing::warn!("telemetry is left that the sink did not write");
    }
    health.close().await;
    if let Some(seat) = seat {
        seat.leave();
    }
    for arbiter in arbiters {
        arbiter.stop();
        let _ = arbiter.join();
    }
    tracing::info!("stopped");
    result
}

/// Ends a node that was told to stop before it had any device.
async fn never_served(health: health::Port, seat: Option<seat::Seat>) -> Result<(), AppError> {
    health.close().await;
    if let Some(seat) = seat {
        seat.leave();
    }
    tracing::info!("stopped before it served");
    Ok(())
}

/// Why a server that was to run until the end has ended.
fn broke_off(what: &str, ended: Result<Result<(), AppError>, tokio::task::JoinError>) -> AppError {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => AppError::Io(io::Error::other(format!("{what} has ended"))),
        Err(error) => AppError::Io(io::Error::other(format!("{what} has died: {error}"))),
    }
}

async fn until(mut stopped: tokio::sync::watch::Receiver<bool>) {
    // An error: the sender is gone, and so is the node.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// What a step comes to; `None` when the node is told to stop first, and then the step is given up.
    async fn or<T>(&mut self, step: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = step => Some(done),
            () = self.requested() => None,
        }
    }
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|source| AppError::Bind { setting, address, source })
}

/// The store, and the models that it has.
async fn open_store(
    config: &Config,
    data_dir: &DataDir,
    readiness: &health::Readiness,
    models: &Models,
) -> Result<Arc<dyn StateStore>, AppError> {
    let _opening = readiness.hold("store");
    let options =
        embedded::Options { sync: config.store.fsync == Fsync::Group, ..embedded::Options::default() };
    let store: Arc<dyn StateStore> = match config.store.kind {
        StoreKind::Embedded => {
            let folder = data_dir.join("store");
            // Reads back what a crash left: with many devices that takes a while.
            let opened =
                tokio::task::spawn_blocking(move || embedded::Embedded::open(&folder, options)).await;
            let store =
                opened.map_err(io::Error::other)?.map_err(|error| AppError::Store(error.to_string()))?;
            Arc::new(Metered::new(store, readiness.clone()))
        }
        StoreKind::Redis => {
            let store = connect(&config.store).await.map_err(|error| AppError::Store(error.to_string()))?;
            Arc::new(Metered::new(store, readiness.clone()))
        }
        StoreKind::Memory => {
            Arc::new(Metered::new(embedded::Embedded::in_memory(options)?, readiness.clone()))
        }
    };
    models.reload(&*store).await?;
    Ok(store)
}

/// Opens the Redis store. One that does not answer yet is waited for: it may start beside the node.
async fn connect(settings: &config::Store) -> Result<RedisStore, redis::OpenError> {
    let begun = clock::now();
    let mut said = None;
    loop {
        match RedisStore::open(&settings.redis, settings.allow_empty).await {
            Err(redis::OpenError::Store(error)) if clock::now() - begun < REDIS_PATIENCE => {
                let reason = error.reason();
                if said.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "waiting for Redis");
                    said = Some(reason);
                }
                tokio::time::sleep(LANES_TICK).await;
            }
            opened => return opened,
        }
    }
}

/// Nonces for each shard; with a seat, as soon as the cluster lets this node join.
async fn take_lanes(
    seat: &mut Option<seat::Seat>,
    service: &Service,
    models: Arc<Models>,
    readiness: &health::Readiness,
) -> Result<Vec<Lane>, StoreError> {
    let process = service.process();
    let shards = process.inboxes.shards() as u16;
    match seat {
        Some(seat) => {
            let _joining = readiness.hold("cluster");
            seat.join(service, models, shards).await
        }
        None => process.store.take_lanes(&process.owner, shards).await,
    }
}

/// Seals under the first key and opens under each.
fn sealer(keys: &[Secret<[u8; 32]>]) -> Sealer {
    let sealer = Sealer::new(keys[0].expose());
    match keys.get(1) {
        Some(previous) => sealer.accepting(previous.expose()),
        None => sealer,
    }
}

/// Where devices are listened to: as far as the modes on offer allow.
fn listeners(config: &Config, security: &keys::Security) -> Vec<Listener> {
    let plain = config.server.listen.iter().filter(|_| security.offer.has(Mode::NoSec));
    let dtls = [Mode::Psk, Mode::Rpk, Mode::X509].into_iter().any(|mode| security.offer.has(mode));
    let secured = config.server.listen_dtls.iter().filter(|_| dtls);
    let plain = plain.map(|&address| Listener { address, kind: Kind::Plain });
    plain.chain(secured.map(|&address| Listener { address, kind: Kind::Dtls })).collect()
}

/// The listeners as they are bound.
fn bound(sockets: &[Vec<ingress::socket::BoundSocket>]) -> Vec<Listener> {
    let of_one = sockets.iter().take(1).flatten();
    of_one.map(|socket| Listener { address: socket.local(), kind: socket.kind }).collect()
}

/// What all shards share of DTLS.
fn settings(
    config: &Config,
    security: &keys::Security,
    cluster: ClusterKeys,
    sealer: Arc<Sealer>,
) -> dtls::Settings {
    let admission = Admission::new(Budgets {
        handshakes: config.limits.handshakes,
        handshakes_per_prefix: config.limits.handshakes_per_prefix,
        cookies: config.limits.cookies,
        activations: config.limits.activations,
    });
    let strict_floor = config.dtls.replay_floor == ReplayFloor::Strict;
    let (engine, trust) = (security.engine(config), security.trust.clone());
    dtls::Settings::new(engine, trust, cluster, sealer, admission, strict_floor)
}

/// Has the store acknowledge further seconds for the nonces of all shards, whenever half of those that it has are used.
async fn extend_lanes(process: Arc<Process>, lane: Option<Lane>) {
    let Some(Lane { from, mut until, .. }) = lane else { return };
    let ahead = until.saturating_sub(from);
    let mut tick = tokio::time::interval(LANES_TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = u32::try_from(clock::unix_ms() / 1000).unwrap_or(u32::MAX);
        if until.saturating_sub(now) > ahead / 2 {
            continue;
        }
        match process.store.extend_lanes(&process.owner, now).await {
            Ok(extended) => {
                until = extended;
                for shard in 0..process.inboxes.shards() {
                    process.inboxes.of(shard as u16).push(ShardMessage::LanesExtended(until));
                }
            }
            Err(error) => tracing::warn!(%error, "the shards' nonces could not be extended"),
        }
    }
}

/// What a registration may say.
fn policy(config: &Config) -> Policy {
    let cap = config.registration.lifetime_cap.as_secs();
    Policy { lifetime_cap: u32::try_from(cap).unwrap_or(u32::MAX), ..Policy::default() }
}

/// The transmission parameters of all connections.
fn coap_config(config: &Config) -> godwit_coap::Config {
    let block_size =
        godwit_coap::BlockSize::fitting(config.coap.block_size.into()).unwrap_or(godwit_coap::BlockSize::MAX);
    godwit_coap::Config {
        ack_timeout: config.coap.ack_timeout,
        ack_random_factor: config.coap.ack_random_factor as f32,
        max_retransmit: config.coap.max_retransmit,
        nstart: config.coap.nstart,
        response_timeout: config.coap.response_timeout,
        block_size,
        max_payload: block_size.bytes(),
        body_limit: config.limits.uplink_body,
        dedup_entries: config.limits.dedup_entries.into(),
        ..godwit_coap::Config::default()
    }
}

fn warn_of(config: &Config, sockets: &[Vec<ingress::socket::BoundSocket>], security: &keys::Security) {
    for socket in sockets.iter().take(1).flatten() {
        keys::listening(socket.local(), socket.kind == Kind::Dtls, security);
        let (granted, wanted) = (socket.receive_buffer as u64, config.server.receive_buffer);
        if granted < wanted {
            tracing::warn!(granted, wanted, "the kernel cut server.receive_buffer; raise net.core.rmem_max");
        }
    }
    keys::own_key(security);
}

/// Every stranger may register. A profile of theirs that does not exist is no fault: only a node that runs can create it.
async fn warn_of_strangers(process: &Process) {
    let Some(profile) = &process.config.registration.auto_create else { return };
    match process.profiles.profile(profile).await {
        Err(LoadError::Unknown(_)) => tracing::warn!(
            profile,
            "registration.auto_create names no profile that there is: strangers get `default` until it is created"
        ),
        _ => tracing::warn!(profile, "registration.auto_create is on: every endpoint name may register"),
    }
}

/// Profiles as the store keeps them.
struct StoredProfiles(Arc<dyn StateStore>);

impl ProfileSource for StoredProfiles {
    fn load(&self, name: &str) -> BoxFuture<'static, Result<Option<godwit_proto::v1::Profile>, String>> {
        let found = self.0.document(DocumentKey::Profile(name.to_owned()));
        Box::pin(async move {
            let Some(document) = found.await.map_err(|error| error.to_string())? else { return Ok(None) };
            let mut profile =
                godwit_proto::v1::Profile::decode(&*document.body).map_err(|error| error.to_string())?;
            profile.revision = document.revision;
            Ok(Some(profile))
        })
    }
}

/// Whether this node is the one to wake a device: it has it, or nobody has and it is this one's turn. What stays due is
/// everybody's.
fn sees_to(process: &Process, due: Due) -> bool {
    let Some(membership) = process.neighbours.membership() else { return true };
    let overdue = clock::unix_ms().saturating_sub(due.at) > OVERDUE.as_millis() as u64;
    overdue || process.directory.find(due.device).is_some() || membership.is_turn(clock::boot(), due.device)
}

/// Wakes devices for which something is due: expiries, operations whose time is over, events that wait.
async fn sweep(process: Arc<Process>) {
    let mut reminders = Reminders::default();
    let shared = process.config.store.kind == StoreKind::Redis;
    let mut tick = tokio::time::interval(if shared { SWEEP_SHARED } else { SWEEP });
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    'sweeps: loop {
        tick.tick().await;
        // For the metrics that count what is stored; an error is counted there too.
        drop(process.store.counts().await);
        let mut after: Option<Due> = None;
        loop {
            let now = clock::unix_ms();
            let due = match process.store.due(now, after, SWEEP_BATCH).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(%error, "the store could not be asked for what is due");
                    continue 'sweeps;
                }
            };
            let Some(last) = due.last() else { break };
            after = Some(*last);
            let mut of_shards = vec![Vec::new(); process.inboxes.shards()];
            let now = clock::now();
            let due_here = |due: &&Due| reminders.is_due(now, **due) && sees_to(&process, **due);
            for Due { device, .. } in due.iter().filter(due_here) {
                let shard = process.directory.find(*device).unwrap_or_else(|| process.inboxes.usual(*device));
                of_shards[usize::from(shard)].push(*device);
            }
            for (shard, devices) in
                of_shards.into_iter().enumerate().filter(|(_, devices)| !devices.is_empty())
            {
                process.inboxes.of(shard as u16).push(ShardMessage::Due(devices));
            }
            if due.len() < SWEEP_BATCH {
                break;
            }
        }
        reminders.end_sweep();
    }
}
