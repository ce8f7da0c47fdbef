//! Broker, node and network fail while a fleet notifies; the load tool's journal is held against what a consumer read.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use godwit_tests::{Journal, Kafka, Load, Scale, Setup, report};
use serde_json::{Value, json};

use crate::world::{check, in_order_within_a_term, is_late, scratch};

#[test]
fn nothing_acknowledged_is_lost_through_outages() {
    outages("kafka-kill", "Broker, network and node fail under load", "kafka");
}

#[test]
fn nothing_acknowledged_from_the_spool_is_lost_through_outages() {
    outages("kafka-kill-spool", "Broker, network and node fail under load, with a spool", "spool");
}

fn outages(name: &str, title: &str, ack_after: &str) {
    let scale = Scale::from_environment().kafka;
    let Some(mut kafka) = Kafka::start() else { return };
    let network = kafka.proxy();
    let mut node = Setup::default()
        .set("sink.kind=kafka")
        .set(format!("sink.kafka.brokers={}", kafka.proxied()))
        .set(format!("sink.kafka.ack_after={ack_after}"))
        .set("registration.auto_create=demo")
        .start();
    let scratch = scratch(name);
    let (journal, ran) = (scratch.join("journal.ndjson"), scratch.join("run.json"));
    let mut load = Load::start(&[
        "run".to_owned(),
        "--quiet".into(),
        format!("--server={}", node.coap()),
        format!("--devices={}", scale.devices),
        "--register-rate=1000/s".into(),
        format!("--notify-rate={}/s", scale.rate),
        // Until it is told to stop: an outage takes what time it takes.
        "--duration=3600s".into(),
        format!("--journal={}", journal.display()),
        format!("--json={}", ran.display()),
    ]);
    let mut progress = Journal::open(&journal);
    progress.reach(1, &mut load);
    let began = Instant::now();
    // Between outages, so many more.
    let stretch = u64::from(scale.rate) * scale.duration.as_secs() / 10;
    let mut go_on = |load: &mut Load| {
        let values = progress.values();
        progress.reach(values + stretch, load);
    };
    go_on(&mut load);
    kafka.kill();
    kafka.restart();
    go_on(&mut load);
    node.kill();
    node.restart();
    go_on(&mut load);
    network.cut(true);
    thread::sleep(scale.cut);
    network.cut(false);
    go_on(&mut load);
    // Both at once: what waits in the node's memory dies with it, and no device was told otherwise.
    kafka.kill();
    node.kill();
    node.restart();
    kafka.restart();
    go_on(&mut load);
    thread::sleep(scale.duration.saturating_sub(began.elapsed()));
    let took = began.elapsed();
    load.stop();
    load.succeed();
    let began = Instant::now();
    while node.metric("godwit_spool_records") > 0.0 {
        assert!(began.elapsed() < Duration::from_secs(120), "the spool is not drained");
        thread::sleep(Duration::from_millis(20));
    }
    let drained = began.elapsed();

    let records = kafka.read("godwit.telemetry");
    let findings = check(&scratch, &journal, &records);
    assert_eq!(findings["faults"], json!([]));
    assert_eq!(findings["endpoints"], scale.devices, "each device got a value acknowledged");
    in_order_within_a_term(&records);
    let late = records.iter().filter(|record| is_late(record)).count();
    assert_eq!(late > 0, ack_after == "spool", "{late} records came from a spool");

    let run: Value = serde_json::from_str(&fs::read_to_string(&ran).unwrap()).unwrap();
    report(
        name,
        title,
        "make soak",
        &format!(
            "{devices} simulated devices, confirmable notifications at {rate}/s for {seconds} s into one Apache Kafka \
             broker, `sink.kafka.ack_after = \"{ack_after}\"`. The broker was killed and started again, then the node; the \
             network between them was cut for {cut} s; then both were killed at once. In the end the tool compares its \
             journal of acknowledged values with what a consumer read.\n\n\
             | | |\n|---|---|\n\
             | values acknowledged | {acknowledged} |\n\
             | acknowledged values missing from the topic | 0 |\n\
             | values out of order within a device, by `order` and by place in a term | 0 |\n\
             | values under two `ce_id`s | 0 |\n\
             | records that repeat one under its own `ce_id` | {duplicates} |\n\
             | records that came from the spool | {late} |\n\
             | until the spool was empty after the load | {drained:.1} s |\n\
             | devices that registered again | {again} |\n",
            devices = scale.devices,
            rate = scale.rate,
            seconds = took.as_secs(),
            cut = scale.cut.as_secs(),
            acknowledged = findings["acknowledged"],
            duplicates = findings["duplicates"],
            drained = drained.as_secs_f64(),
            again = run["registered_again"],
        ),
    );
    fs::remove_dir_all(&scratch).unwrap();
}
