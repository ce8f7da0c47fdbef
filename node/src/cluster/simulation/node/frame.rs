//! What nodes tell each other.

use std::net::SocketAddr;

use godwit_proto::v1::operation::State;

use crate::{
    endpoint::handle::NewOperation,
    identity::{AssociationId, DeviceId},
    ownership::Answer,
};

/// What nodes tell each other.
#[derive(Debug, Clone)]
pub(in crate::cluster::simulation) enum Frame {
    Present {
        id: u64,
        device: DeviceId,
        association: AssociationId,
        from: SocketAddr,
        bytes: Vec<u8>,
        /// The asker may claim nothing just now.
        held: bool,
    },
    /// Give a device up: it shakes hands with the asker.
    Release {
        id: u64,
        device: DeviceId,
    },
    Answer {
        id: u64,
        answer: Answer,
    },
    /// As if it had come to the other.
    Relay {
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    Transmit {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// What was the other's is claimed.
    Claimed {
        device: DeviceId,
        term: u64,
    },
    View {
        sees_store: bool,
    },
    /// A caller's command.
    Submit {
        id: u64,
        device: DeviceId,
        operation: Box<NewOperation>,
    },
    Submitted {
        id: u64,
        taken: Taken,
    },
    /// What became of a command.
    Ended {
        id: u64,
        state: State,
    },
}

/// Whether an endpoint has a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cluster::simulation) enum Taken {
    Yes,
    No,
    /// The device is another node's.
    Elsewhere,
}

impl Frame {
    pub(in crate::cluster::simulation) fn name(&self) -> String {
        match self {
            Self::Present { id, device, .. } => format!("present {id} of {device}"),
            Self::Release { id, device } => format!("release {id} of {device}"),
            Self::Answer { id, answer } => format!("answer {id}: {answer:?}"),
            Self::Relay { .. } => "relay".into(),
            Self::Transmit { .. } => "transmit".into(),
            Self::Claimed { device, term } => format!("claimed {device} in {term}"),
            Self::Submit { device, operation, .. } => format!("submit {} for {device}", operation.id),
            Self::Submitted { id, taken } => format!("submitted {id}: {taken:?}"),
            Self::Ended { id, state } => format!("ended {id}: {state:?}"),
            Self::View { sees_store } => format!("sees the store: {sees_store}"),
        }
    }
}
