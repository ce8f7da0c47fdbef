//! What a bad network and bad clients do to DTLS (scenario 29). The engine's own tests have every flight and every field.

use std::net::UdpSocket;
use std::time::Duration;

use godwit_tests::{Leshan, Node, Proxy, Security, Setup, wait};

const KEY: &[u8] = &[0x29; 16];

fn node(endpoints: &[&str]) -> Node {
    let node = Setup { set: Vec::new(), ..Setup::default() }.start();
    for endpoint in endpoints {
        node.admin().psk_device(endpoint, "default", endpoint, KEY);
    }
    node
}

#[test]
fn devices_register_and_notify_over_a_network_that_loses_doubles_and_reorders() {
    let Some(leshan) = Leshan::shared() else { return };
    let endpoints = ["lossy-1", "lossy-2", "lossy-3"];
    let node = node(&endpoints);
    let (admin, mut sink) = (node.admin(), node.sink());
    for (at, endpoint) in endpoints.into_iter().enumerate() {
        let seed = 29 + at as u64;
        println!("seed {seed}");
        let network = Proxy::new(node.coaps(), seed, 15, 15, 15);
        let security = Security::psk(endpoint, KEY).with("retransmit=200").with("mtu=300").with("ack=500");
        let options = [&security.options()[..], &["lifetime=600"]].concat();
        let mut client = leshan.start_at(&format!("coaps://{}", network.address()), endpoint, &options);
        client.registered();
        admin.observe(endpoint, "/3303/0/5700").unwrap();
        for value in ["41.5", "42.5", "43.5"] {
            client.set("/3303/0/5700", value);
            sink.is(endpoint, "/3303/0/5700", value.parse::<f64>().unwrap());
        }
    }
    wait("no handshake left", || {
        (node.metric_sum("godwit_dtls_handshakes_in_flight", "") == 0.0).then_some(())
    });
}

#[test]
fn a_stranger_gets_a_cookie_and_nothing_else() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = node(&["seen"]);
    let tap = Proxy::tap(node.coaps());
    let security = Security::psk("seen", KEY);
    leshan.start_at(&format!("coaps://{}", tap.address()), "seen", &security.options()).registered();
    let sent: Vec<_> = tap.datagrams().into_iter().filter(|datagram| datagram.up).collect();
    let (hello, with_cookie) = (&sent[0].bytes, &sent[1].bytes);
    assert!(with_cookie.len() > hello.len());

    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut answer = [0; 1500];
    // Another's cookie is no cookie: its ClientHello gets what the first one would get.
    for hello in [hello, with_cookie] {
        stranger.send_to(hello, node.coaps()).unwrap();
        let length = stranger.recv(&mut answer).unwrap();
        assert_eq!((answer[0], answer[13]), (22, 3), "a HelloVerifyRequest");
        assert!(length <= hello.len(), "larger than the question");
    }
    // Anything else of a handshake, of a session, or of nothing at all is not answered.
    for datagram in sent[2..].iter().map(|datagram| datagram.bytes.clone()).chain([
        vec![22; 60],
        vec![25; 60],
        vec![0xff],
    ]) {
        stranger.send_to(&datagram, node.coaps()).unwrap();
    }
    assert!(stranger.recv(&mut answer).is_err());
    assert_eq!(node.metric_sum("godwit_dtls_handshakes_in_flight", ""), 0.0);
    assert_eq!(node.metric_sum("godwit_dtls_handshakes_total", "outcome=\"full\""), 1.0);
}

#[test]
fn every_datagram_of_a_session_repeated_changes_nothing() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = node(&["repeated"]);
    let (admin, tap) = (node.admin(), Proxy::tap(node.coaps()));
    let security = Security::psk("repeated", KEY);
    let mut client = leshan.start_at(&format!("coaps://{}", tap.address()), "repeated", &security.options());
    let id = client.registered();
    admin.observe("repeated", "/3303/0/5700").unwrap();
    client.set("/3303/0/5700", "51.5");
    node.sink().is("repeated", "/3303/0/5700", 51.5);

    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let up: Vec<_> = tap.datagrams().into_iter().filter(|datagram| datagram.up).collect();
    for datagram in up.iter().chain(&up) {
        stranger.send_to(&datagram.bytes, node.coaps()).unwrap();
    }
    client.set("/3303/0/5700", "52.5");
    node.sink().is("repeated", "/3303/0/5700", 52.5);
    assert_eq!(admin.registration("repeated").unwrap().registration_id, id);
    assert_eq!(node.sink().values("repeated", "/3303/0/5700").len(), 3, "a notification counted twice");
    assert!(admin.read("repeated", "/3/0/0").is_ok());
}

#[test]
fn a_session_goes_on_after_the_node_was_killed() {
    let Some(leshan) = Leshan::shared() else { return };
    for cid in ["6", "-1"] {
        let endpoint = format!("survives{cid}");
        let mut node = node(&[&endpoint]);
        let security = Security::psk(&endpoint, KEY).with(format!("cid={cid}"));
        let mut client = leshan.start_secured(&node, &endpoint, &security, &["request=60000"]);
        client.registered();
        node.admin().observe(&endpoint, "/3303/0/5700").unwrap();
        node.kill();
        node.restart();
        client.set("/3303/0/5700", "61.5");
        node.sink().is(&endpoint, "/3303/0/5700", 61.5);
        client.command("update", &[]);
        client.event("updated");
        assert_eq!(client.events("handshake").len(), 1, "a handshake with cid={cid}");
    }
}
