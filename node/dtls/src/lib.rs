//! A sans-IO DTLS 1.2 server whose session is a value that can be stored (RFC 6347).
//!
//! It names no socket and no clock: bytes and `now` go in, effects come out as data. [`Association`] is one peer.

pub mod agreement;
pub mod alert;
mod association;
pub mod certificate;
pub mod cid;
#[cfg(feature = "client")]
pub mod client;
mod config;
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

pub use association::{Association, Context, SendError};
pub use config::{CidPolicy, Config, Ems, Mode, Modes};
pub use fate::{Dropped, Fate};
pub use identity::{IdentityError, ServerIdentity};
pub use naming::Naming;
pub use output::{CloseReason, HandshakeFailure, Output};
pub use question::{Answer, NotStored, PeerCredential, Psk, Question, StoreKind, Ticket, Unacceptable};
pub use secret::Secret;
pub use session::{Session, SessionId, SessionName};
pub use stored::{FinishedAnswer, Numbering, Numbers, Stage, StoredError, StoredSession};
pub use subject::{Subject, SubjectTooLong};
