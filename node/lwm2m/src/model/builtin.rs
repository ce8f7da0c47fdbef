//! The objects that every node knows: a table of facts, compiled in.
//!
//! Objects 0 to 7, 9, 10, 16, 19 and 21 of OMA, and the 33xx and 34xx family, each in all its
//! published versions. The form, one line each:
//!
//! ```text
//! object ID VERSION QUANTITY NAME
//!   ID OPERATIONS QUANTITY TYPE RANGE UNIT NAME
//! ```
//!
//! QUANTITY is `1` (single, mandatory), `?` (single, optional), `+` (multiple, mandatory) or `*`
//! (multiple, optional); RANGE is `a..b`, `len:a..b` or `a|b|c`; `-` stands for nothing. `#` begins
//! a comment. `examples/model_table.rs` writes it from definition files.

use std::borrow::Cow;
use std::str::SplitAsciiWhitespace;
use std::sync::{Arc, LazyLock};

use super::{ObjectModel, ObjectVersion, Operations, Range, ResourceModel};
use crate::value::ValueType;

/// The compiled-in models, sorted by object and version. Parsed at first use (about a millisecond);
/// names and units point into the program text.
pub fn builtin() -> &'static [Arc<ObjectModel>] {
    static MODELS: LazyLock<Vec<Arc<ObjectModel>>> = LazyLock::new(|| {
        let models = parse_table(include_str!("objects.txt")).expect("invariant: a test reads the table");
        models.into_iter().map(Arc::new).collect()
    });
    &MODELS
}

/// A line that cannot be read, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: bad {column}")]
pub struct TableError {
    /// The line.
    pub line: usize,
    /// Which column of it.
    pub column: &'static str,
}

/// Reads a table in the form above.
pub fn parse_table(table: &'static str) -> Result<Vec<ObjectModel>, TableError> {
    let mut objects: Vec<ObjectModel> = Vec::new();
    let mut resources = Vec::new();
    for (number, line) in table.lines().enumerate() {
        let fault = |column| TableError { line: number + 1, column };
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if let Some(rest) = content.strip_prefix("object ") {
            if let Some(last) = objects.last_mut() {
                last.resources = std::mem::take(&mut resources).into();
            }
            let object = object(rest).map_err(fault)?;
            if objects.last().is_some_and(|o| (o.id, o.version) >= (object.id, object.version)) {
                return Err(fault("order"));
            }
            objects.push(object);
        } else {
            let resource = resource(content).map_err(fault)?;
            if objects.is_empty() || resources.last().is_some_and(|r: &ResourceModel| r.id >= resource.id) {
                return Err(fault("order"));
            }
            resources.push(resource);
        }
    }
    if let Some(last) = objects.last_mut() {
        last.resources = resources.into();
    }
    Ok(objects)
}

fn object(line: &'static str) -> Result<ObjectModel, &'static str> {
    let mut columns = line.split_ascii_whitespace();
    let id = column(&mut columns, "id", |text| text.parse().ok())?;
    let version = column(&mut columns, "version", |text| text.parse::<ObjectVersion>().ok())?;
    let (multiple, mandatory) = column(&mut columns, "quantity", quantity)?;
    Ok(ObjectModel { id, version, name: rest(line, 3)?, multiple, mandatory, resources: [].into() })
}

fn resource(line: &'static str) -> Result<ResourceModel, &'static str> {
    let mut columns = line.split_ascii_whitespace();
    let id = column(&mut columns, "id", |text| text.parse().ok())?;
    let operations = column(&mut columns, "operations", |text| match text {
        "-" => Some(Operations::default()),
        letters => Operations::parse(letters),
    })?;
    let (multiple, mandatory) = column(&mut columns, "quantity", quantity)?;
    let value_type = column(&mut columns, "type", value_type)?;
    let range = column(&mut columns, "range", range)?;
    let unit = Cow::Borrowed(column(&mut columns, "unit", |text| Some(if text == "-" { "" } else { text }))?);
    Ok(ResourceModel { id, name: rest(line, 6)?, operations, multiple, mandatory, value_type, range, unit })
}

fn column<T>(
    columns: &mut SplitAsciiWhitespace<'static>,
    name: &'static str,
    parse: impl FnOnce(&'static str) -> Option<T>,
) -> Result<T, &'static str> {
    columns.next().and_then(parse).ok_or(name)
}

/// What follows the first `columns` columns, which single blanks divide.
fn rest(line: &'static str, columns: usize) -> Result<Cow<'static, str>, &'static str> {
    line.splitn(columns + 1, ' ')
        .nth(columns)
        .filter(|name| !name.is_empty())
        .map(Cow::Borrowed)
        .ok_or("name")
}

fn quantity(text: &str) -> Option<(bool, bool)> {
    Some(match text {
        "1" => (false, true),
        "?" => (false, false),
        "+" => (true, true),
        "*" => (true, false),
        _ => return None,
    })
}

fn value_type(text: &str) -> Option<Option<ValueType>> {
    if text == "-" {
        return Some(None);
    }
    text.parse().ok().map(Some)
}

fn range(text: &str) -> Option<Option<Range>> {
    if text == "-" {
        return Some(None);
    }
    if let Some(lengths) = text.strip_prefix("len:") {
        let (min, max) = lengths.split_once("..")?;
        return Some(Some(Range::Length { min: min.parse().ok()?, max: max.parse().ok()? }));
    }
    match Range::parse(text)? {
        Range::Text(_) => None,
        known => Some(Some(known)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(id: u16, version: ObjectVersion) -> &'static ObjectModel {
        builtin().iter().find(|m| m.id == id && m.version == version).unwrap()
    }

    #[test]
    fn the_table_reads_and_is_sorted() {
        let models = builtin();
        assert!(models.is_sorted_by(|a, b| (a.id, a.version) < (b.id, b.version)));
        for id in [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 16, 19, 21, 3300, 3303, 3350, 3461] {
            assert!(models.iter().any(|m| m.id == id), "object {id}");
        }
    }

    #[test]
    fn versions_of_an_object_stand_side_by_side() {
        assert!(model(1, ObjectVersion::V1_0).resource(9).is_none());
        let trigger = model(1, ObjectVersion::new(1, 1)).resource(9).unwrap();
        assert_eq!(trigger.name, "Bootstrap-Request Trigger");
        assert!(trigger.operations.execute && trigger.value_type.is_none());
        let extended = model(3, ObjectVersion::new(1, 2)).resource(22).unwrap();
        assert_eq!((extended.value_type, extended.multiple), (Some(ValueType::ObjectLink), true));
    }

    #[test]
    fn facts_of_the_device_object_are_right() {
        let device = model(3, ObjectVersion::V1_0);
        assert!(device.mandatory && !device.multiple);
        let battery = device.resource(9).unwrap();
        assert_eq!((battery.name.as_ref(), battery.unit.as_ref()), ("Battery Level", "%"));
        assert_eq!(battery.range, Some(Range::Number { min: 0.0, max: 100.0 }));
        let errors = device.resource(11).unwrap();
        assert!(errors.multiple && errors.mandatory);
    }

    #[test]
    fn a_bad_line_is_named() {
        let bad = |table, line, column| {
            assert_eq!(parse_table(table), Err(TableError { line, column }), "{table}");
        };
        bad("object 3 1.0 1", 1, "name");
        bad("object 3 1 1 Device", 1, "version");
        bad("# x\n\n1 R 1 string - - Name", 3, "order");
        bad("object 3 1.0 1 Device\n 1 R 1 word - - Name", 2, "type");
        bad("object 3 1.0 1 Device\n 1 R ! string - - Name", 2, "quantity");
        bad("object 3 1.0 1 Device\n 1 R 1 string x - Name", 2, "range");
        bad("object 3 1.0 1 Device\n 1 R 1 string - - Name\n 1 R 1 string - - Name", 3, "order");
        bad("object 3 1.0 1 Device\nobject 3 1.0 1 Device", 2, "order");
    }
}
