//! The formats of one value: text, link format, bytes.

use godwit_lwm2m::entry::Entry;
use godwit_lwm2m::format::{ContentFormat, DecodeError, EncodeError, Found, NoTypes, encode};
use godwit_lwm2m::path::Path;
use godwit_lwm2m::value::{Value, ValueType};

use super::support::{Model, decode};

fn model(path: Path, value_type: ValueType) -> Model {
    let mut model = Model::default();
    model.set(path, value_type, false);
    model
}

#[test]
fn numbers_of_formats_are_registered_or_old() {
    for number in [0, 40, 42, 60, 110, 112, 320, 322, 11542, 11543, 11544] {
        assert_eq!(ContentFormat::from_number(number).unwrap().number(), number);
    }
    let old = [(1541, 0), (1542, 11542), (1543, 11543), (1544, 42)];
    for (old, number) in old {
        assert_eq!(ContentFormat::from_number(old).unwrap().number(), number);
    }
    assert_eq!(ContentFormat::from_number(50), None);
}

#[test]
fn text_is_written_and_read_by_the_models_type() {
    let path = Path::resource(3303, 0, 5700);
    let cases = [
        ("Grüße", Value::String("Grüße".into())),
        ("", Value::String(String::new())),
        ("-12", Value::Integer(-12)),
        ("18446744073709551615", Value::Unsigned(u64::MAX)),
        ("22.5", Value::Float(22.5)),
        ("31", Value::Float(31.0)),
        ("1", Value::Boolean(true)),
        ("0", Value::Boolean(false)),
        ("+/8=", Value::Opaque(vec![0xfb, 0xff])),
        ("1367491215", Value::Time(1_367_491_215)),
        ("3:0", Value::ObjectLink { object: 3, instance: 0 }),
        ("</3/0>;ver=1.1", Value::CoreLink("</3/0>;ver=1.1".into())),
    ];
    for (text, value) in cases {
        let types = model(path, value.value_type());
        let entries = vec![Entry::new(path, value)];
        assert_eq!(encode(ContentFormat::Text, path, &entries, &types).unwrap(), text.as_bytes());
        assert_eq!(decode(ContentFormat::Text, path, &types, text.as_bytes()).unwrap().entries, entries);
    }
}

#[test]
fn a_text_of_another_type_names_path_and_type() {
    let path = Path::resource(3303, 0, 5700);
    let refused = decode(ContentFormat::Text, path, &model(path, ValueType::Float), b"warm");
    let error = DecodeError::Type { path, expected: ValueType::Float, found: Found::Text };
    assert_eq!(refused, Err(error.clone()));
    assert_eq!(error.to_string(), "/3303/0/5700 is Float, not text");
}

#[test]
fn without_a_model_the_format_is_the_type() {
    let path = Path::resource(32_000, 0, 1);
    let read =
        |format, payload: &[u8]| decode(format, path, &NoTypes, payload).unwrap().entries.remove(0).value;
    assert_eq!(read(ContentFormat::Text, b"12"), Value::String("12".into()));
    assert_eq!(read(ContentFormat::Opaque, b"12"), Value::Opaque(b"12".to_vec()));
    assert_eq!(read(ContentFormat::CoreLink, b"</1>"), Value::CoreLink("</1>".into()));
    assert_eq!(read(ContentFormat::Cbor, b"\x0c"), Value::Integer(12));
}

#[test]
fn bytes_and_links_are_no_numbers() {
    let path = Path::resource(3303, 0, 5700);
    let types = model(path, ValueType::Float);
    for (format, found) in [(ContentFormat::Opaque, Found::Bytes), (ContentFormat::CoreLink, Found::Text)] {
        let refused = Err(DecodeError::Type { path, expected: ValueType::Float, found });
        assert_eq!(decode(format, path, &types, b"12"), refused);
        let entries = [Entry::new(path, Value::Float(1.0))];
        assert_eq!(encode(format, path, &entries, &types), Err(EncodeError::Inexpressible { format, path }));
    }
}

#[test]
fn one_value_needs_a_path_that_has_one() {
    for format in [ContentFormat::Text, ContentFormat::Opaque, ContentFormat::CoreLink, ContentFormat::Cbor] {
        assert!(format.is_single());
        let path = Path::instance(3, 0);
        assert_eq!(decode(format, path, &NoTypes, b"\x00"), Err(DecodeError::Misplaced { path }));
        let two = [9, 10].map(|id| Entry::new(Path::resource(3, 0, id), Value::Integer(1)));
        assert_eq!(encode(format, path, &two, &NoTypes), Err(EncodeError::Unsupported { format }));
    }
}

#[test]
fn an_integer_may_be_given_for_a_float_but_no_fraction_for_an_integer() {
    let path = Path::resource(3303, 0, 5700);
    let entries = |value| [Entry::new(path, value)];
    let float = model(path, ValueType::Float);
    let written = encode(ContentFormat::Tlv, path, &entries(Value::Integer(1)), &float).unwrap();
    assert_eq!(written, [0xe4, 0x16, 0x44, 0x3f, 0x80, 0, 0]);
    let integer = model(path, ValueType::Integer);
    let refused = EncodeError::Type { path, expected: ValueType::Integer, found: Found::Fraction };
    assert_eq!(encode(ContentFormat::Tlv, path, &entries(Value::Float(1.5)), &integer), Err(refused.clone()));
    assert_eq!(refused.path(), Some(path));
}
