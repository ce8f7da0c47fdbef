//! Vector files, and a model made of the values that a vector expects.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use godwit_lwm2m::entry::{Content, Entry};
use godwit_lwm2m::format::{self, ContentFormat, DecodeContext, DecodeError, Limits, Types};
use godwit_lwm2m::path::Path;
use godwit_lwm2m::value::{Value, ValueType};
use serde_json::Value as Json;

/// Unix time of every decode here.
pub(crate) const NOW: f64 = 1_700_000_000.0;

pub(crate) struct Vectors(Vec<Json>);

impl Vectors {
    pub(crate) fn read(text: &str) -> Vectors {
        let file: Json = serde_json::from_str(text).expect("the file is JSON");
        let vectors = file["vectors"].as_array().expect("vectors").clone();
        assert_eq!(file["count"].as_u64(), Some(vectors.len() as u64));
        Vectors(vectors)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Json> {
        self.0.iter()
    }

    /// A decision on a vector that does not exist is a mistake.
    pub(crate) fn check_ids(&self, decisions: &[(&str, &str)]) {
        for (id, _) in decisions {
            assert!(self.0.iter().any(|v| v["id"] == *id), "{id} is in no vector");
        }
    }
}

pub(crate) fn id(vector: &Json) -> &str {
    vector["id"].as_str().expect("id")
}

pub(crate) fn payload(vector: &Json) -> Vec<u8> {
    HEXLOWER.decode(vector["hex"].as_str().expect("hex").as_bytes()).expect("hex digits")
}

pub(crate) fn expects_ok(vector: &Json) -> bool {
    match vector["expect"].as_str() {
        Some("ok") => true,
        Some("refuse") => false,
        other => panic!("{}: expect {other:?}", id(vector)),
    }
}

pub(crate) fn decided(decisions: &[(&str, &str)], vector: &Json) -> bool {
    decisions.iter().any(|(decided, _)| *decided == id(vector))
}

/// Types by the longest known path.
#[derive(Default)]
pub(crate) struct Model(BTreeMap<Path, (ValueType, bool)>);

impl Model {
    pub(crate) fn set(&mut self, path: Path, value_type: ValueType, multiple: bool) {
        self.0.insert(path, (value_type, multiple));
    }

    fn find(&self, path: &Path) -> Option<(ValueType, bool)> {
        (1..=path.level()).rev().find_map(|level| self.0.get(&path.truncate(level)).copied())
    }
}

impl Types for Model {
    fn value_type(&self, path: &Path) -> Option<ValueType> {
        self.find(path).map(|(value_type, _)| value_type)
    }

    fn is_multiple(&self, path: &Path) -> Option<bool> {
        self.find(path).map(|(_, multiple)| multiple)
    }
}

pub(crate) fn decode(
    format: ContentFormat,
    base: Path,
    types: &dyn Types,
    payload: &[u8],
) -> Result<Content, DecodeError> {
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    format::decode(format, &DecodeContext { base, types, now: NOW, limits: &limits }, payload)
}

/// Whether a value is what a vector writes as JSON.
pub(crate) fn same(value: &Value, expected: &Json) -> bool {
    let number = match value {
        Value::Integer(n) | Value::Time(n) if expected.as_i64() == Some(*n) => return true,
        Value::Unsigned(n) if expected.as_u64() == Some(*n) => return true,
        Value::Integer(n) | Value::Time(n) => *n as f64,
        Value::Unsigned(n) => *n as f64,
        Value::Float(f) => *f,
        Value::Boolean(b) => return expected.as_bool() == Some(*b),
        Value::String(text) => return expected.as_str() == Some(text),
        Value::CoreLink(text) => return expected["corelnk"].as_str() == Some(text),
        Value::Opaque(bytes) => return expected["bytes"] == HEXLOWER.encode(bytes).as_str(),
        Value::ObjectLink { object, instance } => {
            return expected["objlnk"] == serde_json::json!([object, instance])
                || expected["objlnk"] == format!("{object}:{instance}").as_str();
        }
    };
    let wanted = match expected {
        Json::Number(n) => n.as_f64(),
        Json::Object(o) => {
            let text = o.get("dec").or(o.get("float")).and_then(Json::as_str);
            o.get("time").and_then(Json::as_f64).or(text.and_then(|text| text.parse().ok()))
        }
        _ => None,
    };
    // serde_json reads the last digit of a double carelessly unless told otherwise.
    let near = |wanted: f64| (wanted - number).abs() <= number.abs() * f64::EPSILON;
    wanted.is_some_and(|wanted| wanted == number || near(wanted) || wanted.is_nan() && number.is_nan())
}

/// Compares the entries with expected values in their order; times as the payload has them.
pub(crate) fn assert_entries(id: &str, entries: &[Entry], expected: &[(Path, Option<f64>, &Json)]) {
    assert_eq!(entries.len(), expected.len(), "{id}: {entries:?}");
    for (entry, (path, time, value)) in entries.iter().zip(expected) {
        assert_eq!(entry.path, *path, "{id}");
        assert!(same(&entry.value, value), "{id}: {entry:?} is not {value}");
        let time = time.map(|t| if t < 268_435_456.0 { NOW + t } else { t });
        assert_eq!(entry.time, time, "{id}: {path}");
    }
}
