//! DTLS under a connection.
//!
//! ```text
//! datagram ─► channel (association, path) ─ plaintext ─► core (CoAP)
//!                 │ Ask ─► credentials ─► store                       Store, Promote ─► endpoint
//! outbox ◄────────┴───────────────────────── sealed ◄─── core
//! ```
//! - [`settings`]: what the process shares and what the server offers
//! - `ground`: what the channels of one shard share: nonces, Connection IDs, the index of both
//! - `channel`: one peer's association and path
//! - `credentials`: what a handshake asks of the store
//! - `stored`: sessions to and from the store
//! - `activation`: from a record of an unknown peer to its session
//! - `path`: which addresses are trusted
//! - `subject`: whose a session is
//! - `fate`: what became of records and handshakes, for the metrics

pub mod activation;
pub(super) mod allowance;
pub(super) mod channel;
pub(super) mod credentials;
pub(super) mod fate;
pub(super) mod ground;
pub(super) mod path;
pub mod settings;
pub(super) mod stored;
pub(super) mod subject;

pub use self::ground::Ground;
