//! The synchronous core of one endpoint: inputs and the time go in, effects come out.
//!
//! ```text
//!            ┌── Uplink ──────────────┐
//!  Input ────┼── Submit, Cancel       ├──► handler ──► effects: Persist, Publish ─► completion ─► Then
//!            ├── Persisted, Published │                         Downlink, Ended, Changed, Stop
//!            └── Deadline, …Changed ──┘
//! ```
//!
//! What the device may rely on is written first: `Persist` goes out with a [`Then`], and what depends on the write
//! happens when its completion comes back. Nothing is awaited in here.

use std::{collections::VecDeque, rc::Rc, sync::Arc, time::Instant};

use godwit_coap::{Request, Response};
use godwit_lwm2m::entry::Entry;
use godwit_proto::v1;

use super::{
    access::Access,
    downlink::{Downlinks, Flight, Purpose, Task},
    handle::{NewOperation, RegistrationChangeKind, SubmitError},
    link::{Call, Downlink, Link, Uplink},
    observation::{Observation, Observations},
    registered::Registered,
    registration::NewRegistration,
    services::Shared,
};
use crate::{
    clock::Reading,
    identity::{DeviceId, RegistrationId},
    metrics::labels,
    profile::{PowerMode, Profile, Target},
    shard::ActorKey,
    store::{Change, Claimed, DeviceRecord, StoreError, value},
    telemetry::{self, Cause, Event, Identity, Orders, Origin, Record, SinkError},
};

/// Effects that an endpoint may have outstanding; with more it takes nothing new from the device.
const MAX_OUTSTANDING: usize = 8;

/// What an endpoint is told.
#[derive(Debug)]
pub(super) enum Input {
    /// The device has said something.
    Uplink(Link, Uplink),
    /// A connection is gone.
    Unlinked(ActorKey),
    /// A write has ended.
    Persisted(u32, Result<(), StoreError>),
    /// Records are durable, or were not taken.
    Published(u32, Result<(), SinkError>),
    /// A caller's command.
    Submit(Box<NewOperation>),
    /// A caller takes a command back.
    Cancel(String),
    /// What was provisioned for the device has changed; `None`: it was removed.
    Access(Option<Access>, Option<Arc<Profile>>),
    /// The device's profile has changed.
    Profile(Arc<Profile>),
    /// Object models have changed.
    Models,
    /// The armed deadline has passed, or something on record is due.
    Deadline,
    /// Give the device up with exact state.
    Release(StopReason),
}

/// What an endpoint wants done.
#[derive(Debug)]
pub(super) enum Effect {
    /// Write to the device's record; ends in [`Input::Persisted`].
    Persist(u32, Vec<Change>),
    /// Give records to the sink; ends in [`Input::Published`].
    Publish(u32, Vec<Record>),
    /// Give records to the sink; nothing waits for them.
    Announce(Vec<Record>),
    /// Take an event out of the outbox.
    RemoveEvent(String),
    /// Tell the connection.
    Downlink(Link, Downlink),
    /// An operation was taken, with its record, or not.
    Submitted(String, Result<Box<v1::Operation>, SubmitError>),
    /// An operation can't be cancelled. One that can ends in [`Effect::Ended`].
    NotCancelled(String, SubmitError),
    /// An operation has ended, and its record says so.
    Ended(Box<v1::Operation>),
    /// An operation's record has changed.
    OperationChanged(Box<v1::Operation>),
    /// The registration has changed.
    Changed(RegistrationChangeKind),
    /// A request for a registration that this device does not have.
    Foreign(Link, Call, RegistrationId),
    /// The actor ends.
    Stop(StopReason),
}

/// Why an endpoint's actor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Another owner claimed the device, or it was removed from the store.
    Superseded,
    /// The device has no registration any more.
    Ended,
    /// Idle for long.
    Idle,
    /// The shard has more live endpoints than it may.
    Bound,
    /// Another shard takes the device over.
    Moved,
    /// The node drains.
    Drain,
}

/// What happens once a write or a publication has succeeded.
#[derive(Debug)]
pub(super) enum Then {
    /// Install and answer a registration.
    Register(Box<NewRegistration>),
    /// Install and answer an update.
    Update { link: Link, call: Call, registered: Box<Registered>, event: Option<Event>, objects: bool },
    /// Answer a de-register and stop.
    Deregister { link: Link, call: Call },
    /// The registration has expired: publish the event, whose id in the outbox is given.
    Expire(Box<Record>, String),
    /// The event of an expiry is durable.
    Expired(String),
    /// Tell the caller that the operation waits in its queue.
    Submitted(String),
    /// Send a command whose attempt is on record now; `accepted`: and tell the caller that it was taken.
    Send { flight: Box<Flight>, accepted: Option<String> },
    /// Tell the caller how the operation ended.
    Ended(Box<v1::Operation>),
    /// The record is exact and passive: stop.
    Stop(StopReason),
    /// Acknowledge a notification.
    Acknowledge { link: Link, message_id: u16, since: Instant },
    /// Answer a Send.
    SendDone { link: Link, call: Call, since: Instant },
    /// Nothing depends on it.
    Nothing,
}

impl Then {
    /// Whether the device waits for an answer, before which nothing else is sent to it.
    fn answers(&self) -> bool {
        matches!(self, Then::Register(_) | Then::Update { .. } | Then::Deregister { .. })
    }

    /// The request that would be left open if this never happened.
    fn call(&self) -> Option<(Link, Call)> {
        match self {
            Then::Register(new) => Some(new.call()),
            Then::Update { link, call, .. }
            | Then::Deregister { link, call }
            | Then::SendDone { link, call, .. } => Some((*link, *call)),
            _ => None,
        }
    }
}

/// One device's endpoint.
pub(super) struct Core {
    pub(super) services: Rc<Shared>,
    pub(super) device: DeviceId,
    pub(super) name: Arc<str>,
    pub(super) access: Access,
    pub(super) profile: Arc<Profile>,
    pub(super) registered: Option<Box<Registered>>,
    pub(super) applied: Option<Box<value::Applied>>,
    pub(super) observations: Observations,
    pub(super) downlinks: Downlinks,
    pub(super) link: Option<Link>,
    /// Whether a device that sleeps was announced as awake.
    pub(super) awake: bool,
    orders: Orders,
    /// When the device was last heard.
    heard: Instant,
    /// When anything last happened.
    active: Instant,
    /// The end of the registration is being written.
    pub(super) expiring: bool,
    leaving: Option<StopReason>,
    stop_written: bool,
    next_effect: u32,
    waiting: Vec<(u32, Then)>,
    effects: VecDeque<Effect>,
}

impl Core {
    /// An endpoint as its record has it, just claimed.
    pub(super) fn new(
        services: Rc<Shared>,
        now: Reading,
        device: DeviceId,
        name: Arc<str>,
        access: Access,
        profile: Arc<Profile>,
        claimed: Claimed,
    ) -> Self {
        let DeviceRecord { header, registration, applied, observations, operations, events, .. } =
            claimed.record;
        let models = &services.process.models;
        let registered = registration.and_then(|stored| {
            Registered::from_stored(now, &stored, header.deadline, content_format(&profile), |objects| {
                models.set(&profile, objects)
            })
        });
        let mut core = Self {
            services: services.clone(),
            device,
            name,
            access,
            registered: registered.map(Box::new),
            applied: applied.map(Box::new),
            observations: Observations::from_stored(&observations),
            downlinks: Downlinks {
                // `cluster.md`: the slice of message ids that this claim has; the connection's own begin half a slice on.
                next_message_id: ((claimed.claims & 15) as u16) << 12,
                ..Downlinks::default()
            },
            link: None,
            awake: false,
            orders: Orders::new(claimed.term),
            heard: now.now,
            active: now.now,
            expiring: false,
            leaving: None,
            stop_written: false,
            next_effect: 0,
            waiting: Vec::new(),
            effects: VecDeque::new(),
            profile,
        };
        core.adopt_operations(now, operations);
        for event in &events {
            core.publish_stored_event(now, event);
        }
        core.plan_for_profile(now);
        core
    }

    /// Takes an input. Poll effects to the end afterwards, then the deadline.
    pub(super) fn apply(&mut self, now: Reading, input: Input) {
        match input {
            Input::Uplink(link, uplink) => self.handle_uplink(now, link, uplink),
            Input::Unlinked(connection) => {
                if self.link.is_some_and(|link| link.connection == connection) {
                    self.link = None;
                }
            }
            Input::Persisted(id, result) => self.handle_persisted(now, id, result),
            Input::Published(id, result) => self.handle_published(now, id, result),
            Input::Submit(new) => {
                self.active = now.now;
                self.handle_submit(now, *new);
            }
            Input::Cancel(id) => self.handle_cancel(now, id),
            Input::Access(access, profile) => self.handle_access(now, access, profile),
            Input::Profile(profile) => self.handle_profile(now, profile),
            Input::Models => self.handle_models(now),
            Input::Deadline => self.handle_deadline(now),
            Input::Release(reason) => self.release(now, reason),
        }
        self.drive(now);
        self.leave_if_quiet();
    }

    /// The next effect.
    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        if effect.is_none() && self.effects.capacity() > 4 {
            self.effects = VecDeque::new();
        }
        effect
    }

    /// Counts an operation that has ended.
    pub(super) fn count_operation(&self, operation: &v1::Operation) {
        use godwit_proto::v1::{command::Kind, operation::State};
        let kind = match operation.command.as_ref().and_then(|command| command.kind.as_ref()) {
            Some(Kind::Read(_)) => labels::OperationKind::Read,
            Some(Kind::Discover(_)) => labels::OperationKind::Discover,
            Some(Kind::Write(_)) => labels::OperationKind::Write,
            Some(Kind::WriteAttributes(_)) => labels::OperationKind::WriteAttributes,
            Some(Kind::Execute(_)) => labels::OperationKind::Execute,
            Some(Kind::Create(_)) => labels::OperationKind::Create,
            Some(Kind::Delete(_)) => labels::OperationKind::Delete,
            Some(Kind::ReadComposite(_)) => labels::OperationKind::ReadComposite,
            Some(Kind::WriteComposite(_)) => labels::OperationKind::WriteComposite,
            Some(Kind::Observe(_)) => labels::OperationKind::Observe,
            Some(Kind::ObserveComposite(_)) => labels::OperationKind::ObserveComposite,
            Some(Kind::CancelObservation(_)) => labels::OperationKind::Cancel,
            None => return,
        };
        let outcome = match (operation.state(), operation.reason()) {
            (State::Succeeded, _) => labels::OperationOutcome::Ok,
            (State::Expired, _) => labels::OperationOutcome::Expired,
            (State::Cancelled, _) => labels::OperationOutcome::Cancelled,
            (_, v1::operation::Reason::DeviceError) => labels::OperationOutcome::Refused,
            (State::Aborted, _) | (_, v1::operation::Reason::Timeout) => labels::OperationOutcome::Timeout,
            _ => labels::OperationOutcome::Failed,
        };
        let unix = |at: &Option<prost_types::Timestamp>| {
            at.as_ref().map_or(0.0, |at| at.seconds as f64 + f64::from(at.nanos) / 1e9)
        };
        let seconds = unix(&operation.end_time) - unix(&operation.send_time);
        self.services.metrics.operation_ended(kind, outcome, seconds.max(0.0));
    }

    /// When the next [`Input::Deadline`] is due.
    pub(super) fn poll_timeout(&self, now: Reading) -> Option<Instant> {
        if self.leaving() {
            return None;
        }
        let registered = self.registered.as_ref().filter(|_| !self.expiring);
        let expires = registered.map(|registered| registered.expires);
        let asleep = (self.awake && self.sleeps()).then(|| self.heard + self.awake_window());
        let due = self.downlinks.operations.iter().map(|stored| stored.due_at);
        let due = due.chain(self.downlinks.ended.iter().map(|(_, due)| *due)).min();
        let passive = Some(self.active + self.services.process.config.limits.passivate_after);
        [expires, asleep, due.map(|due| now.instant_at(due)), passive].into_iter().flatten().min()
    }

    fn handle_uplink(&mut self, now: Reading, link: Link, uplink: Uplink) {
        if self.leaving() || self.waiting.len() >= MAX_OUTSTANDING {
            return self.leave_unanswered(link, &uplink);
        }
        self.heard(now, link, &uplink);
        match uplink {
            Uplink::Register { call, registration } => self.handle_register(now, link, call, *registration),
            Uplink::Update { call, registration, request } => {
                self.handle_update(now, link, call, registration, &request);
            }
            Uplink::Deregister { call, registration } => {
                self.handle_deregister(now, link, call, registration);
            }
            Uplink::Send { call, request } => self.handle_send(now, link, call, &request),
            Uplink::Notification(notification) => self.handle_notification(now, link, notification),
            Uplink::Response { token, response } => self.handle_response(now, token, *response),
            Uplink::Failed { token, reason } => self.handle_failed(now, token, reason),
        }
    }

    /// Remembers that and where the device was heard.
    fn heard(&mut self, now: Reading, link: Link, uplink: &Uplink) {
        self.active = now.now;
        if matches!(uplink, Uplink::Failed { .. }) {
            return;
        }
        self.heard = now.now;
        self.downlinks.unreachable = false;
        if self.registered.is_some() && self.link.is_none() && !matches!(uplink, Uplink::Register { .. }) {
            self.link = Some(link);
        }
        if self.sleeps() && !self.awake {
            self.awake = true;
            let cause = self.cause(&[b"awake", &now.unix_ms.to_be_bytes()]);
            self.announce(now, Event::Awake, cause);
        }
    }

    /// Nothing is answered; what the device repeats is new.
    fn leave_unanswered(&mut self, link: Link, uplink: &Uplink) {
        if let Uplink::Register { call, .. }
        | Uplink::Update { call, .. }
        | Uplink::Deregister { call, .. }
        | Uplink::Send { call, .. } = uplink
        {
            self.downlink(link, Downlink::Forget { id: call.id });
        }
        if let Uplink::Notification(notification) = uplink {
            self.downlink(link, Downlink::ForgetNotification { message_id: notification.message_id });
        }
    }

    fn handle_persisted(&mut self, now: Reading, id: u32, result: Result<(), StoreError>) {
        let Some(then) = self.done(id) else { return };
        match result {
            Ok(()) => self.proceed(now, then),
            Err(StoreError::Refused(_)) => {
                self.leaving = Some(StopReason::Superseded);
                self.stop_written = true;
                self.effect(Effect::Stop(StopReason::Superseded));
            }
            Err(error) => self.persist_failed(now, then, &error),
        }
    }

    /// A write did not happen, or nobody knows: nothing is answered, and memory stays as it was.
    fn persist_failed(&mut self, now: Reading, then: Then, error: &StoreError) {
        tracing::warn!(device = %self.device, %error, "a change was not stored");
        if let Some((link, call)) = then.call() {
            self.downlink(link, Downlink::Forget { id: call.id });
        }
        match then {
            Then::Submitted(id) => {
                self.downlinks.operations.retain(|stored| stored.id != id);
                self.effect(Effect::Submitted(id, Err(SubmitError::Store(error.to_string()))));
            }
            Then::Send { flight, accepted } => {
                self.downlinks.preparing = false;
                if let Some(id) = accepted {
                    self.downlinks.operations.retain(|stored| stored.id != id);
                    self.effect(Effect::Submitted(id, Err(SubmitError::Store(error.to_string()))));
                } else if let Purpose::Command(id) = &flight.purpose {
                    let id = id.clone();
                    self.queue_again(&id);
                }
            }
            // The caller hears what happened, though a later owner may not know it.
            Then::Ended(operation) => self.operation_ended(now, *operation),
            Then::Expire(..) => self.retry_expiry(now),
            Then::Stop(reason) => {
                self.stop_written = true;
                self.effect(Effect::Stop(reason));
            }
            _ => {}
        }
    }

    fn handle_published(&mut self, now: Reading, id: u32, result: Result<(), SinkError>) {
        let Some(then) = self.done(id) else { return };
        match result {
            Ok(()) => self.proceed(now, then),
            Err(error) => self.publish_failed(then, &error),
        }
    }

    /// The sink took nothing: the device gets no acknowledgement and repeats, or is told to come again.
    fn publish_failed(&mut self, then: Then, error: &SinkError) {
        self.services.metrics.notifications[labels::Notification::Dropped].increment(1);
        match then {
            Then::Acknowledge { link, message_id, .. } => {
                self.downlink(link, Downlink::ForgetNotification { message_id });
            }
            Then::SendDone { link, call, .. } => {
                let busy = Response::diagnostic(godwit_coap::Code::SERVICE_UNAVAILABLE, error.to_string());
                self.reply(link, call, busy.max_age(30));
            }
            // Stays in the outbox for a later owner.
            Then::Expired(_) => {
                self.leaving = Some(StopReason::Ended);
            }
            _ => {}
        }
    }

    fn proceed(&mut self, now: Reading, then: Then) {
        match then {
            Then::Register(new) => self.registration_stored(now, *new),
            Then::Update { link, call, registered, event, objects } => {
                self.update_stored(now, link, call, registered, event, objects);
            }
            Then::Deregister { link, call } => self.deregistered(now, link, call),
            Then::Expire(record, event) => self.expiry_stored(*record, event),
            Then::Expired(event) => {
                self.effect(Effect::RemoveEvent(event));
                if self.registered.is_none() {
                    self.release(now, StopReason::Ended);
                }
            }
            Then::Submitted(id) => self.accepted(id),
            Then::Send { flight, accepted } => {
                match (accepted, &flight.purpose) {
                    (Some(id), _) => self.accepted(id),
                    (None, Purpose::Command(id)) => {
                        let stored = self.downlinks.operations.iter().find(|stored| stored.id == *id);
                        if let Some(operation) = stored.and_then(|stored| stored.operation.clone()) {
                            self.effect(Effect::OperationChanged(Box::new(operation)));
                        }
                    }
                    (None, Purpose::Task(_)) => {}
                }
                self.send(now, flight);
            }
            Then::Ended(operation) => self.operation_ended(now, *operation),
            Then::Stop(reason) => {
                self.stop_written = true;
                self.effect(Effect::Stop(reason));
            }
            Then::Acknowledge { link, message_id, since } => {
                self.services.metrics.notification_durable_seconds.record(now.now - since);
                self.downlink(link, Downlink::Acknowledge { message_id });
            }
            Then::SendDone { link, call, since } => {
                self.services.metrics.notification_durable_seconds.record(now.now - since);
                self.reply(link, call, Response::new(godwit_coap::Code::CHANGED));
            }
            Then::Nothing => {}
        }
    }

    fn accepted(&mut self, id: String) {
        let stored = self.downlinks.operations.iter().find(|stored| stored.id == id);
        let operation = stored.and_then(|stored| stored.operation.clone()).unwrap_or_default();
        self.effect(Effect::OperationChanged(Box::new(operation.clone())));
        self.effect(Effect::Submitted(id, Ok(Box::new(operation))));
    }

    fn handle_send(&mut self, now: Reading, link: Link, call: Call, request: &Request) {
        let Some(registered) = self.registered.as_deref() else {
            let unknown = Response::diagnostic(godwit_coap::Code::NOT_FOUND, "the device is not registered");
            return self.reply(link, call, unknown);
        };
        let objects = &registered.client.objects;
        let seconds = now.unix_ms as f64 / 1000.0;
        let limits = godwit_lwm2m::format::Limits::default();
        let content = match godwit_lwm2m::operation::read_send(
            request,
            objects,
            &registered.models,
            seconds,
            &limits,
        ) {
            Ok(content) => content,
            Err(refusal) => return self.reply(link, call, refusal.into()),
        };
        let message = telemetry::Uplink {
            cause: Cause::Send,
            token: call.token.as_bytes(),
            message_id: call.message_id,
            observe: None,
            payload: &request.payload,
            stale: false,
        };
        let records = self.records(now, &message, content.entries);
        if records.is_empty() {
            return self.reply(link, call, Response::new(godwit_coap::Code::CHANGED));
        }
        self.publish(records, Then::SendDone { link, call, since: now.now });
    }

    fn handle_deadline(&mut self, now: Reading) {
        if self.leaving() {
            return;
        }
        if self.registered.as_ref().is_some_and(|registered| registered.expires <= now.now) {
            return self.expire(now);
        }
        self.expire_operations(now);
        if self.awake && self.sleeps_at(now) {
            self.awake = false;
            let cause = self.cause(&[b"asleep", &now.unix_ms.to_be_bytes()]);
            self.announce(now, Event::Asleep, cause);
        }
        let idle = self.active + self.services.process.config.limits.passivate_after <= now.now;
        if idle && self.downlinks.flight.is_none() {
            self.release(now, StopReason::Idle);
        }
    }

    fn handle_access(&mut self, now: Reading, access: Option<Access>, profile: Option<Arc<Profile>>) {
        let Some(access) = access else {
            self.leaving = Some(StopReason::Superseded);
            self.stop_written = true;
            return self.effect(Effect::Stop(StopReason::Superseded));
        };
        self.access = access;
        if self.access.refuses_no_sec().is_some() {
            // The registration ends for the node; the device learns it at its next message.
            return self.release(now, StopReason::Ended);
        }
        if let Some(profile) = profile {
            self.handle_profile(now, profile);
        }
    }

    fn handle_profile(&mut self, now: Reading, profile: Arc<Profile>) {
        let old = std::mem::replace(&mut self.profile, profile);
        if let Some(registered) = self.registered.as_deref_mut() {
            registered.models = self.services.process.models.set(&self.profile, &registered.client.objects);
            registered.formats.update(registered.client.formats, content_format(&self.profile));
        }
        self.apply_difference(now, &old);
    }

    fn handle_models(&mut self, _now: Reading) {
        if let Some(registered) = self.registered.as_deref_mut() {
            registered.models = self.services.process.models.set(&self.profile, &registered.client.objects);
        }
    }

    /// After a claim: what is missing of the profile's start actions.
    fn plan_for_profile(&mut self, now: Reading) {
        let Some(registered) = self.registered.as_deref() else { return };
        let done = registered.started.as_ref() == Some(&name_and_revision(&self.profile));
        if done {
            let pending = self.observations.unconfirmed();
            self.downlinks.tasks.extend(pending);
            return;
        }
        if registered.started.is_some() {
            // Another revision or profile than the one that the device was set up for.
            let nothing = self.services.process.empty_profile.clone();
            return self.apply_difference(now, &nothing);
        }
        let plan = registered.plan(|client| self.profile.start_plan(client));
        let mut tasks: Vec<_> =
            plan.attributes.iter().map(|(path, set)| Task::WriteAttributes(*path, set.clone())).collect();
        tasks.extend(plan.reads.into_iter().map(Task::Read));
        self.downlinks.tasks.extend(tasks);
        let pending = self.observations.unconfirmed();
        self.downlinks.tasks.extend(pending);
    }

    /// The device has new objects or instances: what the profile asks of them.
    pub(super) fn plan_for_new_objects(&mut self, now: Reading) {
        let nothing = self.services.process.empty_profile.clone();
        self.apply_difference(now, &nothing);
    }

    fn apply_difference(&mut self, now: Reading, old: &Profile) {
        let Some(registered) = self.registered.as_deref() else { return };
        let current: Vec<Target> =
            self.observations.iter().map(|observation| observation.target.clone()).collect();
        let plan = registered.plan(|client| Profile::difference(old, &self.profile, &current, client));
        let mut changes = Vec::new();
        let mut tasks = Vec::new();
        for target in plan.cancel {
            if let Some(token) = self.observations.by_target(&target).map(|found| found.token)
                && let Some(observation) = self.observations.remove(token)
            {
                changes.push(Change::RemoveObservation(token.as_bytes().to_vec()));
                tasks.push(Task::Cancel(Box::new(observation)));
            }
        }
        tasks.extend(plan.attributes.iter().map(|(path, set)| Task::WriteAttributes(*path, set.clone())));
        tasks.extend(plan.reads.into_iter().map(Task::Read));
        for target in plan.observations {
            if self.observations.by_target(&target).is_some() {
                continue;
            }
            let observation = Observation::of_profile(target);
            changes.push(Change::Observation(observation.to_stored()));
            tasks.push(Task::Observe(observation.token));
            self.observations.push(observation);
        }
        let event = Event::ProfileApplied { revision: self.profile.revision() };
        let cause = self.cause(&[b"profile", self.profile.name().as_bytes(), &now.unix_ms.to_be_bytes()]);
        self.announce(now, event, cause);
        for (ordinal, skipped) in plan.skipped.into_iter().enumerate() {
            let event = Event::PathSkipped { path: skipped.path, reason: skipped.reason };
            self.announce_nth(now, event, cause, ordinal as u32);
        }
        self.downlinks.tasks.extend(tasks);
        if !changes.is_empty() {
            self.persist(changes, Then::Nothing);
        }
    }

    /// Gives the device up once nothing is outstanding.
    pub(super) fn release(&mut self, _now: Reading, reason: StopReason) {
        self.leaving.get_or_insert(reason);
    }

    fn leave_if_quiet(&mut self) {
        let Some(reason) = self.leaving else { return };
        if self.stop_written || !self.waiting.is_empty() {
            return;
        }
        self.stop_written = true;
        self.persist(vec![Change::Passive], Then::Stop(reason));
    }

    /// Whether the endpoint is on its way out and takes nothing new.
    pub(super) fn leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether the device waits for an answer that waits for a write.
    pub(super) fn answers_wait(&self) -> bool {
        self.waiting.iter().any(|(_, then)| then.answers())
    }

    /// Whether the device sleeps at times.
    fn sleeps(&self) -> bool {
        match self.profile.power().mode {
            PowerMode::Drx => false,
            PowerMode::Psm | PowerMode::Edrx => true,
            PowerMode::Registered => {
                self.registered.as_ref().is_some_and(|registered| registered.client.queue_mode)
            }
        }
    }

    /// Whether the device is out of its awake window.
    pub(super) fn sleeps_at(&self, now: Reading) -> bool {
        self.sleeps() && now.now >= self.heard + self.awake_window()
    }

    fn awake_window(&self) -> std::time::Duration {
        let power = self.profile.power();
        match power.mode {
            PowerMode::Registered => self.services.process.config.registration.awake_window,
            _ => power.awake,
        }
    }

    // Effects.

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn downlink(&mut self, link: Link, downlink: Downlink) {
        self.effect(Effect::Downlink(link, downlink));
    }

    pub(super) fn reply(&mut self, link: Link, call: Call, response: Response) {
        self.downlink(link, Downlink::Reply { id: call.id, response });
    }

    pub(super) fn changed(&mut self, kind: RegistrationChangeKind) {
        self.effect(Effect::Changed(kind));
    }

    /// Writes, and then goes on.
    pub(super) fn persist(&mut self, changes: Vec<Change>, then: Then) {
        let id = self.wait_for(then);
        self.effect(Effect::Persist(id, changes));
    }

    /// Publishes, and then goes on.
    pub(super) fn publish(&mut self, records: Vec<Record>, then: Then) {
        let id = self.wait_for(then);
        self.effect(Effect::Publish(id, records));
    }

    fn wait_for(&mut self, then: Then) -> u32 {
        let id = self.next_effect;
        self.next_effect = id.wrapping_add(1);
        self.waiting.push((id, then));
        id
    }

    fn done(&mut self, id: u32) -> Option<Then> {
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == id)?;
        let then = self.waiting.remove(at).1;
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
        Some(then)
    }

    // Records.

    /// What names the records of this device.
    pub(super) fn with_origin<R>(&mut self, make: impl FnOnce(&Origin<'_>, &mut Orders) -> R) -> R {
        let origin = Origin {
            site: &self.services.process.site,
            device: self.device,
            endpoint: &self.name,
            profile: self.profile.name(),
            registration: self.registered.as_ref().map(|registered| registered.id),
        };
        make(&origin, &mut self.orders)
    }

    pub(super) fn records(
        &mut self,
        now: Reading,
        message: &telemetry::Uplink<'_>,
        entries: Vec<Entry>,
    ) -> Vec<Record> {
        let Some(models) = self.registered.as_ref().map(|registered| registered.models.clone()) else {
            return Vec::new();
        };
        let profile = self.profile.clone();
        self.with_origin(|origin, orders| {
            telemetry::records(origin, &profile, &models, message, entries, orders, now.unix_ms)
        })
    }

    /// Publishes what an answer brought; nobody waits for it.
    pub(super) fn publish_answer(
        &mut self,
        now: Reading,
        flight: &Flight,
        cause: Cause,
        observe: Option<u32>,
        response: &Response,
        entries: Vec<Entry>,
    ) {
        let message = telemetry::Uplink {
            cause,
            token: flight.token.as_bytes(),
            message_id: flight.message_id,
            observe,
            payload: &response.payload,
            stale: false,
        };
        let records = self.records(now, &message, entries);
        if !records.is_empty() {
            self.effect(Effect::Announce(records));
        }
    }

    pub(super) fn event_record(&mut self, now: Reading, event: Event, cause: Identity) -> Record {
        self.with_origin(|origin, orders| telemetry::event(origin, event, cause, 0, orders, now.unix_ms))
    }

    /// As `event_record`, for a registration that is not this endpoint's any more.
    pub(super) fn event_record_of(
        &mut self,
        now: Reading,
        event: Event,
        cause: Identity,
        registration: Option<RegistrationId>,
    ) -> Record {
        self.with_origin(|origin, orders| {
            let origin = Origin { registration, ..*origin };
            telemetry::event(&origin, event, cause, 0, orders, now.unix_ms)
        })
    }

    /// Publishes an event; nothing waits for it.
    pub(super) fn announce(&mut self, now: Reading, event: Event, cause: Identity) {
        self.announce_nth(now, event, cause, 0);
    }

    pub(super) fn announce_nth(&mut self, now: Reading, event: Event, cause: Identity, ordinal: u32) {
        let record = self.with_origin(|origin, orders| {
            telemetry::event(origin, event, cause, ordinal, orders, now.unix_ms)
        });
        self.effect(Effect::Announce(vec![record]));
    }
}

/// What says which start actions a device has had.
pub(super) fn name_and_revision(profile: &Profile) -> (Arc<str>, u64) {
    (profile.name().clone(), profile.revision())
}

/// The format that a profile asks for.
pub(super) fn content_format(profile: &Profile) -> Option<godwit_lwm2m::format::ContentFormat> {
    profile.format().and_then(godwit_lwm2m::format::ContentFormat::from_number)
}
