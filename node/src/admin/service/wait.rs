//! How long a call waits, and for what.

use std::time::Duration;

use godwit_proto::v1::{Delivery, Operation, operation::State};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tonic::metadata::MetadataMap;

use crate::{
    admin::{
        convert::operation::{find, has_ended},
        error::{AdminError, invalid},
        room::Room,
    },
    endpoint::handle::{OperationChange, Told},
    identity::DeviceId,
};

/// How long a synchronous call waits unless told otherwise: MAX_TRANSMIT_WAIT (RFC 7252 §4.8.2), after which no
/// answer comes any more.
const TIMEOUT: Duration = Duration::from_secs(93);
const MAX_TIMEOUT: Duration = Duration::from_mins(10);

/// The bounds of a queued operation's TTL.
const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_hours(365 * 24);

/// How often the record of an operation is read whose end nobody may live to tell.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What of the caller's own deadline is left at most for our answer to reach it, and for us to be late by; of a short
/// deadline a quarter.
const ANSWER: Duration = Duration::from_millis(500);

/// How long a synchronous call waits: its timeout, or the call's deadline if that comes first.
pub(super) fn timeout(delivery: &Delivery, metadata: &MetadataMap) -> Result<Duration, AdminError> {
    let timeout = span("delivery.timeout", delivery.timeout, Duration::from_millis(1)..=MAX_TIMEOUT)?;
    let timeout = timeout.unwrap_or(TIMEOUT);
    let deadline = metadata.get("grpc-timeout").and_then(|value| grpc_timeout(value.to_str().ok()?));
    Ok(deadline.map_or(timeout, |deadline| timeout.min(deadline - ANSWER.min(deadline / 4))))
}

/// How long a queued operation may wait.
pub(super) fn ttl(delivery: &Delivery, otherwise: Duration) -> Result<Duration, AdminError> {
    Ok(span("delivery.ttl", delivery.ttl, MIN_TTL..=MAX_TTL)?.unwrap_or(otherwise))
}

fn span(
    field: &str,
    given: Option<prost_types::Duration>,
    bounds: std::ops::RangeInclusive<Duration>,
) -> Result<Option<Duration>, AdminError> {
    let Some(given) = given else { return Ok(None) };
    match Duration::try_from(given) {
        Ok(span) if bounds.contains(&span) => Ok(Some(span)),
        _ => Err(invalid(field, format!("must be {:?} to {:?}", bounds.start(), bounds.end()))),
    }
}

/// "10S" of the gRPC protocol: up to 8 digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The call's answer once its operation has ended.
pub(super) fn outcome(operation: Operation) -> Result<Operation, AdminError> {
    match operation.state() {
        State::Succeeded => Ok(operation),
        _ => Err(AdminError::Operation(Box::new(operation))),
    }
}

/// Tells how one operation changes, whoever asked for it and whichever node has its device.
pub(super) struct Follower {
    pub(super) device: DeviceId,
    pub(super) id: String,
    /// From before the operation was last read.
    pub(super) changes: Receiver<Told<OperationChange>>,
}

impl Follower {
    /// The operation after its next change. An end that nobody told is found in its record.
    pub(super) async fn next(&mut self, room: &Room) -> Operation {
        loop {
            match tokio::time::timeout(LOOK_AGAIN, self.changes.recv()).await {
                Ok(Ok(Told::Change(change))) if change.operation.name.ends_with(&self.id) => {
                    return Operation::clone(&change.operation);
                }
                Ok(Ok(Told::Change(_))) => continue,
                Ok(Ok(Told::Lost) | Err(RecvError::Lagged(_))) | Err(_) => {}
                Ok(Err(RecvError::Closed)) => tokio::time::sleep(LOOK_AGAIN).await,
            }
            if let Some(operation) = self.read(room).await.filter(has_ended) {
                return operation;
            }
        }
    }

    /// The operation at its end.
    pub(super) async fn end(&mut self, room: &Room) -> Operation {
        let mut operation = self.read(room).await;
        loop {
            match operation {
                Some(operation) if has_ended(&operation) => return operation,
                _ => operation = Some(self.next(room).await),
            }
        }
    }

    /// The operation as its record says; `None`: it says nothing, or can't be read now.
    async fn read(&self, room: &Room) -> Option<Operation> {
        let record = room.store().load(self.device).await.ok().flatten()?;
        find(self.device, &record, &self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    #[test]
    fn the_callers_own_deadline_counts_if_it_comes_first() {
        let mut metadata = MetadataMap::new();
        let wait = |delivery: Delivery, metadata: &MetadataMap| timeout(&delivery, metadata).unwrap();
        assert_eq!(wait(Delivery::default(), &metadata), TIMEOUT);
        metadata.insert("grpc-timeout", "2S".parse().unwrap());
        assert_eq!(wait(Delivery::default(), &metadata), Duration::from_millis(1500));
        let short = Delivery { timeout: given(1), ..Default::default() };
        assert_eq!(wait(short, &metadata), Duration::from_secs(1));
    }

    #[test]
    fn spans_out_of_bounds_are_refused() {
        for seconds in [-1, 0, 601] {
            let delivery = Delivery { timeout: given(seconds), ..Default::default() };
            assert!(timeout(&delivery, &MetadataMap::new()).is_err(), "{seconds}");
        }
        let delivery = Delivery { ttl: given(0), ..Default::default() };
        assert!(ttl(&delivery, Duration::from_secs(5)).is_err());
        assert_eq!(ttl(&Delivery::default(), Duration::from_secs(5)), Ok(Duration::from_secs(5)));
    }

    #[test]
    fn deadlines_of_the_wrong_shape_count_as_none() {
        for text in ["", "S", "-1S", "1", "1X", "123456789S", "1é"] {
            assert_eq!(grpc_timeout(text), None, "{text}");
        }
        assert_eq!(grpc_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
    }
}
