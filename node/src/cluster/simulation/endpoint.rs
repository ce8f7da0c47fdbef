//! An endpoint without its actor: the production core, and its effects as others may see them.
//!
//! A child of `endpoint`, for it drives what nobody else sees.

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use godwit_proto::v1::operation::State;

use super::{
    access::Access,
    core::Core,
    handle::NewOperation,
    link::{Call, Downlink, Link, Links, Uplink},
    message::{Effect, Input, StopReason},
    services::{Process, Shared, Standing},
    starts::Starts,
};
use crate::{
    clock::Reading,
    config::Config,
    identity::{AssociationId, DeviceId, Owner, RegistrationId},
    metrics,
    ownership::Validity,
    profile::builtin,
    seal::Sealer,
    shard::{ActorKey, timers::Timers},
    store::{
        Change, Claimed, Numbers, Session, StoreError,
        embedded::{Embedded, Options},
    },
    telemetry::{Record, SinkError, Turn},
};

/// What all endpoints of a simulated node share.
#[derive(Clone)]
pub(crate) struct Services(Rc<Shared>);

/// By their node's name and the grace of its registrations.
type Processes = BTreeMap<(Arc<str>, Duration), Arc<Process>>;

thread_local! {
    /// Dear to make, and the same for all runs of a node.
    static PROCESSES: RefCell<Processes> = RefCell::default();
    static METRICS: Rc<metrics::Shard> = Rc::new(metrics::Shard::new(0));
}

impl Services {
    /// The services of a node. Its owner's boot does not matter to endpoints.
    pub(crate) fn new(
        owner: &Owner,
        sealer: &Arc<Sealer>,
        links: Rc<dyn Links>,
        now: Instant,
        grace: Duration,
    ) -> Self {
        let process = PROCESSES.with_borrow_mut(|processes| {
            let make = || {
                // Never asked: the simulation performs what cores want of a store.
                let store =
                    Arc::new(Embedded::in_memory(Options::default()).expect("a store in memory opens"));
                let process = super::tests::process(store, sealer.clone(), 1);
                let mut config = Config::default();
                config.registration.lifetime_grace = grace;
                Arc::new(Process { owner: owner.clone(), config: Arc::new(config), ..process })
            };
            processes.entry((owner.node.clone(), grace)).or_insert_with(make).clone()
        });
        let services = Rc::new(Shared {
            process,
            shard: 0,
            timers: Rc::new(Timers::new(now)),
            metrics: METRICS.with(Clone::clone),
            turn: Turn::default(),
            starts: Starts::new(usize::MAX, ::metrics::Gauge::noop()),
            // The simulated node has its own.
            pulse: None,
            standing: Standing::default(),
            links: OnceCell::new(),
        });
        assert!(services.links.set(links).is_ok());
        Self(services)
    }

    /// What the node may do just now.
    pub(crate) fn set_standing(&self, validity: Validity, may_expire: bool) {
        self.0.standing.set(validity, may_expire);
    }
}

/// What an endpoint wants done.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Write; ends in [`Endpoint::persisted`].
    Persist(u32, Vec<Change>),
    /// Publish; ends in [`Endpoint::published`].
    Publish(u32, Vec<Record>),
    /// Tell a connection.
    Downlink(Link, Downlink),
    /// Read a session from the record; ends in [`Endpoint::session_read`].
    ReadSession(Link, AssociationId),
    /// Make a connection by a session; ends in [`Endpoint::reached`].
    ReachSession { association: AssociationId, whole: Option<Box<Session>>, numbers: Numbers, exact: bool },
    /// A request for a registration that this device does not have.
    Foreign(Link, Call, RegistrationId),
    /// A command was taken, or refused.
    Submitted(String, bool),
    /// A command has ended.
    Ended(String, State),
    /// The end.
    Stop { superseded: bool },
}

/// One live endpoint.
pub(crate) struct Endpoint(Core);

impl Endpoint {
    /// From a claim's answer. `profile`: a built-in one.
    pub(crate) fn new(
        services: &Services,
        now: Reading,
        device: DeviceId,
        profile: &str,
        claimed: Claimed,
    ) -> Self {
        let document = claimed.record.document.clone().unwrap_or_default();
        let access = Access::of(&document, false);
        let profile = builtin(profile).expect("a built-in profile");
        let name = document.endpoint.as_str().into();
        Self(Core::new(services.0.clone(), now, device, name, access, profile, claimed))
    }

    pub(crate) fn uplink(&mut self, now: Reading, link: Link, uplink: Uplink) {
        self.0.apply(now, Input::Uplink(link, uplink));
    }

    pub(crate) fn persisted(&mut self, now: Reading, id: u32, result: Result<(), StoreError>) {
        self.0.apply(now, Input::Persisted(id, result));
    }

    pub(crate) fn published(&mut self, now: Reading, id: u32, result: Result<(), SinkError>) {
        self.0.apply(now, Input::Published(id, result));
    }

    pub(crate) fn session_read(
        &mut self,
        now: Reading,
        link: Link,
        association: AssociationId,
        read: Option<Box<Session>>,
    ) {
        self.0.apply(now, Input::SessionRead(link, association, read));
    }

    pub(crate) fn reached(&mut self, now: Reading, link: Option<Link>) {
        self.0.apply(now, Input::Reached(link));
    }

    pub(crate) fn unlinked(&mut self, now: Reading, connection: ActorKey) {
        self.0.apply(now, Input::Unlinked(connection));
    }

    pub(crate) fn submit(&mut self, now: Reading, operation: NewOperation) {
        self.0.apply(now, Input::Submit(Box::new(operation)));
    }

    /// A planted bug: no later deadline is owed to the store.
    pub(crate) fn forget_debt(&mut self) {
        if let Some(registered) = self.0.registered.as_deref_mut() {
            registered.owed = None;
        }
    }

    /// A planted bug: no end is owed to the store.
    pub(crate) fn forget_ends(&mut self) {
        drop(self.0.take_owed_ends());
    }

    pub(crate) fn deadline(&mut self, now: Reading) {
        self.0.apply(now, Input::Deadline);
    }

    /// Gives the device up with exact state as soon as nothing is outstanding.
    pub(crate) fn release(&mut self, now: Reading) {
        self.0.apply(now, Input::Release(StopReason::Moved));
    }

    pub(crate) fn leaving(&self) -> bool {
        self.0.leaving()
    }

    /// The connection that it speaks over.
    pub(crate) fn link(&self) -> Option<Link> {
        self.0.link
    }

    pub(crate) fn due(&self, now: Reading) -> Option<Instant> {
        self.0.poll_timeout(now)
    }

    /// The next thing to do.
    pub(crate) fn poll(&mut self, now: Reading) -> Option<Wish> {
        loop {
            return Some(match self.0.poll_effect()? {
                Effect::Persist(id, changes) => Wish::Persist(id, changes),
                Effect::Publish(id, records) => Wish::Publish(id, records),
                Effect::Downlink(link, downlink) => Wish::Downlink(link, downlink),
                Effect::ReadSession(link, association) => Wish::ReadSession(link, association),
                Effect::ReachSession { association, whole, numbers, exact } => {
                    Wish::ReachSession { association, whole, numbers, exact }
                }
                Effect::Foreign(link, call, registration) => Wish::Foreign(link, call, registration),
                Effect::Stop(reason) => Wish::Stop { superseded: reason == StopReason::Superseded },
                Effect::Submitted(id, result) => Wish::Submitted(id, result.is_ok()),
                Effect::Ended(operation) => {
                    let id = operation.name.rsplit('/').next().unwrap_or_default();
                    Wish::Ended(id.to_owned(), operation.state())
                }
                Effect::LookAgain => {
                    self.0.apply(now, Input::LookAgain);
                    continue;
                }
                Effect::Reach(_) => {
                    self.0.apply(now, Input::Reached(None));
                    continue;
                }
                Effect::Announce(_)
                // There is always room.
                | Effect::AwaitStart
                | Effect::RemoveEvent(_)
                | Effect::SettleRotation
                | Effect::NotCancelled(..)
                | Effect::OperationChanged(_)
                | Effect::Changed(_) => continue,
            });
        }
    }
}
