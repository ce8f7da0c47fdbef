//! Many idle DTLS sessions on one node, and then all devices at other addresses, and many that resume at once.
#![allow(missing_docs, clippy::unwrap_used, clippy::float_cmp)]

use std::{fs, thread, time::Duration};

use godwit_tests::{Fleet, Load, Node, Scale, Setup, report};
use serde_json::Value;

/// What node and load tool hold.
#[derive(Clone, Copy)]
struct Memory {
    resident: f64,
    heap: f64,
    store: f64,
}

impl Memory {
    fn of(node: &Node) -> Memory {
        Memory {
            resident: node.metric("godwit_process_resident_bytes"),
            heap: node.metric("godwit_process_heap_bytes"),
            store: node.metric("godwit_store_memory_bytes"),
        }
    }
}

fn phase<'a>(found: &'a Value, name: &str) -> &'a Value {
    found["phases"].as_array().unwrap().iter().find(|phase| phase["name"] == name).expect("the run had it")
}

#[test]
fn idle_sessions_follow_their_devices_and_resume() {
    let scale = Scale::from_environment().sessions;
    let folder = std::env::temp_dir().join(format!("godwit-sessions-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let fleet = Fleet::new("psk", scale.devices, &folder);
    fleet.mint();
    let node = Setup { set: Vec::new(), ..Setup::default() }
        .set("limits.handshakes=100000")
        .set("limits.handshakes_per_prefix=1000")
        .start();
    fleet.declare(&node);
    // Gauges of memory are set once a second.
    thread::sleep(Duration::from_secs(3));
    let before = Memory::of(&node);

    // Each device twice.
    let seconds = (2 * scale.devices).div_ceil(scale.rebind_rate);
    let resumed = scale.resume_rate * seconds;
    let load = Load::start(&fleet.arguments(
        &node,
        true,
        &[
            // No object that the profile observes: a session and a registration are all there is.
            "--object=</1/0>".into(),
            "--lifetime=86400".into(),
            format!("--register-rate={}/s", scale.register_rate),
            format!("--settle={}s", scale.idle.as_secs()),
            // The first record from a new address moves the session there, the second proves it.
            format!("--update-rate={}/s", 2 * scale.rebind_rate),
            format!("--rebind={}/s", scale.rebind_rate),
            format!("--resume-rate={}/s", scale.resume_rate),
            format!("--duration={seconds}s"),
        ],
    ));
    for _ in 0..6000 {
        if node.metric("godwit_registrations") >= f64::from(scale.devices) {
            break;
        }
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(node.metric("godwit_registrations"), f64::from(scale.devices));
    thread::sleep(scale.idle / 2);
    let idle = Memory::of(&node);
    assert_eq!(node.metric_sum("godwit_dtls_sessions", ""), f64::from(scale.devices));
    load.succeed();

    let found = fleet.found();
    let dtls = &found["dtls"];
    let count = |name: &str| dtls[name].as_u64().unwrap();
    let sessions = node.metric_sum("godwit_dtls_sessions", "");
    let moves = node.metric_sum("godwit_dtls_address_moves_total", "result=\"confirmed\"");
    let each = |bytes: f64| bytes / f64::from(scale.devices);
    let rate = |name: &str| {
        let phase = phase(&found, name);
        phase["handshakes"].as_f64().unwrap() / phase["seconds"].as_f64().unwrap()
    };
    let cpu = |name: &str, who: &str| phase(&found, name)[who]["cpu_seconds"].as_f64().unwrap();
    let generator = phase(&found, "settle")["generator"]["resident_bytes"].as_f64().unwrap();
    let latency = |name: &str| {
        let latency = &dtls[name];
        format!("p50 {} µs, p99 {} µs", latency["p50"], latency["p99"])
    };
    report(
        "sessions",
        "Many DTLS sessions on one node",
        "make soak",
        &format!(
            "{devices} PSK devices with 8-byte Connection IDs on both sides, one session and one registration each, from one \
             `godwit-load`. They are idle for {idle} s; then each changes its port twice, at {rebind}/s in all, and updates twice \
             in between, while {resume} handshakes per second resume.\n\n\
             | | |\n|---|---|\n\
             | full handshakes with registrations | {full} at {rate_full:.0}/s, {full_latency}; node {register_cpu:.0} µs of CPU each, load tool {generator_cpu:.0} µs |\n\
             | node, live heap per session and registration, but for the store's share | {heap:.0} bytes |\n\
             | node, resident growth per session, store included | {resident:.0} bytes |\n\
             | store's memory at the end of the registrations | {store:.1} MiB |\n\
             | load tool, resident per session, all it has | {generator:.0} bytes |\n\
             | idle CPU of the node, of one core | {idle_cpu:.2} % |\n\
             | changes of port | {rebinds}; the node confirmed {moves:.0} moves |\n\
             | resumed | {resumed_count}, {resumed_latency}; {not_resumed} got a new session instead |\n\
             | node's CPU per update, rebinding and resumption included | {storm_cpu:.0} µs |\n\
             | sessions afterwards | {sessions:.0} on the node, {open} at the devices |\n\
             | sessions that ended, were given up or failed | {closed}, {given_up}, {failures} |\n\
             | registrations made again | {again} |\n",
            devices = scale.devices,
            idle = scale.idle.as_secs(),
            rebind = scale.rebind_rate,
            resume = scale.resume_rate,
            full = count("full"),
            rate_full = rate("register"),
            full_latency = latency("full_latency_us"),
            register_cpu = each(cpu("register", "server") * 1e6),
            generator_cpu = each(cpu("register", "generator") * 1e6),
            heap = each((idle.heap - idle.store) - (before.heap - before.store)),
            resident = each(idle.resident - before.resident),
            store = idle.store / f64::from(1 << 20),
            generator = each(generator),
            idle_cpu = phase(&found, "settle")["server"]["cpu_share"].as_f64().unwrap() * 100.0,
            rebinds = count("rebinds"),
            resumed_count = count("resumed"),
            resumed_latency = latency("resumed_latency_us"),
            not_resumed = count("not_resumed"),
            storm_cpu = cpu("load", "server") * 1e6 / f64::from(4 * scale.devices),
            open = count("open"),
            closed = count("closed_by_server"),
            given_up = count("given_up"),
            failures = dtls["failures"],
            again = found["registered_again"],
        ),
    );
    assert_eq!((count("open"), sessions), (u64::from(scale.devices), f64::from(scale.devices)));
    assert_eq!(count("full"), u64::from(scale.devices), "nobody had to shake hands in full again");
    assert!(count("resumed") >= u64::from(resumed) * 9 / 10, "{} were resumed", count("resumed"));
    assert_eq!(found["registered_again"], 0);
    assert!(count("rebinds") >= u64::from(scale.devices));
    // A move is confirmed by the second record from the new address, where no handshake comes between.
    assert!(moves >= f64::from(scale.devices) / 2.0, "{moves} moves were confirmed");
    fs::remove_dir_all(&folder).unwrap();
}
