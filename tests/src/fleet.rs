//! A fleet of simulated devices of one security mode.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use godwit_proto::v1::{Credential, Device, credential};
use serde_json::Value;

use crate::{Authority, Load, Node, Setup};

/// Devices `<name>-00000` and so on, with their credentials, journal and results as files of one folder.
#[derive(Debug)]
pub struct Fleet {
    /// Of the endpoints, the files and the metrics' label: "no_sec", "psk", "rpk" or "x509".
    pub mode: &'static str,
    /// How many.
    pub devices: u32,
    files: PathBuf,
}

impl Fleet {
    /// Devices that are to be.
    pub fn new(mode: &'static str, devices: u32, folder: &Path) -> Fleet {
        Fleet { mode, devices, files: folder.join(mode) }
    }

    /// Whether they speak DTLS.
    pub fn is_secure(&self) -> bool {
        self.mode != "no_sec"
    }

    /// The path of one of its files: "credentials", "journal", "run", "check".
    pub fn file(&self, what: &str) -> String {
        format!("{}.{what}", self.files.display())
    }

    /// The argument that names its endpoints.
    pub fn endpoints(&self) -> String {
        format!("--endpoint={}-{{:05}}", self.mode)
    }

    /// Makes the devices' credentials.
    pub fn mint(&self) {
        let count = format!("--devices={}", self.devices);
        let output = format!("--output={}", self.file("credentials"));
        Load::start(&["credentials", self.mode, &count, &self.endpoints(), &output]).succeed();
    }

    /// Declares the devices with what the node may know of their credentials.
    pub fn declare(&self, node: &Node) {
        let text = fs::read_to_string(self.file("credentials")).unwrap();
        let device = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let mut credential = Credential::default();
            match self.mode {
                "psk" => {
                    let secret = Some(credential::psk::Secret::Hex(text("psk_hex")));
                    credential.psk = Some(credential::Psk { identity: text("psk_identity"), secret });
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

    /// What a run of it has in common with every other; the rest is added.
    pub fn arguments(&self, node: &Node, cid: bool, more: &[String]) -> Vec<String> {
        let server = if self.is_secure() { node.coaps() } else { node.coap() };
        let mut arguments = self.arguments_at(server, cid, more);
        arguments.push(format!("--server-pid={}", node.pid()));
        arguments
    }

    /// The same for a server that is several nodes.
    pub fn arguments_at(&self, server: SocketAddr, cid: bool, more: &[String]) -> Vec<String> {
        let mut arguments = vec![
            "run".to_owned(),
            "--quiet".into(),
            format!("--server={server}"),
            format!("--devices={}", self.devices),
            self.endpoints(),
            format!("--journal={}", self.file("journal")),
            format!("--json={}", self.file("run")),
        ];
        if self.is_secure() {
            arguments.push(format!("--dtls={}", self.mode));
            if self.mode != "psk" {
                arguments.push(format!("--credentials={}", self.file("credentials")));
            }
            if cid {
                arguments.push("--cid=8".into());
            }
        }
        arguments.extend_from_slice(more);
        arguments
    }

    /// What the last run found.
    pub fn found(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.file("run")).unwrap()).unwrap()
    }

    /// What went wrong by the journal, which must be nothing; how many values were acknowledged.
    #[track_caller]
    pub fn check(&self, node: &Node) -> u64 {
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
}

impl Setup {
    /// With a key, a certificate for "localhost" and the authority of `x509`'s devices, so that every mode is served; for
    /// fleets that come from few networks. The files go to `folder`.
    pub fn every_mode(self, folder: &Path, x509: &Fleet) -> Setup {
        let server = Authority::new("Servers").issue("localhost");
        let (key, chain) = (folder.join("key.pem"), folder.join("chain.pem"));
        fs::write(&key, server.key_pem()).unwrap();
        fs::write(&chain, server.chain_pem()).unwrap();
        self.set(format!("security.identity.key_file={}", key.display()))
            .set(format!("security.identity.cert_file={}", chain.display()))
            .set(format!("security.device_ca_file={}.ca.pem", x509.file("credentials")))
    }
}
