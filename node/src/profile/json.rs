//! A profile as JSON of the protocol's shape: names in lowerCamelCase (snake_case is read too), enumerations by the
//! ends of their names ("READ_ALL"), `bootstrap` as the JSON that it is.

use godwit_proto::v1::{
    self,
    profile::{self, mapping, power},
};
use serde_json::{Value, json};

use super::{
    ImportError, ImportFault, Profile,
    tree::{Members, Node, Tree},
};

/// Reads a profile. A member that profiles don't have is an error: it is most likely misspelt.
///
/// # Errors
/// The first fault, with its place in the JSON.
pub fn from_json(text: &str) -> Result<v1::Profile, ImportError> {
    let tree = Tree::parse(text)?;
    let root = Node::root(&tree);
    let mut members = root.members()?;
    let profile = v1::Profile {
        name: text_of(members.take("name"))?,
        mappings: list(take(&mut members, "mappings"), mapping)?,
        observe: list(take(&mut members, "observe"), |node| Ok(node.text()?.to_owned()))?,
        start_strategy: enumerated(take(&mut members, "startStrategy"), "START_STRATEGY_", |name| {
            profile::StartStrategy::from_str_name(name).map(i32::from)
        })?,
        observe_strategy: enumerated(take(&mut members, "observeStrategy"), "OBSERVE_STRATEGY_", |name| {
            profile::ObserveStrategy::from_str_name(name).map(i32::from)
        })?,
        write_attributes: list(take(&mut members, "writeAttributes"), write_attributes)?,
        format: unsigned(take(&mut members, "format"))?,
        power: take(&mut members, "power").map(|node| power(&node)).transpose()?,
        models: list(take(&mut members, "models"), |node| Ok(node.text()?.to_owned()))?,
        limits: take(&mut members, "limits").map(|node| limits(&node)).transpose()?,
        ack_first_block: truth(take(&mut members, "ackFirstBlock"))?,
        codecs: list(take(&mut members, "codecs"), codec)?,
        bootstrap: match members.take("bootstrap") {
            None => String::new(),
            Some(Node { tree: Tree::Text(text), .. }) => text.clone(),
            Some(node) => node.tree.to_string(),
        },
        revision: take(&mut members, "revision").map_or(Ok(0), |node| node.long())?,
        read_composite: truth(take(&mut members, "readComposite"))?,
    };
    finish(members)?;
    Profile::try_from(profile.clone()).map_err(|error| ImportError {
        at: format!("$.{}", error.field),
        fault: ImportFault::Field(error.fault),
    })?;
    Ok(profile)
}

/// Writes a profile; what has its default is left out. [`from_json`] reads it.
pub fn to_json(profile: &v1::Profile) -> Value {
    let mut out = json!({ "name": profile.name });
    let mut put = |name: &str, value: Value| {
        let empty = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        if !empty {
            out[name] = value;
        }
    };
    put("mappings", profile.mappings.iter().map(mapping_json).collect());
    put("observe", json!(profile.observe));
    put(
        "startStrategy",
        tail(profile.start_strategy, profile.start_strategy().as_str_name(), "START_STRATEGY_"),
    );
    put(
        "observeStrategy",
        tail(profile.observe_strategy, profile.observe_strategy().as_str_name(), "OBSERVE_STRATEGY_"),
    );
    put("readComposite", json!(profile.read_composite));
    put("writeAttributes", profile.write_attributes.iter().map(attributes_json).collect());
    put("format", json!(profile.format));
    put("power", profile.power.as_ref().map_or(Value::Null, power_json));
    put("models", json!(profile.models));
    let uplink_body = profile.limits.and_then(|limits| limits.uplink_body);
    put("limits", uplink_body.map_or(Value::Null, |bytes| json!({ "uplinkBody": bytes })));
    put("ackFirstBlock", json!(profile.ack_first_block));
    let codec = |codec: &profile::PathCodec| json!({ "path": codec.path, "codec": codec.codec });
    put("codecs", profile.codecs.iter().map(codec).collect());
    put("bootstrap", serde_json::from_str(&profile.bootstrap).unwrap_or(Value::Null));
    put("revision", if profile.revision == 0 { Value::Null } else { json!(profile.revision) });
    out
}

fn mapping_json(mapping: &profile::Mapping) -> Value {
    let mut out = json!({ "path": mapping.path });
    if !mapping.key.is_empty() {
        out["key"] = json!(mapping.key);
    }
    let kind = tail(mapping.kind, mapping.kind().as_str_name(), "KIND_");
    if kind != Value::Null {
        out["kind"] = kind;
    }
    out
}

fn attributes_json(written: &profile::WriteAttributes) -> Value {
    let mut out = serde_json::Map::new();
    if let Some(set) = &written.attributes {
        let v1::Attributes { pmin, pmax, gt, lt, st, epmin, epmax, edge, con, hqmax } = *set;
        let all = [
            ("pmin", json!(pmin)),
            ("pmax", json!(pmax)),
            ("gt", json!(gt)),
            ("lt", json!(lt)),
            ("st", json!(st)),
            ("epmin", json!(epmin)),
            ("epmax", json!(epmax)),
            ("edge", json!(edge)),
            ("con", json!(con)),
            ("hqmax", json!(hqmax)),
        ];
        out.extend(
            all.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.into(), value)),
        );
    }
    json!({ "path": written.path, "attributes": out })
}

fn power_json(power: &profile::Power) -> Value {
    let all = [
        ("mode", tail(power.mode, power.mode().as_str_name(), "MODE_")),
        ("awakeMs", json!(power.awake_ms)),
        ("edrxCycleMs", json!(power.edrx_cycle_ms)),
        ("pagingWindowMs", json!(power.paging_window_ms)),
    ];
    all.into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// An enumeration's name without its prefix; nothing where it is unspecified.
fn tail(number: i32, name: &str, prefix: &str) -> Value {
    if number == 0 { Value::Null } else { json!(name.trim_start_matches(prefix)) }
}

/// Takes a member by its lowerCamelCase or its snake_case name.
fn take<'a>(members: &mut Members<'a>, camel: &str) -> Option<Node<'a>> {
    let snake = camel.chars().fold(String::new(), |mut snake, letter| {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        snake
    });
    members.take(camel).or_else(|| members.take(&snake))
}

fn finish(members: Members<'_>) -> Result<(), ImportError> {
    match members.rest().find(|(_, node)| *node.tree != Tree::Null) {
        None => Ok(()),
        Some((_, node)) => Err(node.error(ImportFault::Unknown)),
    }
}

fn list<T>(
    node: Option<Node<'_>>,
    read: impl Fn(&Node<'_>) -> Result<T, ImportError>,
) -> Result<Vec<T>, ImportError> {
    let items = node.map(|node| node.items()).transpose()?.unwrap_or_default();
    items.iter().map(read).collect()
}

fn text_of(node: Option<Node<'_>>) -> Result<String, ImportError> {
    node.map_or(Ok(String::new()), |node| Ok(node.text()?.to_owned()))
}

fn unsigned(node: Option<Node<'_>>) -> Result<Option<u32>, ImportError> {
    node.map(|node| node.unsigned()).transpose()
}

fn truth(node: Option<Node<'_>>) -> Result<bool, ImportError> {
    node.map_or(Ok(false), |node| node.truth())
}

/// A name with or without its prefix, or the number, which is checked with the profile.
fn enumerated(
    node: Option<Node<'_>>,
    prefix: &'static str,
    number: impl Fn(&str) -> Option<i32>,
) -> Result<i32, ImportError> {
    let Some(node) = node else { return Ok(0) };
    if let Tree::Number(_) = node.tree {
        return Ok(i32::try_from(node.unsigned()?).unwrap_or(i32::MAX));
    }
    let name = node.text()?;
    number(name).or_else(|| number(&format!("{prefix}{name}"))).ok_or_else(|| {
        node.error(ImportFault::Value { found: node.tree.to_string(), expected: "the known names" })
    })
}

fn mapping(node: &Node<'_>) -> Result<profile::Mapping, ImportError> {
    let mut members = node.members()?;
    let mapping = profile::Mapping {
        path: text_of(members.take("path"))?,
        key: text_of(members.take("key"))?,
        kind: enumerated(members.take("kind"), "KIND_", |name| {
            mapping::Kind::from_str_name(name).map(i32::from)
        })?,
    };
    finish(members).map(|()| mapping)
}

fn write_attributes(node: &Node<'_>) -> Result<profile::WriteAttributes, ImportError> {
    let mut members = node.members()?;
    let path = text_of(members.take("path"))?;
    let set = members.need("attributes")?;
    let mut names = set.members()?;
    let attributes = super::thingsboard::attributes(&mut names)?;
    finish(names)?;
    finish(members).map(|()| profile::WriteAttributes { path, attributes: Some(attributes) })
}

fn power(node: &Node<'_>) -> Result<profile::Power, ImportError> {
    let mut members = node.members()?;
    let power = profile::Power {
        mode: enumerated(members.take("mode"), "MODE_", |name| {
            power::Mode::from_str_name(name).map(i32::from)
        })?,
        awake_ms: unsigned(take(&mut members, "awakeMs"))?,
        edrx_cycle_ms: unsigned(take(&mut members, "edrxCycleMs"))?,
        paging_window_ms: unsigned(take(&mut members, "pagingWindowMs"))?,
    };
    finish(members).map(|()| power)
}

fn limits(node: &Node<'_>) -> Result<profile::Limits, ImportError> {
    let mut members = node.members()?;
    let limits = profile::Limits { uplink_body: unsigned(take(&mut members, "uplinkBody"))? };
    finish(members).map(|()| limits)
}

fn codec(node: &Node<'_>) -> Result<profile::PathCodec, ImportError> {
    let mut members = node.members()?;
    let codec =
        profile::PathCodec { path: text_of(members.take("path"))?, codec: text_of(members.take("codec"))? };
    finish(members).map(|()| codec)
}
