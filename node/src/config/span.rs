//! `#[serde(with = "span")]` for a [`Duration`] written as `"30s"`, `"1h30m"` or `"1.5s"`.
//! Units: `ms`, `s`, `m`, `h`, `d`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serializer};

use super::decimal::{scaled, split_number};

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a span; `None` when it has no unit, an unknown one, or a value beyond `u64` milliseconds.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let width = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(width);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *scale)?)?;
        rest = after.trim_start();
    }
    Some(Duration::from_millis(total))
}

/// Writes a span in the largest unit that divides it.
#[must_use]
pub fn print(span: &Duration) -> String {
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let (unit, scale) =
        UNITS.iter().rev().find(|(_, scale)| ms != 0 && ms.is_multiple_of(*scale)).unwrap_or(&("s", 1000));
    format!("{}{unit}", ms / scale)
}

/// Serde's half that writes.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&print(span))
}

/// Serde's half that reads.
///
/// # Errors
/// When the value is not a text of the shape above.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).ok_or_else(|| serde::de::Error::custom(format_args!("`{text}` is not a span of time")))
}

/// The JSON Schema of a span.
#[derive(Debug)]
pub struct Shape;

impl JsonSchema for Shape {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*(\d+(\.\d+)?\s*(ms|s|m|h|d)\s*)+$",
            "x-shape": "a span of time, such as \"30s\"",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_read_in_every_unit() {
        for (text, ms) in [
            ("30s", 30_000),
            ("10m", 600_000),
            ("365d", 31_536_000_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1500),
            ("250ms", 250),
            (" 2 h ", 7_200_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn spans_without_a_known_unit_are_refused() {
        for text in
            ["", "30", "s", "30 sec", "-1s", "1..5s", "1.s", "99999999999999999999s", "9999999999999999d"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_span_reads_back(ms in 0_u64..=u64::MAX / 2) {
            let span = Duration::from_millis(ms);
            prop_assert_eq!(parse(&print(&span)), Some(span));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
