//! The protocol's test bench: nodes, a store, networks and devices in one thread, under a clock that only the schedule moves.
//!
//! ```text
//! world        time, networks, faults: what happens next, from one seed
//! node         the production cores of one shard, and the wiring that actors, sockets and links are elsewhere
//! connection   the channel (DTLS), the CoAP core: a child of `connection`
//! endpoint     the endpoint's core: a child of `endpoint`
//! links        connections as endpoints see them
//! store        the contract suite's model, lanes, heartbeats, and a store's failures
//! device       a DTLS client that registers, updates, notifies, leaves, resumes
//! callers      who hands commands in, and what they are told
//! observer     what must hold at each step
//! lanes        the rules of lanes alone, over days instead of minutes
//! bug          what is done wrong on purpose, to see that it is found
//! ```
//!
//! What it has shown so far, beyond what the protocol's page says:
//!
//! - Giving a device up by a passivation, instead of handing a snapshot over, holds: no schedule broke a promise by it.
//! - A node whose connection to the store broke must not ask the next process of it anything before a heartbeat
//!   ([`Membership::handle_store_lost`](crate::ownership::Membership::handle_store_lost)): else it claims from a record that has forgotten
//!   what its living owner wrote.
//! - A lapsed lane must not be extended by a store that has just come back
//!   ([`Membership::may_extend`](crate::ownership::Membership::may_extend)): it may have forgotten the next holder.
//! - A presented record belongs to a connection whose handshake is under way if its Connection ID or its address leads there;
//!   its session's name alone does not find it.
//! - While a link is cut, or an owner dead, a repeated record within the read floor's lag can have a device claimed. It changes
//!   no state and moves no address, as after a crash.
//!
//! `GODWIT_SEED=17` replays one schedule and prints what happened. `GODWIT_SCHEDULES=100000` runs so many of the first two kinds
//! together, and of the third as many in proportion, from `GODWIT_FIRST` on.

mod bug;
mod callers;
mod coap;
mod device;
mod lanes;
mod links;
mod node;
mod observer;
mod rng;
mod store;
mod world;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bug::Bug;
use world::{Outcome, Scene, World};

use crate::clock;

/// Schedules in `make test`, and how many more with commands, short lifetimes and a store that is often away.
const SCHEDULES: u64 = 4_000;
const BUSY_SCHEDULES: u64 = 1_000;
const ALL_SCHEDULES: u64 = SCHEDULES + BUSY_SCHEDULES;
/// And so many beside them in which nodes don't hear each other and all hear the devices.
const SPLIT_SCHEDULES: u64 = 200;
/// Schedules within which each planted bug is found.
const FOUND_WITHIN: u64 = 4_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64, scene: Scene, bug: Option<Bug>) -> Outcome {
    World::new(seed, scene, bug, false).run()
}

/// Does the same on all cores but for seeds of their own; stops where `each` says so.
fn on_all_cores(seeds: std::ops::Range<u64>, each: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(seeds.start);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    if !each(seed) {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// What many schedules came to.
#[derive(Default)]
struct Totals {
    claims: u64,
    presents: u64,
    records: u64,
    seconds: u64,
    commands: u64,
}

impl Totals {
    fn add(&mut self, outcome: &Outcome) {
        self.claims += outcome.claims;
        self.presents += outcome.presents;
        self.records += outcome.records;
        self.seconds += outcome.seconds;
        self.commands += outcome.commands;
    }
}

fn print(seed: u64, outcome: &Outcome) {
    println!("seed {seed}: {:?} after {} s", outcome.violations, outcome.seconds);
    for (begin, end, fault) in &outcome.faults {
        println!("  {:>9.3} to {:>9.3} s: {fault:?}", *begin as f64 / 1e6, *end as f64 / 1e6);
    }
    println!("  replay it by GODWIT_SEED={seed}");
}

/// Runs many schedules, or replays the one that the environment names.
fn run_all(scene: Scene, schedules: u64) {
    if let Some(seed) = number("GODWIT_SEED") {
        let outcome = World::new(seed, scene, None, true).run();
        for line in &outcome.trace {
            println!("{line}");
        }
        print(seed, &outcome);
        assert_eq!(outcome.violations, []);
        return;
    }
    let first = number("GODWIT_FIRST").unwrap_or(1);
    let count = number("GODWIT_SCHEDULES").map_or(schedules, |all| all * schedules / ALL_SCHEDULES);
    let begun = clock::now();
    let totals = Mutex::new(Totals::default());
    let failed = Mutex::new(BTreeMap::new());
    on_all_cores(first..first + count, |seed| {
        let outcome = run(seed, scene, None);
        totals.lock().unwrap().add(&outcome);
        let mut failed = failed.lock().unwrap();
        if !outcome.violations.is_empty() {
            failed.insert(seed, outcome);
        }
        failed.len() < 20
    });
    let Totals { claims, presents, records, seconds, commands } = totals.into_inner().unwrap();
    let commands = if commands > 0 { format!(", {commands} commands") } else { String::new() };
    println!(
        "{count} schedules from seed {first} on, {seconds} simulated seconds in {:.0} s: {records} records sealed, {claims} \
         claims, {presents} records presented{commands}",
        begun.elapsed().as_secs_f64()
    );
    let failed = failed.into_inner().unwrap();
    for (seed, outcome) in &failed {
        print(*seed, outcome);
    }
    assert!(failed.is_empty(), "{} schedules broke a promise", failed.len());
}

#[test]
fn no_schedule_breaks_a_promise() {
    run_all(Scene::Plain, SCHEDULES);
}

#[test]
fn no_schedule_cuts_a_lifetime_short_or_carries_a_command_out_twice() {
    run_all(Scene::Busy, BUSY_SCHEDULES);
}

#[test]
fn no_schedule_has_a_node_answer_for_a_device_that_it_has_lost() {
    run_all(Scene::Split, SPLIT_SCHEDULES);
}

#[test]
fn a_seed_replays_step_by_step() {
    for scene in [Scene::Plain, Scene::Busy, Scene::Split] {
        for seed in 1..5 {
            let (first, second) = (run(seed, scene, None), run(seed, scene, None));
            assert_eq!((first.digest, first.records), (second.digest, second.records), "seed {seed}");
        }
    }
}

#[test]
fn each_planted_bug_is_found() {
    let plain = Bug::IN_SCHEDULES.map(|bug| (bug, Scene::Plain));
    let busy = Bug::IN_BUSY_SCHEDULES.map(|bug| (bug, Scene::Busy));
    let split = Bug::IN_SPLIT_SCHEDULES.map(|bug| (bug, Scene::Split));
    let only = std::env::var("GODWIT_BUG").ok();
    let mut missed = Vec::new();
    for (bug, scene) in plain.into_iter().chain(busy).chain(split) {
        if only.as_ref().is_some_and(|only| *only != format!("{bug:?}")) {
            continue;
        }
        let found = Mutex::new(None);
        let tried = AtomicU64::new(0);
        on_all_cores(1..FOUND_WITHIN + 1, |seed| {
            tried.fetch_add(1, Ordering::Relaxed);
            let outcome = run(seed, scene, Some(bug));
            let broken = outcome.violations.first().cloned();
            if let Some(violation) = broken {
                found.lock().unwrap().get_or_insert((seed, violation));
                return false;
            }
            true
        });
        match found.into_inner().unwrap() {
            Some((seed, violation)) => {
                println!("{bug:?}: found by seed {seed} ({} tried): {violation:?}", tried.into_inner());
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found within {FOUND_WITHIN} schedules: {missed:?}");
}
