//! DTLS handshakes that come to nothing, of every kind, leave the node and the devices that it serves as they were.
#![allow(missing_docs, clippy::unwrap_used, clippy::float_cmp)]

use std::{collections::BTreeMap, fs, path::Path, thread, time::Duration};

use godwit_tests::{Aborted, Fleet, Load, Node, Scale, Setup, report};
use serde_json::Value;

/// Gauges that move by themselves: the process's own, queues of what good devices send, and what their writes leave in memory.
const RESTLESS: [&str; 4] = [
    "godwit_process_",
    "godwit_store_memory_bytes",
    "godwit_sink_queue_bytes",
    "godwit_certificate_expiry_timestamp_seconds",
];

/// Every gauge by its name and labels, but for those; the sum over all shards, for devices move between them.
fn gauges(node: &Node) -> BTreeMap<String, f64> {
    let metrics = node.http("/metrics").expect("metrics are served");
    let kinds = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" gauge"));
    let kinds: Vec<_> =
        kinds.filter(|name| !RESTLESS.iter().any(|restless| name.starts_with(restless))).collect();
    let is_gauge = |line: &str| kinds.iter().any(|name| line.split(['{', ' ']).next() == Some(name));
    let lines = metrics.lines().filter(|line| !line.starts_with('#') && is_gauge(line));
    let mut sums = BTreeMap::new();
    for (name, value) in lines.filter_map(|line| line.rsplit_once(' ')) {
        *sums.entry(without_shard(name)).or_default() += value.parse::<f64>().unwrap();
    }
    sums
}

fn without_shard(name: &str) -> String {
    let Some((head, tail)) = name.split_once("shard=\"") else { return name.into() };
    let tail = tail.split_once('"').map_or(tail, |(_, tail)| tail);
    format!("{head}{}", tail.trim_start_matches(','))
}

/// Whether the good devices move a gauge themselves: who has shaken hands again has its old session for a while, and both at most.
fn is_of_good_devices(name: &str) -> bool {
    name.starts_with("godwit_dtls_sessions{mode=\"psk\"") || name.contains("actor=\"connection\"")
}

/// Waits until no handshake is under way: the node gives a silent one up after a minute.
fn settled(node: &Node) {
    for _ in 0..180 {
        if node.metric_sum("godwit_dtls_handshakes_in_flight", "") == 0.0 {
            // Gauges of memory are set once a second.
            thread::sleep(Duration::from_secs(3));
            return;
        }
        thread::sleep(Duration::from_millis(500));
    }
    panic!("handshakes are under way for ever");
}

/// What the node holds when no handshake is under way.
struct State {
    gauges: BTreeMap<String, f64>,
    /// Live heap.
    heap: f64,
    /// How much of it the store says that it is.
    store: f64,
    resident: f64,
}

impl State {
    /// Gauges that nothing should have moved.
    fn still(&self) -> BTreeMap<&String, f64> {
        let still = self.gauges.iter().filter(|(name, _)| !is_of_good_devices(name));
        still.map(|(name, value)| (name, *value)).collect()
    }

    fn of(node: &Node) -> State {
        settled(node);
        State {
            gauges: gauges(node),
            heap: node.metric("godwit_process_heap_bytes"),
            store: node.metric("godwit_store_memory_bytes"),
            resident: node.metric("godwit_process_resident_bytes"),
        }
    }

    fn own(&self) -> f64 {
        self.heap - self.store
    }

    fn row(&self, when: &str) -> String {
        let mib = |bytes: f64| format!("{:.2} MiB", bytes / f64::from(1 << 20));
        let (heap, store, own) = (mib(self.heap), mib(self.store), mib(self.own()));
        format!("| {when} | {heap} | {store} | {own} | {} |\n", mib(self.resident))
    }
}

/// Strangers that know a device's identity and, where they fall silent before it matters, its key.
fn abort(node: &Node, good: &Fleet, thief: &Fleet, scale: &Aborted, handshakes: u32, seed: u32) -> Value {
    let arguments = [
        "abort".to_owned(),
        "--quiet".into(),
        format!("--server={}", node.coaps()),
        // Far from the good devices' addresses.
        "--source=127.160.0.0".into(),
        format!("--count={handshakes}"),
        format!("--rate={}/s", scale.rate),
        format!("--seed={seed}"),
        format!("--identity={}-00000-identity", good.mode),
        format!("--credentials={}", thief.file("credentials")),
    ];
    Load::json(&arguments, Path::new(&good.file("aborted")))
}

/// Counts of handshakes by how they ended, and of datagrams and records that were refused.
fn counters(node: &Node) -> BTreeMap<String, f64> {
    let metrics = node.http("/metrics").expect("metrics are served");
    let wanted =
        ["godwit_dtls_handshakes_total", "godwit_dtls_refusals_total", "godwit_dtls_records_dropped_total"];
    let mut sums = BTreeMap::new();
    for line in metrics.lines() {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let Some(short) = wanted.iter().find(|wanted| name.starts_with(**wanted)) else { continue };
        let labels = name[short.len()..].trim_matches(['{', '}']);
        let labels: Vec<_> = labels.split(',').filter(|label| !label.starts_with("shard=")).collect();
        *sums.entry(format!("{short}{{{}}}", labels.join(","))).or_default() += value.parse::<f64>().unwrap();
    }
    sums
}

#[test]
fn aborted_handshakes_leave_the_node_as_it_was() {
    let scale = Scale::from_environment().aborted;
    let folder = std::env::temp_dir().join(format!("godwit-aborted-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (good, x509) = (Fleet::new("psk", scale.good, &folder), Fleet::new("x509", 1, &folder));
    good.mint();
    x509.mint();
    // Nobody is refused for want of room: each handshake goes as far as it can.
    let node = Setup { set: Vec::new(), ..Setup::default() }
        .set("limits.handshakes=1000000")
        .set("limits.handshakes_per_prefix=1024")
        .set("limits.cookies=100000")
        .every_mode(&folder, &x509)
        .start();
    good.declare(&node);
    x509.declare(&node);

    let served = good.arguments(
        &node,
        true,
        &[
            format!("--notify-rate={}/s", scale.good),
            format!("--update-rate={}/s", scale.good / 5),
            "--handshake-rate=1/s".into(),
            // Until it is interrupted.
            "--duration=24h".into(),
        ],
    );
    let serving = Load::start(&served);
    for _ in 0..100 {
        if node.metric_sum("godwit_observations", "") >= f64::from(2 * scale.good) {
            break;
        }
        thread::sleep(Duration::from_millis(200));
    }

    abort(&node, &good, &x509, &scale, scale.warm_up, 1);
    let before = State::of(&node);
    let found = abort(&node, &good, &x509, &scale, scale.handshakes, 2);
    let after = State::of(&node);
    let counters = counters(&node);
    serving.interrupt();
    let acknowledged = good.check(&node);

    let number = |value: &Value| value.as_u64().unwrap();
    let done = number(&found["done"]) as f64 / f64::from(scale.handshakes);
    let mut text = format!(
        "{count} handshakes at up to {rate}/s, in {seconds:.0} s, each from an address of its own, one half with Connection IDs, after {warm_up} to \
         warm up; {good} good devices notified, updated and shook hands meanwhile: {acknowledged} values were \
         acknowledged, none is missing and none had to register again. Everything was measured when no handshake was \
         under way; the node gives silent ones up after 60 s. The live heap is what is allocated \
         (`godwit_process_heap_bytes`), the store's share is its own account.\n\n\
         | | live heap | the store's | the rest | resident |\n|---|---|---|---|---|\n{}{}\n\
         {gauges} gauges (handshakes under way, actors, sessions, registrations, observations, devices …) {moved}.\n\n\
         | how | begun | went wrong as meant | refused before | unanswered |\n|---|---|---|---|---|\n",
        before.row("before"),
        after.row("after"),
        count = found["begun"],
        seconds = found["seconds"].as_f64().unwrap(),
        rate = scale.rate,
        warm_up = scale.warm_up,
        good = scale.good,
        gauges = after.gauges.len(),
        moved = if after.still() == before.still() {
            "are where they were, but for sessions and connections of the good devices, of which each has one or two"
        } else {
            "are NOT all where they were"
        },
    );
    for (way, tally) in found["ways"].as_object().unwrap() {
        let [begun, done, refused, unanswered] =
            ["begun", "done", "refused", "unanswered"].map(|what| number(&tally[what]));
        text += &format!("| {way} | {begun} | {done} | {refused} | {unanswered} |\n");
    }
    text += "\nWhat the node counted of both doses and the good devices:\n\n| | |\n|---|---|\n";
    for (name, value) in counters.iter().filter(|(_, value)| **value > 0.0) {
        text += &format!("| `{name}` | {value} |\n");
    }
    report("aborted", "Aborted DTLS handshakes against the whole node", "make soak", &text);

    assert!(done > 0.98, "only {done} of the handshakes went as far as they should");
    assert_eq!(after.still(), before.still());
    for (name, count) in after.gauges.iter().filter(|(name, _)| is_of_good_devices(name)) {
        assert!(*count <= f64::from(2 * scale.good), "{count} {name} of {} good devices", scale.good);
    }
    let growth = after.own() - before.own();
    assert!(growth < scale.growth as f64, "{growth} bytes are left");
    assert!(!node.log().contains("panicked"), "a panic is in the log");
    fs::remove_dir_all(&folder).unwrap();
}
