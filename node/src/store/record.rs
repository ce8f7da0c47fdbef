//! One device's record, and the changes that its owner makes to it.

use std::{net::SocketAddr, sync::Arc};

use super::value;
use crate::identity::Owner;

/// All that the store knows of one device.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeviceRecord {
    /// Ownership, addresses, marks.
    pub header: Header,
    /// What was provisioned; `None` for a device that registered without.
    pub document: Option<value::Device>,
    /// Its registration, if it is registered.
    pub registration: Option<value::Registration>,
    /// The last state-changing request and its answer, for 247 s.
    pub applied: Option<value::Applied>,
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
    /// The device is found by its address: it speaks without DTLS, or without a connection id.
    pub by_address: bool,
    /// The highest record number that may have been sent.
    pub write_mark: u64,
    /// The highest record number that was accepted.
    pub read_floor: u64,
    /// Which of the 64 numbers up to the floor were accepted; bit 0 is the floor itself.
    pub read_window: u64,
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
    /// How far record numbers went.
    Marks {
        /// See [`Header::write_mark`].
        write_mark: u64,
        /// See [`Header::read_floor`].
        read_floor: u64,
        /// See [`Header::read_window`].
        read_window: u64,
    },
    /// The device has registered or bootstrapped: `activate_by` of its document no longer counts.
    Activated,
    /// Gives the device up: the record is exact now, and nobody's actor owns it. Any later commit takes it back.
    Passive,
}
