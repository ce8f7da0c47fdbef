//! Observation of the Leshan client (scenarios 15 to 17), and what profiles ask for.
#![allow(missing_docs, clippy::unwrap_used)]

use godwit_proto::v1::{
    Attributes, Profile,
    profile::{Mapping, ObserveStrategy, StartStrategy, WriteAttributes, mapping},
    value::Kind,
};
use godwit_tests::{Client, Leshan, Node, Raw, value};
use serde_json::{Value, json};

fn start(endpoint: &str, options: &[&str]) -> Option<(Node, Client)> {
    let leshan = Leshan::shared()?;
    let node = Node::start();
    let mut client = leshan.start(&node, endpoint, options);
    client.registered();
    Some((node, client))
}

#[test]
fn notifications_are_published_in_their_order() {
    let Some((node, client)) = start("ordered", &[]) else { return };
    let observed = node.admin().observe("ordered", "/3303/0/5700").unwrap();
    assert_eq!(value(&observed, "/3303/0/5700"), Kind::Float(21.5));
    for count in 0..50 {
        client.set("/3303/0/5700", &count.to_string());
    }
    let mut sink = node.sink();
    sink.is("ordered", "/3303/0/5700", 49.0);
    let values: Vec<_> =
        sink.values("ordered", "/3303/0/5700").into_iter().map(|value| value.as_f64().unwrap()).collect();
    assert!(values.len() > 2 && values[1..].is_sorted(), "{values:?}");
    let records: Vec<_> =
        sink.records().into_iter().filter(|record| record["data"]["paths"].is_object()).collect();
    let orders: Vec<_> = records.iter().map(|record| record["order"].as_str().unwrap()).collect();
    assert!(orders.is_sorted_by(|one, next| one < next), "{orders:?}");
    let mut ids: Vec<_> = records.iter().map(|record| record["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.is_sorted_by(|one, next| one != next), "{ids:?}");
}

#[test]
fn an_observation_is_cancelled_by_a_request() {
    let Some((node, mut client)) = start("active", &[]) else { return };
    let admin = node.admin();
    admin.observe("active", "/3303/0/5700").unwrap();
    let observe = client.next("an observe", |event| event["event"] == "request" && event["observe"] == 0);
    admin.cancel_observation("active", &["/3303/0/5700"], false).unwrap();
    let cancel = client.next("a cancel", |event| event["event"] == "request" && event["observe"] == 1);
    assert_eq!((&cancel["method"], &cancel["path"]), (&"GET".into(), &"/3303/0/5700".into()));
    assert_eq!(cancel["token"], observe["token"]);
    assert_eq!(admin.observations("active"), [""; 0]);

    client.set("/3303/0/5700", "77");
    assert_eq!(client.send(112, &["/3/0/9"]), "2.04");
    let mut sink = node.sink();
    sink.is("active", "/3/0/9", 95);
    assert!(!sink.values("active", "/3303/0/5700").contains(&json!(77.0)));
}

#[test]
fn an_observation_is_cancelled_by_rst_to_its_next_notification() {
    let Some((node, mut client)) = start("passive", &[]) else { return };
    let admin = node.admin();
    admin.observe("passive", "/3303/0/5700").unwrap();
    admin.cancel_observation("passive", &["/3303/0/5700"], true).unwrap();
    assert_eq!(admin.observations("passive"), [""; 0]);
    client.set("/3303/0/5700", "77");
    client.next("RST", |event| event["event"] == "empty" && event["type"] == "RST");

    // Leshan has given the observation up: nothing comes any more.
    let before = client.events("response").len();
    client.set("/3303/0/5700", "78");
    assert_eq!(client.send(112, &["/3/0/9"]), "2.04");
    assert_eq!(client.events("response").len(), before);
    assert!(!node.sink().values("passive", "/3303/0/5700").contains(&json!(77.0)));
}

#[test]
fn observing_again_keeps_one_observation() {
    let Some((node, mut client)) = start("twice", &[]) else { return };
    let admin = node.admin();
    admin.observe("twice", "/3303/0/5700").unwrap();
    admin.observe("twice", "/3303/0/5700").unwrap();
    assert_eq!(admin.observations("twice"), ["/3303/0/5700"]);
    client.set("/3303/0/5700", "30.5");
    let mut sink = node.sink();
    sink.is("twice", "/3303/0/5700", 30.5);
    assert_eq!(client.send(112, &["/3/0/9"]), "2.04");
    sink.is("twice", "/3/0/9", 95);
    let seen = sink.values("twice", "/3303/0/5700");
    assert_eq!(seen.iter().filter(|seen| **seen == json!(30.5)).count(), 1, "{seen:?}");
    client.next("an observe", |event| event["event"] == "request" && event["observe"] == 0);

    admin.cancel_observation("twice", &["/3303/0/5700"], false).unwrap();
    admin.observe("twice", "/3303/0/5700").unwrap();
    client.set("/3303/0/5700", "31.5");
    sink.is("twice", "/3303/0/5700", 31.5);
}

#[test]
fn objects_and_instances_are_observed_whole() {
    let Some((node, client)) = start("levels", &["objects=3303:0,1"]) else { return };
    let admin = node.admin();
    admin.observe("levels", "/3303/1").unwrap();
    client.set("/3303/1/5700", "5.5");
    let mut sink = node.sink();
    let record = sink.is("levels", "/3303/1/5700", 5.5);
    assert_eq!(record["path"], "/3303/1");
    admin.cancel_observation("levels", &["/3303/1"], false).unwrap();

    admin.observe("levels", "/3303").unwrap();
    client.set("/3303/0/5700", "6.5");
    sink.is("levels", "/3303/0/5700", 6.5);
}

#[test]
fn several_paths_are_read_at_once() {
    let Some((node, mut client)) = start("reads-many", &[]) else { return };
    let admin = node.admin();
    for format in [110, 112] {
        let paths = ["/3/0/9", "/3303/0", "/3/0/7"];
        let read = admin.read_composite("reads-many", &paths, format).unwrap();
        assert_eq!(value(&read, "/3/0/9"), Kind::Integer(95), "in {format}");
        assert_eq!(value(&read, "/3303/0/5700"), Kind::Float(21.5), "in {format}");
        assert_eq!(value(&read, "/3/0/7/1"), Kind::Integer(5000), "in {format}");
        client.request("FETCH", "/");
    }
}

#[test]
fn several_values_are_written_at_once() {
    let Some((node, mut client)) = start("writes-many", &[]) else { return };
    let admin = node.admin();
    for (format, text) in [(110, "eins"), (112, "zwei")] {
        let values = [("/3442/0/110", text), ("/3442/0/130", "1.5"), ("/3/0/14", "+01")];
        let written = admin.write_composite("writes-many", &values, format).unwrap();
        assert_eq!(written.result.unwrap().code_text, "2.04");
        assert_eq!(client.value("/3442/0/110").as_deref(), Some(text));
        assert_eq!(client.value("/3442/0/130").as_deref(), Some("1.5"));
        assert_eq!(client.value("/3/0/14").as_deref(), Some("+01"));
        assert_eq!(client.request("IPATCH", "/")["format"], format);
    }
}

#[test]
fn several_paths_are_observed_at_once() {
    let Some((node, mut client)) = start("observes-many", &[]) else { return };
    let admin = node.admin();
    let observed = admin.observe_composite("observes-many", &["/3/0/9", "/3303/0/5700"]).unwrap();
    assert_eq!(value(&observed, "/3/0/9"), Kind::Integer(95));
    assert_eq!(admin.observations("observes-many"), ["/3/0/9 /3303/0/5700"]);
    client.set("/3303/0/5700", "12.5");
    let mut sink = node.sink();
    let record = sink.is("observes-many", "/3303/0/5700", 12.5);
    assert_eq!(record["data"]["values"]["batteryLevel"], 95);

    admin.cancel_observation("observes-many", &["/3/0/9", "/3303/0/5700"], false).unwrap();
    let cancel = client.next("a cancel", |event| event["event"] == "request" && event["observe"] == 1);
    assert_eq!((&cancel["method"], &cancel["path"]), (&"FETCH".into(), &"/".into()));
    assert_eq!(admin.observations("observes-many"), [""; 0]);
}

#[test]
fn values_of_a_notification_keep_their_times() {
    // Leshan's client notifies current values only.
    let node = Node::start();
    let mut raw = Raw::device(&node, "remembers");
    raw.register("ep=remembers&lwm2m=1.1", "</>;ct=110,</3/0>,</3303/0>");
    let admin = node.admin();
    let observe = std::thread::scope(|scope| {
        let observed = scope.spawn(|| admin.observe("remembers", "/3303/0/5700"));
        let observe = raw.next_request("GET /3303/0/5700");
        let now = *br#"[{"n":"/3303/0/5700","v":1.5}]"#;
        raw.send(&observe.answer("2.05").observe(1).format(110).payload(now));
        observed.join().unwrap().unwrap();
        observe
    });
    let kept = *br#"[{"bn":"/3303/0/5700","bt":1700000000.25,"v":2.5},{"t":60,"v":3.5},{"t":120.5,"v":4.5}]"#;
    raw.send(&observe.notification(0x7001, 2).format(110).payload(kept));
    raw.next("ACK", |message| message.id() == 0x7001);
    for (value, time) in [(2.5, 1_700_000_000_250_u64), (3.5, 1_700_000_060_250), (4.5, 1_700_000_120_750)] {
        let record = node.sink().is("remembers", "/3303/0/5700", value);
        assert_eq!(record["data"]["ts"], time);
    }
    assert_eq!(node.sink().values("remembers", "/3303/0/5700").len(), 4);
}

fn mapping(path: &str, key: &str, kind: mapping::Kind) -> Mapping {
    Mapping { path: path.into(), key: key.into(), kind: kind.into() }
}

/// Of the battery level as attribute and telemetry, two temperatures as telemetry and the firmware as attribute.
fn profile(start: StartStrategy, observe: ObserveStrategy) -> Profile {
    Profile {
        name: "profiles/product".into(),
        mappings: vec![
            mapping("/3/0/9", "battery", mapping::Kind::Both),
            mapping("/3/0/3", "", mapping::Kind::Attribute),
            mapping("/3303/0/5700", "inside", mapping::Kind::Telemetry),
            mapping("/3303/1/5700", "outside", mapping::Kind::Telemetry),
            mapping("/3304/0/5700", "humidity", mapping::Kind::Telemetry),
        ],
        observe: ["/3/0/9", "/3303/0/5700", "/3303/1/5700", "/3304/0/5700"].map(Into::into).into(),
        start_strategy: start.into(),
        observe_strategy: observe.into(),
        ..Profile::default()
    }
}

/// What the node asks of a fresh client, in its order, when a device of this profile registers.
fn asked(endpoint: &str, profile: Profile, until: &str) -> Option<(Node, Client, Vec<String>)> {
    let leshan = Leshan::shared()?;
    let node = Node::start();
    let admin = node.admin();
    admin.profile(profile);
    admin.device(endpoint, "product");
    let mut client = leshan.start(&node, endpoint, &["objects=3303:0,1"]);
    client.next(until, |event| event["event"] == "request" && shape(event) == until);
    let asked = client.events("request").iter().map(shape).collect();
    Some((node, client, asked))
}

fn shape(request: &Value) -> String {
    let observe = if request["observe"] == 0 { " observe" } else { "" };
    let query = request["query"].as_str().filter(|query| !query.is_empty());
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{} {}{query}{observe}", request["method"].as_str().unwrap(), request["path"].as_str().unwrap())
}

#[test]
fn a_profile_observes_each_path_that_the_device_has() {
    let profile = profile(StartStrategy::Observe, ObserveStrategy::Single);
    let Some((node, client, asked)) = asked("singles", profile, "GET /3303/1/5700 observe") else { return };
    assert_eq!(asked, ["GET /3/0/9 observe", "GET /3303/0/5700 observe", "GET /3303/1/5700 observe"]);
    let mut sink = node.sink();
    let skipped = sink.event("singles", "path_skipped");
    assert_eq!(skipped["data"]["data"]["path"], "/3304/0/5700");
    node.admin().wait_observations("singles", &["/3/0/9", "/3303/0/5700", "/3303/1/5700"]);

    client.set("/3303/1/5700", "-7.5");
    let record = sink.is("singles", "/3303/1/5700", -7.5);
    assert_eq!(record["data"]["values"], json!({"outside": -7.5}));
    client.set("/3/0/9", "50");
    let kinds: Vec<_> = (0..2)
        .map(|_| {
            let record = sink.is("singles", "/3/0/9", 50);
            assert_eq!(record["data"]["values"], json!({"battery": 50}));
            record["type"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(kinds.contains(&"dev.godwit.telemetry.v1".into()), "{kinds:?}");
    assert!(kinds.contains(&"dev.godwit.attributes.v1".into()), "{kinds:?}");
}

#[test]
fn a_profile_reads_what_is_mapped_and_not_observed() {
    let profile = profile(StartStrategy::ReadMapped, ObserveStrategy::Single);
    let Some((node, _client, asked)) = asked("mapped", profile, "GET /3303/1/5700 observe") else { return };
    assert_eq!(
        asked,
        ["GET /3/0/3", "GET /3/0/9 observe", "GET /3303/0/5700 observe", "GET /3303/1/5700 observe"]
    );
    let record = node.sink().is("mapped", "/3/0/3", "1.0.3");
    assert_eq!(record["type"], "dev.godwit.attributes.v1");
    assert_eq!(record["data"]["values"], json!({"firmwareVersion": "1.0.3"}));
}

#[test]
fn a_profile_reads_every_instance_whole_before_it_observes() {
    let profile = profile(StartStrategy::ReadAll, ObserveStrategy::Single);
    let Some((node, _client, asked)) = asked("all", profile, "GET /3303/1/5700 observe") else { return };
    assert_eq!(
        asked,
        [
            "GET /1/0",
            "GET /3/0",
            "GET /3303/0",
            "GET /3303/1",
            "GET /3/0/9 observe",
            "GET /3303/0/5700 observe",
            "GET /3303/1/5700 observe"
        ]
    );
    let mut sink = node.sink();
    sink.is("all", "/3/0/3", "1.0.3");
    sink.is("all", "/3303/1/5700", 21.5);
    assert!(sink.values("all", "/3303/1/5701").is_empty(), "what is not mapped is not published");
}

#[test]
fn a_profile_observes_all_paths_at_once() {
    let profile = profile(StartStrategy::Observe, ObserveStrategy::Composite);
    let Some((node, client, asked)) = asked("composite", profile, "FETCH / observe") else { return };
    assert_eq!(asked, ["FETCH / observe"]);
    node.admin().wait_observations("composite", &["/3/0/9 /3303/0/5700 /3303/1/5700"]);
    let mut sink = node.sink();
    sink.is("composite", "/3303/0/5700", 21.5);
    client.set("/3303/1/5700", "2.5");
    sink.is("composite", "/3303/1/5700", 2.5);
}

#[test]
fn a_profile_observes_the_paths_of_each_object_at_once() {
    let profile = profile(StartStrategy::Observe, ObserveStrategy::CompositeByObject);
    let Some((node, _client, asked)) = asked("by-object", profile, "FETCH / observe") else { return };
    assert_eq!(asked, ["GET /3/0/9 observe", "FETCH / observe"]);
    node.admin().wait_observations("by-object", &["/3/0/9", "/3303/0/5700 /3303/1/5700"]);
}

#[test]
fn attributes_are_written_before_the_first_observe() {
    let attributes = Attributes { pmin: Some(1), pmax: Some(30), ..Default::default() };
    let attributes = WriteAttributes { path: "/3303/0/5700".into(), attributes: Some(attributes) };
    let mut profile = profile(StartStrategy::Observe, ObserveStrategy::Single);
    profile.write_attributes.push(attributes);
    let Some((_node, _client, asked)) = asked("before", profile, "GET /3303/1/5700 observe") else { return };
    assert_eq!(asked.len(), 4);
    assert!(asked[0].starts_with("PUT /3303/0/5700?"), "{asked:?}");
}

#[test]
fn a_changed_profile_is_applied_as_a_difference() {
    let before = profile(StartStrategy::Observe, ObserveStrategy::Single);
    let Some((node, mut client, asked)) = asked("changed", before, "GET /3303/1/5700 observe") else {
        return;
    };
    let admin = node.admin();
    admin.wait_observations("changed", &["/3/0/9", "/3303/0/5700", "/3303/1/5700"]);

    let mut after = profile(StartStrategy::Observe, ObserveStrategy::Single);
    after.observe = vec!["/3/0/9".into(), "/3303/0/5700".into(), "/3/0/13".into()];
    admin.profile(after);
    admin.wait_observations("changed", &["/3/0/13", "/3/0/9", "/3303/0/5700"]);
    client.next("the new path", |event| event["path"] == "/3/0/13" && event["observe"] == 0);
    client.command("update", &[]);
    client.event("updated");
    let mut more: Vec<_> = client.events("request")[asked.len()..]
        .iter()
        .map(|request| (shape(request), request["observe"].clone()))
        .collect();
    more.sort_by_key(|(shape, _)| shape.clone());
    assert_eq!(
        more,
        [("GET /3/0/13 observe".into(), json!(0)), ("GET /3303/1/5700".into(), json!(1))],
        "nothing that stayed was asked anew"
    );
}
