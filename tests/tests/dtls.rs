//! Devices over DTLS with pre-shared keys: registration, restarts, addresses, credentials, and clients that break the
//! rules (scenarios 21, 24, 25 and 29).
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::{Duration, SystemTime};

use godwit_dtls::{client::Failure, flight::Backoff};
use godwit_proto::v1::{Credential, Device, credential};
use godwit_tests::{Admin, Checker, Ctl, Datagram, Dtls, Message, Node, Proxy, Raw, Setup, wait};

const LINKS: &str = "</1/0>,</3/0>";
const KEY: &[u8] = b"0123456789abcdef";
const CHANGE_CIPHER_SPEC: u8 = 20;

/// Declares a device with a pre-shared key, whose identity is its endpoint name and `-id`.
fn declare(node: &Node, endpoint: &str) {
    let psk = credential::Psk {
        identity: format!("{endpoint}-id"),
        secret: Some(credential::psk::Secret::Text(String::from_utf8(KEY.to_vec()).unwrap())),
    };
    let credential = Credential { psk: Some(psk), ..Credential::default() };
    let device = Device { endpoint: endpoint.into(), credential: Some(credential), ..Device::default() };
    node.admin().create_device(device).unwrap();
}

fn psk(endpoint: &str) -> Dtls {
    Dtls::psk(&format!("{endpoint}-id"), KEY)
}

fn handshakes(node: &Node) -> f64 {
    let ended =
        |outcome: &str| node.metric_sum("godwit_dtls_handshakes_total", &format!("outcome=\"{outcome}\""));
    ended("full") + ended("resumed")
}

fn update(raw: &mut Raw, id: &str) -> String {
    raw.call(Message::request("POST", &format!("/rd/{id}"))).code()
}

#[test]
fn a_device_registers_updates_and_leaves_over_dtls() {
    let node = Node::start();
    declare(&node, "a");
    let mut raw = Raw::secured(node.coaps(), psk("a"));
    let id = raw.register("ep=a&lwm2m=1.1", LINKS);
    assert_eq!(update(&mut raw, &id), "2.04");
    let admin = node.admin();
    assert_eq!(admin.registration("a").unwrap().registration_id, id);
    assert_eq!(raw.call(Message::request("DELETE", &format!("/rd/{id}"))).code(), "2.02");
    assert!(admin.registration("a").is_err());
}

#[test]
fn a_name_that_is_not_the_credentials_is_refused_and_a_missing_one_is_its_own() {
    let node = Node::start();
    declare(&node, "a");
    declare(&node, "b");
    let mut raw = Raw::secured(node.coaps(), psk("a"));
    let register = |query: &str| Message::request("POST", &format!("/rd?{query}")).format(40).payload(LINKS);
    assert_eq!(raw.call(register("ep=b&lwm2m=1.1")).code(), "4.03");
    assert!(node.admin().registration("b").is_err());
    assert_eq!(raw.call(register("lwm2m=1.1")).code(), "2.01");
    assert!(node.admin().registration("a").is_ok());
}

#[test]
fn a_psk_device_on_the_plain_port_is_refused() {
    let node = Node::start();
    declare(&node, "a");
    let mut raw = Raw::new(node.coap());
    let register = Message::request("POST", "/rd?ep=a&lwm2m=1.1").format(40).payload(LINKS);
    assert_eq!(raw.call(register).code(), "4.03");
}

#[test]
fn a_wrong_key_and_an_unknown_identity_end_alike_and_leave_nothing() {
    let node = Node::start();
    declare(&node, "a");
    let settings = |mut dtls: Dtls| {
        dtls.settings.attempts = 1;
        dtls
    };
    let wrong = Raw::try_secured(node.coaps(), settings(Dtls::psk("a-id", b"another key here"))).unwrap_err();
    let unknown = Raw::try_secured(node.coaps(), settings(Dtls::psk("nobody", KEY))).unwrap_err();
    assert_eq!(wrong, unknown);
    // Good devices are served meanwhile.
    Raw::secured(node.coaps(), psk("a")).register("ep=a&lwm2m=1.1", LINKS);
    assert_eq!(handshakes(&node), 1.0);
}

#[test]
fn who_can_not_log_in_is_named_in_the_log_by_identity_alone() {
    let node = Node::start();
    declare(&node, "a");
    for (identity, key, why) in [
        ("nobody", KEY, "no device logs in by this identity"),
        ("a-id", &b"another key here"[..], "its key is another one"),
    ] {
        let mut dtls = Dtls::psk(identity, key);
        dtls.settings.attempts = 1;
        let mut device = Raw::before_handshake(node.coaps(), dtls);
        // A wrong key is told when the device begins anew.
        let line = wait("a word of it", || {
            device.handshake(false).unwrap_err();
            node.log().lines().find(|line| line.contains(identity)).map(str::to_owned)
        });
        assert!(line.contains("WARN") && line.contains("can't log in") && line.contains(why), "{line}");
        assert!(!line.contains("127.0.0.1"), "{line}");
    }
}

#[test]
fn a_killed_node_goes_on_under_the_same_keys_with_and_without_cid() {
    let mut node = Node::start();
    declare(&node, "with");
    declare(&node, "without");
    let mut with = Raw::secured(node.coaps(), psk("with"));
    let mut without = Raw::secured(node.coaps(), psk("without").without_cid());
    assert_eq!((with.server_cid().len(), without.server_cid().len()), (8, 0));
    let ids = [with.register("ep=with&lwm2m=1.1", LINKS), without.register("ep=without&lwm2m=1.1", LINKS)];
    for _ in 0..3 {
        node.kill();
        node.restart();
        for (raw, id) in [&mut with, &mut without].into_iter().zip(&ids) {
            assert_eq!(update(raw, id), "2.04");
            assert_eq!(update(raw, id), "2.04");
        }
        assert_eq!(handshakes(&node), 0.0, "nobody has shaken hands with this process");
    }
    // A command finds the device by its session too.
    node.kill();
    node.restart();
    let admin = node.admin();
    let reading = std::thread::spawn(move || admin.read("with", "/3/0/0"));
    let request = with.next_request("GET /3/0/0");
    with.send(&request.answer("2.05").format(0).payload("Godwit"));
    reading.join().unwrap().unwrap();
}

#[test]
fn a_stopped_node_goes_on_under_the_same_keys() {
    let mut node = Node::start();
    declare(&node, "a");
    let mut raw = Raw::secured(node.coaps(), psk("a"));
    let id = raw.register("ep=a&lwm2m=1.1", LINKS);
    node.terminate();
    node.restart();
    assert_eq!(update(&mut raw, &id), "2.04");
    assert_eq!(node.metric_sum("godwit_dtls_claims_total", "numbers=\"exact\""), 1.0);
}

#[test]
fn sessions_go_on_under_a_new_store_key_once_they_are_sealed_anew() {
    let mut node = Node::start();
    let mut devices = ["with", "without"].map(|name| {
        declare(&node, name);
        let dtls = if name == "with" { psk(name) } else { psk(name).without_cid() };
        let mut raw = Raw::secured(node.coaps(), dtls);
        let id = raw.register(&format!("ep={name}&lwm2m=1.1"), LINKS);
        (raw, id)
    });
    let file = node.data_dir().join("secrets/store.key");
    let (old, new) = (std::fs::read_to_string(&file).unwrap(), "5e".repeat(32));
    for keys in [format!("{new}\n{old}"), new] {
        node.terminate();
        std::fs::write(&file, keys).unwrap();
        node.restart();
        for (raw, id) in &mut devices {
            assert_eq!(update(raw, id), "2.04");
        }
        Ctl::ok(&node, &["store", "reseal"]);
        for (raw, id) in &mut devices {
            assert_eq!(update(raw, id), "2.04", "the device was claimed anew");
        }
        assert_eq!(handshakes(&node), 0.0, "nobody has shaken hands with this process");
    }
}

#[test]
fn a_device_behind_a_new_address_is_known_by_its_cid() {
    let node = Setup::default().set("server.shards=3").start();
    declare(&node, "a");
    let mut raw = Raw::secured(node.coaps(), psk("a"));
    let id = raw.register("ep=a&lwm2m=1.1", LINKS);
    for _ in 0..8 {
        raw.rebind();
        assert_eq!(update(&mut raw, &id), "2.04");
        assert_eq!(update(&mut raw, &id), "2.04");
    }
    assert_eq!(handshakes(&node), 1.0);
    wait("its addresses to be confirmed", || {
        (node.metric_sum("godwit_dtls_address_moves_total", "result=\"confirmed\"") == 8.0).then_some(())
    });
    let admin = node.admin();
    let reading = std::thread::spawn(move || admin.read("a", "/3/0/0"));
    let request = raw.next_request("GET /3/0/0");
    raw.send(&request.answer("2.05").format(0).payload("Godwit"));
    reading.join().unwrap().unwrap();
}

#[test]
fn a_device_without_cid_behind_a_new_address_must_shake_hands() {
    let node = Node::start();
    declare(&node, "a");
    let mut raw = Raw::secured(node.coaps(), psk("a").without_cid());
    let id = raw.register("ep=a&lwm2m=1.1", LINKS);
    raw.rebind();
    let request = raw.numbered(Message::request("POST", &format!("/rd/{id}")));
    raw.send(&request);
    wait("the record to be dropped", || {
        (node.metric_sum("godwit_dtls_records_dropped_total", "reason=\"no_session\"") == 1.0).then_some(())
    });
    assert_eq!(raw.handshake(true), Ok(true), "its session is resumed");
    assert_eq!(update(&mut raw, &id), "2.04");
}

#[test]
fn a_record_that_is_repeated_has_no_second_effect() {
    let mut node = Node::start();
    declare(&node, "a");
    let mut raw = Raw::secured(node.coaps(), psk("a"));
    let id = raw.register("ep=a&lwm2m=1.1", LINKS);
    let request = raw.numbered(Message::request("DELETE", "/rd/000000000000"));
    let datagram = raw.datagram(&request);
    raw.send_bytes(&datagram);
    raw.next("the answer", |message| message.id() == request.id());
    for _ in 0..3 {
        raw.send_bytes(&datagram);
    }
    assert_eq!(update(&mut raw, &id), "2.04");
    let replays = |node: &Node| node.metric_sum("godwit_dtls_records_dropped_total", "reason=\"replay\"");
    assert_eq!(replays(&node), 3.0);
    // The floor on record holds after a stop too.
    node.terminate();
    node.restart();
    raw.send_bytes(&datagram);
    assert_eq!(update(&mut raw, &id), "2.04");
    assert!(raw.drain().is_empty());
}

#[test]
fn a_finished_that_is_repeated_after_a_kill_is_answered() {
    for dtls in [psk("a"), psk("a").without_cid()] {
        let mut node = Node::start();
        declare(&node, "a");
        let server = node.coaps();
        let meanwhile = || {
            wait("the session to be stored", || (handshakes(&node) == 1.0).then_some(()));
            node.kill();
            node.restart();
        };
        let mut raw = Raw::secured_losing_the_end(server, dtls, meanwhile).unwrap();
        assert_eq!(handshakes(&node), 0.0, "it goes on where the other process was killed");
        raw.register("ep=a&lwm2m=1.1", LINKS);
    }
}

#[test]
fn with_a_strict_floor_no_record_is_taken_twice_whatever_happens() {
    let mut node = Setup::default().set("dtls.replay_floor=strict").start();
    declare(&node, "a");
    let mut raw = Raw::secured(node.coaps(), psk("a"));
    let id = raw.register("ep=a&lwm2m=1.1", LINKS);
    let request = raw.numbered(Message::request("POST", &format!("/rd/{id}")));
    let datagram = raw.datagram(&request);
    raw.send_bytes(&datagram);
    raw.next("the answer", |message| message.id() == request.id());
    node.kill();
    node.restart();
    raw.send_bytes(&datagram);
    wait("the record to be dropped", || {
        (node.metric_sum("godwit_dtls_records_dropped_total", "reason=\"forged\"") == 1.0).then_some(())
    });
    assert_eq!(update(&mut raw, &id), "2.04");
    assert!(raw.drain().is_empty());
}

#[test]
fn a_session_is_resumed_by_its_id_also_after_a_kill_and_after_its_end() {
    let mut node = Node::start();
    declare(&node, "a");
    let mut raw = Raw::secured(node.coaps(), psk("a"));
    let id = raw.register("ep=a&lwm2m=1.1", LINKS);
    assert_eq!(raw.handshake(true), Ok(true));
    assert_eq!(update(&mut raw, &id), "2.04");
    node.kill();
    node.restart();
    assert_eq!(raw.handshake(true), Ok(true));
    assert_eq!(update(&mut raw, &id), "2.04");
    raw.close();
    wait("the session's end", || {
        (node.metric_sum("godwit_dtls_sessions_ended_total", "reason=\"closed\"") == 1.0).then_some(())
    });
    assert_eq!(node.metric_sum("godwit_dtls_alerts_sent_total", ""), 1.0);
    assert_eq!(raw.handshake(true), Ok(true), "close_notify does not forbid it");
    assert_eq!(update(&mut raw, &id), "2.04");
    assert_eq!(node.metric_sum("godwit_dtls_resumptions_total", "result=\"resumed\""), 2.0);
}

#[test]
fn a_session_of_a_credential_that_was_changed_meanwhile_is_not_resumed() {
    let mut node = Node::start();
    declare(&node, "a");
    let mut dtls = psk("a");
    dtls.settings.attempts = 1;
    let mut raw = Raw::secured(node.coaps(), dtls);
    raw.register("ep=a&lwm2m=1.1", LINKS);
    // Nobody holds the device while its credential changes.
    node.kill();
    node.restart();
    let credential = Some(Admin::psk("a-id", b"another key here"));
    let device = Device { endpoint: "a".into(), credential, ..Device::default() };
    node.admin().update_device(device, &["credential"]).unwrap();
    assert!(raw.handshake(true).is_err(), "and its key opens no full handshake");
    assert_eq!(node.metric_sum("godwit_dtls_resumptions_total", "result=\"credential\""), 1.0);
}

#[test]
fn a_session_whose_suite_is_no_longer_offered_gives_way_to_a_full_handshake() {
    let mut node = Node::start();
    declare(&node, "a");
    let mut raw = Raw::secured(node.coaps(), psk("a"));
    let id = raw.register("ep=a&lwm2m=1.1", LINKS);
    node.kill();
    let suites = ["TLS_PSK_WITH_AES_128_CBC_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"];
    node.restart_with(format!("dtls.suites={suites:?}"));
    assert_eq!(raw.handshake(true), Ok(false), "offered, and not resumed");
    assert_eq!(update(&mut raw, &id), "2.04", "the registration stays");
    let resumptions =
        |result: &str| node.metric_sum("godwit_dtls_resumptions_total", &format!("result=\"{result}\""));
    assert_eq!((resumptions("mismatch"), resumptions("resumed")), (1.0, 0.0));
}

#[test]
fn a_device_that_registers_under_another_name_than_its_own_is_refused_with_an_event() {
    let node = Node::start();
    declare(&node, "a");
    let mut raw = Raw::secured(node.coaps(), psk("a"));
    let request = Message::request("POST", "/rd?ep=b&lwm2m=1.1").format(40).payload(LINKS);
    assert_eq!(raw.call(request).code(), "4.03");
    assert_eq!(
        node.sink().event("a", "refused")["data"]["data"]["reason"],
        "ep is not the endpoint of this credential"
    );
}

#[test]
fn a_new_handshake_takes_the_place_of_a_session() {
    let node = Node::start();
    declare(&node, "a");
    for dtls in [psk("a"), psk("a").without_cid()] {
        let mut raw = Raw::secured(node.coaps(), dtls);
        let id = raw.register("ep=a&lwm2m=1.1", LINKS);
        for _ in 0..4 {
            assert_eq!(raw.handshake(false), Ok(false));
            assert_eq!(update(&mut raw, &id), "2.04", "the registration stays");
        }
    }
}

#[test]
fn a_removed_device_has_no_session_any_more() {
    let node = Node::start();
    declare(&node, "a");
    let mut raw = Raw::secured(node.coaps(), psk("a"));
    raw.register("ep=a&lwm2m=1.1", LINKS);
    node.admin().delete_device("a").unwrap();
    wait("the session's end", || {
        (node.metric_sum("godwit_dtls_sessions_ended_total", "reason=\"revoked\"") == 1.0).then_some(())
    });
    raw.drain();
    assert!(!raw.is_open(), "it was told");
    node.sink().event("a", "deleted");
    let mut dtls = psk("a");
    dtls.settings.attempts = 1;
    assert!(Raw::try_secured(node.coaps(), dtls).is_err());
}

/// A client that sends each flight again after 200 ms, and thrice in all.
fn hasty(mut dtls: Dtls) -> Dtls {
    dtls.settings.backoff = Backoff { first: Duration::from_millis(200), ..Backoff::default() };
    dtls.settings.attempts = 3;
    dtls
}

/// The records of a datagram, none of them with a Connection ID.
fn records(mut datagram: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while !datagram.is_empty() {
        let length = 13 + usize::from(u16::from_be_bytes([datagram[11], datagram[12]]));
        let (record, rest) = datagram.split_at(length);
        records.push(record);
        datagram = rest;
    }
    records
}

#[test]
fn a_change_cipher_spec_may_be_lost_as_the_epoch_tells_what_it_would() {
    let node = Node::start();
    declare(&node, "a");
    let server = node.coaps();
    let mut lost = 0;
    let mut raw = Raw::secured_through(server, hasty(psk("a").without_cid()), |socket, datagram| {
        let (specs, others): (Vec<_>, Vec<_>) =
            records(datagram).into_iter().partition(|record| record[0] == CHANGE_CIPHER_SPEC);
        lost += specs.len();
        socket.send_to(&others.concat(), server).unwrap();
    })
    .unwrap();
    assert!(lost > 0);
    raw.register("ep=a&lwm2m=1.1", LINKS);
    assert_eq!(handshakes(&node), 1.0);
}

#[test]
fn a_finished_without_protection_ends_no_handshake() {
    let node = Node::start();
    declare(&node, "a");
    let tap = Proxy::tap(node.coaps());
    let mut bared = 0;
    let outcome = Raw::secured_through(tap.address(), hasty(psk("a").without_cid()), |socket, datagram| {
        let mut seen = tap.datagrams();
        let (at, client) = (SystemTime::now(), socket.local_addr().unwrap());
        let (server, bytes) = (node.coaps(), datagram.to_vec());
        seen.push(Datagram { at, up: true, client, server, bytes });
        let seen = Checker::new().psk("a-id", KEY).read(&seen);
        // The right Finished, but in the clear, and with no ChangeCipherSpec before it.
        let finished =
            seen.records().iter().rfind(|record| record.up).and_then(|record| record.content.clone());
        let plain = records(datagram)
            .into_iter()
            .filter(|record| record[0] != CHANGE_CIPHER_SPEC && record[3..5] == [0, 0])
            .collect::<Vec<_>>();
        let mut sent = plain.concat();
        if let Some(finished) = finished {
            bared += 1;
            sent.extend([22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 1, bared]);
            sent.extend((finished.len() as u16).to_be_bytes());
            sent.extend(finished);
        }
        socket.send_to(&sent, tap.address()).unwrap();
    });
    assert_eq!(outcome.err(), Some(Failure::Timeout));
    assert!(bared >= 3, "each time that it sent its last flight");
    assert_eq!(handshakes(&node), 0.0);
    assert_eq!(node.metric_sum("godwit_dtls_sessions", ""), 0.0);
    Raw::secured(node.coaps(), psk("a")).register("ep=a&lwm2m=1.1", LINKS);
}

#[test]
fn renegotiation_is_refused_and_the_session_goes_on() {
    for dtls in [psk("a"), psk("a").without_cid()] {
        let node = Node::start();
        declare(&node, "a");
        let tap = Proxy::tap(node.coaps());
        let mut raw = Raw::secured(tap.address(), dtls);
        let id = raw.register("ep=a&lwm2m=1.1", LINKS);
        let read = || Checker::new().psk("a-id", KEY).read(&tap.datagrams());
        let seen = read();
        let newest = seen.records().iter().filter(|record| record.up).map(|record| record.number).max();

        // The first ClientHello again, under the keys of the session.
        let hello = tap.datagrams()[0].bytes[13..].to_vec();
        let forged = seen.forge(0, 22, newest.unwrap() + 40, &hello).unwrap();
        raw.send_bytes(&forged);
        wait("the answer", || {
            let seen = read();
            let alert = seen.records().iter().find(|record| !record.up && record.content_type == 21)?;
            assert_eq!(alert.content.as_deref(), Some(&[1, 100][..]), "a warning, no_renegotiation");
            Some(())
        });
        assert_eq!(update(&mut raw, &id), "2.04");
        let seen = read();
        seen.assert_clean();
        assert_eq!((seen.sessions().len(), handshakes(&node)), (1, 1.0));
        assert_eq!(node.metric_sum("godwit_dtls_handshakes_in_flight", ""), 0.0);
    }
}

#[test]
fn libcoaps_client_registers_over_dtls() {
    let node = Node::start();
    declare(&node, "a");
    let uri = format!("coaps://{}/rd?ep=a&lwm2m=1.1", node.coaps());
    let key = String::from_utf8(KEY.to_vec()).unwrap();
    let arguments = ["-m", "post", "-t", "40", "-e", LINKS, "-u", "a-id", "-k", &key, "-B", "10", &uri];
    let Some(text) = godwit_tests::coap_client_openssl(&arguments) else { return };
    let registered = node.admin().registration("a");
    assert!(registered.is_ok(), "{text}");
}

#[test]
fn a_burst_of_handshakes_is_served() {
    let node = Setup::default().set("limits.handshakes_per_prefix=1000").start();
    let names: Vec<_> = (0..50).map(|number| format!("d{number}")).collect();
    names.iter().for_each(|name| declare(&node, name));
    std::thread::scope(|scope| {
        for name in &names {
            let node = &node;
            scope.spawn(move || {
                let mut raw = Raw::secured(node.coaps(), psk(name));
                raw.register(&format!("ep={name}&lwm2m=1.1"), LINKS);
            });
        }
    });
    assert_eq!(handshakes(&node), 50.0);
    let in_flight = || node.metric_sum("godwit_dtls_handshakes_in_flight", "");
    wait("all permits to come back", || (in_flight() == 0.0).then_some(()));
}
