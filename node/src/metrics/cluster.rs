//! What nodes do for each other.

use metrics::{Counter, Gauge};

use super::{
    definition::{Family, Label, label},
    names,
};

label! {
    /// Which way a datagram takes between nodes.
    Path {
        /// From a device, handed to its owner.
        Presented = "presented",
        /// From a device, handed to a peer that can serve it when this node can't.
        Relayed = "relayed",
        /// From a device of this node's, by a peer.
        Received = "received",
        /// To a device of this node's, by a peer.
        Returned = "returned",
    }
}

label! {
    /// Why something for a peer was dropped.
    LinkDrop {
        /// The link's queue was full.
        Full = "full",
        /// There is no such peer any more.
        NoPeer = "no_peer",
    }
}

label! {
    /// How a question to a peer ended.
    Outcome {
        /// The owner took it, or has the device.
        Handled = "handled",
        /// The owner had it before.
        Replay = "replay",
        /// It does not have the device.
        Gone = "gone",
        /// It has no room for it.
        Busy = "busy",
        /// It refuses connections, or another run has taken its place.
        Dead = "dead",
    }
}

label! {
    /// What a node sees of the store that it shares.
    Sight {
        /// It answered the last heartbeat, and the connection stands.
        Seen = "seen",
        /// It was there a moment ago; what serves live sessions goes on as if it were.
        Lost = "lost",
        /// No node sees it.
        Outage = "outage",
        /// A peer sees it, and takes what this node can't serve.
        CutOff = "cut_off",
        /// Neither it nor a peer is there.
        Isolated = "isolated",
    }
}

/// A shard's part.
#[derive(Debug)]
pub struct Shard {
    /// See [`names::CLUSTER_DATAGRAMS`].
    pub paths: Family<Path, Counter>,
}

impl Shard {
    pub(super) fn new(shard: &str) -> Self {
        Self { paths: Family::new(|path| names::CLUSTER_DATAGRAMS.counter(&[shard, path])) }
    }
}

/// The process's part.
#[derive(Debug)]
pub struct Links {
    /// See [`names::CLUSTER_MEMBERS`].
    pub members: Gauge,
    /// See [`names::CLUSTER_LINKS`].
    pub up: Gauge,
    /// See [`names::CLUSTER_LINK_DROPS`].
    pub drops: Family<LinkDrop, Counter>,
    /// See [`names::CLUSTER_ANSWERS`].
    pub answers: Family<Outcome, Counter>,
    /// See [`names::CLUSTER_SUSPICIONS`].
    pub suspicions: Counter,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            members: names::CLUSTER_MEMBERS.gauge(&[]),
            up: names::CLUSTER_LINKS.gauge(&[]),
            drops: Family::new(|why| names::CLUSTER_LINK_DROPS.counter(&[why])),
            answers: Family::new(|outcome| names::CLUSTER_ANSWERS.counter(&[outcome])),
            suspicions: names::CLUSTER_SUSPICIONS.counter(&[]),
        }
    }
}

/// The process's sight of the store.
#[derive(Debug)]
pub struct StoreSight(Family<Sight, Gauge>);

impl StoreSight {
    /// See [`names::CLUSTER_STORE`].
    pub fn set(&self, now: Sight) {
        for sight in Sight::ALL {
            self.0[*sight].set(if sight.index() == now.index() { 1.0 } else { 0.0 });
        }
    }
}

impl Default for StoreSight {
    fn default() -> Self {
        Self(Family::new(|state| names::CLUSTER_STORE.gauge(&[state])))
    }
}
