//! LwM2M TLV.

use godwit_lwm2m::entry::{Content, Entry};
use godwit_lwm2m::format::{ContentFormat, DecodeError, EncodeError, Found, NoTypes, encode, encode_content};
use godwit_lwm2m::path::{Path, UNASSIGNED};
use godwit_lwm2m::value::{Value, ValueType};
use serde_json::Value as Json;

use super::support::{Model, Vectors, assert_entries, decided, decode, expects_ok, id, payload};

const TLV: ContentFormat = ContentFormat::Tlv;

/// What we refuse although the vector expects it to be taken.
const REFUSED: &[(&str, &str)] = &[(
    "tlv-anjay-nested-empty",
    "marked doubtful: instance 0 comes twice, and twice is a fault everywhere else",
)];

/// Vectors whose bytes an encoder of the shortest form does not write.
const NOT_SHORTEST: &[(&str, &str)] = &[
    ("tlv-leshan-instances-only", "we write the header of the multiple resource, which all peers read"),
    ("tlv-leshan-instance-around-resource", "the instance is not needed"),
    ("tlv-lwm2m-codec-float", "the instance is not needed"),
    ("tlv-zephyr-int-zero-4", "one byte is enough"),
    ("tlv-zephyr-int-zero-8", "one byte is enough"),
    ("tlv-zephyr-float-0", "four bytes are enough"),
    ("tlv-zephyr-float-3", "four bytes are enough"),
    ("tlv-zephyr-float--10", "four bytes are enough"),
    ("tlv-zephyr-float--123.125-id16", "four bytes are enough"),
    ("tlv-anjay-float-1.0-8", "four bytes are enough"),
    ("tlv-anjay-float--42000-8", "four bytes are enough"),
    ("tlv-anjay-lite-time", "four bytes are enough"),
    ("tlv-anjay-instance-around", "the instance is not needed"),
    ("tlv-anjay-riids-only", "we write the header of the multiple resource, which all peers read"),
];

fn vectors() -> Vectors {
    Vectors::read(include_str!("../vectors/tlv.json"))
}

/// Objects 10001 to 10008 hold one type each; of others, the type is that of the expected value.
fn model(vector: &Json) -> Model {
    let mut model = Model::default();
    let tested = [
        ValueType::Integer,
        ValueType::Float,
        ValueType::Boolean,
        ValueType::ObjectLink,
        ValueType::Time,
        ValueType::String,
        ValueType::Opaque,
        ValueType::Unsigned,
    ];
    for (object, value_type) in (10_001..).zip(tested) {
        model.set(Path::object(object), value_type, false);
    }
    model.set(Path::resource(3, 0, 1), ValueType::String, false);
    model.set(Path::resource(3, 0, 22), ValueType::ObjectLink, true);
    model.set(Path::resource(2, 0, 0), ValueType::Integer, false);
    for (path, value) in expected(vector) {
        let value_type = match value {
            Json::String(_) => ValueType::String,
            Json::Bool(_) => ValueType::Boolean,
            Json::Number(n) if n.is_f64() => ValueType::Float,
            Json::Number(_) => ValueType::Integer,
            Json::Object(o) if o.contains_key("time") => ValueType::Time,
            Json::Object(o) if o.contains_key("objlnk") => ValueType::ObjectLink,
            Json::Object(o) if o.contains_key("corelnk") => ValueType::CoreLink,
            _ => ValueType::Opaque,
        };
        if !(10_001..=10_008).contains(&path.object_id().unwrap()) {
            model.set(path.truncate(3), value_type, path.level() == 4 || is_empty_node(value));
        }
    }
    model
}

/// Values and empty nodes, in the order of the file, which sorts its keys.
fn expected(vector: &Json) -> Vec<(Path, &Json)> {
    let values = vector["values"].as_object().into_iter().flatten();
    values.map(|(path, value)| (path.replace('?', "65535").parse().unwrap(), value)).collect()
}

fn is_empty_node(value: &Json) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty)
}

#[test]
fn every_vector_is_taken_or_refused_as_it_says() {
    let vectors = vectors();
    vectors.check_ids(REFUSED);
    for vector in vectors.iter() {
        let mut payload = payload(vector);
        if vector["header_only"] == true {
            payload.resize(payload.len() + 100_000, b'x');
        }
        let base = vector["path"].as_str().unwrap().parse().unwrap();
        let decoded = decode(TLV, base, &model(vector), &payload);
        assert_eq!(
            decoded.is_ok(),
            expects_ok(vector) && !decided(REFUSED, vector),
            "{}: {decoded:?}",
            id(vector)
        );
        let (Ok(content), Some(_)) = (decoded, vector.get("values")) else { continue };
        let (mut empty, mut values): (Vec<_>, Vec<_>) =
            expected(vector).into_iter().partition(|(_, value)| is_empty_node(value));
        empty.sort_by_key(|(path, _)| *path);
        values.sort_by_key(|(path, _)| *path);
        let mut entries = content.entries;
        entries.sort_by_key(|entry| entry.path);
        let values: Vec<_> = values.into_iter().map(|(path, value)| (path, None, value)).collect();
        assert_entries(id(vector), &entries, &values);
        if payload.is_empty() {
            assert_eq!(content.empty, if base.level() > 1 { vec![base] } else { vec![] }, "{}", id(vector));
        } else {
            let empty: Vec<Path> = empty.into_iter().map(|(path, _)| path).collect();
            assert_eq!(content.empty, empty, "{}", id(vector));
        }
    }
}

#[test]
fn what_is_read_is_written_as_the_same_bytes() {
    let vectors = vectors();
    vectors.check_ids(NOT_SHORTEST);
    for vector in vectors.iter() {
        let base = vector["path"].as_str().unwrap().parse().unwrap();
        let model = model(vector);
        let Ok(content) = decode(TLV, base, &model, &payload(vector)) else { continue };
        let written = encode_content(TLV, base, &content, &model).unwrap();
        if id(vector) == "tlv-leshan-empty-multiple" {
            // No bytes at all, which we read; we write the header of a multiple resource.
            assert_eq!(written, [0x80, 6]);
            continue;
        }
        // Differs exactly where the list says so.
        assert_eq!(
            written != payload(vector),
            decided(NOT_SHORTEST, vector),
            "{}: {written:02x?}",
            id(vector)
        );
        let mut again = decode(TLV, base, &model, &written).unwrap();
        let mut content = content;
        again.entries.sort_by_key(|entry| entry.path);
        content.entries.sort_by_key(|entry| entry.path);
        assert_eq!(again, content, "{}", id(vector));
    }
}

#[test]
fn without_a_model_values_stay_bytes() {
    let content =
        decode(TLV, Path::instance(3303, 0), &NoTypes, &[0xe4, 0x16, 0x44, 0x41, 0xf8, 0, 0]).unwrap();
    let value = Value::Opaque(vec![0x41, 0xf8, 0, 0]);
    assert_eq!(content, Content::from(vec![Entry::new(Path::resource(3303, 0, 5700), value)]));
}

#[test]
fn a_create_without_an_id_has_its_resources_alone() {
    let mut model = Model::default();
    model.set(Path::object(42), ValueType::Integer, false);
    let entries = [Entry::new(Path::resource(42, UNASSIGNED, 7), Value::Integer(300))];
    let payload = encode(TLV, Path::object(42), &entries, &model).unwrap();
    assert_eq!(payload, [0xc2, 7, 1, 44]);
    assert_eq!(decode(TLV, Path::object(42), &model, &payload).unwrap().entries, entries);
    // The other formats have no way to leave the instance out.
    let path = entries[0].path;
    for format in [ContentFormat::SenmlJson, ContentFormat::Lwm2mCbor, ContentFormat::Json] {
        let refused = Err(EncodeError::Inexpressible { format, path });
        assert_eq!(encode(format, Path::object(42), &entries, &model), refused);
    }
    let mixed = [entries[0].clone(), Entry::new(Path::resource(42, 0, 7), Value::Integer(1))];
    assert_eq!(
        encode(TLV, Path::object(42), &mixed, &model),
        Err(EncodeError::Inexpressible { format: TLV, path })
    );
}

#[test]
fn a_value_of_the_wrong_size_names_its_path() {
    let mut model = Model::default();
    model.set(Path::object(3303), ValueType::Float, false);
    let refused = decode(TLV, Path::instance(3303, 0), &model, &[0xc1, 1, 5]);
    let path = Path::resource(3303, 0, 1);
    assert_eq!(refused, Err(DecodeError::Type { path, expected: ValueType::Float, found: Found::Size(1) }));
}

#[test]
fn an_empty_create_has_no_bytes_and_times_cannot_be_written() {
    assert_eq!(encode(TLV, Path::object(42), &[], &NoTypes), Ok(vec![]));
    let path = Path::resource(3, 0, 9);
    let timed = [Entry::at(path, 1.7e9, Value::Integer(1))];
    assert_eq!(encode(TLV, path, &timed, &NoTypes), Err(EncodeError::Inexpressible { format: TLV, path }));
}
