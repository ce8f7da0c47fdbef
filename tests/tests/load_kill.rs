//! Nothing that was acknowledged is lost when the node is killed under load.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::{fs::File, io::Read, path::Path, time::Instant};

use godwit_tests::{Journal, Load, Scale, Setup, report};

fn bytes(path: &Path) -> u64 {
    let files = path.read_dir().unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    files.sum()
}

#[test]
fn what_was_acknowledged_outlives_a_killed_node() {
    let scale = Scale::from_environment().load_kill;
    let mut node = Setup::default().set("registration.auto_create=demo").start();
    let scratch = std::env::temp_dir().join(format!("godwit-load-kill-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    let (journal, ran, checked) =
        (scratch.join("journal.ndjson"), scratch.join("run.json"), scratch.join("check.json"));

    let mut arguments: Vec<String> = vec!["run".into(), "--quiet".into()];
    arguments.push(format!("--server={}", node.coap()));
    arguments.push(format!("--devices={}", scale.devices));
    arguments.push("--register-rate=2000/s".into());
    arguments.push(format!("--notify-rate={}/s", scale.rate));
    arguments.push(format!("--duration={}s", scale.duration.as_secs()));
    arguments.push(format!("--journal={}", journal.display()));
    arguments.push(format!("--json={}", ran.display()));
    let mut load = Load::start(&arguments);

    let mut progress = Journal::open(&journal);
    let due = u64::from(scale.rate) * scale.duration.as_secs();
    let mut outages = Vec::new();
    for kill in 1..=scale.kills {
        let place = due * u64::from(kill) / u64::from(scale.kills + 1);
        progress.reach(place, &mut load);
        let began = Instant::now();
        node.kill();
        node.restart();
        outages.push(began.elapsed());
    }
    load.succeed();

    // Telemetry is there before the acknowledgement: nothing needs to be waited for.
    let registered = node.metric("godwit_registrations");
    let arguments = [
        "check".into(),
        format!("--journal={}", journal.display()),
        format!("--output={}", node.telemetry().display()),
    ];
    let findings = Load::json(&arguments, &checked);
    let mut text = String::new();
    File::open(&ran).unwrap().read_to_string(&mut text).unwrap();
    let run: serde_json::Value = serde_json::from_str(&text).unwrap();
    let notify =
        run["actions"].as_array().unwrap().iter().find(|action| action["action"] == "notify").unwrap();

    assert_eq!(findings["faults"].as_array().unwrap().len(), 0);
    assert_eq!(findings["endpoints"], scale.devices, "each device got a value acknowledged");
    assert_eq!(findings["registrations"], scale.devices, "no device registered again");
    assert_eq!(run["registered_again"], 0);
    assert_eq!(registered, f64::from(scale.devices), "the node knows all of them");
    assert_eq!(notify["timeouts"], 0, "every notification was acknowledged in the end");
    assert_eq!(notify["resets"], 0, "no observation was forgotten");

    let outages: Vec<_> = outages.iter().map(|outage| format!("{:.2} s", outage.as_secs_f64())).collect();
    report(
        "load-kill",
        "Killed under load",
        "make soak",
        &format!(
            "{devices} simulated devices, confirmable notifications at {rate}/s for {seconds} s into the file sink; the \
             node was killed with SIGKILL {kills} time(s) meanwhile and started again on its folder (until ready again: \
             {outages}). Then the tool compares its journal of acknowledged values with the files.\n\n\
             | | |\n|---|---|\n\
             | values acknowledged | {acknowledged} |\n\
             | acknowledged values missing from the files | 0 |\n\
             | values out of order within a device | 0 |\n\
             | values under two `ce_id`s | 0 |\n\
             | records that repeat one under its own `ce_id` | {duplicates} |\n\
             | records torn by a kill | {torn} |\n\
             | registrations made, of {devices} devices | {registrations} |\n\
             | notifications sent again by devices | {retransmissions} |\n\
             | notifications given up or reset | 0 |\n\
             | telemetry written | {mib} MiB |\n",
            devices = scale.devices,
            rate = scale.rate,
            seconds = scale.duration.as_secs(),
            kills = scale.kills,
            outages = outages.join(", "),
            acknowledged = findings["acknowledged"],
            duplicates = findings["duplicates"],
            torn = findings["torn"],
            registrations = findings["registrations"],
            retransmissions = notify["retransmissions"],
            mib = bytes(&node.telemetry()) >> 20,
        ),
    );
    std::fs::remove_dir_all(&scratch).unwrap();
}
