//! Stored records as API messages, and the other way round.

pub(super) mod credential;
pub(super) mod device;
pub(super) mod model;
pub(super) mod operation;
pub(super) mod registration;

use prost_types::Timestamp;

/// Unix milliseconds as a timestamp; 0 means there is none.
pub(super) fn timestamp(unix_ms: u64) -> Option<Timestamp> {
    let seconds = i64::try_from(unix_ms / 1000).ok()?;
    let nanos = i32::try_from(unix_ms % 1000 * 1_000_000).ok()?;
    (unix_ms != 0).then_some(Timestamp { seconds, nanos })
}
