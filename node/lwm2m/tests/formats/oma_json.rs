//! LwM2M JSON.

use godwit_lwm2m::entry::Entry;
use godwit_lwm2m::format::{ContentFormat, DecodeError, EncodeError, NoTypes, encode, encode_content};
use godwit_lwm2m::path::{Path, PathError};
use godwit_lwm2m::value::{Value, ValueType};
use serde_json::Value as Json;

use super::support::{Model, Vectors, assert_entries, decided, decode, expects_ok, id, payload};

const JSON: ContentFormat = ContentFormat::Json;

/// What we refuse although the vector expects it to be taken.
const REFUSED: &[(&str, &str)] = &[(
    "lwm2m-codec-json",
    "marked doubtful: /3303/0 and 5700 join to /3303/05700, and to guess a slash could name another resource",
)];

#[test]
fn every_vector_is_taken_or_refused_as_it_says() {
    let vectors = Vectors::read(include_str!("../vectors/oma-json.json"));
    vectors.check_ids(REFUSED);
    let mut model = Model::default();
    model.set(Path::resource(2, 0, 0), ValueType::Integer, false);
    for vector in vectors.iter() {
        let base = vector["path"].as_str().unwrap().parse().unwrap();
        let decoded = decode(JSON, base, &model, &payload(vector));
        let ok = expects_ok(vector) && !decided(REFUSED, vector);
        assert_eq!(decoded.is_ok(), ok, "{}: {decoded:?}", id(vector));
        let Ok(content) = decoded else { continue };
        let resolved = vector["resolved"].as_array().unwrap();
        let expected: Vec<_> = resolved.iter().map(expected).collect();
        assert_entries(id(vector), &content.entries, &expected);

        let written = encode_content(JSON, base, &content, &model).unwrap();
        let mut again = decode(JSON, base, &model, &written).unwrap();
        again.empty = content.empty.clone();
        assert_eq!(again, content, "{}: {}", id(vector), String::from_utf8_lossy(&written));
    }
}

fn expected(resolved: &Json) -> (Path, Option<f64>, &Json) {
    let value = ["number", "string", "boolean"].iter().find_map(|kind| resolved.get(kind));
    // Object links are compared with the whole object.
    let value = value.unwrap_or(resolved);
    (resolved["path"].as_str().unwrap().parse().unwrap(), resolved["time"].as_f64(), value)
}

#[test]
fn the_doubtful_join_says_what_is_wrong() {
    let payload = br#"{"bn":"/3303/0","e":[{"n":"5700","v":31}]}"#;
    assert_eq!(
        decode(JSON, Path::instance(3303, 0), &NoTypes, payload),
        Err(DecodeError::Name { name: "/3303/05700".into(), reason: PathError::LeadingZero { segment: 1 } })
    );
}

#[test]
fn the_written_form_has_a_base_name_and_short_names() {
    let entries = [
        Entry::new(Path::resource(3, 0, 0), Value::String("a \"b\"".into())),
        Entry::new(Path::resource_instance(3, 0, 6, 1), Value::Integer(5)),
        Entry::new(Path::resource(3, 0, 22), Value::ObjectLink { object: 66, instance: 1 }),
        Entry::new(Path::resource(3, 0, 23), Value::Opaque(vec![0xfb, 0xff])),
    ];
    let text = encode(JSON, Path::instance(3, 0), &entries, &NoTypes).unwrap();
    let expected = r#"{"bn":"/3/0/","e":[{"n":"0","sv":"a \"b\""},{"n":"6/1","v":5},{"n":"22","ov":"66:1"},{"n":"23","sv":"+/8="}]}"#;
    assert_eq!(String::from_utf8(text).unwrap(), expected);
    let one = [Entry::at(Path::resource(3, 0, 9), 1.7e9, Value::Float(0.5))];
    let text = encode(JSON, one[0].path, &one, &NoTypes).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), r#"{"bn":"/3/0/9","bt":1700000000,"e":[{"v":0.5}]}"#);
}

#[test]
fn what_json_cannot_write_is_an_error_with_the_path() {
    let path = Path::resource(3, 0, 9);
    for value in [f64::NAN, f64::INFINITY] {
        let entries = [Entry::new(path, Value::Float(value))];
        let refused = Err(EncodeError::Inexpressible { format: JSON, path });
        assert_eq!(encode(JSON, path, &entries, &NoTypes), refused);
    }
    let early = [Entry::at(path, 5.0, Value::Integer(1))];
    assert_eq!(encode(JSON, path, &early, &NoTypes), Err(EncodeError::Inexpressible { format: JSON, path }));
}
