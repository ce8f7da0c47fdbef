//! A light DTLS 1.2 client, for the load tool and for tests: PSK, raw public keys and X.509, Connection IDs both ways,
//! and resumption by session id. Sans-IO like the server, and small: an established one holds no buffers.
//!
//! ```text
//! start ─ClientHello─▶ HelloVerifyRequest ─▶ ClientHello + cookie ─▶ ServerHello
//!   full:        … ServerHelloDone ─▶ keys, ChangeCipherSpec, Finished ─▶ Finished: established
//!   abbreviated: … ChangeCipherSpec, Finished ─▶ ChangeCipherSpec, Finished: established
//! ```
//! It is a peer of good will, not a hardened one: it takes the first server that answers, and with [`Trust::Any`] any key.

mod connection;
mod failure;
mod flow;
mod handshake;
mod session;
mod settings;

pub use self::{
    connection::{Client, Context, Output},
    failure::Failure,
    session::Session,
    settings::{Credential, Settings, Trust},
};
