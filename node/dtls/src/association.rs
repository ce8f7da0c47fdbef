//! One peer: its live session, a handshake beside it, and what both want done.
//!
//! ```text
//!  Gate admits a ClientHello ──▶ handle_admitted ─┐                   ┌─▶ Transmit, Application, Established …
//!  any other datagram ─────────▶ handle_datagram ─┤                   │
//!  a deadline passed ──────────▶ handle_timeout ──┼─▶ Association ────┼─▶ Ask(ticket, question)
//!  look-up or write done ──────▶ provide ─────────┘       poll        └─▶ Closed
//! ```
//! After each input poll until `None`, then arm one timer for [`Association::poll_timeout`].

mod record;

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    alert::Alert,
    context::Context,
    fate::{Dropped, Fate},
    handshake::{Established, Handshake, Outcome},
    nonce,
    outbox::{Outbox, Sent},
    output::{CloseReason, Output},
    protection::SealError,
    question::{Answer, Ticket},
    record::{ContentType, MAX_PLAINTEXT, Records},
    session::Session,
    stored::{FinishedAnswer, Numbering, Numbers, Stage, StoredSession},
};

/// The server's side of one peer: at most one live session, and at most one handshake beside it.
pub struct Association {
    live: Option<Session>,
    /// What answers a repeated Finished of the live session's client.
    answer: Option<Box<Answering>>,
    pending: Option<Box<Handshake>>,
    latest: Option<LatestHello>,
    outbox: Outbox,
    numbers: Report,
    phase: Phase,
}

/// The end of a full handshake, until the client shows that it has got it.
struct Answering {
    answer: FinishedAnswer,
    /// When it was sent last.
    sent: Option<Instant>,
}

/// The hello of the handshake that the live session came from: late copies of it are no new handshake.
struct LatestHello {
    /// The end of its random: enough to tell a copy from another hello.
    tag: [u8; 8],
    /// A device without randomness says the same hello again after a restart, and must be heard then.
    until: Instant,
}

impl LatestHello {
    fn is_of(&self, now: Instant, client_random: &[u8; 32]) -> bool {
        now < self.until && client_random.ends_with(&self.tag)
    }
}

/// When the live session's numbers are to be handed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    /// Nothing moved.
    Idle,
    /// They moved a little.
    At(Instant),
    /// [`Output::NumbersDue`] was said.
    Asked,
}

/// Whether anything still happens here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The peer has closed; our close_notify is still to be sent.
    PeerClosed,
    Closed,
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No session is established, or it is closed.
    #[error("no session")]
    NoSession,
    /// More than [`Association::max_plaintext`] bytes.
    #[error("{len} bytes are more than the {limit} of a record")]
    TooLong {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The shard's nonces are used up until its lane is extended: nothing may be sealed.
    #[error(transparent)]
    NoncesUsedUp(#[from] nonce::Exhausted),
    /// Record numbers are used up; the session has ended.
    #[error("record numbers are used up")]
    NumbersUsedUp,
    /// The source of randomness failed.
    #[error("no randomness")]
    NoEntropy,
}

impl Association {
    /// Time after which numbers that moved are handed up, in any case.
    pub const REPORT_EVERY: Duration = Duration::from_secs(60);

    /// One that knows nothing yet. Give it the datagram that the [`Gate`](crate::gate::Gate) admitted.
    #[must_use]
    pub fn new() -> Self {
        Self {
            live: None,
            answer: None,
            pending: None,
            latest: None,
            outbox: Outbox::default(),
            numbers: Report::Idle,
            phase: Phase::Open,
        }
    }

    /// Goes on with a stored session, without any exchange with the peer; with a provisional one as its handshake's next
    /// owner. Write [`Self::numbers`] with the claim, so that a second crash jumps further.
    #[must_use]
    pub fn resume(stored: StoredSession, numbering: Numbering) -> Self {
        let StoredSession { secrets, numbers } = stored;
        let session = Session::restore(secrets, &numbers, numbering);
        let mut association = Self::new();
        match numbers.stage {
            Stage::Provisional(expected) => {
                association.pending = Some(Box::new(Handshake::provisional(session, expected)));
            }
            Stage::Settled => association.live = Some(session),
            Stage::Answer(mut answer) => {
                // Owners before may have repeated it, which nobody writes down.
                answer.plain_next = answer.plain_next.saturating_add(PLAIN_JUMP);
                association.live = Some(session);
                let answering = Answering { answer, sent: None };
                association.answer = Some(Box::new(answering));
            }
        }
        association
    }

    /// Takes a datagram that the [`Gate`](crate::gate::Gate) admitted: its first record begins a ClientHello with a good
    /// cookie. A new hello begins a handshake beside the live session, and ends one that was under way.
    pub fn handle_admitted(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Fate {
        if let Some(Ok(record)) = Records::parse(datagram, 0).next() {
            self.admit(cx, &record);
        }
        self.handle_datagram(cx, datagram)
    }

    /// Takes any other datagram of this peer, or one whose Connection ID is this association's. Each record has one fate.
    pub fn handle_datagram(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Fate {
        let mut fate = Fate::default();
        // Both ends of a parallel handshake may have agreed on different lengths; ours is 8 or 0.
        let live = self.live.as_ref().map_or(0, |session| session.secrets.cid_len());
        let pending = self.pending.as_ref().map_or(0, |handshake| handshake.cid_len());
        for record in Records::parse(datagram, live.max(pending)) {
            fate.note(match record {
                Ok(record) => self.handle_record(cx, &record),
                Err(_) => Err(Dropped::Malformed),
            });
        }
        fate
    }

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if let Report::At(due) = self.numbers
            && due <= cx.now
        {
            self.ask_for_report();
        }
        self.with_handshake(cx, Handshake::handle_timeout);
    }

    /// Takes the answer to the question with this ticket. One that comes too late is ignored.
    pub fn provide(&mut self, cx: &mut Context<'_>, ticket: Ticket, answer: Answer) {
        self.with_handshake(cx, |handshake, cx, outbox| handshake.provide(cx, outbox, ticket, answer));
    }

    /// Seals one application record into one datagram.
    ///
    /// # Errors
    /// See [`SendError`]; nothing was sent then.
    pub fn send(&mut self, cx: &mut Context<'_>, plaintext: &[u8]) -> Result<(), SendError> {
        let session = self.live.as_mut().filter(|_| self.phase == Phase::Open).ok_or(SendError::NoSession)?;
        let limit = session.secrets.max_plaintext();
        if plaintext.len() > limit {
            return Err(SendError::TooLong { len: plaintext.len(), limit });
        }
        let mut datagram = Vec::with_capacity(session.secrets.sealed_len(plaintext.len()));
        match session.seal(cx, ContentType::ApplicationData, plaintext, &mut datagram) {
            Ok(()) => {
                self.outbox.push(Output::Transmit(datagram));
                self.note_numbers(cx.now);
                Ok(())
            }
            Err(SealError::NumbersExhausted) => {
                self.end(CloseReason::NumbersUsedUp);
                Err(SendError::NumbersUsedUp)
            }
            Err(SealError::TooLong(len)) => Err(SendError::TooLong { len, limit }),
            Err(SealError::NoncesExhausted(exhausted)) => Err(exhausted.into()),
            Err(SealError::NoEntropy) => Err(SendError::NoEntropy),
        }
    }

    /// Sends close_notify and ends the association, or answers the peer's if it has closed. The session can still be resumed.
    pub fn close(&mut self, cx: &mut Context<'_>) {
        if self.phase == Phase::Closed {
            return;
        }
        self.send_alert(cx, Alert::CLOSE_NOTIFY);
        match self.phase {
            Phase::PeerClosed => self.phase = Phase::Closed,
            Phase::Open | Phase::Closed => self.end(CloseReason::Closed),
        }
    }

    /// The next thing to do; `None` until another input.
    pub fn poll(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let report = match self.numbers {
            Report::At(due) => Some(due),
            Report::Idle | Report::Asked => None,
        };
        let handshake = self.pending.as_ref().and_then(|handshake| handshake.poll_timeout());
        [report, handshake].into_iter().flatten().min()
    }

    /// Whether a handshake is under way, beside the live session or without one.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether the handshake under way resumes a session.
    #[must_use]
    pub fn is_resuming(&self) -> bool {
        self.pending.as_ref().is_some_and(|handshake| handshake.is_abbreviated())
    }

    /// Alerts and repeated flights since this was asked last.
    pub fn take_sent(&mut self) -> Sent {
        self.outbox.take_sent()
    }

    /// The live session.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.live.as_ref()
    }

    /// Most bytes that [`Self::send`] takes: what was agreed as max_fragment_length (RFC 6066), else 2¹⁴. The peer keeps to it
    /// as well.
    #[must_use]
    pub fn max_plaintext(&self) -> usize {
        self.live.as_ref().map_or(MAX_PLAINTEXT, |session| session.secrets.max_plaintext())
    }

    /// The live session as it stands, for storing or handing over.
    #[must_use]
    pub fn export(&self) -> Option<StoredSession> {
        let session = self.live.as_ref()?;
        Some(StoredSession { secrets: session.secrets.clone(), numbers: self.current(session) })
    }

    /// The live session's numbers for a write that happens now; the mark in it runs ahead, and [`Output::NumbersDue`] is far again.
    pub fn numbers(&mut self) -> Option<Numbers> {
        self.live.as_mut()?.report();
        self.numbers = Report::Idle;
        Some(self.current(self.live.as_ref()?))
    }

    /// Lets the handshake under way act, and settles what comes of it.
    fn with_handshake<T>(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut Handshake, &mut Context<'_>, &mut Outbox) -> T,
    ) -> Option<T> {
        let handshake = self.pending.as_mut()?;
        let result = act(handshake, cx, &mut self.outbox);
        match handshake.take_outcome() {
            None => {}
            Some(Outcome::Failed(failure)) => {
                self.pending = None;
                match self.live {
                    Some(_) => self.outbox.push(Output::HandshakeFailed(failure)),
                    None => self.end(CloseReason::Handshake(failure)),
                }
            }
            Some(Outcome::Established(established)) => {
                let [.., a, b, c, d, e, f, g, h] = *handshake.client_random();
                let until = cx.now + LATE_COPIES;
                self.latest = Some(LatestHello { tag: [a, b, c, d, e, f, g, h], until });
                self.pending = None;
                self.establish(cx, *established);
            }
        }
        Some(result)
    }

    fn establish(&mut self, cx: &mut Context<'_>, established: Established) {
        let Established { session, resumed, answer, held } = established;
        let id = session.id();
        self.live = Some(session);
        self.numbers = Report::Idle;
        self.answer = answer.map(|answer| Box::new(Answering { answer, sent: None }));
        self.send_answer(cx);
        self.outbox.push(Output::Established { session: id, resumed });
        for (bytes, number, newest) in held {
            self.outbox.push(Output::Application { bytes, number, newest });
        }
        self.note_numbers(cx.now);
    }

    /// Sends the last flight of a full handshake, at most once a second. Whether it was due.
    fn send_answer(&mut self, cx: &mut Context<'_>) -> bool {
        let (Some(session), Some(answering)) = (&mut self.live, &mut self.answer) else { return false };
        let too_soon = |sent| cx.now.saturating_duration_since(sent) < REPEAT_AT_MOST;
        if cx.unix.saturating_sub(answering.answer.since) > FinishedAnswer::KEPT {
            self.answer = None;
        } else if !answering.sent.is_some_and(too_soon) {
            answering.sent = Some(cx.now);
            // Without a nonce nothing can be sent now; the client repeats its Finished.
            let _ = answering.answer.send(cx, &mut self.outbox, session);
            return true;
        }
        false
    }

    fn send_alert(&mut self, cx: &mut Context<'_>, alert: Alert) {
        let Some(session) = self.live.as_mut() else { return };
        let mut datagram = Vec::new();
        // Without nonce or number left there is no alert: the peer finds out by silence.
        if session.seal(cx, ContentType::Alert, &alert.to_bytes(), &mut datagram).is_ok() {
            self.outbox.alert(datagram);
        }
    }

    fn note_numbers(&mut self, now: Instant) {
        let Some(session) = self.live.as_ref() else { return };
        match self.numbers {
            Report::Asked => {}
            _ if session.is_due() => self.ask_for_report(),
            Report::At(_) => {}
            Report::Idle => self.numbers = Report::At(now + Self::REPORT_EVERY),
        }
    }

    fn ask_for_report(&mut self) {
        self.numbers = Report::Asked;
        self.outbox.push(Output::NumbersDue);
    }

    fn current(&self, session: &Session) -> Numbers {
        Numbers {
            write_next: session.write_next,
            write_mark: session.write_mark,
            window: session.window,
            stage: match &self.answer {
                Some(answering) => Stage::Answer(answering.answer.clone()),
                None => Stage::Settled,
            },
        }
    }

    fn end(&mut self, reason: CloseReason) {
        self.phase = Phase::Closed;
        self.numbers = Report::Idle;
        self.pending = None;
        self.outbox.push(Output::Closed(reason));
    }
}

impl Default for Association {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Association")
            .field("live", &self.live)
            .field("is_shaking_hands", &self.pending.is_some())
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

/// How long the way may keep a copy of a hello back.
const LATE_COPIES: Duration = Duration::from_secs(60);
/// A repeated Finished is answered at most this often.
const REPEAT_AT_MOST: Duration = Duration::from_secs(1);
/// Records of epoch 0 that an owner may have spent on repeating its answer.
const PLAIN_JUMP: u64 = 256;
