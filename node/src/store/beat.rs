//! Heartbeats: what the nodes on one store say of themselves, and what each learns from it.

use std::net::SocketAddr;

use crate::{identity::Owner, shard::listener::Listener};

/// What a node says of itself at each heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which run of which node.
    pub owner: Owner,
    /// Where its peers reach it (port 5691).
    pub address: SocketAddr,
    /// Where devices reach it; all nodes of a cluster have the same list by kind.
    pub listeners: Vec<Listener>,
    /// It serves.
    pub ready: bool,
    /// It gives its devices up, and takes no new ones.
    pub draining: bool,
    /// How far its wall clock was ahead of the store's at its last heartbeat, in milliseconds.
    pub clock_ahead_ms: i64,
    /// It has written again all that the store may have forgotten, up to this [`Beat::back_ms`].
    pub restored: u64,
}

/// What the store answers to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// The store's clock, Unix milliseconds.
    pub time_ms: u64,
    /// Names the data: made when the store was first used, kept by copies and replicas. `None`: the store is empty and
    /// may not be used until an operator says so.
    pub incarnation: Option<u64>,
    /// By the store's clock, when it last came (back): its process or its history is another than at the heartbeat before,
    /// or no heartbeat of anybody came for half a `ttl`. Kept in the store, so that it is the same for all.
    pub back_ms: u64,
    /// The heartbeats on record, one's own among them.
    pub members: Vec<Member>,
}
