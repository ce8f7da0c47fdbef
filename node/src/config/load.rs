//! Brings the layers together and reports every fault at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::{Table, Value};

use super::fault::{Fault, Faults, Problem};
use super::keys::{self, Key, Section};
use super::source::{self, Entry, Source};
use super::{Config, check};

/// What a configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Name of a preset.
    pub preset: Option<String>,
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// The process's environment; variables that are no settings are ignored.
    pub environment: Vec<(String, String)>,
    /// `--data-dir`.
    pub data_dir: Option<String>,
    /// Each `--set`, as `section.key=value`; the last of a key counts.
    pub assignments: Vec<String>,
}

/// A configuration without faults, with the source of each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    sources: BTreeMap<String, Source>,
}

impl Loaded {
    /// Where a setting's value came from.
    #[must_use]
    pub fn source(&self, key: &str) -> &Source {
        self.sources.get(key).unwrap_or(&Source::Default)
    }
}

/// Loads a configuration.
///
/// # Errors
/// Every fault of every layer, and every contradiction between values that are valid by themselves.
pub fn load(inputs: &Inputs) -> Result<Loaded, Faults> {
    let (entries, mut faults) = entries(inputs);
    let sections = keys::sections();
    let mut tree = Table::try_from(Config::default()).expect("invariant: the defaults are TOML");
    let mut sources = BTreeMap::new();
    for entry in entries {
        match accept(&sections, &tree, &entry) {
            Ok(changed) => {
                tree = changed;
                sources.insert(entry.key, entry.source);
            }
            Err(problem) => faults.push(Fault::new(Some(&entry.key), entry.source, problem)),
        }
    }
    let config = Config::deserialize(tree).expect("invariant: every value was accepted by itself");
    let loaded = Loaded { config, sources };
    check::contradictions(&loaded, &sections, &mut faults);
    if faults.is_empty() { Ok(loaded) } else { Err(Faults(faults)) }
}

/// What each layer sets, lowest first.
fn entries(inputs: &Inputs) -> (Vec<Entry>, Vec<Fault>) {
    let (mut entries, mut faults) = (Vec::new(), Vec::new());
    let mut take = |result: Result<Vec<Entry>, Fault>| match result {
        Ok(more) => entries.extend(more),
        Err(fault) => faults.push(fault),
    };
    if let Some(name) = &inputs.preset {
        take(source::preset(name, &Source::Flag("--preset".to_owned())));
    }
    let mut file_faults = Vec::new();
    if let Some(path) = &inputs.file {
        let (more, faults) = source::file(path);
        take(Ok(more));
        file_faults = faults;
    }
    let environment = inputs.environment.iter();
    take(Ok(environment.filter_map(|(name, value)| source::environment(name, value)).collect()));
    if let Some(dir) = &inputs.data_dir {
        take(Ok(vec![source::flag("--data-dir", "node.data_dir", dir.clone())]));
    }
    for text in &inputs.assignments {
        take(source::assignment(text).map(|entry| vec![entry]));
    }
    faults.extend(file_faults);
    (entries, faults)
}

/// The tree with the entry in it, in the first of its readings that the structs take.
fn accept(sections: &[Section], tree: &Table, entry: &Entry) -> Result<Table, Problem> {
    let known = || sections.iter().flat_map(|section| &section.keys);
    if let Some((key, name)) = known().find_map(|key| Some((key, name_within(key, &entry.key)?))) {
        return accept_within(key, name, tree, entry);
    }
    let Some(key) = known().find(|key| key.path == entry.key) else {
        if sections.iter().any(|section| section.path == entry.key) {
            let empty = entry.readings.iter().any(Value::is_table);
            return if empty { Ok(tree.clone()) } else { Err(Problem::Section) };
        }
        return Err(Problem::UnknownKey {
            nearest: nearest(&entry.key, known().map(|key| key.path.as_str())),
        });
    };
    let mut refusal = None;
    for reading in &entry.readings {
        let mut changed = tree.clone();
        place(&mut changed, &entry.key, reading.clone());
        match Config::deserialize(changed.clone()) {
            Ok(_) => return in_range(key, reading).map(|()| changed),
            Err(error) => {
                refusal.get_or_insert_with(|| error.message().to_owned());
            }
        }
    }
    let reason = match refusal {
        Some(reason) if !key.secret => reason,
        _ => "not the expected type".to_owned(),
    };
    Err(Problem::WrongValue { reason, shape: key.shape.clone() })
}

/// The name of an item of a table, whose own dots are no sections.
fn name_within<'a>(table: &Key, key: &'a str) -> Option<&'a str> {
    table.table.then(|| key.strip_prefix(&table.path)?.strip_prefix('.')).flatten()
}

/// The tree with one item more in a table of texts.
fn accept_within(key: &Key, name: &str, tree: &Table, entry: &Entry) -> Result<Table, Problem> {
    let text = entry.readings.iter().find_map(|reading| match reading {
        Value::String(text) => Some(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Some(reading.to_string()),
        _ => None,
    });
    let Some(text) = text else {
        let (reason, shape) = ("not the expected type".to_owned(), "a text".to_owned());
        return Err(Problem::WrongValue { reason, shape });
    };
    let mut changed = tree.clone();
    let mut at = &mut changed;
    for part in key.path.split('.') {
        let inner = at.entry(part).or_insert_with(|| Value::Table(Table::new()));
        at = inner.as_table_mut().expect("invariant: a table of texts and what it lies in are tables");
    }
    at.insert(name.to_owned(), Value::String(text));
    Ok(changed)
}

fn place(tree: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            tree.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let part = tree.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(part) = part {
                place(part, rest, value);
            }
        }
    }
}

fn in_range(key: &Key, value: &Value) -> Result<(), Problem> {
    #[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^53")]
    let number = match value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        _ => return Ok(()),
    };
    let below = key.range.0.is_some_and(|least| number < least);
    let above = key.range.1.is_some_and(|most| number > most);
    let choice =
        |choices: &[i64]| choices.is_empty() || value.as_integer().is_some_and(|v| choices.contains(&v));
    if below || above || number.is_nan() || !choice(&key.choices) {
        return Err(Problem::OutOfRange { range: key.shape.clone() });
    }
    Ok(())
}

/// The likeliest key that was meant, unless none comes near.
fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let last = |key: &'a str| key.rsplit('.').next().unwrap_or(key);
    let wrong_last = wrong.rsplit('.').next().unwrap_or(wrong);
    known
        .map(|key| {
            let whole = strsim::damerau_levenshtein(wrong, key);
            // A right name in the wrong section is as likely as a typing error.
            let moved = if last(key) == wrong_last { 1 } else { usize::MAX };
            (whole.min(moved), key)
        })
        .filter(|(distance, key)| *distance <= 2 + key.len() / 6)
        .min()
        .map(|(_, key)| key.to_owned())
}
