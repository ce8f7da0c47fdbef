//! What a notification costs on its way to the file sink: `cargo bench -p godwit --bench telemetry`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark"
)]

use std::{hint::black_box, sync::Arc, time::Instant};

use godwit::{
    config,
    identity::{DeviceId, RegistrationId},
    profile::{DEMO, builtin},
    telemetry::{
        Cause, Completion, Completions, Orders, Origin, Site, Uplink, encode, records,
        sink::{FileSink, Publish, Sink, Ticket},
    },
};
use godwit_lwm2m::{
    entry::Entry,
    model::{ModelRegistry, ModelSet, ObjectVersion},
    path::Path,
    value::Value,
};

const ROUNDS: u32 = 300_000;

struct Nobody;

impl Completions for Nobody {
    fn complete(&self, _: u16, _: Vec<Completion>) {}
}

/// Prints microseconds per round.
fn measure(name: &str, mut work: impl FnMut(u32)) {
    for round in 0..ROUNDS / 10 {
        work(round);
    }
    let start = Instant::now();
    for round in 0..ROUNDS {
        work(round);
    }
    println!("{name:<32} {:.3} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}

fn main() {
    let profile = builtin(DEMO).unwrap();
    let objects = [3, 3303].map(|id| (id, ObjectVersion::V1_0));
    let models = ModelSet::new(&ModelRegistry::builtin(), objects);
    let (site, endpoint): (_, Arc<str>) =
        (Arc::new(Site::new("main", "node-1")), "urn:imei:004999010640000".into());
    let origin = Origin {
        site: &site,
        device: DeviceId::of(&endpoint),
        endpoint: &endpoint,
        profile: profile.name(),
        registration: RegistrationId::parse("0123456789Ab"),
    };
    let mut orders = Orders::new(1_767_225_600_000);
    let mut make = |round: u32| {
        let uplink = Uplink {
            cause: Cause::Notification,
            token: &[1, 2, 3, 4, 5, 6, 7, 8],
            message_id: round as u16,
            observe: Some(round),
            payload: b"21.5 and a header of SenML CBOR",
            stale: false,
        };
        let entries = vec![Entry::new(Path::resource(3303, 0, 5700), Value::Float(21.5))];
        records(&origin, &profile, &models, &uplink, entries, &mut orders, 1_767_225_600_250)
    };
    measure("values to records", |round| _ = black_box(make(round)));
    let made = make(0);
    let mut line = Vec::new();
    measure("record to JSON", |_| {
        line.clear();
        encode(black_box(&made[0]), &mut line);
    });
    println!("{:<32} {} bytes", "a line", line.len());
    let dir = std::env::temp_dir().join(format!("godwit-bench-{}", std::process::id()));
    let settings = config::FileSink { keep: 2, rotate_size: 32 << 20, ..config::FileSink::default() };
    let sink = FileSink::open(&dir, &settings, 64 << 20, Arc::new(Nobody)).unwrap();
    let ticket = Ticket { shard: 0, key: 0, activation: 0, effect: 0 };
    measure("record to file, fsync none", |_| assert_eq!(sink.publish(&made, ticket), Publish::Durable));
    drop(sink);
    std::fs::remove_dir_all(dir).unwrap();
}
