//! Payloads that the Leshan client made (`vectors/leshan.json`) mean to us what they meant to it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use data_encoding::{BASE64, HEXLOWER};
use godwit_lwm2m::{
    entry::Entry,
    format::{self, ContentFormat, DecodeContext, Limits},
    model::{LwM2mVersion, ModelRegistry, ModelSet, ObjectVersion},
    path::Path,
    registration::{RegisteredLinks, RootPath},
    value::Value,
};
use serde_json::Value as Json;

fn vectors(kind: &str) -> Vec<Json> {
    let file: Json = serde_json::from_str(include_str!("vectors/leshan.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap().iter();
    let vectors: Vec<_> = vectors.filter(|vector| vector["kind"] == kind).cloned().collect();
    assert!(!vectors.is_empty(), "no vector is a {kind}");
    vectors
}

fn payload(vector: &Json) -> Vec<u8> {
    HEXLOWER.decode(vector["hex"].as_str().unwrap().as_bytes()).unwrap()
}

fn entries(vector: &Json) -> Vec<Entry> {
    let objects = [3, 3303, 3442].map(|id| (id, ObjectVersion::V1_0));
    let types = ModelSet::new(&ModelRegistry::builtin(), objects);
    let context = DecodeContext {
        base: vector["path"].as_str().unwrap().parse().unwrap(),
        types: &types,
        now: 1_700_000_100.0,
        limits: &Limits::default(),
    };
    let format = ContentFormat::from_number(vector["format"].as_u64().unwrap() as u16).unwrap();
    let content = format::decode(format, &context, &payload(vector));
    content.unwrap_or_else(|error| panic!("{}: {error}", vector["id"])).entries
}

/// Whether a value is what the client wrote as text.
fn is(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) | Value::CoreLink(string) => string == text,
        Value::Integer(n) | Value::Time(n) => text.parse() == Ok(*n),
        Value::Unsigned(n) => text.parse() == Ok(*n),
        Value::Float(f) => text.parse() == Ok(*f),
        Value::Boolean(b) => text.parse() == Ok(*b),
        Value::Opaque(bytes) => BASE64.encode(bytes) == text,
        Value::ObjectLink { object, instance } => text == format!("{object}:{instance}"),
    }
}

fn holds(vector: &Json) {
    let entries = entries(vector);
    let expected = vector["values"].as_object().unwrap();
    for (path, text) in expected {
        let at: Path = path.parse().unwrap();
        let found: Vec<_> = entries.iter().filter(|entry| entry.path == at).collect();
        let [entry] = found[..] else { panic!("{}: {path} is there {} times", vector["id"], found.len()) };
        assert!(is(&entry.value, text.as_str().unwrap()), "{}: {entry:?} is not {text}", vector["id"]);
        assert_eq!(entry.time, None, "{}", vector["id"]);
    }
    assert_eq!(entries.len(), expected.len(), "{}: {entries:?}", vector["id"]);
}

#[test]
fn what_leshan_answers_to_a_read_means_what_it_holds() {
    vectors("read").iter().for_each(holds);
}

#[test]
fn what_leshan_notifies_means_what_it_holds() {
    vectors("notification").iter().for_each(holds);
}

#[test]
fn what_leshan_sends_means_what_it_holds_and_when() {
    for vector in vectors("send") {
        let Some(times) = vector["times"].as_array() else {
            holds(&vector);
            continue;
        };
        let mut entries = entries(&vector);
        entries.sort_by(|a, b| a.time.partial_cmp(&b.time).unwrap().then(b.path.cmp(&a.path)));
        assert_eq!(entries.len(), times.len(), "{}", vector["id"]);
        for (entry, expected) in entries.iter().zip(times) {
            assert_eq!(entry.time, expected[0].as_f64(), "{}", vector["id"]);
            assert_eq!(entry.path, expected[1].as_str().unwrap().parse().unwrap(), "{}", vector["id"]);
            assert!(is(&entry.value, expected[2].as_str().unwrap()), "{}: {entry:?}", vector["id"]);
        }
    }
}

#[test]
fn what_leshan_registers_is_what_it_has() {
    for vector in vectors("register") {
        let links =
            RegisteredLinks::parse(&payload(&vector), LwM2mVersion::V1_1, &RootPath::default()).unwrap();
        let instances: Vec<_> = links.objects.instances().map(|path| path.to_string()).collect();
        assert_eq!(Json::from(instances), vector["instances"]);
    }
}
