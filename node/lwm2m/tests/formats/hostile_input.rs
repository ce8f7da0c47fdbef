//! Decoders answer any bytes, within their limits.

use godwit_lwm2m::entry::{Content, Entry};
use godwit_lwm2m::format::{
    ContentFormat, DecodeContext, DecodeError, Limit, Limits, NoTypes, Types, decode, decode_paths, encode,
    encode_content,
};
use godwit_lwm2m::path::Path;
use godwit_lwm2m::value::{Value, ValueType};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::support::{Model, NOW};

fn bounded(format: ContentFormat, base: Path, types: &dyn Types, limits: &Limits, payload: &[u8]) {
    let _ = decode_paths(format, payload, limits).map(|paths| assert!(paths.len() <= limits.entries));
    let context = DecodeContext { base, types, now: NOW, limits };
    match decode(format, &context, payload) {
        Ok(content) => {
            write_and_read_again(format, &context, &content);
            let Content { entries, empty, nulls } = content;
            assert!(payload.len() <= limits.bytes);
            assert!(entries.len() + empty.len() + nulls.len() <= limits.entries);
            assert!(entries.iter().all(|e| e.path.starts_with(&base) && e.path.is_value()));
            assert!(entries.iter().all(|e| e.time.is_none_or(f64::is_finite)));
            let typed = |e: &Entry| types.value_type(&e.path).is_none_or(|t| t == e.value.value_type());
            assert!(entries.iter().all(typed));
        }
        Err(DecodeError::Malformed { offset, .. }) => assert!(offset <= payload.len()),
        Err(_) => {}
    }
}

/// What was read can be written and read again, unless the form of the payload was the only one that
/// could say it: a time long ago, a JSON document of infinities.
fn write_and_read_again(format: ContentFormat, context: &DecodeContext<'_>, content: &Content) {
    let Ok(payload) = encode_content(format, context.base, content, context.types) else {
        let odd = |e: &Entry| e.time.is_some_and(|t| t < 268_435_456.0);
        assert!(content.entries.iter().any(odd), "{format:?} cannot write {content:?}");
        return;
    };
    // Shorter forms only, but for the base name that LwM2M JSON may leave out.
    let unlimited = Limits { bytes: usize::MAX, entries: usize::MAX, depth: 16 };
    let again = decode(format, &DecodeContext { limits: &unlimited, ..*context }, &payload).unwrap();
    // By their text, because NaN is not itself.
    let sorted = |content: &Content| {
        let entries = content.entries.iter().map(|e| format!("{e:?}"));
        let empty = content.empty.iter().chain(&content.nulls).map(|p| format!("{p}"));
        let mut sorted: Vec<String> = entries.chain(empty).collect();
        sorted.sort();
        sorted
    };
    assert_eq!(sorted(&again), sorted(content), "{format:?}");
}

fn model() -> Model {
    let mut model = Model::default();
    model.set(Path::object(3), ValueType::Integer, true);
    model.set(Path::object(4), ValueType::Float, false);
    model.set(Path::object(5), ValueType::Opaque, false);
    model.set(Path::object(6), ValueType::Time, false);
    model
}

fn base() -> impl Strategy<Value = Path> {
    select(vec![
        Path::ROOT,
        Path::object(3),
        Path::instance(3, 0),
        Path::resource(3, 0, 9),
        Path::resource_instance(3, 0, 9, 0),
        Path::resource(6, 0, 5),
    ])
}

/// Tokens that the grammars know, so that random input gets past the first byte.
fn json() -> impl Strategy<Value = Vec<u8>> {
    let tokens = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"bn\"",
        "\"n\"",
        "\"e\"",
        "\"v\"",
        "\"vs\"",
        "\"vd\"",
        "\"vlo\"",
        "\"t\"",
        "\"bt\"",
        "\"bv\"",
        "\"/3/0/\"",
        "\"9\"",
        "\"/3/0/9\"",
        "1",
        "-1.5e3",
        "null",
        "true",
        "\"3:0\"",
        "\"AQ\"",
        "\"\\u00e9\"",
        " ",
        "1e400",
        "\"x_\"",
    ];
    vec(select(tokens.to_vec()), 0..40).prop_map(|tokens| tokens.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes(payload in vec(any::<u8>(), 0..200), base in base(), format in select(ContentFormat::ALL.to_vec())) {
        bounded(format, base, &model(), &Limits::default(), &payload);
        bounded(format, base, &NoTypes, &Limits { bytes: 64, entries: 3, depth: 3 }, &payload);
    }

    #[test]
    fn tokens_in_any_order(payload in json(), base in base(), format in select(ContentFormat::ALL.to_vec())) {
        bounded(format, base, &model(), &Limits { entries: 3, ..Limits::default() }, &payload);
    }

    #[test]
    fn good_payloads_with_changed_bytes(
        format in select(ContentFormat::ALL[4..].to_vec()),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in any::<Index>(),
    ) {
        let (base, model) = (Path::object(3), model());
        let entries: Vec<Entry> = (0..6)
            .flat_map(|id| [Path::resource_instance(3, 0, 1, id), Path::resource(3, 0, id + 2)])
            .map(|path| Entry::new(path, Value::Integer(70_000)))
            .collect();
        let mut payload = encode(format, base, &entries, &model).expect("can be written");
        for (at, byte) in changes {
            *at.get_mut(&mut payload) = byte;
        }
        bounded(format, base, &model, &Limits::default(), &payload);
        payload.truncate(cut.index(payload.len()));
        bounded(format, base, &model, &Limits::default(), &payload);
    }
}

#[test]
fn each_limit_names_itself() {
    let read = |format, limits: Limits, payload: &[u8]| {
        let context = DecodeContext { base: Path::ROOT, types: &NoTypes, now: NOW, limits: &limits };
        decode(format, &context, payload)
    };
    let limits = Limits { bytes: 100, entries: 2, depth: 4 };
    let long = vec![b' '; 101];
    assert_eq!(
        read(ContentFormat::SenmlJson, limits, &long),
        Err(DecodeError::Limit { limit: Limit::Bytes, max: 100 })
    );
    let three = br#"[{"n":"/3/0/1","v":1},{"n":"/3/0/2","v":1},{"n":"/3/0/3","v":1}]"#;
    let entries = Err(DecodeError::Limit { limit: Limit::Entries, max: 2 });
    assert_eq!(read(ContentFormat::SenmlJson, limits, three), entries);
    assert_eq!(
        read(ContentFormat::Lwm2mCbor, limits, b"\xa1\x82\x03\x00\xa3\x01\x01\x02\x01\x03\x01"),
        entries
    );
    let depth = Err(DecodeError::Limit { limit: Limit::Depth, max: 4 });
    assert_eq!(read(ContentFormat::SenmlJson, limits, br#"[{"x":[[[]]]}]"#), depth);
    assert_eq!(read(ContentFormat::SenmlCbor, limits, b"\x81\xa1\x61x\x81\x81\x81\x01"), depth);
}

#[test]
fn deep_nesting_of_a_whole_datagram_is_only_an_error() {
    for byte in [0x81, 0x9f, 0xa1, 0xbf, 0xc1, 0xd8, b'[', b'{', 0x00, 0x08, 0x80, 0x88] {
        let payload = vec![byte; 60_000];
        for format in ContentFormat::ALL {
            bounded(format, Path::object(3), &model(), &Limits::default(), &payload);
        }
    }
    // A label that nobody knows, with an array in an array in an array…
    let mut payload = b"\x81\xa1\x61x".to_vec();
    payload.resize(60_000, 0x81);
    bounded(ContentFormat::SenmlCbor, Path::ROOT, &NoTypes, &Limits::default(), &payload);
}

#[test]
fn an_announced_length_reserves_no_memory() {
    // Arrays and maps of 2^64 − 1 members, and strings as long.
    for payload in [&b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff\x03"]
    {
        for format in [ContentFormat::SenmlCbor, ContentFormat::Lwm2mCbor, ContentFormat::Cbor] {
            bounded(format, Path::resource(3, 0, 9), &NoTypes, &Limits::default(), payload);
        }
    }
    for payload in [&b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x7b\xff\xff\xff\xff\xff\xff\xff\xff"] {
        bounded(ContentFormat::Cbor, Path::resource(3, 0, 9), &NoTypes, &Limits::default(), payload);
    }
}
