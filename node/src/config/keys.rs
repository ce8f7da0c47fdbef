//! Every setting as the JSON Schema of the structs describes it: the one list that the loader, `config print` and the
//! reference go by.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Config;

/// One setting.
#[derive(Clone, Debug)]
pub struct Key {
    /// `section.key`.
    pub path: String,
    /// The comment on its field.
    pub description: String,
    /// What a value looks like.
    pub shape: String,
    /// Its default as TOML; `None` when it is unset.
    pub default: Option<String>,
    /// Whether its value is never shown.
    pub secret: bool,
    /// Whether it holds a table of texts under names of others, `path.name`.
    pub(super) table: bool,
    /// Least and greatest value.
    pub(super) range: (Option<f64>, Option<f64>),
    /// The numbers it may take, where they are few.
    pub(super) choices: Vec<i64>,
}

/// One section and its settings.
#[derive(Clone, Debug)]
pub struct Section {
    /// `section`, or `section.part`.
    pub path: String,
    /// The comment on its field.
    pub description: String,
    /// Its settings.
    pub keys: Vec<Key>,
}

/// The JSON Schema of the configuration (draft 2020-12).
#[must_use]
pub fn schema() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    schema["title"] = "Configuration of a Godwit node".into();
    schema
}

/// Every section, parts after their section.
#[must_use]
pub fn sections() -> Vec<Section> {
    let schema = schema();
    let mut sections = Vec::new();
    for (name, part) in properties(&schema) {
        walk(name, part, &mut sections);
    }
    sections
}

fn walk(path: &str, schema: &Value, sections: &mut Vec<Section>) {
    let (parts, keys): (Vec<_>, Vec<_>) =
        properties(schema).partition(|(_, schema)| schema.get("properties").is_some());
    sections.push(Section {
        path: path.to_owned(),
        description: text(schema, "description"),
        keys: keys.into_iter().map(|(name, schema)| key(&format!("{path}.{name}"), schema)).collect(),
    });
    for (name, part) in parts {
        walk(&format!("{path}.{name}"), part, sections);
    }
}

fn key(path: &str, schema: &Value) -> Key {
    let choices: Vec<i64> =
        schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
    Key {
        path: path.to_owned(),
        description: text(schema, "description"),
        shape: shape(schema),
        default: schema.get("default").filter(|value| !value.is_null()).map(toml_text),
        secret: schema["writeOnly"] == true
            || schema["additionalProperties"]["writeOnly"] == true
            || schema["anyOf"].as_array().into_iter().flatten().any(|any| any["writeOnly"] == true),
        table: schema["additionalProperties"].is_object(),
        range: (schema["minimum"].as_f64(), schema["maximum"].as_f64()),
        choices,
    }
}

fn shape(schema: &Value) -> String {
    if let Some(shape) = schema["x-shape"].as_str() {
        return shape.to_owned();
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().find(|any| any["type"] != "null").map(shape).unwrap_or_default();
    }
    let words: Vec<String> = match (&schema["enum"], &schema["oneOf"]) {
        (Value::Array(choices), _) => {
            choices.iter().map(|choice| format!("`{}`", toml_text(choice))).collect()
        }
        (_, Value::Array(choices)) => {
            choices.iter().map(|choice| format!("`{}`", toml_text(&choice["const"]))).collect()
        }
        _ => Vec::new(),
    };
    if !words.is_empty() {
        return format!("one of {}", words.join(", "));
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").and_then(Value::as_str),
        kind => kind.as_str(),
    };
    let bound = |name: &str| schema[name].as_f64().map(|bound| bound.to_string());
    let range = match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!(" from {least} to {most}"),
        (Some(least), None) => format!(" of at least {least}"),
        (None, Some(most)) => format!(" of at most {most}"),
        (None, None) => String::new(),
    };
    match kind {
        Some("integer") => format!("a whole number{range}"),
        Some("number") => format!("a number{range}"),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("array") => "a list of texts".to_owned(),
        _ => "a text".to_owned(),
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    schema["properties"].as_object().into_iter().flatten().map(|(name, schema)| (name.as_str(), schema))
}

fn text(schema: &Value, name: &str) -> String {
    schema[name].as_str().unwrap_or_default().replace('\n', " ")
}

/// A JSON scalar or list as TOML writes it; for these the two agree.
fn toml_text(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
