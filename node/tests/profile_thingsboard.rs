//! ThingsBoard's profile JSON: both shapes, and what may be wrong or odd in them.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use godwit::profile::{
    About, Imported, Kind, ObserveStrategy, PowerMode, Profile, StartStrategy, import_thingsboard,
};
use godwit_lwm2m::{
    attributes::Attributes,
    model::{ModelRegistry, ModelSet, ObjectVersion},
    path::Path,
    registration::ObjectList,
};
use serde_json::{Value, json};

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn import(json: &Value) -> (Profile, Vec<(String, About)>) {
    let Imported { profile, notes } = import_thingsboard("meter", &json.to_string()).unwrap();
    let notes = notes.into_iter().map(|note| (note.at, note.about)).collect();
    (Profile::try_from(profile).unwrap(), notes)
}

/// Place and text of the error.
fn fault(json: &Value) -> (String, String) {
    let error = import_thingsboard("meter", &json.to_string()).unwrap_err();
    (error.at, error.fault.to_string())
}

fn models() -> ModelSet {
    let objects = [3, 3303].map(|id| (id, ObjectVersion::V1_0));
    ModelSet::new(&ModelRegistry::builtin(), objects)
}

fn key(profile: &Profile, at: &str) -> Option<(String, Kind)> {
    profile.key_for(path(at), &models()).map(|(key, kind)| (key.into_owned(), kind))
}

fn older() -> Value {
    json!({
        "observeAttr": {
            "keyName": {"/3/0/9": "batteryLevel", "/3/0/3": "firmwareVersion", "/3303/0/5700": "sensorValue00",
                        "/3303/123/5700": "sensorValue00"},
            "observe": ["/3/0/9", "/3303/0/5700", "/3303/123/5700"],
            "attribute": ["/3/0/3", "/3/0/9"],
            "telemetry": ["/3/0/9", "/3303/0/5700", "/3303/123/5700"]},
        "bootstrap": {
            "servers": {"binding": "U", "shortId": 123, "lifetime": 300, "notifIfDisabled": true, "defaultMinPeriod": 1},
            "lwm2mServer": {"host": "localhost", "port": 5685, "serverId": 123, "securityMode": "NO_SEC",
                "serverPublicKey": "", "bootstrapServerIs": false, "clientHoldOffTime": 1,
                "bootstrapServerAccountTimeout": 0},
            "bootstrapServer": {"host": "0.0.0.0", "port": 5687, "serverId": 111, "securityMode": "NO_SEC",
                "serverPublicKey": "", "clientHoldOffTime": 1, "bootstrapServerAccountTimeout": 0}},
        "clientLwM2mSettings": {"clientOnlyObserveAfterConnect": true, "clientUpdateValueAfterConnect": true}
    })
}

#[test]
fn the_older_shape_is_read_whole() {
    let (profile, notes) = import(&older());
    assert_eq!(notes, []);
    assert_eq!(&**profile.name(), "meter");
    assert_eq!(key(&profile, "/3/0/9"), Some(("batteryLevel".into(), Kind::Both)));
    assert_eq!(key(&profile, "/3/0/3"), Some(("firmwareVersion".into(), Kind::Attribute)));
    assert_eq!(key(&profile, "/3303/0/5700"), Some(("sensorValue00".into(), Kind::Telemetry)));
    assert_eq!(key(&profile, "/3303/123/5700"), Some(("sensorValue00".into(), Kind::Telemetry)));
    let observed: Vec<_> = profile.observed().iter().map(ToString::to_string).collect();
    assert_eq!(observed, ["/3/0/9", "/3303/0/5700", "/3303/123/5700"]);
    assert_eq!(profile.start_strategy(), StartStrategy::Observe);
    assert_eq!(profile.observe_strategy(), ObserveStrategy::Single);
    let bootstrap: Value = serde_json::from_str(profile.bootstrap().unwrap()).unwrap();
    assert_eq!(bootstrap, older()["bootstrap"]);
}

#[test]
fn the_newer_shape_is_read_whole() {
    let (profile, notes) = import(&json!({
        "type": "LWM2M",
        "observeAttr": {
            "keyName": {"/3_1.2/0/9": "batteryLevel", "/3303_1.1/65535/5700": "t"},
            "observe": ["/3_1.2/0/9", "/3303_1.1/65535"],
            "attribute": [],
            "telemetry": ["/3_1.2/0/9", "/3303_1.1/65535/5700"],
            "attributeLwm2m": {
                "/3303_1.1": {"pmin": 10, "pmax": 60},
                "/3_1.2/0/9": {"gt": 90.5, "lt": 10, "st": 1.5, "pmin": null, "dim": 3},
                "/3_1.2/0/10": {}},
            "initAttrTelAsObsStrategy": true,
            "observeStrategy": "COMPOSITE_BY_OBJECT"},
        "bootstrap": [{"shortServerId": 111, "bootstrapServerIs": true, "host": "0.0.0.0", "port": 5687}],
        "clientLwM2mSettings": {
            "clientOnlyObserveAfterConnect": 3, "powerMode": "E_DRX", "edrxCycle": 81000,
            "pagingTransmissionWindow": 10000, "psmActivityTimer": null, "fwUpdateStrategy": 1,
            "fwUpdateResource": null}
    }));
    assert_eq!(
        notes,
        [
            ("$.observeAttr.attributeLwm2m[\"/3_1.2/0/9\"].dim".into(), About::Unused),
            ("$.clientLwM2mSettings.fwUpdateStrategy".into(), About::Unused),
        ],
    );
    assert_eq!(key(&profile, "/3/0/9"), Some(("batteryLevel".into(), Kind::Telemetry)));
    assert_eq!(key(&profile, "/3303/65535/5700"), Some(("t".into(), Kind::Telemetry)));
    assert_eq!(profile.observed()[0].version, Some(ObjectVersion::new(1, 2)));
    assert_eq!(profile.start_strategy(), StartStrategy::ReadMapped);
    assert_eq!(profile.observe_strategy(), ObserveStrategy::CompositeByObject);
    assert_eq!(profile.power().mode, PowerMode::Edrx);
    assert_eq!(profile.power().edrx_cycle.unwrap().as_secs(), 81);
    assert_eq!(profile.power().awake.as_secs(), 93);
    assert!(profile.bootstrap().unwrap().starts_with("[{"), "{:?}", profile.bootstrap());
    let document = godwit_proto::v1::Profile::from(&profile);
    assert!(document.read_composite);
    let attributes: Vec<_> = document.write_attributes.iter().map(|written| written.path.as_str()).collect();
    assert_eq!(attributes, ["/3_1.2/0/9", "/3303_1.1"]);
}

#[test]
fn the_device_profile_around_it_is_unwrapped() {
    let (profile, notes) = import(&json!({
        "name": "Meters", "transportType": "LWM2M", "image": "x",
        "profileData": {"configuration": {"type": "DEFAULT"}, "transportConfiguration": older()}
    }));
    assert_eq!(profile.mappings().len(), 4);
    let unused = ["$.name", "$.transportType"].map(|at| (at.to_owned(), About::Unused));
    assert!(unused.iter().all(|note| notes.contains(note)), "{notes:?}");
    assert!(notes.contains(&("$.image".into(), About::Unknown)), "{notes:?}");
    assert!(notes.contains(&("$.profileData.configuration".into(), About::Unused)), "{notes:?}");
}

#[test]
fn start_strategies_follow_from_two_switches_or_a_number() {
    let both = |only: Value, update: Value| {
        json!({"observeAttr": {}, "clientLwM2mSettings": {
            "clientOnlyObserveAfterConnect": only, "clientUpdateValueAfterConnect": update}})
    };
    for (only, update, strategy, overruled) in [
        (json!(true), json!(true), StartStrategy::Observe, false),
        (json!(true), json!(false), StartStrategy::Observe, false),
        (json!(true), json!(null), StartStrategy::Observe, false),
        (json!(false), json!(true), StartStrategy::ReadAll, false),
        (json!(false), json!(false), StartStrategy::ReadMapped, false),
        (json!(false), json!(null), StartStrategy::ReadMapped, false),
        (json!(null), json!(null), StartStrategy::Observe, false),
        (json!(null), json!(true), StartStrategy::Observe, true),
        (json!(1), json!(null), StartStrategy::Observe, false),
        (json!(2), json!(null), StartStrategy::ReadAll, false),
        (json!(3), json!(null), StartStrategy::ReadMapped, false),
        (json!(2), json!(false), StartStrategy::ReadAll, true),
    ] {
        let (profile, notes) = import(&both(only.clone(), update.clone()));
        assert_eq!(profile.start_strategy(), strategy, "{only} {update}");
        let at = "$.clientLwM2mSettings.clientUpdateValueAfterConnect".to_owned();
        assert_eq!(notes, if overruled { vec![(at, About::Overruled)] } else { vec![] }, "{only} {update}");
    }
    for wrong in [json!(0), json!(4), json!(-1), json!(1.5), json!("1"), json!([])] {
        assert_eq!(fault(&both(wrong, json!(null))).0, "$.clientLwM2mSettings.clientOnlyObserveAfterConnect");
    }
    assert_eq!(fault(&both(json!(true), json!(1))).1, "must be true or false");
}

#[test]
fn observe_strategies_are_names_or_numbers() {
    let with = |strategy: Value| json!({"observeAttr": {"observeStrategy": strategy}});
    for (strategy, expected) in [
        (json!(null), ObserveStrategy::Single),
        (json!("SINGLE"), ObserveStrategy::Single),
        (json!("COMPOSITE_ALL"), ObserveStrategy::Composite),
        (json!("COMPOSITE_BY_OBJECT"), ObserveStrategy::CompositeByObject),
        (json!(0), ObserveStrategy::Single),
        (json!(1), ObserveStrategy::Composite),
        (json!(2), ObserveStrategy::CompositeByObject),
    ] {
        assert_eq!(import(&with(strategy)).0.observe_strategy(), expected);
    }
    assert_eq!(fault(&with(json!("ALL"))).0, "$.observeAttr.observeStrategy");
    assert_eq!(fault(&with(json!(3))).0, "$.observeAttr.observeStrategy");
}

#[test]
fn a_path_without_a_key_gets_the_resources_name() {
    let (profile, notes) = import(&json!({"observeAttr": {
        "keyName": {"/3/0/14": "", "/3/0/15": null},
        "observe": [],
        "attribute": ["/3/0/14"],
        "telemetry": ["/3303/0/5604", "/33000/1/2", "/3/0/15"]}}));
    assert_eq!(notes, []);
    assert_eq!(key(&profile, "/3/0/14").unwrap().0, "utcOffset");
    assert_eq!(key(&profile, "/3/0/15").unwrap().0, "timezone");
    assert_eq!(key(&profile, "/3303/0/5604").unwrap().0, "maxRangeValue");
    assert_eq!(key(&profile, "/33000/1/2").unwrap().0, "/33000/1/2");
}

#[test]
fn what_is_odd_is_noted_and_kept() {
    let (profile, notes) = import(&json!({"observeAttr": {
        "keyName": {"/3/0/9": "battery"},
        "observe": ["/3/0/10", "/3303", "/3/0/10"],
        "attribute": [],
        "telemetry": ["/3303/0/5700"]}}));
    assert_eq!(
        notes,
        [
            ("$.observeAttr.observe[2]".into(), About::Repeated),
            ("$.observeAttr.keyName[\"/3/0/9\"]".into(), About::NameOnly),
            ("$.observeAttr.observe[0]".into(), About::NotMapped),
        ],
    );
    assert_eq!(key(&profile, "/3/0/9"), Some(("battery".into(), Kind::NameOnly)));
    assert_eq!(profile.observed().len(), 2);
}

#[test]
fn unknown_members_are_noted_wherever_they_are() {
    let (_, notes) = import(&json!({
        "observeAttr": {"observed": [], "keyNames": null, "attributeLwm2m": {"/3/0/9": {"pmin": 1, "pmaxx": 2}}},
        "clientLwM2mSettings": {"sleep": 1, "defaultObjectIDVer": "1.0"},
        "extra": {}
    }));
    assert_eq!(
        notes,
        [
            ("$.observeAttr.attributeLwm2m[\"/3/0/9\"].pmaxx".into(), About::Unknown),
            ("$.observeAttr.observed".into(), About::Unknown),
            ("$.clientLwM2mSettings.defaultObjectIDVer".into(), About::Unused),
            ("$.clientLwM2mSettings.sleep".into(), About::Unknown),
            ("$.extra".into(), About::Unknown),
        ],
    );
}

#[test]
fn a_mapping_for_several_versions_follows_the_devices_model() {
    let (profile, _) = import(&json!({"observeAttr": {
        "keyName": {"/3_1.0/0/9": "old", "/3_1.1/0/9": "new"},
        "telemetry": ["/3_1.0/0/9", "/3_1.1/0/9"]}}));
    let registry = ModelRegistry::builtin();
    for (version, expected) in [(ObjectVersion::V1_0, "old"), (ObjectVersion::new(1, 1), "new")] {
        let models = ModelSet::new(&registry, [(3, version)]);
        assert_eq!(profile.key_for(path("/3/0/9"), &models).unwrap().0, expected);
    }
    assert_eq!(profile.key_for(path("/3/0/9"), &ModelSet::default()).unwrap().0, "new");
}

#[test]
fn errors_name_their_place() {
    let attr = |attr: Value| json!({"observeAttr": attr});
    let lwm2m = |at: &str, set: Value| json!({"observeAttr": {"attributeLwm2m": {at: set}}});
    for (json, at, text) in [
        (json!([]), "$", "must be an object"),
        (json!({}), "$.observeAttr", "missing"),
        (json!({"observeAttr": null}), "$.observeAttr", "missing"),
        (json!({"type": "MQTT", "observeAttr": {}}), "$.type", "\"MQTT\" is not one of \"LWM2M\""),
        (attr(json!([])), "$.observeAttr", "must be an object"),
        (
            attr(json!({"keyName": {"/3/0": "x"}})),
            "$.observeAttr.keyName[\"/3/0\"]",
            "/3/0 must be a resource or a resource instance",
        ),
        (attr(json!({"keyName": {"/3/0/9": 9}})), "$.observeAttr.keyName[\"/3/0/9\"]", "must be a string"),
        (
            attr(json!({"keyName": {"/3/0/9": "a\nb"}})),
            "$.observeAttr.keyName[\"/3/0/9\"]",
            "a key is 1 to 255 bytes without control characters",
        ),
        (
            attr(json!({"keyName": {"/3/0/9": "a", "3/0/9": "b"}})),
            "$.observeAttr.keyName[\"3/0/9\"]",
            "comes twice",
        ),
        (
            attr(json!({"keyName": {"battery": "x"}})),
            "$.observeAttr.keyName.battery",
            "\"battery\" is no path: segment 0 is not a number",
        ),
        (attr(json!({"observe": "/3/0/9"})), "$.observeAttr.observe", "must be an array"),
        (attr(json!({"observe": ["/3/0/9", 9]})), "$.observeAttr.observe[1]", "must be a string"),
        (
            attr(json!({"observe": ["/3/65536/9"]})),
            "$.observeAttr.observe[0]",
            "\"/3/65536/9\" is no path: segment 1 is over 65535",
        ),
        (attr(json!({"observe": ["/"]})), "$.observeAttr.observe[0]", "/ must be an object or below one"),
        (attr(json!({"observe": [""]})), "$.observeAttr.observe[0]", "\"\" is no path: empty path"),
        (
            attr(json!({"telemetry": ["/3_1/0/9"]})),
            "$.observeAttr.telemetry[0]",
            "\"/3_1/0/9\": an object version is two numbers with a dot between, such as 1.1",
        ),
        (
            attr(json!({"attribute": ["/3/0"]})),
            "$.observeAttr.attribute[0]",
            "/3/0 must be a resource or a resource instance",
        ),
        (
            attr(json!({"initAttrTelAsObsStrategy": 1})),
            "$.observeAttr.initAttrTelAsObsStrategy",
            "must be true or false",
        ),
        (
            lwm2m("/3/0/9", json!({"pmin": -1})),
            "$.observeAttr.attributeLwm2m[\"/3/0/9\"].pmin",
            "must be an integer of 0 to 4294967295",
        ),
        (
            lwm2m("/3/0/9", json!({"gt": "5"})),
            "$.observeAttr.attributeLwm2m[\"/3/0/9\"].gt",
            "must be a number",
        ),
        (
            lwm2m("/3/0/9", json!({"pmin": 9, "pmax": 1})),
            "$.observeAttr.attributeLwm2m[\"/3/0/9\"]",
            "pmin must not be greater than pmax",
        ),
        (lwm2m("/3", json!({"gt": 9})), "$.observeAttr.attributeLwm2m[\"/3\"]", "gt cannot be set at /3"),
        (json!({"observeAttr": {}, "bootstrap": 1}), "$.bootstrap", "must be an object or an array"),
        (
            json!({"observeAttr": {}, "clientLwM2mSettings": {"powerMode": "LOW"}}),
            "$.clientLwM2mSettings.powerMode",
            "\"LOW\" is not one of \"DRX\", \"PSM\", \"E_DRX\"",
        ),
    ] {
        assert_eq!(fault(&json), (at.to_owned(), text.to_owned()), "{json}");
    }
}

#[test]
fn a_member_that_comes_twice_is_an_error() {
    let twice = r#"{"observeAttr": {"keyName": {"/3/0/9": "a", "/3/0/9": "b"}}}"#;
    let error = import_thingsboard("meter", twice).unwrap_err();
    assert_eq!(error.to_string(), "$.observeAttr.keyName[\"/3/0/9\"]: comes twice");
}

#[test]
fn bootstrap_is_kept_as_it_was_written() {
    let text = r#"[{"z":1,"a":12345678901234567890,"m":[null,1.50,"é"]}]"#;
    let json = format!("{{\"observeAttr\":{{}},\"bootstrap\":{text}}}");
    let imported = import_thingsboard("meter", &json).unwrap();
    assert_eq!(imported.profile.bootstrap, text.replace("1.50", "1.5"));
}

#[test]
fn no_json_is_an_error_with_its_line() {
    let error = import_thingsboard("meter", "{\n\"observeAttr\": ").unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
    let deep = "[".repeat(100_000);
    assert!(import_thingsboard("meter", &deep).is_err());
}

#[test]
fn a_bad_name_is_an_error() {
    for name in ["", "a/b", "profiles/", "ü", &"x".repeat(65)] {
        assert!(import_thingsboard(name, &older().to_string()).is_err(), "{name}");
    }
}

#[test]
fn attributes_reach_the_profile_with_their_values() {
    let (profile, _) = import(&json!({"observeAttr": {"observe": ["/3/0/9"], "attributeLwm2m": {
        "/3/0/9": {"pmin": 10.0, "pmax": 60, "gt": 90, "lt": 10.5, "st": 0.5, "epmin": 1, "epmax": 2}}}}));
    let registered = ObjectList::new([(3, ObjectVersion::V1_0, false, [0])]);
    let models = models();
    let client = godwit::profile::Client { registered: &registered, models: &models, composite: false };
    let expected = Attributes {
        pmin: Some(10),
        pmax: Some(60),
        gt: Some(90.0),
        lt: Some(10.5),
        st: Some(0.5),
        epmin: Some(1),
        epmax: Some(2),
        ..Attributes::default()
    };
    let plan = profile.start_plan(&client);
    assert_eq!(plan.attributes.len(), 1);
    assert_eq!((plan.attributes[0].0, plan.attributes[0].1.set), (path("/3/0/9"), expected));
}
