//! `kill -9` at any moment: what the store has answered is there when it is opened again.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use godwit::{
    entropy,
    identity::{DeviceId, Owner, RegistrationId},
    store::{
        Change, Claim, Fence, Pointer, StateStore, StoreFuture,
        embedded::{Embedded, Options},
        value,
    },
};

const CHILD: &str = "GODWIT_STORE_KILL_CHILD";
const DEVICES: u64 = 40;
/// Commits that wait at a time.
const AT_ONCE: u64 = 64;

fn endpoint(n: u64) -> String {
    format!("device-{}", n % DEVICES)
}

fn registration_id(n: u64) -> RegistrationId {
    RegistrationId::from_random(u128::from(n).to_be_bytes())
}

fn wait<T>(future: StoreFuture<T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future).unwrap()
}

/// The `n`th write: a new registration, its deadline, one of three operations.
fn changes(n: u64) -> Vec<Change> {
    let registration = value::Registration {
        endpoint: endpoint(n),
        id: registration_id(n).to_string(),
        links: vec![b'x'; 200],
        ..Default::default()
    };
    let id = (n / DEVICES % 3).to_string();
    let operation = value::StoredOperation { id, order: n, ..Default::default() };
    vec![
        Change::Registration(Box::new(registration)),
        Change::Deadline(Some(n + 1)),
        Change::Operation(Box::new(operation)),
    ]
}

/// The child: writes from number `from` on until it is killed, and prints each number that was answered.
fn write_until_killed(folder: &Path, from: u64, sync: bool) {
    let store = Embedded::open(folder, Options { sync, ..Options::default() }).unwrap();
    let owner = Owner { node: "n".into(), boot: from };
    let fences: Vec<Fence> = (0..DEVICES)
        .map(|n| {
            let claim = Claim { create: true, seen: None };
            let claimed = wait(store.claim(DeviceId::of(&endpoint(n)), &owner, claim));
            Fence { owner: owner.clone(), term: claimed.term, claims: claimed.claims }
        })
        .collect();
    let mut out = std::io::stdout().lock();
    let mut next = from;
    loop {
        let calls: Vec<_> = (next..next + AT_ONCE)
            .map(|n| {
                let fence = fences[(n % DEVICES) as usize].clone();
                store.commit(DeviceId::of(&endpoint(n)), fence, changes(n))
            })
            .collect();
        for call in calls {
            wait(call);
            writeln!(out, "written {next}").unwrap();
            out.flush().unwrap();
            next += 1;
        }
    }
}

/// Opens what the child left and checks it against the last write of each device that was answered. Returns where
/// the next child goes on.
fn check(folder: &Path, answered: &BTreeMap<u64, u64>) -> u64 {
    let store = Embedded::open(folder, Options::default()).unwrap();
    let due: BTreeMap<DeviceId, u64> =
        wait(store.due(u64::MAX, None, 1_000)).into_iter().map(|due| (due.device, due.at)).collect();
    let mut last = 0;
    for n in 0..DEVICES {
        let device = DeviceId::of(&endpoint(n));
        let record = wait(store.load(device));
        let Some(deadline) = record.as_ref().and_then(|record| record.header.deadline) else {
            assert_eq!(answered.get(&n), None, "{device}: an answered registration is gone");
            continue;
        };
        let written = deadline - 1;
        assert!(
            Some(&written) >= answered.get(&n),
            "{device}: {written} stored, {:?} answered",
            answered.get(&n)
        );
        let record = record.unwrap();
        let id = registration_id(written);
        assert_eq!(record.registration.unwrap().id, id.to_string(), "one commit, in one piece");
        assert_eq!(record.operations.last().unwrap().order, written);
        assert_eq!(due.get(&device), Some(&deadline));
        assert_eq!(wait(store.resolve(Pointer::Registration(id))), Some(device));
        last = last.max(written);
    }
    assert_eq!(wait(store.counts()).registered, due.len() as u64);
    last + 1
}

#[test]
fn what_was_answered_survives_kill_9() {
    if let Ok(arguments) = std::env::var(CHILD) {
        let mut parts = arguments.split('|');
        let folder = parts.next().unwrap();
        let from = parts.next().unwrap().parse().unwrap();
        write_until_killed(Path::new(folder), from, parts.next() == Some("sync"));
    }
    let folder = std::env::temp_dir().join(format!("godwit-store-kill-{}", std::process::id()));
    let mut answered = BTreeMap::new();
    let mut from = 0;
    for round in 0..8 {
        let (lines, micros) = ((entropy::u64() % 600) as usize, entropy::u64() % 3_000);
        println!("round {round}: from {from}, killed {micros} us after {lines} answers");
        let sync = if round % 2 == 0 { "sync" } else { "no" };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "what_was_answered_survives_kill_9", "--nocapture"])
            .env(CHILD, format!("{}|{from}|{sync}", folder.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut read = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(n) = line.strip_prefix("written ").and_then(|n| n.parse::<u64>().ok()) else { continue };
            answered.insert(n % DEVICES, n);
            read += 1;
            if read == lines + 1 {
                std::thread::sleep(Duration::from_micros(micros));
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(read > lines, "the child ended by itself after {read} answers");
        from = check(&folder, &answered).next_multiple_of(DEVICES);
    }
    std::fs::remove_dir_all(folder).unwrap();
}
