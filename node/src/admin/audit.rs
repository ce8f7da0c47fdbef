//! One line for each call that changes something, under the tracing target `audit`.
//!
//! Fields: caller, role, method, resource, outcome. Resources are named, never shown: no value, no secret.

use std::sync::{Arc, OnceLock};

use tonic::{Code, Request};

use super::access::Caller;

/// What a call is about, told by its handler once it has read the request.
#[derive(Debug, Clone, Default)]
pub(super) struct Resource(Arc<OnceLock<String>>);

impl Resource {
    /// The name, or "" if the handler never came so far.
    pub(super) fn name(&self) -> &str {
        self.0.get().map_or("", String::as_str)
    }
}

/// Names what a call is about. Does nothing for a request that did not come through the access layer.
pub(super) fn about<T>(request: &Request<T>, name: impl Into<String>) {
    if let Some(resource) = request.extensions().get::<Resource>() {
        // Only the first name counts; a handler gives one.
        let _ = resource.0.set(name.into());
    }
}

/// Writes the line.
pub(super) fn line(caller: Option<&Caller>, method: &str, resource: &str, outcome: Code) {
    tracing::info!(
        target: "audit",
        caller = caller.map_or("nobody", |caller| &*caller.name),
        role = caller.map_or("none", |caller| caller.role.name()),
        method,
        resource,
        outcome = code_name(outcome),
    );
}

/// A code as gRPC's documents write it.
pub(super) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
