//! What reading a profile from JSON may answer.

use std::fmt;

use godwit_proto::v1;

use super::Fault;

/// A profile that was read from JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The profile; valid.
    pub profile: v1::Profile,
    /// What is read otherwise than it may have been meant, or not at all.
    pub notes: Vec<Note>,
}

/// Why JSON is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {fault}")]
pub struct ImportError {
    /// Where, as "$.observeAttr.keyName[\"/3/0/9\"]".
    pub at: String,
    /// What is wrong there.
    pub fault: ImportFault,
}

/// What is wrong with JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportFault {
    /// No JSON.
    #[error("{0}")]
    Syntax(String),
    /// A value of another type.
    #[error("must be {expected}")]
    Type {
        /// What it must be.
        expected: &'static str,
    },
    /// A value that is not among those that are known.
    #[error("{found} is not one of {expected}")]
    Value {
        /// What stands there, as JSON.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// A member or path for the second time.
    #[error("comes twice")]
    Repeated,
    /// A member that a profile does not have.
    #[error("is unknown")]
    Unknown,
    /// A profile may not say so.
    #[error("{0}")]
    Field(Fault),
}

/// Something that the importer wants to be known, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where, as in [`ImportError::at`].
    pub at: String,
    /// What about it.
    pub about: About,
}

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A member that the importer does not know: left out.
    Unknown,
    /// A member that ThingsBoard knows and a profile has no use for: left out.
    Unused,
    /// A value for the second time in a list: counts once.
    Repeated,
    /// A path with a key that is neither attribute nor telemetry.
    NameOnly,
    /// A path that is observed and not mapped.
    NotMapped,
    /// `clientUpdateValueAfterConnect` beside something that decides alone.
    Overruled,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = match self.about {
            About::Unknown => "is not understood and left out",
            About::Unused => "has no counterpart in a profile and is left out",
            About::Repeated => "comes twice and counts once",
            About::NameOnly => {
                "is named but neither attribute nor telemetry: it is never read at start, and published as telemetry \
                 if it comes"
            }
            About::NotMapped => {
                "is observed but neither attribute nor telemetry: it is published as telemetry under its default key"
            }
            About::Overruled => "has no effect beside clientOnlyObserveAfterConnect",
        };
        write!(f, "{} {about}", self.at)
    }
}
