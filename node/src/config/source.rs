//! Where a value came from, and the layers that values come in.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::fault::{Fault, Problem};

/// Where a setting got its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A preset of this name.
    Preset(&'static str),
    /// A line of a file, counted from 1; `None` where the whole file is meant.
    File(PathBuf, Option<usize>),
    /// An environment variable of this name.
    Environment(String),
    /// A flag as it was typed, without its value.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset(name) => write!(f, "preset {name}"),
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One value that somebody set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// `section.key`.
    pub(super) key: String,
    /// The value, in the readings it allows, likeliest first.
    pub(super) readings: Vec<Value>,
    /// Who set it.
    pub(super) source: Source,
}

/// Named sets of settings.
pub const PRESETS: &[(&str, &str)] = &[
    (
        "demo",
        "server.listen = [\"127.0.0.1:5683\"]\nserver.listen_dtls = []\nregistration.auto_create = \"demo\"\n",
    ),
    ("thingsboard", "server.listen = [\"[::]:5685\"]\nserver.listen_dtls = [\"[::]:5686\"]\n"),
];

/// The entries of a preset.
pub(super) fn preset(name: &str, asked_by: &Source) -> Result<Vec<Entry>, Fault> {
    let Some((name, text)) = PRESETS.iter().find(|(known, _)| *known == name) else {
        let known = PRESETS.iter().map(|(known, _)| *known).collect();
        return Err(Fault::new(
            None,
            asked_by.clone(),
            Problem::UnknownPreset { name: name.to_owned(), known },
        ));
    };
    let (entries, faults) = document(text, |_| Source::Preset(name));
    debug_assert_eq!(faults, []);
    Ok(entries)
}

/// The entries of a file, and every fault in its syntax.
pub(super) fn file(path: &Path) -> (Vec<Entry>, Vec<Fault>) {
    match std::fs::read_to_string(path) {
        Ok(text) => document(&text, |line| Source::File(path.to_owned(), line)),
        Err(error) => {
            let source = Source::File(path.to_owned(), None);
            (Vec::new(), vec![Fault::new(None, source, Problem::Unreadable(error.to_string()))])
        }
    }
}

/// The entry of an environment variable `GODWIT_SECTION__KEY`; `None` for other variables. One without the double
/// underscore is not a setting: Kubernetes makes `GODWIT_PORT` and the like for a Service of this name.
pub(super) fn environment(name: &str, value: &str) -> Option<Entry> {
    let key = name.strip_prefix("GODWIT_").filter(|rest| rest.contains("__"))?;
    Some(Entry {
        key: key.to_ascii_lowercase().replace("__", "."),
        readings: readings(value),
        source: Source::Environment(name.to_owned()),
    })
}

/// The entry of `--set section.key=value`.
pub(super) fn assignment(text: &str) -> Result<Entry, Fault> {
    match text.split_once('=') {
        Some((key, value)) => {
            let key = key.trim().to_owned();
            let source = Source::Flag(format!("--set {key}"));
            Ok(Entry { key, readings: readings(value.trim()), source })
        }
        None => {
            Err(Fault::new(None, Source::Flag("--set".to_owned()), Problem::NoAssignment(text.to_owned())))
        }
    }
}

/// The entry of a flag of its own, such as `--data-dir`.
pub(super) fn flag(flag: &str, key: &str, value: String) -> Entry {
    Entry { key: key.to_owned(), readings: vec![Value::String(value)], source: Source::Flag(flag.to_owned()) }
}

/// What an untyped text may mean: a TOML value, the bare text, or a list of texts between commas.
fn readings(text: &str) -> Vec<Value> {
    let typed: Option<Value> = DeValue::parse(text).ok().and_then(|value| plain(value.get_ref()));
    let bare = Value::String(text.to_owned());
    let list = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let list = Value::Array(list.map(|item| Value::String(item.to_owned())).collect());
    typed.into_iter().chain([bare, list]).collect()
}

fn document(text: &str, source: impl Fn(Option<usize>) -> Source) -> (Vec<Entry>, Vec<Fault>) {
    let line = |offset: usize| Some(1 + text[..offset.min(text.len())].matches('\n').count());
    let (table, errors) = DeTable::parse_recoverable(text);
    let faults = errors
        .iter()
        .map(|error| {
            let at = error.span().and_then(|span| line(span.start));
            Fault::new(None, source(at), Problem::Syntax(error.message().to_owned()))
        })
        .collect();
    let mut entries = Vec::new();
    flatten(table.get_ref(), "", &mut |key, at, value| {
        entries.push(Entry { key, readings: vec![value], source: source(line(at)) });
    });
    (entries, faults)
}

/// Calls `leaf` with the path, offset and value of everything that is not a table, and of empty tables.
fn flatten(table: &DeTable<'_>, prefix: &str, leaf: &mut impl FnMut(String, usize, Value)) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => flatten(inner, &key, leaf),
            other => {
                if let Some(plain) = plain(other) {
                    leaf(key, name.span().start, plain);
                }
            }
        }
    }
}

/// The value without its spans; `None` for a number beyond TOML's range, which the parser has reported.
fn plain(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            Value::Integer(i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()?)
        }
        DeValue::Float(number) => Value::Float(number.as_str().replace('_', "").parse().ok()?),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(Spanned::get_ref).map(plain).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => Value::Table(
            table
                .iter()
                .map(|(name, value)| Some((name.get_ref().to_string(), plain(value.get_ref())?)))
                .collect::<Option<_>>()?,
        ),
    })
}
