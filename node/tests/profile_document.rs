//! Profiles as the admin API and the store write them, and as JSON of that shape.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use godwit::profile::{Kind, PowerMode, Profile, StartStrategy, from_json, to_json};
use godwit_proto::v1::{
    self,
    profile::{self, mapping},
};
use serde_json::json;

fn whole() -> serde_json::Value {
    json!({
        "name": "profiles/meter",
        "mappings": [
            {"path": "/3/0/3", "key": "firmwareVersion", "kind": "ATTRIBUTE"},
            {"path": "/3/0/9"},
            {"path": "/3303_1.1/0/5700", "kind": "BOTH"},
            {"path": "/3/0/6/1", "kind": "NAME_ONLY"}
        ],
        "observe": ["/3/0/9", "/3303_1.1"],
        "startStrategy": "READ_MAPPED",
        "observeStrategy": "COMPOSITE_BY_OBJECT",
        "readComposite": true,
        "writeAttributes": [{"path": "/3/0/9", "attributes": {"pmin": 1, "gt": 90.5, "con": true}}],
        "format": 112,
        "power": {"mode": "PSM", "awakeMs": 20000},
        "limits": {"uplinkBody": 1024},
        "ackFirstBlock": true,
        "codecs": [{"path": "/19/0/0", "codec": "none"}],
        "bootstrap": {"servers": {"shortId": 123}},
        "revision": 7
    })
}

#[test]
fn json_reads_back_as_it_was_written() {
    let profile = from_json(&whole().to_string()).unwrap();
    assert_eq!(to_json(&profile), whole());
}

#[test]
fn json_takes_the_protocols_own_names_and_numbers() {
    let profile = from_json(
        r#"{"name": "m", "start_strategy": "START_STRATEGY_READ_ALL", "observe_strategy": 2, "ack_first_block": true}"#,
    )
    .unwrap();
    assert_eq!(profile.start_strategy(), profile::StartStrategy::ReadAll);
    assert_eq!(profile.observe_strategy(), profile::ObserveStrategy::Composite);
    assert!(profile.ack_first_block);
}

#[test]
fn json_errors_name_their_place() {
    for (json, error) in [
        (json!({"name": "m", "observed": []}), "$.observed: is unknown"),
        (
            json!({"name": "m", "mappings": [{"path": "/3/0/9", "keys": "x"}]}),
            "$.mappings[0].keys: is unknown",
        ),
        (
            json!({"name": "m", "power": {"mode": "DEEP"}}),
            "$.power.mode: \"DEEP\" is not one of the known names",
        ),
        (json!({"name": "m", "startStrategy": 9}), "$.start_strategy: 9 is unknown"),
        (
            json!({"name": "m", "writeAttributes": [{"path": "/3"}]}),
            "$.writeAttributes[0].attributes: missing",
        ),
        (
            json!({"name": ""}),
            "$.name: a profile's name is 1 to 64 characters of a-z, A-Z, 0-9, '.', '_' and '-'",
        ),
    ] {
        assert_eq!(from_json(&json.to_string()).unwrap_err().to_string(), error);
    }
}

#[test]
fn a_document_is_what_its_profile_was_made_of() {
    let document = from_json(&whole().to_string()).unwrap();
    let profile = Profile::try_from(document.clone()).unwrap();
    assert_eq!(profile.start_strategy(), StartStrategy::ReadMapped);
    assert_eq!((profile.format(), profile.uplink_body(), profile.revision()), (Some(112), Some(1024), 7));
    assert_eq!((profile.power().mode, profile.power().awake.as_secs()), (PowerMode::Psm, 20));
    let kinds: Vec<_> = profile.mappings().iter().map(|mapping| mapping.kind).collect();
    assert_eq!(kinds, [Kind::Attribute, Kind::NameOnly, Kind::Telemetry, Kind::Both]);
    let again = v1::Profile::from(&profile);
    assert_eq!(Profile::try_from(again.clone()).unwrap(), profile);
    assert_eq!(again.name, "profiles/meter");
    assert_eq!(again.codecs, [], "the codec none is the same as no codec");
    assert_eq!(again.bootstrap, document.bootstrap);
}

#[test]
fn faults_name_their_field() {
    let valid = || v1::Profile { name: "m".into(), ..v1::Profile::default() };
    let mapping =
        |path: &str, key: &str, kind: i32| profile::Mapping { path: path.into(), key: key.into(), kind };
    let telemetry = i32::from(mapping::Kind::Telemetry);
    let attributes = |path: &str, set: Option<v1::Attributes>| v1::Profile {
        write_attributes: vec![profile::WriteAttributes { path: path.into(), attributes: set }],
        ..valid()
    };
    let pmin = |pmin| Some(v1::Attributes { pmin: Some(pmin), pmax: Some(5), ..Default::default() });
    let many = |count: usize| (0..count).map(|i| format!("/3303/{i}/5700")).collect::<Vec<_>>();
    assert!(Profile::try_from(v1::Profile { observe: many(4096), ..valid() }).is_ok());
    for (document, field) in [
        (v1::Profile { name: "a b".into(), ..valid() }, "name"),
        (v1::Profile { mappings: vec![mapping("/3/0", "", telemetry)], ..valid() }, "mappings[0].path"),
        (v1::Profile { mappings: vec![mapping("/3/0/9", "a\tb", telemetry)], ..valid() }, "mappings[0].key"),
        (v1::Profile { mappings: vec![mapping("/3/0/9", "a", 9)], ..valid() }, "mappings[0].kind"),
        (
            v1::Profile {
                mappings: vec![mapping("/3/0/9", "a", telemetry), mapping("/3/0/9", "b", telemetry)],
                ..valid()
            },
            "mappings[1].path",
        ),
        (v1::Profile { observe: vec!["/3".into(), "/".into()], ..valid() }, "observe[1]"),
        (v1::Profile { observe: vec!["/3".into(), "/3".into()], ..valid() }, "observe[1]"),
        (v1::Profile { observe: vec!["/3_x/0".into()], ..valid() }, "observe[0]"),
        (v1::Profile { observe: many(4097), ..valid() }, "observe"),
        (v1::Profile { start_strategy: 4, ..valid() }, "start_strategy"),
        (v1::Profile { observe_strategy: -1, ..valid() }, "observe_strategy"),
        (attributes("/3/0/9", None), "write_attributes[0].attributes"),
        (attributes("/3/0/9", pmin(9)), "write_attributes[0].attributes"),
        (attributes("3//", pmin(1)), "write_attributes[0].path"),
        (v1::Profile { format: Some(0), ..valid() }, "format"),
        (v1::Profile { format: Some(70_000), ..valid() }, "format"),
        (
            v1::Profile {
                power: Some(profile::Power { awake_ms: Some(0), ..Default::default() }),
                ..valid()
            },
            "power.awake_ms",
        ),
        (
            v1::Profile { limits: Some(profile::Limits { uplink_body: Some(0) }), ..valid() },
            "limits.uplink_body",
        ),
        (
            v1::Profile {
                codecs: vec![profile::PathCodec { path: "/19/0/0".into(), codec: "zip".into() }],
                ..valid()
            },
            "codecs[0].codec",
        ),
        (v1::Profile { bootstrap: "{".into(), ..valid() }, "bootstrap"),
    ] {
        assert_eq!(Profile::try_from(document).unwrap_err().field, field);
    }
}
