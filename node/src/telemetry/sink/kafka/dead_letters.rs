//! Messages that Kafka will never take, as lines of JSON in rotating files.

use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use data_encoding::BASE64;
use rdkafka::{
    error::RDKafkaErrorCode,
    message::{BorrowedHeaders, Headers},
};
use serde_json::{Map, Value, json};

use crate::telemetry::sink::segments::{Rotation, Segments};

/// Bytes of a full file, and how many full ones are kept: 1 GiB in all.
const ROTATION: Rotation = Rotation { size: 64 << 20, keep: 16, sync: false };

/// The folder; one process has it.
#[derive(Debug)]
pub(super) struct DeadLetters(Mutex<Segments>);

/// A message that can't be delivered.
pub(super) struct Letter<'a> {
    pub(super) reason: RDKafkaErrorCode,
    pub(super) topic: &'a str,
    pub(super) key: &'a [u8],
    pub(super) headers: Option<&'a BorrowedHeaders>,
    pub(super) payload: &'a [u8],
}

impl DeadLetters {
    /// Opens the folder, made if need be.
    pub(super) fn open(dir: &Path) -> io::Result<DeadLetters> {
        Ok(DeadLetters(Mutex::new(Segments::open(dir, ROTATION)?.0)))
    }

    /// Appends a letter; it survives `kill -9`.
    pub(super) fn keep(&self, letter: &Letter<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(&letter.json())?;
        line.push(b'\n');
        self.0.lock().unwrap_or_else(PoisonError::into_inner).append(&line)
    }
}

impl Letter<'_> {
    /// `value` is the payload if that is JSON, else `value_base64`.
    fn json(&self) -> Value {
        let headers: Map<String, Value> = self
            .headers
            .into_iter()
            .flat_map(Headers::iter)
            .map(|header| {
                let value = String::from_utf8_lossy(header.value.unwrap_or_default());
                (header.key.to_owned(), value.into())
            })
            .collect();
        let mut line = json!({
            "reason": self.reason.to_string(),
            "topic": self.topic,
            "key": String::from_utf8_lossy(self.key),
            "headers": headers,
        });
        match serde_json::from_slice::<Value>(self.payload) {
            Ok(value) => line["value"] = value,
            Err(_) => line["value_base64"] = BASE64.encode(self.payload).into(),
        }
        line
    }
}
