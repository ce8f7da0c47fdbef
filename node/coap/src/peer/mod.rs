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

mod client;
mod server;

use std::{sync::Arc, time::Instant};

use self::{
    client::Client,
    server::{Origin, Transfers},
};
use crate::{
    BodySink, BodySource, Config, Event, ExchangeId, FailReason, Fate, Ignored, Malformed, Request,
    RequestId, RespondError, Response, SendError, Token,
    dedup::{Answer, Dedup, Seen},
    exchange::{Ask, Role},
    message_ids::MessageIds,
    options::{self, BlockOptions},
    retransmission::Random,
    wire::{self, Fingerprint, Header, Kind, Message},
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
/// With nothing open it has no heap memory of its own. What it keeps is bounded by [`Config`], whatever the peer sends.
/// After each call of a `&mut` method poll for transmits and events until there are none.
#[derive(Debug)]
pub struct Peer {
    config: Arc<Config>,
    dedup: Dedup,
    work: Option<Box<Work>>,
    out: Out,
    own: Own,
    body_limit: Option<u32>,
}

/// What exists only while something is open.
#[derive(Debug, Default)]
struct Work {
    client: Client,
    transfers: Transfers,
}

/// What waits to be polled. Both are emptied before the next input.
#[derive(Debug, Default)]
pub(crate) struct Out {
    transmits: Vec<Vec<u8>>,
    events: Vec<Event>,
}

/// Where this side's own numbers come from.
#[derive(Debug)]
pub(crate) struct Own {
    ids: MessageIds,
    random: Random,
    serial: u32,
}

/// What the client role works with.
pub(crate) struct Context<'a> {
    now: Instant,
    config: &'a Config,
    body_limit: u64,
    out: &'a mut Out,
    own: &'a mut Own,
}

impl Own {
    fn serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }
}

impl Peer {
    /// A peer whose own messages begin with id `first_message_id` and stay in that half of the ids; the other half is the
    /// caller's, for [`RequestOptions::message_id`]. `seed` is 64 random bits, for jitter and the tokens of
    /// follow-up blocks.
    pub fn new(config: Arc<Config>, first_message_id: u16, seed: u64) -> Self {
        Self {
            config,
            dedup: Dedup::default(),
            work: None,
            out: Out::default(),
            own: Own { ids: MessageIds::new(first_message_id), random: Random::new(seed), serial: 0 },
            body_limit: None,
        }
    }

    /// Sets the largest body taken from this peer, in place of [`Config::body_limit`]; at most 4 GiB.
    pub fn limit_body(&mut self, bytes: u32) {
        self.body_limit = Some(bytes);
    }

    /// Takes one datagram.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Fate {
        let header = match Header::read(datagram) {
            Ok(header) => header,
            Err(fault) => return Fate::Malformed(fault),
        };
        if datagram.len() > self.config.max_datagram {
            self.handle_too_large(header, datagram);
            return Fate::Malformed(Malformed::Size);
        }
        let fingerprint = fingerprint(datagram);
        if header.opens()
            && let Some(entry) = self.dedup.find(now, header.message_id, fingerprint)
        {
            match &entry.state {
                Seen::Answered(answer) if !answer.is_empty() => {
                    push(&mut self.out.transmits, answer.to_vec());
                }
                // Its acknowledgement has left and may be lost.
                Seen::Request(pending) if entry.confirmable && pending.ack_at.is_none() => {
                    push(&mut self.out.transmits, wire::empty(Kind::Ack, header.message_id).to_vec());
                }
                _ => {}
            }
            return Fate::Duplicate;
        }
        let message = match Message::decode(header, datagram) {
            Ok(message) => message,
            Err(fault) => {
                self.reject(header);
                return Fate::Malformed(fault);
            }
        };
        let fate = match header.kind {
            Kind::Con if header.code.is_request() => self.handle_request(now, message, fingerprint),
            Kind::Non if header.code.is_request() => self.handle_request(now, message, fingerprint),
            Kind::Con if !header.code.is_response() => {
                self.reject(header);
                Fate::Ping
            }
            Kind::Con | Kind::Non => self.handle_response(now, message, fingerprint),
            Kind::Ack if header.code.is_response() => self.handle_piggybacked(now, message),
            Kind::Ack => self.with_client(now, |client, cx| client.acknowledged(cx, header.message_id)),
            Kind::Rst => self.with_client(now, |client, cx| client.reset(cx, header.message_id)),
        };
        self.tidy();
        fate
    }

    /// Does what is due at `now`, and answers how many messages it sent again. Calling it early or late does no harm.
    pub fn handle_timeout(&mut self, now: Instant) -> u32 {
        let mut repeated = 0;
        self.acknowledge_due(now);
        self.dedup.sweep(now);
        if let Some(work) = &mut self.work {
            work.transfers.handle_timeout(now);
            repeated = self.with_client(now, Client::handle_timeout);
        }
        self.tidy();
        repeated
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` if nothing is pending. May change with every call
    /// of a `&mut` method; a deadline that only moved later may be left as it was armed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let work = self.work.as_ref();
        let client = work.and_then(|work| work.client.deadline());
        let transfers = work.and_then(|work| work.transfers.deadline());
        self.dedup.deadline().into_iter().chain(client).chain(transfers).min()
    }

    /// The next datagram to send, in order.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        pop(&mut self.out.transmits)
    }

    /// The next event, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        pop(&mut self.out.events)
    }

    /// Answers a request: in its acknowledgement if that has not left yet, else by a message of its own, repeated until
    /// acknowledged. A payload above the block size goes out block by block; that of an error is cut instead.
    pub fn respond(&mut self, now: Instant, id: RequestId, response: Response) -> Result<(), RespondError> {
        self.answer(now, id, response, None)
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
        self.answer(now, id, response, Some(source))
    }

    /// Whether the acknowledgement of an open request has left without its response (RFC 7252 §5.2.2): the client repeats
    /// it no more, so it has to be told how it went.
    pub fn owes_response(&self, id: RequestId) -> bool {
        self.dedup.position(id).is_some_and(|position| {
            let entry = self.dedup.entry(position);
            matches!(&entry.state, Seen::Request(pending) if entry.confirmable && pending.ack_at.is_none())
        })
    }

    /// Drops a request: no answer leaves, and if the client repeats it, it is a new request. Whether it was open.
    pub fn forget(&mut self, id: RequestId) -> bool {
        self.dedup.position(id).map(|position| self.dedup.remove(position)).is_some()
    }

    /// Sends a request, or queues it behind those that NSTART lets go first.
    ///
    /// Its token must not be that of an open request. The payload goes out block by block if it is above
    /// [`Config::max_payload`].
    pub fn request(
        &mut self,
        now: Instant,
        token: Token,
        request: Request,
        confirmable: bool,
    ) -> Result<ExchangeId, SendError> {
        let options = RequestOptions { non_confirmable: !confirmable, ..RequestOptions::default() };
        self.request_with(now, token, request, options)
    }

    /// As [`request`](Self::request), with bodies by offset and a message id of the caller's.
    pub fn request_with(
        &mut self,
        now: Instant,
        token: Token,
        request: Request,
        options: RequestOptions,
    ) -> Result<ExchangeId, SendError> {
        let (confirmable, message_id) = (!options.non_confirmable, options.message_id);
        self.admit(Some(token), message_id)?;
        let ask = Ask::new(&self.config, request, options)?;
        self.ask(now, token, ask, confirmable, message_id)
    }

    /// Repeats a confirmable request of an earlier owner byte for byte, under the message id that it had, so that the
    /// peer's de-duplication protects it from being carried out twice. Of a body in blocks the first is repeated.
    pub fn resume(
        &mut self,
        now: Instant,
        message_id: u16,
        token: Token,
        request: Request,
    ) -> Result<ExchangeId, SendError> {
        let options = RequestOptions { message_id: Some(message_id), ..RequestOptions::default() };
        self.request_with(now, token, request, options)
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
        self.admit(Some(token), None)?;
        let ask = Ask::continuing(&self.config, request, first, self.body_limit())?;
        self.ask(now, token, ask, true, None)
    }

    /// Ends an own request without a word to the peer; no event follows. Whether it was open.
    pub fn cancel(&mut self, now: Instant, exchange: ExchangeId) -> bool {
        let open = self.with_client(now, |client, cx| client.cancel(cx, exchange));
        self.tidy();
        open
    }

    /// What to know about an open own request; `None` once it is closed.
    pub fn exchange(&self, exchange: ExchangeId) -> Option<ExchangeStatus> {
        let exchange = self.work.as_ref()?.client.find(exchange)?;
        Some(ExchangeStatus {
            token: exchange.token,
            message_id: exchange.message_id,
            first_sent: exchange.first_sent,
            acknowledged: match &exchange.role {
                Role::Ask(ask) => ask.acknowledged(),
                Role::Separate | Role::Notify => 0,
            },
        })
    }

    /// Acknowledges the notification that came under `message_id`. Whether it was pending; repetitions are acknowledged
    /// again by themselves.
    pub fn acknowledge(&mut self, now: Instant, message_id: u16) -> bool {
        self.decide(now, message_id, Kind::Ack)
    }

    /// Answers the notification that came under `message_id` by RST, confirmable or not. Whether it was still
    /// undecided, or non-confirmable and remembered.
    pub fn reset(&mut self, now: Instant, message_id: u16) -> bool {
        if self.decide(now, message_id, Kind::Rst) {
            return true;
        }
        let unanswered = self.dedup.newest(now, message_id).is_some_and(|entry| !entry.confirmable);
        if unanswered {
            push(&mut self.out.transmits, wire::empty(Kind::Rst, message_id).to_vec());
        }
        unanswered
    }

    /// Drops the notification that came under `message_id`: it stays unanswered, and a repetition is raised as a new one.
    /// Whether it was pending.
    pub fn forget_notification(&mut self, message_id: u16) -> bool {
        self.dedup.forget_notification(message_id)
    }

    /// Sends a response that nobody asked for just now: a notification to an observer. A confirmable one is reported as
    /// acknowledged or failed; a non-confirmable one is closed at once.
    pub fn notify(
        &mut self,
        now: Instant,
        token: Token,
        mut response: Response,
        confirmable: bool,
    ) -> Result<ExchangeId, SendError> {
        self.admit(None, None)?;
        let message_id = self.message_id(now)?;
        let payload = std::mem::take(&mut response.payload);
        let kind = if confirmable { Kind::Con } else { Kind::Non };
        let blocks = BlockOptions { block2: response.block2, size2: response.size2, ..Default::default() };
        let datagram = options::write_response(kind, message_id, token, &response, blocks, payload)
            .ok_or(SendError::Unencodable)?;
        if !confirmable {
            push(&mut self.out.transmits, datagram);
            return Ok(ExchangeId(self.own.serial()));
        }
        Ok(self.with_client(now, |client, cx| client.tell(cx, token, message_id, datagram, Role::Notify)))
    }

    /// The message id that the next own message will have: what a hand-over passes on.
    pub fn next_message_id(&self) -> u16 {
        self.own.ids.next()
    }

    /// Whether nothing is open or remembered: the peer may be dropped without loss, but for its message ids.
    pub fn is_idle(&self) -> bool {
        self.work.is_none() && self.dedup.is_empty()
    }

    /// Whether nothing awaits a decision of the layers above or a word of the peer, so that only answers to repetitions
    /// would be lost.
    pub fn is_settled(&self) -> bool {
        self.work.is_none() && self.dedup.pending() == 0
    }

    /// A response in a message of its own.
    fn handle_response(&mut self, now: Instant, mut message: Message, fingerprint: u32) -> Fate {
        let code = message.header.code;
        let origin = Origin::new(&message, fingerprint);
        let Origin { confirmable, message_id, .. } = origin;
        let exchange = self.work.as_ref().and_then(|work| work.client.by_token(message.token));
        let (response, blocks) = match options::read_response(code, &mut message.packet) {
            Ok(read) => read,
            Err(_) => {
                self.reject(message.header);
                if let Some(at) = exchange {
                    self.with_client(now, |client, cx| client.refuse(cx, at, FailReason::BadOption));
                }
                return Fate::Ignored(Ignored::CriticalOption);
            }
        };
        let exchange = exchange.filter(|at| {
            let cancels = self.work.as_ref().is_some_and(|work| work.client.cancels(*at));
            !(cancels && response.observe.is_some())
        });
        let more = blocks.block2.is_some_and(|block| block.number() == 0 && block.more());
        let notification = |response: Response| Event::Notification {
            token: message.token,
            message_id,
            confirmable,
            observe: response.observe,
            response: Response { block2: blocks.block2, ..response },
            more,
        };
        let Some(at) = exchange else {
            let state = if confirmable { Seen::Notification } else { Seen::Answered(Answer::new()) };
            if !self.remember(now, origin, state) {
                return Fate::Ignored(Ignored::Overload);
            }
            push(&mut self.out.events, notification(response));
            return Fate::Notification;
        };
        // RFC 7641 §3.2: a notification may overtake the answer to the request, and is one itself.
        let first = confirmable
            && self.work.as_ref().is_some_and(|work| work.client.is_notified(at, &response, &blocks));
        if first {
            if !self.remember(now, origin, Seen::Notification) {
                return Fate::Ignored(Ignored::Overload);
            }
            let event = notification(response.clone());
            let fate = self.with_client(now, |client, cx| client.respond(cx, at, response, blocks, true));
            push(&mut self.out.events, event);
            return fate;
        }
        let mut answer = Answer::new();
        if confirmable {
            answer.extend_from_slice(&wire::empty(Kind::Ack, message_id));
            push(&mut self.out.transmits, answer.to_vec());
        }
        // With no room left the response is taken all the same: a repetition then looks like a late one.
        self.remember(now, origin, Seen::Answered(answer));
        self.with_client(now, |client, cx| client.respond(cx, at, response, blocks, false))
    }

    /// A response in an acknowledgement.
    fn handle_piggybacked(&mut self, now: Instant, mut message: Message) -> Fate {
        let Header { code, message_id, .. } = message.header;
        let found = match &self.work {
            Some(work) => work.client.piggybacked(message_id, message.token),
            None => Err(Ignored::Unmatched),
        };
        let at = match found {
            Ok(at) => at,
            Err(reason) => return Fate::Ignored(reason),
        };
        match options::read_response(code, &mut message.packet) {
            Ok((response, blocks)) => {
                self.with_client(now, |client, cx| client.respond(cx, at, response, blocks, false))
            }
            Err(_) => {
                self.with_client(now, |client, cx| client.refuse(cx, at, FailReason::BadOption));
                Fate::Ignored(Ignored::CriticalOption)
            }
        }
    }

    fn handle_too_large(&mut self, header: Header, datagram: &[u8]) {
        let token = wire::token(header, datagram).filter(|_| header.code.is_request());
        match (header.kind, token) {
            (Kind::Con, Some(token)) => self.handle_oversize(header.message_id, token),
            _ => self.reject(header),
        }
    }

    /// RFC 7252 §4.2, §4.3: a confirmable message is rejected by RST, all others by silence.
    fn reject(&mut self, header: Header) {
        if header.kind == Kind::Con {
            push(&mut self.out.transmits, wire::empty(Kind::Rst, header.message_id).to_vec());
        }
    }

    fn decide(&mut self, now: Instant, message_id: u16, kind: Kind) -> bool {
        let answer = wire::empty(kind, message_id);
        let open = self.dedup.decide(now, message_id, &answer);
        if open {
            push(&mut self.out.transmits, answer.to_vec());
        }
        open
    }

    fn admit(&self, token: Option<Token>, message_id: Option<u16>) -> Result<(), SendError> {
        match &self.work {
            Some(work) => work.client.admit(self.config.max_exchanges, token, message_id),
            None => Ok(()),
        }
    }

    fn ask(
        &mut self,
        now: Instant,
        token: Token,
        ask: Ask,
        confirmable: bool,
        message_id: Option<u16>,
    ) -> Result<ExchangeId, SendError> {
        let message_id = match message_id {
            Some(message_id) => {
                self.own.ids.mark(now, message_id);
                message_id
            }
            None => self.message_id(now)?,
        };
        let opened = self.with_client(now, |client, cx| client.ask(cx, token, ask, confirmable, message_id));
        self.tidy();
        opened
    }

    fn message_id(&mut self, now: Instant) -> Result<u16, SendError> {
        let lifetime = self.config.exchange_lifetime();
        self.own.ids.allocate(now, lifetime).map_err(|free_at| SendError::NoMessageId { free_at })
    }

    fn body_limit(&self) -> u64 {
        self.body_limit.map_or(self.config.body_limit, u64::from)
    }

    fn with_client<T>(&mut self, now: Instant, f: impl FnOnce(&mut Client, &mut Context<'_>) -> T) -> T {
        let body_limit = self.body_limit();
        let mut cx =
            Context { now, config: &self.config, body_limit, out: &mut self.out, own: &mut self.own };
        f(&mut self.work.get_or_insert_default().client, &mut cx)
    }

    /// Gives back the memory of what is no longer open.
    fn tidy(&mut self) {
        self.work.take_if(|work| work.client.is_idle() && work.transfers.is_idle());
    }
}

fn fingerprint(datagram: &[u8]) -> u32 {
    let mut fingerprint = Fingerprint::new();
    fingerprint.write(datagram);
    (fingerprint.finish() >> 32) as u32
}

/// Queues one; most peers never have two.
fn push<T>(queue: &mut Vec<T>, item: T) {
    if queue.capacity() == 0 {
        queue.reserve_exact(1);
    }
    queue.push(item);
}

/// Takes the oldest, and gives the memory back with the last one.
fn pop<T>(queue: &mut Vec<T>) -> Option<T> {
    if queue.is_empty() {
        return None;
    }
    let item = queue.remove(0);
    if queue.is_empty() {
        *queue = Vec::new();
    }
    Some(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_peer_is_small() {
        assert!(size_of::<Peer>() <= 176, "{}", size_of::<Peer>());
    }
}
