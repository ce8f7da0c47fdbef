//! Where devices reach a shard.

use std::net::SocketAddr;

/// What is spoken on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// CoAP without security.
    Plain,
    /// CoAP over DTLS.
    Dtls,
}

/// Where to listen, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// The address.
    pub address: SocketAddr,
    /// What is spoken there.
    pub kind: Kind,
}
