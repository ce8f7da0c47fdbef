//! Registration by the Leshan client (scenarios 1, 2, 3, 6).
#![allow(missing_docs, clippy::unwrap_used)]

use godwit_tests::{Leshan, Node, Setup, reason};

#[test]
fn a_client_registers_updates_and_deregisters() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    let (admin, mut sink) = (node.admin(), node.sink());

    let mut client = leshan.start(&node, "plain", &["lifetime=120"]);
    let id = client.registered();
    let registration = admin.registration("plain").unwrap();
    assert_eq!(registration.registration_id, id);
    assert_eq!(registration.lwm2m_version, "1.1");
    assert_eq!(registration.lifetime.unwrap().seconds, 120);
    assert_eq!((registration.binding.as_str(), registration.queue_mode), ("U", false));
    let objects: Vec<_> = registration
        .objects
        .iter()
        .map(|object| (object.object, object.version.as_str(), object.instances.as_slice()))
        .collect();
    assert_eq!(objects, [(1, "1.1", &[0][..]), (3, "1.2", &[0]), (3303, "1.0", &[0]), (3442, "1.0", &[0])]);
    assert_eq!(registration.content_formats, [60, 110, 112, 11542, 11543]);
    assert_eq!(sink.event("plain", "registered")["data"]["data"]["lifetime"], 120);

    // An update that changes nothing is no event.
    client.command("update", &[]);
    client.event("updated");
    assert_eq!(admin.registration("plain").unwrap().registration_id, id);

    client.command("deregister", &[]);
    client.event("deregistered");
    sink.event("plain", "deregistered");
    assert_eq!(reason(&admin.registration("plain").unwrap_err()), "NOT_REGISTERED");
}

#[test]
fn an_update_tells_of_new_objects() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    let (admin, mut sink) = (node.admin(), node.sink());

    let mut client = leshan.start(&node, "growing", &[]);
    client.registered();
    client.command("add", &["/3303/7"]);
    client.event("updated");
    let registration = admin.wait_registration("growing", |registration| {
        registration.objects.iter().any(|object| object.object == 3303 && object.instances == [0, 7])
    });
    assert_eq!(registration.objects.len(), 4);
    assert_eq!(sink.event("growing", "updated")["data"]["data"]["objectsChanged"], true);
}

#[test]
fn a_new_registration_replaces_the_old_one_and_its_observations() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    let (admin, mut sink) = (node.admin(), node.sink());

    let mut first = leshan.start(&node, "again", &[]);
    let old = first.registered();
    admin.observe("again", "/3303/0/5700").unwrap();
    assert_eq!(admin.observations("again"), ["/3303/0/5700"]);

    let mut second = leshan.start(&node, "again", &[]);
    let new = second.registered();
    assert_ne!(old, new);
    assert_eq!(
        sink.next("replacement", |record| record["data"]["data"]["replaced"] == true)["endpoint"],
        "again"
    );
    assert_eq!(admin.registration("again").unwrap().registration_id, new);
    assert_eq!(admin.observations("again"), [""; 0]);

    // The first client still believes in its observation: a notification of it is refused by RST.
    first.set("/3303/0/5700", "99.5");
    first.next("RST", |event| event["event"] == "empty" && event["type"] == "RST");
    assert_eq!(sink.values("again", "/3303/0/5700"), [serde_json::json!(21.5)]);
}

#[test]
fn a_registration_that_is_not_renewed_expires_once() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Setup::default().set("registration.lifetime_grace=1s").start();
    let (admin, mut sink) = (node.admin(), node.sink());

    let mut client = leshan.start(&node, "brief", &["lifetime=2"]);
    client.registered();
    client.command("stop", &[]);
    sink.event("brief", "expired");
    assert_eq!(reason(&admin.registration("brief").unwrap_err()), "NOT_REGISTERED");

    leshan.start(&node, "brief", &[]).registered();
    sink.event("brief", "registered");
    let records = sink.records();
    let expired = records.iter().filter(|record| record["data"]["type"] == "expired").count();
    assert!(expired == 1, "{expired} expirations");
}

#[test]
fn queue_mode_is_known_from_the_q_of_1_1() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    leshan.start(&node, "sleeper", &["queue=true"]).registered();
    let registration = node.admin().registration("sleeper").unwrap();
    assert_eq!((registration.binding.as_str(), registration.queue_mode), ("U", true));
}

#[test]
fn queue_mode_is_known_from_the_binding_of_1_0() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    leshan.start(&node, "old-sleeper", &["version=1.0", "queue=true"]).registered();
    let registration = node.admin().registration("old-sleeper").unwrap();
    assert_eq!(registration.lwm2m_version, "1.0");
    assert_eq!((registration.binding.as_str(), registration.queue_mode), ("U", true));
}
