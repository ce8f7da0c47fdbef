//! The spool: what devices see of a broker that is slow or away, and what becomes of the records.

use std::time::{Duration, Instant};

use godwit_tests::{Ctl, Kafka, Raw, Setup, wait};

use crate::world::{in_order_within_a_term, send};

fn setup(kafka: &Kafka) -> Setup {
    Setup::default()
        .set("sink.kind=kafka")
        .set(format!("sink.kafka.brokers={}", kafka.proxied()))
        .set("sink.kafka.ack_after=spool")
}

/// Values of a device in their order in the topic, and which of them came late.
fn values(kafka: &Kafka, endpoint: &str) -> Vec<(String, bool)> {
    let records = kafka.read("godwit.telemetry");
    in_order_within_a_term(&records);
    let of_device = records.iter().filter(|record| record.key == endpoint);
    of_device
        .map(|record| {
            let values = record.payload["values"].as_object().unwrap();
            let value = values.values().next().unwrap().as_str().unwrap().to_owned();
            (value, record.headers.iter().any(|(name, _)| name == "late"))
        })
        .collect()
}

#[test]
fn a_slow_broker_is_not_waited_for() {
    let Some(kafka) = Kafka::start() else { return };
    let network = kafka.proxy();
    let node = setup(&kafka).start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=slow&lt=600&lwm2m=1.1&b=U", "</3/0>");
    assert_eq!(raw.call(send("v00")).code(), "2.04");
    wait("nothing waits", || (node.metric("godwit_sink_queue_bytes") == 0.0).then_some(()));
    network.delay(Duration::from_secs(3));
    let began = Instant::now();
    for number in 1..20 {
        assert_eq!(raw.call(send(&format!("v{number:02}"))).code(), "2.04");
    }
    // The first one waits for its budget of 1.5 s; the others go to the spool behind it.
    eprintln!("19 values acknowledged within {:?} by a broker that takes 3 s", began.elapsed());
    assert!(node.metric("godwit_sink_records_total{outcome=\"spooled\"}") >= 19.0);
    network.delay(Duration::ZERO);
    wait("the spool is empty", || (node.metric("godwit_spool_records") == 0.0).then_some(()));
    let came = values(&kafka, "slow");
    let wanted: Vec<_> = (0..20).map(|number| format!("v{number:02}")).collect();
    assert_eq!(came.iter().map(|(value, _)| value.clone()).collect::<Vec<_>>(), wanted);
    assert!(!came[0].1 && !came[1].1 && came[2..].iter().all(|(_, late)| *late), "{came:?}");
    // Then it is as it was.
    assert_eq!(raw.call(send("v20")).code(), "2.04");
    assert_eq!(values(&kafka, "slow").last(), Some(&("v20".to_owned(), false)));
}

#[test]
fn a_spool_is_sent_first_after_a_restart() {
    let Some(mut kafka) = Kafka::start() else { return };
    let _network = kafka.proxy();
    let mut node = setup(&kafka).set("sink.kafka.spool.budget=100ms").start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=again&lt=600&lwm2m=1.1&b=U", "</3/0>");
    wait("events are through", || (node.metric("godwit_sink_queue_bytes") == 0.0).then_some(()));
    kafka.kill();
    for number in 0..10 {
        assert_eq!(raw.call(send(&format!("v{number:02}"))).code(), "2.04");
    }
    node.kill();
    node.restart();
    assert!(node.metric("godwit_spool_records") >= 10.0);
    let shown = &Ctl::json(&node, &["nodes", "status"])[0];
    let records: u64 = shown["sink"]["spool"]["records"].as_str().unwrap().parse().unwrap();
    assert!(records >= 10 && shown["sink"]["durable"] == true, "{shown}");
    assert_eq!(raw.call(send("v10")).code(), "2.04");
    kafka.restart();
    wait("the spool is empty", || (node.metric("godwit_spool_records") == 0.0).then_some(()));
    let came: Vec<_> = values(&kafka, "again").into_iter().map(|(value, _)| value).collect();
    assert_eq!(came, (0..11).map(|number| format!("v{number:02}")).collect::<Vec<_>>());
}

#[test]
fn devices_are_not_acknowledged_while_the_spool_is_full() {
    let Some(mut kafka) = Kafka::start() else { return };
    let _network = kafka.proxy();
    let node = setup(&kafka).set("sink.kafka.spool.budget=100ms").set("sink.kafka.spool.limit=8KiB").start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=full&lt=600&lwm2m=1.1&b=U", "</3/0>");
    wait("events are through", || (node.metric("godwit_sink_queue_bytes") == 0.0).then_some(()));
    kafka.kill();
    let mut kept = Vec::new();
    let refused = loop {
        let value = format!("v{:02}", kept.len());
        let answer = raw.call(send(&value));
        if answer.code() != "2.04" {
            break answer;
        }
        kept.push(value);
        assert!(kept.len() < 100, "the spool has no bound");
    };
    assert_eq!(refused.code(), "5.03");
    assert!(kept.len() > 3 && node.metric("godwit_spool_bytes") <= 8192.0);
    assert!(node.log().contains("sink.kafka.spool.limit"), "the log names the setting");
    kafka.restart();
    wait("the spool is empty", || (node.metric("godwit_spool_records") == 0.0).then_some(()));
    assert_eq!(raw.call(send("after")).code(), "2.04");
    kept.push("after".to_owned());
    let came: Vec<_> = values(&kafka, "full").into_iter().map(|(value, _)| value).collect();
    assert_eq!(came, kept);
}

#[test]
fn the_spool_of_a_node_that_never_comes_back_is_drained() {
    let Some(mut kafka) = Kafka::start() else { return };
    let _network = kafka.proxy();
    let mut node = setup(&kafka).set("sink.kafka.spool.budget=100ms").start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=orphan&lt=600&lwm2m=1.1&b=U", "</3/0>");
    wait("events are through", || (node.metric("godwit_sink_queue_bytes") == 0.0).then_some(()));
    kafka.kill();
    let wanted: Vec<_> = (0..5).map(|number| format!("v{number:02}")).collect();
    for value in &wanted {
        assert_eq!(raw.call(send(value)).code(), "2.04");
    }
    let (exit, said) = node.command(&["spool", "status"]);
    assert!(exit == 1 && said.contains("another process"), "{said}");
    node.kill();
    let (exit, said) = node.command(&["spool", "status"]);
    assert!(exit == 0 && !said.starts_with("0 records"), "{said}");
    let (exit, said) = node.command(&["spool", "drain", "--within", "1"]);
    assert!(exit == 1, "nobody is there to take it: {said}");
    kafka.restart();
    let (exit, said) = node.command(&["spool", "drain"]);
    assert!(exit == 0 && said.contains("0 records, 0 bytes"), "{said}");
    assert_eq!(values(&kafka, "orphan").into_iter().map(|(value, _)| value).collect::<Vec<_>>(), wanted);
}
