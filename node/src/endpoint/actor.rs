//! The actor of one endpoint: a mailbox, a deadline, the core, and what performs its effects.

use std::{
    cell::Cell,
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use godwit_coap::{Code, Response};
use godwit_proto::v1::Operation;
use tokio::sync::oneshot;

use super::{
    Delivery, Endpoints, NOBODY, WAITING,
    activation::leave_unanswered,
    core::Core,
    directory::Reservation,
    handle::{
        NewOperation, OperationChange, RegistrationChange, RegistrationChangeKind, SubmitError, Submitted,
        Told,
    },
    link::{Call, Downlink, Link, Reach, Secured, Security},
    message::{Effect, Input, StopReason},
    reach::Address,
};
use crate::{
    clock::{self, Reading},
    identity::{AssociationId, DeviceId, RegistrationId},
    metrics::labels,
    ownership::Confirmed,
    shard::{ActorKey, Target, timers::TimerKey},
    store::{Change, DeviceRecord, Expect, Fence, Header, Numbers, Pointer, Session, StateStore, StoreError},
    telemetry::{Publication, Record, Ticket},
};

/// What a device may say while it is looked up whose it is.
const UNSURE: usize = 16;
/// How long what the device says waits for whoever has it next: soon after, the device repeats it.
const WAITING_FOR: Duration = Duration::from_millis(1500);

/// What an endpoint's mailbox takes.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum Mail {
    /// For the core.
    Core(Input),
    /// A command, and who waits for it.
    Submit(Box<NewOperation>, oneshot::Sender<Result<Submitted, SubmitError>>),
    /// A cancellation, and who waits for it.
    Cancel(String, oneshot::Sender<Result<Operation, SubmitError>>),
    /// Give the device up; the sender is dropped when that is done.
    Release(StopReason, oneshot::Sender<()>),
    /// The device's header, read because the shard has stood still.
    Header(Confirmed, Result<Option<Header>, StoreError>),
    /// Read again what is provisioned for the device; the sender is dropped when that is done.
    Refresh(oneshot::Sender<()>),
    /// The actor's own: nothing is left in the mailbox behind it.
    Gone,
}

/// Who waits for one operation. Most endpoints have nobody, so it is boxed away.
#[derive(Debug, Default)]
struct Waiters {
    /// For the operation to be taken.
    taken: HashMap<String, oneshot::Sender<Result<Submitted, SubmitError>>>,
    /// For its end.
    ended: HashMap<String, oneshot::Sender<Operation>>,
    /// For its cancellation.
    cancelled: HashMap<String, oneshot::Sender<Result<Operation, SubmitError>>>,
}

/// One device's actor.
pub(super) struct EndpointActor {
    endpoints: Rc<Endpoints>,
    key: ActorKey,
    core: Core,
    fence: Fence,
    timer: TimerKey,
    armed: Option<Instant>,
    /// Observations that the gauge holds for this actor.
    observed: u32,
    waiters: Option<Box<Waiters>>,
    released: Vec<oneshot::Sender<()>>,
    /// What came while the device was being given up, and when: for whoever has it next.
    later: Vec<(Instant, Mail)>,
    /// When this ownership was last known to be the newest; `None`: nobody else could claim the device.
    confirmed: Option<Confirmed>,
    /// What came while that is not known.
    unsure: Vec<Mail>,
    stop: Option<StopReason>,
    /// Shared with the table of endpoints: the device is being given up.
    leaving: Rc<Cell<bool>>,
    /// Given up last, so that whoever waits for the device finds everything else done.
    _reservation: Reservation,
}

impl EndpointActor {
    pub(super) fn new(
        endpoints: Rc<Endpoints>,
        key: ActorKey,
        core: Core,
        fence: Fence,
        leaving: Rc<Cell<bool>>,
        confirmed: Option<Confirmed>,
        reservation: Reservation,
    ) -> Self {
        let timer = endpoints.shared.timers.insert(Target::Endpoint(key));
        Self {
            endpoints,
            key,
            core,
            fence,
            timer,
            armed: None,
            observed: 0,
            waiters: None,
            released: Vec::new(),
            later: Vec::new(),
            confirmed,
            unsure: Vec::new(),
            stop: None,
            leaving,
            _reservation: reservation,
        }
    }

    fn perform_all(&mut self, now: Reading, ctx: &mut Context<Self>) {
        while let Some(effect) = self.core.poll_effect() {
            self.perform(now, effect, ctx);
        }
        self.count_observations(self.core.observations.len() as u32);
        if self.core.leaving() {
            self.leaving.set(true);
        }
        if self.stop.is_some() {
            // What is in the mailbox already must not vanish with it.
            return ctx.address().do_send(Mail::Gone);
        }
        let due = self.core.poll_timeout(now);
        if due != self.armed {
            self.armed = due;
            self.endpoints.shared.timers.arm(self.timer, due);
        }
    }

    /// Makes the gauge hold `observations` of this actor.
    fn count_observations(&mut self, observations: u32) {
        if observations != self.observed {
            self.endpoints
                .shared
                .metrics
                .observations
                .increment(f64::from(observations) - f64::from(self.observed));
            self.observed = observations;
        }
    }

    fn perform(&mut self, now: Reading, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Persist(id, changes) => self.persist(id, changes, ctx),
            Effect::Publish(id, records) => self.publish(id, records),
            Effect::Announce(records) => self.publish(NOBODY, records),
            Effect::RemoveEvent(event) => {
                drop(self.endpoints.store().remove_event(self.core.device, event));
            }
            Effect::Reach(address) => self.reach(address, ctx),
            Effect::ReachSession { association, whole, numbers, exact } => {
                self.reach_session(association, whole, (numbers, exact), ctx);
            }
            Effect::ReadSession(link, association) => self.read_session(link, association, ctx),
            Effect::SettleRotation => self.settle_rotation(),
            Effect::AwaitStart => self.endpoints.shared.starts.wait(self.key),
            Effect::Downlink(link, downlink) => {
                if !self.send_down(link, downlink) {
                    self.core.apply(now, Input::Unlinked(link.connection));
                }
            }
            Effect::Submitted(id, result) => self.submitted(id, result.map(|operation| *operation)),
            Effect::NotCancelled(id, error) => {
                if let Some(reply) = self.waiters().cancelled.remove(&id) {
                    drop(reply.send(Err(error)));
                }
            }
            Effect::Ended(operation) => {
                self.tell_watchers(&operation);
                self.ended(*operation);
            }
            Effect::OperationChanged(operation) => self.tell_watchers(&operation),
            Effect::Changed(kind) => {
                let metrics = &self.endpoints.shared.metrics;
                metrics.registration_changes[change_label(kind)].increment(1);
                // An error says that nobody watches.
                drop(self.endpoints.shared.process.changes.send(Told::Change(RegistrationChange {
                    device: self.core.device,
                    endpoint: self.core.name.clone(),
                    kind,
                    at: now.unix_ms,
                    here: true,
                })));
            }
            Effect::Foreign(link, call, registration) => self.answer_foreign(link, call, registration),
            Effect::LookAgain => self.core.apply(now, Input::LookAgain),
            Effect::Stop(reason) => self.stop = Some(reason),
        }
    }

    fn persist(&self, id: u32, changes: Vec<Change>, ctx: &Context<Self>) {
        let written = self.endpoints.store().commit(self.core.device, self.fence.clone(), changes);
        let address = ctx.address();
        actix::spawn(async move {
            let result = written.await;
            address.do_send(Mail::Core(Input::Persisted(id, result)));
        });
    }

    /// Hands records over for the end of the shard's turn; what waits for them hears of it by its ticket.
    fn publish(&self, effect: u32, records: Vec<Record>) {
        let shared = &self.endpoints.shared;
        let ticket =
            Ticket { shard: shared.shard, key: self.key.index, activation: self.key.generation, effect };
        shared.turn.push(Publication { records, ticket });
    }

    /// `false`: the connection is gone.
    fn send_down(&self, link: Link, downlink: Downlink) -> bool {
        let links = self.endpoints.shared.links.get();
        links.is_none_or(|links| links.deliver(link.connection, self.core.device, downlink))
    }

    /// Opens a connection to the address on record, unless that leads to another device by now.
    fn reach(&self, Address { peer, local }: Address, ctx: &Context<Self>) {
        let found = self.endpoints.store().resolve(Pointer::Address(peer));
        let (shared, device, actor) = (self.endpoints.shared.clone(), self.core.device, ctx.address());
        actix::spawn(async move {
            let own = found.await.is_ok_and(|holder| holder == Some(device));
            let links = shared.links.get().filter(|_| own);
            let link = links.and_then(|links| links.clone().reach(device, peer, local, Reach::Plain));
            actor.do_send(Mail::Core(Input::Reached(link)));
        });
    }

    /// Opens a connection by a session on record.
    fn reach_session(
        &self,
        association: AssociationId,
        whole: Option<Box<Session>>,
        (numbers, exact): (Numbers, bool),
        ctx: &Context<Self>,
    ) {
        let (shared, device, actor) = (self.endpoints.shared.clone(), self.core.device, ctx.address());
        actix::spawn(async move {
            let whole = match whole {
                Some(whole) => Some(whole),
                None => stored_session(&*shared.process.store, device, association).await,
            };
            let links = shared.links.get();
            let link = whole.zip(links).and_then(|(mut session, links)| {
                session.numbers = numbers;
                let (peer, local) = (session.peer?, session.local);
                let (mode, credential) = (session.mode, session.credential_version);
                let link = links.clone().reach(device, peer, local, Reach::Session { session, exact })?;
                Some(Link { security: Security::Dtls(Secured { association, mode, credential }), ..link })
            });
            actor.do_send(Mail::Core(Input::Reached(link)));
        });
    }

    fn read_session(&self, link: Link, association: AssociationId, ctx: &Context<Self>) {
        let (shared, device, actor) = (self.endpoints.shared.clone(), self.core.device, ctx.address());
        actix::spawn(async move {
            let read = stored_session(&*shared.process.store, device, association).await;
            actor.do_send(Mail::Core(Input::SessionRead(link, association, read)));
        });
    }

    /// Drops the secret that a rotation has replaced. Tried again when the new one is used next, should it fail.
    fn settle_rotation(&self) {
        let (shared, device) = (self.endpoints.shared.clone(), self.core.device);
        actix::spawn(async move {
            let store = &*shared.process.store;
            let Ok(Some(DeviceRecord { document: Some(mut document), .. })) = store.load(device).await else {
                return;
            };
            let Some(credential) = document.credential.as_mut().filter(|it| !it.previous_secret.is_empty())
            else {
                return;
            };
            credential.previous_secret.clear();
            let expect = Expect::Revision(document.revision);
            if let Err(error) = store.put_device(document, expect).await {
                tracing::debug!(%device, %error, "a replaced secret stays valid for now");
            }
        });
    }

    /// What still comes after the endpoint has given the device up.
    fn turn_away(&mut self, mail: Mail) {
        match mail {
            Mail::Core(Input::Uplink(link, uplink)) => {
                leave_unanswered(&self.endpoints, self.core.device, link, &uplink);
            }
            Mail::Submit(..) | Mail::Cancel(..) => self.later.push((clock::now(), mail)),
            Mail::Release(_, done) | Mail::Refresh(done) => self.released.push(done),
            Mail::Core(_) | Mail::Header(..) | Mail::Gone => {}
        }
    }

    /// Whether whoever has the device next can do what comes while it is being given up: a command, and a request whose
    /// connection outlives this actor.
    fn is_for_the_next(&self, mail: &Mail) -> bool {
        match mail {
            Mail::Submit(..) | Mail::Cancel(..) => true,
            Mail::Core(Input::Uplink(link, uplink)) => {
                uplink.call().is_some()
                    && link.security.secured().is_none()
                    && self.core.link.is_none_or(|own| own.connection != link.connection)
                    && self.later.len() < WAITING
            }
            _ => false,
        }
    }

    /// Keeps what the device says, if others may have claimed it while the shard stood still, and looks whether they have.
    fn hold_unsure(&mut self, mail: Mail, ctx: &Context<Self>) -> Option<Mail> {
        let shared = self.endpoints.shared.clone();
        let (Some(pulse), Some(confirmed)) = (&shared.pulse, self.confirmed) else { return Some(mail) };
        pulse.turn();
        if !matches!(mail, Mail::Core(Input::Uplink(..))) || !pulse.is_unsure(confirmed) {
            return Some(mail);
        }
        if self.unsure.len() >= UNSURE {
            self.turn_away(mail);
            return None;
        }
        self.unsure.push(mail);
        if self.unsure.len() == 1 {
            let asked = pulse.confirmed();
            let read = shared.process.store.load(self.core.device);
            let address = ctx.address();
            actix::spawn(async move {
                let read = read.await.map(|record| record.map(|record| record.header));
                address.do_send(Mail::Header(asked, read));
            });
        }
        None
    }

    /// Goes on if nobody has claimed the device meanwhile.
    fn handle_header(
        &mut self,
        now: Reading,
        confirmed: Confirmed,
        read: Result<Option<Header>, StoreError>,
    ) {
        let held = std::mem::take(&mut self.unsure);
        let ours = read.map(|header| header.is_some_and(|header| self.fence.outranks(&header)));
        match ours {
            Ok(true) => self.confirmed = Some(confirmed),
            Ok(false) => {
                tracing::debug!(device = %self.core.device, "another node has claimed the device meanwhile");
                self.core.apply(now, Input::Access(None, None));
            }
            // The next thing that the device says asks again.
            Err(_) => {}
        }
        for mail in held {
            match mail {
                Mail::Core(input) if matches!(ours, Ok(true)) => self.core.apply(now, input),
                mail => self.turn_away(mail),
            }
        }
    }

    fn answer_foreign(&self, link: Link, call: Call, registration: RegistrationId) {
        let (shared, device) = (self.endpoints.shared.clone(), self.core.device);
        actix::spawn(async move {
            let downlink = match foreign(&*shared.process.store, registration).await {
                Ok(response) => Downlink::Reply { id: call.id, response },
                Err(_) => Downlink::Forget { id: call.id },
            };
            if let Some(links) = shared.links.get() {
                links.deliver(link.connection, device, downlink);
            }
        });
    }

    fn tell_watchers(&self, operation: &Operation) {
        let operations = &self.endpoints.shared.process.operations;
        if operations.receiver_count() > 0 {
            // An error says that the last watcher has just gone.
            let operation = Arc::new(operation.clone());
            drop(operations.send(Told::Change(OperationChange { operation, here: true })));
        }
    }

    fn waiters(&mut self) -> &mut Waiters {
        self.waiters.get_or_insert_default()
    }

    fn submitted(&mut self, id: String, result: Result<Operation, SubmitError>) {
        let Some(reply) = self.waiters().taken.remove(&id) else { return };
        match result {
            Ok(operation) => {
                let (tell, ended) = oneshot::channel();
                if reply.send(Ok(Submitted { operation, ended })).is_ok() {
                    self.waiters().ended.insert(id, tell);
                }
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn ended(&mut self, operation: Operation) {
        let Some(waiters) = self.waiters.as_deref_mut() else { return };
        let id = operation.name.rsplit('/').next().unwrap_or_default();
        if let Some(reply) = waiters.taken.remove(id) {
            // It ended before it was ever seen to wait.
            let (tell, ended) = oneshot::channel();
            drop(tell.send(operation.clone()));
            drop(reply.send(Ok(Submitted { operation: operation.clone(), ended })));
        }
        if let Some(reply) = waiters.cancelled.remove(id) {
            drop(reply.send(Ok(operation.clone())));
        }
        if let Some(tell) = waiters.ended.remove(id) {
            drop(tell.send(operation));
        }
        if waiters.taken.is_empty() && waiters.ended.is_empty() && waiters.cancelled.is_empty() {
            self.waiters = None;
        }
    }
}

async fn stored_session(
    store: &dyn StateStore,
    device: DeviceId,
    association: AssociationId,
) -> Option<Box<Session>> {
    let record = store.load(device).await.ok()??;
    record.sessions.into_iter().find(|session| session.association == association).map(Box::new)
}

/// The answer to a request for a registration that the sender does not have.
pub(crate) async fn foreign(
    store: &dyn StateStore,
    registration: RegistrationId,
) -> Result<Response, StoreError> {
    let Some(device) = store.resolve(Pointer::Registration(registration)).await? else {
        return Ok(no_such_registration());
    };
    // The id of an ended registration goes on leading to its device, for the sake of a repeated DELETE.
    let record = store.load(device).await?;
    let current = record.and_then(|record| record.registration);
    if current.is_none_or(|current| current.id != registration.as_str()) {
        return Ok(no_such_registration());
    }
    Ok(Response::diagnostic(
        Code::FORBIDDEN,
        "the registration was made from another address; register again",
    ))
}

/// The answer to a request for a registration that nobody has.
pub(crate) fn no_such_registration() -> Response {
    Response::diagnostic(Code::NOT_FOUND, "no such registration")
}

impl Actor for EndpointActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // What its record left to do.
        self.perform_all(clock::read(), ctx);
    }
}

impl Handler<Mail> for EndpointActor {
    type Result = ();

    fn handle(&mut self, mail: Mail, ctx: &mut Context<Self>) {
        if self.core.leaving() && self.is_for_the_next(&mail) {
            return self.later.push((clock::now(), mail));
        }
        if self.stop.is_some() {
            return match mail {
                Mail::Gone => ctx.stop(),
                mail => self.turn_away(mail),
            };
        }
        let Some(mail) = self.hold_unsure(mail, ctx) else { return };
        let now = clock::read();
        match mail {
            Mail::Core(input) => {
                if matches!(input, Input::Deadline) {
                    self.armed = None;
                }
                self.core.apply(now, input);
            }
            Mail::Submit(new, reply) => {
                self.waiters().taken.insert(new.id.clone(), reply);
                self.core.apply(now, Input::Submit(new));
            }
            Mail::Cancel(id, reply) => {
                self.waiters().cancelled.insert(id.clone(), reply);
                self.core.apply(now, Input::Cancel(id));
            }
            Mail::Release(reason, released) => {
                self.released.push(released);
                self.core.apply(now, Input::Release(reason));
            }
            Mail::Refresh(done) => self.endpoints.refresh_access(self.core.device, done),
            Mail::Header(confirmed, read) => self.handle_header(now, confirmed, read),
            Mail::Gone => {}
        }
        self.perform_all(now, ctx);
    }
}

fn change_label(kind: RegistrationChangeKind) -> labels::RegistrationChange {
    match kind {
        RegistrationChangeKind::Registered => labels::RegistrationChange::Registered,
        RegistrationChangeKind::Updated => labels::RegistrationChange::Updated,
        RegistrationChangeKind::Deregistered => labels::RegistrationChange::Deregistered,
        RegistrationChangeKind::Expired => labels::RegistrationChange::Expired,
    }
}

impl Drop for EndpointActor {
    /// However the actor ends, a panic included, it leaves every index.
    fn drop(&mut self) {
        self.endpoints.shared.timers.remove(self.timer);
        self.count_observations(0);
        let reason = match self.stop {
            None => labels::Passivation::Panic,
            Some(StopReason::Idle) => labels::Passivation::Idle,
            Some(StopReason::Bound | StopReason::Moved) => labels::Passivation::Bound,
            Some(StopReason::Drain) => labels::Passivation::Drain,
            Some(StopReason::Ended | StopReason::Superseded) => labels::Passivation::Ended,
        };
        if let Some(link) = self.core.link {
            self.send_down(link, Downlink::Close);
        }
        // No connection by a session outlives the one that writes its numbers. After a panic or a take-over these are
        // lost or another's; else they are on record, and there is nothing left to end.
        if let Some(links) = self.endpoints.shared.links.get() {
            drop(links.retire(self.core.device));
        }
        self.endpoints.closed(self.key, self.core.device, reason);
        let Some(stopped) = self.stop else { return };
        // Else another shard or node takes the device: what the device repeats goes there.
        let stays = matches!(stopped, StopReason::Ended | StopReason::Idle | StopReason::Bound)
            && self.released.is_empty();
        for (since, mail) in self.later.drain(..) {
            let Mail::Core(Input::Uplink(link, uplink)) = mail else {
                self.endpoints.command(self.core.device, mail);
                continue;
            };
            let given = match stays && since.elapsed() < WAITING_FOR {
                true => self.endpoints.deliver(self.core.device, link, uplink),
                false => Delivery::Dropped(Box::new(uplink)),
            };
            if let Delivery::Dropped(uplink) | Delivery::Overloaded(uplink) = given {
                leave_unanswered(&self.endpoints, self.core.device, link, &uplink);
            }
        }
    }
}
