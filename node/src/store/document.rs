//! What operators provision.

/// Which state of a document a change expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Any, or none.
    Any,
    /// There is none yet.
    Absent,
    /// This revision.
    Revision(u64),
}

/// A kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// What is done with a device after it has registered.
    Profile,
    /// A definition of an object.
    Model,
}

/// Names a document. Lists are in the order of these fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocumentKey {
    /// A profile, by its name.
    Profile(String),
    /// An object's definition.
    Model {
        /// The profile that alone sees it; empty: all do.
        profile: String,
        /// The object's id.
        object: u16,
        /// "1.0", "1.1", …
        version: String,
    },
}
