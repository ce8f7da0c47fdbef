//! Bodies that need several blocks (scenario 20).
#![allow(missing_docs, clippy::unwrap_used)]

use coap_lite::CoapOption;
use godwit_proto::v1::value::Kind;
use godwit_tests::{Leshan, Message, Node, Raw, value};

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 256) as u8).collect()
}

#[test]
fn a_registration_of_many_objects_comes_in_blocks() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    let instances: Vec<_> = (0..300).map(|id| id.to_string()).collect();
    let objects = format!("objects=3303:{}", instances.join(","));
    let mut client = leshan.start(&node, "many", &[&objects, "block=256"]);
    client.registered();
    let registration = node.admin().registration("many").unwrap();
    let temperatures = registration.objects.iter().find(|object| object.object == 3303).unwrap();
    assert_eq!(temperatures.instances, (0..300).collect::<Vec<_>>());
}

#[test]
fn a_large_opaque_is_read_in_blocks() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    let admin = node.admin();
    for (endpoint, block) in [("reads-1024", "block=1024"), ("reads-64", "block=64")] {
        let mut client = leshan.start(&node, endpoint, &[block]);
        client.registered();
        let bytes = body(5000);
        client.put("/3442/0/150", &data_encoding::BASE64.encode(&bytes));
        for format in [42, 11542, 112] {
            let read = admin.read_as(endpoint, "/3442/0/150", format).unwrap();
            assert_eq!(value(&read, "/3442/0/150"), Kind::Opaque(bytes.clone()), "in {format}");
        }
    }
}

#[test]
fn a_large_opaque_is_written_in_blocks() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    let admin = node.admin();
    let mut client = leshan.start(&node, "writes", &["block=256"]);
    client.registered();
    for length in [1024, 1025, 20_000] {
        let bytes = body(length);
        admin.write_value("writes", "/3442/0/150", Kind::Opaque(bytes.clone()), Some(42)).unwrap();
        let held = client.value("/3442/0/150").unwrap();
        assert_eq!(held, data_encoding::BASE64.encode(&bytes), "{length} bytes");
    }
    let blocks = client.events("request").iter().filter(|request| request["block1"].is_u64()).count();
    assert!(blocks > 20, "{blocks} blocks");
}

#[test]
fn no_message_id_comes_twice_however_many_blocks_there_are() {
    let node = Node::start();
    let admin = node.admin();
    // The connections of some devices begin with other ids than those of others.
    for device in 0..24 {
        let endpoint = format!("numbered-{device}");
        let mut raw = Raw::device(&node, &endpoint);
        raw.register(&format!("ep={endpoint}&lwm2m=1.1"), "</>;ct=110,</3442/0>");
        let mut seen = Vec::new();
        for _ in 0..4 {
            std::thread::scope(|scope| {
                let value = Kind::Opaque(body(2000));
                let write = scope.spawn(|| admin.write_value(&endpoint, "/3442/0/150", value, Some(42)));
                for number in 0..2 {
                    let block = raw.next("a block", Message::is_request);
                    assert!(!seen.contains(&block.id()), "{} came twice: {seen:?}", block.id());
                    seen.push(block.id());
                    let (code, more) = if number == 0 { ("2.31", true) } else { ("2.04", false) };
                    raw.send(&block.answer(code).block(CoapOption::Block1, number, more, 1024));
                }
                write.join().unwrap().unwrap();
            });
        }
    }
}

#[test]
fn a_large_value_is_notified_in_blocks() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    let mut client = leshan.start(&node, "notifies", &["block=256"]);
    client.registered();
    node.admin().observe("notifies", "/3442/0/110").unwrap_err();
    client.put("/3442/0/110", "short");
    node.admin().observe("notifies", "/3442/0/110").unwrap();
    let long = "abcdefghij".repeat(300);
    client.set("/3442/0/110", &long);
    let mut sink = node.sink();
    sink.is("notifies", "/3442/0/110", long.as_str());
    client.set("/3442/0/110", "short again");
    sink.is("notifies", "/3442/0/110", "short again");
}

#[test]
fn a_transfer_that_stops_leaves_nothing_behind() {
    let node = Node::start();
    let mut raw = Raw::device(&node, "stops");
    let links: String = (0..200).map(|id| format!("</3303/{id}>,")).collect::<String>() + "</3/0>";
    let block = |number: u32, more: bool| {
        let start = number as usize * 256;
        let end = links.len().min(start + 256);
        Message::request("POST", "/rd?ep=stops&lwm2m=1.1")
            .format(40)
            .block(CoapOption::Block1, number, more, 256)
            .payload(&links.as_bytes()[start..end])
    };
    // Two blocks, and then nothing: the device has forgotten. It starts over.
    assert_eq!(raw.call(block(0, true)).code(), "2.31");
    assert_eq!(raw.call(block(1, true)).code(), "2.31");
    let last = (links.len() as u32 - 1) / 256;
    for number in 0..last {
        assert_eq!(raw.call(block(number, true)).code(), "2.31");
    }
    let response = raw.call(block(last, false));
    assert_eq!(response.code(), "2.01", "{}", response.body());
    assert_eq!(node.admin().registration("stops").unwrap().objects.len(), 2);

    // A block that does not follow is refused.
    assert_eq!(raw.call(block(0, true)).code(), "2.31");
    assert_eq!(raw.call(block(2, true)).code(), "4.08");
}

#[test]
fn a_body_above_the_limit_is_refused_with_the_size_that_is_taken() {
    let node = Node::start();
    let mut raw = Raw::device(&node, "big");
    let response = raw.call(
        Message::request("POST", "/rd?ep=big&lwm2m=1.1")
            .format(40)
            .uint(CoapOption::Size1, 70_000)
            .block(CoapOption::Block1, 0, true, 1024)
            .payload([b' '; 1024]),
    );
    assert_eq!((response.code().as_str(), response.number(CoapOption::Size1)), ("4.13", Some(65_536)));

    let block = |number| {
        Message::request("POST", "/rd?ep=big&lwm2m=1.1")
            .format(40)
            .block(CoapOption::Block1, number, true, 1024)
            .payload([b' '; 1024])
    };
    for number in 0..64 {
        assert_eq!(raw.call(block(number)).code(), "2.31", "block {number}");
    }
    let response = raw.call(block(64));
    assert_eq!((response.code().as_str(), response.number(CoapOption::Size1)), ("4.13", Some(65_536)));
}
