//! Endpoints: registration, observations and commands of one device each.
//!
//! ```text
//! connection ─ Uplink ─► Endpoints::deliver ─► actor ─► core ─► effects ─► store, sink, connection
//!                              │ none live
//!                              └─► activation: load ─► claim ─► actor
//! admin ─ Service ─► inbox of the shard that has the device ─► the same
//! ```

mod access;
mod activation;
mod actor;
mod command;
mod completion;
mod core;
mod directory;
mod downlink;
mod end;
mod flapping;
pub mod handle;
mod leaving;
pub mod link;
mod message;
mod model_sets;
pub mod neighbours;
mod observation;
mod operation;
mod orphan;
mod plan;
mod publish;
mod reach;
mod registered;
mod registration;
pub mod search;
mod service;
mod services;
mod session;
#[cfg(test)]
#[path = "../cluster/simulation/endpoint.rs"]
pub(crate) mod simulated;
mod starts;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, hash_map::Entry},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use actix::{Addr, prelude::SendError};
use godwit_lwm2m::registration::Policy;
use tokio::sync::oneshot;

pub(crate) use self::{actor::foreign, operation::timestamp};
use self::{
    actor::{EndpointActor, Mail},
    handle::SubmitError,
    link::{Link, Links, Uplink},
    message::Input,
    neighbours::Neighbours,
    services::Shared,
    starts::Starts,
};
pub use self::{
    directory::Directory,
    message::StopReason,
    model_sets::SharedSets,
    service::Service,
    services::{Arrived, Inboxes, Presented, Process, ShardMessage},
};
use crate::{
    clock, entropy,
    identity::DeviceId,
    metrics::{self, labels},
    ownership::{Answer, Reply},
    shard::{ActorKey, ShardId, Target, table::Table, timers::Timers},
    store::{Member, StateStore},
    telemetry::{Completion, Publish, Turn},
};

/// Inputs that wait for one device's activation.
const WAITING: usize = 4;
/// The effect of a publication that nothing waits for.
const NOBODY: u32 = u32::MAX;
/// How long another node waits for the end of a device's writes: less than it takes to be suspected.
const RELEASED_WITHIN: Duration = Duration::from_millis(350);
/// Devices of a shard that a node which drains gives up at once, and how long it waits for them before the next ones.
const RELEASED_AT_ONCE: usize = 128;
const RELEASE_PACE: Duration = Duration::from_millis(20);
/// How many residents are looked at to find one that was idle for long.
const SAMPLE: usize = 16;

/// The endpoints of one shard.
pub struct Endpoints {
    shared: Rc<Shared>,
    table: Table<Resident>,
    by_device: RefCell<HashMap<DeviceId, Place>>,
    /// Live endpoints that this shard may have.
    bound: usize,
    /// Events of devices that are gone.
    orphans: orphan::Orphans,
}

/// A live endpoint.
struct Resident {
    address: Addr<EndpointActor>,
    profile: Arc<str>,
    active: Instant,
    /// It is giving the device up.
    leaving: Rc<Cell<bool>>,
}

/// Whether this shard has a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is live, or being activated.
    Here,
    /// It is being given up.
    Leaving,
    /// It is live, and this node stands still for want of the store.
    Frozen,
    /// No.
    Absent,
}

/// Where a device is in its life on this shard.
enum Place {
    Live(ActorKey),
    /// Being activated; what came meanwhile.
    Activating(Vec<Mail>),
}

/// What became of something handed to an endpoint.
#[derive(Debug)]
pub enum Delivery {
    /// It has it, or will have it when it is activated.
    Delivered,
    /// Its mailbox is full.
    Dropped(Box<Uplink>),
    /// The shard has as many live endpoints as it may, none of them idle.
    Overloaded(Box<Uplink>),
}

impl Endpoints {
    /// No endpoints yet.
    pub fn new(
        process: Arc<Process>,
        shard: ShardId,
        timers: Rc<Timers<Target>>,
        metrics: Rc<metrics::Shard>,
    ) -> Rc<Self> {
        let live = process.config.limits.live_actors as usize;
        let bound = live.div_ceil(process.inboxes.shards()).max(1);
        let pulse = services::ShardPulse::new(&process);
        let starts = Starts::new(process.config.limits.starts as usize, metrics.starts_waiting.clone());
        let shared = Shared {
            process,
            shard,
            timers,
            starts,
            metrics,
            turn: Turn::default(),
            links: std::cell::OnceCell::new(),
            pulse,
            standing: services::Standing::default(),
        };
        Rc::new(Self {
            shared: Rc::new(shared),
            table: Table::default(),
            by_device: RefCell::default(),
            bound,
            orphans: orphan::Orphans::default(),
        })
    }

    /// Tells the endpoints where their connections are. Once, before the first delivery.
    pub fn attach(&self, links: Rc<dyn Links>) {
        assert!(self.shared.links.set(links).is_ok(), "invariant: connections are attached once");
    }

    /// What a registration may say.
    pub fn policy(&self) -> &Policy {
        &self.shared.process.policy
    }

    /// The store.
    pub fn store(&self) -> &dyn StateStore {
        &*self.shared.process.store
    }

    /// Hands what a device said to its endpoint, which is activated if it is not live. What nobody waits for activates
    /// none: an endpoint that was passivated has its sessions' exact numbers on record.
    pub fn deliver(self: &Rc<Self>, device: DeviceId, link: Link, uplink: Uplink) -> Delivery {
        if uplink.is_of_session()
            && uplink.awaiting().is_none()
            && !self.by_device.borrow().contains_key(&device)
        {
            return Delivery::Delivered;
        }
        let back = |mail: Mail| match mail {
            Mail::Core(Input::Uplink(_, uplink)) => Box::new(uplink),
            _ => unreachable!("invariant: what comes back is what was handed in"),
        };
        match self.post(device, Mail::Core(Input::Uplink(link, uplink)), true) {
            Ok(()) => Delivery::Delivered,
            Err(Undelivered::Full(mail)) => Delivery::Dropped(back(mail)),
            Err(Undelivered::Overloaded(mail)) => Delivery::Overloaded(back(mail)),
        }
    }

    /// Tells a device's endpoint, if it is live, that a connection is gone.
    pub fn unlinked(&self, device: DeviceId, connection: ActorKey) {
        if let Some(Place::Live(key)) = self.by_device.borrow().get(&device) {
            let input = Mail::Core(Input::Unlinked(connection));
            self.table.with(*key, |resident| resident.address.do_send(input));
        }
    }

    /// Hands something to a device's endpoint if that is live; nobody is activated for it.
    pub fn inform(&self, device: DeviceId, link: Link, uplink: Uplink) {
        if let Some(Place::Live(key)) = self.by_device.borrow().get(&device) {
            let input = Mail::Core(Input::Uplink(link, uplink));
            self.table.with(*key, |resident| resident.address.do_send(input));
        }
    }

    /// Tells an endpoint that its deadline has passed.
    pub fn deadline(&self, key: ActorKey) {
        self.table.with(key, |resident| resident.address.do_send(Mail::Core(Input::Deadline)));
    }

    /// How many endpoints are live.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is live.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Gives what the endpoints publish to the sink, at the end of each turn in which they do.
    pub async fn publish(&self) {
        loop {
            self.shared.turn.filled().await;
            self.end_turn();
        }
    }

    /// Lets those that wait be asked for what their profile wants, as others have been.
    pub async fn start_waiting(&self) {
        loop {
            let (key, start) = self.shared.starts.next().await;
            // Of one that is gone, the place is free again at once.
            self.table.with(key, |resident| resident.address.do_send(Mail::Core(Input::Start(start))));
        }
    }

    /// Gives what was published up to now to the sink.
    fn end_turn(&self) {
        self.shared.turn.end(&self.shared.process.outlet, |ticket, publish| {
            let result = match publish {
                Publish::Durable => Ok(()),
                Publish::Pending => return,
                Publish::Refused(error) => Err(error),
            };
            self.published(Completion { ticket, result });
        });
    }

    fn published(&self, Completion { ticket, result }: Completion) {
        if ticket.activation == orphan::ACTIVATION {
            return self.orphans.published(self.store(), ticket.effect, result.is_ok());
        }
        if ticket.effect == NOBODY {
            return;
        }
        let key = ActorKey { index: ticket.key, generation: ticket.activation };
        let input = Mail::Core(Input::Published(ticket.effect, result));
        self.table.with(key, |resident| resident.address.do_send(input));
    }

    /// Does what another thread asks.
    pub fn handle(self: &Rc<Self>, message: ShardMessage) {
        match message {
            ShardMessage::Published(completion) => self.published(completion),
            ShardMessage::Submit { device, operation, reply } => {
                self.command(device, Mail::Submit(operation, reply));
            }
            ShardMessage::Cancel { device, operation, reply } => {
                self.command(device, Mail::Cancel(operation, reply));
            }
            // For the shard itself, which takes them before.
            ShardMessage::Datagram(_)
            | ShardMessage::Presented(_)
            | ShardMessage::Relayed(_)
            | ShardMessage::Revoked { .. }
            | ShardMessage::LanesExtended(_) => {}
            ShardMessage::Asked { device, take, held, reply } => match self.presence(device, held) {
                Presence::Absent => reply.gone(),
                Presence::Frozen => reply.answer(Answer::Busy),
                Presence::Here if !take => reply.answer(Answer::Handled),
                Presence::Here | Presence::Leaving => self.when_released(device, reply),
            },
            ShardMessage::DeviceChanged { device, done } => self.refresh_access(device, done),
            ShardMessage::ProfileChanged { name, done } => self.refresh_profile(name, done),
            ShardMessage::ModelsChanged { done } => {
                self.table.for_each(|_, resident| resident.address.do_send(Mail::Core(Input::Models)));
                drop(done);
            }
            ShardMessage::Due(devices) => {
                for device in devices {
                    // One that is full hears of it at the next sweep.
                    drop(self.post(device, Mail::Core(Input::Deadline), false));
                }
            }
            ShardMessage::Release { device, done } => self.release(device, done),
            #[cfg(test)]
            ShardMessage::StandStill(span) => std::thread::sleep(span),
            ShardMessage::Ping(answer) => drop(answer),
            ShardMessage::Drain { done } => self.drain(done),
        }
    }

    /// Has a device given up; `done` is dropped when it is free.
    fn release(&self, device: DeviceId, done: oneshot::Sender<()>) {
        let mail = Mail::Release(StopReason::Moved, done);
        match self.by_device.borrow_mut().get_mut(&device) {
            Some(Place::Live(key)) => {
                self.table.with(*key, |resident| resident.address.do_send(mail));
            }
            // Once it is live, and has done what it was activated for.
            Some(Place::Activating(waiting)) if waiting.len() <= WAITING => waiting.push(mail),
            Some(Place::Activating(_)) | None => {}
        }
    }

    /// Whether this shard has a device, for another node that asks. `held`: that may claim nothing just now.
    pub fn presence(&self, device: DeviceId, held: bool) -> Presence {
        if self.shared.standing.substitute().is_some() {
            // It stands still: whoever asks sees the store, and claims it. It must not go on here if the store is lost to all.
            if let Some(Place::Live(key)) = self.by_device.borrow().get(&device) {
                if held {
                    return Presence::Frozen;
                }
                let lost = Mail::Core(Input::Access(None, None));
                self.table.with(*key, |resident| resident.address.do_send(lost));
            }
            return Presence::Absent;
        }
        match self.by_device.borrow().get(&device) {
            Some(Place::Live(key)) => match self.table.with(*key, |resident| resident.leaving.get()) {
                Some(false) => Presence::Here,
                _ => Presence::Leaving,
            },
            Some(Place::Activating(_)) => Presence::Here,
            None => Presence::Absent,
        }
    }

    /// Has a device given up, and tells another node then. One that takes longer than a node may be silent is busy.
    pub fn when_released(&self, device: DeviceId, reply: Reply) {
        let (done, released) = oneshot::channel();
        self.release(device, done);
        actix::spawn(async move {
            // Answered by being dropped.
            if tokio::time::timeout(RELEASED_WITHIN, released).await.is_ok() {
                reply.gone();
            }
        });
    }

    /// Another node receives what a device sends: the device is given up as soon as nothing of it is under way.
    pub fn hand_over(&self, device: DeviceId) {
        if let Some(Place::Live(key)) = self.by_device.borrow().get(&device) {
            let input = Mail::Core(Input::HandOver);
            self.table.with(*key, |resident| resident.address.do_send(input));
        }
    }

    /// Watches whether the shard's loop turns. Ends at once where this node stands alone.
    pub async fn watch_pulse(&self) {
        let Some(period) = services::ShardPulse::period(&self.shared.process) else { return };
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let paused = self
                .shared
                .pulse
                .as_ref()
                .and_then(|pulse| pulse.look(&self.shared.process, &self.shared.standing));
            if let Some(gap) = paused {
                tracing::warn!(
                    ?gap,
                    shard = self.shared.shard,
                    "the shard stood still: its devices may be others' by now"
                );
            }
        }
    }

    /// Hands datagrams to the shard once more.
    pub fn come_back(&self, arrived: impl Iterator<Item = Arrived>) {
        let messages = arrived.map(|arrived| ShardMessage::Datagram(Box::new(arrived)));
        self.shared.process.inboxes.of(self.shared.shard).extend(messages);
    }

    /// The peer that goes on in place of this node, which alone doesn't see the store: what is live here stands still.
    pub fn substitute(&self) -> Option<Arc<Member>> {
        self.shared.standing.substitute()
    }

    /// The other nodes.
    pub fn neighbours(&self) -> &Arc<dyn Neighbours> {
        &self.shared.process.neighbours
    }

    /// Hands a caller's command to its endpoint.
    fn command(self: &Rc<Self>, device: DeviceId, mail: Mail) {
        let refused = match self.post(device, mail, false) {
            Ok(()) => return,
            Err(Undelivered::Full(mail) | Undelivered::Overloaded(mail)) => mail,
        };
        // A node that drains leaves it to whoever has the device next.
        let draining = self.shared.process.draining.load(Ordering::Relaxed);
        let error = if draining { SubmitError::Elsewhere } else { SubmitError::Overloaded };
        self.shared.metrics.mailbox_drops[labels::Arrow::AdminEndpoint].increment(1);
        match refused {
            Mail::Submit(_, reply) => drop(reply.send(Err(error))),
            Mail::Cancel(_, reply) => drop(reply.send(Err(error))),
            _ => {}
        }
    }

    /// Puts something into a device's mailbox, or into the queue of those that wait for its activation.
    fn post(self: &Rc<Self>, device: DeviceId, mail: Mail, uplink: bool) -> Result<(), Undelivered> {
        let mut places = self.by_device.borrow_mut();
        // Those that are being activated will be live.
        let full = places.len() >= self.bound;
        match places.entry(device) {
            Entry::Occupied(mut place) => match place.get_mut() {
                Place::Live(key) => {
                    let sent = self.table.with(*key, |resident| {
                        if uplink {
                            resident.active = clock::now();
                        }
                        resident.address.try_send(mail)
                    });
                    match sent {
                        Some(Ok(())) => Ok(()),
                        Some(Err(SendError::Full(mail) | SendError::Closed(mail))) => {
                            Err(Undelivered::Full(mail))
                        }
                        None => unreachable!("invariant: a device's place names a live actor"),
                    }
                }
                Place::Activating(waiting) if waiting.len() < WAITING => {
                    waiting.push(mail);
                    Ok(())
                }
                Place::Activating(_) => Err(Undelivered::Full(mail)),
            },
            Entry::Vacant(vacant) => {
                let draining = self.shared.process.draining.load(Ordering::Relaxed);
                if draining || (full && !self.evict()) {
                    return Err(Undelivered::Overloaded(mail));
                }
                vacant.insert(Place::Activating(vec![mail]));
                drop(places);
                actix::spawn(activation::activate(self.clone(), device));
                Ok(())
            }
        }
    }

    /// Has one of the longest idle endpoints passivated: the longest of a sample, none that was active within
    /// `limits.passivate_floor`.
    fn evict(&self) -> bool {
        let start = entropy::u64() as usize % self.table.len().max(1);
        let mut oldest: Option<(Instant, ActorKey)> = None;
        self.table.sample(start, SAMPLE, |key, resident| {
            if oldest.is_none_or(|(active, _)| resident.active < active) {
                oldest = Some((resident.active, key));
            }
        });
        let floor = self.shared.process.config.limits.passivate_floor;
        let Some((active, key)) = oldest.filter(|(active, _)| active.elapsed() >= floor) else {
            return false;
        };
        tracing::trace!(?active, "passivating to make room");
        let mail = Mail::Core(Input::Release(StopReason::Bound));
        self.table.with(key, |resident| resident.address.do_send(mail));
        true
    }

    fn refresh_access(self: &Rc<Self>, device: DeviceId, done: oneshot::Sender<()>) {
        let live = match self.by_device.borrow_mut().get_mut(&device) {
            Some(Place::Live(key)) => *key,
            // It may have been read before the change.
            Some(Place::Activating(waiting)) => return waiting.push(Mail::Refresh(done)),
            None => return,
        };
        let endpoints = self.clone();
        actix::spawn(async move {
            let (access, profile) = activation::access_now(&endpoints.shared, device).await;
            endpoints.table.with(live, |resident| {
                if let Some(profile) = &profile {
                    resident.profile = profile.name().clone();
                }
                resident.address.do_send(Mail::Core(Input::Access(access, profile)));
            });
            drop(done);
        });
    }

    fn refresh_profile(&self, name: Arc<str>, done: oneshot::Sender<()>) {
        let Some(profile) = self.shared.process.profiles.cached(&name) else { return drop(done) };
        self.table.for_each(|_, resident| {
            if resident.profile == name {
                resident.address.do_send(Mail::Core(Input::Profile(profile.clone())));
            }
        });
        drop(done);
    }

    /// Gives all devices up, a few at a time: one whose turn has not come is served, and one that leaves is gone soon, for
    /// what it sends meanwhile waits with a peer that does not wait long.
    fn drain(self: &Rc<Self>, done: oneshot::Sender<()>) {
        let (mut keys, mut waits) = (Vec::new(), Vec::new());
        self.table.for_each(|key, _| keys.push(key));
        for place in self.by_device.borrow_mut().values_mut() {
            if let Place::Activating(waiting) = place {
                let (free, freed) = oneshot::channel();
                waiting.push(Mail::Release(StopReason::Drain, free));
                waits.push(freed);
            }
        }
        let endpoints = self.clone();
        actix::spawn(async move {
            for batch in keys.chunks(RELEASED_AT_ONCE) {
                let mut leaving: Vec<_> = batch.iter().filter_map(|key| endpoints.dismiss(*key)).collect();
                let all = async {
                    while let Some(freed) = leaving.last_mut() {
                        // Answered by being dropped.
                        drop(freed.await);
                        leaving.pop();
                    }
                };
                // Those that wait for something hold up nobody else.
                if tokio::time::timeout(RELEASE_PACE, all).await.is_err() {
                    waits.append(&mut leaving);
                }
            }
            for freed in waits {
                // Answered by being dropped.
                drop(freed.await);
            }
            // The process may end as soon as `done` is gone.
            endpoints.end_turn();
            drop(done);
        });
    }

    /// Has an actor give its device up, from which on nothing more is presented to it.
    fn dismiss(&self, key: ActorKey) -> Option<oneshot::Receiver<()>> {
        self.table.with(key, |resident| {
            let (free, freed) = oneshot::channel();
            resident.leaving.set(true);
            resident.address.do_send(Mail::Release(StopReason::Drain, free));
            freed
        })
    }

    fn closed(&self, key: ActorKey, device: DeviceId, reason: labels::Passivation) {
        self.table.remove(key);
        let mut places = self.by_device.borrow_mut();
        if matches!(places.get(&device), Some(Place::Live(live)) if *live == key) {
            places.remove(&device);
        }
        self.shared.metrics.actors[labels::Actor::Endpoint].decrement(1.0);
        self.shared.metrics.passivations[reason].increment(1);
    }
}

/// What could not be put into a mailbox.
enum Undelivered {
    Full(Mail),
    Overloaded(Mail),
}
