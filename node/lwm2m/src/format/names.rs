//! Base names and names, as SenML (RFC 8428 §4.1) and LwM2M JSON join them.

use std::borrow::Cow;

use super::collect::RELATIVE_BELOW;
use super::{Body, ContentFormat, DecodeError, EncodeError, Reason};
use crate::entry::Entry;
use crate::path::{Path, PathError};

/// The longest path has 24 characters.
const LONGEST: usize = 64;

/// Joins base name and name to a path, without allocation where one of them is empty.
pub(super) struct Names<'a> {
    request: Path,
    base: Cow<'a, str>,
    joined: String,
}

impl<'a> Names<'a> {
    pub(super) fn new(request: Path) -> Names<'a> {
        Names { request, base: Cow::Borrowed(""), joined: String::new() }
    }

    pub(super) fn set_base(&mut self, base: Cow<'a, str>) {
        self.base = base;
    }

    /// Whether the base name is no path of its own.
    pub(super) fn base_is_prefix(&self) -> bool {
        self.base.ends_with('/')
    }

    /// Base name and name put together as they are: `/3/0` and `/9`, but not `/3/0` and `9`. If both
    /// are empty, the path of the request.
    pub(super) fn path(&mut self, name: Option<&str>) -> Result<Path, DecodeError> {
        match self.join(name) {
            "" => Ok(self.request),
            name => parse(name),
        }
    }

    pub(super) fn join<'s>(&'s mut self, name: Option<&'s str>) -> &'s str {
        match (&*self.base, name.unwrap_or_default()) {
            (name, "") | ("", name) => name,
            (base, name) => {
                self.joined.clear();
                self.joined.extend([cut(base), cut(name)]);
                &self.joined
            }
        }
    }

    /// A name that continues the path of the request.
    pub(super) fn below_request(&mut self, name: &str) -> Result<Path, DecodeError> {
        let separator = if self.request == Path::ROOT { "" } else { "/" };
        parse(&format!("{}{separator}{}", self.request, cut(name)))
    }
}

fn parse(name: &str) -> Result<Path, DecodeError> {
    name.parse().map_err(|reason: PathError| DecodeError::Name { name: cut(name).into(), reason })
}

/// Long enough to be seen as wrong.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(LONGEST)]
}

/// Base time and time, of which a missing one is 0; `None` if both are missing.
pub(super) fn add_times(base: Option<f64>, time: Option<f64>) -> Result<Option<f64>, Reason> {
    if base.is_none() && time.is_none() {
        return Ok(None);
    }
    let sum = base.unwrap_or_default() + time.unwrap_or_default();
    if sum.is_finite() { Ok(Some(sum)) } else { Err(Reason::Number) }
}

/// How a list of entries is named and timed when it is written.
pub(super) struct Shape {
    /// With a closing slash unless it is the whole path; `None` for whole paths as names.
    pub(super) base_name: Option<String>,
    /// The one time of all entries.
    pub(super) base_time: Option<f64>,
    base: Path,
}

impl Shape {
    pub(super) fn of(base: Path, body: &Body<'_>) -> Shape {
        let whole = body.paths().all(|path| *path == base);
        let base_name = match base {
            Path::ROOT => None,
            _ if whole => Some(base.to_string()),
            _ => Some(format!("{base}/")),
        };
        let first = body.entries.first().and_then(|entry| entry.time);
        let same = body.entries.iter().all(|entry| entry.time == first) && body.nulls.is_empty();
        Shape { base_name, base_time: first.filter(|_| same), base }
    }

    /// The name of an entry after the base name; `None` where the base name says it all.
    pub(super) fn name(&self, path: &Path) -> Option<String> {
        if *path == self.base {
            return None;
        }
        if self.base == Path::ROOT {
            return Some(path.to_string());
        }
        let ids = path.segments()[self.base.level()..].iter();
        Some(ids.map(u16::to_string).collect::<Vec<_>>().join("/"))
    }

    /// The time to write beside an entry.
    pub(super) fn time(&self, entry: &Entry) -> Option<f64> {
        if self.base_time.is_some() { None } else { entry.time }
    }
}

/// Times before July 1978 would be read as relative to now.
pub(super) fn check_times(format: ContentFormat, body: &Body<'_>) -> Result<(), EncodeError> {
    let bad = body.entries.iter().find(|e| e.time.is_some_and(|t| !t.is_finite() || t < RELATIVE_BELOW));
    bad.map_or(Ok(()), |entry| Err(EncodeError::Inexpressible { format, path: entry.path }))
}
