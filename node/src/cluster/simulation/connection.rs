//! A connection without its actor: the production channel and core, and in between what the actor does between them.
//!
//! A child of `connection`, for it drives what nobody else sees. What it leaves out: budgets, metrics and the strict floor.

use std::{
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use godwit_coap::FailReason;
use godwit_dtls::{Answer, CloseReason, NotStored, Output, Question, StoreKind, Ticket, cid::Cid};

pub(crate) use super::secure::{activation::Wanted, ground::Ground, path::Place, settings::Settings};
use super::{
    core::{Connection as Core, Output as Said},
    progress::Progress,
    secure::{channel::Channel, path::Moved, stored, subject::Subject},
};
use crate::{
    admission::Handshake,
    endpoint::link::{Call, Downlink, Link, Refusal, Security, SessionEnd, Uplink},
    entropy,
    identity::{AssociationId, DeviceId, RegistrationId, SessionId},
    shard::ActorKey,
    store::{Numbers, Session, value},
};

const WAITING: usize = 4;
const WAITING_FOR: Duration = Duration::from_millis(1500);
const CLOSING_FOR: Duration = Duration::from_secs(10);

/// What a connection wants done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A datagram to the device. `sealed_by`: the session whose keys protect it, once one is live.
    Transmit { bytes: Vec<u8>, sealed_by: Option<AssociationId> },
    /// The plaintext of what is about to be transmitted, or of a request that an unproven address does not get: what comes by
    /// its token is its response all the same.
    Said(Vec<u8>),
    /// A record was accepted.
    Accepted { association: AssociationId, number: u64, plaintext: Vec<u8> },
    /// For the endpoint.
    Uplink(DeviceId, Uplink),
    /// Whose is this identity?
    Psk(Ticket, Vec<u8>),
    /// What is on record of this session?
    Resume(Ticket, SessionId),
    /// A request for a registration that this device does not have.
    Foreign(Call, RegistrationId),
}

enum Lower {
    Claiming {
        device: DeviceId,
        association: AssociationId,
        waiting: Vec<(Place, Box<[u8]>)>,
        until: Instant,
    },
    Open {
        channel: Box<Channel>,
        claims: Option<DeviceId>,
        closing: Option<(AssociationId, Instant)>,
    },
}

/// One connection.
pub(crate) struct Connection {
    ground: Rc<Ground>,
    core: Core,
    pub(crate) link: Link,
    lower: Lower,
    pub(crate) progress: Rc<Numbered>,
    effects: VecDeque<Effect>,
    /// By which its records find it, while it is claimed.
    cid: Option<Cid>,
    /// It is over.
    pub(crate) ended: bool,
    /// The last record was newer than all before, or opened nothing.
    pub(crate) newest: bool,
}

/// What endpoints see of a connection.
#[derive(Debug, Default)]
pub(crate) struct Numbered(Progress);

impl Numbered {
    pub(crate) fn numbers(&self) -> Option<(AssociationId, Numbers)> {
        self.0.numbers()
    }

    pub(crate) fn promise(&self) {
        self.0.promise();
    }

    pub(crate) fn keep(&self) {
        self.0.keep();
    }

    pub(crate) fn retire(&self) -> Option<(AssociationId, Numbers)> {
        self.0.retire()
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.0.is_retired()
    }
}

/// Who a credential says that a device is.
pub(crate) fn subject(document: &value::Device) -> Option<godwit_dtls::Subject> {
    Subject::of(document, value::credential::Mode::Psk, false).map(|subject| subject.encode())
}

/// The session on record, to be resumed by a handshake.
pub(crate) fn resumable(
    settings: &Settings,
    device: DeviceId,
    session: &Session,
) -> Option<godwit_dtls::StoredSession> {
    stored::open(&settings.sealer, device, session, false)
}

fn core() -> Core {
    let first = u16::from_be_bytes(entropy::bytes()) & 0x7fff;
    Core::new(Arc::default(), first, entropy::u64())
}

fn plain_link(key: ActorKey, Place { socket, remote, local, via }: Place) -> Link {
    Link { connection: key, socket, remote, local, via, security: Security::NoSec }
}

impl Connection {
    fn new(ground: Rc<Ground>, key: ActorKey, place: Place, lower: Lower) -> Self {
        Self {
            ground,
            core: core(),
            link: plain_link(key, place),
            lower,
            progress: Rc::default(),
            effects: VecDeque::new(),
            cid: None,
            ended: false,
            newest: false,
        }
    }

    pub(crate) fn accept(
        ground: Rc<Ground>,
        key: ActorKey,
        place: Place,
        now: Instant,
        permit: Handshake,
        hello: &[u8],
    ) -> Self {
        let (channel, _) = Channel::accept(ground.clone(), key, place, now, permit, hello);
        let lower = Lower::Open { channel: Box::new(channel), claims: None, closing: None };
        let mut connection = Self::new(ground, key, place, lower);
        connection.drive(now);
        connection
    }

    pub(crate) fn claim(
        ground: Rc<Ground>,
        key: ActorKey,
        device: DeviceId,
        association: AssociationId,
        cid: Option<Cid>,
        waiting: Vec<(Place, Box<[u8]>)>,
        now: Instant,
    ) -> Self {
        let place = waiting[0].0;
        ground.attach(device, key);
        if let Some(cid) = cid {
            ground.index(cid, key);
        }
        let lower = Lower::Claiming { device, association, waiting, until: now + WAITING_FOR };
        let mut connection = Self::new(ground, key, place, lower);
        connection.cid = cid;
        connection.hand_up(device, Uplink::SessionClaim { association });
        connection
    }

    pub(crate) fn reach(
        ground: Rc<Ground>,
        key: ActorKey,
        device: DeviceId,
        session: &Session,
        exact: bool,
        place: Place,
        now: Instant,
    ) -> Option<Self> {
        let stored = stored::open(&ground.settings().sealer, device, session, true)?;
        let channel = Channel::resume(ground.clone(), key, place, now, stored, exact);
        ground.attach(device, key);
        let lower = Lower::Open { channel: Box::new(channel), claims: Some(device), closing: None };
        let mut connection = Self::new(ground, key, place, lower);
        connection.take_session(device);
        connection.note_progress();
        Some(connection)
    }

    fn channel(&mut self) -> Option<&mut Channel> {
        match &mut self.lower {
            Lower::Open { channel, .. } => Some(channel),
            Lower::Claiming { .. } => None,
        }
    }

    pub(crate) fn device(&self) -> Option<DeviceId> {
        match &self.lower {
            Lower::Claiming { device, .. } => Some(*device),
            Lower::Open { claims, .. } => self.core.device().or(*claims),
        }
    }

    /// The session that it is for.
    pub(crate) fn association(&self) -> Option<AssociationId> {
        match &self.lower {
            Lower::Claiming { association, .. } => Some(*association),
            Lower::Open { channel, .. } => {
                channel.session().map(|session| AssociationId::from_bytes(session.name().0))
            }
        }
    }

    pub(crate) fn is_claiming(&self) -> bool {
        matches!(self.lower, Lower::Claiming { .. })
    }

    pub(crate) fn handle_hello(&mut self, now: Instant, from: Place, permit: Handshake, hello: &[u8]) {
        if let Some(channel) = self.channel() {
            let _ = channel.handle_hello(now, from, permit, hello);
        }
        self.drive(now);
    }

    /// Whether the datagram was taken, not a replay.
    pub(crate) fn handle_datagram(&mut self, now: Instant, from: Place, bytes: &[u8]) -> bool {
        if self.progress.is_retired() {
            return false;
        }
        let taken = match &mut self.lower {
            Lower::Open { channel, .. } => channel.handle_datagram(now, from, bytes).used() > 0,
            Lower::Claiming { waiting, .. } if waiting.len() < WAITING => {
                waiting.push((from, bytes.into()));
                true
            }
            Lower::Claiming { .. } => false,
        };
        self.drive(now);
        taken
    }

    /// A planted bug: whatever comes counts as fresh.
    pub(crate) fn forget_window(&mut self) {
        if let Some(channel) = self.channel() {
            channel.forget_window();
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.until().is_some_and(|until| until <= now) {
            self.end();
            return;
        }
        if let Some(channel) = self.channel() {
            channel.handle_timeout(now);
        }
        self.core.handle_timeout(now);
        self.drive(now);
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        let lower = match &self.lower {
            Lower::Open { channel, .. } => channel.poll_timeout(),
            Lower::Claiming { .. } => None,
        };
        [self.until(), lower, self.core.poll_timeout()].into_iter().flatten().min()
    }

    fn until(&self) -> Option<Instant> {
        match &self.lower {
            Lower::Claiming { until, .. } => Some(*until),
            Lower::Open { closing, .. } => closing.map(|(_, until)| until),
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(crate) fn resolved(&mut self, now: Instant, ticket: Ticket, answer: Answer) {
        if let Some(channel) = self.channel() {
            channel.provide(now, ticket, answer);
        }
        self.drive(now);
    }

    pub(crate) fn handle_downlink(&mut self, now: Instant, device: DeviceId, downlink: Downlink) {
        self.progress.keep();
        if downlink.is_personal() && self.core.device() != Some(device) {
            return;
        }
        match downlink {
            Downlink::Close => {
                self.note_progress();
                if let (Some(device), Some((association, numbers))) =
                    (self.core.device(), self.progress.0.exact())
                {
                    self.progress.0.clear();
                    let end = SessionEnd::Idle;
                    self.inform(device, Uplink::SessionClosed { association, numbers, end });
                }
                self.core.unlink();
                return self.end();
            }
            Downlink::SessionStored { .. }
            | Downlink::SessionRefused { .. }
            | Downlink::SessionClaimed { .. } => self.handle_session(now, downlink),
            downlink => {
                if let Err((token, _)) = self.core.handle_downlink(now, downlink) {
                    self.hand_up(device, Uplink::Failed { token, reason: FailReason::BadOption });
                }
            }
        }
        self.drive(now);
    }

    /// The answer to [`Effect::Foreign`], and to what could not be delivered.
    pub(crate) fn answer(&mut self, now: Instant, downlink: Downlink) {
        let _ = self.core.handle_downlink(now, downlink);
        self.drive(now);
    }

    pub(crate) fn end(&mut self) {
        self.ended = true;
        if let Some(device) = self.device() {
            self.ground.detach(device, self.link.connection);
        }
        if let (Lower::Claiming { .. }, Some(cid)) = (&self.lower, self.cid) {
            self.ground.forget(cid, self.link.connection);
        }
    }

    // As the actor does.

    fn drive(&mut self, now: Instant) {
        loop {
            let heard = self.drive_lower(now);
            let said = self.drive_core(now);
            if !heard && !said {
                break;
            }
        }
        self.note_progress();
    }

    fn drive_core(&mut self, now: Instant) -> bool {
        let mut said = false;
        let policy = godwit_lwm2m::registration::Policy::default();
        while let Some(output) = self.core.poll(now, &policy) {
            match output {
                Said::Transmit(message) => self.seal(now, &message),
                Said::Uplink(device, uplink) => self.hand_up(device, uplink),
                Said::Foreign(call, registration) => {
                    self.effects.push_back(Effect::Foreign(call, registration));
                }
                Said::Refused(_) => {}
            }
            said = true;
        }
        said
    }

    fn drive_lower(&mut self, now: Instant) -> bool {
        let Some(output) = self.channel().and_then(Channel::poll) else { return false };
        match output {
            Output::Transmit(bytes) => {
                let sealed_by = self.association();
                self.effects.push_back(Effect::Transmit { bytes, sealed_by });
            }
            Output::Ask(ticket, question) => self.ask(now, ticket, question),
            Output::Established { .. } => self.established(),
            Output::Application { bytes, number, newest } => {
                self.handle_plaintext(now, bytes, number, newest);
            }
            Output::Repeated { newest } => self.heard(now, newest),
            Output::NumbersDue => self.report(),
            Output::HandshakeFailed(_) => {}
            Output::Closed(reason) => self.closed_by(now, reason),
        }
        true
    }

    fn seal(&mut self, now: Instant, message: &[u8]) {
        let Some(channel) = self.channel() else { return };
        let sent = channel.send(now, message);
        let is_request = message.get(1).is_some_and(|code| (1..32).contains(code));
        if sent.is_ok_and(|left| left || is_request) {
            self.effects.push_back(Effect::Said(message.to_vec()));
        }
    }

    fn handle_plaintext(&mut self, now: Instant, plaintext: Vec<u8>, number: u64, newest: bool) {
        let association = self.association();
        self.heard(now, newest);
        if self.channel().is_some_and(|channel| channel.is_pong(&plaintext)) {
            return;
        }
        if let Some(association) = association {
            let plaintext = plaintext.clone();
            self.effects.push_back(Effect::Accepted { association, number, plaintext });
        }
        self.core.handle_record(now, number, &plaintext);
    }

    fn heard(&mut self, now: Instant, newest: bool) {
        let Some(channel) = self.channel() else { return };
        let moved = channel.heard(newest);
        let (place, ping) = (channel.place(), channel.ping());
        self.newest |= newest;
        if !matches!(moved, Moved::Stayed | Moved::Refused) {
            (self.link.socket, self.link.remote, self.link.local) = (place.socket, place.remote, place.local);
        }
        if moved == Moved::Confirmed
            && let (Some(device), Some(secured)) = (self.core.device(), self.link.security.secured())
        {
            let association = secured.association;
            self.inform(device, Uplink::SessionMoved { association, peer: place.remote, local: None });
        }
        if let Some(ping) = ping {
            self.seal(now, &ping);
        }
    }

    fn hand_up(&mut self, device: DeviceId, uplink: Uplink) {
        if self.progress.is_retired() {
            return self.core.undelivered(&uplink);
        }
        self.effects.push_back(Effect::Uplink(device, uplink));
    }

    fn inform(&mut self, device: DeviceId, uplink: Uplink) {
        if !self.progress.is_retired() {
            self.effects.push_back(Effect::Uplink(device, uplink));
        }
    }

    /// What could not be delivered to an endpoint.
    pub(crate) fn undelivered(&mut self, now: Instant, uplink: &Uplink) {
        self.core.undelivered(uplink);
        match uplink {
            Uplink::SessionEstablished { session, .. } => {
                self.answer_store(now, session.association, Err(NotStored));
            }
            Uplink::SessionPromoted { association } => {
                self.answer_store(now, *association, Err(NotStored));
            }
            _ => {}
        }
        self.drive(now);
    }

    fn ask(&mut self, now: Instant, ticket: Ticket, question: Question) {
        let Lower::Open { channel, claims, .. } = &mut self.lower else { return };
        match question {
            Question::Psk { identity } => self.effects.push_back(Effect::Psk(ticket, identity)),
            Question::Peer(_) => {
                channel.provide(now, ticket, Answer::Peer(Err(godwit_dtls::Unacceptable::Unknown)));
            }
            Question::Session(id) => {
                self.effects.push_back(Effect::Resume(ticket, SessionId::from_bytes(id.0)));
            }
            Question::Store(session, kind) => {
                let association = AssociationId::from_bytes(session.name().0);
                channel.ask(ticket, association);
                let Some(subject) = Subject::read(session.subject()) else { return };
                let (place, bound) = (channel.place(), ([127, 0, 0, 1], 5684).into());
                let provisional = kind == StoreKind::Provisional;
                let unix = crate::clock::unix_ms();
                let sealer = &self.ground.settings().sealer;
                let session = stored::seal(sealer, &subject, &session, provisional, place, bound, unix);
                self.ground.attach(subject.device, self.link.connection);
                *claims = Some(subject.device);
                let session = Box::new(session);
                self.hand_up(subject.device, Uplink::SessionEstablished { session, rotated: false });
            }
            Question::Promote(name) => {
                let association = AssociationId::from_bytes(name.0);
                channel.ask(ticket, association);
                match *claims {
                    Some(device) => self.hand_up(device, Uplink::SessionPromoted { association }),
                    None => {
                        self.answer_store(now, association, Err(NotStored));
                    }
                }
            }
        }
    }

    fn answer_store(
        &mut self,
        now: Instant,
        association: AssociationId,
        result: Result<(), NotStored>,
    ) -> bool {
        let Some(channel) = self.channel() else { return false };
        let Some(ticket) = channel.answered(association) else { return false };
        channel.provide(now, ticket, Answer::Stored(result));
        true
    }

    fn handle_session(&mut self, now: Instant, downlink: Downlink) {
        match downlink {
            Downlink::SessionStored { association } => {
                if self.answer_store(now, association, Ok(())) {
                    return;
                }
                let Lower::Open { channel, closing, .. } = &mut self.lower else { return };
                if closing.is_some_and(|(closing, _)| closing == association) {
                    channel.close(now);
                    let sealed_by = Some(association);
                    while let Some(output) = channel.poll() {
                        if let Output::Transmit(bytes) = output {
                            self.effects.push_back(Effect::Transmit { bytes, sealed_by });
                        }
                    }
                    self.end();
                }
            }
            Downlink::SessionRefused { association, reason } => {
                if self.is_claiming() {
                    return self.end();
                }
                let own = self.link.security.secured().is_some_and(|it| it.association == association);
                if own && reason == Refusal::Revoked {
                    return self.end();
                }
                self.answer_store(now, association, Err(NotStored));
            }
            Downlink::SessionClaimed { session, exact } => self.claimed(now, &session, exact),
            _ => {}
        }
    }

    fn claimed(&mut self, now: Instant, session: &Session, exact: bool) {
        let Lower::Claiming { device, association, waiting, .. } = &mut self.lower else { return };
        if *association != session.association {
            return;
        }
        let (device, waiting) = (*device, std::mem::take(waiting));
        let first = waiting[0].0;
        let place = session.peer.map_or(first, |remote| Place { remote, ..first });
        let Some(stored) = stored::open(&self.ground.settings().sealer, device, session, true) else {
            return self.end();
        };
        let channel = Channel::resume(self.ground.clone(), self.link.connection, place, now, stored, exact);
        self.lower = Lower::Open { channel: Box::new(channel), claims: Some(device), closing: None };
        self.take_session(device);
        for (from, bytes) in waiting {
            self.handle_datagram(now, from, &bytes);
        }
    }

    fn established(&mut self) {
        let before = (self.core.device(), self.progress.0.exact());
        let Some(channel) = self.channel() else { return };
        let Some(subject) = channel.established() else { return self.end() };
        if let (Some(device), Some((association, numbers))) = before {
            let end = SessionEnd::Closed;
            self.inform(device, Uplink::SessionClosed { association, numbers, end });
        }
        self.take_session(subject.device);
    }

    fn take_session(&mut self, device: DeviceId) {
        let key = self.link.connection;
        let Some(channel) = self.channel() else { return };
        let Some(secured) = channel.secured() else { return };
        let place = channel.place();
        self.link = Link { security: Security::Dtls(secured), ..plain_link(key, place) };
        self.ground.attach(device, key);
        self.core = core().proven(device);
    }

    fn closed_by(&mut self, now: Instant, reason: CloseReason) {
        if let CloseReason::Handshake(_) = reason {
            return self.end();
        }
        self.note_progress();
        let (device, exact) = (self.core.device(), self.progress.0.exact());
        if let (Some(device), Some((association, numbers))) = (device, exact) {
            let end = if reason.allows_resumption() { SessionEnd::Closed } else { SessionEnd::Forbidden };
            self.inform(device, Uplink::SessionClosed { association, numbers, end });
            self.progress.0.clear();
            if reason == CloseReason::PeerClosed
                && let Lower::Open { closing, .. } = &mut self.lower
            {
                *closing = Some((association, now + CLOSING_FOR));
                return;
            }
        }
        self.end();
    }

    fn report(&mut self) {
        let numbers = self.channel().and_then(Channel::report);
        let secured = self.link.security.secured().copied();
        let (Some(numbers), Some(device), Some(secured)) = (numbers, self.core.device(), secured) else {
            return;
        };
        let numbers = stored::numbers(&numbers);
        self.inform(device, Uplink::SessionNumbers { association: secured.association, numbers });
    }

    fn note_progress(&mut self) {
        if let Lower::Open { channel, closing: None, .. } = &self.lower {
            channel.note(&self.progress.0, self.link.security.secured());
        }
    }
}
