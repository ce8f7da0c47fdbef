//! The configuration reference in Markdown, generated from the structs.

use std::fmt::Write;

use super::keys;
use super::source::PRESETS;

/// `docs/configuration.md`, whole.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    for (name, text) in PRESETS {
        let settings: Vec<String> = text.lines().map(|line| format!("`{line}`")).collect();
        let _ = writeln!(out, "| `{name}` | {} |", settings.join("<br>"));
    }
    for section in keys::sections() {
        let _ = write!(out, "\n## `{}`\n\n{}\n", section.path, section.description);
        for key in section.keys {
            let name = key.path.rsplit('.').next().unwrap_or(&key.path);
            let default = key.default.map_or_else(|| "unset".to_owned(), |default| format!("`{default}`"));
            let _ = write!(
                out,
                "\n### `{name}`\n\n{}\n\n- Shape: {}\n- Default: {default}\n- Environment: `{}`\n",
                key.description,
                key.shape,
                variable(&key.path)
            );
        }
    }
    out
}

/// The environment variable of a key.
fn variable(key: &str) -> String {
    format!("GODWIT_{}", key.replace('.', "__").to_ascii_uppercase())
}

const INTRODUCTION: &str = "\
# Configuration reference

Generated from the structs in `node/src/config`; `make docs` writes it anew. The same as a JSON Schema:
[config.schema.json](config.schema.json).

A value comes from the last of these that sets it:

1. the default,
2. a preset (`--preset NAME` or `GODWIT_PRESET`),
3. a TOML file (`--config FILE` or `GODWIT_CONFIG`),
4. the environment, `GODWIT_SECTION__KEY`,
5. a flag, `--set section.key=value`; `--data-dir DIR` is `--set node.data_dir=DIR`.

In the environment and in `--set` a text needs no quotes and a list may be written `a,b`. `godwit config check` reports
every fault at once, with its key, its source and the fix; `godwit config print` shows the effective values and where
each comes from. A secret may stand in a file, which the setting of the same name with `_file` names.

| Preset | Sets |
|---|---|
";
