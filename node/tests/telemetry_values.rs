//! Every type of value, in the line that a sink writes: one file in `golden/` for each case.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs, path::PathBuf, sync::Arc};

use godwit::{
    identity::{DeviceId, RegistrationId},
    profile::Profile,
    telemetry::{
        Cause, Event, Identity, Orders, Origin, Record, Site, Uplink, encode, event, operation, records,
    },
};
use godwit_lwm2m::{
    entry::Entry,
    model::{ModelRegistry, ModelSet, ObjectVersion},
    path::Path,
    value::Value,
};
use godwit_proto::v1::{self, command, profile::mapping, value};

/// 2026-01-01T00:00:00.250Z
const NOW: u64 = 1_767_225_600_250;

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn models() -> ModelSet {
    let objects = [1, 3, 4, 6, 3303].map(|id| (id, ObjectVersion::V1_0));
    ModelSet::new(&ModelRegistry::builtin(), objects)
}

fn profile(mappings: &[(&str, &str, mapping::Kind)]) -> Profile {
    let mapping = |(path, key, kind): &(&str, &str, mapping::Kind)| v1::profile::Mapping {
        path: (*path).into(),
        key: (*key).into(),
        kind: (*kind).into(),
    };
    let document = v1::Profile {
        name: "meter".into(),
        mappings: mappings.iter().map(mapping).collect(),
        ..v1::Profile::default()
    };
    Profile::try_from(document).unwrap()
}

/// What is about the device in every case.
fn with_origin<T>(work: impl FnOnce(&Origin<'_>) -> T) -> T {
    work(&Origin {
        site: &Arc::new(Site::new("main", "node-1")),
        device: DeviceId::of("urn:imei:1"),
        endpoint: &"urn:imei:1".into(),
        profile: &"meter".into(),
        registration: RegistrationId::parse("0123456789Ab"),
    })
}

fn uplink(cause: Cause) -> Uplink<'static> {
    Uplink { cause, token: &[1, 2, 3, 4], message_id: 4711, observe: Some(7), payload: b"95", stale: false }
}

fn notified(profile: &Profile, entries: Vec<Entry>) -> Vec<Record> {
    let uplink = uplink(Cause::Notification);
    with_origin(|origin| {
        records(origin, profile, &models(), &uplink, entries, &mut Orders::new(0x019b_7700_0001), NOW)
    })
}

/// Compares the lines with the golden file; `GOLDEN=write` writes it instead.
fn golden(name: &str, records: &[Record]) {
    let mut lines = Vec::new();
    for record in records {
        encode(record, &mut lines);
    }
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.ndjson"));
    if std::env::var("GOLDEN").as_deref() == Ok("write") {
        fs::write(&file, &lines).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap();
    assert_eq!(String::from_utf8(lines).unwrap(), expected, "{}", file.display());
    for line in expected.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

fn one(name: &str, at: &str, value: Value) {
    golden(name, &notified(&profile(&[]), vec![Entry::new(path(at), value)]));
}

#[test]
fn a_string_is_escaped() {
    one("string", "/3/0/0", Value::String("Acme \"Pro\"\n\u{1}é€".into()));
}

#[test]
fn an_integer_is_a_number() {
    one("integer", "/3/0/9", Value::Integer(-95));
}

#[test]
fn an_integer_beyond_doubles_is_a_string() {
    let profile = profile(&[]);
    let entries = vec![
        Entry::new(path("/3/0/10"), Value::Integer(1 << 53)),
        Entry::new(path("/3/0/9"), Value::Integer((1 << 53) + 1)),
        Entry::new(path("/3/0/12"), Value::Integer(i64::MIN)),
    ];
    golden("integer_large", &notified(&profile, entries));
}

#[test]
fn an_unsigned_integer_is_a_number_or_a_string() {
    let entries = vec![
        Entry::new(path("/33000/0/1"), Value::Unsigned(7)),
        Entry::new(path("/33000/0/2"), Value::Unsigned(u64::MAX)),
    ];
    golden("unsigned", &notified(&profile(&[]), entries));
}

#[test]
fn a_float_is_a_number() {
    one("float", "/3303/0/5700", Value::Float(-21.25));
}

#[test]
fn a_float_that_json_lacks_is_a_string() {
    one("float_nan", "/3303/0/5700", Value::Float(f64::NAN));
}

#[test]
fn a_boolean_is_true_or_false() {
    one("boolean", "/1/0/6", Value::Boolean(true));
}

#[test]
fn an_opaque_value_is_base64() {
    one("opaque", "/33000/0/3", Value::Opaque(vec![0, 1, 0xfe, 0xff]));
}

#[test]
fn a_time_is_in_milliseconds() {
    one("time", "/3/0/13", Value::Time(1_767_225_600));
}

#[test]
fn an_object_link_is_two_ids() {
    one("objlnk", "/33000/0/4", Value::ObjectLink { object: 3, instance: 0 });
}

#[test]
fn links_are_a_string() {
    one("corelnk", "/33000/0/5", Value::CoreLink("</3/0>;ver=1.1,</4>".into()));
}

#[test]
fn instances_of_a_resource_are_one_object() {
    let entries = vec![
        Entry::new(path("/3/0/6/0"), Value::Integer(1)),
        Entry::new(path("/3/0/6/65534"), Value::Integer(5)),
        Entry::new(path("/3/0/7/3"), Value::Integer(3800)),
    ];
    golden("instances", &notified(&profile(&[]), entries));
}

#[test]
fn a_mapped_instance_leaves_the_object() {
    let profile = profile(&[("/3/0/6/1", "backup", mapping::Kind::Telemetry)]);
    let entries = vec![
        Entry::new(path("/3/0/6/0"), Value::Integer(1)),
        Entry::new(path("/3/0/6/1"), Value::Integer(5)),
    ];
    golden("instance_mapped", &notified(&profile, entries));
}

#[test]
fn each_time_is_a_record() {
    let entries = vec![
        Entry::at(path("/3303/0/5700"), 1_767_225_590.0, Value::Float(20.5)),
        Entry::at(path("/3303/1/5700"), 1_767_225_590.0, Value::Float(30.5)),
        Entry::at(path("/3303/0/5700"), 1_767_225_595.123_4, Value::Float(21.0)),
        Entry::new(path("/3303/0/5700"), Value::Float(21.5)),
    ];
    let profile = profile(&[("/3303/1/5700", "cellar", mapping::Kind::Telemetry)]);
    golden("times", &notified(&profile, entries));
}

#[test]
fn two_paths_with_one_key_are_two_records() {
    let profile = profile(&[
        ("/3303/0/5700", "sensorValue00", mapping::Kind::Telemetry),
        ("/3303/123/5700", "sensorValue00", mapping::Kind::Telemetry),
        ("/3/0/9", "batteryLevel", mapping::Kind::Telemetry),
    ]);
    let entries = vec![
        Entry::new(path("/3303/0/5700"), Value::Float(1.0)),
        Entry::new(path("/3303/123/5700"), Value::Float(2.0)),
        Entry::new(path("/3/0/9"), Value::Integer(95)),
    ];
    golden("one_key", &notified(&profile, entries));
}

#[test]
fn what_is_both_is_two_records() {
    let profile = profile(&[
        ("/3/0/9", "batteryLevel", mapping::Kind::Both),
        ("/3/0/3", "firmwareVersion", mapping::Kind::Attribute),
    ]);
    let entries = vec![
        Entry::new(path("/3/0/9"), Value::Integer(95)),
        Entry::new(path("/3/0/3"), Value::String("1.2.3".into())),
    ];
    golden("both", &notified(&profile, entries));
}

#[test]
fn a_stale_record_says_so() {
    let stale = Uplink { stale: true, ..uplink(Cause::Notification) };
    let entries = vec![Entry::new(path("/3/0/9"), Value::Integer(1))];
    let records = with_origin(|origin| {
        records(origin, &profile(&[]), &models(), &stale, entries, &mut Orders::new(1), NOW)
    });
    golden("stale", &records);
}

#[test]
fn of_a_read_only_mapped_values_are_published() {
    let profile = profile(&[("/3/0/9", "", mapping::Kind::NameOnly)]);
    let entries =
        vec![Entry::new(path("/3/0/9"), Value::Integer(1)), Entry::new(path("/3/0/10"), Value::Integer(2))];
    let of = |cause| {
        with_origin(|origin| {
            let mut orders = Orders::new(1);
            records(origin, &profile, &models(), &uplink(cause), entries.clone(), &mut orders, NOW)
        })
    };
    let keys = |records: &[Record]| -> Vec<String> {
        records
            .iter()
            .flat_map(|record| &record.values().unwrap().values)
            .map(|keyed| keyed.key.to_string())
            .collect()
    };
    assert_eq!(keys(&of(Cause::Read)), ["batteryLevel"]);
    assert_eq!(keys(&of(Cause::Send)), ["batteryLevel", "memoryFree"]);
}

#[test]
fn many_values_with_one_key_stay_linear() {
    let mappings: Vec<_> = (0..4000).map(|instance| format!("/3303/{instance}/5700")).collect();
    let mappings: Vec<_> =
        mappings.iter().map(|path| (path.as_str(), "t", mapping::Kind::Telemetry)).collect();
    let entries =
        (0..4000).map(|i| Entry::new(Path::resource(3303, i, 5700), Value::Float(f64::from(i)))).collect();
    let records = notified(&profile(&mappings), entries);
    assert_eq!(records.len(), 4000);
    let ids: std::collections::HashSet<_> = records.iter().map(|record| record.id).collect();
    assert_eq!(ids.len(), 4000);
}

#[test]
fn events_say_what_happened() {
    let paths = || [path("/3303/0/5700"), path("/3/0/9")].into();
    let events = [
        Event::Registered {
            lifetime: Some(300),
            version: "1.1".into(),
            binding: "UQ".into(),
            queue_mode: true,
            replaced: false,
        },
        Event::Registered {
            lifetime: None,
            version: "1.2".into(),
            binding: "U".into(),
            queue_mode: false,
            replaced: true,
        },
        Event::Updated { lifetime: Some(60), objects: false },
        Event::Deregistered,
        Event::Expired,
        Event::Awake,
        Event::Asleep,
        Event::Refused { reason: "the credential is for DTLS".into() },
        Event::CredentialChanged,
        Event::Deleted,
        Event::SessionTakenOver,
        Event::PathSkipped { path: path("/3303/7/5700"), reason: godwit::profile::SkipReason::NoInstance },
        Event::ActionFailed { action: "observe", paths: paths(), code: Some("4.05".into()) },
        Event::ActionFailed { action: "read", paths: paths(), code: None },
        Event::ObservationSuspect { paths: paths() },
        Event::ProfileApplied { revision: 4 },
    ];
    let mut orders = Orders::new(1);
    let cause = Identity::of(&[b"0123456789Ab", b"cause"]);
    let records: Vec<_> = with_origin(|origin| {
        events.into_iter().map(|what| event(origin, what, cause, 0, &mut orders, NOW)).collect()
    });
    golden("events", &records);
}

#[test]
fn operations_say_how_they_ended() {
    let number = |kind| Some(v1::Value { kind: Some(kind) });
    let read = v1::Operation {
        name: "devices/dpu72e6kfgi7n7tnz/operations/019b7700-0000-7000-8000-000000000001".into(),
        endpoint: "urn:imei:1".into(),
        command: Some(v1::Command {
            kind: Some(command::Kind::Read(command::Read { path: "/3/0".into(), format: None })),
        }),
        state: v1::operation::State::Succeeded.into(),
        result: Some(v1::CommandResult {
            code: 69,
            code_text: "2.05".into(),
            values: vec![
                v1::PathValue {
                    path: "/3/0/9".into(),
                    value: number(value::Kind::Integer(95)),
                    ..Default::default()
                },
                v1::PathValue {
                    path: "/3/0/13".into(),
                    value: number(value::Kind::Time(1)),
                    time: Some(2.5),
                    ..Default::default()
                },
            ],
            ..v1::CommandResult::default()
        }),
        attempts: 1,
        ..v1::Operation::default()
    };
    let expired = v1::Operation {
        command: Some(v1::Command {
            kind: Some(command::Kind::Create(command::Create { object: 3303, ..Default::default() })),
        }),
        state: v1::operation::State::Expired.into(),
        reason: v1::operation::Reason::Ttl.into(),
        detail: "the device did not wake in time".into(),
        result: None,
        attempts: 0,
        ..read.clone()
    };
    let discovered = v1::Operation {
        command: Some(v1::Command {
            kind: Some(command::Kind::Discover(command::Discover { path: "/3".into(), depth: None })),
        }),
        result: Some(v1::CommandResult {
            code: 69,
            code_text: "2.05".into(),
            links: vec![v1::command_result::Link {
                path: "/3/0/9".into(),
                attributes: [("pmin".into(), "10".into()), ("pmax".into(), "60".into())].into(),
            }],
            ..v1::CommandResult::default()
        }),
        ..read.clone()
    };
    let mut orders = Orders::new(1);
    let records: Vec<_> = with_origin(|origin| {
        [read, expired, discovered].map(|ended| operation(origin, Arc::new(ended), &mut orders, NOW)).into()
    });
    golden("operations", &records);
}
