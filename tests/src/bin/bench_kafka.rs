//! Measures what a notification costs on its way to Kafka, beside the file sink: `tools/bench-kafka` runs it.
//!
//! Each row is a node of its own with its own topics, loaded by one fleet for some seconds. Brokers, node and load tool share the
//! machine, so latencies on few cores are upper bounds; the node's CPU is its process's, all threads, librdkafka's among them.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

use std::{collections::HashMap, env, path::PathBuf};

use godwit_tests::{Kafka, Load, Setup, report};
use serde_json::Value;

/// Notifications per second.
const RATES: [u32; 3] = [1000, 5000, 20_000];

/// Rates between them, where the cores of a small machine are used up: three brokers, node and load tool share them.
const BETWEEN: [u32; 3] = [2500, 7500, 10_000];

/// Other settings of the sink, for the two higher rates: linger, `max.in.flight`.
const OTHERS: [(&str, u32); 3] = [("0s", 1), ("50ms", 1), ("5ms", 5)];

fn main() {
    let number = |name: &str, default: u32| {
        env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: a number")))
    };
    let mut bench = Bench {
        devices: number("DEVICES", 5000),
        seconds: number("SECONDS_EACH", 15),
        json: env::temp_dir().join(format!("godwit-bench-kafka-{}.json", std::process::id())),
        files: HashMap::new(),
    };
    let mut rows = String::new();
    let mut all = [&RATES[..], &BETWEEN[..]].concat();
    all.sort_unstable();
    for &rate in &all {
        let row = bench.run(rate, Setup::default());
        bench.files.insert(rate, row.cpu);
        rows += &row.show("file", rate, row.cpu);
    }
    let mut settings = String::new();
    for three in [false, true] {
        let started = if three { Kafka::three() } else { Kafka::start() };
        let Some(kafka) = started else { return };
        let name = if three { "three brokers" } else { "one broker" };
        for &rate in &all {
            let row = bench.run(rate, bench.kafka(&kafka, three, &format!("r{rate}."), "5ms", 1));
            rows += &row.show(name, rate, bench.files[&rate]);
            eprintln!("{rows}");
        }
        for rate in [RATES[1], RATES[2]] {
            for (number, (linger, in_flight)) in OTHERS.into_iter().enumerate() {
                let prefix = format!("s{rate}-{number}.");
                let row = bench.run(rate, bench.kafka(&kafka, three, &prefix, linger, in_flight));
                let name = format!("{name}, linger {linger}, max.in.flight {in_flight}");
                settings += &row.show(&name, rate, bench.files[&rate]);
                eprintln!("{settings}");
            }
        }
    }
    let head = "| sink | offered, 1/s | acknowledged, 1/s | µs of CPU each | of the file sink's | p50 | p99 |\n\
                |---|---|---|---|---|---|---|\n";
    report(
        "kafka-bench",
        "What a notification costs on its way to Kafka",
        "tools/bench-kafka",
        &format!(
            "Release build, embedded store, profile `demo`, {devices} devices without DTLS, confirmable notifications for {seconds} s, \
             acknowledged when all in-sync replicas have them (`acks=all`; with three brokers `min.insync.replicas=2`), 12 partitions. \
             CPU is the node's process, all threads, from datagram to acknowledgement. Latency is from the first transmission of the \
             datagram to its acknowledgement, as the device sees it. The brokers (Java, `-XX:TieredStopAtLevel=1`) and the load tool \
             share the cores with the node.\n\n\
             With the defaults, `sink.kafka.linger = \"5ms\"` and `max.in.flight` 1:\n\n{head}{rows}\n\
             Other settings:\n\n{head}{settings}",
            devices = bench.devices,
            seconds = bench.seconds,
        ),
    );
    let _ = std::fs::remove_file(&bench.json);
}

struct Bench {
    devices: u32,
    seconds: u32,
    json: PathBuf,
    /// µs of the file sink, by rate.
    files: HashMap<u32, f64>,
}

struct Row {
    per_second: f64,
    cpu: f64,
    p50: f64,
    p99: f64,
}

impl Row {
    fn show(&self, sink: &str, rate: u32, file: f64) -> String {
        format!(
            "| {sink} | {rate} | {:.0} | {:.1} | {:.2} | {:.1} ms | {:.1} ms |\n",
            self.per_second,
            self.cpu,
            self.cpu / file,
            self.p50 / 1000.0,
            self.p99 / 1000.0,
        )
    }
}

impl Bench {
    fn kafka(&self, kafka: &Kafka, three: bool, prefix: &str, linger: &str, in_flight: u32) -> Setup {
        Setup::default()
            .set("sink.kind=kafka")
            .set(format!("sink.kafka.brokers={}", kafka.list()))
            .set("sink.kafka.create_topics=true")
            .set(format!("sink.kafka.topics.replication={}", if three { 3 } else { 1 }))
            .set(format!("sink.kafka.topic_prefix={prefix}"))
            .set(format!("sink.kafka.linger={linger}"))
            .set(format!("sink.kafka.settings.max.in.flight={in_flight}"))
    }

    fn run(&self, rate: u32, setup: Setup) -> Row {
        let node = setup
            .set("registration.auto_create=demo")
            .set(format!("limits.live_actors={}", self.devices + 1000))
            .start();
        let mut arguments = vec![
            "run".to_owned(),
            "--quiet".into(),
            "--register-rate=1000/s".into(),
            format!("--devices={}", self.devices),
            format!("--notify-rate={rate}/s"),
            format!("--duration={}s", self.seconds),
        ];
        arguments.extend(Load::target(&node));
        let run = Load::findings(&arguments, &self.json);
        let of = |list: &str, key: &str, name: &str| -> Value {
            let list = run[list].as_array().unwrap().iter();
            list.clone().find(|row| row[key] == name).expect("the run did it").clone()
        };
        let (action, phase) = (of("actions", "action", "notify"), of("phases", "name", "load"));
        Row {
            per_second: action["per_second"].as_f64().unwrap(),
            cpu: phase["server"]["cpu_per_request_us"].as_f64().unwrap(),
            p50: action["latency_us"]["p50"].as_f64().unwrap(),
            p99: action["latency_us"]["p99"].as_f64().unwrap(),
        }
    }
}
