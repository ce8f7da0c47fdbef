//! What the log must not tell (architecture.md, "Security").
#![allow(missing_docs, clippy::unwrap_used)]

use godwit_proto::v1::{
    Credential, Device,
    credential::{Psk, psk::Secret},
};
use godwit_tests::{Message, Node, Raw, Setup};

/// 16 bytes, in hex and as they are.
const SECRET: &str = "6b1f0e5d9c3a48b7a2d4c6e8f0135799";
/// A host that no other test uses.
const HOST: &str = "127.77.66.55";

/// A day in the life of devices, with what makes a node talk: refusals, garbage, strangers, a restart.
fn busy(level: &str) -> Node {
    let mut node = Setup::default().set(format!("log.level={level}")).start();
    let secret = Some(Secret::Hex(SECRET.to_owned()));
    let psk = Psk { identity: "locked-identity".into(), secret };
    let credential = Some(Credential { psk: Some(psk), ..Credential::default() });
    let device = Device { endpoint: "locked".into(), credential, ..Device::default() };
    node.admin().create_device(device).unwrap();

    let mut raw = Raw::bound(format!("{HOST}:0").parse().unwrap(), node.coap());
    let id = raw.register("ep=open&lwm2m=1.1&lt=300", "</1/0>,</3/0>");
    let locked = Message::request("POST", "/rd?ep=locked&lwm2m=1.1").format(40).payload("</1/0>");
    assert_eq!(raw.call(locked).code(), "4.03", "a PSK device on the plain port");
    raw.send_bytes(&[0x40, 0x02, 0x00]);
    raw.send_bytes(&[0xff; 40]);
    let mut stranger = Raw::bound(format!("{HOST}:0").parse().unwrap(), node.coap());
    assert_eq!(stranger.call(Message::request("POST", &format!("/rd/{id}"))).code(), "4.03");
    node.kill();
    node.restart();
    assert_eq!(raw.call(Message::request("POST", &format!("/rd/{id}"))).code(), "2.04");
    node.terminate();
    node
}

fn assert_silent(log: &str, words: &[&str]) {
    assert!(log.contains("serving"), "the log is there:\n{log}");
    for word in words {
        assert!(!log.to_lowercase().contains(word), "{word} in the log:\n{log}");
    }
}

#[test]
fn no_device_address_is_in_the_log_above_debug() {
    assert_silent(&busy("info").log(), &[HOST, SECRET]);
}

#[test]
fn a_profile_for_strangers_that_there_is_not_is_named_at_the_start() {
    let node = Setup::default().set("registration.auto_create=nope").start();
    let log = node.log();
    let line = log.lines().find(|line| line.contains("registration.auto_create")).unwrap_or_default();
    assert!(line.contains("WARN") && line.contains("nope") && line.contains("no profile"), "{log}");
}

#[test]
fn no_secret_is_in_the_log_at_any_level() {
    let node = busy("trace");
    let bytes = (0..16).map(|at| u8::from_str_radix(&SECRET[2 * at..2 * at + 2], 16).unwrap());
    let debug = format!("{:?}", bytes.collect::<Vec<_>>());
    // The key that seals it, too.
    let key = std::fs::read_to_string(node.data_dir().join("secrets/store.key")).unwrap();
    assert_silent(&node.log(), &[SECRET, &debug, key.trim()]);
}
