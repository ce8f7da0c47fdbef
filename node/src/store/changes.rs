//! What admin calls have changed, for nodes that keep it in memory.

use super::DocumentKey;
use crate::identity::DeviceId;

/// A place in the stream of changes, as its store names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub String);

/// What was changed or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// What is provisioned for a device: its credential, its profile, whether it may register.
    Device(DeviceId),
    /// A profile or an object model.
    Document(DocumentKey),
}

/// The next part of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Behind all of these; `None`: this store has no stream, for its one process hears of changes at once.
    pub cursor: Option<Cursor>,
    /// In the order in which they were made. A change that several calls have made may be named once.
    pub changes: Vec<Changed>,
    /// Some were forgotten before these: what is kept in memory is to be read anew.
    pub gap: bool,
}
