//! CoAP (RFC 7252, 7641, 7959, 8132), sans-IO: the message layer for one peer at a time.
//!
//! [`Peer`] is one remote address or one DTLS session, as server and client at once. Datagrams and the time go in;
//! datagrams, events and one deadline come out. It names no runtime, socket, clock or source of randomness.
//!
//! [`Request`], [`Response`], [`Code`], [`Method`] and [`Token`] are plain values that need no `Peer`.

mod block;
mod body;
mod code;
mod config;
mod dedup;
mod download;
mod event;
mod exchange;
mod message_ids;
mod observe;
mod options;
mod peer;
mod request;
mod response;
mod retransmission;
mod token;
mod upload;
mod wire;

pub use block::{Block, BlockError, BlockSize};
pub use body::{BodyError, BodySink, BodySource, MemorySink};
pub use code::{Code, Method};
pub use config::Config;
pub use event::{
    Event, ExchangeId, FailReason, Fate, Ignored, Malformed, RequestId, RespondError, SendError,
};
pub use observe::{Freshness, ObserveOrder};
pub use peer::{ExchangeStatus, Peer, RequestOptions};
pub use request::Request;
pub use response::Response;
pub use token::{ETag, Token};
