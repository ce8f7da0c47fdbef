//! A sans-IO DTLS 1.2 server whose session is a value that can be stored (RFC 6347).
//!
//! It names no socket and no clock: bytes and `now` go in, effects come out as data. What it needs to know or to have written
//! it asks for, and goes on when the answer comes.
//!
//! | where | what |
//! |---|---|
//! | [`gate`], [`cookie`] | strangers: a cookie for each, and not a byte of state |
//! | [`Association`], [`Context`] | one peer: its live session and a handshake beside it |
//! | [`Output`], [`Question`], [`Answer`] | what an association wants sent, known and written |
//! | `handshake` | the states of full and abbreviated handshakes, in protocol order |
//! | [`Session`], [`StoredSession`] | keys and numbers, live and as bytes |
//! | [`message`], [`extension`], [`alert`], [`wire`] | what handshakes say, as views of bytes |
//! | [`reassembly`], [`flight`], [`transcript`] | messages cut, repeated and hashed |
//! | [`record`], [`protection`], [`window`], [`nonce`] | records, and what makes each unlike all others |
//! | [`suite`], [`prf`], [`agreement`], [`signature`], [`certificate`] | suites and what they are made of |
//! | [`cid`] | Connection IDs that steer (RFC 9146) |
//! | `client` (feature) | a light client for tests and load |
//!
//! `examples/server.rs` is the whole of it around one UDP socket.

pub mod agreement;
pub mod alert;
mod association;
pub mod certificate;
pub mod cid;
#[cfg(feature = "client")]
pub mod client;
mod config;
mod context;
pub mod cookie;
pub mod extension;
mod fate;
pub mod flight;
pub mod gate;
mod handshake;
mod identity;
pub mod message;
mod naming;
pub mod nonce;
mod outbox;
mod output;
pub mod prf;
pub mod protection;
mod question;
pub mod reassembly;
pub mod record;
mod secret;
mod session;
pub mod signature;
mod stored;
mod subject;
pub mod suite;
pub mod transcript;
pub mod window;
pub mod wire;

pub use association::{Association, SendError};
pub use config::{CidPolicy, Config, Ems, Mode, Modes};
pub use context::Context;
pub use fate::{Dropped, Fate};
pub use identity::{IdentityError, ServerIdentity};
pub use naming::Naming;
pub use outbox::Sent;
pub use output::{CloseReason, HandshakeFailure, Output};
pub use question::{Answer, NotStored, PeerCredential, Psk, Question, StoreKind, Ticket, Unacceptable};
pub use secret::Secret;
pub use session::{Session, SessionId, SessionName};
pub use stored::{FinishedAnswer, Numbering, Numbers, Stage, StoredError, StoredSession};
pub use subject::{Subject, SubjectTooLong};
