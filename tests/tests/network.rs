//! A network that loses, doubles and reorders datagrams (scenario 33), and a client of another make.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::atomic::Ordering;

use coap_lite::MessageType;
use godwit_proto::v1::value::Kind;
use godwit_tests::{Leshan, Message, Node, Proxy, Raw, Setup, coap_client, value};
use serde_json::json;

const LINKS: &str = "</>;rt=\"oma.lwm2m\";ct=110,</1/0>,</3/0>,</3303/0>";

#[test]
fn every_exchange_ends_once_on_a_bad_network() {
    let Some(leshan) = Leshan::shared() else { return };
    for seed in [7, 4711] {
        println!("seed {seed}");
        let node = Setup::default().set("coap.ack_timeout=150ms").set("coap.max_retransmit=8").start();
        let (admin, mut sink) = (node.admin(), node.sink());
        let proxy = Proxy::new(node.coap(), seed, 15, 15, 15);
        let uri = format!("coap://{}", proxy.address());
        let options = ["ack=150", "block=64", "lifetime=600"];
        let mut client = leshan.start_at(&uri, "shaken", &options);
        let id = client.registered();
        assert_eq!(admin.registration("shaken").unwrap().registration_id, id);

        admin.observe("shaken", "/3303/0/5700").unwrap();
        let mut executed = 0;
        for count in 0..15 {
            let text = count.to_string();
            admin.write("shaken", "/3442/0/120", &text).unwrap();
            assert_eq!(client.value("/3442/0/120"), Some(text));
            let read = admin.read("shaken", "/3/0/9").unwrap();
            assert_eq!(value(&read, "/3/0/9"), Kind::Integer(95));
            admin.execute("shaken", "/3/0/4", "").unwrap();
            executed += 1;
            client.set("/3303/0/5700", &count.to_string());
            client.put("/3/0/9", "94");
            assert_eq!(client.send(112, &["/3/0/9"]), "2.04");
            client.put("/3/0/9", "95");
        }
        let long = "0123456789".repeat(60);
        admin.write("shaken", "/3442/0/110", &long).unwrap();
        assert_eq!(client.value("/3442/0/110").as_deref(), Some(long.as_str()));
        let read = admin.read("shaken", "/3442/0/110").unwrap();
        assert_eq!(value(&read, "/3442/0/110"), Kind::String(long));

        // The last value arrives, in one record each, and what was executed was executed once.
        sink.is("shaken", "/3303/0/5700", 14.0);
        let records = sink.records();
        let mut ids: Vec<_> = records.iter().map(|record| record["id"].as_str().unwrap()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "no record twice");
        let sent =
            records.iter().filter(|record| record["data"]["values"] == json!({"batteryLevel": 94})).count();
        assert_eq!(sent, 15, "each Send was published once");
        assert_eq!(client.events("execute").len(), executed);
        assert_eq!(client.events("registered").len(), 1);

        for fault in [&proxy.faults.lost, &proxy.faults.doubled, &proxy.faults.delayed] {
            fault.store(0, Ordering::Relaxed);
        }
        client.command("deregister", &[]);
        sink.event("shaken", "deregistered");
    }
}

#[test]
fn a_repeated_register_is_answered_again_and_done_once() {
    let node = Node::start();
    let mut raw = Raw::new(node.coap());
    let register = Message::request("POST", "/rd?ep=repeats&lwm2m=1.1").format(40).payload(LINKS);
    let register = raw.numbered(register);
    for _ in 0..3 {
        raw.send(&register);
    }
    let first = raw.exchange(&register);
    assert_eq!(first.code(), "2.01");
    for _ in 0..3 {
        assert_eq!(raw.exchange(&register), first);
    }
    let mut sink = node.sink();
    let event = sink.event("repeats", "registered");
    assert_eq!(event["data"]["data"]["replaced"], false);
    raw.register("ep=other&lwm2m=1.1", LINKS);
    sink.event("other", "registered");
    assert_eq!(sink.records().iter().filter(|record| record["endpoint"] == "repeats").count(), 1);
}

#[test]
fn requests_that_are_not_confirmable_are_answered_so() {
    let node = Node::start();
    let mut raw = Raw::new(node.coap());
    let register = Message::request("POST", "/rd?ep=non&lwm2m=1.1").format(40).payload(LINKS);
    let response = raw.call(register.kind(MessageType::NonConfirmable));
    assert_eq!(
        (response.code().as_str(), response.0.header.get_type()),
        ("2.01", MessageType::NonConfirmable)
    );
}

#[test]
fn libcoap_finds_what_the_node_serves_and_registers() {
    let node = Node::start();
    let uri = |path: &str| format!("{}{path}", node.uri());
    let Some(core) = coap_client(&["-m", "get", &uri("/.well-known/core")]) else { return };
    assert!(core.contains("</rd>") && core.contains("</dp>"), "{core}");

    let file = std::env::temp_dir().join(format!("godwit-links-{}", std::process::id()));
    std::fs::write(&file, LINKS).unwrap();
    let name = file.to_str().unwrap();
    let register = uri("/rd?ep=libcoap&lwm2m=1.1&lt=60");
    coap_client(&["-m", "post", "-t", "40", "-f", name, &register]).unwrap();
    let registration = node.admin().registration("libcoap").unwrap();
    assert_eq!(registration.objects.len(), 3);

    // In blocks of 16.
    let register = uri("/rd?ep=libcoap-blocks&lwm2m=1.1&lt=60");
    coap_client(&["-m", "post", "-t", "40", "-b", "16", "-f", name, &register]).unwrap();
    assert_eq!(node.admin().registration("libcoap-blocks").unwrap().objects.len(), 3);
    std::fs::remove_file(&file).unwrap();

    let refused = coap_client(&["-m", "get", &uri("/rd")]).unwrap();
    assert!(refused.contains("4.05"), "{refused}");
    let refused = coap_client(&["-m", "delete", &uri("/rd/AAAAAAAAAAAA")]).unwrap();
    assert!(refused.contains("4.04"), "{refused}");
}

#[test]
fn a_ping_is_answered_by_rst() {
    let node = Node::start();
    let mut raw = Raw::new(node.coap());
    raw.send(&Message::empty(MessageType::Confirmable, 0x4242));
    let pong = raw.next("RST", |_| true);
    assert_eq!(
        (pong.id(), pong.0.header.get_type(), pong.code().as_str()),
        (0x4242, MessageType::Reset, "0.00")
    );
}
