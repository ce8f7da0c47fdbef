//! Why a payload could not be read or written, with the place.

use super::ContentFormat;
use crate::path::{Path, PathError};
use crate::value::ValueType;

/// Why a payload was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes break the grammar of the format.
    #[error("byte {offset}: {reason}")]
    Malformed {
        /// Where, from the start of the payload.
        offset: usize,
        /// What is wrong there.
        reason: Reason,
    },
    /// A name is not a path.
    #[error("name {name:?} is not a path: {reason}")]
    Name {
        /// Base name and name, joined; cut at 64 bytes.
        name: Box<str>,
        /// What is wrong with it.
        reason: PathError,
    },
    /// A path that the request did not address.
    #[error("{path} is outside of {base}")]
    Outside {
        /// The path in the payload.
        path: Path,
        /// The path of the request.
        base: Path,
    },
    /// Two values for one path (at one time, where there are times).
    #[error("{path} comes twice")]
    Duplicate {
        /// The path.
        path: Path,
    },
    /// A value where there cannot be one: above resources, beside what lies below it, or nothing in a
    /// single resource.
    #[error("{path} cannot hold this")]
    Misplaced {
        /// The path.
        path: Path,
    },
    /// An id that is 65535, which LwM2M reserves below objects.
    #[error("{path} has the reserved id 65535")]
    Reserved {
        /// The path.
        path: Path,
    },
    /// The value does not fit the type of the object model.
    #[error("{path} is {expected}, not {found}")]
    Type {
        /// The path.
        path: Path,
        /// The type in the model.
        expected: ValueType,
        /// What came.
        found: Found,
    },
    /// Larger than we take.
    #[error("more than {max} {limit}")]
    Limit {
        /// Which bound.
        limit: Limit,
        /// Its value.
        max: usize,
    },
    /// The format cannot carry this: a composite in TLV, an object in text.
    #[error("{format:?} cannot carry this")]
    Unsupported {
        /// The format.
        format: ContentFormat,
    },
}

/// What breaks the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The payload ends too early.
    #[error("the payload ends too early")]
    Truncated,
    /// Bytes after the end.
    #[error("bytes after the end")]
    Trailing,
    /// Something else should stand here.
    #[error("unexpected element")]
    Unexpected,
    /// Text that is not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// Not a number, or one that no type of ours holds.
    #[error("bad number")]
    Number,
    /// Bad base64.
    #[error("bad base64")]
    Base64,
    /// A label twice in one record, or two values.
    #[error("label twice, or two values")]
    Repeated,
    /// A label that must be understood (ends in `_`, RFC 8428 §4.4) and is not.
    #[error("a label that must be understood is not")]
    MustUnderstand,
    /// A SenML version above 10.
    #[error("unknown version")]
    Version,
    /// A record without a value, or a value where paths are asked for.
    #[error("value missing or not wanted")]
    Value,
    /// A key that is no id.
    #[error("bad id")]
    Id,
    /// Nesting that the format does not have.
    #[error("bad nesting")]
    Nesting,
}

/// What a value looked like in the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Found {
    /// Text.
    #[error("text")]
    Text,
    /// A whole number outside of the type's range.
    #[error("a number out of range")]
    OutOfRange,
    /// A number with a fraction, or not finite.
    #[error("a number with a fraction")]
    Fraction,
    /// A number.
    #[error("a number")]
    Number,
    /// A boolean.
    #[error("a boolean")]
    Boolean,
    /// Bytes.
    #[error("bytes")]
    Bytes,
    /// An object link.
    #[error("an object link")]
    ObjectLink,
    /// This many bytes, where the type has a fixed size.
    #[error("{0} bytes")]
    Size(usize),
}

/// Which of the [`Limits`](super::Limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Payload bytes.
    #[error("bytes")]
    Bytes,
    /// Values, empty nodes, nulls and paths.
    #[error("entries")]
    Entries,
    /// Nesting.
    #[error("levels")]
    Depth,
}

/// Why values could not be written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// A path that is not at or below the path of the request.
    #[error("{path} is outside of {base}")]
    Outside {
        /// The path of the entry.
        path: Path,
        /// The path of the request.
        base: Path,
    },
    /// Two values for one path (at one time, where there are times).
    #[error("{path} comes twice")]
    Duplicate {
        /// The path.
        path: Path,
    },
    /// No value can be at this path: above resources, or a resource beside its own instances.
    #[error("{path} cannot hold a value")]
    Misplaced {
        /// The path.
        path: Path,
    },
    /// The value does not fit the type of the object model.
    #[error("{path} is {expected}, not {found}")]
    Type {
        /// The path.
        path: Path,
        /// The type in the model.
        expected: ValueType,
        /// The value's type or fault.
        found: Found,
    },
    /// The format has no way to write this: a NaN in JSON, a time in TLV, a null or an empty node.
    #[error("{format:?} cannot carry {path}")]
    Inexpressible {
        /// The format.
        format: ContentFormat,
        /// The path.
        path: Path,
    },
    /// The format cannot carry what is asked: several values in text, paths in TLV.
    #[error("{format:?} cannot carry this")]
    Unsupported {
        /// The format.
        format: ContentFormat,
    },
}

impl DecodeError {
    /// The path at fault, where one is known.
    pub fn path(&self) -> Option<Path> {
        match self {
            DecodeError::Outside { path, .. }
            | DecodeError::Duplicate { path }
            | DecodeError::Misplaced { path }
            | DecodeError::Reserved { path }
            | DecodeError::Type { path, .. } => Some(*path),
            _ => None,
        }
    }
}

impl EncodeError {
    /// The path at fault, where one is known.
    pub fn path(&self) -> Option<Path> {
        match self {
            EncodeError::Outside { path, .. }
            | EncodeError::Duplicate { path }
            | EncodeError::Misplaced { path }
            | EncodeError::Type { path, .. }
            | EncodeError::Inexpressible { path, .. } => Some(*path),
            EncodeError::Unsupported { .. } => None,
        }
    }
}
