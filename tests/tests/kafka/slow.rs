//! A broker that answers late, and devices that do not notice.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use godwit_tests::{Journal, Kafka, KafkaSlow, Leshan, Load, Node, Scale, Setup, report};
use serde_json::{Value, json};

use crate::world::{check, in_order_within_a_term, is_late, scratch};

const OBSERVED: &str = "/3303/0/5700";

/// Waits until the spool is empty, while the broker is still late; how long that takes.
fn drain(node: &Node) -> Duration {
    let (began, limit) = (Instant::now(), Duration::from_secs(600));
    while node.metric("godwit_spool_records") > 0.0 {
        assert!(began.elapsed() < limit, "the backlog does not drain");
        thread::sleep(Duration::from_millis(50));
    }
    began.elapsed()
}

/// More than can be drained meanwhile.
struct Burst {
    devices: u32,
    rate: u32,
}

impl Burst {
    /// The backlog that it leaves, and how long that takes to drain.
    fn run(&self, node: &Node, journal: &Path) -> (f64, Duration) {
        let mut load = Load::start(&[
            "run".to_owned(),
            "--quiet".into(),
            format!("--server={}", node.coap()),
            format!("--devices={}", self.devices),
            "--endpoint=burst-{:05}".into(),
            "--register-rate=1000/s".into(),
            format!("--notify-rate={}/s", self.rate),
            "--duration=10s".into(),
            format!("--journal={}", journal.display()),
        ]);
        assert!(load.end().success());
        (node.metric("godwit_spool_records"), drain(node))
    }
}

#[test]
fn devices_do_not_notice_a_slow_broker() {
    let KafkaSlow { devices, rate, delay, duration, burst } = Scale::from_environment().kafka_slow;
    let (Some(kafka), Some(leshan)) = (Kafka::start(), Leshan::shared()) else { return };
    let network = kafka.proxy();
    let node = Setup::default()
        .set("sink.kind=kafka")
        .set(format!("sink.kafka.brokers={}", kafka.proxied()))
        .set("sink.kafka.ack_after=spool")
        .set("registration.auto_create=demo")
        .start();
    let mut clients: Vec<_> =
        (0..3).map(|number| leshan.start(&node, &format!("real-{number}"), &["lifetime=3000"])).collect();
    clients.iter_mut().for_each(|client| _ = client.request("GET", OBSERVED));
    let scratch = scratch("kafka-slow");
    let (journal, ran) = (scratch.join("journal.ndjson"), scratch.join("run.json"));
    let mut load = Load::start(&[
        "run".to_owned(),
        "--quiet".into(),
        format!("--server={}", node.coap()),
        format!("--devices={devices}"),
        "--register-rate=1000/s".into(),
        format!("--notify-rate={rate}/s"),
        "--duration=3600s".into(),
        format!("--journal={}", journal.display()),
        format!("--json={}", ran.display()),
    ]);
    let mut progress = Journal::open(&journal);
    progress.reach(u64::from(devices), &mut load);
    network.delay(delay);
    let began = Instant::now();
    let mut value = 0;
    while began.elapsed() < duration {
        value += 1;
        clients.iter().for_each(|client| client.set(OBSERVED, &value.to_string()));
        thread::sleep(duration.min(Duration::from_secs(20)) / 10);
    }
    load.stop();
    load.succeed();
    let backlog = node.metric("godwit_spool_records");
    let drained = drain(&node);
    let (burst_journal, most) = (scratch.join("burst.ndjson"), Burst { devices, rate: burst });
    let most = (burst > 0).then(|| most.run(&node, &burst_journal));
    network.delay(Duration::ZERO);

    let records = kafka.read("godwit.telemetry");
    in_order_within_a_term(&records);
    let findings = check(&scratch, &journal, &records);
    assert_eq!(findings["faults"], json!([]));
    if burst > 0 {
        assert_eq!(check(&scratch, &burst_journal, &records)["faults"], json!([]));
    }
    let late = records.iter().filter(|record| is_late(record)).count();
    assert!(late > 0, "nothing came from the spool");
    for (number, client) in clients.iter().enumerate() {
        let name = format!("real-{number}");
        let of_client = records.iter().filter(|record| record.key == name);
        let mut values = of_client.filter_map(|record| {
            let values = record.payload["values"].as_object()?;
            values.values().find_map(Value::as_f64)
        });
        assert_eq!(values.next_back(), Some(f64::from(value)), "{name}: its last value came");
        let asked = client.events("request").iter().filter(|it| it["path"] == OBSERVED).count();
        assert_eq!(asked, 1, "{name} was observed once and for all");
    }
    let (most, most_drained) = most.unwrap_or((backlog, drained));
    let run: Value = serde_json::from_str(&fs::read_to_string(&ran).unwrap()).unwrap();
    let notify =
        run["actions"].as_array().unwrap().iter().find(|action| action["action"] == "notify").unwrap();
    assert_eq!((&notify["timeouts"], &notify["resets"]), (&json!(0), &json!(0)));
    report(
        "kafka-slow",
        "A broker that answers late",
        "make soak",
        &format!(
            "{devices} simulated devices and {real} Leshan clients, confirmable notifications at {rate}/s for {seconds} s into one \
             Apache Kafka broker of four partitions whose answers take {delay} s, `sink.kafka.ack_after = \"spool\"`. Then no load, \
             and the same broker, until the spool is empty; then as many other devices at {burst}/s for 10 s, and the same. A \
             producer has one request at a time under way to a broker, of one partition and up to 1 MB (`batch.size`), so a broker \
             that takes {delay} s takes at most 1 MB in {delay} s, whatever the rate.\n\n\
             | | |\n|---|---|\n\
             | values acknowledged | {acknowledged} |\n\
             | acknowledged values missing, out of order, or under two `ce_id`s | 0 |\n\
             | datagram to acknowledgement, p50 and p99 | {p50} µs, {p99} µs |\n\
             | notifications given up by devices | 0 |\n\
             | notifications sent again by devices | {again} |\n\
             | observations of Leshan clients that were lost | 0 |\n\
             | records that came from the spool | {late} |\n\
             | backlog at the end of the load | {backlog} records |\n\
             | drained after | {drained:.1} s |\n\
             | backlog at the end of the burst | {most} records |\n\
             | drained after | {most_drained:.1} s: {per_second:.0} records/s |\n",
            real = clients.len(),
            seconds = duration.as_secs(),
            delay = delay.as_secs(),
            acknowledged = findings["acknowledged"],
            p50 = notify["latency_us"]["p50"],
            p99 = notify["latency_us"]["p99"],
            again = notify["retransmissions"],
            drained = drained.as_secs_f64(),
            most_drained = most_drained.as_secs_f64(),
            per_second = most / most_drained.as_secs_f64(),
        ),
    );
    fs::remove_dir_all(&scratch).unwrap();
}
