//! The secured half of a connection's actor: what DTLS says is done, what it asks is answered.
//!
//! ```text
//!  Claiming ─ SessionClaimed ─► Open ─┬─ Application ─► core ─► Uplink
//!     │ 1.5 s                         ├─ Ask(Psk, Peer, Session) ─► store ─► Resolved
//!     ▼                               ├─ Ask(Store, Promote) ─► endpoint ─► SessionStored
//!   gone                              ├─ Established ─► the core begins anew, as that device
//!                                     └─ Closed ─► the endpoint writes it down ─► gone
//! ```

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use actix::{ActorContext, AsyncContext, Context};
use godwit_dtls::{self as dtls, Answer, CloseReason, NotStored, Output, Question, StoreKind, cid::Cid};

use super::{
    actor::{ConnectionActor, Input},
    secure::{
        channel::Channel,
        credentials, fate,
        path::{Moved, Place},
        stored,
        subject::Subject,
    },
};
pub(super) use crate::endpoint::link::Secured;
use crate::{
    clock,
    endpoint::link::{Downlink, Link, Refusal, Security, SessionEnd, Uplink},
    identity::{AssociationId, DeviceId, SessionId},
    ingress::admission::Handshake,
    metrics::{
        dtls::{AddressMove, Claim, Mode, Outcome, RecordDrop, Resumption, SessionEnd as Ended},
        labels::DropReason,
    },
    store::Session,
};

/// Datagrams of one device that wait for its session, and how long they do.
pub(super) const WAITING: usize = 4;
const WAITING_FOR: Duration = Duration::from_millis(1500);
/// How long the endpoint may take to write down that a session is closed, before our close_notify.
const CLOSING_FOR: Duration = Duration::from_secs(10);
/// Plaintexts that wait for their numbers to be written.
const HELD: usize = 16;

/// What is beneath the core of a secured connection.
pub(super) enum Lower {
    /// A stored session that the device's endpoint is being asked for.
    Claiming(Claiming),
    /// An association.
    Open(Box<Open>),
}

/// See [`Lower::Claiming`].
pub(super) struct Claiming {
    device: DeviceId,
    association: AssociationId,
    /// By which its records find it.
    cid: Option<Cid>,
    waiting: Vec<(Place, Box<[u8]>)>,
    until: Instant,
}

/// See [`Lower::Open`].
pub(super) struct Open {
    channel: Channel,
    /// By what the handshake under way tries to prove who the device is.
    tries: Mode,
    /// The store has failed it.
    lookup_failed: bool,
    /// Who the handshake under way says that the device is.
    claims: Option<DeviceId>,
    /// The version of the credential by which it does.
    presented: Option<u64>,
    /// The peer has closed this session: until when our answer waits for that to be written.
    closing: Option<(AssociationId, Instant)>,
    /// Plaintexts whose numbers are being written before anything answers them (`dtls.replay_floor = "strict"`).
    held: VecDeque<(u64, Vec<u8>)>,
}

impl Lower {
    pub(super) fn claiming(
        device: DeviceId,
        association: AssociationId,
        cid: Option<Cid>,
        waiting: Vec<(Place, Box<[u8]>)>,
        now: Instant,
    ) -> Self {
        Self::Claiming(Claiming { device, association, cid, waiting, until: now + WAITING_FOR })
    }

    /// `claims`: the device whose session on record it is.
    pub(super) fn open(channel: Channel, claims: Option<DeviceId>) -> Self {
        Self::Open(Box::new(Open {
            channel,
            tries: Mode::Unknown,
            lookup_failed: false,
            claims,
            presented: None,
            closing: None,
            held: VecDeque::new(),
        }))
    }

    /// When the connection goes, whatever else happens.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Self::Claiming(claiming) => Some(claiming.until),
            Self::Open(open) => open.closing.map(|(_, until)| until),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Claiming(_) => None,
            Self::Open(open) => open.channel.poll_timeout(),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Self::Open(open) = self {
            open.channel.handle_timeout(now);
        }
    }
}

impl ConnectionActor {
    fn channel(&mut self) -> Option<&mut Channel> {
        match self.lower.as_deref_mut() {
            Some(Lower::Open(open)) => Some(&mut open.channel),
            _ => None,
        }
    }

    /// Asks the endpoint for the session that this connection is for, or takes the one that it was given.
    pub(super) fn begin(&mut self) {
        match self.lower.as_deref() {
            Some(Lower::Claiming(claiming)) => {
                let (device, association) = (claiming.device, claiming.association);
                self.hand_up(clock::now(), device, Uplink::SessionClaim { association });
            }
            Some(Lower::Open(open)) => {
                let subject = open.channel.session().and_then(|session| Subject::read(session.subject()));
                if let Some(subject) = subject {
                    self.take_session(subject.device);
                }
            }
            None => {}
        }
    }

    fn ground(&self) -> std::rc::Rc<super::secure::Ground> {
        self.shard.ground.clone().expect("invariant: only shards with DTLS have secured connections")
    }

    pub(super) fn handle_hello(&mut self, now: Instant, from: Place, permit: Handshake, hello: &[u8]) {
        let Some(channel) = self.channel() else { return };
        let fate = channel.handle_hello(now, from, permit, hello);
        fate::count(&self.shard.metrics.dtls, &fate);
    }

    /// `false`: nothing in it is fresh and authentic.
    pub(super) fn handle_sealed(&mut self, now: Instant, from: Place, bytes: Box<[u8]>) -> bool {
        match self.lower.as_deref_mut() {
            Some(Lower::Open(open)) => {
                let fate = open.channel.handle_datagram(now, from, &bytes);
                fate::count(&self.shard.metrics.dtls, &fate);
                return fate.is_authentic();
            }
            Some(Lower::Claiming(claiming)) if claiming.waiting.len() < WAITING => {
                claiming.waiting.push((from, bytes));
            }
            _ => self.shard.metrics.datagrams_dropped[DropReason::Admission].increment(1),
        }
        true
    }

    /// Does one thing that DTLS says; `false` if there is none.
    pub(super) fn drive_lower(&mut self, now: Instant, ctx: &mut Context<Self>) -> bool {
        let Some(output) = self.channel().and_then(Channel::poll) else { return false };
        match output {
            Output::Transmit(datagram) => self.send_datagram(datagram),
            Output::Ask(ticket, question) => self.ask(now, ticket, question, ctx),
            Output::Established { resumed, .. } => self.established(now, resumed, ctx),
            Output::Application { bytes, number, newest } => {
                self.handle_plaintext(now, bytes, number, newest);
            }
            Output::NumbersDue => self.report(),
            Output::HandshakeFailed(failure) => self.handshake_failed(failure),
            Output::Closed(reason) => self.closed_by(now, reason, ctx),
        }
        true
    }

    fn send_datagram(&mut self, bytes: Vec<u8>) {
        let Some(channel) = self.channel() else { return };
        let place = channel.place();
        self.shard.metrics.dtls.records_sent.increment(1);
        self.shard.send(place, bytes);
    }

    /// Seals a message of the core.
    pub(super) fn seal(&mut self, now: Instant, message: &[u8]) {
        // Codes of class 0 but the empty one are requests (RFC 7252 §3): nobody has asked for them.
        let asked = !message.get(1).is_some_and(|code| (1..32).contains(code));
        let Some(channel) = self.channel() else { return };
        match channel.send(now, message, asked) {
            Ok(true) => {}
            Ok(false) => self.shard.metrics.datagrams_dropped[DropReason::UnprovenAddress].increment(1),
            Err(error) => {
                if matches!(error, dtls::SendError::NoncesUsedUp(_)) {
                    self.shard.metrics.dtls.nonces_refused.increment(1);
                }
                tracing::debug!(%error, "a message was not sealed");
                self.shard.metrics.datagrams_dropped[DropReason::SendFailed].increment(1);
            }
        }
    }

    fn handle_plaintext(&mut self, now: Instant, plaintext: Vec<u8>, number: u64, newest: bool) {
        let Some(channel) = self.channel() else { return };
        let moved = channel.heard(newest);
        let (place, ping) = (channel.place(), channel.ping());
        let pong = channel.is_pong(&plaintext);
        self.moved(moved, place);
        if newest {
            self.reside(place.via);
        }
        if let Some(ping) = ping {
            self.seal(now, &ping);
        }
        if pong {
            return;
        }
        if !self.ground().settings().strict_floor {
            let fate = self.core.handle_record(now, number, &plaintext);
            return self.count(fate);
        }
        self.report();
        if let Some(Lower::Open(open)) = self.lower.as_deref_mut() {
            if open.held.len() >= HELD {
                // Their write has failed, and the device repeats them.
                open.held.clear();
            }
            open.held.push_back((number, plaintext));
        }
    }

    /// The number of the longest held plaintext is on record.
    fn let_go(&mut self, now: Instant) {
        let Some(Lower::Open(open)) = self.lower.as_deref_mut() else { return };
        if let Some((number, plaintext)) = open.held.pop_front() {
            let fate = self.core.handle_record(now, number, &plaintext);
            self.count(fate);
        }
    }

    /// Follows the device to where it is now.
    fn moved(&mut self, moved: Moved, place: Place) {
        let moves = &self.shard.metrics.dtls.address_moves;
        match moved {
            Moved::Stayed => {
                (self.link.local, self.link.via) = (place.local, place.via);
                return;
            }
            Moved::Refused => return moves[AddressMove::Refused].increment(1),
            Moved::Provisional => moves[AddressMove::Provisional].increment(1),
            Moved::Confirmed => moves[AddressMove::Confirmed].increment(1),
        }
        self.link = self.link.at(place);
        if moved == Moved::Confirmed
            && let (Some(device), Some(secured)) = (self.core.device(), self.secured())
        {
            let local = self.shard.local_of(&self.link);
            let (association, peer) = (secured.association, place.remote);
            self.inform(device, Uplink::SessionMoved { association, peer, local });
        }
    }

    fn inform(&self, device: DeviceId, uplink: Uplink) {
        if self.progress.is_retired() {
            return;
        }
        self.shard.endpoints.inform(device, self.link, uplink);
    }

    fn ask(&mut self, now: Instant, ticket: dtls::Ticket, question: Question, ctx: &mut Context<Self>) {
        let Some(Lower::Open(open)) = self.lower.as_deref_mut() else { return };
        match question {
            Question::Psk { identity } => {
                open.tries = Mode::Psk;
                self.look_up(ctx, ticket, Answer::Psk(None), async move |endpoints, settings| {
                    let found = credentials::psk(endpoints.store(), &settings, identity).await?;
                    Ok(Answer::psk(found))
                });
            }
            Question::Peer(credential) => {
                open.tries = match credential {
                    dtls::PeerCredential::RawPublicKey(_) => Mode::Rpk,
                    dtls::PeerCredential::Chain(_) => Mode::X509,
                };
                let unix = clock::unix_ms() / 1000;
                let none = Answer::Peer(Err(dtls::Unacceptable::Unknown));
                self.look_up(ctx, ticket, none, async move |endpoints, settings| {
                    let found = credentials::peer(endpoints.store(), &settings, credential, unix).await?;
                    Ok(Answer::Peer(found.map(|subject| subject.encode())))
                });
            }
            Question::Session(id) => {
                let (id, metrics) = (SessionId::from_bytes(id.0), self.shard.metrics.clone());
                self.look_up(ctx, ticket, Answer::Session(None), async move |endpoints, settings| {
                    let found = credentials::session(endpoints.store(), &settings, id).await?;
                    if let Err(why) = &found {
                        metrics.dtls.resumptions[*why].increment(1);
                    }
                    Ok(Answer::Session(found.ok()))
                });
            }
            Question::Store(session, kind) => self.store(now, ticket, &session, kind),
            Question::Promote(name) => {
                let association = AssociationId::from_bytes(name.0);
                open.channel.ask(ticket, association);
                match open.claims {
                    Some(device) => self.hand_up(now, device, Uplink::SessionPromoted { association }),
                    None => {
                        self.answer_store(now, association, Err(NotStored));
                    }
                }
            }
        }
    }

    /// Asks the store on the side; `none` is answered if it fails.
    fn look_up<F>(&self, ctx: &Context<Self>, ticket: dtls::Ticket, none: Answer, ask: F)
    where
        F: AsyncFnOnce(
                std::rc::Rc<crate::endpoint::Endpoints>,
                std::sync::Arc<super::secure::settings::Settings>,
            ) -> Result<Answer, credentials::Failed>
            + 'static,
    {
        let (endpoints, settings) = (self.shard.endpoints.clone(), self.ground().settings().clone());
        let address = ctx.address();
        actix::spawn(async move {
            let (answer, failed) = match ask(endpoints, settings).await {
                Ok(answer) => (answer, false),
                Err(_) => (none, true),
            };
            address.do_send(Input::Resolved { ticket, answer, failed });
        });
    }

    pub(super) fn handle_resolved(
        &mut self,
        now: Instant,
        ticket: dtls::Ticket,
        answer: Answer,
        failed: bool,
    ) {
        let resumptions = &self.shard.metrics.dtls.resumptions;
        if failed && let Answer::Session(_) = &answer {
            resumptions[Resumption::Store].increment(1);
        }
        let found = matches!(answer, Answer::Session(Some(_)));
        let Some(Lower::Open(open)) = self.lower.as_deref_mut() else { return };
        open.lookup_failed |= failed;
        open.channel.provide(now, ticket, answer);
        if found {
            let goes_on = open.channel.is_resuming();
            resumptions[if goes_on { Resumption::Resumed } else { Resumption::Mismatch }].increment(1);
        }
    }

    /// Has the endpoint store the session of a handshake.
    fn store(&mut self, now: Instant, ticket: dtls::Ticket, session: &dtls::StoredSession, kind: StoreKind) {
        let ground = self.ground();
        let Some(channel) = self.channel() else { return };
        let association = AssociationId::from_bytes(session.name().0);
        channel.ask(ticket, association);
        let place = channel.place();
        let bound = self.shard.bound_of(place.socket);
        let (Some(subject), Some(bound)) = (Subject::read(session.subject()), bound) else {
            self.answer_store(now, association, Err(NotStored));
            return;
        };
        let provisional = kind == StoreKind::Provisional;
        let rotated = !provisional && subject.rotated;
        let sealer = &ground.settings().sealer;
        let session = stored::seal(sealer, &subject, session, provisional, place, bound, clock::unix_ms());
        ground.attach(subject.device, self.link.connection);
        if let Some(Lower::Open(open)) = self.lower.as_deref_mut() {
            (open.claims, open.presented) = (Some(subject.device), Some(subject.credential));
        }
        self.hand_up(now, subject.device, Uplink::SessionEstablished { session: Box::new(session), rotated });
    }

    /// Answers what the handshake under way asks to be written; `false`: it asks nothing of this association.
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

    /// What could not be handed up gets the answer that the endpoint can't give.
    pub(super) fn session_undelivered(&mut self, now: Instant, uplink: &Uplink) {
        match uplink {
            Uplink::SessionEstablished { session, .. } => {
                self.answer_store(now, session.association, Err(NotStored));
            }
            Uplink::SessionPromoted { association } => {
                self.answer_store(now, *association, Err(NotStored));
            }
            // The datagrams that wait are dropped in time; the device repeats them.
            _ => {}
        }
    }

    pub(super) fn handle_session(&mut self, now: Instant, downlink: Downlink, ctx: &mut Context<Self>) {
        match downlink {
            Downlink::SessionStored { association } => {
                if self.answer_store(now, association, Ok(())) {
                    return;
                }
                if self.secured().is_some_and(|secured| secured.association == association) {
                    self.let_go(now);
                }
                let Some(Lower::Open(open)) = self.lower.as_deref_mut() else { return };
                if open.closing.is_some_and(|(closing, _)| closing == association) {
                    open.channel.close(now);
                    while let Some(output) = open.channel.poll() {
                        if let Output::Transmit(bytes) = output {
                            self.shard.send(open.channel.place(), bytes);
                        }
                    }
                    ctx.stop();
                }
            }
            Downlink::SessionRefused { association, reason } => {
                if let Some(Lower::Claiming(claiming)) = self.lower.as_deref_mut() {
                    if reason == Refusal::Elsewhere {
                        // Claimed at another node since it was looked up: now that one is asked.
                        let waiting = std::mem::take(&mut claiming.waiting);
                        self.shard.come_back(waiting);
                    }
                    self.shard.metrics.dtls.claims[Claim::Lost].increment(1);
                    return ctx.stop();
                }
                let own = self.secured().is_some_and(|secured| secured.association == association);
                if own && reason == Refusal::Revoked {
                    return self.handle_revoked(now, None, ctx);
                }
                tracing::debug!(?reason, "a session was not stored");
                if reason == Refusal::Unavailable
                    && let Some(Lower::Open(open)) = self.lower.as_deref_mut()
                {
                    open.lookup_failed = true;
                }
                self.answer_store(now, association, Err(NotStored));
            }
            Downlink::SessionClaimed { session, exact } => self.claimed(now, &session, exact, ctx),
            _ => {}
        }
    }

    /// Goes on with the session that the endpoint has claimed, and with what waited for it.
    fn claimed(&mut self, now: Instant, session: &Session, exact: bool, ctx: &mut Context<Self>) {
        let Some(Lower::Claiming(claiming)) = self.lower.as_deref_mut() else { return };
        if claiming.association != session.association {
            return;
        }
        let (device, waiting) = (claiming.device, std::mem::take(&mut claiming.waiting));
        // The address on record is where the device was; a record from elsewhere must move it by the rules.
        let first = waiting.first().map(|(from, _)| *from);
        let place = self.shard.place_of(session).or(first);
        let ground = self.ground();
        let (Some(stored), Some(place)) =
            (stored::open(&ground.settings().sealer, device, session, true), place)
        else {
            return ctx.stop();
        };
        let counted = if exact { Claim::Exact } else { Claim::Jumped };
        self.shard.metrics.dtls.claims[counted].increment(1);
        let key = self.link.connection;
        let channel = Channel::resume(ground, key, place, now, stored, exact);
        self.lower = Some(Box::new(Lower::open(channel, Some(device))));
        self.take_session(device);
        for (from, bytes) in waiting {
            let _ = self.handle_sealed(now, from, bytes);
        }
    }

    fn established(&mut self, now: Instant, resumed: bool, ctx: &mut Context<Self>) {
        let before = (self.core.device(), self.progress.exact());
        let Some(Lower::Open(open)) = self.lower.as_deref_mut() else { return };
        let begun = open.channel.begun();
        let mode = open.channel.session().map_or(Mode::Unknown, |session| fate::mode(session.mode()));
        let Some(subject) = open.channel.established() else {
            tracing::error!("a session has no subject of ours");
            return ctx.stop();
        };
        let outcome = if resumed { Outcome::Resumed } else { Outcome::Full };
        self.shard.metrics.dtls.handshake_ended(mode, outcome, (now - begun).as_secs_f64());
        if let (Some(device), Some((association, numbers))) = before {
            // Its keys are gone from here, and what it had open will never end.
            let end = SessionEnd::Closed;
            self.inform(device, Uplink::SessionClosed { association, numbers, end });
            self.shard.metrics.dtls.sessions_ended[Ended::Replaced].increment(1);
            self.forget_gauge();
            if device != subject.device {
                self.ground().detach(device, self.link.connection);
            }
        }
        self.take_session(subject.device);
    }

    /// The live session is this device's: the core begins anew, sized to its records.
    fn take_session(&mut self, device: DeviceId) {
        let key = self.link.connection;
        let Some(Lower::Open(open)) = self.lower.as_deref() else { return };
        let channel = &open.channel;
        let Some(session) = channel.session() else { return };
        let (place, limit) = (channel.place(), channel.max_plaintext());
        let credential = Subject::read(session.subject()).map_or(0, |subject| subject.credential);
        let secured = Secured {
            association: AssociationId::from_bytes(session.name().0),
            mode: stored::mode(session.mode()),
            credential,
        };
        let (named, mode) = (session.cid().is_some(), fate::mode(session.mode()));
        if (self.link.socket, self.link.remote) != (place.socket, place.remote) {
            self.shard.readdress(key, (self.link.socket, self.link.remote), None);
        }
        self.link = Link { security: Security::Dtls(secured), ..Link::plain(key, place) };
        // By its address it is found only where nothing else leads to it: another device may come from there.
        let at = (!named).then_some((place.socket, place.remote));
        self.shard.readdress(key, (place.socket, place.remote), at);
        self.ground().attach(device, key);
        self.core = self.shard.core(limit).proven(device);
        self.shard.metrics.dtls.sessions[mode].increment(1.0);
    }

    fn handshake_failed(&mut self, failure: dtls::HandshakeFailure) {
        let Some(Lower::Open(open)) = self.lower.as_deref_mut() else { return };
        let (tries, failed) = (open.tries, open.lookup_failed);
        (open.tries, open.lookup_failed) = (Mode::Unknown, false);
        tracing::debug!(%failure, "a handshake has failed");
        fate::count_failure(&self.shard.metrics.dtls, tries, failure, failed);
    }

    fn closed_by(&mut self, now: Instant, reason: CloseReason, ctx: &mut Context<Self>) {
        if let CloseReason::Handshake(failure) = reason {
            self.handshake_failed(failure);
            return ctx.stop();
        }
        let metrics = &self.shard.metrics.dtls;
        metrics.sessions_ended[fate::end(reason)].increment(1);
        if matches!(reason, CloseReason::PeerClosed | CloseReason::PeerAlert(_)) {
            metrics.alerts_received.increment(1);
        }
        let (device, exact) = (self.core.device(), self.exact());
        if let (Some(device), Some((association, numbers))) = (device, exact) {
            let end = if reason.allows_resumption() { SessionEnd::Closed } else { SessionEnd::Forbidden };
            self.inform(device, Uplink::SessionClosed { association, numbers, end });
            self.progress.clear();
            if reason == CloseReason::PeerClosed
                && let Some(Lower::Open(open)) = self.lower.as_deref_mut()
            {
                open.closing = Some((association, now + CLOSING_FOR));
                return;
            }
        }
        ctx.stop();
    }

    /// Hands the session's numbers up.
    fn report(&mut self) {
        let numbers = self.channel().and_then(Channel::report);
        let (Some(numbers), Some(device), Some(secured)) = (numbers, self.core.device(), self.secured())
        else {
            return;
        };
        let numbers = stored::numbers(&numbers);
        self.inform(device, Uplink::SessionNumbers { association: secured.association, numbers });
    }

    /// Leaves the session to whoever goes on with it.
    pub(super) fn leave(&mut self) {
        let exact = self.exact();
        if let (Some(device), Some((association, numbers))) = (self.core.device(), exact) {
            self.progress.clear();
            let end = SessionEnd::Idle;
            self.inform(device, Uplink::SessionClosed { association, numbers, end });
        }
    }

    pub(super) fn handle_revoked(&mut self, now: Instant, version: Option<u64>, ctx: &mut Context<Self>) {
        let used = match (self.secured(), self.lower.as_deref()) {
            (Some(secured), _) => Some(secured.credential),
            // The endpoint compares what it is asked to claim.
            (None, Some(Lower::Claiming(_))) => return,
            // News of a credential may come while its first handshake waits for the store.
            (None, Some(Lower::Open(open))) => open.presented,
            (None, None) => None,
        };
        if used.is_some() && used == version {
            return;
        }
        // Who was revoked is told, but nobody waits for an answer; what is on record, the endpoint has seen to.
        self.progress.clear();
        if let Some(channel) = self.channel() {
            channel.close(now);
        }
        while let Some(output) = self.channel().and_then(Channel::poll) {
            if let Output::Transmit(datagram) = output {
                self.send_datagram(datagram);
            }
        }
        self.shard.metrics.dtls.sessions_ended[Ended::Revoked].increment(1);
        ctx.stop();
    }

    /// The exact numbers of the live session, as they are at this moment.
    fn exact(&mut self) -> Option<(AssociationId, crate::store::Numbers)> {
        self.note_progress();
        self.progress.exact()
    }

    /// Lets others see how far the session's numbers went.
    pub(super) fn note_progress(&mut self) {
        if let Some(Lower::Open(open)) = self.lower.as_deref()
            && open.closing.is_none()
            && !self.progress.is_retired()
            && let (Some(session), Security::Dtls(secured)) = (open.channel.session(), &self.link.security)
            && session.name().0 == *secured.association.as_bytes()
        {
            let numbers = session.numbers();
            self.progress.note(secured.association, stored::numbers(&numbers), numbers.write_next);
        }
    }

    /// Counts what DTLS has sent on its own.
    pub(super) fn count_sent(&mut self) {
        let Some(dtls::Sent { alerts, repeats }) = self.channel().map(Channel::take_sent) else { return };
        let metrics = &self.shard.metrics.dtls;
        metrics.alerts_sent.increment(alerts.into());
        metrics.retransmissions.increment(repeats.into());
    }

    fn forget_gauge(&self) {
        if let Some(secured) = self.secured() {
            self.shard.metrics.dtls.sessions[fate::stored_mode(secured.mode)].decrement(1.0);
        }
    }

    /// The connection ends: nothing leads to it any more.
    pub(super) fn forget_session(&mut self) {
        self.forget_gauge();
        self.count_sent();
        let claiming = match self.lower.as_deref() {
            Some(Lower::Claiming(claiming)) => {
                let dropped = claiming.waiting.len() as u64;
                self.shard.metrics.dtls.records_dropped[RecordDrop::NoSession].increment(dropped);
                if let (Some(ground), Some(cid)) = (&self.shard.ground, claiming.cid) {
                    ground.forget(cid, self.link.connection);
                }
                Some(claiming.device)
            }
            Some(Lower::Open(open)) => open.claims,
            None => None,
        };
        if let Some(ground) = &self.shard.ground
            && self.lower.is_some()
        {
            for device in [claiming, self.core.device()].into_iter().flatten() {
                ground.detach(device, self.link.connection);
            }
        }
        self.lower = None;
    }
}
