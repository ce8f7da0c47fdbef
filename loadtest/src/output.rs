//! What a Godwit node's file sink wrote: one CloudEvent per line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use serde_json::Value;

/// A record as far as it can be compared with a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// CloudEvents `id`: the same for the same cause, whoever publishes it.
    pub(crate) id: String,
    /// CloudEvents `type`.
    pub(crate) kind: String,
    pub(crate) endpoint: String,
    /// Sorts the records of a device.
    pub(crate) order: String,
    /// Came after a newer notification and says so.
    pub(crate) stale: bool,
    /// Whole numbers by path: what may be a counter.
    pub(crate) counts: Vec<(String, u64)>,
    /// Of all that must be the same whenever the record is published again: not its time, node and order.
    pub(crate) content: u64,
}

/// Why a line is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// The beginning of a record: its writer was killed half-way, and should not have acknowledged it.
    Torn,
    Malformed(String),
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    endpoint: Cow<'a, str>,
    #[serde(borrow)]
    order: Cow<'a, str>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    stale: bool,
    #[serde(default)]
    data: Value,
}

impl Record {
    /// Reads a line.
    pub(crate) fn parse(line: &str) -> Result<Self, Unreadable> {
        let line: Line<'_> = serde_json::from_str(line).map_err(|error| match error.is_eof() {
            true => Unreadable::Torn,
            false => Unreadable::Malformed(error.to_string()),
        })?;
        if line.order.is_empty() || !line.order.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Unreadable::Malformed(format!("order {:?} is no hexadecimal number", line.order)));
        }
        let mut hasher = DefaultHasher::new();
        (&line.kind, &line.source, &line.endpoint, &line.path).hash(&mut hasher);
        for part in ["values", "paths"] {
            line.data.get(part).map(Value::to_string).hash(&mut hasher);
        }
        Ok(Self {
            counts: counts(&line.data),
            id: line.id.into_owned(),
            kind: line.kind.into_owned(),
            endpoint: line.endpoint.into_owned(),
            order: line.order.into_owned(),
            stale: line.stale,
            content: hasher.finish(),
        })
    }
}

/// `values` by key, joined with `paths` by key; several instances of a resource are an object by their ids.
fn counts(data: &Value) -> Vec<(String, u64)> {
    let empty = serde_json::Map::new();
    let part = |name| data.get(name).and_then(Value::as_object).unwrap_or(&empty);
    let (values, paths) = (part("values"), part("paths"));
    let mut counts = BTreeMap::new();
    for (key, value) in values {
        let paths = paths.get(key).and_then(Value::as_array).into_iter().flatten();
        for path in paths.filter_map(Value::as_str) {
            let value = match value {
                Value::Object(instances) => path.rsplit('/').next().and_then(|id| instances.get(id)),
                value => Some(value),
            };
            if let Some(count) = value.and_then(whole) {
                counts.insert(path.to_owned(), count);
            }
        }
    }
    counts.into_iter().collect()
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let float = number.as_f64()?;
            (float >= 0.0 && float.fract() == 0.0 && float < 9e15).then_some(float as u64)
        }),
        // Integers above 2⁵³ are strings; a counter does not get there, but it costs nothing.
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"specversion":"1.0","id":"abc-telemetry-0","source":"/godwit/main/devices/dxyz","type":"dev.godwit.telemetry.v1","time":"2026-11-22T15:45:00.000Z","datacontenttype":"application/json","endpoint":"load-00000001","device":"dxyz","profile":"demo","path":"/3303/0/5700","node":"n1","order":"0000000000010000002a","data":{"ts":1,"values":{"temperature":7.0},"paths":{"temperature":["/3303/0/5700"]}}}"#;

    #[test]
    fn a_line_of_the_file_sink_is_read() {
        let record = Record::parse(LINE).unwrap();
        assert_eq!(record.id, "abc-telemetry-0");
        assert_eq!(record.counts, [("/3303/0/5700".to_owned(), 7)]);
        assert_eq!((record.endpoint.as_str(), record.stale), ("load-00000001", false));
    }

    #[test]
    fn content_is_the_same_at_another_time_in_another_order_and_no_other_value() {
        let content = |line: &str| Record::parse(line).unwrap().content;
        let again = LINE.replace("2a\"", "3b\"").replace("15:45", "15:46").replace("\"ts\":1", "\"ts\":2");
        assert_eq!(content(LINE), content(&again.replace("\"n1\"", "\"n2\"")));
        assert_ne!(content(LINE), content(&LINE.replace("7.0", "8.0")));
        assert_ne!(content(LINE), content(&LINE.replace("load-00000001", "load-00000002")));
    }

    #[test]
    fn instances_and_several_paths_are_told_apart() {
        let data = serde_json::json!({
            "values": {"error": {"0": 4, "1": 5}, "name": "x", "level": 3, "half": 2.5},
            "paths": {"error": ["/3/0/11/0", "/3/0/11/1"], "name": ["/3/0/0"], "level": ["/3/0/9"], "half": ["/3/0/8"]},
        });
        let want = [("/3/0/11/0", 4), ("/3/0/11/1", 5), ("/3/0/9", 3)];
        assert_eq!(counts(&data), want.map(|(path, count)| (path.to_owned(), count)));
    }

    #[test]
    fn a_torn_line_is_told_from_a_malformed_one() {
        for cut in 0..LINE.len() - 1 {
            assert_eq!(Record::parse(&LINE[..cut]), Err(Unreadable::Torn), "{cut}");
        }
        let malformed = [LINE.replace("0000000000010000002a", "late"), format!("{LINE}{LINE}"), "{}".into()];
        assert!(malformed.iter().all(|line| matches!(Record::parse(line), Err(Unreadable::Malformed(_)))));
    }
}
