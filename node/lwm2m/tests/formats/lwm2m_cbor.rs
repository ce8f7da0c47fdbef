//! LwM2M CBOR.

use godwit_lwm2m::entry::{Content, Entry};
use godwit_lwm2m::format::{
    ContentFormat, DecodeError, EncodeError, Limits, NoTypes, Reason, decode_paths, encode, encode_content,
    encode_paths,
};
use godwit_lwm2m::path::Path;
use godwit_lwm2m::value::Value;

use super::support::{Vectors, assert_entries, decode, expects_ok, id, payload};

const CBOR: ContentFormat = ContentFormat::Lwm2mCbor;

#[test]
fn every_vector_is_taken_or_refused_as_it_says() {
    let vectors = Vectors::read(include_str!("../vectors/lwm2m-cbor.json"));
    let mut gateways = 0;
    for vector in vectors.iter() {
        let base = vector["base"].as_str().unwrap_or("/").parse().unwrap();
        let decoded = decode(CBOR, base, &NoTypes, &payload(vector));
        if id(vector) == "anjay-in-gw-path-prefix-mismatch-1" {
            // Refused there because the request had a prefix. Ours has none.
            assert_eq!(decoded.unwrap().entries.len(), 1);
            continue;
        }
        // We are no server of LwM2M gateways: a device prefix is refused wherever it stands.
        if vector["gateway"] == true {
            gateways += 1;
            assert!(matches!(decoded, Err(DecodeError::Malformed { .. })), "{}: {decoded:?}", id(vector));
            continue;
        }
        assert_eq!(decoded.is_ok(), expects_ok(vector), "{}: {decoded:?}", id(vector));
        let Ok(content) = decoded else { continue };
        let expected = vector["values"].as_array().unwrap().iter();
        let expected = expected.map(|v| (v["path"].as_str().unwrap().parse::<Path>().unwrap(), &v["value"]));
        let (nulls, values): (Vec<_>, Vec<_>) = expected.partition(|(_, value)| value.is_null());
        let values: Vec<_> = values.into_iter().map(|(path, value)| (path, None, value)).collect();
        assert_entries(id(vector), &content.entries, &values);
        let nulls: Vec<Path> = nulls.into_iter().map(|(path, _)| path).collect();
        assert_eq!(content.nulls, nulls, "{}", id(vector));

        let written = encode_content(CBOR, base, &content, &NoTypes).unwrap();
        assert!(written.len() <= payload(vector).len(), "{}: {written:02x?} is longer", id(vector));
        let mut again = decode(CBOR, base, &NoTypes, &written).unwrap();
        let mut content = content;
        again.entries.sort_by_key(|entry| entry.path);
        content.entries.sort_by_key(|entry| entry.path);
        assert_eq!(again, content, "{}", id(vector));
    }
    assert_eq!(gateways, 29);
}

#[test]
fn ids_that_lead_to_one_member_are_joined() {
    let entry = |path, n| Entry::new(path, Value::Integer(n));
    let one = [entry(Path::resource(13, 26, 1), 42)];
    assert_eq!(encode(CBOR, Path::ROOT, &one, &NoTypes).unwrap(), b"\xa1\x83\x0d\x18\x1a\x01\x18\x2a");
    let two = [entry(Path::resource(13, 26, 2), 21), entry(Path::resource(13, 26, 1), 42)];
    let payload = encode(CBOR, Path::ROOT, &two, &NoTypes).unwrap();
    assert_eq!(payload, b"\xa1\x82\x0d\x18\x1a\xa2\x01\x18\x2a\x02\x15");
}

#[test]
fn empty_nodes_and_nulls_are_kept() {
    let content = Content {
        entries: vec![Entry::new(Path::resource(3, 0, 9), Value::Integer(1))],
        empty: vec![Path::resource(3, 0, 6), Path::instance(4, 0)],
        nulls: vec![Path::resource_instance(3, 0, 7, 1)],
    };
    let payload = encode_content(CBOR, Path::ROOT, &content, &NoTypes).unwrap();
    assert_eq!(decode(CBOR, Path::ROOT, &NoTypes, &payload), Ok(content));
}

#[test]
fn paths_that_are_asked_for_have_null() {
    let paths = [Path::resource(3, 0, 0), Path::resource(3, 0, 9), Path::object(4)];
    let payload = encode_paths(CBOR, &paths).unwrap();
    assert_eq!(payload, b"\xa2\x82\x03\x00\xa2\x00\xf6\x09\xf6\x04\xf6");
    assert_eq!(decode_paths(CBOR, &payload, &Limits::default()), Ok(paths.to_vec()));
    let value = decode_paths(CBOR, b"\xa1\x03\x01", &Limits::default());
    assert_eq!(value, Err(DecodeError::Malformed { offset: 2, reason: Reason::Value }));

    let above = [Path::object(3), Path::resource(3, 0, 0)];
    assert_eq!(
        encode_paths(CBOR, &above),
        Err(EncodeError::Inexpressible { format: CBOR, path: Path::object(3) })
    );
    assert!(encode_paths(CBOR, &[Path::ROOT]).is_err());
}

#[test]
fn one_path_in_two_spellings_is_a_duplicate() {
    // {[3, 0, 9]: 1, 3: {0: {9: 2}}}
    let refused = decode(CBOR, Path::ROOT, &NoTypes, b"\xa2\x83\x03\x00\x09\x01\x03\xa1\x00\xa1\x09\x02");
    assert_eq!(refused, Err(DecodeError::Duplicate { path: Path::resource(3, 0, 9) }));
}
