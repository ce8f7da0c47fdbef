//! One peer: its live session, a handshake beside it, and what both want done.
//!
//! ```text
//!  Gate admits a ClientHello ──▶ handle_admitted ─┐                   ┌─▶ Transmit, Application, Established …
//!  any other datagram ─────────▶ handle_datagram ─┤                   │
//!  a deadline passed ──────────▶ handle_timeout ──┼─▶ Association ────┼─▶ Ask(ticket, question)
//!  look-up or write done ──────▶ provide ─────────┘       poll        └─▶ Closed
//! ```
//! After each input poll until `None`, then arm one timer for [`Association::poll_timeout`].

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use ring::rand::SecureRandom;

use crate::{
    alert::{Alert, AlertDescription},
    config::Config,
    fate::{Dropped, Fate, Used},
    naming::Naming,
    nonce::{self, NonceSource},
    output::{CloseReason, Output},
    protection::{Lane, Opened, SealError},
    record::{ContentType, Record, Records},
    session::Session,
    stored::{Numbering, Numbers, Stage, StoredSession},
};

/// What every input may use. All of it belongs to the shard, none to the association.
pub struct Context<'a> {
    /// The time, never going back.
    pub now: Instant,
    /// Unix time in seconds by the cluster's clock: for nonces and for the age of sessions.
    pub unix: u64,
    /// The settings of the moment.
    pub config: &'a Config,
    /// The shard's one source of nonces.
    pub nonces: &'a mut NonceSource,
    /// For keys, randoms and IVs.
    pub random: &'a dyn SecureRandom,
    /// For the names of new sessions.
    pub naming: &'a mut dyn Naming,
}

impl Context<'_> {
    pub(crate) fn lane(&mut self) -> Lane<'_> {
        Lane {
            nonces: self.nonces,
            second: u32::try_from(self.unix).unwrap_or(u32::MAX),
            random: self.random,
        }
    }
}

/// The server's side of one peer: at most one live session, and at most one handshake beside it.
pub struct Association {
    live: Option<Session>,
    outputs: VecDeque<Output>,
    numbers: Report,
    phase: Phase,
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

    /// Goes on with a stored session, without any exchange with the peer.
    #[must_use]
    pub fn resume(stored: StoredSession, numbering: Numbering) -> Self {
        Self {
            live: Some(Session::restore(stored.secrets, &stored.numbers, numbering)),
            outputs: VecDeque::new(),
            numbers: Report::Idle,
            phase: Phase::Open,
        }
    }

    /// Takes a datagram of this peer, or one whose Connection ID is this session's. Each record has one fate.
    pub fn handle_datagram(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Fate {
        let mut fate = Fate::default();
        let cid_len = self.live.as_ref().map_or(0, |session| session.secrets.cid_len());
        for record in Records::parse(datagram, cid_len) {
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
        let mut datagram = Vec::new();
        match session.seal(cx, ContentType::ApplicationData, plaintext, &mut datagram) {
            Ok(()) => {
                self.outputs.push_back(Output::Transmit(datagram));
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
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.numbers {
            Report::At(due) => Some(due),
            Report::Idle | Report::Asked => None,
        }
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
        self.live.as_ref().map_or(crate::record::MAX_PLAINTEXT, |session| session.secrets.max_plaintext())
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

    fn handle_record(&mut self, cx: &mut Context<'_>, record: &Record<'_>) -> Result<Used, Dropped> {
        match (record.epoch, self.live.as_mut()) {
            (0, _) => Err(Dropped::Unprotected),
            (1, Some(session)) if self.phase == Phase::Open && session.secrets.is_addressed(record) => {
                let (opened, newest) = session.open(record)?;
                self.note_numbers(cx.now);
                self.handle_opened(cx, opened, record.number, newest)
            }
            _ => Err(Dropped::NoKeys),
        }
    }

    fn handle_opened(
        &mut self,
        cx: &mut Context<'_>,
        opened: Opened,
        number: u64,
        newest: bool,
    ) -> Result<Used, Dropped> {
        match opened.content_type {
            ContentType::ApplicationData => {
                self.outputs.push_back(Output::Application { bytes: opened.plaintext, number, newest });
                Ok(Used::Authentic)
            }
            ContentType::Alert => self.handle_alert(&opened.plaintext),
            ContentType::Handshake => {
                // RFC 5746 §4.5: no second handshake inside the first; a client that wants new keys begins in epoch 0.
                self.send_alert(cx, Alert::warning(AlertDescription::NO_RENEGOTIATION));
                Ok(Used::Authentic)
            }
            ContentType::ChangeCipherSpec | ContentType::Tls12Cid | ContentType::Unknown(_) => {
                Err(Dropped::Unexpected)
            }
        }
    }

    fn handle_alert(&mut self, plaintext: &[u8]) -> Result<Used, Dropped> {
        let alert = Alert::parse(plaintext).map_err(|_| Dropped::Malformed)?;
        if alert.description == AlertDescription::CLOSE_NOTIFY {
            self.end(CloseReason::PeerClosed);
            self.phase = Phase::PeerClosed;
        } else if alert.is_fatal() {
            self.end(CloseReason::PeerAlert(alert.description.0));
        }
        Ok(Used::Authentic)
    }

    fn send_alert(&mut self, cx: &mut Context<'_>, alert: Alert) {
        let Some(session) = self.live.as_mut() else { return };
        let mut datagram = Vec::new();
        // Without nonce or number left there is no alert: the peer finds out by silence.
        if session.seal(cx, ContentType::Alert, &alert.to_bytes(), &mut datagram).is_ok() {
            self.outputs.push_back(Output::Transmit(datagram));
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
        self.outputs.push_back(Output::NumbersDue);
    }

    fn current(&self, session: &Session) -> Numbers {
        Numbers {
            write_next: session.write_next,
            write_mark: session.write_mark,
            window: session.window,
            stage: Stage::Settled,
        }
    }

    fn end(&mut self, reason: CloseReason) {
        self.phase = Phase::Closed;
        self.numbers = Report::Idle;
        self.outputs.push_back(Output::Closed(reason));
    }
}
