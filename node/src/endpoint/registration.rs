//! Register, Update, De-register and expiry of one endpoint.
//!
//! ```text
//!  Register ─► applied before? ─► the stored answer
//!      └─► allowed? ─► write registration, address, answer, pending observations ─► 2.01 ─► start actions
//!  Update ───► covered by the stored deadline? ─► 2.04
//!      └─► write what changed, or the later deadline ─► 2.04
//!  Deregister ► write the tombstone with its answer and the event ─► 2.02 ─► publish the event ─► stop
//!  lifetime and grace over ─► write the end and its event ─► publish the event ─► stop
//! ```

use std::{net::SocketAddr, time::Duration};

use godwit_coap::{Code, Request, Response};
use godwit_lwm2m::registration::{Registration, Update};

use super::{
    core::Core,
    downlink::Task,
    handle::RegistrationChangeKind,
    link::{Call, Downlink, Link},
    message::{Effect, Then},
    observation::Observation,
    orphan,
    plan::{content_format, name_and_revision},
    reach::Address,
    registered::{Proof, Registered},
};
use crate::{
    clock::Reading,
    identity::RegistrationId,
    profile::Skipped,
    store::{APPLIED_FOR_MS, Change, pointer::address_bytes, value},
    telemetry::{Event, Identity, Record},
};

/// How often a deadline or an end that is owed is tried to be written.
pub(super) const OWED_RETRY: Duration = Duration::from_secs(2);

/// How often an end that is due is tried. In a long outage it is due for all live devices at once.
const EXPIRY_RETRY: Duration = Duration::from_secs(5);

/// A registration on its way to the store.
#[derive(Debug)]
pub(super) struct NewRegistration {
    link: Link,
    call: Call,
    registered: Registered,
    observations: Vec<Observation>,
    tasks: Vec<Task>,
    skipped: Vec<Skipped>,
    applied: Box<value::Applied>,
    replaced: bool,
}

impl NewRegistration {
    /// The request that it answers.
    pub(super) fn call(&self) -> (Link, Call) {
        (self.link, self.call)
    }
}

impl Core {
    pub(super) fn handle_register(&mut self, now: Reading, link: Link, call: Call, client: Registration) {
        if let Some(response) = self.answer_before(now, link, call, Code::CREATED) {
            self.link_to(now, link);
            self.reply(link, call, response);
            // Whoever wrote it may have died before it published this; the id is the same.
            return self.announce_registered(now, false);
        }
        let replaced = self.registered.is_some();
        let models = self.services.process.models.set(&self.profile, &client.objects);
        let mut registered = Registered::new(now, client, models, content_format(&self.profile));
        registered.proof = self.proof_of(&link);
        self.leave_session(now, &mut registered);
        self.prolong(now, &mut registered);
        let plan = self.profile.start_plan(&registered.plan_client());
        let observations: Vec<_> = plan.observations.into_iter().map(Observation::of_profile).collect();
        let mut tasks: Vec<_> =
            plan.attributes.iter().map(|(path, set)| Task::WriteAttributes(*path, set.clone())).collect();
        tasks.extend(plan.reads.into_iter().map(Task::Read));
        tasks.extend(observations.iter().map(|observation| Task::Observe(observation.token)));
        if tasks.is_empty() {
            registered.started = Some(name_and_revision(&self.profile));
        }
        let applied = Box::new(self.applied_by(now, &link, call, registered.id, Code::CREATED));
        let mut changes = vec![
            Change::Registration(Box::new(registered.to_stored(&self.name))),
            Change::Applied((*applied).clone()),
            self.address_of(&link),
            Change::PathNode(self.node_of(link.via)),
            Change::Deadline(Some(registered.stored_deadline)),
            Change::ClearObservations,
            Change::Activated,
        ];
        changes.extend(observations.iter().map(|observation| Change::Observation(observation.to_stored())));
        let skipped = plan.skipped;
        let new = NewRegistration { link, call, registered, observations, tasks, skipped, applied, replaced };
        self.persist(changes, Then::Register(Box::new(new)));
    }

    pub(super) fn registration_stored(&mut self, now: Reading, new: NewRegistration) {
        let NewRegistration { link, call, registered, observations, tasks, skipped, applied, replaced } = new;
        self.link_to(now, link);
        self.take_address(&link);
        self.activated = true;
        self.reply(link, call, answer(Code::CREATED, registered.id.as_str()));
        self.applied = Some(applied);
        let before = self.registered.take().and_then(|before| before.left);
        self.registered = Some(Box::new(registered));
        self.awake = true;
        self.announce_registered(now, replaced);
        self.note_session(now, before.as_deref());
        let cause = self.cause(&[b"registered"]);
        for (ordinal, skipped) in skipped.into_iter().enumerate() {
            let event = Event::PathSkipped { path: skipped.path, reason: skipped.reason };
            self.announce_nth(now, event, cause, ordinal as u32);
        }
        self.observations.replace(observations);
        self.restart_downlinks(now, tasks);
        self.changed(RegistrationChangeKind::Registered);
    }

    fn announce_registered(&mut self, now: Reading, replaced: bool) {
        let Some(registered) = self.registered.as_deref() else { return };
        let client = &registered.client;
        let event = Event::Registered {
            lifetime: (client.lifetime != 0).then_some(client.lifetime.into()),
            version: client.version.as_str().into(),
            binding: client.binding.to_string().into(),
            queue_mode: client.queue_mode,
            replaced,
        };
        let cause = self.cause(&[b"registered"]);
        self.announce(now, event, cause);
    }

    pub(super) fn handle_update(
        &mut self,
        now: Reading,
        link: Link,
        call: Call,
        id: RegistrationId,
        request: &Request,
    ) {
        let Some(registered) = self.registered.as_deref().filter(|registered| registered.id == id) else {
            return self.effect(Effect::Foreign(link, call, id));
        };
        if self.services.standing.is_frozen() {
            return self.downlink(link, Downlink::Forget { id: call.id });
        }
        let update = match Update::parse(request, &registered.client, &self.services.process.policy) {
            Ok(update) => update,
            Err(refusal) => return self.reply(link, call, refusal.into()),
        };
        let mut registered = registered.clone();
        let moved = self.link.is_none_or(|own| own.connection != link.connection)
            && link.security.secured().is_some();
        registered.proof = self.proof_of(&link);
        self.leave_session(now, &mut registered);
        let lifetime = update.lifetime.filter(|lifetime| *lifetime != registered.client.lifetime);
        let objects = update.links.as_ref().is_some_and(|links| links.objects != registered.client.objects);
        let changed = registered.client.apply(update);
        registered.updated_at = now.unix_ms;
        let on_record = registered.stored_deadline;
        let covered = self.prolong_if_needed(now, &mut registered);
        // The session of the newest request is where the device is from now on.
        let written = changed || moved;
        let deferred = !covered && !written && self.services.standing.is_outage();
        if deferred {
            registered.stored_deadline = on_record;
            registered.owed = Some(now.now + OWED_RETRY);
        }
        if (covered || deferred) && !written {
            self.registered = Some(Box::new(registered));
            self.reply(link, call, Response::new(Code::CHANGED));
            return self.changed(RegistrationChangeKind::Updated);
        }
        registered.owed = None;
        let mut changes = vec![Change::Deadline(Some(registered.stored_deadline))];
        let mut answered = None;
        if written {
            if objects {
                registered.models =
                    self.services.process.models.set(&self.profile, &registered.client.objects);
            }
            let applied = self.applied_by(now, &link, call, id, Code::CHANGED);
            answered = Some(Box::new(applied.clone()));
            changes.push(Change::Registration(Box::new(registered.to_stored(&self.name))));
            changes.push(Change::Applied(applied));
        }
        if moved {
            changes.push(self.address_of(&link));
            changes.push(Change::PathNode(self.node_of(link.via)));
        }
        let event = changed.then(|| Event::Updated { lifetime: lifetime.map(u64::from), objects });
        let registered = Box::new(registered);
        self.persist(changes, Then::Update { call, link, registered, applied: answered, event, objects });
    }

    /// Writes the deadline of an update that was answered in an outage, once there is a store again.
    pub(super) fn pay(&mut self, now: Reading) {
        let due = |registered: &&mut Registered| registered.owed.is_some_and(|owed| owed <= now.now);
        let Some(registered) = self.registered.as_deref_mut().filter(due) else { return };
        if !self.services.standing.is_valid() {
            registered.owed = Some(now.now + OWED_RETRY);
            return;
        }
        registered.owed = None;
        let deadline = registered.deadline(now);
        self.persist(vec![Change::Deadline(Some(deadline))], Then::Paid(deadline));
    }

    /// See [`pay`](Self::pay); `false`: it was not written.
    pub(super) fn paid(&mut self, now: Reading, deadline: u64, written: bool) {
        let Some(registered) = self.registered.as_deref_mut() else { return };
        match written {
            true => registered.stored_deadline = registered.stored_deadline.max(deadline),
            false => registered.owed = Some(now.now + OWED_RETRY),
        }
    }

    pub(super) fn update_stored(
        &mut self,
        now: Reading,
        link: Link,
        call: Call,
        mut registered: Box<Registered>,
        event: Option<Event>,
        objects: bool,
    ) {
        // What has changed for other reasons while it was being written.
        if let Some(current) = self.registered.as_deref() {
            registered.started.clone_from(&current.started);
            if !objects {
                registered.models = current.models.clone();
            }
        }
        let before = self.registered.take().and_then(|before| before.left);
        self.registered = Some(registered);
        self.note_session(now, before.as_deref());
        if self.link.is_none_or(|own| own.connection != link.connection) {
            self.link_to(now, link);
            self.take_address(&link);
        }
        self.reply(link, call, Response::new(Code::CHANGED));
        if let Some(event) = event {
            let cause = self.cause(&[b"updated", &now.unix_ms.to_be_bytes(), call.token.as_bytes()]);
            self.announce(now, event, cause);
        }
        if objects {
            self.plan_for_new_objects(now);
        }
        self.changed(RegistrationChangeKind::Updated);
    }

    pub(super) fn handle_deregister(&mut self, now: Reading, link: Link, call: Call, id: RegistrationId) {
        if let Some(response) = self.answer_before(now, link, call, Code::DELETED) {
            self.reply(link, call, response);
            // As with a repeated register.
            let cause = Identity::of(&[id.as_str().as_bytes(), b"deregistered"]);
            let record = self.event_record_of(now, Event::Deregistered, cause, Some(id));
            return self.effect(Effect::Announce(vec![record]));
        }
        if self.registered.as_deref().is_none_or(|registered| registered.id != id) {
            return self.effect(Effect::Foreign(link, call, id));
        }
        let applied = self.applied_by(now, &link, call, id, Code::DELETED);
        let (record, stored) = self.end_event(now, Event::Deregistered, b"deregistered");
        let event = stored.id.clone();
        let changes = vec![
            Change::Event(stored),
            Change::RemoveRegistration,
            Change::Applied(applied),
            Change::Deadline(None),
        ];
        self.persist(changes, Then::Deregister { link, call, record, event });
    }

    /// The event of the registration's end, for the sink and for the outbox.
    fn end_event(
        &mut self,
        now: Reading,
        event: Event,
        name: &'static [u8],
    ) -> (Box<Record>, value::StoredEvent) {
        let registration = self.registered.as_ref().map(|it| it.id.to_string()).unwrap_or_default();
        let cause = self.cause(&[name]);
        let r#type = event.name().to_owned();
        let record = self.event_record(now, event, cause);
        let stored = value::StoredEvent {
            id: record.id.to_string(),
            r#type,
            time: now.unix_ms,
            endpoint: self.name.to_string(),
            registration,
            data: Vec::new(),
        };
        (Box::new(record), stored)
    }

    /// The event is published from memory, and from the outbox by whoever finds it there should this node die before.
    pub(super) fn deregistered(&mut self, link: Link, call: Call, record: Record, event: String) {
        self.reply(link, call, Response::new(Code::DELETED));
        // The connection stays to answer a repeated request from its memory.
        self.downlink(link, Downlink::Unlink);
        self.changed(RegistrationChangeKind::Deregistered);
        self.observations.clear();
        self.registered = None;
        self.link = None;
        self.publish(vec![record], Then::Expired(event));
    }

    /// Ends a registration whose time is over. The event goes out once: it is on record until the sink has it, and
    /// its id is the same whoever publishes it.
    pub(super) fn expire(&mut self, now: Reading) {
        if !self.services.standing.may_expire() {
            return self.retry_expiry(now);
        }
        if std::mem::replace(&mut self.expiring, true) {
            return;
        }
        let (record, stored) = self.end_event(now, Event::Expired, b"expired");
        let id = stored.id.clone();
        let changes = vec![Change::Event(stored), Change::RemoveRegistration, Change::Deadline(None)];
        self.persist(changes, Then::Expire(record, id));
    }

    /// The end could not be written, or nothing may end now.
    pub(super) fn retry_expiry(&mut self, now: Reading) {
        self.expiring = false;
        if let Some(registered) = self.registered.as_deref_mut() {
            registered.expires = now.now + EXPIRY_RETRY;
        }
    }

    pub(super) fn expiry_stored(&mut self, record: Record, id: String) {
        self.changed(RegistrationChangeKind::Expired);
        // Another registration may follow in this life.
        self.expiring = false;
        self.registered = None;
        self.observations.clear();
        self.publish(vec![record], Then::Expired(id));
    }

    /// Publishes an event that an earlier owner had written but not published.
    pub(super) fn publish_stored_event(&mut self, now: Reading, stored: &value::StoredEvent) {
        let registration = RegistrationId::parse(&stored.registration);
        let (event, cause) = orphan::of_stored(self.device, stored);
        let record = self.event_record_of(now, event, cause, registration);
        self.publish(vec![record], Then::Expired(stored.id.clone()));
    }

    /// The answer to a request that was carried out already.
    /// A register's counts as long as the registration that it made.
    fn answer_before(&self, now: Reading, link: Link, call: Call, code: Code) -> Option<Response> {
        let applied = self.applied.as_deref()?;
        let registration = self.registered.as_deref().map(|registered| registered.id.as_str());
        if code == Code::CREATED && registration != Some(applied.registration.as_str()) {
            return None;
        }
        let same = applied.code == u32::from(code.0)
            && applied.message_id == u32::from(call.message_id)
            && applied.token == call.token.as_bytes()
            && applied.source == self.source_of(&link);
        let fresh = now.unix_ms.saturating_sub(applied.time) < APPLIED_FOR_MS;
        (same && fresh).then(|| answer(code, &applied.registration))
    }

    /// Whether a later request of the same session was applied already: this one comes too late to change anything.
    /// A repetition of that one finds its answer and is none.
    pub(super) fn was_overtaken(&self, link: &Link, call: Call) -> bool {
        let Some((applied, secured)) = self.applied.as_deref().zip(link.security.secured()) else {
            return false;
        };
        applied.association == secured.association.as_bytes()
            && call.number <= applied.number
            && applied.message_id != u32::from(call.message_id)
    }

    fn applied_by(
        &self,
        now: Reading,
        link: &Link,
        call: Call,
        registration: RegistrationId,
        answer: Code,
    ) -> value::Applied {
        let association = link.security.secured().map(|secured| secured.association.as_bytes().to_vec());
        value::Applied {
            source: self.source_of(link),
            number: call.number,
            association: association.unwrap_or_default(),
            message_id: call.message_id.into(),
            token: call.token.as_bytes().to_vec(),
            code: answer.0.into(),
            time: now.unix_ms,
            registration: registration.to_string(),
        }
    }

    /// Who sent a request: a session, whose resumptions are the same sender, or an address.
    fn source_of(&self, link: &Link) -> Vec<u8> {
        match link.security.secured() {
            Some(secured) => match self.sessions.find(secured.association) {
                Some(held) => held.id.tag().as_bytes().to_vec(),
                None => secured.association.as_bytes().to_vec(),
            },
            None => address_bytes(link.remote),
        }
    }

    fn proof_of(&self, link: &Link) -> Option<Box<Proof>> {
        let secured = link.security.secured()?;
        Some(Box::new(Proof {
            mode: secured.mode,
            version: secured.credential,
            session: self.sessions.find(secured.association).map(|held| held.id.tag()),
        }))
    }

    /// Where the device is by a link. Only without DTLS is it found by that address; a session has its own.
    fn address_of(&self, link: &Link) -> Change {
        let by_address = link.security.secured().is_none();
        Change::Address { peer: Some(link.remote), local: self.local_of(link), by_address }
    }

    fn take_address(&mut self, link: &Link) {
        let plain = link.security.secured().is_none();
        self.address = plain.then(|| Address { peer: link.remote, local: self.local_of(link) });
    }

    fn local_of(&self, link: &Link) -> Option<SocketAddr> {
        self.services.links.get()?.local(link)
    }

    /// Sets a new deadline with a quarter of the lifetime to spare, so that not every update must be written.
    fn prolong(&self, now: Reading, registered: &mut Registered) {
        let lifetime = Duration::from_secs(registered.client.lifetime.into());
        let grace = self.services.process.config.registration.lifetime_grace;
        registered.expires = now.now + lifetime + grace;
        let stored = lifetime + lifetime / 4 + grace;
        registered.stored_deadline = now.unix_ms.saturating_add(stored.as_millis() as u64);
    }

    /// As `prolong`, but leaves the deadline on record where it is far enough. Says whether it is.
    fn prolong_if_needed(&self, now: Reading, registered: &mut Registered) -> bool {
        let before = registered.stored_deadline;
        self.prolong(now, registered);
        let covered = before >= now.unix_ms_at(registered.expires);
        if covered {
            registered.stored_deadline = before;
        }
        covered
    }

    /// What events of this registration are named by.
    pub(super) fn cause(&self, facts: &[&[u8]]) -> Identity {
        let id = self.registered.as_ref().map(|registered| registered.id);
        let device = self.device.as_bytes();
        let first: &[u8] = match &id {
            Some(id) => id.as_str().as_bytes(),
            None => device,
        };
        let mut all = vec![first];
        all.extend_from_slice(facts);
        Identity::of(&all)
    }
}

/// What answers a request of the registration interface: a register's names a location, the others nothing.
fn answer(code: Code, registration: &str) -> Response {
    let response = Response::new(code);
    if code == Code::CREATED { response.location("rd").location(registration) } else { response }
}
