//! What a handshake asks, who is asked, and what follows from its end.

use std::{rc::Rc, sync::Arc, time::Instant};

use actix::{ActorContext, AsyncContext, Context};
use godwit_dtls::{self as dtls, Answer, NotStored, Question, StoreKind};

use super::{
    super::{
        actor::{ConnectionActor, Input},
        secure::{credentials, fate, settings::Settings, stored, subject::Subject},
    },
    Lower,
};
use crate::{
    clock,
    endpoint::{
        Endpoints,
        link::{SessionEnd, Uplink},
    },
    identity::{AssociationId, SessionId},
    metrics::dtls::{Mode, Outcome, Resumption, SessionEnd as Ended},
};

/// Characters of an identity in the log; longer ones are no device's.
const IDENTITY_SHOWN: usize = 128;

impl ConnectionActor {
    pub(super) fn ask(
        &mut self,
        now: Instant,
        ticket: dtls::Ticket,
        question: Question,
        ctx: &mut Context<Self>,
    ) {
        let Some(Lower::Open(open)) = self.lower.as_deref_mut() else { return };
        match question {
            Question::Psk { identity } => {
                open.tries = Mode::Psk;
                open.identity = Some(identity.as_slice().into());
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
    pub(super) fn look_up<F>(&self, ctx: &Context<Self>, ticket: dtls::Ticket, none: Answer, ask: F)
    where
        F: AsyncFnOnce(Rc<Endpoints>, Arc<Settings>) -> Result<Answer, credentials::Failed> + 'static,
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

    pub(in crate::connection) fn handle_resolved(
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
        let is_unknown = !failed && matches!(answer, Answer::Psk(None));
        let Some(Lower::Open(open)) = self.lower.as_deref_mut() else { return };
        open.lookup_failed |= failed;
        let identity = open.identity.take_if(|_| is_unknown);
        open.channel.provide(now, ticket, answer);
        if let Some(identity) = identity {
            self.tell_of(now, &identity, "no device logs in by this identity");
        }
        let Some(Lower::Open(open)) = self.lower.as_deref_mut() else { return };
        if found {
            let goes_on = open.channel.is_resuming();
            resumptions[if goes_on { Resumption::Resumed } else { Resumption::Mismatch }].increment(1);
        }
    }

    /// Has the endpoint store the session of a handshake.
    pub(super) fn store(
        &mut self,
        now: Instant,
        ticket: dtls::Ticket,
        session: &dtls::StoredSession,
        kind: StoreKind,
    ) {
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
    pub(super) fn answer_store(
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
    pub(in crate::connection) fn session_undelivered(&mut self, now: Instant, uplink: &Uplink) {
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

    pub(super) fn established(&mut self, now: Instant, resumed: bool, ctx: &mut Context<Self>) {
        let before = (self.core.device(), self.progress.exact());
        let Some(Lower::Open(open)) = self.lower.as_deref_mut() else { return };
        let begun = open.channel.begun();
        let mode = open.channel.session().map_or(Mode::Unknown, |session| fate::mode(session.mode()));
        let Some(subject) = open.channel.established() else {
            tracing::error!("a session has no subject of ours");
            return ctx.stop();
        };
        open.identity = None;
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

    pub(super) fn handshake_failed(&mut self, failure: dtls::HandshakeFailure) {
        let Some(Lower::Open(open)) = self.lower.as_deref_mut() else { return };
        let (tries, failed, identity) = (open.tries, open.lookup_failed, open.identity.take());
        (open.tries, open.lookup_failed) = (Mode::Unknown, false);
        tracing::debug!(%failure, from = %open.channel.place().remote, "a handshake has failed");
        fate::count_failure(&self.shard.metrics.dtls, tries, failure, failed);
        if let Some(identity) = identity.filter(|_| !failed && fate::is_wrong_key(failure)) {
            self.tell_of(clock::now(), &identity, "its key is another one");
        }
    }

    /// Says who can't log in, as often as strangers may be spoken of. Where it is stays below, in the debug log.
    fn tell_of(&self, now: Instant, identity: &[u8], why: &'static str) {
        if let Some(unsaid) = self.ground().settings().told.take(now) {
            let identity = String::from_utf8_lossy(identity);
            let identity: String = identity.escape_debug().take(IDENTITY_SHOWN).collect();
            tracing::warn!(identity, why, unsaid, "a device can't log in by its pre-shared key");
        }
    }
}
