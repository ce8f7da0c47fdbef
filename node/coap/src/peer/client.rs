//! The client role: exchanges in flight, their turns, retransmissions and responses.

use std::{mem, time::Instant};

use super::{Context, push};
use crate::{
    Event, ExchangeId, FailReason, Fate, Ignored, Response, SendError, Token,
    exchange::{Ask, Exchange, Role, State, Step},
    options::BlockOptions,
    retransmission::{Due, Retransmission},
    wire::Kind,
};

/// What this side has sent and still waits for.
#[derive(Debug, Default)]
pub(crate) struct Client {
    exchanges: Vec<Exchange>,
    turn: u32,
}

impl Client {
    pub(crate) fn is_idle(&self) -> bool {
        self.exchanges.is_empty()
    }

    pub(crate) fn find(&self, id: ExchangeId) -> Option<&Exchange> {
        self.exchanges.iter().find(|exchange| exchange.id == id)
    }

    /// Whether one more may be opened under this token and message id.
    pub(crate) fn admit(
        &self,
        limit: usize,
        token: Option<Token>,
        message_id: Option<u16>,
    ) -> Result<(), SendError> {
        if self.exchanges.len() >= limit {
            return Err(SendError::Full { limit });
        }
        let taken = |exchange: &Exchange| {
            matches!(exchange.role, Role::Ask(_))
                && (Some(exchange.token) == token || Some(exchange.wire_token) == token)
        };
        if self.exchanges.iter().any(taken) {
            return Err(SendError::TokenInUse);
        }
        match message_id.filter(|id| self.exchanges.iter().any(|exchange| exchange.message_id == *id)) {
            Some(id) => Err(SendError::MessageIdInUse(id)),
            None => Ok(()),
        }
    }

    /// Opens a request that waits for its turn.
    pub(crate) fn ask(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        mut ask: Ask,
        confirmable: bool,
        message_id: u16,
    ) -> Result<ExchangeId, SendError> {
        let kind = if confirmable { Kind::Con } else { Kind::Non };
        let datagram = ask.encode(cx.config, kind, message_id, token)?;
        Ok(self.open(cx, token, message_id, confirmable, datagram, Role::Ask(Box::new(ask))))
    }

    /// Sends a confirmable response. It does not wait for its turn, since the peer waits for it.
    pub(crate) fn tell(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        message_id: u16,
        datagram: Vec<u8>,
        role: Role,
    ) -> ExchangeId {
        self.open(cx, token, message_id, true, datagram, role)
    }

    fn open(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        message_id: u16,
        confirmable: bool,
        datagram: Vec<u8>,
        role: Role,
    ) -> ExchangeId {
        let id = ExchangeId(cx.own.serial());
        self.turn = self.turn.wrapping_add(1);
        self.exchanges.push(Exchange {
            id,
            token,
            wire_token: token,
            message_id,
            confirmable,
            first_sent: None,
            state: State::Queued { turn: self.turn },
            datagram,
            role,
        });
        self.launch(cx);
        id
    }

    /// Sends what may be sent: of the confirmable requests as many as NSTART allows, all else at once.
    ///
    /// Constrained servers keep one body each way. So one body goes up at a time, with small requests in between, and one
    /// that comes down is fetched to its end before the next request goes.
    fn launch(&mut self, cx: &mut Context<'_>) {
        loop {
            let in_flight =
                self.exchanges.iter().filter(|exchange| matches!(exchange.state, State::Sent(_))).count();
            let free = in_flight < usize::from(cx.config.nstart.max(1));
            let uploading = self.exchanges.iter().any(Exchange::has_begun_upload);
            let next = self
                .exchanges
                .iter_mut()
                .filter_map(|exchange| exchange.turn().map(|turn| (turn, exchange)))
                .filter(|(_, exchange)| match &exchange.role {
                    Role::Ask(_) if !free && exchange.confirmable => false,
                    Role::Ask(ask) => !(uploading && ask.uploads() && exchange.first_sent.is_none()),
                    Role::Separate | Role::Notify => true,
                })
                .min_by_key(|(turn, _)| *turn);
            let Some((_, exchange)) = next else { return };
            exchange.send(cx);
        }
    }

    /// An acknowledgement without response.
    pub(crate) fn acknowledged(&mut self, cx: &mut Context<'_>, message_id: u16) -> Fate {
        let Some(at) = self.awaiting(message_id) else {
            return Fate::Ignored(Ignored::Unmatched);
        };
        match self.exchanges[at].role {
            Role::Ask(_) => {
                self.exchanges[at].state = State::Acknowledged { until: cx.now + cx.config.response_timeout };
            }
            Role::Separate => drop(self.exchanges.remove(at)),
            Role::Notify => {
                let exchange = self.exchanges.remove(at).id;
                push(&mut cx.out.events, Event::Acknowledged { exchange });
            }
        }
        self.launch(cx);
        Fate::Acknowledgement
    }

    /// A reset, of a confirmable message or of a non-confirmable request.
    pub(crate) fn reset(&mut self, cx: &mut Context<'_>, message_id: u16) -> Fate {
        let sent = |exchange: &Exchange| {
            exchange.message_id == message_id
                && matches!(exchange.state, State::Sent(_) | State::Acknowledged { .. })
        };
        let Some(at) = self.exchanges.iter().position(sent) else {
            return Fate::Ignored(Ignored::Unmatched);
        };
        self.fail(cx, at, FailReason::Reset);
        self.launch(cx);
        Fate::Reset
    }

    /// The request that a response in an acknowledgement belongs to.
    pub(crate) fn piggybacked(&self, message_id: u16, token: Token) -> Result<usize, Ignored> {
        let sent = |exchange: &&Exchange| {
            exchange.message_id == message_id
                && exchange.confirmable
                && matches!(exchange.role, Role::Ask(_))
                && matches!(exchange.state, State::Sent(_) | State::Acknowledged { .. })
        };
        let exchange = self.exchanges.iter().find(sent).ok_or(Ignored::Unmatched)?;
        if exchange.wire_token != token {
            return Err(Ignored::TokenMismatch);
        }
        self.by_token(token).ok_or(Ignored::Unmatched)
    }

    /// The request that has been sent under this token.
    pub(crate) fn by_token(&self, token: Token) -> Option<usize> {
        self.exchanges.iter().position(|exchange| {
            exchange.wire_token == token
                && matches!(exchange.role, Role::Ask(_))
                && matches!(exchange.state, State::Sent(_) | State::Acknowledged { .. })
        })
    }

    /// Whether a message of the peer's own is the response to the exchange at `at` and the first notification too.
    pub(crate) fn is_notified(&self, at: usize, response: &Response, blocks: &BlockOptions) -> bool {
        matches!(&self.exchanges[at].role, Role::Ask(ask) if ask.is_notified(response, blocks))
    }

    /// Whether a message with Observe under the token of this exchange is a notification rather than its response.
    pub(crate) fn cancels(&self, at: usize) -> bool {
        matches!(&self.exchanges[at].role, Role::Ask(ask) if ask.cancels())
    }

    /// Takes the response to the exchange at `at`. `notified`: see [`Event::Response`].
    pub(crate) fn respond(
        &mut self,
        cx: &mut Context<'_>,
        at: usize,
        response: Response,
        blocks: BlockOptions,
        notified: bool,
    ) -> Fate {
        let exchange = &mut self.exchanges[at];
        let Role::Ask(ask) = &mut exchange.role else {
            return Fate::Ignored(Ignored::Unmatched);
        };
        match ask.receive(cx.config, response, blocks, cx.body_limit) {
            Step::Stale => return Fate::Duplicate,
            Step::Next => {
                if ask.observes() && exchange.wire_token == exchange.token {
                    exchange.wire_token = Token::from(cx.own.random.next());
                }
                self.proceed(cx, at);
            }
            Step::Done(response) => {
                let Exchange { id: exchange, token, .. } = self.exchanges.remove(at);
                push(&mut cx.out.events, Event::Response { exchange, token, response, notified });
            }
            Step::Failed(reason) => self.fail(cx, at, reason),
        }
        self.launch(cx);
        Fate::Response
    }

    /// Ends the exchange at `at` because its response cannot be taken.
    pub(crate) fn refuse(&mut self, cx: &mut Context<'_>, at: usize, reason: FailReason) {
        self.fail(cx, at, reason);
        self.launch(cx);
    }

    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>, id: ExchangeId) -> bool {
        let Some(at) = self.exchanges.iter().position(|exchange| exchange.id == id) else {
            return false;
        };
        self.exchanges.remove(at);
        self.launch(cx);
        true
    }

    /// Answers how many messages it sent again.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) -> u32 {
        let (mut at, mut repeated) = (0, 0);
        while at < self.exchanges.len() {
            let before = self.exchanges.len();
            if self.exchanges[at].deadline().is_some_and(|deadline| deadline <= cx.now) {
                repeated += u32::from(self.expire(cx, at));
            }
            at += usize::from(self.exchanges.len() == before);
        }
        self.launch(cx);
        repeated
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.exchanges.iter().filter_map(Exchange::deadline).min()
    }

    /// Whether it sent the message again.
    fn expire(&mut self, cx: &mut Context<'_>, at: usize) -> bool {
        let exchange = &mut self.exchanges[at];
        match &mut exchange.state {
            State::Queued { .. } => {}
            State::Starved { .. } => self.proceed(cx, at),
            State::Sent(retransmission) => match retransmission.expire(cx.now) {
                Due::Repeat => {
                    push(&mut cx.out.transmits, exchange.datagram.clone());
                    return true;
                }
                Due::GiveUp => self.fail(cx, at, FailReason::Timeout),
            },
            State::Acknowledged { .. } => self.fail(cx, at, FailReason::Timeout),
        }
        false
    }

    /// Prepares the next message of an exchange and queues it behind those that wait already.
    fn proceed(&mut self, cx: &mut Context<'_>, at: usize) {
        let exchange = &mut self.exchanges[at];
        let Role::Ask(ask) = &mut exchange.role else { return };
        let message_id = match cx.own.ids.allocate(cx.now, cx.config.exchange_lifetime()) {
            Ok(message_id) => message_id,
            Err(until) => {
                exchange.state = State::Starved { until };
                return;
            }
        };
        let kind = if exchange.confirmable { Kind::Con } else { Kind::Non };
        match ask.encode(cx.config, kind, message_id, exchange.wire_token) {
            Ok(datagram) => {
                self.turn = self.turn.wrapping_add(1);
                exchange.message_id = message_id;
                exchange.datagram = datagram;
                exchange.state = State::Queued { turn: self.turn };
            }
            Err(_) => self.fail(cx, at, FailReason::Body),
        }
    }

    fn fail(&mut self, cx: &mut Context<'_>, at: usize, reason: FailReason) {
        let Exchange { id: exchange, token, role, .. } = self.exchanges.remove(at);
        if !matches!(role, Role::Separate) {
            push(&mut cx.out.events, Event::Failed { exchange, token, reason });
        }
    }

    /// The message that an acknowledgement of this id belongs to.
    fn awaiting(&self, message_id: u16) -> Option<usize> {
        self.exchanges.iter().position(|exchange| {
            exchange.message_id == message_id && matches!(exchange.state, State::Sent(_))
        })
    }
}

impl Exchange {
    /// The order of those that wait: bodies that come down first, then the others as they came.
    fn turn(&self) -> Option<(bool, u32)> {
        let State::Queued { turn } = self.state else { return None };
        let gathers = matches!(&self.role, Role::Ask(ask) if ask.gathers());
        Some((!gathers, turn))
    }

    fn has_begun_upload(&self) -> bool {
        self.first_sent.is_some() && matches!(&self.role, Role::Ask(ask) if ask.uploads())
    }

    fn send(&mut self, cx: &mut Context<'_>) {
        cx.own.ids.mark(cx.now, self.message_id);
        self.first_sent.get_or_insert(cx.now);
        if self.confirmable {
            self.state = State::Sent(Retransmission::new(cx.now, cx.config, cx.own.random.fraction()));
            push(&mut cx.out.transmits, self.datagram.clone());
        } else {
            self.state = State::Acknowledged { until: cx.now + cx.config.response_timeout };
            push(&mut cx.out.transmits, mem::take(&mut self.datagram));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Queued { .. } => None,
            State::Starved { until } | State::Acknowledged { until } => Some(*until),
            State::Sent(retransmission) => Some(retransmission.deadline()),
        }
    }
}
