//! Why an operation cannot be sent, or its answer cannot be used.

use godwit_coap::Code;

use super::ArgumentsError;
use crate::attributes::AttributeError;
use crate::format::{ContentFormat, DecodeError, EncodeError};
use crate::link::LinkError;
use crate::path::Path;

/// An operation that no client could carry out: our caller's fault. Where a path is at fault, it is named.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OperationError {
    /// The operation does not exist for paths of this level.
    #[error("{operation} does not go to {path}: a path of {levels} is needed")]
    Level {
        /// The operation.
        operation: &'static str,
        /// The path.
        path: Path,
        /// Which levels it goes to, in words.
        levels: &'static str,
    },
    /// The id 65535 stands for nothing.
    #[error("{path} has the reserved id 65535")]
    ReservedId {
        /// The path.
        path: Path,
    },
    /// The object model does not allow it.
    #[error("{path} ({name}) is not {permission} by a server")]
    Forbidden {
        /// The path.
        path: Path,
        /// Name of the resource.
        name: String,
        /// What it is not.
        permission: Permission,
    },
    /// A resource instance of a resource that has none.
    #[error("{path} ({name}) has a single value and no instances")]
    Single {
        /// The path.
        path: Path,
        /// Name of the resource.
        name: String,
    },
    /// An attribute that makes no sense for the resource's type.
    #[error("{attribute} makes no sense for {path}: its values are not {needed}")]
    AttributeType {
        /// The attribute.
        attribute: &'static str,
        /// The path.
        path: Path,
        /// What they would have to be.
        needed: &'static str,
    },
    /// No path or no value, where at least one is needed.
    #[error("{0} needs at least one path or value")]
    Empty(&'static str),
    /// Values of a Create that lie in another object or instance than the one to be made.
    #[error("{path} is not in the new instance")]
    Elsewhere {
        /// The path.
        path: Path,
    },
    /// Discover goes at most three levels deep.
    #[error("depth {0} is more than 3")]
    Depth(u8),
    /// The format cannot carry this kind of operation.
    #[error("{format:?} cannot be used for {operation}")]
    Format {
        /// The operation.
        operation: &'static str,
        /// The format.
        format: ContentFormat,
    },
    /// Attributes that contradict each other or cannot be set there.
    #[error(transparent)]
    Attributes(#[from] AttributeError),
    /// Arguments of Execute.
    #[error(transparent)]
    Arguments(#[from] ArgumentsError),
    /// The values cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// What a model allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Permission {
    /// R
    #[error("readable")]
    Read,
    /// W
    #[error("writable")]
    Write,
    /// E
    #[error("executable")]
    Execute,
}

/// An answer that cannot be used: the client's fault.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ResponseError {
    /// A success code that does not belong to the operation.
    #[error("{code} does not answer {operation}")]
    UnexpectedCode {
        /// The operation.
        operation: &'static str,
        /// The code.
        code: Code,
    },
    /// A content format that is not ours, or that the operation has no use for.
    #[error("answer in content format {0}")]
    ContentFormat(u16),
    /// The values cannot be read.
    #[error("answer cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// The links cannot be read.
    #[error("answer cannot be read: {0}")]
    Links(#[from] LinkError),
    /// The Location-Path of a Create is not that of an instance of the object.
    #[error("answer has the location /{0}")]
    Location(String),
}
