//! Three nodes on one Redis, each with a spool of its own, while Kafka is away and two of them are killed.

use std::fs;

use godwit_tests::{Cluster, Fleet, Journal, Kafka, Load, Scale, Setup, report, wait};
use serde_json::json;

use crate::world::{check, in_order_within_a_term, is_late, scratch, wait_drained};

/// What is promised of a node that never comes back: what it alone acknowledged is on its volume, and nothing else is missing.
#[test]
fn a_node_that_comes_back_sends_its_spool_and_anothers_is_drained_from_its_volume() {
    let scale = Scale::from_environment().kafka_cluster;
    let Some(mut kafka) = Kafka::start() else { return };
    let _network = kafka.proxy();
    let setup = Setup::default()
        .set("limits.handshakes_per_prefix=1000")
        .set("sink.kind=kafka")
        .set(format!("sink.kafka.brokers={}", kafka.proxied()))
        .set("sink.kafka.ack_after=spool")
        .set("sink.kafka.spool.budget=300ms");
    let Some(mut cluster) = Cluster::start(3, &setup) else { return };
    let scratch = scratch("kafka-cluster");
    let fleet = Fleet::new("psk", scale.devices, &scratch);
    fleet.mint();
    fleet.declare(&cluster.nodes[0]);
    let more = [
        "--register-rate=100/s".to_owned(),
        format!("--notify-rate={}/s", scale.rate),
        // Until it is told to stop.
        "--duration=3600s".into(),
    ];
    let mut load = Load::start(&fleet.arguments_at(cluster.secure.address(), true, &more));
    let journal = fleet.file("journal");
    let mut progress = Journal::open(journal.as_ref());
    let mut go_on = |load: &mut Load| {
        // Enough for each device to be heard.
        let values = progress.values() + 2 * u64::from(scale.devices);
        progress.reach(values, load);
    };
    go_on(&mut load);
    let handshakes = cluster.handshakes();
    assert!(handshakes >= f64::from(scale.devices));

    kafka.kill();
    for node in &cluster.nodes {
        let spooled =
            || (node.metric("godwit_spool_records") >= f64::from(scale.devices) / 3.0).then_some(());
        wait("every node's spool", spooled);
    }
    cluster.kill(0);
    go_on(&mut load);
    cluster.kill(1);
    go_on(&mut load);
    let said = |node: usize| {
        let (exit, said) = cluster.nodes[node].command(&["spool", "status"]);
        assert_eq!(exit, 0, "{said}");
        said.split(' ').next().unwrap().parse::<usize>().expect("so many records")
    };
    let [returning, orphaned] = [0, 1].map(said);
    kafka.restart();
    cluster.restart(0);
    go_on(&mut load);
    load.stop();
    load.succeed();
    [0, 2].into_iter().for_each(|node| wait_drained(&cluster.nodes[node]));

    let of_two = kafka.read("godwit.telemetry");
    in_order_within_a_term(&of_two);
    let found = check(&scratch, journal.as_ref(), &of_two);
    let faults = found["faults"].as_array().unwrap();
    assert!(faults.iter().all(|fault| fault["fault"] == "missing"), "{faults:?}");
    assert!(
        !faults.is_empty() && faults.len() <= orphaned,
        "{} are missing, {orphaned} spooled",
        faults.len()
    );

    let (exit, said) = cluster.nodes[1].command(&["spool", "drain"]);
    assert!(exit == 0 && said.contains("0 records, 0 bytes"), "{said}");
    let all = kafka.read("godwit.telemetry");
    in_order_within_a_term(&all);
    let complete = check(&scratch, journal.as_ref(), &all);
    assert_eq!(complete["faults"], json!([]));
    assert_eq!(complete["endpoints"], scale.devices, "each device got a value acknowledged");
    assert_eq!(complete["registrations"], scale.devices, "no device registered again");
    let late = |records: &[_]| records.iter().filter(|record| is_late(record)).count();
    assert!(late(&of_two) > 0 && late(&all) > late(&of_two));

    report(
        "kafka-cluster",
        "Nodes with spools are killed while Kafka is away",
        "make soak",
        &format!(
            "{devices} PSK devices with Connection IDs, confirmable notifications at {rate}/s to three nodes on one Redis, \
             `sink.kafka.ack_after = \"spool\"`. The broker is killed; when each node has a spool, one node is killed, then another; \
             the devices go on at the third. The broker comes back, and the first node; the other never does. In the end its \
             volume is drained by `godwit spool drain`. The tool compares its journal of acknowledged values with what a \
             consumer read.\n\n\
             | | |\n|---|---|\n\
             | values acknowledged | {acknowledged} |\n\
             | records in the spool of the node that comes back | {returning} |\n\
             | records in the spool of the node that does not | {orphaned} |\n\
             | acknowledged values missing before that volume is drained, all of them on it | {missing} |\n\
             | acknowledged values missing after that | 0 |\n\
             | values out of order within a device by `order`, or by place in a term | 0 |\n\
             | records that repeat one under its own `ce_id` | {duplicates} |\n\
             | records that came late | {late} |\n\
             | devices that registered again | 0 |\n",
            devices = scale.devices,
            rate = scale.rate,
            acknowledged = complete["acknowledged"],
            missing = faults.len(),
            duplicates = complete["duplicates"],
            late = late(&all),
        ),
    );
    fs::remove_dir_all(&scratch).unwrap();
}
