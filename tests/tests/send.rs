//! Send by the Leshan client, and by a scripted one where Leshan would not send such a thing (scenarios 17, 28).
#![allow(missing_docs, clippy::unwrap_used)]

use godwit_tests::{Leshan, Message, Node, Raw};
use serde_json::json;

const SENML_JSON: u16 = 110;
const SENML_CBOR: u16 = 112;

#[test]
fn a_send_is_published_in_each_format() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    let mut sink = node.sink();
    let mut client = leshan.start(&node, "sends", &[]);
    client.registered();
    for (format, value) in [(SENML_JSON, 31.25), (SENML_CBOR, -0.5)] {
        client.put("/3303/0/5700", &value.to_string());
        assert_eq!(client.send(format, &["/3303/0/5700", "/3/0/9", "/3/0/7/0", "/3/0/7/1"]), "2.04");
        let record = sink.is("sends", "/3303/0/5700", value);
        assert_eq!(record["type"], "dev.godwit.telemetry.v1");
        assert_eq!(record["data"]["values"]["batteryLevel"], 95);
        assert_eq!(record["data"]["values"]["powerSourceVoltage"], json!({"0": 3800, "1": 5000}));
    }
}

#[test]
fn a_send_keeps_the_time_of_each_value() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    let mut sink = node.sink();
    let mut client = leshan.start(&node, "times", &[]);
    client.registered();
    for format in [SENML_JSON, SENML_CBOR] {
        let entries = [
            "1700000000.25 /3303/0/5700 1.5",
            "1700000060 /3303/0/5700 2.5",
            "1700000060 /3/0/9 80",
            "1700000120.75 /3303/0/5700 3.5",
        ];
        assert_eq!(client.send_at(format, &entries), "2.04");
        let mut seen: Vec<_> = (0..3)
            .map(|_| {
                let record = sink.next("a time", |record| record["data"]["paths"]["sensorValue"].is_array());
                (record["data"]["ts"].as_i64().unwrap(), record["data"]["values"].clone())
            })
            .collect();
        seen.sort_by_key(|(time, _)| *time);
        assert_eq!(
            seen,
            [
                (1_700_000_000_250, json!({"sensorValue": 1.5})),
                (1_700_000_060_000, json!({"sensorValue": 2.5, "batteryLevel": 80})),
                (1_700_000_120_750, json!({"sensorValue": 3.5})),
            ],
            "in {format}"
        );
    }
}

#[test]
fn a_send_that_can_not_be_taken_is_refused() {
    let node = Node::start();
    let mut raw = Raw::device(&node, "raw-sends");
    let send = |format: u16, payload: &[u8]| Message::request("POST", "/dp").format(format).payload(payload);

    // Nobody is registered at this address yet; over DTLS the node knows who asks, and that it isn't registered.
    let refused = if raw.is_open() { "4.04" } else { "4.03" };
    assert_eq!(raw.call(send(110, br#"[{"n":"/3/0/9","v":1}]"#)).code(), refused);
    raw.register("ep=raw-sends&lwm2m=1.1", "</1/0>,</3/0>");

    assert_eq!(raw.call(send(110, br#"[{"n":"/3/0/9","v":1}]"#)).code(), "2.04");
    assert_eq!(raw.call(send(110, br#"[{"n":"/3/0/9","v""#)).code(), "4.00");
    assert_eq!(raw.call(send(110, br#"[{"n":"/x/0/9","v":1}]"#)).code(), "4.00");
    assert_eq!(raw.call(send(112, &[0x81])).code(), "4.00");
    assert_eq!(raw.call(send(112, &[])).code(), "4.00");
    assert_eq!(raw.call(send(0, b"1")).code(), "4.15");
    assert_eq!(raw.call(send(65000, b"1")).code(), "4.15");
    assert_eq!(raw.call(Message::request("GET", "/dp")).code(), "4.05");
    let mut sink = node.sink();
    sink.is("raw-sends", "/3/0/9", 1);
    assert_eq!(sink.values("raw-sends", "/3/0/9"), [json!(1)]);
}

#[test]
fn a_repeated_send_is_answered_again_and_published_once() {
    let node = Node::start();
    let mut raw = Raw::device(&node, "repeats");
    raw.register("ep=repeats&lwm2m=1.1", "</1/0>,</3/0>");
    let send = Message::request("POST", "/dp").format(110).payload(*br#"[{"n":"/3/0/9","v":7}]"#);
    let send = raw.numbered(send);
    let first = raw.exchange(&send);
    for _ in 0..3 {
        assert_eq!(raw.exchange(&send), first);
    }
    let mut sink = node.sink();
    sink.is("repeats", "/3/0/9", 7);
    let last = Message::request("POST", "/dp").format(110).payload(*br#"[{"n":"/3/0/9","v":8}]"#);
    raw.call(last);
    sink.is("repeats", "/3/0/9", 8);
    assert_eq!(sink.values("repeats", "/3/0/9"), [json!(7), json!(8)]);
}
