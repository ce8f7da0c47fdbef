//! One handshake of the server, in protocol order (RFC 6347 §4.2.4). The cookie exchange came before.
//!
//! ```text
//!  full                                              abbreviated
//!  1 ClientHello ─▶ (session id: ask for it)         1 ClientHello ─▶ ask for its session, found
//!  2 ◀─ ServerHello [Certificate, ServerKeyExchange, 2 ask to store the new keys, provisionally
//!       CertificateRequest] ServerHelloDone          3 ◀─ ServerHello, ChangeCipherSpec, Finished
//!  3 [Certificate ─▶]                                4 Finished, or a record of application data ─▶
//!  4 ClientKeyExchange ─▶ (PSK: ask for the key)     5 ask to promote the keys
//!  5 [CertificateVerify ─▶ ask about the client]     6 established
//!  6 Finished ─▶ ask to store the session
//!  7 established; ◀─ ChangeCipherSpec, Finished
//! ```
//! A state that waits for the caller takes no message: what the client sends meanwhile waits in [`Incoming`], or is sent again.
//! The epoch of a record says which keys protect it, so a ChangeCipherSpec tells nothing and may be lost.

mod abbreviated;
mod core;
mod full;
mod incoming;
mod terms;

use std::time::Instant;

use self::{
    abbreviated::{AwaitClient, AwaitPromotion, AwaitProvisional},
    core::Core,
    full::{
        AwaitCertificate, AwaitCertificateVerify, AwaitFinished, AwaitKeyExchange, AwaitPeer, AwaitPsk,
        AwaitStored,
    },
    incoming::Incoming,
};
use crate::{
    alert::Alert,
    context::Context,
    fate::{Dropped, Used},
    flight::Flight,
    message::{Fragment, Fragments, Message, MessageType},
    outbox::Outbox,
    output::HandshakeFailure,
    question::{Answer, Ticket},
    record::{ContentType, Header, Record},
    session::Session,
    stored::FinishedAnswer,
};

/// A handshake under way, from the ClientHello with a good cookie.
pub(crate) struct Handshake {
    core: Core,
    state: State,
}

/// In protocol order: full handshake, then abbreviated. What has `ticket` set waits for an answer.
enum State {
    AwaitHello,
    AwaitSession(Message),
    AwaitCertificate(AwaitCertificate),
    AwaitKeyExchange(AwaitKeyExchange),
    AwaitPsk(AwaitPsk),
    AwaitCertificateVerify(AwaitCertificateVerify),
    AwaitPeer(AwaitPeer),
    AwaitFinished(AwaitFinished),
    AwaitStored(AwaitStored),

    AwaitProvisional(AwaitProvisional),
    AwaitClient(AwaitClient),
    AwaitPromotion(AwaitPromotion),

    /// `None` while a step runs, and once the outcome was taken.
    Ended(Option<Outcome>),
}

/// How it ended.
pub(crate) enum Outcome {
    Established(Box<Established>),
    Failed(HandshakeFailure),
}

impl From<Established> for State {
    fn from(established: Established) -> Self {
        Self::Ended(Some(Outcome::Established(Box::new(established))))
    }
}

/// A session whose client has proved that it holds the keys, and which is stored.
pub(crate) struct Established {
    pub(crate) session: Session,
    pub(crate) resumed: bool,
    /// Our last flight of a full handshake, not sent yet.
    pub(crate) answer: Option<FinishedAnswer>,
    /// Application data that came before its time: plaintext, record number, newest.
    pub(crate) held: Vec<(Vec<u8>, u64, bool)>,
}

type Step = Result<State, HandshakeFailure>;

impl Handshake {
    /// Begins with the record whose first fragment holds a good cookie; feed it to [`Self::handle_fragment`] next.
    pub(crate) fn new(cx: &Context<'_>, client_random: [u8; 32], hello: &Fragment<'_>) -> Self {
        let core = Core {
            identity: cx.config.identity.clone(),
            incoming: Incoming::new(hello.seq),
            message_seq: hello.seq,
            ..Core::new(client_random)
        };
        Self { core, state: State::AwaitHello }
    }

    /// Goes on where another owner sent the server's flight of an abbreviated handshake.
    pub(crate) fn provisional(session: Session, expected: [u8; 12]) -> Self {
        let state = State::AwaitClient(AwaitClient { session, expected });
        Self { core: Core::new([0; 32]), state }
    }

    pub(crate) fn is_of(&self, client_random: &[u8; 32]) -> bool {
        self.core.client_random == *client_random
    }

    pub(crate) fn client_random(&self) -> &[u8; 32] {
        &self.core.client_random
    }

    /// How it ended; once.
    pub(crate) fn take_outcome(&mut self) -> Option<Outcome> {
        match &mut self.state {
            State::Ended(outcome) => outcome.take(),
            _ => None,
        }
    }

    /// Whether it goes on with a session of before.
    pub(crate) fn is_abbreviated(&self) -> bool {
        matches!(self.state, State::AwaitProvisional(_) | State::AwaitClient(_) | State::AwaitPromotion(_))
    }

    /// The keys under way, once there are any.
    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.state {
            State::AwaitFinished(state) => Some(&state.session),
            State::AwaitStored(state) => Some(&state.session),
            State::AwaitProvisional(state) => Some(&state.session),
            State::AwaitClient(state) => Some(&state.session),
            State::AwaitPromotion(state) => Some(&state.session),
            _ => None,
        }
    }

    /// Whether a protected record can be for the keys under way.
    pub(crate) fn is_addressed(&self, record: &Record<'_>) -> bool {
        match &self.state {
            // pion sends this one Finished without the Connection ID that it has agreed to.
            State::AwaitClient(_) if record.content_type == ContentType::Handshake => true,
            _ => self.session().is_some_and(|session| session.secrets.is_addressed(record)),
        }
    }

    /// The client's Connection ID length while there are no keys yet that would tell it.
    pub(crate) fn cid_len(&self) -> usize {
        match &self.state {
            State::AwaitCertificate(state) => state.terms.cid_len(),
            State::AwaitKeyExchange(state) => state.terms.cid_len(),
            State::AwaitPsk(state) => state.terms.cid_len(),
            State::AwaitCertificateVerify(state) => state.pending.terms.cid_len(),
            State::AwaitPeer(state) => state.pending.terms.cid_len(),
            _ => self.session().map_or(0, |session| session.secrets.cid_len()),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let flight = self.core.flight.as_ref().and_then(Flight::poll_timeout);
        [flight, self.core.deadline].into_iter().flatten().min()
    }

    /// One fragment of an epoch-0 record.
    pub(crate) fn handle_fragment(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outbox,
        number: u64,
        fragment: &Fragment<'_>,
    ) -> Result<Used, Dropped> {
        self.start_clock(cx);
        if let (State::AwaitHello, MessageType::CLIENT_HELLO) = (&self.state, fragment.kind) {
            // RFC 6347 §4.2.1: our hello has the record number of the client's, as nothing of ours came before.
            self.core.plain_next = self.core.plain_next.max(number);
        }
        if fragment.seq <= self.core.answered && self.core.flight.is_some() {
            self.handle_repeated(cx, out);
            return Ok(Used::Unproven);
        }
        if self.session().is_some() || fragment.kind == MessageType::FINISHED {
            // Only a protected Finished can follow, and one in the clear proves nothing.
            return Err(Dropped::Unprotected);
        }
        let taken = self.core.incoming.accept(fragment)?;
        self.take_messages(cx, out);
        Ok(taken)
    }

    /// A protected record that no keys open. Before there are keys of this handshake it is kept, at most two of them.
    pub(crate) fn handle_unreadable(&mut self, record: &Record<'_>, why: Dropped) -> Result<Used, Dropped> {
        if self.session().is_none() {
            return self.core.incoming.keep_early(record);
        }
        if why == Dropped::NotAuthentic {
            self.note_unreadable();
        }
        Err(why)
    }

    /// A protected record. `NotAuthentic` and `Replayed` mean that it may be for another session.
    pub(crate) fn handle_protected(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outbox,
        record: &Record<'_>,
    ) -> Result<Used, Dropped> {
        self.start_clock(cx);
        match &mut self.state {
            State::AwaitFinished(state) => {
                let opened = state.open(record)?;
                match opened.content_type {
                    ContentType::Handshake => {}
                    ContentType::Alert => {
                        let alert = Alert::parse(&opened.plaintext).map_err(|_| Dropped::Malformed)?;
                        self.fail(out, HandshakeFailure::PeerAlert(alert.description.0));
                        return Ok(Used::Authentic);
                    }
                    _ => return Err(Dropped::Unexpected),
                }
                for fragment in Fragments::parse(&opened.plaintext) {
                    let fragment = fragment.map_err(|_| Dropped::Malformed)?;
                    self.core.incoming.accept(&fragment)?;
                }
                self.take_messages(cx, out);
                Ok(Used::Authentic)
            }
            State::AwaitStored(state) => {
                // The client repeats its Finished, or goes on before ours: it will again.
                state.session.open(record)?;
                Err(Dropped::Full)
            }
            State::AwaitClient(state) => {
                let (opened, newest) = state.session.open(record)?;
                self.advance(cx, out, |core, state, _, out| match state {
                    State::AwaitClient(state) => {
                        state.handle_opened(core, out, opened, record.number, newest)
                    }
                    other => Ok(other),
                });
                Ok(Used::Authentic)
            }
            State::AwaitPromotion(state) => state.handle_record(record),
            _ => Err(Dropped::NoKeys),
        }
    }

    /// Records that its keys did not open.
    pub(crate) fn unreadable(&self) -> u32 {
        self.core.unreadable
    }

    fn note_unreadable(&mut self) {
        self.core.unreadable = self.core.unreadable.saturating_add(1);
    }

    pub(crate) fn provide(&mut self, cx: &mut Context<'_>, out: &mut Outbox, ticket: Ticket, answer: Answer) {
        if self.core.ticket != Some(ticket) {
            return;
        }
        self.core.ticket = None;
        self.advance(cx, out, |core, state, cx, out| match (state, answer) {
            (State::AwaitSession(hello), Answer::Session(Some(stored))) => {
                core.resume(cx, out, &hello, &stored.secrets)
            }
            (State::AwaitSession(hello), Answer::Session(None)) => core.begin_full(cx, out, &hello),
            (State::AwaitPsk(state), Answer::Psk(psk)) => state.handle_psk(core, cx, psk, None),
            (State::AwaitPsk(state), Answer::EitherPsk([one, other])) => {
                state.handle_psk(core, cx, Some(one), Some(other))
            }
            (State::AwaitPeer(state), Answer::Peer(Ok(subject))) => {
                Ok(state.handle_subject(core, cx, subject))
            }
            (State::AwaitPeer(_), Answer::Peer(Err(why))) => Err(HandshakeFailure::Refused(why)),
            (State::AwaitProvisional(state), Answer::Stored(Ok(()))) => state.handle_stored(core, cx, out),
            (State::AwaitStored(state), Answer::Stored(Ok(()))) => Ok(Established::from(state).into()),
            (State::AwaitPromotion(state), Answer::Stored(Ok(()))) => Ok(Established::from(state).into()),
            (State::AwaitPromotion(state), Answer::Stored(Err(_))) => Ok(state.handle_not_stored()),
            (_, Answer::Stored(Err(_))) => Err(HandshakeFailure::NotStored),
            _ => Err(HandshakeFailure::Internal("matching an answer to its question")),
        });
        self.take_early(cx, out);
        self.take_messages(cx, out);
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>, out: &mut Outbox) {
        self.start_clock(cx);
        if self.core.deadline.is_some_and(|deadline| deadline <= cx.now) {
            let unreadable = self.core.unreadable;
            self.fail(out, HandshakeFailure::TimedOut { unreadable });
        } else if self.core.flight.as_mut().is_some_and(|flight| flight.handle_timeout(cx.now)) {
            self.repeat(cx, out);
        }
    }

    fn handle_repeated(&mut self, cx: &mut Context<'_>, out: &mut Outbox) {
        if self.core.flight.as_ref().is_some_and(|flight| flight.handle_repeated(cx.now)) {
            self.repeat(cx, out);
        }
    }

    fn repeat(&mut self, cx: &mut Context<'_>, out: &mut Outbox) {
        out.note_repeat();
        self.advance(cx, out, |core, mut state, cx, out| {
            let session = match &mut state {
                State::AwaitClient(state) => Some(&mut state.session),
                _ => None,
            };
            core.send_flight(cx, out, session)?;
            Ok(state)
        });
    }

    /// Hands complete messages to the state until one waits for the caller.
    fn take_messages(&mut self, cx: &mut Context<'_>, out: &mut Outbox) {
        while self.core.ticket.is_none()
            && !matches!(self.state, State::Ended(_))
            && let Some(message) = self.core.incoming.pop()
        {
            self.advance(cx, out, |core, state, cx, out| {
                match state {
                    State::AwaitHello => core.handle_hello(cx, out, message),
                    State::AwaitCertificate(state) => state.handle_message(core, &message),
                    State::AwaitKeyExchange(state) => state.handle_message(core, out, &message),
                    State::AwaitCertificateVerify(state) => state.handle_message(core, out, &message),
                    State::AwaitFinished(state) => state.handle_message(core, cx, out, &message),
                    // The rest waits for an answer or for a protected record.
                    other => Ok(other),
                }
            });
            self.take_early(cx, out);
        }
    }

    /// Opens what came before its keys, as soon as there are keys.
    fn take_early(&mut self, cx: &mut Context<'_>, out: &mut Outbox) {
        if self.session().is_none() {
            return;
        }
        for early in self.core.incoming.take_early() {
            if self.handle_protected(cx, out, &early.view()) == Err(Dropped::NotAuthentic) {
                self.note_unreadable();
            }
        }
    }

    fn advance(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outbox,
        step: impl FnOnce(&mut Core, State, &mut Context<'_>, &mut Outbox) -> Step,
    ) {
        let state = std::mem::replace(&mut self.state, State::Ended(None));
        match step(&mut self.core, state, cx, out) {
            Ok(state) => self.state = state,
            Err(failure) => self.fail(out, failure),
        }
    }

    fn fail(&mut self, out: &mut Outbox, failure: HandshakeFailure) {
        self.state = State::Ended(Some(Outcome::Failed(failure)));
        if let Some(description) = failure.told() {
            let mut datagram = Vec::new();
            let alert = Alert::fatal(description).to_bytes();
            Header::plain(ContentType::Alert, self.core.plain_next).encode_plain(&alert, &mut datagram);
            out.alert(datagram);
        }
    }

    fn start_clock(&mut self, cx: &Context<'_>) {
        self.core.deadline.get_or_insert_with(|| cx.now + cx.config.handshake_timeout);
    }
}
