//! `#[serde(with = "size")]` for a number of bytes written as `"64KiB"` or as a bare integer.
//! Units: `B`, `KiB`, `MiB`, `GiB`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserializer, Serializer};

use super::decimal::{scaled, split_number};

const UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads a size; `None` when its unit is unknown or it exceeds `u64`.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text.trim())?;
    let unit = if unit.is_empty() { "B" } else { unit };
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
    scaled(number, *scale)
}

/// Writes a size in the largest unit that divides it.
#[must_use]
pub fn print(bytes: u64) -> String {
    let (unit, scale) =
        UNITS.iter().rev().find(|(_, scale)| bytes != 0 && bytes.is_multiple_of(*scale)).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / scale)
}

/// Serde's half that writes.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(bytes: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&print(*bytes))
}

/// Serde's half that reads.
///
/// # Errors
/// When the value is neither of the shapes above.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a size")
        }
        fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<u64, E> {
            Ok(bytes)
        }
        fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<u64, E> {
            u64::try_from(bytes).map_err(|_| E::custom("a size is never negative"))
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
            parse(text).ok_or_else(|| E::custom(format_args!("`{text}` is not a size")))
        }
    }
    from.deserialize_any(Visitor)
}

/// The JSON Schema of a size.
#[derive(Debug)]
pub struct Shape;

impl JsonSchema for Shape {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": r"^\s*\d+(\.\d+)?\s*(B|KiB|MiB|GiB)?\s*$",
            "minimum": 0,
            "x-shape": "a size, such as \"64KiB\"",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_read_in_every_unit() {
        for (text, bytes) in
            [("64KiB", 65_536), ("1.5 MiB", 1_572_864), ("12", 12), ("2GiB", 2 << 30), ("0B", 0)]
        {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in ["", "KiB", "64KB", "-1B", "99999999999GiB"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_size_reads_back(bytes: u64) {
            prop_assert_eq!(parse(&print(bytes)), Some(bytes));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
