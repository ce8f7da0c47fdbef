//! The effective configuration as TOML, with the source of each value.

use std::fmt::Write;

use toml::{Table, Value};

use super::keys::{self, Key};
use super::load::Loaded;

/// Writes every setting with its source in a comment: TOML that the node reads back to the same configuration, but for
/// secrets, which it redacts in comments. Settings without a value stand in comments too.
#[must_use]
pub fn print(loaded: &Loaded) -> String {
    let tree = Table::try_from(&loaded.config).expect("invariant: a configuration is TOML");
    let mut out = String::new();
    for section in keys::sections() {
        let gap = if out.is_empty() { "" } else { "\n" };
        let _ = writeln!(out, "{gap}[{}]", section.path);
        for key in &section.keys {
            let _ = writeln!(out, "{}", line(loaded, key, find(&tree, &key.path)));
        }
    }
    out
}

fn line(loaded: &Loaded, key: &Key, value: Option<&Value>) -> String {
    let name = key.path.rsplit('.').next().unwrap_or(&key.path);
    let source = loaded.source(&key.path);
    match value {
        // A table that holds nothing has no secret.
        Some(value) if key.secret && value.as_table().is_none_or(|table| !table.is_empty()) => {
            format!("# {name} is set and secret ({source})")
        }
        Some(value) => format!("{name} = {value}  # {source}"),
        None => format!("# {name} is not set"),
    }
}

fn find<'a>(tree: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => tree.get(key),
        Some((section, rest)) => find(tree.get(section)?.as_table()?, rest),
    }
}
