//! Kafka is away for longer than the spool has room.

use std::{fs, thread, time::Duration};

use godwit_tests::{Journal, Kafka, KafkaFull, Leshan, Load, Node, Scale, Setup, report, wait};
use serde_json::json;

use crate::world::{check, in_order_within_a_term, scratch, wait_drained};

const OBSERVED: &str = "/3303/0/5700";

/// Waits until so many records more have been refused.
fn refuse(node: &Node, records: u32) {
    let refused = || node.metric("godwit_sink_records_total{outcome=\"queue_full\"}");
    let until = refused() + f64::from(records);
    // As long as it takes at the rate of the load and of its retransmissions.
    while refused() < until {
        thread::sleep(Duration::from_millis(20));
    }
}

fn resident(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn an_outage_beyond_the_spools_bound_costs_no_memory_and_no_observation() {
    let KafkaFull { devices, rate, bound, refused, growth } = Scale::from_environment().kafka_full;
    let (Some(mut kafka), Some(leshan)) = (Kafka::start(), Leshan::shared()) else { return };
    let _network = kafka.proxy();
    let node = Setup::default()
        .set("sink.kind=kafka")
        .set(format!("sink.kafka.brokers={}", kafka.proxied()))
        .set("sink.kafka.ack_after=spool")
        .set("sink.kafka.spool.budget=300ms")
        .set(format!("sink.kafka.spool.limit={bound}"))
        .set(format!("sink.queue={bound}"))
        .set("registration.auto_create=demo")
        // As the devices have it: they drop an observation after 5 s without acknowledgement in place of 93.
        .set("coap.ack_timeout=100ms")
        .start();
    let mut client = leshan.start(&node, "forgetful", &["ack=100", "lifetime=3000"]);
    client.request("GET", OBSERVED);
    let scratch = scratch("kafka-full");
    let journal = scratch.join("journal.ndjson");
    let mut load = Load::start(&[
        "run".to_owned(),
        "--quiet".into(),
        format!("--server={}", node.coap()),
        format!("--devices={devices}"),
        "--register-rate=1000/s".into(),
        format!("--notify-rate={rate}/s"),
        "--ack-timeout=100ms".into(),
        "--duration=3600s".into(),
        format!("--journal={}", journal.display()),
    ]);
    let mut progress = Journal::open(&journal);
    progress.reach(u64::from(devices), &mut load);

    kafka.kill();
    // It has come to rest in what it may have: queue and spool are full, and each device has met that.
    refuse(&node, refused);
    client.set(OBSERVED, "1");
    let (heap, before) = (node.metric("godwit_process_heap_bytes"), resident(&node));
    refuse(&node, refused);
    let (grown, after) = (node.metric("godwit_process_heap_bytes") - heap, resident(&node));
    assert!(grown < growth as f64, "the live heap grew by {grown} bytes over {refused} refused records");
    assert!(node.metric("godwit_spool_bytes") <= bound as f64);
    let queued = node.metric("godwit_sink_queue_bytes");
    // The last record taken may pass the bound.
    assert!(queued <= bound as f64 + 4096.0, "{queued}");
    assert!(node.log().contains("sink.kafka.spool.limit") || node.log().contains("sink.queue"));

    kafka.restart();
    let values = progress.values();
    progress.reach(values + u64::from(devices), &mut load);
    load.stop();
    load.succeed();
    wait_drained(&node);
    // The client has dropped the observation. It is heard, and asked again.
    let observed = || client.events("request").iter().filter(|it| it["path"] == OBSERVED).count();
    let suspects = || {
        let events = kafka.read("godwit.events").into_iter();
        events
            .filter(|event| event.key == "forgetful" && event.payload["type"] == "observation_suspect")
            .count()
    };
    let so_far = observed();
    wait("the observation again", || {
        client.command("update", &[]);
        (observed() > so_far).then_some(())
    });
    wait("the event", || (suspects() > 0).then_some(()));
    client.set(OBSERVED, "2");
    let records = wait("its next value", || {
        let records = kafka.read("godwit.telemetry");
        let is_next =
            |it: &godwit_tests::KafkaMessage| it.key == "forgetful" && it.payload.to_string().contains(":2");
        records.iter().any(is_next).then_some(records)
    });
    in_order_within_a_term(&records);
    let findings = check(&scratch, &journal, &records);
    assert_eq!(findings["faults"], json!([]));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    report(
        "kafka-full",
        "Kafka is away for longer than the spool has room",
        "make soak",
        &format!(
            "{devices} simulated devices and a Leshan client, confirmable notifications at {rate}/s, `sink.queue` and \
             `sink.kafka.spool.limit` of {:.2} MiB each. The broker was killed; when both were full and {refused} records had been \
             refused, the node's memory was watched while {refused} more were. Then the broker came back.\n\n\
             | | |\n|---|---|\n\
             | growth of the node's live heap meanwhile | {:.2} MiB |\n\
             | resident memory before and after | {:.1} MiB, {:.1} MiB |\n\
             | values acknowledged | {} |\n\
             | acknowledged values missing, out of order, or under two `ce_id`s | 0 |\n\
             | the Leshan client's observation, which it had dropped | asked for again at its next update, with an event |\n",
            mib(bound),
            grown / f64::from(1 << 20),
            mib(before),
            mib(after),
            findings["acknowledged"],
        ),
    );
    fs::remove_dir_all(&scratch).unwrap();
}
