//! A fleet on three nodes, by the journal and by every record on the way.

use std::{fs, path::Path, thread, time::Duration};

use godwit_proto::v1::{Credential, Device, credential};
use godwit_tests::{Checker, Cluster, Load, Scale, Setup, report, wait};

const KEY: &str = "00112233445566778899aabbccddeeff";

/// What happens to the cluster meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    Moved,
}

#[test]
fn a_fleet_goes_on_when_a_node_is_killed() {
    under_load(Fault::Killed);
}

#[test]
fn a_fleet_goes_on_when_flows_move_and_addresses_change() {
    under_load(Fault::Moved);
}

fn under_load(fault: Fault) {
    let scale = Scale::from_environment().cluster;
    let setup = Setup::default().set("limits.handshakes_per_prefix=1000");
    let Some(mut cluster) = Cluster::start(3, &setup) else { return };
    let name = format!("{fault:?}").to_lowercase();
    let scratch = std::env::temp_dir().join(format!("godwit-cluster-{name}-{}", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    let file = |what: &str| scratch.join(what).display().to_string();
    let declared = (0..scale.devices).map(|number| {
        let secret = Some(credential::psk::Secret::Hex(KEY.into()));
        let psk = credential::Psk { identity: format!("fleet-{number:05}"), secret };
        let credential = Some(Credential { psk: Some(psk), ..Credential::default() });
        let endpoint = format!("fleet-{number:05}");
        Device { endpoint, profile: "demo".into(), credential, ..Device::default() }
    });
    cluster.nodes[0].admin().create_devices(declared.collect());

    let arguments = [
        "run".to_owned(),
        "--quiet".into(),
        format!("--server={}", cluster.secure.address()),
        format!("--devices={}", scale.devices),
        "--endpoint=fleet-{:05}".into(),
        "--dtls=psk".into(),
        "--identity={}".into(),
        format!("--psk={KEY}"),
        "--cid=8".into(),
        format!("--key-log={}", file("keys")),
        "--register-rate=100/s".into(),
        format!("--notify-rate={}/s", scale.rate),
        format!("--duration={}s", scale.duration.as_secs()),
        format!("--journal={}", file("journal")),
        format!("--json={}", file("run")),
    ];
    let mut load = Load::start(&arguments);
    wait("the fleet's registration", || {
        assert!(load.runs(), "the load tool ended early");
        let registered = cluster.nodes[2].metric("godwit_registrations");
        (registered >= f64::from(scale.devices)).then_some(())
    });
    let full = f64::from(scale.devices);
    match fault {
        Fault::Killed => {
            cluster.kill(0);
            thread::sleep(scale.duration / 3);
            cluster.restart(0);
        }
        Fault::Moved => {
            while load.runs() {
                cluster.secure.move_flows(10);
                cluster.secure.rebind_some(3);
                thread::sleep(Duration::from_millis(1000));
            }
            assert_eq!(cluster.handshakes(), full, "one handshake for each device, of its registration");
        }
    }
    load.succeed();

    let mut arguments = vec!["check".to_owned(), format!("--journal={}", file("journal"))];
    let outputs = cluster.telemetry();
    arguments.extend(outputs.iter().map(|folder| format!("--output={}", folder.display())));
    let findings = Load::json(&arguments, Path::new(&file("check")));
    let run: serde_json::Value = serde_json::from_str(&fs::read_to_string(file("run")).unwrap()).unwrap();
    let notify =
        run["actions"].as_array().unwrap().iter().find(|action| action["action"] == "notify").unwrap();
    assert_eq!(findings["faults"], serde_json::json!([]));
    assert_eq!(findings["endpoints"], scale.devices, "each device got a value acknowledged");
    assert_eq!(findings["registrations"], scale.devices, "no device registered again");
    assert_eq!(run["registered_again"], 0);
    assert_eq!(notify["timeouts"], 0, "every notification was acknowledged in the end");
    assert_eq!(notify["resets"], 0, "no observation was forgotten");

    let checker = Checker::new().key_log(Path::new(&file("keys"))).read(&cluster.secure.datagrams());
    checker.assert_clean();
    let sessions = checker.sessions().len();
    assert_eq!(sessions, scale.devices as usize, "no session but the first of each device");
    let (opened, records) = checker.opened();
    assert_eq!(opened, records);
    let sum = |what: &str| cluster.metric_sum("godwit_cluster_datagrams_total", &format!("path=\"{what}\""));
    report(
        &format!("cluster-{name}"),
        match fault {
            Fault::Killed => "A node of three is killed under load",
            Fault::Moved => "Flows move between three nodes under load",
        },
        "make soak",
        &format!(
            "{devices} PSK devices with Connection IDs, confirmable notifications at {rate}/s for {seconds} s through a load \
             balancer to three nodes on one Redis. {fault}. The tool compares its journal with what the nodes published; \
             a checker with the keys reads every record.\n\n\
             | | |\n|---|---|\n\
             | sessions, of {devices} devices | {sessions} |\n\
             | registrations made | {registrations} |\n\
             | values acknowledged | {acknowledged} |\n\
             | of them missing, out of order, or under two `ce_id`s | 0 |\n\
             | records that repeat one under its own `ce_id` | {duplicates} |\n\
             | notifications sent again by devices | {retransmissions} |\n\
             | protected records, none of them with a nonce used before | {records} |\n\
             | datagrams that one node presented to another | {presented} |\n",
            devices = scale.devices,
            rate = scale.rate,
            seconds = scale.duration.as_secs(),
            fault = match fault {
                Fault::Killed =>
                    "One node is killed with SIGKILL and started again after a third of the time",
                Fault::Moved =>
                    "Each second 10 % of the flows move and 3 % of the devices change their address",
            },
            registrations = findings["registrations"],
            acknowledged = findings["acknowledged"],
            duplicates = findings["duplicates"],
            retransmissions = notify["retransmissions"],
            presented = sum("presented"),
        ),
    );
    fs::remove_dir_all(&scratch).unwrap();
}
