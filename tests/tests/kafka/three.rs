//! Three brokers, of which two must have a record.

use std::fs;

use godwit_tests::{Journal, Kafka, Load, Setup, wait};
use serde_json::json;

use crate::world::{check, in_order_within_a_term, scratch};

#[test]
fn one_broker_of_three_is_not_missed_and_two_are() {
    const DEVICES: u64 = 100;
    let Some(mut kafka) = Kafka::three() else { return };
    let node = Setup::default()
        .set("sink.kind=kafka")
        .set(format!("sink.kafka.brokers={}", kafka.list()))
        .set("sink.kafka.create_topics=true")
        .set("sink.kafka.topics.partitions=6")
        .set("registration.auto_create=demo")
        .start();
    let scratch = scratch("kafka-three");
    let journal = scratch.join("journal.ndjson");
    let mut load = Load::start(&[
        "run".to_owned(),
        "--quiet".into(),
        format!("--server={}", node.coap()),
        format!("--devices={DEVICES}"),
        "--register-rate=500/s".into(),
        "--notify-rate=200/s".into(),
        "--duration=3600s".into(),
        format!("--journal={}", journal.display()),
    ]);
    let mut progress = Journal::open(&journal);
    let mut go_on = |load: &mut Load| {
        let values = progress.values();
        progress.reach(values + 3 * DEVICES, load);
    };
    go_on(&mut load);
    // Each broker leads some partitions, so each device's go on at another.
    kafka.kill_one(0);
    go_on(&mut load);
    // One replica is not enough: what comes waits.
    kafka.kill_one(1);
    let waits = || (node.metric("godwit_sink_queue_bytes") > 0.0).then_some(());
    wait("records that wait", waits);
    kafka.restart();
    go_on(&mut load);
    kafka.kill_one(2);
    go_on(&mut load);
    kafka.restart();
    load.stop();
    load.succeed();
    wait("an empty queue", || (node.metric("godwit_sink_queue_bytes") == 0.0).then_some(()));

    let records = kafka.read("godwit.telemetry");
    in_order_within_a_term(&records);
    let findings = check(&scratch, &journal, &records);
    assert_eq!(findings["faults"], json!([]));
    assert_eq!(findings["endpoints"], DEVICES);
    assert!(!node.log().contains("min.insync.replicas is 1"), "topics are as safe as they were asked for");
    fs::remove_dir_all(&scratch).unwrap();
}
