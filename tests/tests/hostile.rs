//! Random and mutated datagrams harm neither the node nor the devices that it serves.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::{fs, time::Duration};

use godwit_tests::{Hostile, Load, Node, Scale, Setup, report};
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

/// Two equal doses.
struct Doses {
    node: Node,
    /// Memory before the first.
    before: u64,
    /// What the load tool found, and memory afterwards.
    doses: [(Value, u64); 2],
}

fn doses(scale: Hostile, setup: Setup, prepare: impl FnOnce(&Node)) -> Doses {
    // What attackers make the node remember goes as fast as the protocol lets it.
    let node = setup
        .set("registration.lifetime_cap=5s")
        .set("registration.lifetime_grace=1s")
        .set("limits.passivate_floor=1s")
        .set("limits.passivate_after=2s")
        .start();
    prepare(&node);
    let json = std::env::temp_dir().join(format!("godwit-hostile-{}.json", node.pid()));
    let arguments = [
        "fuzz".into(),
        "--quiet".into(),
        format!("--target={}", node.coap()),
        format!("--server-pid={}", node.pid()),
        format!("--count={}", scale.datagrams),
        format!("--rate={}/s", scale.rate),
    ];
    let before = anonymous(&node);
    let doses = [(); 2].map(|()| {
        // A good exit: no 5.00, 5.02 or 5.04, and every request of the good devices was answered well.
        let found = Load::json(&arguments, &json);
        settled(&node);
        (found, anonymous(&node))
    });
    fs::remove_file(&json).unwrap();
    assert!(node.http("/live").is_some(), "the node lives");
    assert!(!node.log().contains("panicked"), "a panic is in the log");
    Doses { node, before, doses }
}

impl Doses {
    /// The first dose fills caches, tables and buffers to what the traffic needs; the second finds them there. 4 MiB of a
    /// million datagrams are four bytes of each: what is kept of any one of them shows.
    #[track_caller]
    fn grow_by_at_most(&self, bytes: u64) {
        let [(_, first), (_, second)] = self.doses;
        let growth = second.saturating_sub(first);
        let before = self.before;
        assert!(growth <= bytes, "the second dose added {growth} bytes: {before}, {first}, {second}");
    }

    fn report(&self, scale: Hostile, name: &str, title: &str, who: &str) {
        let (node, [first, second]) = (&self.node, &self.doses);
        let answers = first.0["answers"].as_object().unwrap();
        let answers: Vec<_> = answers.iter().map(|(code, count)| format!("{code} × {count}")).collect();
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let row = |what: &str, key: &str| format!("| {what} | {} | {} |\n", first.0[key], second.0[key]);
        report(
            name,
            title,
            "make soak",
            &format!(
                "Two equal doses of {count} random and mutated datagrams at {rate}/s from 64 addresses while 8 good \
                 devices register, update and notify. {who} Memory is the process's anonymous memory (smaps_rollup) \
                 when every registration has expired and every endpoint's actor has gone; before the first dose it was \
                 {before}.\n\n\
                 | | first dose | second dose |\n|---|---|---|\n\
                 {sent}{internal}{good}\
                 | of them unanswered or refused | 0 | 0 |\n\
                 | panics | 0 | 0 |\n\
                 | memory afterwards | {after_first} | {after_second} |\n\n\
                 Datagrams that arrived: {received:.0}; dropped by the kernel for a full socket: {dropped:.0}. Answers to \
                 the first dose: {answers}.\n",
                count = scale.datagrams,
                rate = scale.rate,
                before = mib(self.before),
                sent = row("datagrams sent", "sent"),
                internal = row("internal errors (5.00, 5.02, 5.04)", "internal_errors"),
                good = row("requests of good devices", "good_requests"),
                after_first = mib(first.1),
                after_second = mib(second.1),
                received = node.metric_sum("godwit_datagrams_received_total", ""),
                dropped = node.metric_sum("godwit_socket_overflows_total", ""),
                answers = answers.join(", "),
            ),
        );
    }
}

#[test]
fn hostile_strangers_leave_service_and_memory_as_they_were() {
    let scale = Scale::from_environment().hostile;
    let closed = Setup { set: Vec::new(), failpoint: None };
    let doses = doses(scale, closed, |node| {
        let admin = node.admin();
        for number in 0..8 {
            admin.device(&format!("good-{number:02}"), "default");
        }
    });
    doses.report(
        scale,
        "hostile-strangers",
        "Hostile strangers",
        "Only devices that were provisioned may register, so nothing that attackers send is written.",
    );
    doses.grow_by_at_most(scale.growth);
}

#[test]
fn hostile_devices_leave_service_as_it_was_and_memory_bounded() {
    let scale = Scale::from_environment().hostile;
    let doses = doses(scale, Setup::default(), |_| ());
    doses.report(
        scale,
        "hostile-devices",
        "Hostile devices",
        "Attackers may register, and then update, notify and send as devices; what they register is written, and fills \
         the store's memtables, 61 MiB in all, before they go to disk.",
    );
    doses.grow_by_at_most(scale.stored);
}
