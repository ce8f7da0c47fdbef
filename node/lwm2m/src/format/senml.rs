//! SenML (RFC 8428) and SenML-ETCH (RFC 8790): what their JSON and CBOR forms have in common.

use std::borrow::Cow;

use super::collect::{Collector, check_entries};
use super::names::{Names, add_times};
use super::raw::Raw;
use super::{DecodeContext, DecodeError, Limits, Reason};
use crate::entry::Content;
use crate::path::Path;

/// The highest version we know (RFC 8428 §4.4).
const VERSION: f64 = 10.0;

/// One record as it stands in the payload.
#[derive(Default)]
pub(super) struct Record<'a> {
    pub(super) base_name: Option<Cow<'a, str>>,
    pub(super) base_time: Option<f64>,
    pub(super) base_value: Option<Raw<'a>>,
    pub(super) base_version: Option<f64>,
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) time: Option<f64>,
    pub(super) value: Option<Field<'a>>,
}

/// The value of a record.
pub(super) enum Field<'a> {
    Value(Raw<'a>),
    Null,
}

/// A record with its bases added.
struct Resolved<'a> {
    name: Option<Cow<'a, str>>,
    time: Option<f64>,
    value: Field<'a>,
}

/// Calls back with each record and the place where it begins.
pub(super) type ReadRecords = for<'p> fn(
    &'p [u8],
    &Limits,
    &mut dyn FnMut(Record<'p>, usize) -> Result<(), DecodeError>,
) -> Result<(), DecodeError>;

/// Reads values; nulls too if it is SenML-ETCH.
pub(super) fn decode(
    context: &DecodeContext<'_>,
    payload: &[u8],
    read: ReadRecords,
    etch: bool,
) -> Result<Content, DecodeError> {
    let mut collector = Collector::new(context, 1);
    let mut pack = Pack::new(context.base, etch);
    read(payload, context.limits, &mut |record, offset| {
        let Some(Resolved { name, time, value }) = pack.resolve(record, offset)? else { return Ok(()) };
        let path = pack.names.path(name.as_deref())?;
        match value {
            Field::Value(raw) => collector.raw(path, time, raw),
            Field::Null => collector.null(path),
        }
    })?;
    collector.finish()
}

/// Reads the paths that a composite operation asks for.
pub(super) fn decode_paths(
    payload: &[u8],
    limits: &Limits,
    read: ReadRecords,
) -> Result<Vec<Path>, DecodeError> {
    let mut paths = Vec::new();
    let mut pack = Pack::new(Path::ROOT, false);
    read(payload, limits, &mut |record, offset| {
        check_entries(paths.len(), limits)?;
        paths.extend(pack.asked(record, offset)?);
        Ok(())
    })?;
    Ok(paths)
}

/// The base fields, each of which lasts until the next of its kind.
struct Pack<'a> {
    names: Names<'a>,
    base_time: Option<f64>,
    base_value: Option<Raw<'a>>,
    /// Whether null is a value (SenML-ETCH).
    etch: bool,
}

impl<'a> Pack<'a> {
    fn new(request: Path, etch: bool) -> Pack<'a> {
        Pack { names: Names::new(request), base_time: None, base_value: None, etch }
    }

    /// A record that has a value: its name after the base name, its time as written and its field.
    /// One that only sets bases is none; one with a name has to have a value.
    fn resolve(&mut self, record: Record<'a>, offset: usize) -> Result<Option<Resolved<'a>>, DecodeError> {
        let malformed = |reason| DecodeError::Malformed { offset, reason };
        let (name, time, value) = self.rebase(record, offset)?;
        let Some(value) = value else {
            return if name.is_none() && time.is_none() { Ok(None) } else { Err(malformed(Reason::Value)) };
        };
        let time = add_times(self.base_time, time).map_err(malformed)?;
        let value = match value {
            Field::Value(raw) => Field::Value(self.add_base_value(raw).ok_or(malformed(Reason::Number))?),
            Field::Null if !self.etch => return Err(malformed(Reason::Value)),
            Field::Null => Field::Null,
        };
        Ok(Some(Resolved { name, time, value }))
    }

    /// A record that asks for a path: no value and no time.
    fn asked(&mut self, record: Record<'a>, offset: usize) -> Result<Option<Path>, DecodeError> {
        let named = record.name.is_some() || record.base_name.is_some();
        let (name, time, value) = self.rebase(record, offset)?;
        if !named || value.is_some() || time.is_some() || self.base_time.is_some() {
            return Err(DecodeError::Malformed { offset, reason: Reason::Value });
        }
        // `{"bn":"/3/0/"}` only prepares the names after it; `{"bn":"/3/0"}` is itself a path.
        if name.is_none() && self.names.base_is_prefix() {
            return Ok(None);
        }
        self.names.path(name.as_deref()).map(Some)
    }

    /// Takes over the bases of a record and leaves its name, time and value.
    #[expect(clippy::type_complexity)]
    fn rebase(
        &mut self,
        record: Record<'a>,
        offset: usize,
    ) -> Result<(Option<Cow<'a, str>>, Option<f64>, Option<Field<'a>>), DecodeError> {
        if record.base_version.is_some_and(|version| version > VERSION) {
            return Err(DecodeError::Malformed { offset, reason: Reason::Version });
        }
        if let Some(base_name) = record.base_name {
            self.names.set_base(base_name);
        }
        self.base_time = record.base_time.or(self.base_time);
        self.base_value = record.base_value.or(self.base_value.take());
        Ok((record.name, record.time, record.value))
    }

    /// Whole numbers stay whole.
    fn add_base_value(&self, raw: Raw<'a>) -> Option<Raw<'a>> {
        match (&self.base_value, raw) {
            (None, raw) => Some(raw),
            (Some(Raw::Integer(base)), Raw::Integer(n)) => base.checked_add(n).map(Raw::Integer),
            (Some(base), raw @ (Raw::Integer(_) | Raw::Float(_))) => {
                Some(Raw::Float(base.number()? + raw.number()?))
            }
            (Some(_), raw) => Some(raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::super::{senml_cbor, senml_json};
    use super::*;

    /// The vectors of RFC 8428 and 8790 have names that are no paths, and so end as an error of the
    /// public decoder. What they resolve to is checked here, with all others.
    #[test]
    fn names_times_and_numbers_resolve_as_in_the_vectors() {
        let file: Json = serde_json::from_str(include_str!("../../tests/vectors/senml.json")).unwrap();
        let mut checked = 0;
        for vector in file["vectors"].as_array().unwrap() {
            let read: ReadRecords = match vector["format"].as_u64() {
                Some(110 | 320) => senml_json::read,
                Some(112 | 322) => senml_cbor::read,
                _ => continue,
            };
            let Some(expected) = vector["resolved"].as_array().filter(|_| vector["expect"] == "ok") else {
                continue;
            };
            let id = vector["id"].as_str().unwrap();
            let payload = data_encoding::HEXLOWER.decode(vector["hex"].as_str().unwrap().as_bytes()).unwrap();
            let asks = |resolved: &Json| {
                !["number", "string", "boolean", "objlnk", "bytes"]
                    .iter()
                    .any(|kind| resolved.get(kind).is_some())
            };
            let mut expected = expected.iter();
            let mut pack = Pack::new(Path::ROOT, true);
            read(&payload, &Limits::default(), &mut |record, offset| {
                if expected.clone().next().is_some_and(asks) {
                    let resolved = expected.next().unwrap();
                    let (name, ..) = pack.rebase(record, offset)?;
                    assert_eq!(pack.names.join(name.as_deref()), resolved["name"], "{id}");
                    checked += 1;
                    return Ok(());
                }
                let Some(Resolved { name, time, value }) = pack.resolve(record, offset)? else {
                    return Ok(());
                };
                let resolved = expected.next().expect("as many values as records");
                assert_eq!(pack.names.join(name.as_deref()), resolved["name"], "{id}");
                assert_eq!(time.unwrap_or_default(), resolved["time"].as_f64().unwrap_or_default(), "{id}");
                if let (Field::Value(raw), Some(number)) = (value, resolved["number"].as_f64()) {
                    // serde_json may miss the last digit of a double.
                    let difference = raw.number().unwrap() - number;
                    assert!(difference.abs() <= number.abs() * f64::EPSILON, "{id}: {raw:?} {number}");
                }
                checked += 1;
                Ok(())
            })
            .unwrap_or_else(|e| panic!("{id}: {e}"));
            assert_eq!(expected.next(), None, "{id}");
        }
        assert_eq!(checked, 427);
    }
}
