//! Measures the node against a bare UDP echo: `tools/bench` runs it.
//!
//! Every figure has a node and a fleet of its own. Ratios compare with an echo that the same run measured just before,
//! so they hold on a machine that is not quite idle; memory and idle CPU stand for themselves.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

use std::{env, fs, path::PathBuf, thread, time::Duration};

use godwit_tests::{Load, Node, Setup, report};
use serde_json::Value;

/// Updates or notifications per second.
const RATE: u32 = 5000;

fn main() {
    let sizes = env::var("DEVICES").unwrap_or_else(|_| "1000 100000 1000000".into());
    let sizes: Vec<u32> =
        sizes.split_whitespace().map(|size| size.parse().expect("DEVICES: numbers")).collect();
    let seconds = env::var("SECONDS_EACH").map_or(20, |text| text.parse().expect("SECONDS_EACH: a number"));
    let bench =
        Bench { seconds, json: env::temp_dir().join(format!("godwit-bench-{}.json", std::process::id())) };

    let mut cpu = String::from(
        "| devices | request | µs of CPU each | the echo's | ratio | p50 | p99 |\n|---|---|---|---|---|---|---|\n",
    );
    let mut memory = String::from(
        "| devices | actors | bytes per device | resident | idle CPU, of one core |\n|---|---|---|---|---|\n",
    );
    for &devices in &sizes {
        for (request, flag, action) in
            [("confirmable Update", "update", "update"), ("confirmable notification", "notify", "notify")]
        {
            let node = bench.node(devices, "10m");
            let run = bench.run(&node, devices, &["--baseline", &format!("--{flag}-rate={RATE}/s")]);
            let latency = &action_of(&run, action)["latency_us"];
            cpu += &format!(
                "| {devices} | {request} | {:.1} | {:.1} | {:.2} | {} µs | {} µs |\n",
                phase(&run, "load")["cpu_per_request_us"].as_f64().unwrap(),
                run["echo"]["cpu_per_request_us"].as_f64().unwrap(),
                run["cpu_ratio_to_echo"].as_f64().unwrap(),
                latency["p50"],
                latency["p99"],
            );
            publish(seconds, &cpu, &memory);
        }
        for (actors, passivate_after) in [("live", "10m"), ("passivated", "5s")] {
            let node = bench.node(devices, passivate_after);
            let before = node.metric("godwit_process_resident_bytes");
            bench.run(&node, devices, &[]);
            if actors == "passivated" {
                bench.until_passive(&node);
            }
            let (idle, resident) = bench.idle(&node);
            memory += &format!(
                "| {devices} | {actors} | {:.0} | {:.0} MiB | {:.2} % |\n",
                (resident - before) / f64::from(devices),
                resident / f64::from(1 << 20),
                idle * 100.0,
            );
            publish(seconds, &cpu, &memory);
        }
    }
    let _ = fs::remove_file(&bench.json);
}

/// Writes what is known so far: a million devices take their time.
fn publish(seconds: u64, cpu: &str, memory: &str) {
    report(
        "bench",
        "The node against a bare UDP echo",
        "make bench",
        &format!(
            "Release build, embedded store, file sink, profile `demo` (two observations per device). Requests come at \
             {RATE}/s for {seconds} s, from devices in turn, each with its own address; CPU is the node's, user and \
             system, all threads. The echo is `godwit-load echo`, measured for 3 s in the same run at the same rate.\n\n\
             {cpu}\n\
             Memory is the growth of the resident set from before the first registration, with two observations per \
             device. Live: every device has its connection's and its endpoint's actor in memory \
             (`limits.live_actors` above the number of devices). Passivated: `limits.passivate_after` has passed. Idle \
             CPU is measured over {seconds} s in which no datagram comes. With few devices the memory is mostly the \
             store's memtables, which hold up to 61 MiB whatever the number of devices.\n\n\
             {memory}",
        ),
    );
}

struct Bench {
    seconds: u64,
    json: PathBuf,
}

impl Bench {
    fn node(&self, devices: u32, passivate_after: &str) -> Node {
        Setup::default()
            .set("registration.auto_create=demo")
            .set(format!("limits.live_actors={}", devices + 1000))
            .set("limits.passivate_floor=1s")
            .set(format!("limits.passivate_after={passivate_after}"))
            .start()
    }

    /// Registers a fleet, and puts load on the node where `arguments` say so.
    fn run(&self, node: &Node, devices: u32, arguments: &[&str]) -> Value {
        let mut all =
            vec!["run".to_owned(), "--quiet".into(), "--register-rate=10000/s".into(), "--settle=5s".into()];
        all.extend(Load::target(node));
        all.push(format!("--devices={devices}"));
        let duration = if arguments.is_empty() { 1 } else { self.seconds };
        all.push(format!("--duration={duration}s"));
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Load::json(&all, &self.json)
    }

    /// Waits until no endpoint's actor is left in memory.
    fn until_passive(&self, node: &Node) {
        for _ in 0..600 {
            if node.metric_sum("godwit_actors", "actor=\"endpoint\"") == 0.0 {
                return;
            }
            thread::sleep(Duration::from_secs(1));
        }
        panic!("actors are left after ten minutes");
    }

    /// The share of a core that the node takes while nothing comes, and its resident bytes afterwards.
    fn idle(&self, node: &Node) -> (f64, f64) {
        // What the registrations left to do is done before.
        thread::sleep(Duration::from_secs(10));
        let cpu = || node.metric("godwit_process_cpu_seconds_total");
        let before = cpu();
        thread::sleep(Duration::from_secs(self.seconds));
        let share = (cpu() - before) / self.seconds as f64;
        (share, node.metric("godwit_process_resident_bytes"))
    }
}

fn action_of<'a>(run: &'a Value, action: &str) -> &'a Value {
    let mut actions = run["actions"].as_array().unwrap().iter();
    actions.find(|row| row["action"] == action).expect("the run did it")
}

fn phase<'a>(run: &'a Value, name: &str) -> &'a Value {
    let mut phases = run["phases"].as_array().unwrap().iter();
    &phases.find(|phase| phase["name"] == name).expect("the run had it")["server"]
}
