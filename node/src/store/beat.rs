//! Heartbeats: what the nodes on one store say of themselves, and what each learns from it.

use std::{net::SocketAddr, time::Duration};

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
    /// How often this run has beaten: what it says of itself is new each time.
    pub beats: u64,
}

#[cfg(test)]
impl Member {
    /// A ready node on this machine, of which nothing else is known.
    pub(crate) fn of(owner: Owner) -> Self {
        Self {
            owner,
            address: SocketAddr::from(([127, 0, 0, 1], 5691)),
            listeners: Vec::new(),
            ready: true,
            draining: false,
            clock_ahead_ms: 0,
            restored: 0,
            beats: 0,
        }
    }
}

/// What the store answers to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// The store's clock, Unix milliseconds.
    pub time_ms: u64,
    /// Names the data: made when the store was first used, kept by copies and replicas. `None`: the store is empty and
    /// may not be used until an operator says so.
    pub incarnation: Option<u64>,
    /// By the store's clock, when it last came (back): its process or its history is another than at the heartbeat before.
    /// Kept in the store, so that it is the same for all.
    pub back_ms: u64,
    /// By the store's clock, before when nothing may expire: for as long as no member was [`ready`](Member::ready), but half a
    /// `ttl` and at most an hour, devices had nobody to update at, and as long again they have to do so. Kept in the store, for a
    /// process that has just been started can't know.
    pub expires_from_ms: u64,
    /// The heartbeats on record, one's own among them.
    pub members: Vec<Member>,
}

/// When members were ready, and what follows for what is over. As `beat.lua` has it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Served {
    /// When a ready member beat last, Unix milliseconds.
    last: Option<u64>,
    expires_from: u64,
}

impl Served {
    /// No outage postpones the end of what is over by more than this.
    const MOST_MS: u64 = 3_600_000;

    /// Notes a heartbeat; [`Beat::expires_from_ms`].
    pub(crate) fn beat(&mut self, now_ms: u64, ready: bool, ttl: Duration) -> u64 {
        // A clock that was ahead must not postpone anything for long.
        let last = self.last.map_or(now_ms, |last| last.min(now_ms));
        let away = now_ms - last;
        if u128::from(away) * 2 > ttl.as_millis() {
            self.expires_from = self.expires_from.max(now_ms + away);
        }
        self.expires_from = self.expires_from.min(now_ms + Self::MOST_MS);
        self.last = Some(if ready { now_ms } else { last });
        self.expires_from
    }
}
