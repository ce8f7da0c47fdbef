//! What Kafka will not take, or can't now: the log names the setting, and nothing else stops.

use std::fs;

use coap_lite::CoapOption;
use godwit_tests::{AUTHORIZER, Kafka, Message, Node, Raw, Setup, wait};
use serde_json::{Value, json};

use crate::world::{send, setup};

/// A node that authenticates as `app`.
fn as_app(kafka: &Kafka, password: &str) -> Setup {
    Setup::default()
        .set("sink.kind=kafka")
        .set(format!("sink.kafka.brokers={}", kafka.sasl()))
        .set("sink.kafka.sasl_mechanism=plain")
        .set("sink.kafka.username=app")
        .set(format!("sink.kafka.password={password}"))
}

/// Errors that were counted under the name of this setting.
fn errors(node: &Node, setting: &str) -> f64 {
    node.metric(&format!("godwit_kafka_errors_total{{setting=\"{setting}\"}}"))
}

#[test]
fn a_record_too_large_for_the_producer_is_kept_and_stops_nothing() {
    let Some(kafka) = Kafka::start() else { return };
    too_large(&kafka, setup(&kafka).set("sink.kafka.settings={ \"message.max.bytes\" = \"1500\" }"));
}

#[test]
fn a_record_too_large_for_the_broker_is_kept_and_stops_nothing() {
    let Some(kafka) = Kafka::with("message.max.bytes=1500\n") else { return };
    too_large(&kafka, setup(&kafka));
}

fn too_large(kafka: &Kafka, setup: Setup) {
    let node = setup.start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=large&lt=60&lwm2m=1.1&b=U", "</3/0>");
    let large = "x".repeat(2000);
    assert_eq!(raw.call(send(&large)).code(), "2.04", "kept: the device need not send it again");
    assert_eq!(raw.call(send("small")).code(), "2.04");
    let letters = fs::read_to_string(node.data_dir().join("dead-letters/telemetry.ndjson")).unwrap();
    let letter: Value = serde_json::from_str(letters.trim_end()).expect("one letter");
    assert_eq!((&letter["topic"], &letter["key"]), (&json!("godwit.telemetry"), &json!("large")));
    assert_eq!(letter["headers"]["endpoint"], "large");
    assert!(letter["value"].to_string().contains(&large));
    let records = kafka.read("godwit.telemetry");
    assert_eq!(records.len(), 1);
    assert!(records[0].payload.to_string().contains("small"));
    assert!(node.log().contains("message.max.bytes"), "the log names the setting");
    assert_eq!(errors(&node, "sink.kafka.settings.message.max.bytes"), 1.0, "and so do the metrics");
}

#[test]
fn devices_are_not_acknowledged_while_kafka_is_away_and_the_queue_is_full() {
    let Some(mut kafka) = Kafka::start() else { return };
    let node = setup(&kafka).set("sink.queue=2KiB").set("limits.uplink_body=1KiB").start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=waits&lt=600&lwm2m=1.1&b=U", "</3/0>");
    wait("events are through", || (node.metric("godwit_sink_queue_bytes") == 0.0).then_some(()));
    kafka.kill();
    let sends: Vec<_> = (0..8)
        .map(|count| {
            let payload = format!(r#"[{{"n":"/3/0/9","v":{count}}}]"#);
            raw.numbered(Message::request("POST", "/dp").format(110).payload(payload))
        })
        .collect();
    sends.iter().for_each(|send| raw.send(send));
    // What the queue can't hold is refused with the time to come again; what it holds gets nothing yet.
    let busy = raw.next("a refusal", |answer| answer.code() == "5.03");
    assert!(busy.number(CoapOption::MaxAge).is_some());
    let held: Vec<_> = wait("the others", || {
        let refused = node.metric("godwit_sink_records_total{outcome=\"queue_full\"}");
        (refused >= 1.0).then(|| sends.iter().filter(|send| send.token() != busy.token()).collect())
    });
    assert!(!held.is_empty());
    kafka.restart();
    let done = raw.next("an answer once Kafka is back", |answer| answer.code() == "2.04");
    let place = sends.iter().position(|send| send.token() == done.token()).expect("one of the Sends");
    let there = kafka.read("godwit.telemetry");
    let wanted = format!(":{place}");
    assert!(there.iter().any(|record| record.payload["values"].to_string().contains(&wanted)));
}

#[test]
fn updates_are_answered_while_kafka_is_away() {
    let Some(mut kafka) = Kafka::start() else { return };
    let node = setup(&kafka).start();
    let mut raw = Raw::new(node.coap());
    let id = raw.register("ep=goes-on&lt=600&lwm2m=1.1&b=U", "</3/0>");
    kafka.kill();
    // More than may wait.
    for number in 0..12 {
        let value = raw.numbered(send(&format!("v{number:02}")));
        raw.send(&value);
    }
    let update = Message::request("POST", &format!("/rd/{id}?lt=700"));
    assert_eq!(raw.call(update).code(), "2.04");
    kafka.restart();
    raw.next("an answer once Kafka is back", |answer| answer.code() == "2.04");
}

#[test]
fn a_topic_that_is_not_there_stops_no_other() {
    let Some(kafka) = Kafka::with("auto.create.topics.enable=false\n") else { return };
    kafka.create("other.events");
    let node = setup(&kafka)
        .set("sink.kafka.topic_prefix=other.")
        .set("sink.kafka.settings.topic.metadata.propagation.max.ms=500")
        .start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=lost&lt=600&lwm2m=1.1&b=U", "</3/0>");
    assert_eq!(raw.call(send("value")).code(), "2.04", "kept as a dead letter");
    let letters = fs::read_to_string(node.data_dir().join("dead-letters/telemetry.ndjson")).unwrap();
    let letter: Value = serde_json::from_str(letters.trim_end()).expect("one letter");
    assert_eq!(letter["topic"], "other.telemetry");
    assert!(node.log().contains("sink.kafka.topic_prefix"), "the log names the setting");
    assert!(errors(&node, "sink.kafka.topic_prefix") >= 1.0, "and so do the metrics");
    assert!(node.metric("godwit_sink_records_total{outcome=\"dead_letter\"}") >= 1.0);
    let there = wait("the event in its topic", || {
        kafka.read("other.events").into_iter().find(|event| event.key == "lost")
    });
    assert_eq!(there.payload["type"], "registered");
}

#[test]
fn a_topic_that_is_forbidden_stops_no_other() {
    let Some(kafka) = Kafka::with(AUTHORIZER) else { return };
    kafka.create("godwit.telemetry");
    kafka.deny("app", "godwit.telemetry");
    let node = as_app(&kafka, "secret").start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=barred&lt=600&lwm2m=1.1&b=U", "</3/0>");
    assert_eq!(raw.call(send("value")).code(), "2.04", "kept as a dead letter");
    let letters = fs::read_to_string(node.data_dir().join("dead-letters/telemetry.ndjson")).unwrap();
    let letter: Value = serde_json::from_str(letters.trim_end()).expect("one letter");
    assert_eq!((&letter["topic"], &letter["key"]), (&json!("godwit.telemetry"), &json!("barred")));
    assert!(node.log().contains("sink.kafka.username"), "the log names the setting");
    assert!(errors(&node, "sink.kafka.username") >= 1.0, "and so do the metrics");
    let there = wait("the event in its topic", || {
        kafka.read("godwit.events").into_iter().find(|event| event.key == "barred")
    });
    assert_eq!(there.payload["type"], "registered");
    assert_eq!(kafka.read("godwit.telemetry").len(), 0);
}

#[test]
fn a_wrong_password_is_named_in_the_log() {
    let Some(kafka) = Kafka::start() else { return };
    let wrong = as_app(&kafka, "guessed").start();
    wait("a complaint", || wrong.log().contains("sink.kafka.password").then_some(()));
    assert!(!wrong.log().contains("guessed"));
    assert!(errors(&wrong, "sink.kafka.password") >= 1.0, "the metrics name the setting");
    let mut raw = Raw::new(wrong.coap());
    raw.register("ep=waits&lt=600&lwm2m=1.1&b=U", "</3/0>");
    let right = as_app(&kafka, "secret").start();
    let mut raw = Raw::new(right.coap());
    raw.register("ep=comes&lt=600&lwm2m=1.1&b=U", "</3/0>");
    assert_eq!(raw.call(send("value")).code(), "2.04");
    assert!(kafka.read("godwit.telemetry").iter().any(|record| record.key == "comes"));
    assert!(kafka.read("godwit.events").iter().all(|record| record.key != "waits"));
}

#[test]
fn an_unknown_broker_is_named_in_the_log() {
    // No broker listens there.
    let node = Setup::default().set("sink.kind=kafka").set("sink.kafka.brokers=127.0.0.1:1").start();
    wait("a complaint", || node.log().contains("sink.kafka.brokers").then_some(()));
    assert!(errors(&node, "sink.kafka.brokers") >= 1.0, "the metrics name the setting");
    let mut raw = Raw::new(node.coap());
    raw.register("ep=waits&lt=600&lwm2m=1.1&b=U", "</3/0>");
    assert!(node.metric("godwit_sink_queue_bytes") > 0.0, "its events wait");
}
