//! What the embedded store costs: `cargo bench -p godwit --bench store -- [records] [folder]`.
//!
//! Makes `records` registered devices (default 100,000), each with a document-free record of about 400 bytes, two
//! observations and a NoSec address, then reads and changes random ones, and opens the folder again.

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use godwit::{
    clock, entropy,
    identity::{DeviceId, Owner, RegistrationId},
    store::{
        Change, Claim, Fence, PageRequest, Pointer, StateStore,
        embedded::{Embedded, Options},
        value,
    },
};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use tokio::runtime::Runtime;

/// Requests that wait at a time.
const AT_ONCE: u64 = 64;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let records = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let given = arguments.next().map(PathBuf::from);
    let folder = given
        .unwrap_or_else(|| std::env::temp_dir().join(format!("godwit-store-bench-{}", std::process::id())));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("| {:<44} | per second | wall us | CPU us | RSS MiB |", "what");
    println!("|{}|", ["-".repeat(46), "-".repeat(12), "-".repeat(9), "-".repeat(8), "-".repeat(9)].join("|"));
    for sync in [true, false] {
        let folder = folder.with_extension(if sync { "sync" } else { "nosync" });
        run(&runtime, &folder, sync, records);
        fs::remove_dir_all(folder).unwrap();
    }
}

fn run(runtime: &Runtime, folder: &Path, sync: bool, records: u64) {
    let options = || Options { sync, ..Options::default() };
    let what = |text: &str| format!("{text}, {}", if sync { "synced" } else { "not synced" });
    let store = Embedded::open(folder, options()).unwrap();
    let owner = Owner { node: "node-1".into(), boot: entropy::u64() };

    measure(&what("claim and register, new devices"), records, || {
        for first in (0..records).step_by(AT_ONCE as usize) {
            let range = first..(first + AT_ONCE).min(records);
            runtime.block_on(async {
                let claims: Vec<_> = range
                    .clone()
                    .map(|n| store.claim(device(n), &owner, Claim { create: true, seen: None }))
                    .collect();
                let mut commits = Vec::new();
                for (n, claim) in range.zip(claims) {
                    let claimed = claim.await.unwrap();
                    let fence = Fence { owner: owner.clone(), term: claimed.term, claims: claimed.claims };
                    commits.push(store.commit(device(n), fence, register(n)));
                }
                for commit in commits {
                    commit.await.unwrap();
                }
            });
        }
    });
    let few = records.min(200_000);
    let fence = |n| {
        let record = runtime.block_on(store.load(device(n))).unwrap().unwrap();
        Fence { owner: owner.clone(), term: record.header.term, claims: record.header.claims }
    };
    let random: Vec<u64> = (0..few).map(|_| entropy::u64() % records).collect();
    measure(&what("load, random devices"), few, || {
        for n in &random {
            assert!(runtime.block_on(store.load(device(*n))).unwrap().is_some());
        }
    });
    measure(&what("resolve an address"), few, || {
        for n in &random {
            assert!(runtime.block_on(store.resolve(Pointer::Address(address(*n)))).unwrap().is_some());
        }
    });
    let fences: Vec<Fence> = random.iter().map(|n| fence(*n)).collect();
    measure(&what("move a deadline, 64 at once"), few, || {
        for (devices, fences) in random.chunks(AT_ONCE as usize).zip(fences.chunks(AT_ONCE as usize)) {
            let at = clock::unix_ms() + 86_400_000;
            let commits: Vec<_> = devices
                .iter()
                .zip(fences)
                .map(|(n, fence)| store.commit(device(*n), fence.clone(), vec![Change::Deadline(Some(at))]))
                .collect();
            runtime.block_on(async {
                for commit in commits {
                    commit.await.unwrap();
                }
            });
        }
    });
    let alone = 500.min(few);
    measure(&what("move a deadline, one at a time"), alone, || {
        for (n, fence) in random.iter().zip(&fences).take(alone as usize) {
            let change = vec![Change::Deadline(Some(clock::unix_ms()))];
            runtime.block_on(store.commit(device(*n), fence.clone(), change)).unwrap();
        }
    });
    measure(&what("ask what is due, after all these moves"), 1_000, || {
        for _ in 0..1_000 {
            runtime.block_on(store.due(1, None, 100)).unwrap();
        }
    });
    measure(&what("list a page of 1,000"), 20, || {
        let mut token = None;
        for _ in 0..20 {
            let page = PageRequest { token, limit: 1_000 };
            token = runtime.block_on(store.list(Default::default(), page)).unwrap().next;
        }
    });
    drop(store);
    measure(&what("open"), 1, || drop(Embedded::open(folder, options()).unwrap()));
    println!("  {} MiB on disk", size(folder) >> 20);
}

/// Runs something `times` times over and prints what one of them costs.
fn measure(what: &str, times: u64, work: impl FnOnce()) {
    let (before, began) = (cpu(), clock::now());
    work();
    let wall: Duration = Instant::duration_since(&clock::now(), began);
    let per = |span: Duration| span.as_secs_f64() * 1e6 / times as f64;
    let rate = times as f64 / wall.as_secs_f64();
    println!(
        "| {what:<44} | {rate:>10.0} | {:>7.2} | {:>6.2} | {:>7} |",
        per(wall),
        per(cpu() - before),
        rss() >> 20
    );
}

fn device(n: u64) -> DeviceId {
    DeviceId::of(&format!("urn:imei:{n:015}"))
}

fn address(n: u64) -> SocketAddr {
    let [_, a, b, c] = (n as u32 / 60_000).to_be_bytes();
    (Ipv4Addr::new(10, a, b, c), 1024 + (n % 60_000) as u16).into()
}

fn register(n: u64) -> Vec<Change> {
    let id = RegistrationId::from_random(entropy::bytes());
    let now = clock::unix_ms();
    let registration = value::Registration {
        endpoint: format!("urn:imei:{n:015}"),
        id: id.to_string(),
        version: "1.1".into(),
        lifetime: 86_400,
        binding: "U".into(),
        links: b"</>;rt=\"oma.lwm2m\";ct=112,</1/0>,</3/0>,</4/0>,</5/0>,</3303/0>".to_vec(),
        formats: vec![112],
        profile: "demo".into(),
        registered_at: now,
        updated_at: now,
        ..Default::default()
    };
    let applied = value::Applied {
        source: vec![0; 6],
        message_id: 7,
        token: vec![1; 8],
        code: 0x41,
        time: now,
        registration: id.to_string(),
        ..Default::default()
    };
    let observation = |token: u8, path: &str| value::Observation {
        token: vec![token; 8],
        paths: vec![path.into()],
        format: Some(112),
        state: value::observation::State::Active.into(),
        sent_at: now,
        ..Default::default()
    };
    vec![
        Change::Registration(Box::new(registration)),
        Change::Applied(applied),
        Change::Observation(observation(1, "/3/0/9")),
        Change::Observation(observation(2, "/3303/0/5700")),
        Change::Address { peer: Some(address(n)), local: Some(address(0)), by_address: true },
        Change::Deadline(Some(now + 86_400_000 + entropy::u64() % 86_400_000)),
        Change::Activated,
    ]
}

fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    Duration::from_micros((usage.user_time() + usage.system_time()).num_microseconds() as u64)
}

fn rss() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn size(folder: &Path) -> u64 {
    let size = |entry: fs::DirEntry| {
        use std::os::unix::fs::MetadataExt;
        let meta = entry.metadata().unwrap();
        if meta.is_dir() { size(&entry.path()) } else { meta.blocks() * 512 }
    };
    fs::read_dir(folder).unwrap().map(|entry| size(entry.unwrap())).sum()
}
