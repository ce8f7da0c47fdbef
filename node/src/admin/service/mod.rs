//! The services, one per file. A handler names what it is about for the audit line, and turns errors into statuses;
//! the method behind it works on plain messages.

pub(super) mod cluster;
pub(super) mod device;
pub(super) mod model;
pub(super) mod node;
pub(super) mod operation;
pub(super) mod profile;
pub(super) mod registration;
pub(super) mod store;
pub(super) mod telemetry;
mod values;
mod wait;

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Response, Status};

use super::error::{AdminError, invalid};

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn answer<T>(result: Result<T, AdminError>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(Status::from)
}

/// Checks a `request_id`: empty, or a UUID.
fn request_id(text: &str) -> Result<(), AdminError> {
    if text.is_empty() || uuid::Uuid::parse_str(text).is_ok() {
        return Ok(());
    }
    Err(invalid("request_id", "must be a UUID"))
}
