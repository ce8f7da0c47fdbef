//! One device's record, and the changes that its owner makes to it.

use std::{net::SocketAddr, sync::Arc};

use super::{Numbers, Session, value};
use crate::identity::{AssociationId, Owner};

/// All that the store knows of one device.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeviceRecord {
    /// Ownership, addresses.
    pub header: Header,
    /// What was provisioned; `None` for a device that registered without.
    pub document: Option<value::Device>,
    /// Its registration, if it is registered.
    pub registration: Option<value::Registration>,
    /// The last state-changing request and its answer, for 247 s.
    pub applied: Option<value::Applied>,
    /// DTLS sessions, in the order in which they were established.
    pub sessions: Vec<Session>,
    /// By token.
    pub observations: Vec<value::Observation>,
    /// In the order of the queue.
    pub operations: Vec<value::StoredOperation>,
    /// Events that no sink has acknowledged, oldest first.
    pub events: Vec<value::StoredEvent>,
}

/// The head of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Who claimed last; `None`: nobody ever did.
    pub owner: Option<Owner>,
    /// The term of that claim; 0: none.
    pub term: u64,
    /// How often the device was claimed.
    pub claims: u32,
    /// Owned by nobody's actor; the record is exact.
    pub passive: bool,
    /// It has registered or bootstrapped since it was provisioned.
    pub activated: bool,
    /// When its registration expires, Unix milliseconds; `None`: never.
    pub deadline: Option<u64>,
    /// The node that last received from the device.
    pub path_node: Option<Arc<str>>,
    /// The device's address.
    pub peer: Option<SocketAddr>,
    /// The node's own address that the device sends to.
    pub local: Option<SocketAddr>,
    /// The device is found by that address: it speaks without DTLS. A session has an address of its own.
    pub by_address: bool,
}

/// One change of a record. A [`commit`](super::StateStore::commit) makes all of its changes or none, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Writes the registration, a new one or a changed one. One with another id takes the place of the old one,
    /// whose `rd/<id>` leads nowhere from then on.
    Registration(Box<value::Registration>),
    /// Removes the registration and its observations. [`Change::Applied`] in the same commit makes the tombstone
    /// by which a repeated de-register finds its answer.
    RemoveRegistration,
    /// Remembers the answer to a state-changing request, in place of the one before.
    Applied(value::Applied),
    /// Writes an observation, by its token.
    Observation(value::Observation),
    /// Removes an observation.
    RemoveObservation(Vec<u8>),
    /// Removes all observations.
    ClearObservations,
    /// Writes an operation, by its id.
    Operation(Box<value::StoredOperation>),
    /// Removes an operation.
    RemoveOperation(String),
    /// Puts an event into the outbox, by its id. [`remove_event`](super::StateStore::remove_event) takes it out.
    Event(value::StoredEvent),
    /// Where the device is. `by_address` makes the pointer from the address to the device, which takes the
    /// address from whoever had it.
    Address {
        /// The device's address.
        peer: Option<SocketAddr>,
        /// The node's own.
        local: Option<SocketAddr>,
        /// Whether the address finds the device.
        by_address: bool,
    },
    /// Which node last received from the device.
    PathNode(Arc<str>),
    /// When the registration expires, Unix milliseconds: now + 1.25 × lifetime + grace. `None`: never.
    Deadline(Option<u64>),
    /// Writes a session, by its association. The caller has removed what it takes the place of: one more than
    /// [`SESSIONS`](super::SESSIONS) live or provisional ones is [`StoreError::Invalid`](super::StoreError::Invalid).
    Session(Box<Session>),
    /// A provisional session has heard the client's Finished: it takes the place of all others of its session id.
    /// Nothing happens if it is gone.
    Promote {
        /// Which.
        association: AssociationId,
        /// See [`Session::expires_at`].
        expires_at: u64,
    },
    /// close_notify: the session's records find it no longer, a handshake may resume it.
    CloseSession(AssociationId),
    /// Removes a session: a fatal alert, a revoked credential, or too many.
    RemoveSession(AssociationId),
    /// How far the record numbers of a session went. Nothing happens if it is gone.
    Marks {
        /// Whose.
        association: AssociationId,
        /// How far.
        numbers: Numbers,
        /// See [`Session::heard_at`].
        heard_at: u64,
        /// See [`Session::expires_at`].
        expires_at: u64,
        /// Whether [`Session::answer`] is still needed: not after the first application record, nor after 240 s.
        keep_answer: bool,
    },
    /// Where the device of a session is now. Nothing happens if the session is gone.
    SessionAddress {
        /// Whose.
        association: AssociationId,
        /// The device's address.
        peer: Option<SocketAddr>,
        /// The node's own.
        local: Option<SocketAddr>,
    },
    /// The device has registered or bootstrapped: `activate_by` of its document no longer counts.
    Activated,
    /// Gives the device up: the record is exact now, and nobody's actor owns it. Any later commit takes it back.
    Passive,
}
