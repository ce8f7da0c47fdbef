//! SenML JSON and CBOR, their ETCH twins, and the plain CBOR of format 60.

use godwit_lwm2m::entry::{Content, Entry};
use godwit_lwm2m::format::{
    ContentFormat, DecodeError, EncodeError, Limits, NoTypes, Reason, decode_paths, encode, encode_content,
    encode_paths,
};
use godwit_lwm2m::path::Path;
use godwit_lwm2m::value::{Value, ValueType};
use serde_json::Value as Json;

use super::support::{Model, Vectors, assert_entries, decided, decode, expects_ok, id, payload, same};

/// What we take although the vector expects it to be refused.
const TAKEN: &[(&str, &str)] = &[
    ("wakaama-cbor-30", "an indefinite array with its end; other sources have and take those"),
    ("wakaama-cbor-31", "an indefinite map; other sources have and take those"),
];

/// What we refuse although the vector expects it to be taken.
const REFUSED: &[(&str, &str)] = &[
    ("wakaama-json-17", "/67/0/00 is no path: every path has one spelling"),
    ("wakaama-cbor-17", "the same in CBOR"),
    ("rfc8949-null", "good CBOR, but not the value of a resource"),
];

fn vectors() -> Vectors {
    let vectors = Vectors::read(include_str!("../vectors/senml.json"));
    vectors.check_ids(TAKEN);
    vectors.check_ids(REFUSED);
    vectors
}

fn format(vector: &Json) -> ContentFormat {
    ContentFormat::from_number(vector["format"].as_u64().unwrap() as u16).unwrap()
}

/// Value fields of a resolved record; `None` for a path that is asked for.
fn value(resolved: &Json) -> Option<&Json> {
    let plain = ["number", "string", "boolean"].iter().find_map(|kind| resolved.get(kind));
    plain.or(resolved.get("objlnk").or(resolved.get("bytes")).map(|_| resolved))
}

#[test]
fn every_vector_is_taken_or_refused_as_it_says() {
    for vector in vectors().iter() {
        let (format, payload) = (format(vector), payload(vector));
        let resolved: &[Json] = vector["resolved"].as_array().map_or(&[], Vec::as_slice);
        let ok = expects_ok(vector) && !decided(REFUSED, vector) || decided(TAKEN, vector);
        let asks = id(vector).contains("-paths-")
            || !resolved.is_empty() && resolved.iter().all(|resolved| value(resolved).is_none());
        if let Some(expected) = vector.get("value").filter(|_| ok) {
            let base = Path::resource(3303, 0, 5700);
            let content = decode(format, base, &NoTypes, &payload).unwrap();
            assert!(same(&content.entries[0].value, expected), "{}: {content:?}", id(vector));
            continue;
        }
        if resolved.iter().any(|r| r["name"].as_str().unwrap().parse::<Path>().is_err()) {
            // Names of other worlds than LwM2M; the unit test in senml.rs checks what they resolve to.
            let refused = decode(format, Path::ROOT, &NoTypes, &payload);
            let named = matches!(refused, Err(DecodeError::Name { .. }));
            assert!(named || asks && refused.is_err(), "{}: {refused:?}", id(vector));
            continue;
        }
        if asks {
            let paths = decode_paths(format, &payload, &Limits::default());
            assert_eq!(paths.is_ok(), ok, "{}: {paths:?}", id(vector));
            let Ok(paths) = paths else { continue };
            let expected: Vec<Path> =
                resolved.iter().map(|r| r["name"].as_str().unwrap().parse().unwrap()).collect();
            assert_eq!(paths, expected, "{}", id(vector));
            let again = encode_paths(format, &paths).unwrap();
            assert_eq!(decode_paths(format, &again, &Limits::default()), Ok(paths));
            continue;
        }
        let base = if format == ContentFormat::Cbor { Path::resource(3303, 0, 5700) } else { Path::ROOT };
        let decoded = decode(format, base, &NoTypes, &payload);
        assert_eq!(decoded.is_ok(), ok, "{}: {decoded:?}", id(vector));
        let Ok(content) = decoded else { continue };
        if vector.get("resolved").is_some() {
            let expected: Vec<_> = resolved
                .iter()
                .map(|r| {
                    (r["name"].as_str().unwrap().parse().unwrap(), r["time"].as_f64(), value(r).unwrap())
                })
                .collect();
            assert_entries(id(vector), &content.entries, &expected);
        }
        write_and_read_again(id(vector), format, &content);
    }
}

fn write_and_read_again(id: &str, format: ContentFormat, content: &Content) {
    match encode_content(format, Path::ROOT, content, &NoTypes) {
        Ok(payload) => {
            let again = decode(format, Path::ROOT, &NoTypes, &payload).unwrap();
            // NaN is not itself.
            assert_eq!(format!("{again:?}"), format!("{content:?}"), "{id}");
        }
        Err(error) => panic!("{id}: {error}"),
    }
}

#[test]
fn the_written_form_is_that_of_the_specification() {
    let entries = [
        Entry::new(Path::resource(3, 0, 0), Value::String("Godwit".into())),
        Entry::new(Path::resource_instance(3, 0, 7, 0), Value::Integer(3800)),
    ];
    let write = |format, base, entries: &[Entry]| encode(format, base, entries, &NoTypes).unwrap();
    let text = |format, base, entries| String::from_utf8(write(format, base, entries)).unwrap();
    let json = ContentFormat::SenmlJson;
    assert_eq!(
        text(json, Path::instance(3, 0), &entries),
        r#"[{"bn":"/3/0/","n":"0","vs":"Godwit"},{"n":"7/0","v":3800}]"#
    );
    assert_eq!(
        text(json, Path::ROOT, &entries),
        r#"[{"n":"/3/0/0","vs":"Godwit"},{"n":"/3/0/7/0","v":3800}]"#
    );
    let one = [Entry::new(Path::resource(0, 0, 3), Value::Opaque(vec![0xab, 0xcd, 0xef]))];
    assert_eq!(text(json, one[0].path, &one), r#"[{"bn":"/0/0/3","vd":"q83v"}]"#);
    // The same bytes that Leshan writes.
    assert_eq!(
        write(ContentFormat::SenmlCbor, one[0].path, &one),
        b"\x81\xa2\x21\x66/0/0/3\x08\x43\xab\xcd\xef"
    );
}

#[test]
fn times_are_written_once_where_they_are_equal() {
    let path = Path::resource(3, 0, 9);
    let at = |path, time| Entry::at(path, time, Value::Integer(95));
    let json = |entries: &[Entry]| {
        String::from_utf8(encode(ContentFormat::SenmlJson, Path::ROOT, entries, &NoTypes).unwrap()).unwrap()
    };
    assert_eq!(
        json(&[at(path, 1.7e9), at(Path::resource(3, 0, 10), 1.7e9)]),
        r#"[{"bt":1700000000,"n":"/3/0/9","v":95},{"n":"/3/0/10","v":95}]"#
    );
    assert_eq!(
        json(&[at(path, 1.7e9), at(path, 1_700_000_001.5), Entry::new(path, Value::Integer(95))]),
        r#"[{"n":"/3/0/9","t":1700000000,"v":95},{"n":"/3/0/9","t":1700000001.5,"v":95},{"n":"/3/0/9","v":95}]"#
    );
}

#[test]
fn nulls_belong_to_etch() {
    let payload = br#"[{"n":"/3/0/6/1","v":null},{"n":"/3/0/9","v":5}]"#;
    let content = decode(ContentFormat::SenmlEtchJson, Path::ROOT, &NoTypes, payload).unwrap();
    let path = Path::resource_instance(3, 0, 6, 1);
    assert_eq!(content.nulls, [path]);
    assert_eq!(content.entries.len(), 1);
    assert_eq!(
        decode(ContentFormat::SenmlJson, Path::ROOT, &NoTypes, payload),
        Err(DecodeError::Malformed { offset: 1, reason: Reason::Value })
    );
    let etch = ContentFormat::SenmlEtchCbor;
    let written = encode_content(etch, Path::ROOT, &content, &NoTypes).unwrap();
    assert_eq!(decode(etch, Path::ROOT, &NoTypes, &written), Ok(content.clone()));
    let format = ContentFormat::SenmlCbor;
    let refused = Err(EncodeError::Inexpressible { format, path });
    assert_eq!(encode_content(format, Path::ROOT, &content, &NoTypes), refused);
}

#[test]
fn a_base_value_is_added_and_keeps_integers_whole() {
    let payload = br#"[{"n":"/3/0/9","bv":9007199254740993,"v":9007199254740992},{"n":"/3/0/10","vs":"x"}]"#;
    let content = decode(ContentFormat::SenmlJson, Path::ROOT, &NoTypes, payload).unwrap();
    assert_eq!(content.entries[0].value, Value::Integer(18_014_398_509_481_985));
    assert_eq!(content.entries[1].value, Value::String("x".into()));
}

#[test]
fn a_record_twice_or_with_two_values_is_refused() {
    let decode = |text: &str| decode(ContentFormat::SenmlJson, Path::ROOT, &NoTypes, text.as_bytes());
    let path = Path::resource(3, 0, 9);
    let twice = r#"[{"n":"/3/0/9","v":1},{"n":"/3/0/9","v":1}]"#;
    assert_eq!(decode(twice), Err(DecodeError::Duplicate { path }));
    for text in [r#"[{"n":"/3/0/9","v":1,"vs":"1"}]"#, r#"[{"n":"/3/0/9","n":"/3/0/9","v":1}]"#] {
        assert!(
            matches!(decode(text), Err(DecodeError::Malformed { reason: Reason::Repeated, .. })),
            "{text}"
        );
    }
    let above = r#"[{"n":"/3/0","v":1}]"#;
    assert_eq!(decode(above), Err(DecodeError::Misplaced { path: Path::instance(3, 0) }));
    let reserved = r#"[{"n":"/3/65535/1","v":1}]"#;
    assert_eq!(decode(reserved), Err(DecodeError::Reserved { path: Path::resource(3, 65535, 1) }));
}

#[test]
fn an_empty_pack_says_that_the_path_is_empty() {
    let mut model = Model::default();
    model.set(Path::resource(3, 0, 6), ValueType::Integer, true);
    model.set(Path::resource(3, 0, 9), ValueType::Integer, false);
    let read = |base| decode(ContentFormat::SenmlJson, base, &model, b"[]");
    assert_eq!(read(Path::resource(3, 0, 6)).unwrap().empty, [Path::resource(3, 0, 6)]);
    assert_eq!(read(Path::instance(3, 0)).unwrap().empty, [Path::instance(3, 0)]);
    assert_eq!(read(Path::object(3)), Ok(Content::default()));
    let single = Path::resource(3, 0, 9);
    assert_eq!(read(single), Err(DecodeError::Misplaced { path: single }));
}

#[test]
fn a_time_may_be_an_epoch_a_date_or_a_number() {
    let mut model = Model::default();
    let path = Path::resource(3, 0, 13);
    model.set(path, ValueType::Time, false);
    let time = Content::from(vec![Entry::new(path, Value::Time(1_367_491_215))]);
    let cbor = |payload: &[u8]| decode(ContentFormat::Cbor, path, &model, payload);
    assert_eq!(cbor(b"\x1a\x51\x82\x42\x8f").as_ref(), Ok(&time));
    assert_eq!(cbor(b"\xc1\x1a\x51\x82\x42\x8f").as_ref(), Ok(&time));
    assert_eq!(cbor(b"\xc0\x78\x192013-05-02T10:40:15-00:00").as_ref(), Ok(&time));
    let written = encode(ContentFormat::Cbor, path, &time.entries, &model).unwrap();
    assert_eq!(written, b"\xc1\x1a\x51\x82\x42\x8f");
}
