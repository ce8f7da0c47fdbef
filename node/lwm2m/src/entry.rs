//! What every content format carries: a flat list of values by path.

use crate::path::Path;
use crate::value::Value;

/// One value, where it belongs and when it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// A resource (level 3) or, for a multiple resource, a resource instance (level 4).
    pub path: Path,
    /// Unix time in seconds, resolved; `None` where the payload names no time.
    pub time: Option<f64>,
    /// The value.
    pub value: Value,
}

impl Entry {
    /// A value without a time of its own.
    pub const fn new(path: Path, value: Value) -> Entry {
        Entry { path, time: None, value }
    }

    /// A value measured at `time` (Unix seconds).
    pub const fn at(path: Path, time: f64, value: Value) -> Entry {
        Entry { path, time: Some(time), value }
    }
}

/// A whole payload: the values, and what a flat list of values cannot say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Content {
    /// The values, in the order of the payload.
    pub entries: Vec<Entry>,
    /// Object instances without resources and multiple resources without instances. A payload that
    /// holds nothing means the path of the request, if that is such a node; other paths only TLV and
    /// LwM2M CBOR can carry.
    pub empty: Vec<Path>,
    /// Paths whose value is null: in a Write-Composite, to be removed; in an answer, without a value.
    /// SenML-ETCH and LwM2M CBOR only.
    pub nulls: Vec<Path>,
}

impl From<Vec<Entry>> for Content {
    fn from(entries: Vec<Entry>) -> Content {
        Content { entries, ..Content::default() }
    }
}
