//! Writes the table of built-in models (`src/model/objects.txt`) from a folder of definition files.
//!
//! ```text
//! cargo run -p godwit-lwm2m --example model_table -- FOLDER > node/lwm2m/src/model/objects.txt
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use godwit_lwm2m::model::{Ddf, ObjectModel, Range, load_ddf};

const HEAD: &str =
    "# Facts about the built-in objects; the form is in builtin.rs. Written by examples/model_table.rs.\n";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("name the folder of definition files")?;
    let mut models = BTreeMap::new();
    read(Path::new(&folder), &mut models)?;
    let mut table = HEAD.to_owned();
    for model in models.values() {
        object(&mut table, model)?;
    }
    std::io::stdout().write_all(table.as_bytes())?;
    Ok(())
}

fn read(folder: &Path, models: &mut BTreeMap<(u16, String), ObjectModel>) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read(&path, models)?;
        } else if path.extension().is_some_and(|e| e == "xml")
            && let Ddf::Objects(found) = load_ddf(&std::fs::read(&path)?)?
        {
            for model in found.into_iter().filter(|m| is_built_in(m.id)) {
                models.insert((model.id, format!("{:>8}", model.version)), model);
            }
        }
    }
    Ok(())
}

fn is_built_in(id: u16) -> bool {
    matches!(id, 0..=7 | 9 | 10 | 16 | 19 | 21 | 3300..=3499)
}

fn object(table: &mut String, model: &ObjectModel) -> std::fmt::Result {
    let quantity = quantity(model.multiple, model.mandatory);
    writeln!(table, "\nobject {} {} {quantity} {}", model.id, model.version, model.name)?;
    for resource in &model.resources {
        let letters = resource.operations.letters();
        writeln!(
            table,
            "  {} {} {} {} {} {} {}",
            resource.id,
            if letters.is_empty() { "-" } else { letters },
            self::quantity(resource.multiple, resource.mandatory),
            resource.value_type.map_or("-".into(), |t| t.name().to_lowercase().replace(" integer", "")),
            range(resource.range.as_ref()),
            if resource.unit.is_empty() { "-" } else { resource.unit.as_ref() },
            resource.name,
        )?;
    }
    Ok(())
}

fn quantity(multiple: bool, mandatory: bool) -> char {
    match (multiple, mandatory) {
        (false, true) => '1',
        (false, false) => '?',
        (true, true) => '+',
        (true, false) => '*',
    }
}

/// Free text is description, which the table leaves out.
fn range(range: Option<&Range>) -> String {
    let mut text = String::new();
    match range {
        None | Some(Range::Text(_)) => text.push('-'),
        Some(Range::Length { min, max }) => {
            let _ = write!(text, "len:{min}..{max}");
        }
        Some(known) => {
            let _ = write!(text, "{}", known.to_string().replace(',', "|"));
        }
    }
    text
}
