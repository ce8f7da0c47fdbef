//! The documents that are generated from the code are current.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;

use godwit::{config, metrics};

/// A document in `docs/` that is generated. `make docs` sets `UPDATE_DOCS` and writes it.
fn assert_current(name: &str, text: &str) {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/{name} is stale: run `make docs`");
}

#[test]
fn the_configuration_reference_is_current() {
    assert_current("configuration.md", &config::reference());
}

#[test]
fn the_list_of_metrics_is_current() {
    assert_current("metrics.md", &metrics::reference());
}

#[test]
fn the_json_schema_is_current() {
    assert_current("config.schema.json", &format!("{:#}\n", config::schema()));
}
