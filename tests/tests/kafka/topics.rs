//! Topics that the node makes.

use godwit_tests::{Kafka, wait};

use crate::world::setup;

#[test]
fn topics_are_made_as_they_are_wanted() {
    let Some(kafka) = Kafka::with("auto.create.topics.enable=false\n") else { return };
    let node = setup(&kafka)
        .set("sink.kafka.create_topics=true")
        .set("sink.kafka.topics.partitions=3")
        .set("sink.kafka.topics.replication=1")
        .set("sink.kafka.topics.retention=2h")
        .set(r#"sink.kafka.routes=[{ topic = "meters", profile = "meter" }]"#)
        .start();
    for topic in ["godwit.telemetry", "godwit.attributes", "godwit.events", "godwit.operations", "meters"] {
        let made = wait(topic, || kafka.describe(topic));
        assert_eq!(made, ["partitions=3", "replicas=1", "retention.ms=7200000"], "{topic}");
    }
    assert_eq!(kafka.describe("godwit.raw"), None, "it was not wanted");
    // One broker's death loses what only it has.
    wait("a warning", || node.log().contains("min.insync.replicas is 1").then_some(()));
}
