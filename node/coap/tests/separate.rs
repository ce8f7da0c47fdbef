//! Responses that do not come in the acknowledgement.

#![allow(clippy::unwrap_used, reason = "a test")]

mod util;

use godwit_coap::{Code, Event, FailReason, Fate, Request, Response};
use util::*;

fn get(message_id: u16) -> Vec<u8> {
    message(CON, Code(1), message_id, b"t", &[(URI_PATH, b"3")], &[])
}

#[test]
fn a_late_answer_follows_an_empty_acknowledgement_and_is_repeated() {
    let mut bench = Bench::new();
    bench.put(&get(1));
    let (id, _) = bench.request();
    let sent = bench.pass(secs(1));
    assert_eq!(sent, [(secs(1), empty(ACK, 1))]);
    // A repetition is told that the request has arrived.
    bench.put(&get(1));
    assert_eq!(bench.sent(), [empty(ACK, 1)]);
    bench.respond(id, Response::new(Code::CONTENT).payload("80"));
    let response = bench.sent_one();
    assert_eq!((response.header.get_type(), response.header.message_id), (CON, 0x3000));
    assert_eq!(response.get_token(), b"t");
    assert_eq!(response.payload, b"80");
    // Once answered too.
    bench.put(&get(1));
    assert_eq!(bench.sent(), [empty(ACK, 1)]);
    assert_eq!(bench.pass(secs(4)).len(), 1);
    assert_eq!(bench.put(&empty(ACK, 0x3000)), Fate::Acknowledgement);
    assert!(bench.pass(secs(200)).is_empty());
    assert!(bench.events().is_empty());
    assert!(bench.peer.is_settled());
}

#[test]
fn a_reset_ends_a_separate_response() {
    let mut bench = Bench::new();
    bench.put(&get(1));
    let (id, _) = bench.request();
    bench.pass(secs(1));
    bench.respond(id, Response::new(Code::CONTENT));
    bench.sent();
    assert_eq!(bench.put(&empty(RST, 0x3000)), Fate::Reset);
    assert!(bench.pass(secs(200)).is_empty() && bench.events().is_empty());
}

#[test]
fn a_separate_response_leaves_though_a_request_of_ours_is_open() {
    let mut bench = Bench::new();
    bench.put(&get(1));
    let (id, _) = bench.request();
    bench.pass(secs(1));
    bench.peer.request(bench.now, token(b"a"), Request::get("3"), true).unwrap();
    bench.sent_one();
    bench.respond(id, Response::new(Code::CONTENT));
    assert_eq!(bench.sent_one().get_token(), b"t");
}

#[test]
fn an_empty_acknowledgement_ends_the_repetitions_of_a_request() {
    let mut bench = Bench::new();
    bench.peer.request(bench.now, token(b"a"), Request::get("3"), true).unwrap();
    bench.sent();
    assert_eq!(bench.put(&empty(ACK, 0x3000)), Fate::Acknowledgement);
    assert!(bench.pass(secs(60)).is_empty());
    let separate = message(CON, Code::CONTENT, 77, b"a", &[], b"80");
    assert_eq!(bench.put(&separate), Fate::Response);
    assert_eq!(bench.sent(), [empty(ACK, 77)]);
    assert_eq!(bench.response().payload, b"80");
    // Its repetition is acknowledged again, and no more.
    assert_eq!(bench.put(&separate), Fate::Duplicate);
    assert_eq!(bench.sent(), [empty(ACK, 77)]);
    assert!(bench.events().is_empty());
}

#[test]
fn a_response_that_overtakes_the_acknowledgement_is_taken() {
    let mut bench = Bench::new();
    bench.peer.request(bench.now, token(b"a"), Request::get("3"), true).unwrap();
    bench.sent();
    bench.put(&message(NON, Code::CONTENT, 77, b"a", &[], b"80"));
    assert_eq!(bench.response().payload, b"80");
    assert!(bench.pass(secs(100)).is_empty());
    bench.put(&empty(ACK, 0x3000));
    assert!(bench.events().is_empty() && bench.peer.is_settled());
}

#[test]
fn a_separate_response_may_take_its_time_but_not_forever() {
    let mut bench = Bench::new();
    let exchange = bench.peer.request(bench.now, token(b"a"), Request::get("3"), true).unwrap();
    bench.sent();
    bench.put(&empty(ACK, 0x3000));
    bench.pass(secs(93));
    assert_eq!(bench.event(), Event::Failed { exchange, token: token(b"a"), reason: FailReason::Timeout });
    // What comes after that belongs to nothing that is open: the caller may still know the token.
    let late = message(CON, Code::CONTENT, 77, b"a", &[], b"80");
    assert_eq!(bench.put(&late), Fate::Notification);
    assert!(matches!(
        bench.event(),
        Event::Notification { message_id: 77, confirmable: true, observe: None, more: false, .. }
    ));
}
