//! Raw public keys (scenario 22) and certificates (scenario 23), beside pre-shared keys on one port.

use std::fs;

use godwit_proto::v1::{Credential, Device, credential};
use godwit_tests::{Authority, Identity, Leshan, Node, Security, Setup, pem, reason};

/// A node with a certificate of its own, an authority of devices, and what they know of the node.
struct World {
    node: Node,
    server: Identity,
    devices: Authority,
    folder: std::path::PathBuf,
}

impl World {
    fn new(name: &str) -> World {
        let folder = std::env::temp_dir().join(format!("godwit-security-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let server = Authority::new("Servers").issue("localhost");
        let devices = Authority::new("Devices");
        let file = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let node = Setup { set: Vec::new(), ..Setup::default() }
            .set(format!("security.identity.key_file={}", file("key.pem", server.key_pem())))
            .set(format!("security.identity.cert_file={}", file("chain.pem", server.chain_pem())))
            .set(format!(
                "security.device_ca_file={}",
                file("ca.pem", pem("CERTIFICATE", devices.certificate()))
            ))
            .start();
        World { node, server, devices, folder }
    }

    fn device(&self, endpoint: &str, credential: Credential) {
        let device = Device { endpoint: endpoint.into(), credential: Some(credential), ..Default::default() };
        self.node.admin().create_device(device).unwrap();
    }

    fn rpk(&self, endpoint: &str, own: &Identity) {
        let rpk = Some(credential::RawPublicKey { key: own.spki() });
        self.device(endpoint, Credential { rpk, ..Default::default() });
    }

    fn x509(&self, endpoint: &str, certificate: &[u8]) {
        let x509 = Some(credential::X509 { certificate: certificate.to_vec(), ..Default::default() });
        self.device(endpoint, Credential { x509, ..Default::default() });
    }

    fn established(&self, mode: &str) -> f64 {
        let label = format!("mode=\"{mode}\",outcome=\"full\"");
        self.node.metric_sum("godwit_dtls_handshakes_total", &label)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const QUICK: [&str; 1] = ["retransmit=100"];

#[test]
fn a_raw_public_key_lets_its_device_in_and_no_other() {
    let Some(leshan) = Leshan::shared() else { return };
    let world = World::new("rpk");
    let (node, admin) = (&world.node, world.node.admin());
    let (own, other) = (Identity::self_signed("own"), Identity::self_signed("other"));
    world.rpk("raw", &own);

    let mut client = leshan.start_secured(node, "raw", &Security::rpk(&own, &world.server.spki()), &[]);
    assert_eq!(client.event("handshake")["suite"], "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8");
    client.registered();
    assert!(admin.read("raw", "/3/0/0").is_ok());
    assert_eq!(world.established("rpk"), 1.0);

    let mut stranger =
        leshan.start_secured(node, "raw", &Security::rpk(&other, &world.server.spki()), &QUICK);
    stranger.event("handshake-failed");
    let mut misled = leshan.start_secured(node, "raw", &Security::rpk(&own, &other.spki()), &QUICK);
    misled.event("handshake-failed");
    assert_eq!(world.established("rpk"), 1.0);

    let mut renamed = leshan.start_secured(node, "else", &Security::rpk(&own, &world.server.spki()), &[]);
    assert_eq!(renamed.event("failed")["code"], "FORBIDDEN(403)");
}

#[test]
fn a_certificate_of_a_trusted_authority_lets_in_the_device_that_it_names() {
    let Some(leshan) = Leshan::shared() else { return };
    let world = World::new("x509");
    let (node, admin) = (&world.node, world.node.admin());
    let server = &world.server.chain()[0];
    for endpoint in ["named", "below", "untrusted", "expired"] {
        world.x509(endpoint, &[]);
    }

    let own = world.devices.issue("named");
    let mut client = leshan.start_secured(node, "named", &Security::x509(&own, server), &[]);
    client.registered();
    assert!(admin.read("named", "/3/0/0").is_ok());
    let below = world.devices.intermediate("Factory").issue("below");
    leshan.start_secured(node, "below", &Security::x509(&below, server), &[]).registered();
    assert_eq!(world.established("x509"), 2.0);

    let stranger = Authority::new("Devices").issue("untrusted");
    let mut untrusted = leshan.start_secured(node, "untrusted", &Security::x509(&stranger, server), &QUICK);
    untrusted.event("handshake-failed");
    let old = world.devices.issue_expired("expired");
    let mut expired = leshan.start_secured(node, "expired", &Security::x509(&old, server), &QUICK);
    expired.event("handshake-failed");
    for endpoint in ["untrusted", "expired"] {
        assert_eq!(reason(&admin.registration(endpoint).unwrap_err()), "NOT_REGISTERED");
    }
    let mut renamed = leshan.start_secured(node, "below", &Security::x509(&own, server), &[]);
    assert_eq!(renamed.event("failed")["code"], "FORBIDDEN(403)");
}

#[test]
fn a_certificate_that_is_stored_with_its_device_needs_no_authority() {
    let Some(leshan) = Leshan::shared() else { return };
    let world = World::new("pinned");
    let server = &world.server.chain()[0];
    let (own, twin) = (Identity::self_signed("pinned"), Identity::self_signed("pinned"));
    world.x509("pinned", &own.chain()[0]);
    leshan.start_secured(&world.node, "pinned", &Security::x509(&own, server), &[]).registered();
    let mut other = leshan.start_secured(&world.node, "pinned", &Security::x509(&twin, server), &QUICK);
    other.event("handshake-failed");
    // Nor does a trusted certificate of that name do in its place.
    let issued = world.devices.issue("pinned");
    let mut issued = leshan.start_secured(&world.node, "pinned", &Security::x509(&issued, server), &QUICK);
    issued.event("handshake-failed");
}

#[test]
fn four_modes_are_served_at_once() {
    let Some(leshan) = Leshan::shared() else { return };
    let world = World::new("modes");
    let (node, admin) = (&world.node, world.node.admin());
    let (raw, certified) = (Identity::self_signed("raw"), world.devices.issue("certified"));
    world.device("plain", Credential { modes: vec![credential::Mode::NoSec.into()], ..Default::default() });
    admin.psk_device("keyed", "default", "keyed", &[4; 16]);
    world.rpk("raw", &raw);
    world.x509("certified", &[]);
    let mut clients = [
        leshan.start(node, "plain", &[]),
        leshan.start_secured(node, "keyed", &Security::psk("keyed", &[4; 16]), &[]),
        leshan.start_secured(node, "raw", &Security::rpk(&raw, &world.server.spki()), &[]),
        leshan.start_secured(node, "certified", &Security::x509(&certified, &world.server.chain()[0]), &[]),
    ];
    let names = ["plain", "keyed", "raw", "certified"];
    for (client, endpoint) in clients.iter_mut().zip(names) {
        client.registered();
        admin.observe(endpoint, "/3303/0/5700").unwrap();
        client.set("/3303/0/5700", "44.5");
        node.sink().is(endpoint, "/3303/0/5700", 44.5);
    }
    let log = node.log();
    assert!(log.contains("modes=\"psk, rpk, x509\""), "{log}");
    assert!(!log.contains(world.server.key_pem().lines().nth(1).unwrap()), "a private key in the log");

    // Each on its own: a device of one mode is refused in another.
    let mut psk = leshan.start_secured(node, "raw", &Security::psk("raw", &[4; 16]), &QUICK);
    psk.event("handshake-failed");
}

#[test]
fn a_renewed_certificate_serves_the_next_handshake_and_ends_no_session() {
    let Some(leshan) = Leshan::shared() else { return };
    let world = World::new("renewed");
    let (node, admin) = (&world.node, world.node.admin());
    let (first, second) = (Identity::self_signed("first"), Identity::self_signed("second"));
    world.rpk("first", &first);
    world.rpk("second", &second);
    let old = &world.server;
    let mut early = leshan.start_secured(node, "first", &Security::rpk(&first, &old.spki()), &[]);
    early.registered();

    let new = Identity::self_signed("localhost");
    fs::write(world.folder.join("chain.pem"), new.chain_pem()).unwrap();
    fs::write(world.folder.join("key.pem"), new.key_pem()).unwrap();
    godwit_tests::wait("the new key", || {
        (node.metric_sum("godwit_key_reloads_total", "outcome=\"ok\"") >= 1.0).then_some(())
    });
    leshan.start_secured(node, "second", &Security::rpk(&second, &new.spki()), &[]).registered();
    early.command("update", &[]);
    early.event("updated");
    assert!(admin.read("first", "/3/0/0").is_ok());
    assert_eq!(early.events("handshake").len(), 1);
}
