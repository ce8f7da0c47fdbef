//! One peer, as server and client at once.
//!
//! ```text
//! datagram ─► wire (bytes → message) ─► seen before? ─► replay the stored answer, or nothing while it is pending
//!                                            │ no
//!            ┌───────────────────────────────┼──────────────────────────────┐
//!        request                     response, ACK, RST                empty CON
//!     server: upload ─► Event::Request   client: exchange ─► Event::Response  RST
//!     respond ─► download ─► datagram    no exchange ─► Event::Notification
//! ```

use std::{sync::Arc, time::Instant};

use crate::{
    BodySink, BodySource, Config, Event, ExchangeId, Fate, Request, RequestId, RespondError, Response,
    SendError, Token,
};

/// What an own request takes besides itself.
#[derive(Debug, Default)]
pub struct RequestOptions {
    /// Sends the request non-confirmable: once, never repeated.
    pub non_confirmable: bool,
    /// The body by offset, in place of the request's payload.
    pub source: Option<Box<dyn BodySource>>,
    /// Where in the body to begin, a multiple of the block size: the peer has all before it. Default 0.
    pub offset: u64,
    /// Where the response's body goes, in place of its payload.
    pub sink: Option<Box<dyn BodySink>>,
    /// The message id of an earlier transmission, to repeat it byte for byte (with the same token and request).
    pub message_id: Option<u16>,
}

/// What to know about an own request before and while it is open, for persistence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangeStatus {
    /// The token, as the caller gave it.
    pub token: Token,
    /// The message id of its latest message, known from the start.
    pub message_id: u16,
    /// When its first message left; `None` while it waits for its turn (NSTART).
    pub first_sent: Option<Instant>,
    /// Bytes of its body that the peer has acknowledged, block by block.
    pub acknowledged: u64,
}

/// One remote address or one DTLS session, in both roles.
///
/// With nothing open it has no heap memory of its own.
#[derive(Debug)]
pub struct Peer {
    config: Arc<Config>,
}

impl Peer {
    /// A peer whose own messages begin with id `first_message_id`. `seed` is 64 random bits, for jitter and the tokens of
    /// follow-up blocks.
    pub fn new(config: Arc<Config>, first_message_id: u16, seed: u64) -> Self {
        let _ = (first_message_id, seed);
        Self { config }
    }

    /// Takes one datagram. Afterwards poll for transmits and events.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Fate {
        let _ = (now, datagram);
        Fate::Ignored(crate::Ignored::Unmatched)
    }

    /// Does what is due at `now`. Calling it early or late does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` if nothing is pending. May change with every call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next datagram to send, in order.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// The next event, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// Answers a request: in its acknowledgement if that has not left yet, else by a message of its own, repeated until
    /// acknowledged. A payload above the block size goes out block by block.
    pub fn respond(&mut self, now: Instant, id: RequestId, response: Response) -> Result<(), RespondError> {
        let _ = (now, id, response);
        Err(RespondError::Closed)
    }

    /// As [`respond`](Self::respond), with the body from a source in place of the response's payload. A body that may
    /// change needs an ETag in `response`.
    pub fn respond_from(
        &mut self,
        now: Instant,
        id: RequestId,
        response: Response,
        source: Box<dyn BodySource>,
    ) -> Result<(), RespondError> {
        let _ = source;
        self.respond(now, id, response)
    }

    /// Drops a request: no answer leaves, and if the client repeats it, it is a new request. Whether it was open.
    pub fn forget(&mut self, id: RequestId) -> bool {
        let _ = id;
        false
    }

    /// Sends a request, or queues it behind those that NSTART lets go first.
    pub fn request(
        &mut self,
        now: Instant,
        token: Token,
        request: Request,
        confirmable: bool,
    ) -> Result<ExchangeId, SendError> {
        self.request_with(
            now,
            token,
            request,
            RequestOptions { non_confirmable: !confirmable, ..RequestOptions::default() },
        )
    }

    /// As [`request`](Self::request), with bodies by offset and a message id of the caller's.
    pub fn request_with(
        &mut self,
        now: Instant,
        token: Token,
        request: Request,
        options: RequestOptions,
    ) -> Result<ExchangeId, SendError> {
        let _ = (now, token, request, options);
        Err(SendError::Full { limit: self.config.max_exchanges })
    }

    /// Repeats a confirmable request of an earlier owner byte for byte, under the message id that it had, so that the
    /// peer's de-duplication protects it from being carried out twice.
    pub fn resume(
        &mut self,
        now: Instant,
        message_id: u16,
        token: Token,
        request: Request,
    ) -> Result<ExchangeId, SendError> {
        self.request_with(
            now,
            token,
            request,
            RequestOptions { message_id: Some(message_id), ..RequestOptions::default() },
        )
    }

    /// Fetches the rest of a notification of which [`Event::Notification`] brought the `first` block (`more` was set), by
    /// `request` (the GET or FETCH that observes, its Observe is left out) under a `token` of its own. The
    /// [`Event::Response`] has the options of `first` and the whole body. Acknowledging stays the caller's.
    pub fn continue_body(
        &mut self,
        now: Instant,
        token: Token,
        request: Request,
        first: Response,
    ) -> Result<ExchangeId, SendError> {
        let _ = first;
        self.request(now, token, request, true)
    }

    /// Ends an own request without a word to the peer; no event follows. Whether it was open.
    pub fn cancel(&mut self, exchange: ExchangeId) -> bool {
        let _ = exchange;
        false
    }

    /// What to know about an open own request; `None` once it is closed.
    pub fn exchange(&self, exchange: ExchangeId) -> Option<ExchangeStatus> {
        let _ = exchange;
        None
    }

    /// Acknowledges the notification that came under `message_id`. Whether it was pending; repetitions are acknowledged
    /// again by themselves.
    pub fn acknowledge(&mut self, now: Instant, message_id: u16) -> bool {
        let _ = (now, message_id);
        false
    }

    /// Answers the notification that came under `message_id` by RST, confirmable or not. Whether it was pending.
    pub fn reset(&mut self, now: Instant, message_id: u16) -> bool {
        let _ = (now, message_id);
        false
    }

    /// Sends a response that nobody asked for just now: a notification to an observer. A confirmable one is reported as
    /// acknowledged or failed.
    pub fn notify(
        &mut self,
        now: Instant,
        token: Token,
        response: Response,
        confirmable: bool,
    ) -> Result<ExchangeId, SendError> {
        let _ = (now, token, response, confirmable);
        Err(SendError::Full { limit: self.config.max_exchanges })
    }

    /// The message id that the next own message will have: what a hand-over passes on.
    pub fn next_message_id(&self) -> u16 {
        0
    }

    /// Whether nothing is open or remembered: the peer may be dropped without loss.
    pub fn is_idle(&self) -> bool {
        true
    }
}
