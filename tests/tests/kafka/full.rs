//! Kafka is away for longer than the spool has room.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use godwit_tests::{Journal, Kafka, KafkaFull, Leshan, Load, Node, Scale, Setup, report, wait};
use serde_json::json;

use crate::world::{check, in_order_within_a_term, scratch, wait_drained};

const OBSERVED: &str = "/3303/0/5700";

/// Records that were refused up to now.
fn refused(node: &Node) -> f64 {
    node.metric("godwit_sink_records_total{outcome=\"queue_full\"}")
}

/// Devices that dropped their observations are quiet: so long without a refusal, and all of them are.
const QUIET: Duration = Duration::from_secs(10);

/// Waits until so many records more have been refused, or no device is left that has something to say. How many they were.
fn refuse(node: &Node, records: u32) -> f64 {
    let began = refused(node);
    let (mut last, mut since) = (began, Instant::now());
    while last < began + f64::from(records) && since.elapsed() < QUIET {
        thread::sleep(Duration::from_millis(20));
        let now = refused(node);
        if now > last {
            (last, since) = (now, Instant::now());
        }
    }
    last - began
}

/// The node's live heap but for what the store holds.
fn heap(node: &Node) -> f64 {
    node.metric("godwit_process_heap_bytes") - node.metric("godwit_store_memory_bytes")
}

fn resident(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn an_outage_beyond_the_spools_bound_costs_no_memory_and_no_observation() {
    let KafkaFull { devices, rate, bound, refused: enough, growth } = Scale::from_environment().kafka_full;
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
        // By which devices that dropped their observations are heard.
        format!("--update-rate={}/s", devices / 10),
        "--ack-timeout=100ms".into(),
        "--duration=3600s".into(),
        format!("--journal={}", journal.display()),
    ]);
    let mut progress = Journal::open(&journal);
    progress.reach(u64::from(devices), &mut load);

    kafka.kill();
    // It has come to rest in what it may have: queue and spool are full, and each device has met that.
    wait("a refusal", || (refused(&node) > 0.0).then_some(()));
    refuse(&node, enough);
    client.set(OBSERVED, "1");
    let (held, before) = (heap(&node), resident(&node));
    let watched = refuse(&node, enough);
    let (grown, after) = (heap(&node) - held, resident(&node));
    assert!(grown < growth as f64, "the live heap grew by {grown} bytes over {watched} refused records");
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
             `sink.kafka.spool.limit` of {:.2} MiB each. The broker was killed; when both were full and {enough} records had been \
             refused, the node's memory was watched while {watched} more were. Devices that got no acknowledgement for 5 s dropped \
             their observations, and were asked for them again when they were heard after the broker had come back.\n\n\
             | | |\n|---|---|\n\
             | growth of the node's live heap meanwhile, without the store | {:.2} MiB |\n\
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
