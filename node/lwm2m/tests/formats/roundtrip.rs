//! What is encoded is decoded the same, in every format and type.

use godwit_lwm2m::entry::Entry;
use godwit_lwm2m::format::{ContentFormat, Limits, decode_paths, encode, encode_paths};
use godwit_lwm2m::path::Path;
use godwit_lwm2m::value::Value;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::support::{Model, decode};

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        ".{0,40}".prop_map(Value::String),
        any::<i64>().prop_map(Value::Integer),
        (-300i64..300).prop_map(Value::Integer),
        any::<u64>().prop_map(Value::Unsigned),
        proptest::num::f64::NORMAL.prop_map(Value::Float),
        (-5000i32..5000).prop_map(|n| Value::Float(f64::from(n) / 8.0)),
        any::<bool>().prop_map(Value::Boolean),
        vec(any::<u8>(), 0..300).prop_map(Value::Opaque),
        any::<i64>().prop_map(Value::Time),
        any::<(u16, u16)>().prop_map(|(object, instance)| Value::ObjectLink { object, instance }),
        "[</0-9>;=a-z\"]{0,40}".prop_map(Value::CoreLink),
    ]
}

fn id() -> impl Strategy<Value = u16> {
    prop_oneof![0u16..4, 250u16..260, 0u16..u16::MAX]
}

/// Entries in tree order below one object, every third resource a multiple one.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let resources = btree_map((id(), id()), (value(), btree_map(id(), value(), 1..4)), 1..12);
    (id(), resources).prop_map(|(object, resources)| {
        let mut entries = Vec::new();
        for ((instance, resource), (single, instances)) in resources {
            let path = Path::resource(object, instance, resource);
            if resource % 3 != 0 {
                entries.push(Entry::new(path, single));
                continue;
            }
            let same_type =
                instances.into_iter().filter(|(_, value)| value.value_type() == single.value_type());
            let before = entries.len();
            entries.extend(same_type.map(|(id, value)| Entry::new(path.child(id).expect("level 4"), value)));
            if entries.len() == before {
                entries.push(Entry::new(path.child(0).expect("level 4"), single));
            }
        }
        entries
    })
}

fn model(entries: &[Entry]) -> Model {
    let mut model = Model::default();
    for entry in entries {
        model.set(entry.path.truncate(3), entry.value.value_type(), entry.path.level() == 4);
    }
    model
}

const STRUCTURED: [ContentFormat; 7] = [
    ContentFormat::SenmlJson,
    ContentFormat::SenmlCbor,
    ContentFormat::SenmlEtchJson,
    ContentFormat::SenmlEtchCbor,
    ContentFormat::Tlv,
    ContentFormat::Json,
    ContentFormat::Lwm2mCbor,
];

proptest! {
    #[test]
    fn many_values(entries in entries()) {
        let model = model(&entries);
        let object = entries[0].path.truncate(1);
        for format in STRUCTURED {
            for base in [Path::ROOT, object] {
                if format == ContentFormat::Tlv && base == Path::ROOT {
                    continue;
                }
                let payload = encode(format, base, &entries, &model).expect("can be written");
                let decoded = decode(format, base, &model, &payload).expect("can be read");
                prop_assert_eq!(&decoded.entries, &entries, "{:?}", format);
                prop_assert!(decoded.empty.is_empty() && decoded.nulls.is_empty());
                // The same values give the same bytes.
                prop_assert_eq!(encode(format, base, &entries, &model), Ok(payload));
            }
        }
    }

    #[test]
    fn one_value_at_its_own_path(value in value(), instance in proptest::option::of(id())) {
        let resource = Path::resource(3303, 0, 5700);
        let path = instance.map_or(resource, |id| resource.child(id).expect("level 4"));
        let format_of_type = match value {
            Value::Opaque(_) => ContentFormat::Opaque,
            Value::CoreLink(_) => ContentFormat::CoreLink,
            _ => ContentFormat::Text,
        };
        let entries = vec![Entry::new(path, value)];
        let model = model(&entries);
        let single = [ContentFormat::Text, ContentFormat::Cbor, format_of_type];
        for format in STRUCTURED.into_iter().chain(single) {
            let payload = encode(format, path, &entries, &model).expect("can be written");
            let decoded = decode(format, path, &model, &payload).expect("can be read");
            prop_assert_eq!(&decoded.entries, &entries, "{:?}", format);
        }
    }

    #[test]
    fn times(times in btree_set(268_435_456_000u64..4_000_000_000_000, 1..8), equal in any::<bool>()) {
        let first = *times.first().expect("one at least");
        let entries: Vec<Entry> = (0..).zip(&times).map(|(id, ms)| {
            let ms = if equal { first } else { *ms };
            Entry::at(Path::resource(3, 0, id), ms as f64 / 1000.0, Value::Integer(1))
        }).collect();
        let model = model(&entries);
        for format in [ContentFormat::SenmlJson, ContentFormat::SenmlCbor, ContentFormat::Json] {
            let payload = encode(format, Path::ROOT, &entries, &model).expect("can be written");
            prop_assert_eq!(&decode(format, Path::ROOT, &model, &payload).expect("can be read").entries, &entries);
        }
    }

    #[test]
    fn paths(paths in btree_set((id(), id(), id()), 0..20)) {
        let paths: Vec<Path> = paths.into_iter().map(|(o, i, r)| Path::resource(o, i, r)).collect();
        let formats = [ContentFormat::SenmlJson, ContentFormat::SenmlEtchCbor, ContentFormat::SenmlCbor, ContentFormat::Lwm2mCbor];
        for format in formats {
            let payload = encode_paths(format, &paths).expect("can be written");
            prop_assert_eq!(&decode_paths(format, &payload, &Limits::default()).expect("can be read"), &paths);
        }
    }
}
