//! Measures the node against a bare UDP echo: `tools/bench` runs it.
//!
//! For each size one fleet on one node is left alone, then updates, then notifies; another is passivated. Ratios compare
//! with an echo that the same run measured just before, so they hold on a machine that is not quite idle; memory and
//! idle CPU stand for themselves.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

use std::{
    env, fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use godwit_tests::{Load, Node, Setup, report};
use serde_json::Value;

/// Updates or notifications per second.
const RATE: u32 = 5000;

fn main() {
    let sizes = env::var("DEVICES").unwrap_or_else(|_| "1000 100000 1000000".into());
    let sizes: Vec<u32> =
        sizes.split_whitespace().map(|size| size.parse().expect("DEVICES: numbers")).collect();
    let number = |name: &str, default| {
        env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: a number")))
    };
    let seconds = number("SECONDS_EACH", 20);
    let bench = Bench {
        seconds,
        register: number("REGISTER_RATE", 3000) as u32,
        json: env::temp_dir().join(format!("godwit-bench-{}.json", std::process::id())),
    };

    let mut cpu = String::from(
        "| devices | request | µs of CPU each | the echo's | ratio | p50 | p99 |\n|---|---|---|---|---|---|---|\n",
    );
    let mut memory = String::from(
        "| devices | actors | bytes per device | resident | idle CPU, of one core |\n|---|---|---|---|---|\n",
    );
    for &devices in &sizes {
        let node = bench.node(devices, "1h");
        let before = node.metric("godwit_process_resident_bytes");
        let rates = [
            "--baseline",
            "--in-turn",
            &format!("--update-rate={RATE}/s"),
            &format!("--notify-rate={RATE}/s"),
        ];
        let load = bench.start(&node, devices, &rates);
        bench.until_observed(&node, devices);
        memory += &bench.idle(&node, devices, "live", before);
        let run = bench.end(load);
        drop(node);
        let echo = run["echo"]["cpu_per_request_us"].as_f64().unwrap();
        for (request, action) in [("Update", "update"), ("notification", "notify")] {
            let (cost, latency) = (
                phase(&run, action)["cpu_per_request_us"].as_f64().unwrap(),
                &action_of(&run, action)["latency_us"],
            );
            cpu += &format!(
                "| {devices} | {request} | {cost:.1} | {echo:.1} | {:.1} | {} µs | {} µs |\n",
                cost / echo,
                latency["p50"],
                latency["p99"],
            );
        }
        publish(seconds, &cpu, &memory);

        let node = bench.node(devices, "5s");
        let before = node.metric("godwit_process_resident_bytes");
        bench.end(bench.start(&node, devices, &[]));
        bench.until_passive(&node);
        memory += &bench.idle(&node, devices, "passivated", before);
        publish(seconds, &cpu, &memory);
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
    /// Registrations per second: what the machine bears.
    register: u32,
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

    /// Registers a fleet, leaves the node alone for a while, and puts load on it where `arguments` say so.
    fn start(&self, node: &Node, devices: u32, arguments: &[&str]) -> Load {
        let mut all =
            vec!["run".to_owned(), "--quiet".into(), format!("--register-rate={}/s", self.register)];
        all.extend(Load::target(node));
        all.push(format!("--devices={devices}"));
        all.push(format!("--settle={}s", if arguments.is_empty() { 5 } else { self.seconds + 10 }));
        all.push(format!("--duration={}s", if arguments.is_empty() { 1 } else { self.seconds }));
        all.push(format!("--json={}", self.json.display()));
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Load::start(&all)
    }

    /// What the load tool found.
    fn end(&self, load: Load) -> Value {
        load.succeed();
        serde_json::from_str(&fs::read_to_string(&self.json).unwrap()).unwrap()
    }

    /// Waits until every device is registered and no further observation is made.
    fn until_observed(&self, node: &Node, devices: u32) {
        let mut last = 0.0;
        for _ in 0..3600 {
            let observations = node.metric_sum("godwit_observations", "");
            if node.metric("godwit_registrations") >= f64::from(devices) && observations == last {
                return;
            }
            last = observations;
            thread::sleep(Duration::from_secs(3));
        }
        panic!("the fleet is not there after three hours");
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

    /// What the node takes while nothing comes, as a row.
    fn idle(&self, node: &Node, devices: u32, actors: &str, before: f64) -> String {
        // What the registrations left to do is done before.
        thread::sleep(Duration::from_secs(5));
        let cpu = || node.metric("godwit_process_cpu_seconds_total");
        let (began, busy) = (Instant::now(), cpu());
        thread::sleep(Duration::from_secs(self.seconds));
        let share = (cpu() - busy) / began.elapsed().as_secs_f64();
        let resident = node.metric("godwit_process_resident_bytes");
        format!(
            "| {devices} | {actors} | {:.0} | {:.0} MiB | {:.2} % |\n",
            (resident - before) / f64::from(devices),
            resident / f64::from(1 << 20),
            share * 100.0,
        )
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
