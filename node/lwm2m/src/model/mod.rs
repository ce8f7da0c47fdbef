//! Object models: what an object, its resources and their values are.
//!
//! ```text
//!   objects.txt ─ builtin ─┐
//!   DDF XML ───── ddf ─────┴─▶ ModelRegistry (layers, versions side by side)
//!                                   │  what a client registered: (object, version) …
//!                                   ▼
//!                              ModelSet, shared by all devices that registered the same
//! ```

mod builtin;
mod ddf;
mod key;
mod range;
mod registry;
mod set;
mod version;

use std::borrow::Cow;

pub use builtin::{TableError, builtin, parse_table};
pub use ddf::{Ddf, DdfError, DdfFault, MAX_DOCUMENT, load_ddf};
pub use key::default_key;
pub use range::Range;
pub use registry::ModelRegistry;
pub use set::{ModelSet, ModelSets};
pub use version::{BadVersion, LwM2mVersion, ObjectVersion};

use crate::value::ValueType;

/// Definition of an object in one version.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectModel {
    /// Object id.
    pub id: u16,
    /// Version of this definition.
    pub version: ObjectVersion,
    /// Name, trimmed, with single blanks.
    pub name: Cow<'static, str>,
    /// Whether there may be several instances.
    pub multiple: bool,
    /// Whether every client has it.
    pub mandatory: bool,
    /// Sorted by id, ids unique.
    pub resources: Box<[ResourceModel]>,
}

impl ObjectModel {
    /// The resource with this id.
    pub fn resource(&self, id: u16) -> Option<&ResourceModel> {
        self.resources.binary_search_by_key(&id, |r| r.id).ok().map(|at| &self.resources[at])
    }
}

/// Definition of a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceModel {
    /// Resource id.
    pub id: u16,
    /// Name, trimmed, with single blanks.
    pub name: Cow<'static, str>,
    /// What a server may do; nothing for what only a bootstrap server may touch.
    pub operations: Operations,
    /// Whether it has resource instances.
    pub multiple: bool,
    /// Whether every instance of the object has it.
    pub mandatory: bool,
    /// `None` where there is no value (executable ones) or the definition names no type.
    pub value_type: Option<ValueType>,
    /// What values are meant to be in.
    pub range: Option<Range>,
    /// Unit, as SenML names it; empty for none.
    pub unit: Cow<'static, str>,
}

/// What a server may do with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Operations {
    /// R
    pub read: bool,
    /// W
    pub write: bool,
    /// E
    pub execute: bool,
}

impl Operations {
    /// Reads the letters of a definition, in any order; `None` for any other letter or a repeated one.
    pub fn parse(letters: &str) -> Option<Self> {
        let mut all = Self::default();
        for letter in letters.chars() {
            let one = match letter {
                'R' => &mut all.read,
                'W' => &mut all.write,
                'E' => &mut all.execute,
                _ => return None,
            };
            if std::mem::replace(one, true) {
                return None;
            }
        }
        Some(all)
    }

    /// `""`, `"R"`, `"W"`, `"RW"`, `"E"` and the rarer mixtures.
    pub const fn letters(self) -> &'static str {
        match (self.read, self.write, self.execute) {
            (false, false, false) => "",
            (true, false, false) => "R",
            (false, true, false) => "W",
            (true, true, false) => "RW",
            (false, false, true) => "E",
            (true, false, true) => "RE",
            (false, true, true) => "WE",
            (true, true, true) => "RWE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_read_back_as_written() {
        for letters in ["", "R", "W", "RW", "E", "RWE"] {
            assert_eq!(Operations::parse(letters).unwrap().letters(), letters);
        }
        assert_eq!(Operations::parse("WR"), Operations::parse("RW"));
        assert_eq!(Operations::parse("RR"), None);
        assert_eq!(Operations::parse("rw"), None);
    }
}
