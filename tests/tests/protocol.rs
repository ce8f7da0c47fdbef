//! What a scripted client sees on the wire (scenarios 4, 5, 6 for 1.2, 7, 19, 25).
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use coap_lite::{CoapOption, MessageType};
use godwit_proto::v1::{operation::State, value::Kind};
use godwit_tests::{Message, Node, Raw, Setup, reason, value};
use tonic::Code;

const LINKS: &str = "</>;rt=\"oma.lwm2m\";ct=\"110 112\",</1/0>,</3/0>,</3303/0>";

fn register(query: &str) -> Message {
    Message::request("POST", &format!("/rd?{query}")).format(40).payload(LINKS)
}

#[test]
fn an_unknown_registration_is_not_found() {
    let node = Node::start();
    let mut raw = Raw::new(node.coap());
    for method in ["POST", "DELETE"] {
        assert_eq!(raw.call(Message::request(method, "/rd/AAAAAAAAAAAA")).code(), "4.04");
        assert_eq!(raw.call(Message::request(method, "/rd/x")).code(), "4.04");
    }
    let id = raw.register("ep=known&lwm2m=1.1", LINKS);
    assert_eq!(raw.call(Message::request("POST", &format!("/rd/{id}"))).code(), "2.04");
    assert_eq!(raw.call(Message::request("DELETE", &format!("/rd/{id}"))).code(), "2.02");
    assert_eq!(raw.call(Message::request("POST", &format!("/rd/{id}"))).code(), "4.04");
    assert_eq!(raw.call(Message::request("DELETE", &format!("/rd/{id}"))).code(), "4.04");
}

#[test]
fn bad_registrations_are_refused_with_the_code_for_it() {
    let node = Node::start();
    let mut raw = Raw::new(node.coap());
    let with = |links: &str| register("ep=bad&lwm2m=1.1").payload(links);
    let cases = [
        ("lt is a word", register("ep=bad&lwm2m=1.1&lt=abc"), "4.00"),
        ("lt is empty", register("ep=bad&lwm2m=1.1&lt="), "4.00"),
        ("lt is negative", register("ep=bad&lwm2m=1.1&lt=-5"), "4.00"),
        ("lt is a fraction", register("ep=bad&lwm2m=1.1&lt=1.5"), "4.00"),
        ("lt is too big", register("ep=bad&lwm2m=1.1&lt=99999999999999999999"), "4.00"),
        ("lt is 0 under 1.0", register("ep=bad&lwm2m=1.0&lt=0"), "4.00"),
        ("lt twice", register("ep=bad&lwm2m=1.1&lt=60&lt=70"), "4.00"),
        ("an unknown letter", register("ep=bad&lwm2m=1.1&b=X"), "4.00"),
        ("1.0's UQ under 1.1", register("ep=bad&lwm2m=1.1&b=UQ"), "4.00"),
        ("1.1's T under 1.0", register("ep=bad&lwm2m=1.0&b=T"), "4.00"),
        ("1.2's M under 1.1", register("ep=bad&lwm2m=1.1&b=UM"), "4.00"),
        ("no name", register("lwm2m=1.1"), "4.00"),
        ("an empty name", register("ep=&lwm2m=1.1"), "4.00"),
        ("a name with a control character", register("ep=a\u{1}b&lwm2m=1.1"), "4.00"),
        ("no links", with(""), "4.00"),
        ("broken links", with("</3/0"), "4.00"),
        ("no link format", with("hello"), "4.00"),
        ("not UTF-8", register("ep=bad&lwm2m=1.1").payload(*b"</3/0>;x=\"\xff\""), "4.00"),
        ("version 0.9", register("ep=bad&lwm2m=0.9"), "4.12"),
        ("version 1.3", register("ep=bad&lwm2m=1.3"), "4.12"),
        ("version 2.0", register("ep=bad&lwm2m=2.0"), "4.12"),
        ("a version that is none", register("ep=bad&lwm2m=new"), "4.12"),
        ("GET", Message::request("GET", "/rd?ep=bad"), "4.05"),
        ("PUT", Message::request("PUT", "/rd?ep=bad").format(40).payload(LINKS), "4.05"),
        ("FETCH", Message::request("FETCH", "/rd"), "4.05"),
        ("PUT of a registration", Message::request("PUT", "/rd/AAAAAAAAAAAA"), "4.05"),
        ("GET of a registration", Message::request("GET", "/rd/AAAAAAAAAAAA"), "4.05"),
        ("text", Message::request("POST", "/rd?ep=bad&lwm2m=1.1").format(0).payload(LINKS), "4.15"),
        ("TLV", Message::request("POST", "/rd?ep=bad&lwm2m=1.1").format(11542).payload(LINKS), "4.15"),
        (
            "an Accept that nothing meets",
            Message::request("GET", "/.well-known/core").uint(CoapOption::Accept, 50),
            "4.06",
        ),
        ("a path that is not there", Message::request("POST", "/nowhere"), "4.04"),
        ("a path below a registration", Message::request("POST", "/rd/AAAAAAAAAAAA/x"), "4.04"),
        (
            "a block that does not follow",
            register("ep=bad&lwm2m=1.1").block(CoapOption::Block1, 3, true, 64).payload([b' '; 64]),
            "4.08",
        ),
        (
            "a body above the limit",
            register("ep=bad&lwm2m=1.1")
                .uint(CoapOption::Size1, 1 << 20)
                .block(CoapOption::Block1, 0, true, 64)
                .payload([b' '; 64]),
            "4.13",
        ),
        (
            "a critical option that nobody knows",
            register("ep=bad&lwm2m=1.1").option(CoapOption::Unknown(65001), *b"x"),
            "4.02",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, request, code) in cases {
        let response = raw.call(request);
        if response.code() != code {
            wrong.push(format!("{what}: {} in place of {code}: {}", response.code(), response.body()));
        } else if code == "4.00" && response.body().is_empty() {
            wrong.push(format!("{what}: no diagnostic"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(reason(&node.admin().registration("bad").unwrap_err()), "NO_SUCH_DEVICE");
}

#[test]
fn bad_updates_are_refused_and_change_nothing() {
    let node = Node::start();
    let mut raw = Raw::new(node.coap());
    let id = raw.register("ep=steady&lwm2m=1.1&lt=600", LINKS);
    let update = |query: &str| Message::request("POST", &format!("/rd/{id}?{query}"));
    let cases = [
        (update("lt=abc"), "4.00"),
        (update("lt=-1"), "4.00"),
        (update("b=Z"), "4.00"),
        (update("").format(40).payload("</3/0"), "4.00"),
        (update("").format(0).payload(LINKS), "4.15"),
    ];
    for (request, code) in cases {
        let response = raw.call(request.clone());
        assert_eq!(response.code(), code, "{request:?}");
    }
    let registration = node.admin().registration("steady").unwrap();
    assert_eq!(registration.lifetime.unwrap().seconds, 600);
    assert_eq!(raw.call(update("lt=700")).code(), "2.04");
    assert_eq!(node.admin().registration("steady").unwrap().lifetime.unwrap().seconds, 700);
}

#[test]
fn what_is_no_coap_gets_a_reset_or_nothing() {
    let node = Node::start();
    let mut raw = Raw::new(node.coap());
    // Version 2; a token of 9 bytes; an option that goes past the end; a payload marker without a payload.
    for bytes in [
        &[0x80, 0x01, 0x00, 0x01][..],
        &[0x49, 0x01, 0x00, 0x02, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        &[0x40, 0x01, 0x00, 0x03, 0xb9, b'r', b'd'],
        &[0x40, 0x01, 0x00, 0x04, 0xb2, b'r', b'd', 0xff],
        &[0x40],
        &[],
    ] {
        raw.send_bytes(bytes);
        raw.ping();
    }
    for message in raw.drain() {
        assert!(is(&message, MessageType::Reset), "{message:?}");
    }
    // An unknown critical option in a message that is not confirmable gets silence or RST, not 4.02.
    let unknown = register("ep=x&lwm2m=1.1").option(CoapOption::Unknown(65001), *b"x");
    let unknown = raw.numbered(unknown.kind(MessageType::NonConfirmable));
    raw.send(&unknown);
    raw.ping();
    for message in raw.drain() {
        assert!(is(&message, MessageType::Reset), "{message:?}");
    }
}

fn is(message: &Message, kind: MessageType) -> bool {
    message.0.header.get_type() == kind
}

#[test]
fn a_client_of_1_2_registers() {
    let node = Node::start();
    let mut raw = Raw::new(node.coap());
    let links = "</>;rt=\"oma.lwm2m\";ct=\"60 110 112 11542 11544\",</1/0>;ver=1.2,</3/0>;ver=1.2";
    raw.register("ep=new&lwm2m=1.2&lt=0&b=UMH&Q", links);
    let registration = node.admin().registration("new").unwrap();
    assert_eq!(registration.lwm2m_version, "1.2");
    assert_eq!((registration.binding.as_str(), registration.queue_mode), ("UMH", true));
    assert_eq!(registration.lifetime.unwrap().seconds, 365 * 86_400, "infinite, up to the cap");
    assert_eq!(registration.content_formats, [60, 110, 112, 11542, 11544]);
}

#[test]
fn an_alternate_root_is_kept_and_used() {
    let node = Node::start();
    let admin = node.admin();
    let mut raw = Raw::new(node.coap());
    let links = "</lwm2m>;rt=\"oma.lwm2m\";ct=110,</lwm2m/1/0>,</lwm2m/3/0>";
    raw.register("ep=rooted&lwm2m=1.1", links);
    let registration = admin.registration("rooted").unwrap();
    assert_eq!(registration.root_path, "/lwm2m");
    assert_eq!(registration.objects.iter().map(|object| object.object).collect::<Vec<_>>(), [1, 3]);

    std::thread::scope(|scope| {
        let read = scope.spawn(|| admin.read("rooted", "/3/0/9"));
        let request = raw.next_request("GET /lwm2m/3/0/9");
        assert_eq!(request.number(CoapOption::Accept), Some(110));
        let name = br#"[{"bn":"/3/0/9","v":42}]"#;
        raw.send(&request.answer("2.05").format(110).payload(*name));
        let read = read.join().unwrap().unwrap();
        assert_eq!(value(&read, "/3/0/9"), Kind::Integer(42));
    });
}

#[test]
fn a_device_that_does_not_acknowledge_is_given_up() {
    let node = Setup::default().set("coap.ack_timeout=50ms").set("coap.max_retransmit=3").start();
    let admin = node.admin();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=silent&lwm2m=1.1", LINKS);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| admin.read("silent", "/3/0/9"));
        let first = raw.next_request("GET /3/0/9");
        for _ in 0..3 {
            assert_eq!(raw.next_request("GET /3/0/9"), first, "a retransmission is the same datagram");
        }
        let error = read.join().unwrap().unwrap_err();
        assert_eq!(reason(&error), "DEVICE_TIMEOUT", "{error}");
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        assert!(raw.drain().is_empty(), "one transmission and three retransmissions");
    });
}

#[test]
fn a_late_separate_response_is_taken() {
    let node = Setup::default().set("coap.ack_timeout=50ms").start();
    let admin = node.admin();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=late&lwm2m=1.1", LINKS);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| admin.read("late", "/3/0/9"));
        let request = raw.next_request("GET /3/0/9");
        raw.send(&Message::empty(MessageType::Acknowledgement, request.id()));
        // Longer than any retransmission would take: the acknowledgement has ended them.
        assert_eq!(raw.find(Duration::from_millis(500), Message::is_request), None);
        let id = raw.fresh_id();
        let answer = request.answer("2.05").format(110).payload(*br#"[{"n":"/3/0/9","v":7}]"#);
        let mut answer = answer.kind(MessageType::Confirmable);
        answer.0.header.message_id = id;
        raw.send(&answer);
        raw.next("ACK", |message| message.id() == id && is(message, MessageType::Acknowledgement));
        assert_eq!(value(&read.join().unwrap().unwrap(), "/3/0/9"), Kind::Integer(7));
        // Its repetition is acknowledged again.
        raw.send(&answer);
        raw.next("ACK", |message| message.id() == id && is(message, MessageType::Acknowledgement));
    });
}

#[test]
fn a_separate_response_that_overtakes_its_acknowledgement_is_taken() {
    let node = Setup::default().set("coap.ack_timeout=50ms").start();
    let admin = node.admin();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=overtakes&lwm2m=1.1", LINKS);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| admin.read("overtakes", "/3/0/9"));
        let request = raw.next_request("GET /3/0/9");
        let answer = request.answer("2.05").format(110).payload(*br#"[{"n":"/3/0/9","v":8}]"#);
        let mut answer = answer.kind(MessageType::Confirmable);
        answer.0.header.message_id = raw.fresh_id();
        raw.send(&answer);
        raw.next("ACK", |message| is(message, MessageType::Acknowledgement));
        raw.send(&Message::empty(MessageType::Acknowledgement, request.id()));
        assert_eq!(value(&read.join().unwrap().unwrap(), "/3/0/9"), Kind::Integer(8));
        assert_eq!(raw.find(Duration::from_millis(300), Message::is_request), None);
    });
}

#[test]
fn a_reset_ends_a_command() {
    let node = Node::start();
    let admin = node.admin();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=resets&lwm2m=1.1", LINKS);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| admin.read("resets", "/3/0/9"));
        let request = raw.next_request("GET /3/0/9");
        raw.send(&Message::empty(MessageType::Reset, request.id()));
        let error = read.join().unwrap().unwrap_err();
        assert_eq!(reason(&error), "DEVICE_RESET", "{error}");
    });
}

#[test]
fn a_device_that_speaks_from_another_address_is_refused() {
    let node = Node::start();
    let admin = node.admin();
    let mut home = Raw::new(node.coap());
    let mut away = Raw::bound("127.0.0.9:0".parse().unwrap(), node.coap());
    let id = home.register("ep=moves&lwm2m=1.1", LINKS);

    assert_eq!(away.call(Message::request("POST", &format!("/rd/{id}"))).code(), "4.03");
    assert_eq!(away.call(Message::request("DELETE", &format!("/rd/{id}"))).code(), "4.03");
    let send = Message::request("POST", "/dp").format(110).payload(*br#"[{"n":"/3/0/9","v":66}]"#);
    assert_eq!(away.call(send).code(), "4.03");

    // An observation of the device's: its notifications count from home only.
    let observe = std::thread::scope(|scope| {
        let observed = scope.spawn(|| admin.observe("moves", "/3/0/9"));
        let observe = home.next_request("GET /3/0/9");
        home.send(&observe.answer("2.05").observe(1).format(110).payload(*br#"[{"n":"/3/0/9","v":1}]"#));
        observed.join().unwrap().unwrap();
        observe
    });
    let value = |number: u32| format!(r#"[{{"n":"/3/0/9","v":{number}}}]"#);
    away.send(&observe.notification(0x7001, 2).format(110).payload(value(66)));
    away.next("RST", |message| message.id() == 0x7001 && is(message, MessageType::Reset));
    home.send(&observe.notification(0x7002, 3).format(110).payload(value(2)));
    home.next("ACK", |message| message.id() == 0x7002 && is(message, MessageType::Acknowledgement));
    assert_eq!(home.call(Message::request("POST", &format!("/rd/{id}"))).code(), "2.04");

    let mut sink = node.sink();
    sink.is("moves", "/3/0/9", 2);
    assert!(!sink.values("moves", "/3/0/9").contains(&66.into()));
    // It may register from there, of course; then it lives there.
    away.register("ep=moves&lwm2m=1.1", LINKS);
    assert_eq!(home.call(Message::request("POST", &format!("/rd/{id}"))).code(), "4.04");
}

#[test]
fn notifications_that_overtake_one_another_are_told_apart() {
    let node = Node::start();
    let admin = node.admin();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=reorders&lwm2m=1.1", LINKS);
    let value = |number: u32| format!(r#"[{{"n":"/3/0/9","v":{number}}}]"#);
    let observe = std::thread::scope(|scope| {
        let observed = scope.spawn(|| admin.observe("reorders", "/3/0/9"));
        let observe = raw.next_request("GET /3/0/9");
        raw.send(&observe.answer("2.05").observe(10).format(110).payload(value(1)));
        observed.join().unwrap().unwrap();
        observe
    });
    let mut sink = node.sink();
    for (id, order, number) in [(0x7001, 12, 2), (0x7002, 11, 3), (0x7003, 13, 4)] {
        raw.send(&observe.notification(id, order).format(110).payload(value(number)));
        raw.next("ACK", |message| message.id() == id && is(message, MessageType::Acknowledgement));
    }
    sink.is("reorders", "/3/0/9", 4);
    let stale: Vec<_> = sink
        .records()
        .into_iter()
        .filter(|record| record["data"]["paths"].is_object())
        .map(|record| (record["data"]["values"]["batteryLevel"].clone(), record["stale"] == true))
        .collect();
    assert_eq!(
        stale,
        [(1.into(), false), (2.into(), false), (3.into(), true), (4.into(), false)],
        "what came late is published, and says so"
    );
}

#[test]
fn a_notification_of_no_observation_is_reset() {
    let node = Node::start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=unasked&lwm2m=1.1", LINKS);
    let request = raw.numbered(Message::request("GET", "/3/0/9"));
    raw.send(&request.notification(0x7001, 5).format(0).payload("1"));
    raw.next("RST", |message| message.id() == 0x7001 && is(message, MessageType::Reset));
}

#[test]
fn a_format_that_a_device_does_not_take_is_replaced_by_the_next() {
    let node = Node::start();
    let admin = node.admin();
    let mut raw = Raw::new(node.coap());
    let links = "</>;rt=\"oma.lwm2m\";ct=\"110 112 11542\",</3/0>";
    raw.register("ep=choosy&lwm2m=1.1", links);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| admin.read("choosy", "/3/0/9"));
        let request = raw.next_request("GET /3/0/9");
        assert_eq!(request.number(CoapOption::Accept), Some(112));
        raw.send(&request.answer("4.06"));
        let request =
            raw.next("a second try", |message| message.is_request() && message.id() != request.id());
        assert_eq!(request.number(CoapOption::Accept), Some(110));
        raw.send(&request.answer("2.05").format(110).payload(*br#"[{"n":"/3/0/9","v":5}]"#));
        let read = read.join().unwrap().unwrap();
        assert_eq!((read.state(), value(&read, "/3/0/9")), (State::Succeeded, Kind::Integer(5)));
        // Remembered for the registration.
        let read = scope.spawn(|| admin.read("choosy", "/3/0/9"));
        let request = raw.next_request("GET /3/0/9");
        assert_eq!(request.number(CoapOption::Accept), Some(110));
        raw.send(&request.answer("2.05").format(110).payload(*br#"[{"n":"/3/0/9","v":6}]"#));
        read.join().unwrap().unwrap();
    });
}

#[test]
fn a_device_without_a_credential_is_refused() {
    let node = Setup { set: Vec::new(), ..Setup::default() }.start();
    let mut raw = Raw::new(node.coap());
    assert_eq!(raw.call(register("ep=stranger&lwm2m=1.1")).code(), "4.03");
    let admin = node.admin();
    admin.device("friend", "default");
    raw.register("ep=friend&lwm2m=1.1", LINKS);

    let mut disabled = admin.device("disabled", "default");
    disabled.disabled = true;
    admin.update_device(disabled, &["disabled"]).unwrap();
    assert_eq!(raw.call(register("ep=disabled&lwm2m=1.1")).code(), "4.03");
}

#[test]
fn a_deleted_device_is_no_longer_registered() {
    let node = Setup { set: Vec::new(), ..Setup::default() }.start();
    let mut raw = Raw::new(node.coap());
    let admin = node.admin();
    admin.device("leaves", "default");
    let id = raw.register("ep=leaves&lwm2m=1.1", LINKS);
    admin.delete_device("leaves").unwrap();
    let response = raw.call(Message::request("POST", &format!("/rd/{id}")));
    assert!(["4.03", "4.04"].contains(&response.code().as_str()), "{response:?}");
    assert_eq!(raw.call(register("ep=leaves&lwm2m=1.1")).code(), "4.03");
}
