//! Stored records as API messages, and the other way round.

pub(super) mod credential;
pub(super) mod device;
pub(super) mod export;
mod material;
pub(super) mod model;
pub(super) mod operation;
pub(super) mod registration;
mod session;

use prost_types::Timestamp;

/// Unix milliseconds as a timestamp; 0 means there is none.
pub(super) fn timestamp(unix_ms: u64) -> Option<Timestamp> {
    (unix_ms != 0).then(|| crate::endpoint::timestamp(unix_ms))
}
