//! What a node knows after its process was killed (point 2 of the issue).
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use coap_lite::{CoapOption, MessageType};
use godwit_proto::v1::operation::State;
use godwit_tests::{Leshan, Message, Node, Raw, Redis, Setup, reason, redis_available};

const LINKS: &str = "</>;rt=\"oma.lwm2m\";ct=110,</1/0>,</3/0>,</3303/0>";
const DAY: Duration = Duration::from_secs(86_400);

/// Where the node keeps what it knows.
struct Store(Option<Redis>);

impl Store {
    fn embedded() -> Option<Store> {
        Some(Store(None))
    }

    /// Written to disk before it is answered, by a server that outlives the node.
    fn redis() -> Option<Store> {
        redis_available().then(|| Store(Some(Redis::start())))
    }

    fn setup(&self) -> Setup {
        match &self.0 {
            Some(redis) => Setup::default().redis(redis),
            None => Setup::default(),
        }
    }
}

/// Runs each test on each store.
macro_rules! on_each_store {
    ($($test:ident),* $(,)?) => {
        on_each_store! { @ embedded $($test)* }
        on_each_store! { @ redis $($test)* }
    };
    (@ $store:ident $($test:ident)*) => {
        mod $store {
            $(#[test]
            fn $test() {
                if let Some(store) = super::Store::$store() {
                    super::$test(&store);
                }
            })*
        }
    };
}

on_each_store! {
    leshan_clients_notice_nothing_of_a_kill,
    queued_commands_go_out_after_a_kill,
    a_command_that_was_sent_before_a_kill_goes_out_again_byte_for_byte,
    a_raw_notification_after_a_kill_is_acknowledged_and_published,
    an_acknowledged_notification_that_comes_again_after_a_kill_has_the_same_id,
    a_register_that_a_crash_interrupts_before_its_commit_is_answered_anew,
    a_register_that_a_crash_interrupts_after_its_commit_is_answered_once,
    a_deregister_that_a_crash_interrupts_before_its_commit_is_carried_out_anew,
    a_deregister_that_a_crash_interrupts_after_its_commit_is_answered_once,
    a_device_whose_register_was_committed_in_a_crash_is_observed,
    a_lifetime_that_ends_while_the_node_is_down_ends_the_registration,
    an_alternate_root_and_its_objects_are_there_after_a_kill,
    devices_and_profiles_are_there_after_a_kill,
    a_node_that_is_asked_to_stop_drains_and_loses_nothing,
}

fn leshan_clients_notice_nothing_of_a_kill(store: &Store) {
    let Some(leshan) = Leshan::shared() else { return };
    let mut node = store.setup().set("registration.auto_create=demo").start();
    let names: Vec<_> = (0..8).map(|number| format!("survivor-{number}")).collect();
    let mut clients: Vec<_> = names.iter().map(|name| leshan.start(&node, name, &["ack=500"])).collect();
    let before: Vec<_> = clients.iter_mut().map(godwit_tests::Client::registered).collect();
    for name in &names {
        node.admin().wait_observations(name, &["/3/0/9", "/3303/0/5700"]);
    }

    node.kill();
    // Notified while nobody listens: Leshan repeats it until the node is back.
    for client in &clients {
        client.set("/3303/0/5700", "40.5");
    }
    node.restart();
    for name in &names {
        node.sink().is(name, "/3303/0/5700", 40.5);
    }
    for client in &clients {
        client.set("/3/0/9", "12");
    }
    for name in &names {
        node.sink().is(name, "/3/0/9", 12);
    }
    let admin = node.admin();
    for ((name, id), client) in names.iter().zip(before).zip(&mut clients) {
        assert_eq!(admin.registration(name).unwrap().registration_id, id);
        assert_eq!(admin.observations(name), ["/3/0/9", "/3303/0/5700"]);
        client.command("update", &[]);
        client.event("updated");
        assert_eq!(client.events("registered").len(), 1, "{name} registered once");
        let observes = client.events("request").into_iter().filter(|request| request["observe"] == 0).count();
        assert_eq!(observes, 2, "{name} was observed once");
    }
}

fn queued_commands_go_out_after_a_kill(store: &Store) {
    let mut node = store.setup().set("registration.awake_window=100ms").start();
    let mut raw = Raw::new(node.coap());
    let id = raw.register("ep=sleeps&lwm2m=1.1&Q", LINKS);
    node.sink().event("sleeps", "asleep");
    let admin = node.admin().queued(DAY);
    let queued =
        [admin.execute("sleeps", "/3/0/4", "").unwrap(), admin.write("sleeps", "/3/0/14", "+01").unwrap()];
    node.kill();
    node.restart();
    let admin = node.admin();
    let pending = admin.list_operations("sleeps", true);
    assert_eq!(
        pending.iter().map(|operation| &operation.name).collect::<Vec<_>>(),
        queued.iter().map(|operation| &operation.name).collect::<Vec<_>>()
    );
    assert_eq!(raw.call(Message::request("POST", &format!("/rd/{id}"))).code(), "2.04");
    for target in ["POST /3/0/4", "PUT /3/0/14"] {
        let request = raw.next("the next", Message::is_request);
        assert_eq!(request.target(), target);
        raw.send(&request.answer("2.04"));
    }
    for operation in &queued {
        assert_eq!(admin.wait_operation(&operation.name).state(), State::Succeeded);
    }
}

fn a_command_that_was_sent_before_a_kill_goes_out_again_byte_for_byte(store: &Store) {
    let mut node = store.setup().start();
    let mut raw = Raw::new(node.coap());
    let id = raw.register("ep=halfway&lwm2m=1.1", LINKS);
    let execute = node.admin().queued(DAY).execute("halfway", "/3/0/4", "").unwrap();
    let first = raw.next_request("POST /3/0/4");
    node.kill();
    node.restart();
    raw.drain();
    // The device's next message wakes its actor. What it is sent then it knows as a repetition, if it had it.
    assert_eq!(raw.call(Message::request("POST", &format!("/rd/{id}"))).code(), "2.04");
    assert_eq!(raw.next_request("POST /3/0/4"), first);
    raw.send(&first.answer("2.04"));
    assert_eq!(node.admin().wait_operation(&execute.name).state(), State::Succeeded);
}

fn a_raw_notification_after_a_kill_is_acknowledged_and_published(store: &Store) {
    let mut node = store.setup().start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=goes-on&lwm2m=1.1", LINKS);
    let admin = node.admin();
    let observe = std::thread::scope(|scope| {
        let observed = scope.spawn(|| admin.observe("goes-on", "/3/0/9"));
        let observe = raw.next_request("GET /3/0/9");
        raw.send(&observe.answer("2.05").observe(1).format(110).payload(*br#"[{"n":"/3/0/9","v":1}]"#));
        observed.join().unwrap().unwrap();
        observe
    });
    node.kill();
    node.restart();
    let notification = observe.notification(0x7001, 2).format(110).payload(*br#"[{"n":"/3/0/9","v":2}]"#);
    raw.send(&notification);
    raw.next("ACK", |message| {
        message.id() == 0x7001 && message.0.header.get_type() == MessageType::Acknowledgement
    });
    let mut sink = node.sink();
    sink.is("goes-on", "/3/0/9", 2);
    assert_eq!(raw.find(Duration::from_millis(100), Message::is_request), None, "nothing is asked anew");
}

fn an_acknowledged_notification_that_comes_again_after_a_kill_has_the_same_id(store: &Store) {
    let mut node = store.setup().start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=same&lwm2m=1.1", LINKS);
    let admin = node.admin();
    let observe = std::thread::scope(|scope| {
        let observed = scope.spawn(|| admin.observe("same", "/3/0/9"));
        let observe = raw.next_request("GET /3/0/9");
        raw.send(&observe.answer("2.05").observe(1).format(110).payload(*br#"[{"n":"/3/0/9","v":1}]"#));
        observed.join().unwrap().unwrap();
        observe
    });
    let notification = observe.notification(0x7001, 2).format(110).payload(*br#"[{"n":"/3/0/9","v":2}]"#);
    raw.send(&notification);
    raw.next("ACK", |message| message.id() == 0x7001);
    node.kill();
    node.restart();
    // As if the acknowledgement had been lost.
    raw.send(&notification);
    raw.next("ACK", |message| message.id() == 0x7001);
    let mut sink = node.sink();
    let first = sink.is("same", "/3/0/9", 2);
    let second = sink.is("same", "/3/0/9", 2);
    assert_eq!(first["id"], second["id"]);
    assert!(second["order"].as_str() > first["order"].as_str(), "{first} {second}");
}

fn a_register_that_a_crash_interrupts_before_its_commit_is_answered_anew(store: &Store) {
    let mut node = store.setup().failpoint("store.before_commit:register").start();
    let mut raw = Raw::new(node.coap());
    let register = Message::request("POST", "/rd?ep=crashes&lwm2m=1.1").format(40).payload(LINKS);
    let register = raw.numbered(register);
    raw.send(&register);
    node.wait_end();
    assert!(raw.drain().is_empty(), "no answer before the commit");
    node.restart();
    assert_eq!(reason(&node.admin().registration("crashes").unwrap_err()), "NOT_REGISTERED");
    let response = raw.exchange(&register);
    assert_eq!(response.code(), "2.01");
    let id = node.admin().registration("crashes").unwrap().registration_id;
    assert_eq!(response.text(CoapOption::LocationPath), format!("rd/{id}"));
    assert_registered_once(&node, "crashes");
}

fn a_register_that_a_crash_interrupts_after_its_commit_is_answered_once(store: &Store) {
    let mut node = store.setup().failpoint("store.after_commit:register").start();
    let mut raw = Raw::new(node.coap());
    let register = Message::request("POST", "/rd?ep=crashes&lwm2m=1.1").format(40).payload(LINKS);
    let register = raw.numbered(register);
    raw.send(&register);
    node.wait_end();
    assert!(raw.drain().is_empty(), "no answer yet");
    node.restart();
    let id = node.admin().registration("crashes").unwrap().registration_id;
    let response = raw.exchange(&register);
    assert_eq!(response.code(), "2.01");
    assert_eq!(response.text(CoapOption::LocationPath), format!("rd/{id}"), "the one that was committed");
    assert_eq!(raw.exchange(&register).text(CoapOption::LocationPath), format!("rd/{id}"));
    assert_eq!(raw.call(Message::request("POST", &format!("/rd/{id}"))).code(), "2.04");
    assert_registered_once(&node, "crashes");
}

fn a_deregister_that_a_crash_interrupts_before_its_commit_is_carried_out_anew(store: &Store) {
    let mut node = store.setup().failpoint("store.before_commit:deregister").start();
    let mut raw = Raw::new(node.coap());
    let id = raw.register("ep=leaves&lwm2m=1.1", LINKS);
    let deregister = raw.numbered(Message::request("DELETE", &format!("/rd/{id}")));
    raw.send(&deregister);
    node.wait_end();
    assert!(raw.drain().is_empty(), "no answer before the commit");
    node.restart();
    assert_eq!(node.admin().registration("leaves").unwrap().registration_id, id);
    assert_eq!(raw.exchange(&deregister).code(), "2.02");
    assert_eq!(reason(&node.admin().registration("leaves").unwrap_err()), "NOT_REGISTERED");
    node.sink().event("leaves", "deregistered");
}

fn a_deregister_that_a_crash_interrupts_after_its_commit_is_answered_once(store: &Store) {
    let mut node = store.setup().failpoint("store.after_commit:deregister").start();
    let mut raw = Raw::new(node.coap());
    let id = raw.register("ep=leaves&lwm2m=1.1", LINKS);
    let deregister = raw.numbered(Message::request("DELETE", &format!("/rd/{id}")));
    raw.send(&deregister);
    node.wait_end();
    assert!(raw.drain().is_empty(), "no answer yet");
    node.restart();
    assert_eq!(reason(&node.admin().registration("leaves").unwrap_err()), "NOT_REGISTERED");
    assert_eq!(raw.exchange(&deregister).code(), "2.02", "the answer to what was carried out");
    assert_eq!(raw.exchange(&deregister).code(), "2.02");
    node.sink().event("leaves", "deregistered");
    // Another one is another request.
    assert_eq!(raw.call(Message::request("DELETE", &format!("/rd/{id}"))).code(), "4.04");
}

fn a_device_whose_register_was_committed_in_a_crash_is_observed(store: &Store) {
    let setup = store.setup().set("registration.auto_create=demo");
    let mut node = setup.failpoint("store.after_commit:register").start();
    let mut raw = Raw::new(node.coap());
    let register = Message::request("POST", "/rd?ep=observed&lwm2m=1.1").format(40).payload(LINKS);
    let register = raw.numbered(register);
    raw.send(&register);
    node.wait_end();
    node.restart();
    assert_eq!(raw.exchange(&register).code(), "2.01");
    for path in ["/3/0/9", "/3303/0/5700"] {
        let observe = raw.next_request(&format!("GET {path}"));
        assert_eq!(observe.number(CoapOption::Observe), Some(0));
        let value = format!(r#"[{{"n":"{path}","v":5}}]"#);
        raw.send(&observe.answer("2.05").observe(1).format(110).payload(value));
    }
    node.sink().is("observed", "/3303/0/5700", 5.0);
}

fn assert_registered_once(node: &Node, endpoint: &str) {
    node.sink().event(endpoint, "registered");
    let records = node.sink().records();
    let mut ids: Vec<_> = records
        .iter()
        .filter(|record| record["endpoint"] == endpoint && record["data"]["type"] == "registered")
        .map(|record| record["id"].as_str().unwrap())
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "{records:?}");
}

fn a_lifetime_that_ends_while_the_node_is_down_ends_the_registration(store: &Store) {
    let mut node = store.setup().set("registration.lifetime_grace=1s").start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=outlived&lwm2m=1.1&lt=1", LINKS);
    node.kill();
    node.restart();
    node.sink().event("outlived", "expired");
    assert_eq!(reason(&node.admin().registration("outlived").unwrap_err()), "NOT_REGISTERED");
}

fn an_alternate_root_and_its_objects_are_there_after_a_kill(store: &Store) {
    let mut node = store.setup().start();
    let mut raw = Raw::new(node.coap());
    let links = "</lwm2m>;rt=\"oma.lwm2m\";ct=110,</lwm2m/1/0>,</lwm2m/3/0>";
    let id = raw.register("ep=rooted&lwm2m=1.1", links);
    node.kill();
    node.restart();
    let admin = node.admin();
    let registration = admin.registration("rooted").unwrap();
    assert_eq!(registration.root_path, "/lwm2m");
    assert_eq!(registration.objects.iter().map(|object| object.object).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(raw.call(Message::request("POST", &format!("/rd/{id}"))).code(), "2.04");
    std::thread::scope(|scope| {
        let execute = scope.spawn(|| admin.execute("rooted", "/3/0/4", ""));
        let request = raw.next_request("POST /lwm2m/3/0/4");
        raw.send(&request.answer("2.04"));
        execute.join().unwrap().unwrap();
    });
}

fn devices_and_profiles_are_there_after_a_kill(store: &Store) {
    let mut setup = store.setup();
    setup.set.retain(|setting| !setting.starts_with("registration."));
    let mut node = setup.start();
    let admin = node.admin();
    admin.profile(godwit_proto::v1::Profile {
        name: "profiles/kept".into(),
        observe: vec!["/3/0/9".into()],
        ..Default::default()
    });
    admin.device("kept", "kept");
    node.kill();
    node.restart();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=kept&lwm2m=1.1", LINKS);
    assert_eq!(raw.next("the observe", Message::is_request).target(), "GET /3/0/9");
}

fn a_node_that_is_asked_to_stop_drains_and_loses_nothing(store: &Store) {
    let mut node = store.setup().start();
    let mut raw = Raw::new(node.coap());
    let id = raw.register("ep=drained&lwm2m=1.1", LINKS);
    assert!(node.terminate().success());
    node.restart();
    assert_eq!(raw.call(Message::request("POST", &format!("/rd/{id}"))).code(), "2.04");
    assert_eq!(node.admin().registration("drained").unwrap().registration_id, id);
}
