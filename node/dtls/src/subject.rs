//! What the caller wants kept beside a session: who it is.

use std::fmt;

/// Whom a credential named: at most [`Subject::MAX`] bytes that this crate stores with the session and never reads.
///
/// A node puts the device id, the mode and the credential's version there.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Subject(Box<[u8]>);

/// A subject of more than [`Subject::MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a subject has at most {max} bytes, not {0}", max = Subject::MAX)]
pub struct SubjectTooLong(pub usize);

impl Subject {
    /// Most bytes of a subject.
    pub const MAX: usize = 64;

    /// Copies `bytes`.
    ///
    /// # Errors
    /// [`SubjectTooLong`] above [`Subject::MAX`] bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, SubjectTooLong> {
        if bytes.len() > Self::MAX {
            return Err(SubjectTooLong(bytes.len()));
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes as they were given.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Subject {
    /// Tells the length only: the bytes may name a device.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({} bytes)", self.0.len())
    }
}
