//! What the node published, read from its NDJSON file.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::wait;

/// A reader of the records, which remembers how far it has looked.
#[derive(Debug)]
pub struct Sink {
    file: PathBuf,
    place: usize,
}

impl Sink {
    pub(crate) fn new(file: PathBuf) -> Sink {
        Sink { file, place: 0 }
    }

    /// All records up to now, from the first.
    pub fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    /// Waits for the next record that `matches`, and goes on after it next time.
    #[track_caller]
    pub fn next(&mut self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        wait(&format!("a record: {what}"), || {
            let records = self.records();
            let found = records[self.place.min(records.len())..].iter().position(&matches)?;
            self.place += found + 1;
            Some(records[self.place - 1].clone())
        })
    }

    /// The next event of this type about this endpoint.
    #[track_caller]
    pub fn event(&mut self, endpoint: &str, event: &str) -> Value {
        self.next(&format!("{event} of {endpoint}"), |record| {
            record["endpoint"] == endpoint && record["data"]["type"] == event
        })
    }

    /// The next record with a value at this path, and that value.
    #[track_caller]
    pub fn value(&mut self, endpoint: &str, path: &str) -> Value {
        let record = self.next(&format!("a value at {path} of {endpoint}"), |record| {
            record["endpoint"] == endpoint && value_at(record, path).is_some()
        });
        value_at(&record, path).cloned().expect("invariant: it matched")
    }

    /// Waits until this value is published at this path; the record.
    #[track_caller]
    pub fn is(&mut self, endpoint: &str, path: &str, value: impl Into<Value>) -> Value {
        let value = value.into();
        self.next(&format!("{value} at {path} of {endpoint}"), |record| {
            record["endpoint"] == endpoint && value_at(record, path) == Some(&value)
        })
    }

    /// Values at this path in the order of their records, up to now.
    pub fn values(&self, endpoint: &str, path: &str) -> Vec<Value> {
        let records = self.records();
        let of_endpoint = records.iter().filter(|record| record["endpoint"] == endpoint);
        of_endpoint.filter_map(|record| value_at(record, path).cloned()).collect()
    }
}

/// What a record says of a path.
fn value_at<'a>(record: &'a Value, path: &str) -> Option<&'a Value> {
    let paths = record["data"]["paths"].as_object()?;
    let (key, _) =
        paths.iter().find(|(_, paths)| paths.as_array().is_some_and(|paths| paths.contains(&path.into())))?;
    record["data"]["values"].get(key)
}
