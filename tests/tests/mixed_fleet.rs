//! One node serves devices of every security mode at once.
#![allow(missing_docs, clippy::unwrap_used, clippy::float_cmp)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use godwit_proto::v1::{Credential, Device, credential};
use godwit_tests::{Authority, Checker, Load, Node, Scale, Setup, read_pcap, report};
use serde_json::Value;

/// The devices of one mode.
struct Fleet {
    mode: &'static str,
    devices: u32,
    files: PathBuf,
}

impl Fleet {
    fn new(mode: &'static str, devices: u32, folder: &Path) -> Fleet {
        Fleet { mode, devices, files: folder.join(mode) }
    }

    fn is_secure(&self) -> bool {
        self.mode != "no_sec"
    }

    fn file(&self, what: &str) -> String {
        format!("{}.{what}", self.files.display())
    }

    fn endpoints(&self) -> String {
        format!("--endpoint={}-{{:05}}", self.mode)
    }

    /// Makes the devices' credentials.
    fn mint(&self) {
        let count = format!("--devices={}", self.devices);
        let output = format!("--output={}", self.file("credentials"));
        Load::start(&["credentials", self.mode, &count, &self.endpoints(), &output]).succeed();
    }

    /// Declares the devices with what the node may know of their credentials.
    fn declare(&self, node: &Node) {
        let text = fs::read_to_string(self.file("credentials")).unwrap();
        let device = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let mut credential = Credential::default();
            match self.mode {
                "psk" => {
                    let secret = Some(credential::psk::Secret::Hex(text("psk")));
                    credential.psk = Some(credential::Psk { identity: text("identity"), secret });
                }
                "rpk" => {
                    let key = HEXLOWER.decode(text("public_key").as_bytes()).unwrap();
                    credential.rpk = Some(credential::RawPublicKey { key });
                }
                _ => credential.x509 = Some(credential::X509::default()),
            }
            Device {
                endpoint: text("endpoint"),
                profile: "demo".into(),
                credential: Some(credential),
                ..Device::default()
            }
        };
        node.admin().create_devices(text.lines().map(device).collect());
    }

    fn run(&self, node: &Node, scale: &godwit_tests::MixedFleet) -> Load {
        let mut arguments = vec![
            "run".to_owned(),
            "--quiet".into(),
            format!("--server={}", if self.is_secure() { node.coaps() } else { node.coap() }),
            format!("--devices={}", self.devices),
            self.endpoints(),
            format!("--register-rate={}/s", scale.register_rate),
            format!("--notify-rate={}/s", scale.notify_rate),
            format!("--duration={}s", scale.duration.as_secs()),
            format!("--journal={}", self.file("journal")),
            format!("--json={}", self.file("run")),
        ];
        if self.is_secure() {
            arguments.push(format!("--dtls={}", self.mode));
            if self.mode != "psk" {
                arguments.push(format!("--credentials={}", self.file("credentials")));
            }
            // One half of the modes has Connection IDs, one half has none.
            if self.mode != "x509" {
                arguments.push("--cid=8".into());
            }
            arguments.push(format!("--key-log={}", self.file("keys")));
            arguments.push(format!("--capture={}", self.file("pcap")));
        }
        Load::start(&arguments)
    }

    /// What went wrong by the journal, which must be nothing; how many values were acknowledged.
    fn check(&self, node: &Node) -> u64 {
        let arguments = [
            "check".to_owned(),
            format!("--journal={}", self.file("journal")),
            format!("--output={}", node.telemetry().display()),
        ];
        let findings = Load::json(&arguments, Path::new(&self.file("check")));
        assert_eq!(findings["faults"], serde_json::json!([]), "{}", self.mode);
        assert_eq!(findings["endpoints"], self.devices, "each {} device got a value acknowledged", self.mode);
        assert_eq!(findings["registrations"], self.devices, "no {} device registered again", self.mode);
        findings["acknowledged"].as_u64().unwrap()
    }

    /// Every record of its sessions, by their keys: how many there were.
    fn read_records(&self, node: &Node) -> usize {
        let datagrams = read_pcap(Path::new(&self.file("pcap")), node.coaps()).unwrap();
        let checker = Checker::new().key_log(Path::new(&self.file("keys"))).read(&datagrams);
        checker.assert_clean();
        assert!(checker.sessions().len() >= self.devices as usize, "{}", self.mode);
        let (opened, all) = checker.opened();
        assert_eq!(opened, all, "{}", self.mode);
        all
    }
}

#[test]
fn one_node_serves_every_security_mode_at_once() {
    let scale = Scale::from_environment().mixed_fleet;
    let folder = std::env::temp_dir().join(format!("godwit-mixed-fleet-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let modes = [("no_sec", scale.no_sec), ("x509", scale.x509), ("psk", scale.psk), ("rpk", scale.rpk)];
    let fleets = modes.map(|(mode, devices)| Fleet::new(mode, devices, &folder));
    fleets.iter().filter(|fleet| fleet.is_secure()).for_each(Fleet::mint);

    let server = Authority::new("Servers").issue("localhost");
    let (key, chain) = (folder.join("key.pem"), folder.join("chain.pem"));
    fs::write(&key, server.key_pem()).unwrap();
    fs::write(&chain, server.chain_pem()).unwrap();
    // All devices come from a few addresses of one prefix.
    let node = Setup::default()
        .set("registration.auto_create=demo")
        .set("limits.handshakes_per_prefix=1000")
        .set(format!("security.identity.key_file={}", key.display()))
        .set(format!("security.identity.cert_file={}", chain.display()))
        .set(format!("security.device_ca_file={}.ca.pem", fleets[1].file("credentials")))
        .start();
    fleets.iter().filter(|fleet| fleet.is_secure()).for_each(|fleet| fleet.declare(&node));

    let loads: Vec<_> = fleets.iter().map(|fleet| fleet.run(&node, &scale)).collect();
    loads.into_iter().for_each(Load::succeed);

    let all: u32 = fleets.iter().map(|fleet| fleet.devices).sum();
    assert_eq!(node.metric("godwit_registrations"), f64::from(all), "all of them at once");
    let mut rows = String::new();
    for fleet in &fleets {
        let acknowledged = fleet.check(&node);
        let full = format!("mode=\"{}\",outcome=\"full\"", fleet.mode);
        let handshakes = node.metric_sum("godwit_dtls_handshakes_total", &full);
        let expected = if fleet.is_secure() { fleet.devices } else { 0 };
        assert!(handshakes >= f64::from(expected), "{}: {handshakes} handshakes", fleet.mode);
        let records = if fleet.is_secure() { fleet.read_records(&node).to_string() } else { "–".into() };
        let (mode, devices) = (fleet.mode, fleet.devices);
        rows += &format!("| {mode} | {devices} | {handshakes} | {acknowledged} | 0 | {records} |\n");
    }
    report(
        "mixed-fleet",
        "Every security mode at once",
        "make soak",
        &format!(
            "Four fleets of simulated devices on one node at the same time, each device registered and notifying: {rate} \
             confirmable notifications per second and mode for {seconds} s. X.509 devices have no Connection ID, PSK and \
             RPK devices have one. A checker with the keys of all sessions read every record of the captures: no nonce twice \
             under a key, numbers rise and stay below 2⁴⁰.\n\n\
             | mode | devices | full handshakes | values acknowledged | missing from the files | protected records |\n\
             |---|---|---|---|---|---|\n\
             {rows}",
            rate = scale.notify_rate,
            seconds = scale.duration.as_secs(),
        ),
    );
    fs::remove_dir_all(&folder).unwrap();
}
