//! One node serves devices of every security mode at once.
#![allow(missing_docs, clippy::unwrap_used, clippy::float_cmp)]

use std::{fs, path::Path};

use godwit_tests::{Checker, Fleet, Load, MixedFleet, Node, Scale, Setup, read_pcap, report};

/// One half of the modes has Connection IDs, one half has none.
fn run(fleet: &Fleet, node: &Node, scale: &MixedFleet) -> Load {
    let mut more = vec![
        format!("--register-rate={}/s", scale.register_rate),
        format!("--notify-rate={}/s", scale.notify_rate),
        format!("--duration={}s", scale.duration.as_secs()),
    ];
    if fleet.is_secure() {
        more.push(format!("--key-log={}", fleet.file("keys")));
        more.push(format!("--capture={}", fleet.file("pcap")));
    }
    Load::start(&fleet.arguments(node, fleet.mode != "x509", &more))
}

/// Every record of a fleet's sessions, by their keys: how many there were.
fn read_records(fleet: &Fleet, node: &Node) -> usize {
    let datagrams = read_pcap(Path::new(&fleet.file("pcap")), node.coaps()).unwrap();
    let checker = Checker::new().key_log(Path::new(&fleet.file("keys"))).read(&datagrams);
    checker.assert_clean();
    assert!(checker.sessions().len() >= fleet.devices as usize, "{}", fleet.mode);
    let (opened, all) = checker.opened();
    assert_eq!(opened, all, "{}", fleet.mode);
    all
}

#[test]
fn one_node_serves_every_security_mode_at_once() {
    let scale = Scale::from_environment().mixed_fleet;
    let folder = std::env::temp_dir().join(format!("godwit-mixed-fleet-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let modes = [("no_sec", scale.no_sec), ("x509", scale.x509), ("psk", scale.psk), ("rpk", scale.rpk)];
    let fleets = modes.map(|(mode, devices)| Fleet::new(mode, devices, &folder));
    fleets.iter().filter(|fleet| fleet.is_secure()).for_each(Fleet::mint);

    // All devices come from a few networks.
    let node = Setup::default()
        .set("registration.auto_create=demo")
        .set("limits.handshakes_per_prefix=1000")
        .every_mode(&folder, &fleets[1])
        .start();
    fleets.iter().filter(|fleet| fleet.is_secure()).for_each(|fleet| fleet.declare(&node));

    let loads: Vec<_> = fleets.iter().map(|fleet| run(fleet, &node, &scale)).collect();
    loads.into_iter().for_each(Load::succeed);

    let all: u32 = fleets.iter().map(|fleet| fleet.devices).sum();
    assert_eq!(node.metric("godwit_registrations"), f64::from(all), "all of them at once");
    let mut rows = String::new();
    for fleet in &fleets {
        let acknowledged = fleet.check(&node);
        let full = format!("mode=\"{}\",outcome=\"full\"", fleet.mode);
        let handshakes = node.metric_sum("godwit_dtls_handshakes_total", &full);
        let expected = if fleet.is_secure() { fleet.devices } else { 0 };
        assert!(handshakes >= f64::from(expected), "{}: {handshakes} handshakes", fleet.mode);
        let records = if fleet.is_secure() { read_records(fleet, &node).to_string() } else { "–".into() };
        let found = fleet.found();
        let latency = |action: &str| {
            let actions = found["actions"].as_array().unwrap();
            let row = actions.iter().find(|row| row["action"] == action).unwrap();
            format!("{} / {} µs", row["latency_us"]["p50"], row["latency_us"]["p99"])
        };
        rows += &format!(
            "| {} | {} | {handshakes} | {acknowledged} | 0 | {records} | {} | {} |\n",
            fleet.mode,
            fleet.devices,
            latency("register"),
            latency("notify"),
        );
    }
    report(
        "mixed-fleet",
        "Every security mode at once",
        "make soak",
        &format!(
            "Four fleets of simulated devices on one node at the same time, each device registered and notifying: {rate} \
             confirmable notifications per second and mode for {seconds} s. X.509 devices have no Connection ID, PSK and \
             RPK devices have one. Registrations come at {register} per second and mode; their latency includes the handshake. \
             Nobody registered twice. The node used {cpu:.0} s of CPU in all, and {resident:.0} MiB at the end. A checker with \
             the keys of all sessions read every record of the captures: no nonce twice under a key, numbers rise and stay \
             below 2⁴⁰.\n\n\
             | mode | devices | full handshakes | values acknowledged | missing from the files | protected records | \
             registration p50 / p99 | notification p50 / p99 |\n|---|---|---|---|---|---|---|---|\n\
             {rows}",
            register = scale.register_rate,
            cpu = node.metric("godwit_process_cpu_seconds_total"),
            resident = node.metric("godwit_process_resident_bytes") / f64::from(1 << 20),
            rate = scale.notify_rate,
            seconds = scale.duration.as_secs(),
        ),
    );
    fs::remove_dir_all(&folder).unwrap();
}
