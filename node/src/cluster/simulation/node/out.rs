//! What a node wants of the world, and what the observer is told.

use std::net::SocketAddr;

use super::{
    super::{callers::Told, store::Request},
    frame::Frame,
};
use crate::{
    identity::{AssociationId, DeviceId, Owner},
    store::DeviceRecord,
    telemetry::Record,
};

/// What a node wants of the world.
#[derive(Debug)]
pub(in crate::cluster::simulation) enum Out {
    Device {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    Peer {
        to: Owner,
        frame: Frame,
    },
    Store {
        id: u64,
        request: Request,
    },
    Sink {
        device: DeviceId,
        life: u64,
        id: u32,
        records: Vec<Record>,
    },
    Note(Note),
    /// For the caller of a command.
    Told {
        operation: String,
        told: Told,
    },
}

/// What the observer is told.
#[derive(Debug)]
pub(in crate::cluster::simulation) enum Note {
    Claimed { device: DeviceId, term: u64, exact: bool, record: Box<DeviceRecord> },
    Accepted { device: DeviceId, association: AssociationId, number: u64, term: u64, plaintext: Vec<u8> },
    Sealed { association: Option<AssociationId>, bytes: Vec<u8> },
    Said { device: DeviceId, term: u64, plaintext: Vec<u8> },
    Released { device: DeviceId, term: u64 },
    Presented,
}
