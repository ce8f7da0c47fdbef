//! Consumers that others wrote read what is published: one golden line per type of value.

use std::{collections::BTreeMap, fs, path::Path};

use godwit_tests::{Foreign, Kafka, Message, Node, Raw, Setup};
use serde_json::{Value, json};

use crate::world::setup;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/golden");

/// A Send for each type of value, in SenML JSON, at a time that the device names.
const SENDS: [(&str, &str); 11] = [
    ("string", r#"{"n":"/3/0/0","vs":"Gr\u00fc\u00dfe"}"#),
    ("integer", r#"{"n":"/3/0/9","v":95}"#),
    ("large integer", r#"{"n":"/3442/0/120","v":-9007199254740993}"#),
    ("unsigned", r#"{"n":"/3442/0/125","v":9223372036854775809}"#),
    ("time", r#"{"n":"/3/0/13","v":1700000001}"#),
    ("boolean", r#"{"n":"/1/0/6","vb":true}"#),
    ("float", r#"{"n":"/3442/0/130","v":-21.625}"#),
    ("opaque", r#"{"n":"/3442/0/150","vd":"AAH_gA"}"#),
    ("objlnk", r#"{"n":"/3442/0/170","vlo":"3303:7"}"#),
    ("corelnk", r#"{"n":"/3442/0/180","vs":"</3>;ver=1.1,</3303/0>"}"#),
    ("instances", r#"{"n":"/3/0/7/0","v":3800},{"n":"/3/0/7/1","v":5000}"#),
];

/// What of a message does not change from one run to the next.
fn golden(message: &Foreign) -> Value {
    let headers: BTreeMap<_, _> = message.headers.iter().cloned().collect();
    let value: Value = serde_json::from_slice(&message.value).expect("the value is JSON, or shown so");
    let kept = ["ce_specversion", "ce_source", "ce_type", "content-type", "endpoint", "profile", "path"];
    let kept: BTreeMap<_, _> = kept.iter().map(|name| (name, headers.get(*name))).collect();
    json!({ "key": message.key, "headers": kept, "value": value })
}

/// A node that has published all of it.
fn publish(setup: Setup) -> Node {
    let node = setup.set("node.id=node-1").start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=urn:dev:g\u{fc}l&lt=600&lwm2m=1.1&b=U", "</1/0>,</3/0>,</3442/0>");
    for (name, record) in SENDS {
        let payload = format!(r#"[{{"bt":1700000000}},{record}]"#);
        let answer = raw.call(Message::request("POST", "/dp").format(110).payload(payload));
        assert_eq!(answer.code(), "2.04", "{name}: {answer:?}");
    }
    node
}

fn compare(mut messages: Vec<Foreign>, file: &str) {
    messages.sort_by(|a, b| a.header("order").cmp(b.header("order")));
    let lines: String = messages.iter().map(|message| format!("{}\n", golden(message))).collect();
    let path = Path::new(GOLDEN).join(file);
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        fs::write(&path, &lines).unwrap();
    }
    assert_eq!(lines, fs::read_to_string(path).unwrap());
}

#[test]
fn consumers_of_other_makers_read_every_type() {
    let Some(kafka) = Kafka::start() else { return };
    let _node = publish(setup(&kafka));
    let [by_java, by_python] = kafka.read_elsewhere("godwit.telemetry", SENDS.len());
    assert_eq!(by_java, by_python);
    compare(by_java, "json.ndjson");
}

#[test]
fn a_consumer_of_another_maker_reads_every_type_in_protobuf() {
    let Some(kafka) = Kafka::start() else { return };
    let routes =
        r#"sink.kafka.routes=[{ topic = "drivers", object = 3 }, { topic = "all", profile = "default" }]"#;
    let _node = publish(setup(&kafka).set("sink.kafka.values=protobuf").set(routes));
    let decoded = kafka.read_decoded("all", SENDS.len(), godwit_proto::DESCRIPTORS);
    assert!(decoded.iter().all(|message| message.header("content-type") == "application/protobuf"));
    compare(decoded, "protobuf.ndjson");
    // The same messages, but for those of other objects.
    let of_object = SENDS.iter().filter(|(_, record)| record.contains("\"/3/")).count();
    assert_eq!(kafka.read_decoded("drivers", of_object, godwit_proto::DESCRIPTORS).len(), of_object);
    let [by_java, by_python] = kafka.read_elsewhere("all", SENDS.len());
    assert_eq!(by_java, by_python);
}
