//! What a consumer sees.

use godwit_proto::v1::{
    Profile,
    profile::{Mapping, StartStrategy, mapping},
};
use godwit_tests::{Kafka, KafkaMessage, Leshan, Raw, wait};
use serde_json::json;

use crate::world::{send, setup};

#[test]
fn a_notification_is_a_cloud_event_in_its_topic() {
    let Some(kafka) = Kafka::start() else { return };
    let Some(leshan) = Leshan::shared() else { return };
    let node = setup(&kafka).set("registration.auto_create=demo").start();
    let mut client = leshan.start(&node, "urn:dev:kafka", &[]);
    client.next("registered", |event| event["event"] == "registered");
    let record = wait("a value in the topic", || {
        kafka.read("godwit.telemetry").into_iter().find(|record| record.header("path") == "/3/0/9")
    });
    assert_eq!(record.key, "urn:dev:kafka");
    assert_eq!(record.header("ce_specversion"), "1.0");
    assert_eq!(record.header("ce_type"), "dev.godwit.telemetry.v1");
    assert_eq!(record.header("content-type"), "application/json");
    assert_eq!(record.header("endpoint"), "urn:dev:kafka");
    assert_eq!(record.header("profile"), "demo");
    assert_eq!(record.header("order").len(), 20);
    assert!(record.header("ce_source").starts_with("/godwit/godwit/devices/d"));
    let paths = record.payload["paths"].as_object().unwrap();
    let key = paths.iter().find(|(_, paths)| **paths == json!(["/3/0/9"])).unwrap().0;
    assert!(record.payload["values"][key].is_u64(), "{}", record.payload);

    let registered = kafka.read("godwit.events");
    let registered =
        registered.iter().find(|event| event.header("ce_type") == "dev.godwit.event.registered.v1").unwrap();
    assert_eq!(registered.key, "urn:dev:kafka");
    assert_eq!(registered.payload["type"], "registered");
}

#[test]
fn raw_payloads_have_a_topic_of_their_own_and_copies_take_nothing_away() {
    let Some(kafka) = Kafka::start() else { return };
    let routes = r#"sink.kafka.routes=[{ topic = "copies", object = 3, required = false }]"#;
    let node = setup(&kafka).set("sink.kafka.raw=true").set(routes).start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=raw&lt=600&lwm2m=1.1&b=U", "</3/0>");
    assert_eq!(raw.call(send("value")).code(), "2.04");
    let [sent] = &kafka.read("godwit.raw")[..] else { panic!("one payload was sent") };
    assert_eq!(sent.payload, json!([{"n": "/3/0/0", "vs": "value"}]), "as the device wrote it");
    let headers = ["ce_type", "content-type", "path"].map(|name| sent.header(name));
    assert_eq!(headers, ["dev.godwit.raw.v1", "application/senml+json", "/"]);
    let decoded = kafka.read("godwit.telemetry");
    assert_eq!(decoded.len(), 1);
    let cause = |record: &KafkaMessage| record.header("ce_id").split('-').next().unwrap().to_owned();
    assert_eq!(cause(sent), cause(&decoded[0]), "one cause");
    let copy = wait("the copy", || kafka.read("copies").into_iter().next());
    assert_eq!((copy.header("ce_id"), &copy.payload), (decoded[0].header("ce_id"), &decoded[0].payload));
}

#[test]
fn attributes_results_of_operations_and_answers_as_they_were_have_topics_of_their_own() {
    let Some(kafka) = Kafka::start() else { return };
    let Some(leshan) = Leshan::shared() else { return };
    let node = setup(&kafka).set("sink.kafka.raw=true").start();
    let serial =
        Mapping { path: "/3/0/2".into(), key: "serial".into(), kind: mapping::Kind::Attribute.into() };
    node.admin().profile(Profile {
        name: "profiles/serial".into(),
        mappings: vec![serial],
        start_strategy: StartStrategy::Observe.into(),
        ..Profile::default()
    });
    node.admin().device("told", "serial");
    let mut client = leshan.start(&node, "told", &[]);
    client.registered();
    client.put("/3/0/2", "S-1");
    // In SenML JSON, which the reader of raw payloads can show.
    node.admin().read_as("told", "/3/0/2", 110).unwrap();
    let next = |topic: &str| wait(topic, || kafka.read(topic).into_iter().next());

    let attributes = next("godwit.attributes");
    assert_eq!(attributes.payload["values"], json!({"serial": "S-1"}));
    assert_eq!(attributes.header("ce_type"), "dev.godwit.attributes.v1");
    let raw = next("godwit.raw");
    assert_eq!(["ce_type", "path"].map(|name| raw.header(name)), ["dev.godwit.raw.v1", "/3/0/2"]);
    assert!(raw.payload.to_string().contains("S-1"), "{}", raw.payload);
    let cause = |record: &KafkaMessage| record.header("ce_id").split('-').next().unwrap().to_owned();
    assert_eq!(cause(&raw), cause(&attributes), "one answer");

    let ended = next("godwit.operations");
    assert_eq!((ended.key.as_str(), ended.header("ce_type")), ("told", "dev.godwit.operation.v1"));
    let (command, state) = (&ended.payload["command"], &ended.payload["state"]);
    assert_eq!((command, state), (&json!("read"), &json!("SUCCEEDED")));
    assert_eq!(ended.payload["result"]["values"], json!([{"path": "/3/0/2", "value": "S-1"}]));
}

#[test]
fn what_died_between_kafkas_acknowledgement_and_the_devices_comes_again_under_its_id() {
    let Some(kafka) = Kafka::start() else { return };
    let mut node = setup(&kafka).failpoint("kafka.delivered:godwit.telemetry").start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=twice&lt=600&lwm2m=1.1&b=U", "</3/0>");
    let message = raw.numbered(send("value"));
    raw.send(&message);
    assert!(!node.wait_end().success());
    node.restart();
    // The device repeats what nobody acknowledged.
    raw.send(&message);
    raw.next("the answer", |answer| answer.code() == "2.04");
    let records = kafka.read("godwit.telemetry");
    let ids: Vec<_> = records.iter().map(|record| record.header("ce_id")).collect();
    assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
    let orders: Vec<_> = records.iter().map(|record| record.header("order")).collect();
    assert!(orders[0] < orders[1], "{orders:?}");
}
