//! What an admin call can fail with, by whose fault it is, and how that looks on the wire.

use std::{collections::HashMap, time::Duration};

use godwit_proto::v1::{Operation, operation};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    endpoint::handle::SubmitError,
    store::{Pointer, StoreError},
};

/// `ErrorInfo.domain` of every error.
pub const DOMAIN: &str = "godwit";

/// The field that lets a command wait, in messages; `godwit ctl` names its flag instead.
pub(crate) const LET_WAIT: &str = "`delivery.queue`";
/// What a caller without a token is told; `godwit ctl` names its flags instead.
pub(crate) const NO_TOKEN: &str = "give a token: \"authorization: Bearer …\" in the metadata";

/// How long callers are told to wait before they try again.
const RETRY: Duration = Duration::from_secs(1);

/// Why an admin call failed.
#[derive(Debug, Clone, PartialEq)]
pub enum AdminError {
    /// The caller's: a field of the request, with what would be right.
    Invalid {
        /// The field's path in the request, "device.credential.psk.hex".
        field: String,
        /// What is wrong and what would be right.
        fix: String,
    },
    /// The caller's: no valid token or certificate.
    Unauthenticated(&'static str),
    /// The caller's: its role does not reach.
    Denied {
        /// Who calls.
        caller: String,
        /// What the method takes, or that nobody may call it.
        needs: &'static str,
    },
    /// The caller's: nothing of this name.
    NotFound {
        /// What kind of thing; also makes the reason.
        what: Kind,
        /// As the caller named it.
        name: String,
    },
    /// The caller's: the name or something that must be unique is taken.
    Exists {
        /// What kind of thing.
        what: Kind,
        /// Its name.
        name: String,
    },
    /// The caller's: changed since it was read.
    EtagMismatch {
        /// The thing's name.
        name: String,
        /// The revision now; 0: it is gone.
        found: u64,
    },
    /// The caller's: not in the state that the call needs. The reason is a constant such as `BUILT_IN`.
    Precondition {
        /// `ErrorInfo.reason`.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// The device's: an operation that has ended other than well.
    Operation(Box<Operation>),
    /// The device's: it is not registered.
    NotRegistered {
        /// Its endpoint name.
        endpoint: String,
    },
    /// Nobody's: the call's time was over before the operation had ended.
    Pending {
        /// The operation's name.
        operation: String,
    },
    /// The node's: a bound is reached.
    QueueFull(String),
    /// The node's: too much at once.
    Overloaded,
    /// The node's: it stops.
    Stopping,
    /// The node's: the store did not answer.
    StoreUnavailable(String),
    /// The node's: something stored can't be read.
    Damaged(String),
}

/// Things that have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A device.
    Device,
    /// A PSK identity.
    Identity,
    /// A raw public key.
    PublicKey,
    /// A certificate.
    Certificate,
    /// A certificate's common name.
    CommonName,
    /// A profile.
    Profile,
    /// An object model.
    Model,
    /// A registration.
    Registration,
    /// An operation.
    Operation,
}

impl Kind {
    const fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Device => ("device", "NO_SUCH_DEVICE", "DEVICE_EXISTS"),
            Self::Identity => ("PSK identity", "NO_SUCH_IDENTITY", "IDENTITY_TAKEN"),
            Self::PublicKey => ("public key", "NO_SUCH_KEY", "KEY_TAKEN"),
            Self::Certificate => ("certificate", "NO_SUCH_CERTIFICATE", "CERTIFICATE_TAKEN"),
            Self::CommonName => ("common name", "NO_SUCH_NAME", "NAME_TAKEN"),
            Self::Profile => ("profile", "NO_SUCH_PROFILE", "PROFILE_EXISTS"),
            Self::Model => ("object model", "NO_SUCH_MODEL", "MODEL_EXISTS"),
            Self::Registration => ("registration", "NOT_REGISTERED", "REGISTRATION_EXISTS"),
            Self::Operation => ("operation", "NO_SUCH_OPERATION", "OPERATION_EXISTS"),
        }
    }
}

/// A bad field, with what would be right.
pub(super) fn invalid(field: impl Into<String>, fix: impl Into<String>) -> AdminError {
    AdminError::Invalid { field: field.into(), fix: fix.into() }
}

/// The gRPC code that stands for a CoAP response code (class × 32 + detail) of a device.
///
/// 4.01 and 4.03 are `PERMISSION_DENIED`: the device refuses the node, the caller's token is fine.
pub fn grpc_code(coap: u32) -> Code {
    const fn code(class: u32, detail: u32) -> u32 {
        class * 32 + detail
    }
    const TABLE: [(u32, Code); 18] = [
        (code(4, 0), Code::InvalidArgument),
        (code(4, 1), Code::PermissionDenied),
        (code(4, 2), Code::InvalidArgument),
        (code(4, 3), Code::PermissionDenied),
        (code(4, 4), Code::NotFound),
        (code(4, 5), Code::FailedPrecondition),
        (code(4, 6), Code::FailedPrecondition),
        (code(4, 8), Code::Aborted),
        (code(4, 9), Code::Aborted),
        (code(4, 12), Code::FailedPrecondition),
        (code(4, 13), Code::OutOfRange),
        (code(4, 15), Code::InvalidArgument),
        (code(4, 22), Code::InvalidArgument),
        (code(4, 29), Code::ResourceExhausted),
        (code(5, 0), Code::Internal),
        (code(5, 1), Code::Unimplemented),
        (code(5, 3), Code::Unavailable),
        (code(5, 4), Code::DeadlineExceeded),
    ];
    match TABLE.iter().find(|(known, _)| *known == coap) {
        Some((_, code)) => *code,
        None if coap / 32 == 4 => Code::FailedPrecondition,
        None => Code::Unknown,
    }
}

/// The parts of a status before it is put together.
struct Shape {
    code: Code,
    reason: &'static str,
    message: String,
    metadata: HashMap<String, String>,
    retry: bool,
    field: Option<String>,
}

impl Shape {
    fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), metadata: HashMap::new(), retry: false, field: None }
    }

    fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    fn retry(mut self) -> Self {
        self.retry = true;
        self
    }
}

impl AdminError {
    /// The google.rpc code, `ErrorInfo.reason`, the message and the field at fault: what a batch tells of each
    /// of its items.
    pub(super) fn parts(&self) -> (Code, &'static str, String, Option<String>) {
        let shape = self.shape();
        (shape.code, shape.reason, shape.message, shape.field)
    }

    fn shape(&self) -> Shape {
        match self {
            Self::Invalid { field, fix } => {
                Shape::new(Code::InvalidArgument, "INVALID_FIELD", format!("{field}: {fix}")).at(field)
            }
            Self::Unauthenticated(why) => Shape::new(Code::Unauthenticated, "UNAUTHENTICATED", *why),
            Self::Denied { caller, needs } => {
                Shape::new(Code::PermissionDenied, "ROLE", format!("{caller} may not do this: {needs}"))
            }
            Self::NotFound { what, name } => {
                let (kind, reason, _) = what.names();
                Shape::new(Code::NotFound, reason, format!("no {kind} {name:?}")).with("name", name)
            }
            Self::Exists { what, name } => {
                let (kind, _, reason) = what.names();
                Shape::new(Code::AlreadyExists, reason, format!("the {kind} {name:?} exists"))
                    .with("name", name)
            }
            Self::EtagMismatch { name, found } => {
                let message = format!("{name:?} was changed meanwhile: read it again");
                Shape::new(Code::Aborted, "ETAG_MISMATCH", message).with("etag", found.to_string())
            }
            Self::Precondition { reason, message } => {
                Shape::new(Code::FailedPrecondition, reason, message.clone())
            }
            Self::Operation(operation) => ended(operation),
            Self::NotRegistered { endpoint } => {
                let message = format!("{endpoint:?} is not registered; {LET_WAIT} would let it wait");
                Shape::new(Code::FailedPrecondition, "NOT_REGISTERED", message)
            }
            Self::Pending { operation } => {
                let message = format!("the time is over, the device may still answer {operation}");
                Shape::new(Code::DeadlineExceeded, "OPERATION_PENDING", message).with("operation", operation)
            }
            Self::QueueFull(message) => {
                Shape::new(Code::ResourceExhausted, "QUEUE_FULL", message.clone()).retry()
            }
            Self::Overloaded => Shape::new(Code::Unavailable, "OVERLOADED", "too much at once").retry(),
            Self::Stopping => Shape::new(Code::Unavailable, "STOPPING", "the node is stopping").retry(),
            Self::StoreUnavailable(message) => {
                Shape::new(Code::Unavailable, "STORE_UNAVAILABLE", message.clone()).retry()
            }
            Self::Damaged(message) => Shape::new(Code::DataLoss, "UNREADABLE", message.clone()),
        }
    }
}

fn ended(operation: &Operation) -> Shape {
    use operation::Reason;

    let detail = |otherwise: &str| {
        if operation.detail.is_empty() { otherwise.to_owned() } else { operation.detail.clone() }
    };
    let shape = match operation.reason() {
        Reason::DeviceError | Reason::Unspecified => {
            let result = operation.result.clone().unwrap_or_default();
            let mut message = format!("the device answered {}", result.code_text);
            if !result.diagnostic.is_empty() {
                message = format!("{message}: {}", result.diagnostic);
            }
            return Shape::new(grpc_code(result.code), "DEVICE_ERROR", message)
                .with("coap_code", result.code_text)
                .with("diagnostic", result.diagnostic)
                .with("operation", &operation.name);
        }
        Reason::Timeout => {
            Shape::new(Code::DeadlineExceeded, "DEVICE_TIMEOUT", detail("the device did not answer"))
        }
        Reason::Reset => {
            Shape::new(Code::Unavailable, "DEVICE_RESET", detail("the device answered with RST"))
        }
        Reason::UnreadableResponse => {
            Shape::new(Code::DataLoss, "UNREADABLE_RESPONSE", detail("the device's answer can't be read"))
        }
        Reason::InvalidCommand => {
            Shape::new(Code::InvalidArgument, "INVALID_COMMAND", detail("not a command")).at("command")
        }
        Reason::NotRegistered => {
            Shape::new(Code::FailedPrecondition, "NOT_REGISTERED", detail("the device is not registered"))
        }
        Reason::Ttl => Shape::new(Code::DeadlineExceeded, "TTL_EXPIRED", detail("it waited too long")),
        Reason::OutcomeUnknown => {
            Shape::new(Code::Unknown, "OUTCOME_UNKNOWN", detail("it may or may not have been executed"))
        }
        Reason::Cancelled => Shape::new(Code::Cancelled, "CANCELLED", detail("it was cancelled")),
        Reason::QueueFull => {
            Shape::new(Code::ResourceExhausted, "QUEUE_FULL", detail("the device's queue is full")).retry()
        }
    };
    shape.with("operation", &operation.name)
}

impl From<AdminError> for Status {
    fn from(error: AdminError) -> Self {
        let shape = error.shape();
        let mut details = ErrorDetails::with_error_info(shape.reason, DOMAIN, shape.metadata);
        if shape.retry {
            details.set_retry_info(Some(RETRY));
        }
        if let Some(field) = shape.field {
            details.add_bad_request_violation(field, shape.message.clone());
        }
        Status::with_error_details(shape.code, shape.message, details)
    }
}

impl From<StoreError> for AdminError {
    /// What no caller expected to be answered; a conflict or a taken name is mapped where its name is known.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overloaded => Self::Overloaded,
            StoreError::BadPageToken => invalid("page_token", "not one of this list: begin again without"),
            StoreError::Invalid { what } => invalid(what, "can't be stored"),
            StoreError::Unreadable { .. } => Self::Damaged(error.to_string()),
            StoreError::NoSuchDevice => Self::NotFound { what: Kind::Device, name: String::new() },
            StoreError::Taken { pointer, device } => {
                let what = match pointer {
                    Pointer::PublicKey(_) => Kind::PublicKey,
                    Pointer::Certificate(_) => Kind::Certificate,
                    Pointer::CommonName(_) => Kind::CommonName,
                    _ => Kind::Identity,
                };
                Self::Exists { what, name: format!("of devices/{device}") }
            }
            StoreError::Conflict { found } => Self::EtagMismatch { name: String::new(), found },
            StoreError::Refused(_) | StoreError::LanesLost | StoreError::Unavailable(_) => {
                Self::StoreUnavailable(error.to_string())
            }
        }
    }
}

impl AdminError {
    /// Maps what an endpoint did not take. `name` is the operation's or the device's.
    pub(super) fn from_submit(error: SubmitError, name: &str) -> Self {
        match error {
            SubmitError::NotRegistered => Self::NotRegistered { endpoint: name.to_owned() },
            SubmitError::Asleep => {
                Self::Precondition { reason: "ASLEEP", message: format!("{name}: {error}") }
            }
            SubmitError::QueueFull { .. } => Self::QueueFull(error.to_string()),
            SubmitError::InvalidCommand(text) => invalid("command", text),
            SubmitError::NoSuchOperation => Self::NotFound { what: Kind::Operation, name: name.to_owned() },
            SubmitError::NotCancellable => Self::Precondition {
                reason: "NOT_CANCELLABLE",
                message: format!("{name} was sent or has ended"),
            },
            SubmitError::Store(text) => Self::StoreUnavailable(text),
            // It moved faster than it could be followed; or handed in again, the operation is found.
            SubmitError::Overloaded | SubmitError::Elsewhere | SubmitError::Ended => Self::Overloaded,
        }
    }
}

#[cfg(test)]
mod tests {
    use godwit_proto::v1::CommandResult;

    use super::*;

    fn failed(reason: operation::Reason, code: u32, code_text: &str) -> AdminError {
        AdminError::Operation(Box::new(Operation {
            name: "devices/x/operations/y".into(),
            state: operation::State::Failed.into(),
            reason: reason.into(),
            result: (code != 0).then(|| CommandResult {
                code,
                code_text: code_text.into(),
                diagnostic: "not here".into(),
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    #[test]
    fn a_devices_error_keeps_its_coap_code() {
        let status = Status::from(failed(operation::Reason::DeviceError, 132, "4.04"));
        assert_eq!(status.code(), Code::NotFound);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("DEVICE_ERROR", "godwit"));
        assert_eq!(info.metadata["coap_code"], "4.04");
        assert_eq!(info.metadata["operation"], "devices/x/operations/y");
    }

    #[test]
    fn a_bad_field_is_named_with_its_fix() {
        let status = Status::from(invalid("device.endpoint", "must not be empty"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "device.endpoint");
        assert!(violations[0].description.contains("must not be empty"));
    }

    #[test]
    fn what_may_pass_carries_a_retry_delay() {
        for error in [
            AdminError::Overloaded,
            AdminError::Stopping,
            AdminError::QueueFull("full".into()),
            AdminError::StoreUnavailable("away".into()),
        ] {
            let status = Status::from(error);
            assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(RETRY), "{status}");
        }
    }

    #[test]
    fn every_way_to_end_badly_has_a_reason_of_its_own() {
        use operation::Reason::*;
        let all = [
            DeviceError,
            Timeout,
            Reset,
            UnreadableResponse,
            InvalidCommand,
            NotRegistered,
            Ttl,
            OutcomeUnknown,
            Cancelled,
            QueueFull,
        ];
        let reasons: std::collections::HashSet<_> = all.map(|r| failed(r, 0, "").parts().1).into();
        assert_eq!(reasons.len(), all.len());
    }

    #[test]
    fn an_unknown_client_error_is_still_the_callers() {
        assert_eq!(grpc_code(4 * 32 + 30), Code::FailedPrecondition);
        assert_eq!(grpc_code(5 * 32 + 31), Code::Unknown);
    }
}
