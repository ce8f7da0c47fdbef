//! What goes wrong, and the exit code that tells it.

use std::{io, path::PathBuf};

use serde_json::{Value, json};
use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{admin::error, exit::Exit, profile::ImportError};

/// Why a command did not do what was asked.
#[derive(Debug, Error)]
pub(super) enum CtlError {
    /// The command line says something that can't be.
    #[error("{0}")]
    Usage(String),
    /// A file can't be read or written.
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    /// A file holds something else.
    #[error("{}: {fault}", path.display())]
    Content { path: PathBuf, fault: String },
    /// A file is no profile.
    #[error("{}: {error}", path.display())]
    Profile { path: PathBuf, error: ImportError },
    /// No connection to the node.
    #[error("the node at {address} can't be reached: {cause}")]
    Unreachable { address: String, cause: String },
    /// The node's answer.
    #[error("{}", said(.0))]
    Status(Box<Status>),
    /// Some of many failed; each was told where it happened.
    #[error("{failed} of {total} failed")]
    Some { failed: usize, total: usize },
    /// Nobody reads our output any more, or it can't be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Status> for CtlError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl CtlError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Status(status) => match reason(status).as_deref() {
                Some("DEVICE_ERROR") => Exit::DeviceError,
                // Not the node's word, so it is the connection that broke.
                None if status.code() == Code::Unavailable => Exit::Unreachable,
                _ => Exit::Failed,
            },
            Self::File { .. }
            | Self::Content { .. }
            | Self::Profile { .. }
            | Self::Some { .. }
            | Self::Io(_) => Exit::Failed,
        }
    }

    /// Whether the node has stopped or the connection broke: a watch goes on later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status(status) => status.code() == Code::Unavailable,
            _ => false,
        }
    }

    /// The error for scripts.
    pub(super) fn json(&self) -> Value {
        let Self::Status(status) = self else {
            return json!({ "error": { "message": self.to_string() } });
        };
        let details = status.get_error_details();
        let info = details.error_info();
        let violations = details.bad_request().map(|bad| {
            let field = |field: &tonic_types::FieldViolation| {
                json!({ "field": field.field, "description": field.description })
            };
            bad.field_violations.iter().map(field).collect::<Vec<_>>()
        });
        let retry = details.retry_info().and_then(|retry| retry.retry_delay);
        json!({ "error": {
            "code": format!("{:?}", status.code()),
            "message": status.message(),
            "reason": info.map(|info| info.reason.clone()),
            "metadata": info.map(|info| info.metadata.clone()),
            "fieldViolations": violations,
            "retryAfterMs": retry.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        } })
    }
}

/// The node's message, with the flags that set the fields which it names.
fn said(status: &Status) -> String {
    let flags: &[_] = match reason(status).as_deref() {
        Some("NOT_REGISTERED") => &[(error::LET_WAIT, "--queue")],
        Some("UNAUTHENTICATED") => &[(error::NO_TOKEN, "give a token by --token-file or GODWIT_TOKEN")],
        _ => &[],
    };
    flags.iter().fold(status.message().to_owned(), |text, (field, flag)| text.replace(field, flag))
}

/// `ErrorInfo.reason` of the node's errors.
pub(super) fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}
