//! Gathers what a decoder reads, and refuses what no request can have asked for.

use smallvec::SmallVec;

use super::raw::Raw;
use super::{DecodeContext, DecodeError, Limit, Limits};
use crate::entry::{Content, Entry};
use crate::path::{Path, UNASSIGNED};
use crate::value::{Value, ValueType};

/// Times below 2^28 count from now (RFC 8428 §4.5.3).
pub(super) const RELATIVE_BELOW: f64 = 268_435_456.0;

pub(super) struct Collector<'a> {
    context: &'a DecodeContext<'a>,
    content: Content,
    /// Whether 65535 may stand for the instance that the client is to choose.
    allow_unassigned: bool,
}

impl<'a> Collector<'a> {
    /// `expected` is a hint from the payload and may be anything.
    pub(super) fn new(context: &'a DecodeContext<'a>, expected: usize) -> Collector<'a> {
        let expected = expected.min(context.limits.entries).min(256);
        let content = Content { entries: Vec::with_capacity(expected), ..Content::default() };
        Collector { context, content, allow_unassigned: false }
    }

    pub(super) fn allow_unassigned(mut self) -> Collector<'a> {
        self.allow_unassigned = true;
        self
    }

    pub(super) fn value_type(&self, path: &Path) -> Option<ValueType> {
        self.context.types.value_type(path)
    }

    /// `time` as the payload has it.
    pub(super) fn raw(&mut self, path: Path, time: Option<f64>, raw: Raw<'_>) -> Result<(), DecodeError> {
        self.admit_value(path)?;
        let value = raw.typed(path, self.value_type(&path))?;
        let now = self.context.now;
        let time = time.map(|t| if t < RELATIVE_BELOW { now + t } else { t });
        self.content.entries.push(Entry { path, time, value });
        Ok(())
    }

    pub(super) fn value(&mut self, path: Path, value: Value) -> Result<(), DecodeError> {
        self.admit_value(path)?;
        self.content.entries.push(Entry { path, time: None, value });
        Ok(())
    }

    pub(super) fn null(&mut self, path: Path) -> Result<(), DecodeError> {
        self.admit_value(path)?;
        self.content.nulls.push(path);
        Ok(())
    }

    /// An instance without resources or a resource without instances.
    pub(super) fn empty(&mut self, path: Path) -> Result<(), DecodeError> {
        self.admit(path)?;
        let single = path.level() == 3 && self.context.types.is_multiple(&path) == Some(false);
        if single || !matches!(path.level(), 2 | 3) {
            return Err(DecodeError::Misplaced { path });
        }
        self.content.empty.push(path);
        Ok(())
    }

    /// An empty list means that the request's own path is empty, where it is an instance or a
    /// multiple resource; of an object or of everything it means that there are no instances.
    pub(super) fn finish(mut self) -> Result<Content, DecodeError> {
        let Content { entries, empty, nulls } = &self.content;
        if entries.is_empty() && empty.is_empty() && nulls.is_empty() {
            if self.context.base.level() > 1 {
                self.empty(self.context.base)?;
            }
            return Ok(self.content);
        }
        match conflict(entries, empty, nulls) {
            None => Ok(self.content),
            Some(Conflict::Twice(path)) => Err(DecodeError::Duplicate { path }),
            Some(Conflict::Above(path)) => Err(DecodeError::Misplaced { path }),
        }
    }

    fn admit_value(&self, path: Path) -> Result<(), DecodeError> {
        self.admit(path)?;
        if path.is_value() { Ok(()) } else { Err(DecodeError::Misplaced { path }) }
    }

    fn admit(&self, path: Path) -> Result<(), DecodeError> {
        let Content { entries, empty, nulls } = &self.content;
        check_entries(entries.len() + empty.len() + nulls.len(), self.context.limits)?;
        if !path.starts_with(&self.context.base) {
            return Err(DecodeError::Outside { path, base: self.context.base });
        }
        let ids = path.segments().iter().skip(if self.allow_unassigned { 2 } else { 1 });
        if ids.copied().any(|id| id == UNASSIGNED) {
            return Err(DecodeError::Reserved { path });
        }
        Ok(())
    }
}

/// Refuses one more entry than the limit.
pub(super) fn check_entries(have: usize, limits: &Limits) -> Result<(), DecodeError> {
    if have < limits.entries {
        return Ok(());
    }
    Err(DecodeError::Limit { limit: Limit::Entries, max: limits.entries })
}

/// Two things that cannot both be.
#[derive(Debug, PartialEq)]
pub(super) enum Conflict {
    /// The same path at the same time.
    Twice(Path),
    /// A value, a null or an empty node at a path that has something below it.
    Above(Path),
}

/// Looks for two things at one path and time, or one above another. Sorts, so n log n; without
/// allocation up to 16.
pub(super) fn conflict(entries: &[Entry], empty: &[Path], nulls: &[Path]) -> Option<Conflict> {
    if entries.len() + empty.len() + nulls.len() < 2 {
        return None;
    }
    // Resolved times are finite, so the bits of a NaN are free to stand for no time.
    let timed = entries.iter().map(|e| (e.time.map_or(u64::MAX, f64::to_bits), e.path));
    let plain = empty.iter().chain(nulls).map(|path| (u64::MAX, *path));
    let mut keys: SmallVec<[(u64, Path); 16]> = timed.chain(plain).collect();
    keys.sort_unstable();
    keys.windows(2).find_map(|pair| {
        let [(time, above), (next, below)] = pair else { return None };
        match time == next && below.starts_with(above) {
            true if above == below => Some(Conflict::Twice(*below)),
            true => Some(Conflict::Above(*above)),
            false => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_come_again_at_another_time_only() {
        let path = Path::resource(3, 0, 9);
        let at = |time| Entry { path, time, value: Value::Integer(1) };
        assert_eq!(conflict(&[at(Some(1.0)), at(Some(2.0)), at(None)], &[], &[]), None);
        let twice = [at(Some(1.0)), at(None), at(Some(1.0))];
        assert_eq!(conflict(&twice, &[], &[]), Some(Conflict::Twice(path)));
        assert_eq!(conflict(&[at(None)], &[], &[path]), Some(Conflict::Twice(path)));
    }

    #[test]
    fn a_resource_has_a_value_or_instances() {
        let entry = |path| Entry::new(path, Value::Integer(1));
        let (above, below) = (Path::resource(3, 0, 6), Path::resource_instance(3, 0, 6, 1));
        let entries = [entry(below), entry(Path::resource(3, 0, 9)), entry(above)];
        assert_eq!(conflict(&entries, &[], &[]), Some(Conflict::Above(above)));
        let instance = Path::instance(3, 0);
        assert_eq!(conflict(&[entry(above)], &[instance], &[]), Some(Conflict::Above(instance)));
    }
}
