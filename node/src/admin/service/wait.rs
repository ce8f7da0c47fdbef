//! How long a call waits, and for what.

use std::time::Duration;

use godwit_proto::v1::{Delivery, Operation, operation::State};
use tokio::sync::broadcast::{self, error::RecvError};
use tonic::metadata::MetadataMap;

use crate::admin::{
    convert::operation::has_ended,
    error::{AdminError, invalid},
};

/// How long a synchronous call waits unless told otherwise: MAX_TRANSMIT_WAIT (RFC 7252 §4.8.2), after which no
/// answer comes any more.
const TIMEOUT: Duration = Duration::from_secs(93);
const MAX_TIMEOUT: Duration = Duration::from_mins(10);

/// The bounds of a queued operation's TTL.
const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_hours(365 * 24);

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

/// Waits for the end of the operation with this id, whoever asked for it. `None`: nobody will tell.
pub(super) async fn end_of(
    mut changes: broadcast::Receiver<std::sync::Arc<Operation>>,
    id: &str,
) -> Option<Operation> {
    loop {
        match changes.recv().await {
            Ok(operation) if has_ended(&operation) && operation.name.ends_with(id) => {
                return Some(Operation::clone(&operation));
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
        }
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
