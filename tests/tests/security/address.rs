//! Devices whose address changes (scenario 25): over DTLS that is normal.

use std::time::Duration;

use godwit_tests::{Client, Leshan, Node, Proxy, Security, Setup, wait};

const KEY: &[u8] = &[0x25; 16];

/// A node, and a client behind a NAT that can forget.
fn behind_nat(endpoint: &str, cid: &str) -> Option<(Node, Proxy, Client)> {
    let leshan = Leshan::shared()?;
    let node = Setup { set: Vec::new(), ..Setup::default() }.start();
    node.admin().psk_device(endpoint, "default", endpoint, KEY);
    let nat = Proxy::tap(node.coaps());
    let psk = Security::psk(endpoint, KEY).with(format!("cid={cid}"));
    let options = [&psk.options()[..], &["request=3000", "retransmit=200"]].concat();
    let mut client = leshan.start_at(&format!("coaps://{}", nat.address()), endpoint, &options);
    client.registered();
    Some((node, nat, client))
}

fn handshakes(node: &Node, outcome: &str) -> f64 {
    node.metric_sum("godwit_dtls_handshakes_total", &format!("outcome=\"{outcome}\""))
}

#[test]
fn a_session_with_connection_id_follows_its_device_without_a_handshake() {
    let Some((node, nat, mut client)) = behind_nat("roams", "6") else { return };
    let admin = node.admin();
    admin.observe("roams", "/3303/0/5700").unwrap();
    let id = admin.registration("roams").unwrap().registration_id;

    nat.rebind();
    client.command("update", &[]);
    client.event("updated");
    client.set("/3303/0/5700", "30.5");
    node.sink().is("roams", "/3303/0/5700", 30.5);
    // Two records from there have proved the address: the node may speak first.
    assert!(admin.read("roams", "/3/0/0").is_ok());
    assert_eq!((handshakes(&node, "full"), handshakes(&node, "resumed")), (1.0, 0.0));
    assert_eq!(admin.registration("roams").unwrap().registration_id, id);
    assert_eq!(node.metric_sum("godwit_dtls_address_moves_total", "result=\"confirmed\""), 1.0);
}

#[test]
fn without_connection_id_a_device_comes_back_by_resumption() {
    let Some((node, nat, mut client)) = behind_nat("resumes", "-1") else { return };
    let admin = node.admin();
    let id = admin.registration("resumes").unwrap().registration_id;
    nat.rebind();
    // Nobody answers a record of no known address; the client gives its request up and resumes.
    client.command("update", &[]);
    let handshake =
        client.next("a resumption", |event| event["event"] == "handshake" && event["resumed"] == true);
    assert!(handshake["write_cid"].is_null());
    client.event("updated");
    assert_eq!(admin.registration("resumes").unwrap().registration_id, id);
    wait("the resumption's count", || (handshakes(&node, "resumed") == 1.0).then_some(()));
    assert!(admin.read("resumes", "/3/0/0").is_ok());
}

#[test]
fn a_full_handshake_from_a_new_port_keeps_the_registration() {
    let Some((node, _nat, mut client)) = behind_nat("again", "6") else { return };
    let admin = node.admin();
    admin.observe("again", "/3303/0/5700").unwrap();
    client.command("handshake", &[]);
    client.command("update", &[]);
    client.next("a second handshake", |event| event["event"] == "handshake" && event["resumed"] == false);
    client.event("updated");
    client.set("/3303/0/5700", "31.5");
    node.sink().is("again", "/3303/0/5700", 31.5);
    assert_eq!(handshakes(&node, "full"), 2.0);
    assert!(admin.registration("again").is_ok());
}

#[test]
fn a_repeated_record_from_a_strangers_address_moves_nothing() {
    let Some((node, nat, mut client)) = behind_nat("stays", "6") else { return };
    let admin = node.admin();
    client.command("update", &[]);
    client.event("updated");
    let last = nat.datagrams().into_iter().rfind(|datagram| datagram.up).unwrap();
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stranger.send_to(&last.bytes, node.coaps()).unwrap();
    assert!(stranger.recv(&mut [0; 1500]).is_err(), "a repeated record was answered elsewhere");
    wait("the replay's count", || {
        (node.metric_sum("godwit_dtls_records_dropped_total", "reason=\"replay\"") >= 1.0).then_some(())
    });
    assert!(admin.read("stays", "/3/0/0").is_ok(), "the device is where it was");
    assert_eq!(node.metric_sum("godwit_dtls_address_moves_total", "result=\"confirmed\""), 0.0);
}
