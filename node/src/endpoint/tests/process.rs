//! A process that the endpoint belongs to: a store in memory, no sink, no neighbours.

use std::{cell::OnceCell, rc::Rc, sync::Arc, time::Duration};

use godwit_lwm2m::registration::Policy;
use tokio::sync::broadcast;

use crate::{
    clock,
    config::Config,
    endpoint::neighbours::Alone,
    endpoint::{
        directory::Directory,
        model_sets::SharedSets,
        services::{Inboxes, Process, Shared, Standing},
        starts::Starts,
    },
    identity::Owner,
    metrics,
    models::Models,
    profile::{ProfileRegistry, ProfileSource, builtin},
    seal::Sealer,
    shard::timers::Timers,
    store::{
        StateStore,
        embedded::{Embedded, Options},
    },
    telemetry::{Outlet, Publish, Record, Sink, Site, Ticket, Turn},
};

struct NoProfiles;

impl ProfileSource for NoProfiles {
    fn load(
        &self,
        _: &str,
    ) -> futures_util::future::BoxFuture<'static, Result<Option<godwit_proto::v1::Profile>, String>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Never asked: the tests take publications from the core's effects.
struct NoSink;

impl Sink for NoSink {
    fn publish(&self, _: &[Record], _: Ticket) -> Publish {
        Publish::Durable
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn flush(&self, _: Duration) -> bool {
        true
    }
}

/// A process of so many shards over a store, which keeps no telemetry.
pub(crate) fn process(store: Arc<dyn StateStore>, sealer: Arc<Sealer>, shards: usize) -> Process {
    Process {
        config: Arc::new(Config::default()),
        policy: Policy::default(),
        owner: Owner { node: "n".into(), boot: 1 },
        site: Arc::new(Site::new("c", "n")),
        profiles: Arc::new(ProfileRegistry::new(NoProfiles)),
        models: SharedSets::new(Arc::new(Models::new())),
        outlet: Outlet::new(Arc::new(NoSink)),
        directory: Arc::new(Directory::default()),
        inboxes: Arc::new(Inboxes::new(shards)),
        neighbours: Arc::new(Alone),
        changes: broadcast::channel(16).0,
        operations: broadcast::channel(16).0,
        draining: false.into(),
        empty_profile: builtin("default").unwrap(),
        store,
        sealer,
    }
}

/// The one shard of a process, where one device at a time may start.
pub(super) fn services() -> Rc<Shared> {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    Rc::new(Shared {
        process: Arc::new(process(store, Arc::new(Sealer::new(&[1; 32]).accepting(&[9; 32])), 1)),
        shard: 0,
        timers: Rc::new(Timers::new(clock::now())),
        metrics: Rc::new(metrics::Shard::new(0)),
        starts: Starts::new(1, ::metrics::Gauge::noop()),
        turn: Turn::default(),
        links: OnceCell::new(),
        pulse: None,
        standing: Standing::default(),
    })
}
