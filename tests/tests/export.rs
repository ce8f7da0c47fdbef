//! Devices go from one node to another with their credentials, by `godwit ctl devices export` and `import`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, os::unix::fs::PermissionsExt};

use data_encoding::HEXLOWER as HEX;
use godwit_proto::v1::{
    Credential, Device,
    credential::{Mode, RawPublicKey, X509},
};
use godwit_tests::{Admin, Authority, Ctl, Dtls, Identity, Node, Raw, Setup};
use serde_json::{Value, json};

const LINKS: &str = "</1/0>,</3/0>";
const OLD: &[u8] = &[0x01; 16];
const NEW: &[u8] = &[0x02; 64];

fn node() -> Node {
    Setup { set: Vec::new(), ..Setup::default() }.start()
}

/// One device with each kind of credential; the key of one is being rotated.
fn fleet(node: &Node) {
    let admin = node.admin();
    let own = Identity::self_signed("raw");
    let certificate = |x509| Credential { x509: Some(x509), ..Default::default() };
    let credentials = [
        ("plain", Credential::default()),
        ("open", Credential { modes: vec![Mode::Psk.into(), Mode::NoSec.into()], ..Admin::psk("open", OLD) }),
        ("meter", Admin::psk("meter {id}", OLD)),
        ("raw", Credential { rpk: Some(RawPublicKey { key: own.spki() }), ..Default::default() }),
        ("pinned", certificate(X509 { certificate: own.chain()[0].clone(), ..Default::default() })),
        ("named", certificate(X509 { common_name: "its name".into(), ..Default::default() })),
        (
            "issued",
            certificate(X509 {
                issuer: Authority::new("Devices").certificate().to_vec(),
                ..Default::default()
            }),
        ),
    ];
    for (endpoint, credential) in credentials {
        let device = Device {
            endpoint: endpoint.into(),
            credential: Some(credential),
            labels: [("site".to_owned(), format!("of \"{endpoint}\", 1"))].into(),
            disabled: endpoint == "named",
            ..Default::default()
        };
        admin.create_device(device).unwrap();
    }
    admin.rotate("meter", NEW);
}

/// What there is to know of a node's devices, but for when and how often they were changed.
fn devices(node: &Node) -> Vec<Value> {
    let mut devices = Ctl::json(node, &["devices", "list"]);
    for device in &mut devices {
        for field in ["createTime", "updateTime", "etag"] {
            device.as_object_mut().unwrap().remove(field);
        }
    }
    devices
}

#[test]
fn devices_with_sealed_secrets_log_in_at_another_node_as_they_did() {
    let (one, two) = (node(), node());
    fleet(&one);
    let key = one.file("export.key", &format!("{}\n", HEX.encode(&[9; 32])));
    let other = one.file("other.key", &HEX.encode(&[8; 32]));
    let file = one.data_dir().join("devices.ndjson");
    let [key, other, path] = [&key, &other, &file].map(|path| path.to_str().unwrap());
    Ctl::ok(&one, &["devices", "export", path, "--seal-key", key]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!((text.lines().count(), text.matches("psk_sealed").count()), (7, 2));
    assert!(!text.contains(&HEX.encode(OLD)) && !text.contains(&HEX.encode(NEW)));
    let again = Ctl::run(&one, &["devices", "export", path]);
    assert_eq!(again.exit, 1, "no file is overwritten");

    // With another key, or none, only devices without secrets can be made; none is made without its own.
    let dry = Ctl::run(&two, &["devices", "import", path, "--seal-key", other, "--dry-run"]);
    assert_eq!(dry.exit, 0, "{}", dry.err);
    let three = node();
    for arguments in [&["--seal-key", other][..], &[]] {
        let refused = Ctl::run(&three, &[&["devices", "import", path], arguments].concat());
        assert!(refused.exit == 1 && refused.err.contains("seal_key"), "{}", refused.err);
        let made: Vec<_> = devices(&three).iter().map(|device| device["endpoint"].clone()).collect();
        assert_eq!(made, ["issued", "named", "pinned", "plain", "raw"]);
    }

    Ctl::ok(&two, &["devices", "import", path, "--seal-key", key]);
    assert_eq!(devices(&two), devices(&one));
    // The old secret is good until the new one was used.
    for secret in [OLD, OLD, NEW] {
        Raw::secured(two.coaps(), Dtls::psk("meter {id}", secret)).register("ep=meter&lwm2m=1.1", LINKS);
    }
    let mut dtls = Dtls::psk("meter {id}", OLD);
    dtls.settings.attempts = 1;
    godwit_tests::wait("the old secret's end", || Raw::try_secured(two.coaps(), dtls.clone()).err());
    Raw::secured(two.coaps(), Dtls::psk("open", OLD)).register("ep=open&lwm2m=1.1", LINKS);
}

#[test]
fn without_a_key_secrets_stay_and_an_import_makes_new_ones() {
    let (one, two) = (node(), node());
    fleet(&one);
    let text = Ctl::ok(&one, &["devices", "export", "-", "--prefix", "m"]);
    let line: Value = serde_json::from_str(text.trim()).unwrap();
    let expected = json!({
        "endpoint": "meter", "profile": "default", "psk": true, "psk_identity": "meter {id}",
        "label.site": "of \"meter\", 1",
    });
    assert_eq!(line, expected);

    let file = two.file("devices.ndjson", &text);
    let made = Ctl::json(&two, &["devices", "import", file.to_str().unwrap()]);
    let secret = HEX.decode(made[0]["psk_hex"].as_str().unwrap().as_bytes()).unwrap();
    Raw::secured(two.coaps(), Dtls::psk("meter {id}", &secret)).register("ep=meter&lwm2m=1.1", LINKS);
}
