//! The DTLS sessions of one device. The endpoint alone writes them into the record; connections use them.
//!
//! ```text
//!  SessionEstablished ─► credential as it is now? ─► make room, write ─► SessionStored ─► last flight leaves
//!  SessionPromoted ────► write: it takes the place of the one that it resumed ─► SessionStored
//!  SessionClaim ───────► on record, not revoked ─► SessionClaimed, with its numbers
//!  SessionNumbers, SessionMoved, SessionClosed ─► written; nobody waits
//!  any other write ────► the numbers of sessions in use ride along
//!  passivation ────────► connections retire, exact numbers and `passive` in one write
//! ```
//! An end of a session, whichever way, is not the end of the registration.

use std::net::SocketAddr;

use super::{
    access::Access,
    core::Core,
    link::{Downlink, Link, Refusal, Secured, Security, SessionEnd, Uplink},
    message::{Effect, Then},
};
use crate::{
    clock::Reading,
    config::ReplayFloor,
    identity::{AssociationId, SessionId, SessionTag},
    shard::ActorKey,
    store::{Change, Numbers, SESSIONS, Session, StoreError, value::credential::Mode},
};

/// How long a provisional session waits for the client's Finished.
const PROVISIONAL_FOR_MS: u64 = 60_000;

/// A session on record, without what only its connection needs.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) association: AssociationId,
    pub(super) id: SessionId,
    pub(super) mode: Mode,
    credential_version: u64,
    provisional: bool,
    closed: bool,
    pub(super) peer: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    /// While no connection uses it, the mark is the next number to send.
    numbers: Numbers,
    /// What was received is exact as well: no owner has died with some of it.
    exact: bool,
    heard_at: u64,
    expires_at: u64,
    /// The client has its Finished answered, for it has sent something else since.
    settled: bool,
    /// The connection that uses it.
    pub(super) link: Option<Link>,
    /// A connection waits for it: it begins anew with it, and forgets what it was told before.
    awaited: bool,
    /// All of it, as the claim's answer had it, until a connection takes it.
    whole: Option<Box<Session>>,
}

impl Held {
    fn of(session: &Session) -> Self {
        Self {
            association: session.association,
            id: session.id,
            mode: session.mode,
            credential_version: session.credential_version,
            provisional: session.provisional,
            closed: session.closed,
            peer: session.peer,
            local: session.local,
            numbers: session.numbers,
            exact: true,
            heard_at: session.heard_at,
            expires_at: session.expires_at,
            settled: session.answer.is_empty(),
            link: None,
            awaited: false,
            whole: None,
        }
    }

    fn marks(&self) -> Change {
        Change::Marks {
            association: self.association,
            numbers: self.numbers,
            heard_at: self.heard_at,
            expires_at: self.expires_at,
            keep_answer: !self.settled,
        }
    }

    /// A connection uses it. While it shook hands for it, its link did not say so yet.
    fn use_over(&mut self, link: Link) {
        let secured =
            Secured { association: self.association, mode: self.mode, credential: self.credential_version };
        self.link = Some(Link { security: Security::Dtls(secured), ..link });
        self.whole = None;
    }

    /// Its connection is gone without a word of how far it went.
    fn abandon(&mut self) {
        (self.link, self.awaited, self.exact) = (None, false, false);
        self.numbers = self.numbers.after_a_crash();
    }

    fn has_expired(&self, now: Reading) -> bool {
        self.expires_at != 0 && self.expires_at <= now.unix_ms
    }
}

/// A session on its way to the store.
#[derive(Debug)]
pub(super) struct NewSession {
    link: Link,
    held: Held,
    /// It was made with the secret that a rotation gave.
    rotated: bool,
    /// What makes room for it.
    removed: Vec<AssociationId>,
}

impl NewSession {
    pub(super) fn refusal(&self) -> (Link, AssociationId) {
        (self.link, self.held.association)
    }
}

/// All sessions of a device.
#[derive(Debug, Default)]
pub(super) struct Sessions(Vec<Held>);

impl Sessions {
    /// The sessions of a record that was just claimed. `exact`: the record was passive.
    pub(super) fn of_record(sessions: Vec<Session>, exact: bool) -> Self {
        let held = sessions.into_iter().map(|session| {
            let mut held = Held::of(&session);
            if !exact {
                held.abandon();
            }
            Held { whole: Some(Box::new(session)), ..held }
        });
        Self(held.collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.0.iter()
    }

    pub(super) fn find(&self, association: AssociationId) -> Option<&Held> {
        self.0.iter().find(|held| held.association == association)
    }

    fn find_mut(&mut self, association: AssociationId) -> Option<&mut Held> {
        self.0.iter_mut().find(|held| held.association == association)
    }

    /// The session that a connection uses.
    fn used_by(&mut self, link: &Link) -> Option<&mut Held> {
        let association = link.security.secured()?.association;
        self.find_mut(association)
    }

    fn remove(&mut self, association: AssociationId) -> Option<Held> {
        let at = self.0.iter().position(|held| held.association == association)?;
        let held = self.0.remove(at);
        self.0.shrink_to_fit();
        Some(held)
    }

    /// What must go before a session of this kind is written: what is over, then what was longest not heard.
    fn room_for(&self, now: Reading, session: &Session) -> Vec<AssociationId> {
        let others = || self.0.iter().filter(|held| held.association != session.association);
        let mut gone: Vec<_> =
            others().filter(|held| held.has_expired(now)).map(|it| it.association).collect();
        let mut alike: Vec<_> = others()
            .filter(|held| !held.has_expired(now) && held.provisional == session.provisional)
            .map(|held| (held.heard_at, held.association))
            .collect();
        alike.sort_unstable();
        let surplus = (alike.len() + 1).saturating_sub(SESSIONS);
        gone.extend(alike.into_iter().take(surplus).map(|(_, association)| association));
        gone
    }

    /// The session by which a device is reached: the one that it registered in, else the one last heard.
    fn to_reach(&self, registered_in: Option<SessionTag>, access: &Access, now: Reading) -> Option<&Held> {
        let usable = |held: &&Held| {
            !held.provisional
                && !held.closed
                && !held.has_expired(now)
                && held.peer.is_some()
                && access.honours(held.mode, held.credential_version)
        };
        self.0.iter().filter(usable).max_by_key(|held| (Some(held.id.tag()) == registered_in, held.heard_at))
    }
}

impl Core {
    pub(super) fn handle_session(&mut self, now: Reading, link: Link, uplink: Uplink) {
        match uplink {
            Uplink::SessionEstablished { session, rotated } => {
                self.session_established(now, link, *session, rotated);
            }
            Uplink::SessionPromoted { association } => self.session_promoted(now, link, association),
            Uplink::SessionClaim { association } => self.session_claimed(now, link, association),
            Uplink::SessionNumbers { association, numbers } => {
                if let Some(held) = self.sessions.find_mut(association) {
                    (held.numbers, held.settled) = (numbers, true);
                    let marks = held.marks();
                    // "strict": what brought the record waits for this.
                    let strict = self.services.process.config.dtls.replay_floor == ReplayFloor::Strict;
                    let written = Then::SessionWritten { link, association };
                    self.persist(vec![marks], if strict { written } else { Then::Nothing });
                }
            }
            Uplink::SessionMoved { association, peer, local } => {
                self.session_moved(link, association, peer, local);
            }
            Uplink::SessionClosed { association, numbers, end } => {
                self.session_closed(now, link, association, numbers, end);
            }
            _ => {}
        }
    }

    fn session_established(&mut self, now: Reading, link: Link, mut session: Session, rotated: bool) {
        let association = session.association;
        if !self.access.honours(session.mode, session.credential_version) {
            return self.refuse_session(link, association, Refusal::Revoked);
        }
        session.heard_at = now.unix_ms;
        session.expires_at = self.session_expiry(session.provisional, now.unix_ms);
        let removed = self.sessions.room_for(now, &session);
        let mut held = Held::of(&session);
        held.use_over(link);
        let mut changes: Vec<_> = removed.iter().copied().map(Change::RemoveSession).collect();
        changes.push(Change::Session(Box::new(session)));
        self.persist(changes, Then::Session(Box::new(NewSession { link, held, rotated, removed })));
    }

    pub(super) fn session_stored(&mut self, now: Reading, new: NewSession) {
        let NewSession { link, held, rotated, removed } = new;
        for association in removed {
            self.replace_session(now, association, &link);
        }
        let association = held.association;
        self.sessions.remove(association);
        self.sessions.0.push(held);
        self.downlink(link, Downlink::SessionStored { association });
        if rotated {
            self.effect(Effect::SettleRotation);
        }
    }

    fn session_promoted(&mut self, now: Reading, link: Link, association: AssociationId) {
        let Some(held) = self.sessions.find(association).filter(|held| !held.has_expired(now)) else {
            return self.refuse_session(link, association, Refusal::Unknown);
        };
        if !self.access.honours(held.mode, held.credential_version) {
            return self.refuse_session(link, association, Refusal::Revoked);
        }
        if !held.provisional {
            return self.downlink(link, Downlink::SessionStored { association });
        }
        // One that it does not take the place of may have to go: the resumed one was removed meanwhile.
        let id = held.id;
        let mut others: Vec<_> =
            self.sessions.iter().filter(|other| other.id != id && !other.provisional).collect();
        others.sort_unstable_by_key(|other| other.heard_at);
        let surplus = (others.len() + 1).saturating_sub(SESSIONS);
        let removed: Vec<_> = others.iter().take(surplus).map(|other| other.association).collect();
        let expires_at = self.session_expiry(false, now.unix_ms);
        let mut changes: Vec<_> = removed.iter().copied().map(Change::RemoveSession).collect();
        changes.push(Change::Promote { association, expires_at });
        self.persist(changes, Then::Promoted { link, association, removed });
    }

    pub(super) fn promotion_stored(
        &mut self,
        now: Reading,
        link: Link,
        association: AssociationId,
        removed: Vec<AssociationId>,
    ) {
        let expires_at = self.session_expiry(false, now.unix_ms);
        let Some(held) = self.sessions.find_mut(association) else { return };
        (held.provisional, held.expires_at, held.heard_at) = (false, expires_at, now.unix_ms);
        held.settled = true;
        held.use_over(link);
        let (id, own) = (held.id, held.link);
        // First of all: with it the connection begins anew, and what it was told before would be lost.
        self.downlink(link, Downlink::SessionStored { association });
        let resumed = self.sessions.iter().filter(|other| other.id == id && other.association != association);
        let replaced: Vec<_> = resumed.map(|other| other.association).collect();
        let was_linked = self.link.and_then(|own| own.security.secured().copied());
        let follows = was_linked.is_some_and(|secured| replaced.contains(&secured.association));
        for gone in removed.into_iter().chain(replaced) {
            self.replace_session(now, gone, &link);
        }
        if let Some(own) = own.filter(|_| follows) {
            // It has come over the session that continues the one that it registered in.
            self.link_to(now, own);
        }
    }

    fn session_claimed(&mut self, now: Reading, link: Link, association: AssociationId) {
        let found = self.sessions.find(association);
        let refusal = match found.filter(|held| !held.closed && !held.has_expired(now)) {
            None => Some(Refusal::Unknown),
            Some(held) if !self.access.honours(held.mode, held.credential_version) => Some(Refusal::Revoked),
            Some(_) => None,
        };
        if let Some(refusal) = refusal {
            return self.refuse_session(link, association, refusal);
        }
        let Some(held) = self.sessions.find_mut(association) else { return };
        if held.link.is_some() || held.awaited || self.reaching {
            // In use by another connection, whose end will bring the numbers, or about to be.
            return self.refuse_session(link, association, Refusal::Unavailable);
        }
        match held.whole.take() {
            Some(whole) => self.give_session(link, *whole),
            None => {
                held.awaited = true;
                self.effect(Effect::ReadSession(link, association));
            }
        }
    }

    /// What the store has of a session that this endpoint did not keep whole.
    pub(super) fn handle_session_read(
        &mut self,
        link: Link,
        association: AssociationId,
        read: Option<Box<Session>>,
    ) {
        if let Some(held) = self.sessions.find_mut(association) {
            held.awaited = false;
        }
        match read {
            // Its numbers are on record for whoever claims the device next, or about to be.
            Some(session) if !self.leaving() => self.give_session(link, *session),
            _ => self.refuse_session(link, association, Refusal::Unavailable),
        }
    }

    fn give_session(&mut self, link: Link, mut session: Session) {
        let association = session.association;
        let Some(held) = self.sessions.find_mut(association).filter(|held| held.link.is_none()) else {
            return self.refuse_session(link, association, Refusal::Unavailable);
        };
        session.numbers = held.numbers;
        held.use_over(link);
        let session = Box::new(session);
        if std::mem::replace(&mut held.exact, true) {
            return self.downlink(link, Downlink::SessionClaimed { session, exact: true });
        }
        // Until this is written, another crash would have the next owner use the same numbers.
        held.awaited = true;
        let marks = held.marks();
        self.persist(vec![marks], Then::Claimed { link, session });
    }

    /// The numbers after a jump are on record: its connection may use them.
    pub(super) fn session_given(&mut self, link: Link, session: Box<Session>) {
        let used = |held: &&mut Held| held.link.is_some_and(|used| used.connection == link.connection);
        // Else it was revoked, or its connection is gone.
        if let Some(held) = self.sessions.find_mut(session.association).filter(used) {
            held.awaited = false;
            self.downlink(link, Downlink::SessionClaimed { session, exact: false });
        }
    }

    pub(super) fn session_not_given(&mut self, link: Link, session: Box<Session>) {
        let association = session.association;
        let used = |held: &&mut Held| held.link.is_some_and(|used| used.connection == link.connection);
        if let Some(held) = self.sessions.find_mut(association).filter(used) {
            (held.link, held.awaited) = (None, false);
            (held.exact, held.whole) = (false, Some(session));
        }
        self.refuse_session(link, association, Refusal::Unavailable);
    }

    fn session_moved(
        &mut self,
        link: Link,
        association: AssociationId,
        peer: SocketAddr,
        local: Option<SocketAddr>,
    ) {
        let Some(held) = self.sessions.find_mut(association) else { return };
        (held.peer, held.local) = (Some(peer), local);
        held.use_over(link);
        let mut changes = vec![Change::SessionAddress { association, peer: Some(peer), local }];
        if self.link.is_some_and(|own| own.connection == link.connection) {
            self.link = Some(link);
            changes.push(Change::Address { peer: Some(peer), local, by_address: false });
            changes.push(Change::PathNode(self.node_of(link.via)));
        }
        self.persist(changes, Then::Nothing);
    }

    fn session_closed(
        &mut self,
        now: Reading,
        link: Link,
        association: AssociationId,
        numbers: Numbers,
        end: SessionEnd,
    ) {
        self.unlink(now, |own| own.connection == link.connection && own.is_by(association));
        let Some(held) = self.sessions.find_mut(association) else {
            // Gone already; the connection need not wait.
            return self.downlink(link, Downlink::SessionStored { association });
        };
        if held.link.is_some_and(|used| used.connection != link.connection) {
            // Another connection has taken it over, with numbers beyond these.
            return;
        }
        (held.numbers, held.link, held.settled) = (numbers, None, true);
        held.closed |= end == SessionEnd::Closed;
        let mut changes = vec![held.marks()];
        match end {
            SessionEnd::Idle => {}
            SessionEnd::Closed => changes.push(Change::CloseSession(association)),
            SessionEnd::Forbidden => {
                self.sessions.remove(association);
                changes = vec![Change::RemoveSession(association)];
            }
        }
        let then = if end == SessionEnd::Closed {
            Then::SessionWritten { link, association }
        } else {
            Then::Nothing
        };
        self.persist(changes, then);
    }

    /// Takes note of which session the device spoke in.
    pub(super) fn heard_in_session(&mut self, now: Reading, link: &Link) {
        let expires_at = self.session_expiry(false, now.unix_ms);
        if let Some(held) = self.sessions.used_by(link) {
            (held.heard_at, held.settled) = (now.unix_ms, true);
            held.use_over(*link);
            if !held.provisional {
                held.expires_at = expires_at;
            }
        }
    }

    /// A connection is gone.
    pub(super) fn session_lost(&mut self, connection: ActorKey) {
        let used = |held: &&mut Held| held.link.is_some_and(|link| link.connection == connection);
        // Two, while it shakes hands for the second.
        let lost = self.sessions.0.iter_mut().filter(used).map(|held| {
            held.abandon();
            held.marks()
        });
        let marks: Vec<_> = lost.collect();
        if !marks.is_empty() {
            self.persist(marks, Then::Nothing);
        }
    }

    /// Ends what the credential as it is now no longer allows, with what is to be written.
    pub(super) fn revoke_sessions(&mut self, now: Reading) -> Vec<Change> {
        let access = &self.access;
        let revoked = self.sessions.iter().filter(|held| !access.honours(held.mode, held.credential_version));
        let revoked: Vec<_> = revoked.map(|held| held.association).collect();
        for association in &revoked {
            if let Some(link) = self.forget_session(now, *association) {
                self.refuse_session(link, *association, Refusal::Revoked);
            }
        }
        revoked.into_iter().map(Change::RemoveSession).collect()
    }

    /// Part of every claim: writes how numbers go on after a crash, seals anew what lies under an older store key, and
    /// drops what is over or revoked.
    pub(super) fn refresh_sessions(&mut self, now: Reading, exact: bool) {
        let mut changes = self.revoke_sessions(now);
        let over: Vec<_> =
            self.sessions.iter().filter(|held| held.has_expired(now)).map(|held| held.association).collect();
        for association in over {
            self.sessions.remove(association);
            changes.push(Change::RemoveSession(association));
        }
        let (sealer, device) = (self.services.process.sealer.clone(), self.device);
        for whole in self.sessions.0.iter_mut().filter_map(|held| held.whole.as_deref_mut()) {
            if !sealer.is_stale(&whole.sealed) {
                continue;
            }
            match sealer.open_session(device, whole.association, &whole.sealed) {
                Ok(secrets) => {
                    whole.sealed = sealer.seal_session(device, whole.association, &secrets);
                    changes.push(Change::Session(Box::new(whole.clone())));
                }
                Err(error) => tracing::warn!(%device, %error, "the keys of a session can't be opened"),
            }
        }
        if !exact {
            changes.extend(self.sessions.iter().map(Held::marks));
        }
        if !changes.is_empty() {
            self.persist(changes, Then::Nothing);
        }
    }

    /// The numbers of all sessions in use, as they stand.
    pub(super) fn ride_along(&mut self, changes: &mut Vec<Change>) {
        let Some(links) = self.services.links.get() else { return };
        for held in &mut self.sessions.0 {
            let Some(link) = held.link else { continue };
            match links.numbers(link.connection) {
                Some((association, numbers)) if association == held.association => {
                    held.numbers = numbers;
                    changes.push(held.marks());
                }
                _ => {}
            }
        }
    }

    /// Ends all connections by sessions. What makes the record exact.
    pub(super) fn retire_sessions(&mut self) -> Vec<Change> {
        if self.sessions.0.is_empty() {
            return Vec::new();
        }
        let retired = self.services.links.get().map(|links| links.retire(self.device)).unwrap_or_default();
        for held in self.sessions.0.iter_mut().filter(|held| held.link.is_some()) {
            match retired.iter().find(|(association, _)| *association == held.association) {
                Some((_, numbers)) => (held.numbers, held.link) = (*numbers, None),
                None => held.abandon(),
            }
        }
        self.link = self.link.filter(|link| link.security.secured().is_none());
        self.sessions.iter().map(Held::marks).collect()
    }

    /// Forgets a session that is not on record any more. The connection that used it.
    fn forget_session(&mut self, now: Reading, association: AssociationId) -> Option<Link> {
        let link = self.sessions.remove(association)?.link?;
        self.unlink(now, |own| own.is_by(association));
        Some(link)
    }

    /// The same of a session that has made room for `new`, and ends its connection unless they share one.
    fn replace_session(&mut self, now: Reading, association: AssociationId, new: &Link) {
        if let Some(link) = self.forget_session(now, association)
            && link.connection != new.connection
        {
            self.downlink(link, Downlink::Close);
        }
    }

    /// Links a connection by a session, or asks for one by a session on record, or waits for one that is about to go on with
    /// it. `false`: there is none to reach the device by.
    pub(super) fn reach_by_session(&mut self, now: Reading) -> bool {
        let best = self.sessions.to_reach(self.registered_in(), &self.access, now);
        let Some(association) = best.map(|held| held.association) else { return false };
        let Some(held) = self.sessions.find_mut(association) else { return false };
        if held.awaited {
            return true;
        }
        if let Some(link) = held.link {
            // The device has made it and said nothing over it yet.
            self.link_to(now, link);
            self.drive(now);
            return true;
        }
        let (whole, numbers, exact) = (held.whole.take(), held.numbers, held.exact);
        self.reaching = true;
        self.effect(Effect::ReachSession { association, whole, numbers, exact });
        true
    }

    /// A connection was made from a session on record.
    pub(super) fn session_reached(&mut self, link: Link) {
        if let Some(held) = self.sessions.used_by(&link) {
            held.exact = true;
            held.use_over(link);
        }
    }

    pub(super) fn refuse_session(&mut self, link: Link, association: AssociationId, reason: Refusal) {
        self.downlink(link, Downlink::SessionRefused { association, reason });
    }

    pub(super) fn session_not_stored(&mut self, new: &NewSession, error: &StoreError) {
        if let StoreError::Taken { .. } = error {
            tracing::debug!(device = %self.device, "a connection id was taken: the device starts over");
        }
        let (link, association) = new.refusal();
        self.refuse_session(link, association, Refusal::Unavailable);
    }

    fn session_expiry(&self, provisional: bool, now_ms: u64) -> u64 {
        if provisional {
            return now_ms.saturating_add(PROVISIONAL_FOR_MS);
        }
        let idle = self.services.process.config.dtls.association_idle;
        now_ms.saturating_add(idle.as_millis() as u64)
    }
}
