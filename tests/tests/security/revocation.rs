//! What becomes of sessions when a credential is changed (scenario 24, on one node).

use godwit_tests::{Admin, Client, Leshan, Node, Security, Setup, wait};

const KEY: &[u8] = &[0x5a; 16];
/// A client that soon gives a request up, and tries again within the session that it has.
const IMPATIENT: [&str; 2] = ["request=2000", "retransmit=100"];

fn registered(node: &Node, endpoint: &str) -> Option<Client> {
    let leshan = Leshan::shared()?;
    node.admin().psk_device(endpoint, "default", endpoint, KEY);
    let mut client = leshan.start_secured(node, endpoint, &Security::psk(endpoint, KEY), &IMPATIENT);
    client.registered();
    Some(client)
}

fn node() -> Node {
    Setup { set: Vec::new(), ..Setup::default() }.start()
}

/// The session is at an end, and neither resumption nor a handshake brings it back.
fn shut_out(node: &Node, client: &mut Client) {
    wait("the end of the session", || (node.metric_sum("godwit_dtls_sessions", "") == 0.0).then_some(()));
    client.command("update", &[]);
    client.event("handshake-failed");
    assert_eq!(client.events("updated").len(), 0);
}

#[test]
fn a_deleted_device_loses_its_session() {
    let node = node();
    let Some(mut client) = registered(&node, "deleted") else { return };
    let admin = node.admin();
    admin.delete_device("deleted").unwrap();
    shut_out(&node, &mut client);
}

#[test]
fn a_changed_secret_ends_the_session_and_a_new_one_begins_one() {
    let node = node();
    let Some(mut client) = registered(&node, "changed") else { return };
    let admin = node.admin();
    change(&admin, "changed", &[7; 16]);
    node.sink().event("changed", "credential_changed");
    shut_out(&node, &mut client);

    let leshan = Leshan::shared().unwrap();
    let mut renewed = leshan.start_secured(&node, "changed", &Security::psk("changed", &[7; 16]), &[]);
    renewed.registered();
}

#[test]
fn a_disabled_device_is_refused_until_it_is_enabled() {
    let node = node();
    let Some(mut client) = registered(&node, "disabled") else { return };
    let admin = node.admin();
    let device =
        |disabled| godwit_proto::v1::Device { endpoint: "disabled".into(), disabled, ..Default::default() };
    admin.update_device(device(true), &["disabled"]).unwrap();
    shut_out(&node, &mut client);

    admin.update_device(device(false), &["disabled"]).unwrap();
    let leshan = Leshan::shared().unwrap();
    leshan.start_secured(&node, "disabled", &Security::psk("disabled", KEY), &[]).registered();
}

fn change(admin: &Admin, endpoint: &str, key: &[u8]) {
    let device = godwit_proto::v1::Device {
        endpoint: endpoint.into(),
        credential: Some(Admin::psk(endpoint, key)),
        ..Default::default()
    };
    admin.update_device(device, &["credential"]).unwrap();
}
