//! What comes out of a [`Peer`](crate::Peer), and the one fate of each datagram that goes in.

use std::time::Instant;

use crate::{Code, Request, Response, Token};

/// Names a received request until it is answered or forgotten. Never valid for another peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub(crate) u32);

impl RequestId {
    /// A name by its number, for those who act as a peer in a test of the layers above.
    pub const fn from_raw(number: u32) -> Self {
        Self(number)
    }
}

/// Names an own request, from first block to last, until its response or failure was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExchangeId(pub(crate) u32);

/// What the layers above are told.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "events are handed over one at a time, never stored in numbers")]
pub enum Event {
    /// A new request with its whole body. Answer by [`respond`](crate::Peer::respond) or drop by
    /// [`forget`](crate::Peer::forget).
    Request {
        /// What to answer to.
        id: RequestId,
        /// The request.
        request: Request,
        /// Whether the client repeats it until it is acknowledged.
        confirmable: bool,
        /// Its message id (of the last block), by which the peer's repetitions are known.
        message_id: u16,
        /// Its token (of the last block).
        token: Token,
    },
    /// The response to an own request, with its whole body.
    Response {
        /// The request, which is closed by this.
        exchange: ExchangeId,
        /// Its token, as the caller gave it.
        token: Token,
        /// The response, an error of the server as well as a success.
        response: Response,
        /// Whether it is the first notification too: it came confirmable, with Observe, and is not acknowledged yet. An
        /// [`Event::Notification`] of the same message follows.
        notified: bool,
    },
    /// An own request has ended without response.
    Failed {
        /// The request, which is closed by this.
        exchange: ExchangeId,
        /// Its token, as the caller gave it.
        token: Token,
        /// Why.
        reason: FailReason,
    },
    /// A response that belongs to no open request: a notification, an answer that came too late, or a stranger's; or the
    /// one that has just answered the request, if that was `notified`.
    /// Raised once per message id, however often it arrives.
    Notification {
        /// The token by which the caller knows the observation, if it does.
        token: Token,
        /// What to [`acknowledge`](crate::Peer::acknowledge) or [`reset`](crate::Peer::reset).
        message_id: u16,
        /// Whether the peer waits for an acknowledgement.
        confirmable: bool,
        /// The sequence number, for [`ObserveOrder`](crate::ObserveOrder); missing in what ends an observation.
        observe: Option<u32>,
        /// What was notified, or its first block.
        response: Response,
        /// Whether this is the first block only: see [`continue_body`](crate::Peer::continue_body).
        more: bool,
    },
    /// A notification sent by [`notify`](crate::Peer::notify) was acknowledged.
    Acknowledged {
        /// The notification, which is closed by this.
        exchange: ExchangeId,
    },
}

/// Why an own request has ended without response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailReason {
    /// The peer answered with RST: it does not know what to do with the message.
    Reset,
    /// No acknowledgement to any transmission, or no response in time after one.
    Timeout,
    /// The body of the response changed while its blocks were fetched (another ETag).
    BodyChanged,
    /// The body of the response is larger than the limit, or its sink is full.
    BodyTooLarge,
    /// The blocks of the response are out of order, of the wrong size, or the peer acknowledged another block than was
    /// sent.
    BadBlock,
    /// The source or sink of a body failed.
    Body,
    /// The response carries a critical option that is not understood (RFC 7252 §5.4.1).
    BadOption,
}

/// What became of one datagram: exactly one of these each, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// A new request: raised as an event.
    Request,
    /// A block of a body, answered or taken in without an event.
    Block,
    /// A request that was answered here by this error, without an event.
    Refused(Code),
    /// Seen before: the stored answer was sent again, or the first one is still being worked on.
    Duplicate,
    /// The response to an own request, or a part of it.
    Response,
    /// A response that belongs to no own request: raised as an event.
    Notification,
    /// An acknowledgement without response.
    Acknowledgement,
    /// A reset of something sent.
    Reset,
    /// An empty confirmable message, answered by RST.
    Ping,
    /// Not a CoAP message: answered by RST if confirmable, else by silence.
    Malformed(Malformed),
    /// Dropped in silence.
    Ignored(Ignored),
}

/// What is wrong with the bytes (RFC 7252 §3, §4.2, §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Shorter than a header; never answered.
    Short,
    /// A version other than 1; never answered.
    Version,
    /// A token of more than 8 bytes, or cut.
    Token,
    /// An option that is cut, uses a reserved nibble, or has a number above 65535.
    Option,
    /// A payload marker without payload.
    Marker,
    /// An empty message with more than a header.
    EmptyWithMore,
    /// A code of a reserved class, or one that does not go with the message's type.
    Code,
    /// Larger than the limit.
    Size,
}

/// Why a well-formed datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// An acknowledgement or reset of nothing that is open.
    Unmatched,
    /// An acknowledgement whose token is not that of the request.
    TokenMismatch,
    /// As many requests and notifications are pending as the peer may have.
    Overload,
    /// A critical option that is not understood, in a message that is not a confirmable request.
    CriticalOption,
}

/// Why an own request or notification could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Local limit: as many are open as may be.
    #[error("{limit} exchanges are open")]
    Full {
        /// [`Config::max_exchanges`](crate::Config::max_exchanges).
        limit: usize,
    },
    /// Local limit: every message id was used within EXCHANGE_LIFETIME.
    #[error("no message id is free")]
    NoMessageId {
        /// When one will be.
        free_at: Instant,
    },
    /// Misuse: the token names an open request already.
    #[error("the token is in use")]
    TokenInUse,
    /// Misuse: the message id to repeat belongs to an open message already.
    #[error("message id {0} is in use")]
    MessageIdInUse(u16),
    /// Misuse: an option is longer than CoAP allows, or the options alone fill a datagram.
    #[error("the message cannot be encoded")]
    Unencodable,
    /// Misuse: the block to begin with is no multiple of the block size, or the body is too long for blocks.
    #[error("no block begins at {0}")]
    Offset(u64),
    /// Misuse: [`continue_body`](crate::Peer::continue_body) needs the first block of a longer body.
    #[error("not the first block of a body")]
    NotFirstBlock,
    /// The body's source failed.
    #[error(transparent)]
    Body(#[from] crate::BodyError),
}

/// Why a request could not be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RespondError {
    /// It was answered or forgotten, or EXCHANGE_LIFETIME has passed.
    #[error("the request is no longer open")]
    Closed,
    /// Local limit: every message id was used within EXCHANGE_LIFETIME, and the response needs one of its own.
    #[error("no message id is free")]
    NoMessageId,
    /// Misuse: an option is longer than CoAP allows. The client gets 5.00.
    #[error("the response cannot be encoded")]
    Unencodable,
}
