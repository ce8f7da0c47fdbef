//! A sans-IO DTLS 1.2 server whose session is a value that can be stored (RFC 6347).
//!
//! It names no socket and no clock: bytes and `now` go in, effects come out as data.

pub mod alert;
pub mod cid;
pub mod extension;
pub mod message;
pub mod nonce;
pub mod prf;
pub mod protection;
pub mod record;
pub mod suite;
pub mod window;
pub mod wire;
