//! Random and mutated datagrams harm neither the node nor the devices that it serves.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::{fs, time::Duration};

use godwit_tests::{Hostile, Load, Node, Scale, Setup, report};
use serde_json::Value;

/// What a node has in memory, in bytes.
#[derive(Clone, Copy)]
struct Memory {
    /// Live heap: allocated and not freed.
    heap: u64,
    /// How much of it the store says that it is.
    store: u64,
    /// Anonymous memory (smaps_rollup): the heap with what the allocator sets aside, and stacks.
    anonymous: u64,
}

impl Memory {
    fn of(node: &Node) -> Memory {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", node.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
        Memory {
            heap: node.metric("godwit_process_heap_bytes") as u64,
            store: node.metric("godwit_store_memory_bytes") as u64,
            anonymous: line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10,
        }
    }

    /// Live heap but for the store's.
    fn own(self) -> u64 {
        self.heap.saturating_sub(self.store)
    }
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

/// Waits until every connection has gone too: for EXCHANGE_LIFETIME (RFC 7252 §4.8.2, 247 s) the answers to what was said are kept.
fn forgotten(node: &Node) {
    for _ in 0..300 {
        if node.metric_sum("godwit_actors", "") == 0.0 {
            // The store's gauge is set once a second, and its memtables are given back after five.
            std::thread::sleep(Duration::from_secs(10));
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("{} actors are left", node.metric_sum("godwit_actors", ""));
}

/// Equal doses.
struct Doses {
    node: Node,
    /// Memory before the first.
    before: Memory,
    doses: Vec<Dose>,
    /// Memory when nothing is left to expire; `make soak` waits for that.
    quiet: Option<Memory>,
}

struct Dose {
    /// What the load tool found.
    found: Value,
    /// Memory afterwards.
    memory: Memory,
    /// Registrations that were made meanwhile.
    registered: u64,
}

fn doses(count: usize, scale: Hostile, setup: Setup, prepare: impl FnOnce(&Node)) -> Doses {
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
    let before = Memory::of(&node);
    let mut made = 0;
    let doses = (0..count).map(|_| {
        // A good exit: no 5.00, 5.02 or 5.04, and every request of the good devices was answered well.
        let found = Load::json(&arguments, &json);
        settled(&node);
        // The store's gauge is set once a second, and samples of histograms are folded every five.
        std::thread::sleep(Duration::from_secs(7));
        let registrations =
            node.metric_sum("godwit_registration_changes_total", "change=\"registered\"") as u64;
        let registered = registrations - std::mem::replace(&mut made, registrations);
        Dose { found, memory: Memory::of(&node), registered }
    });
    let doses = doses.collect();
    let quiet = (Scale::from_environment() == Scale::SOAK).then(|| {
        forgotten(&node);
        Memory::of(&node)
    });
    fs::remove_file(&json).unwrap();
    assert!(node.http("/live").is_some(), "the node lives");
    assert!(!node.log().contains("panicked"), "a panic is in the log");
    Doses { node, before, doses, quiet }
}

impl Doses {
    /// The first dose fills caches, tables and buffers to what the traffic needs; the last finds them there.
    #[track_caller]
    fn grow_by_at_most(&self, bytes: u64) {
        let [.., before, last] = &self.doses[..] else { panic!("two doses at least") };
        let growth = last.memory.own().saturating_sub(before.memory.own());
        assert!(growth <= bytes, "the last dose added {growth} bytes:\n{}", self.table());
    }

    /// Each dose's memory, as Markdown.
    fn table(&self) -> String {
        let mib = |bytes: u64| format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20));
        let memory = |memory: Memory| {
            let Memory { heap, store, anonymous } = memory;
            format!("{} | {} | {} | {}", mib(heap), mib(store), mib(memory.own()), mib(anonymous))
        };
        let mut table = String::from(
            "| dose | sent | registrations | internal errors (5.00, 5.02, 5.04) | requests of good devices \
             | of them unanswered or refused | live heap afterwards | the store's | the rest | anonymous memory |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        table += &format!("| before | | | | | | {} |\n", memory(self.before));
        for (number, dose) in (1..).zip(&self.doses) {
            let found = |key: &str| &dose.found[key];
            table += &format!(
                "| {number} | {} | {} | {} | {} | 0 | {} |\n",
                found("sent"),
                dose.registered,
                found("internal_errors"),
                found("good_requests"),
                memory(dose.memory),
            );
        }
        if let Some(quiet) = self.quiet {
            table += &format!("| when every connection has gone | | | | | | {} |\n", memory(quiet));
        }
        table
    }

    fn report(&self, scale: Hostile, name: &str, title: &str, who: &str) {
        let node = &self.node;
        let answers = self.doses[0].found["answers"].as_object().unwrap();
        let answers: Vec<_> = answers.iter().map(|(code, count)| format!("{code} × {count}")).collect();
        report(
            name,
            title,
            "make soak",
            &format!(
                "{doses} equal doses of {count} random and mutated datagrams at {rate}/s from 64 addresses while 8 good \
                 devices register, update and notify. {who} Memory is measured when every registration has expired and \
                 every endpoint's actor has gone: live heap is `godwit_process_heap_bytes`, the store's \
                 `godwit_store_memory_bytes`; anonymous memory, which the kernel counts, has what the allocator sets \
                 aside besides.\n\n\
                 {table}\n\
                 No panic. Datagrams that arrived: {received:.0}; dropped by the kernel for a full socket: {dropped:.0}. \
                 Answers to the first dose: {answers}.\n",
                doses = self.doses.len(),
                count = scale.datagrams,
                rate = scale.rate,
                table = self.table(),
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
    let closed = Setup { set: Vec::new(), ..Setup::default() };
    let doses = doses(2, scale, closed, |node| {
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
    let doses = doses(4, scale, Setup::default(), |_| ());
    doses.report(
        scale,
        "hostile-devices",
        "Hostile devices",
        "Attackers may register, and then update, notify and send as devices; what they register is written, and fills \
         the store's memtables before they go to disk.",
    );
    doses.grow_by_at_most(scale.stored);
}
