//! Scripts that Redis runs.
//!
//! They are called by their hash (EVALSHA) and given to a server that does not know it. Functions (FUNCTION LOAD) would be
//! kept by name: during a rolling update two versions of a node would then overwrite each other's, and each master of a Redis
//! Cluster would have to be given them; a hash is the script.

/// A script.
pub struct Script(redis::Script, String);

impl Script {
    /// A script of these parts, one behind the other.
    #[must_use]
    pub fn new(parts: &[&str]) -> Self {
        let source = parts.concat();
        Self(redis::Script::new(&source), source)
    }

    pub(super) fn hash(&self) -> &[u8] {
        self.0.get_hash().as_bytes()
    }

    pub(super) fn source(&self) -> &[u8] {
        self.1.as_bytes()
    }
}
