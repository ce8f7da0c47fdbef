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
//! happens when its [completion](super::completion) comes back. Nothing is awaited in here.

use std::{
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use godwit_coap::{Code, Response};

use super::{
    access::Access,
    downlink::{self, Downlinks},
    handle::RegistrationChangeKind,
    leaving::Leaving,
    link::{Call, Downlink, Link, Refusal, Uplink},
    message::{Effect, Input, StopReason, Then},
    observation::Observations,
    plan::content_format,
    reach::Address,
    registered::Registered,
    services::Shared,
    session::Sessions,
};
use crate::{
    clock::Reading,
    identity::DeviceId,
    profile::{PowerMode, Profile},
    store::{APPLIED_FOR_MS, Claimed, DeviceRecord, value},
    telemetry::{Event, Orders},
};

/// Writes that an endpoint may have outstanding; with more it takes nothing new from the device. And publications: with more it
/// takes no values, while all else goes on.
const MAX_OUTSTANDING: usize = 8;

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
    pub(super) sessions: Sessions,
    pub(super) downlinks: Downlinks,
    pub(super) link: Option<Link>,
    /// Whether a device that sleeps was announced as awake.
    pub(super) awake: bool,
    pub(super) orders: Orders,
    /// Where the device is by its record, if its address finds it.
    pub(super) address: Option<Address>,
    /// It has registered since it was provisioned.
    pub(super) activated: bool,
    /// A connection to that address was asked for.
    pub(super) reaching: bool,
    /// The link was made from the record; the device itself has not been heard over it.
    pub(super) lent: bool,
    /// When the device was last heard; `None`: not since the activation.
    heard: Option<Instant>,
    /// When anything last happened.
    pub(super) active: Instant,
    /// The end of the registration is being written.
    pub(super) expiring: bool,
    pub(super) leaving: Leaving,
    pub(super) next_effect: u32,
    /// Effects that have not ended, and what follows each.
    pub(super) waiting: Vec<(u32, Then)>,
    pub(super) effects: VecDeque<Effect>,
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
        let DeviceRecord {
            header, registration, applied, sessions, observations, operations, events, ..
        } = claimed.record;
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
            sessions: Sessions::of_record(sessions, claimed.exact),
            activated: header.activated,
            downlinks: Downlinks {
                next_message_id: downlink::first_message_id(claimed.claims),
                ..Downlinks::default()
            },
            link: None,
            address: header
                .peer
                .filter(|_| header.by_address)
                .map(|peer| Address { peer, local: header.local }),
            reaching: false,
            lent: false,
            awake: false,
            orders: Orders::new(claimed.term),
            heard: None,
            active: now.now,
            expiring: false,
            leaving: Leaving::default(),
            next_effect: 0,
            waiting: Vec::new(),
            effects: VecDeque::new(),
            profile,
        };
        core.refresh_sessions(now, claimed.exact);
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
            Input::Reached(link) => self.handle_reached(now, link),
            Input::Unlinked(connection) => self.handle_unlinked(now, connection),
            Input::SessionRead(link, association, read) => self.handle_session_read(link, association, read),
            Input::Persisted(id, result) => self.handle_persisted(now, id, result),
            Input::Published(id, result) => self.handle_published(now, id, result),
            Input::Submit(new) => {
                self.active = now.now;
                self.handle_submit(now, *new);
            }
            Input::Cancel(id) => self.handle_cancel(now, id),
            Input::Access(access, profile) => self.handle_access(now, access, profile),
            Input::Profile(profile) => self.handle_profile(now, profile),
            Input::Models => self.handle_models(),
            Input::Start(start) => self.downlinks.admit(start),
            Input::Deadline => self.handle_deadline(now),
            Input::LookAgain => {}
            Input::Release(reason) => self.release(now, reason),
            Input::HandOver => self.hand_over(),
        }
        self.drive(now);
        self.downlinks.settle_start();
        self.leave_if_quiet(now);
    }

    /// The next effect.
    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        if effect.is_none() {
            // Idle endpoints are many: the room for four effects would be 800 bytes in each.
            self.effects = VecDeque::new();
        }
        effect
    }

    /// When the next [`Input::Deadline`] is due.
    pub(super) fn poll_timeout(&self, now: Reading) -> Option<Instant> {
        let unanswered = self.waiting.iter().filter_map(|(_, then)| then.published_at()).min();
        let unanswered = unanswered.map(|since| since + self.patience());
        // What follows the end of a registration comes with the completion of its write.
        if self.leaving() || self.expiring {
            return unanswered;
        }
        // A request that prolongs it may be being written.
        let expires = self.registered.as_ref().filter(|_| !self.answers_wait());
        let expires = expires.map(|registered| registered.expires);
        let asleep =
            self.heard.filter(|_| self.awake && self.sleeps()).map(|heard| heard + self.awake_window());
        // What is under way ends by itself: its TTL no longer counts, and nothing is given up before.
        let flying = self.downlinks.flying();
        let waiting = self.downlinks.operations.iter().filter(|stored| Some(stored.id.as_str()) != flying);
        let due = waiting.map(|stored| stored.due_at);
        let due = due.chain(self.downlinks.ended.iter().map(|(_, due)| *due)).min();
        let passive = self.active + self.services.process.config.limits.passivate_after;
        let passive = self.downlinks.flight.is_none().then_some(passive);
        let due = due.map(|due| now.instant_at(due));
        let owed = self.registered.as_ref().and_then(|registered| registered.owed);
        let owed_ends = self.downlinks.owed.due;
        [unanswered, expires, owed, owed_ends, asleep, due, passive].into_iter().flatten().min()
    }

    fn handle_uplink(&mut self, now: Reading, link: Link, uplink: Uplink) {
        // The end of a request of ours is always taken: the device won't repeat it, and what was asked would never end.
        match uplink {
            // What nobody waits for is bounded by the connections; what one waits for is refused beyond the bound.
            _ if uplink.is_of_session() => {
                let full = self.leaving() || self.outstanding(false) >= MAX_OUTSTANDING;
                return match uplink.awaiting() {
                    Some(association) if full => self.refuse_session(link, association, Refusal::Unavailable),
                    Some(_) => self.handle_session(now, link, uplink),
                    // Its numbers are exact on record, or about to be.
                    None if self.leaving() => {}
                    None => self.handle_session(now, link, uplink),
                };
            }
            Uplink::Response { token, response, notified } => {
                self.heard(now, link, false);
                return self.handle_response(now, token, *response, notified);
            }
            Uplink::Failed { token, reason } => {
                self.active = now.now;
                return self.handle_failed(now, token, reason);
            }
            _ => {}
        }
        // A sink that takes nothing for long holds up values, and neither updates nor what else the store answers for.
        let full = self.outstanding(false) >= MAX_OUTSTANDING
            || uplink.has_values() && self.outstanding(true) >= MAX_OUTSTANDING;
        if self.leaving() || full {
            return self.leave_unanswered(link, &uplink);
        }
        // Made from what is about to change, its answer would be wrong by the time it is written. The device repeats it.
        if uplink.changes_state() && self.answers_wait() {
            return self.leave_unanswered(link, &uplink);
        }
        if let Some(reason) = self.access.refuses(&link.security) {
            return self.refuse(now, link, &uplink, reason);
        }
        if let Uplink::Register { registration, .. } = &uplink
            && registration.endpoint.as_deref().is_some_and(|named| *named != *self.name)
        {
            return self.refuse(now, link, &uplink, "ep is not the endpoint of this credential");
        }
        if let Some(call) = uplink.call().filter(|_| uplink.changes_state())
            && self.was_overtaken(&link, call)
        {
            return self.leave_unanswered(link, &uplink);
        }
        self.heard_in_session(now, &link);
        if self.link.is_some_and(|own| own.connection == link.connection) {
            self.lent = false;
        }
        self.heard(now, link, matches!(uplink, Uplink::Register { .. }));
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
            _ => {}
        }
    }

    /// Remembers that and where the device was heard. A register is linked once it is stored.
    fn heard(&mut self, now: Reading, link: Link, register: bool) {
        self.active = now.now;
        self.heard = Some(now.now);
        self.downlinks.unreachable = false;
        if self.registered.is_some() && self.link.is_none() && !register {
            self.link_to(now, link);
        }
        self.observe_suspects(now);
        if self.sleeps() && !self.awake {
            self.awake = true;
            let cause = self.cause(&[b"awake", &now.unix_ms.to_be_bytes()]);
            self.announce(now, Event::Awake, cause);
        }
    }

    /// A device that may not speak like this, or not at all, gets 4.03 for every request.
    fn refuse(&mut self, now: Reading, link: Link, uplink: &Uplink, reason: &'static str) {
        if let Some(call) = uplink.call() {
            let cause = self.cause(&[b"refused", &call.message_id.to_be_bytes(), call.token.as_bytes()]);
            self.announce(now, Event::Refused { reason: reason.into() }, cause);
            self.reply(link, call, Response::diagnostic(Code::FORBIDDEN, reason));
        }
        if let Uplink::Register { .. } = uplink {
            self.services.metrics.registration_refused(&Code::FORBIDDEN.to_string());
        }
        if let Uplink::Notification(notification) = uplink {
            self.downlink(link, Downlink::Reset { message_id: notification.message_id });
        }
    }

    /// Nothing is answered; what the device repeats is new.
    fn leave_unanswered(&mut self, link: Link, uplink: &Uplink) {
        if let Some(call) = uplink.call() {
            self.downlink(link, Downlink::Forget { id: call.id });
        }
        if let Uplink::Notification(notification) = uplink {
            self.downlink(link, Downlink::ForgetNotification { message_id: notification.message_id });
        }
    }

    fn handle_deadline(&mut self, now: Reading) {
        self.give_up_unacknowledged(now);
        if self.leaving() || self.expiring {
            return;
        }
        if self.was_not_activated(now) && self.services.standing.may_expire() {
            // Whoever is activated next deletes it.
            return self.release(now, StopReason::Ended);
        }
        let is_over = self.registered.as_ref().is_some_and(|registered| registered.expires <= now.now);
        if is_over && !self.answers_wait() {
            return self.expire(now);
        }
        self.pay(now);
        self.pay_ends(now);
        self.expire_operations(now);
        if self.applied.as_ref().is_some_and(|applied| applied.time + APPLIED_FOR_MS <= now.unix_ms) {
            self.applied = None;
        }
        if self.awake && self.sleeps_at(now) {
            self.awake = false;
            let cause = self.cause(&[b"asleep", &now.unix_ms.to_be_bytes()]);
            self.announce(now, Event::Asleep, cause);
        }
        let idle = self.active + self.services.process.config.limits.passivate_after <= now.now;
        if idle && self.downlinks.flight.is_none() {
            match self.services.standing.is_valid() {
                true => self.release(now, StopReason::Idle),
                // What can't be written now would be lost.
                false => self.active = now.now,
            }
        }
    }

    fn handle_access(&mut self, now: Reading, access: Option<Access>, profile: Option<Arc<Profile>>) {
        let Some(access) = access else { return self.superseded() };
        let before = std::mem::replace(&mut self.access, access);
        if before.version != self.access.version {
            let cause = self.cause(&[b"credential", &self.access.version.to_be_bytes()]);
            self.announce(now, Event::CredentialChanged, cause);
        }
        let revoked = self.revoke_sessions(now);
        if !revoked.is_empty() {
            self.persist(revoked, Then::Nothing);
        }
        let refused = self.link.is_some_and(|link| self.access.refuses(&link.security).is_some());
        if refused || self.access.is_closed() {
            // The registration ends for the node; the device learns it at its next message.
            return self.release(now, StopReason::Ended);
        }
        if let Some(profile) = profile {
            self.handle_profile(now, profile);
        }
    }

    /// Whether the device was provisioned to be used by now, and was not.
    fn was_not_activated(&self, now: Reading) -> bool {
        let by = self.access.activate_by;
        !self.activated && self.registered.is_none() && by != 0 && by <= now.unix_ms
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
        self.sleeps() && self.heard.is_none_or(|heard| now.now >= heard + self.awake_window())
    }

    fn awake_window(&self) -> Duration {
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
}
