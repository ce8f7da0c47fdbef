//! Commands to devices that sleep (scenario 26 on one node).
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use coap_lite::MessageType;
use godwit_proto::v1::{Operation, operation::State, value::Kind};
use godwit_tests::{Leshan, Message, Node, Raw, Setup, reason, value, wait};

const LINKS: &str = "</>;rt=\"oma.lwm2m\";ct=110,</1/0>,</3/0>,</3303/0>";
const DAY: Duration = Duration::from_secs(86_400);

/// A node whose devices sleep at once when nothing goes on.
fn node(awake: &str) -> Node {
    Setup::default().set(format!("registration.awake_window={awake}")).start()
}

fn ids(operations: &[Operation]) -> Vec<&str> {
    operations.iter().map(|operation| operation.name.as_str()).collect()
}

#[test]
fn commands_wait_for_the_next_uplink_and_go_out_in_order() {
    let node = node("100ms");
    let (admin, mut sink) = (node.admin(), node.sink());
    let mut raw = Raw::device(&node, "sleeper");
    let id = raw.register("ep=sleeper&lwm2m=1.1&Q", LINKS);
    sink.event("sleeper", "asleep");

    let queue = admin.queued(DAY);
    let queued = [
        queue.write("sleeper", "/3/0/14", "+01").unwrap(),
        queue.execute("sleeper", "/3/0/4", "").unwrap(),
        queue.read("sleeper", "/3/0/9").unwrap(),
    ];
    assert!(queued.iter().all(|operation| operation.state() == State::Queued), "{queued:?}");
    assert_eq!(ids(&admin.list_operations("sleeper", true)), ids(&queued));
    assert_eq!(raw.find(Duration::from_millis(300), Message::is_request), None, "it sleeps");

    assert_eq!(raw.call(Message::request("POST", &format!("/rd/{id}"))).code(), "2.04");
    let write = raw.next("the first", Message::is_request);
    assert_eq!((write.target(), write.body().contains("+01")), ("PUT /3/0/14".into(), true));
    assert_eq!(raw.find(Duration::from_millis(100), |other| other.is_request() && *other != write), None);
    raw.send(&write.answer("2.04"));
    let execute = raw.next("the second", |other| other.is_request() && *other != write);
    assert_eq!(execute.target(), "POST /3/0/4");
    raw.send(&execute.answer("2.04"));
    let read = raw.next_request("GET /3/0/9");
    raw.send(&read.answer("2.05").format(110).payload(*br#"[{"n":"/3/0/9","v":33}]"#));

    let ended: Vec<_> = queued.iter().map(|operation| admin.wait_operation(&operation.name)).collect();
    assert!(ended.iter().all(|operation| operation.state() == State::Succeeded), "{ended:?}");
    assert_eq!(value(&ended[2], "/3/0/9"), Kind::Integer(33));
    assert!(admin.list_operations("sleeper", true).is_empty());
    let result = sink.next("the read's result", |record| {
        record["type"] == "dev.godwit.operation.v1" && record["data"]["command"] == "read"
    });
    assert_eq!(result["data"]["state"], "SUCCEEDED");
    sink.event("sleeper", "asleep");
}

#[test]
fn a_command_ends_with_its_ttl() {
    let node = node("100ms");
    let (admin, mut sink) = (node.admin(), node.sink());
    let mut raw = Raw::device(&node, "expires");
    let id = raw.register("ep=expires&lwm2m=1.1&Q", LINKS);
    sink.event("expires", "asleep");
    let brief = admin.queued(Duration::from_secs(1)).read("expires", "/3/0/9").unwrap();
    let long = admin.queued(DAY).read("expires", "/3/0/10").unwrap();
    let ended = sink.next("its end", |record| record["data"]["state"] == "EXPIRED");
    assert_eq!(ended["data"]["reason"], "TTL");
    assert!(brief.name.ends_with(ended["data"]["operation"].as_str().unwrap()));

    raw.call(Message::request("POST", &format!("/rd/{id}")));
    assert_eq!(raw.next("what did not expire", Message::is_request).target(), "GET /3/0/10");
    assert_eq!(ids(&admin.list_operations("expires", true)), [long.name.as_str()]);
}

#[test]
fn a_command_that_waits_can_be_cancelled() {
    let node = node("100ms");
    let admin = node.admin();
    let mut raw = Raw::device(&node, "cancels");
    let id = raw.register("ep=cancels&lwm2m=1.1&Q", LINKS);
    node.sink().event("cancels", "asleep");
    let first = admin.queued(DAY).read("cancels", "/3/0/9").unwrap();
    let second = admin.queued(DAY).read("cancels", "/3/0/10").unwrap();
    assert_eq!(admin.cancel_operation(&first.name).unwrap().state(), State::Cancelled);
    raw.call(Message::request("POST", &format!("/rd/{id}")));
    assert_eq!(raw.next("the other", Message::is_request).target(), "GET /3/0/10");
    assert_eq!(reason(&admin.cancel_operation(&second.name).unwrap_err()), "NOT_CANCELLABLE");
}

#[test]
fn a_queue_has_a_bound() {
    let node =
        Setup::default().set("registration.awake_window=100ms").set("limits.queued_operations=3").start();
    let admin = node.admin().queued(DAY);
    let mut raw = Raw::device(&node, "bounded");
    raw.register("ep=bounded&lwm2m=1.1&Q", LINKS);
    node.sink().event("bounded", "asleep");
    for _ in 0..3 {
        admin.read("bounded", "/3/0/9").unwrap();
    }
    let error = admin.read("bounded", "/3/0/9").unwrap_err();
    assert_eq!(reason(&error), "QUEUE_FULL", "{error}");
}

#[test]
fn a_command_is_queued_for_a_device_that_is_not_registered() {
    let node = Node::start();
    let admin = node.admin();
    admin.device("absent", "default");
    let error = admin.read("absent", "/3/0/9").unwrap_err();
    assert_eq!(reason(&error), "NOT_REGISTERED");
    let queued = admin.queued(DAY).read("absent", "/3/0/9").unwrap();
    assert_eq!(queued.state(), State::Queued);
    let mut raw = Raw::device(&node, "absent");
    raw.register("ep=absent&lwm2m=1.1", LINKS);
    let read = raw.next_request("GET /3/0/9");
    raw.send(&read.answer("2.05").format(110).payload(*br#"[{"n":"/3/0/9","v":3}]"#));
    assert_eq!(value(&admin.wait_operation(&queued.name), "/3/0/9"), Kind::Integer(3));
}

#[test]
fn a_command_that_a_device_does_not_answer_waits_for_its_next_uplink() {
    let node = Setup::default()
        .set("registration.awake_window=30s")
        .set("coap.ack_timeout=30ms")
        .set("coap.max_retransmit=2")
        .start();
    let admin = node.admin();
    let mut raw = Raw::device(&node, "dozes");
    let id = raw.register("ep=dozes&lwm2m=1.1&Q", LINKS);
    let queued = admin.queued(DAY).read("dozes", "/3/0/9").unwrap();
    let first = raw.next_request("GET /3/0/9");
    for _ in 0..2 {
        raw.next_request("GET /3/0/9");
    }
    wait("the command's return to its queue", || {
        (admin.operation(&queued.name).unwrap().state() == State::Queued).then_some(())
    });
    raw.call(Message::request("POST", &format!("/rd/{id}")));
    let again = raw.next_request("GET /3/0/9");
    assert_ne!(again.id(), first.id(), "a new exchange");
    raw.send(&again.answer("2.05").format(110).payload(*br#"[{"n":"/3/0/9","v":4}]"#));
    let ended = admin.wait_operation(&queued.name);
    assert_eq!((value(&ended, "/3/0/9"), ended.attempts), (Kind::Integer(4), 2));
}

#[test]
fn a_notification_wakes_a_device_too() {
    let node = node("100ms");
    let (admin, mut sink) = (node.admin(), node.sink());
    let mut raw = Raw::device(&node, "notifies");
    raw.register("ep=notifies&lwm2m=1.1&Q", LINKS);
    let observe = std::thread::scope(|scope| {
        let observed = scope.spawn(|| admin.observe("notifies", "/3/0/9"));
        let observe = raw.next_request("GET /3/0/9");
        raw.send(&observe.answer("2.05").observe(1).format(110).payload(*br#"[{"n":"/3/0/9","v":1}]"#));
        observed.join().unwrap().unwrap();
        observe
    });
    sink.event("notifies", "asleep");
    let queued = admin.queued(DAY).execute("notifies", "/3/0/4", "").unwrap();
    raw.send(&observe.notification(0x7001, 2).format(110).payload(*br#"[{"n":"/3/0/9","v":2}]"#));
    raw.next("ACK", |message| message.id() == 0x7001);
    let execute = raw.next_request("POST /3/0/4");
    raw.send(&execute.answer("2.04"));
    assert_eq!(admin.wait_operation(&queued.name).state(), State::Succeeded);
    sink.is("notifies", "/3/0/9", 2);
}

#[test]
fn a_sleeping_leshan_client_gets_its_commands_in_order() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = node("200ms");
    let admin = node.admin().queued(DAY);
    let mut client = leshan.start(&node, "leshan-sleeps", &["queue=true", "version=1.0"]);
    client.registered();
    node.sink().event("leshan-sleeps", "asleep");
    let queued: Vec<_> = (0..10)
        .map(|count| admin.write("leshan-sleeps", "/3442/0/120", &count.to_string()).unwrap())
        .collect();
    assert_eq!(client.events("request").len(), 0);
    client.command("update", &[]);
    for operation in &queued {
        assert_eq!(admin.wait_operation(&operation.name).state(), State::Succeeded);
    }
    let written: Vec<_> = client
        .events("write")
        .iter()
        .map(|write| write["values"]["/3442/0/120"].as_str().unwrap().parse::<u32>().unwrap())
        .collect();
    assert_eq!(written, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_request_id_makes_a_command_go_out_once() {
    let node = Node::start();
    let mut raw = Raw::device(&node, "once");
    raw.register("ep=once&lwm2m=1.1", LINKS);
    let delivery = godwit_proto::v1::Delivery {
        queue: true,
        request_id: "01890a5d-ac96-774b-bcce-b302099a8057".into(),
        ..Default::default()
    };
    let admin = node.admin().delivering(delivery);
    let first = admin.execute("once", "/3/0/4", "").unwrap();
    let request = raw.next_request("POST /3/0/4");
    raw.send(&request.answer("2.04"));
    admin.wait_operation(&first.name);
    let second = admin.execute("once", "/3/0/4", "").unwrap();
    assert_eq!((first.name, State::Succeeded), (second.name.clone(), second.state()));
    assert_eq!(
        raw.find(Duration::from_millis(200), |message| message.is_request() && *message != request),
        None
    );
    assert!(raw.drain().iter().all(|message| message.0.header.get_type() != MessageType::Confirmable));
}
