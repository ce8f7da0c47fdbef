//! Random and mutated datagrams harm neither the node nor the devices that it serves.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::{fs, time::Duration};

use godwit_tests::{Load, Node, Scale, Setup, report};
use serde_json::Value;

/// Anonymous memory of a process in bytes: heap, stacks and what the store keeps in memory, but no file's pages.
fn anonymous(node: &Node) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", node.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Waits until every registration has expired and every endpoint's actor has gone, as devices that vanish leave them.
fn settled(node: &Node) {
    let mut last = (f64::NAN, f64::NAN);
    for _ in 0..60 {
        last = (node.metric("godwit_registrations"), node.metric_sum("godwit_actors", "actor=\"endpoint\""));
        if last == (0.0, 0.0) {
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("{} registrations and {} endpoints are left", last.0, last.1);
}

#[test]
fn hostile_datagrams_cost_neither_service_nor_memory() {
    let scale = Scale::from_environment().hostile;
    // What attackers make the node remember goes as fast as the protocol lets it.
    let node = Setup::default()
        .set("registration.lifetime_cap=5s")
        .set("registration.lifetime_grace=1s")
        .set("limits.passivate_floor=1s")
        .set("limits.passivate_after=2s")
        .start();
    let json = std::env::temp_dir().join(format!("godwit-hostile-{}.json", std::process::id()));
    let arguments = [
        "fuzz".into(),
        "--quiet".into(),
        format!("--target={}", node.coap()),
        format!("--server-pid={}", node.pid()),
        format!("--count={}", scale.datagrams),
        format!("--rate={}/s", scale.rate),
    ];

    let before = anonymous(&node);
    let mut doses = Vec::new();
    for _ in 0..2 {
        // A good exit: no 5.00, 5.02 or 5.04, and every request of the good devices was answered well.
        let found = Load::json(&arguments, &json);
        settled(&node);
        doses.push((found, anonymous(&node)));
    }
    fs::remove_file(&json).unwrap();
    assert!(node.http("/live").is_some(), "the node lives");
    assert!(!node.log().contains("panicked"), "a panic is in the log");
    let (first, second) = (doses[0].1, doses[1].1);
    assert!(
        second.saturating_sub(first) <= scale.growth,
        "the second dose added {} bytes; before {before}, then {first}, then {second}",
        second - first
    );
    let answers = |found: &Value| {
        let answers = found["answers"].as_object().unwrap();
        answers.iter().map(|(code, count)| format!("{code} × {count}")).collect::<Vec<_>>().join(", ")
    };
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    report(
        "hostile",
        "Hostile datagrams",
        "make soak",
        &format!(
            "Two equal doses of {count} random and mutated datagrams at {rate}/s from 64 addresses, any of which may \
             register, while 8 good devices register, update and notify. Memory is the process's anonymous memory \
             (smaps_rollup), read when every registration has expired and every endpoint's actor has gone; it includes \
             the store's memtables, which grow to their bound of 61 MiB with what attackers registered.\n\n\
             | | first dose | second dose |\n|---|---|---|\n\
             | datagrams sent | {} | {} |\n\
             | internal errors (5.00, 5.02, 5.04) | {} | {} |\n\
             | good requests | {} | {} |\n\
             | good requests unanswered or refused | 0 | 0 |\n\
             | memory afterwards (before: {}) | {} | {} |\n\n\
             Datagrams that arrived: {received}; dropped by the kernel for a full socket: {dropped}. Panics: 0.\n\n\
             Answers to the first dose: {}.\n",
            doses[0].0["sent"],
            doses[1].0["sent"],
            doses[0].0["internal_errors"],
            doses[1].0["internal_errors"],
            doses[0].0["good_requests"],
            doses[1].0["good_requests"],
            mib(before),
            mib(first),
            mib(second),
            answers(&doses[0].0),
            count = scale.datagrams,
            rate = scale.rate,
            received = node.metric_sum("godwit_datagrams_received_total", ""),
            dropped = node.metric_sum("godwit_socket_overflows_total", ""),
        ),
    );
}
