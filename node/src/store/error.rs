//! What can go wrong, by fault.

use thiserror::Error;

use super::Pointer;
use crate::identity::{DeviceId, Owner};

/// A write that came too late: another owns the device, or it was removed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("refused: the device belongs to {owner} in term {term}")]
pub struct Refused {
    /// The stored term.
    pub term: u64,
    /// The stored owner; of a removed device, nobody: no node and boot 0.
    pub owner: Owner,
}

/// Why the store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Ordinary: somebody else was faster.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Ordinary: the document was changed meanwhile, exists already, or is gone.
    #[error("the document is at revision {found}")]
    Conflict {
        /// The stored revision; 0: there is none.
        found: u64,
    },
    /// Ordinary: what must be unique belongs to another device.
    #[error("{pointer} belongs to {device}")]
    Taken {
        /// What was asked for.
        pointer: Pointer,
        /// Whose it is.
        device: DeviceId,
    },
    /// Ordinary: another process has taken the lanes, so no second may be opened in them any more.
    #[error("the lanes belong to another process")]
    LanesLost,
    /// Ordinary: no record of this device.
    #[error("no such device")]
    NoSuchDevice,
    /// The caller's: a value that can't be stored.
    #[error("{what} can't be stored")]
    Invalid {
        /// Which.
        what: &'static str,
    },
    /// The caller's: a page token that this store did not give.
    #[error("not a page token of this list")]
    BadPageToken,
    /// Too much waits already. Nothing was written; try again later.
    #[error("the store is overloaded")]
    Overloaded,
    /// The store did not answer, or can't write. Whether the change was made is unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A stored value can't be read: damaged, or written by a newer version.
    #[error("a stored {what} can't be read (version {version})")]
    Unreadable {
        /// What kind of value.
        what: &'static str,
        /// Its version byte; 0 if it has none.
        version: u8,
    },
}

impl StoreError {
    /// What is to be said where it is said that it is the store: of an unavailable one the reason alone.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Unavailable(reason) => reason.clone(),
            other => other.to_string(),
        }
    }
}
