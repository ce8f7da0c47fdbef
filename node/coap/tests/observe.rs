//! Notifications: their order, and who answers them.

#![allow(clippy::unwrap_used, reason = "a test")]

mod util;

use godwit_coap::{Code, Event, Fate, Freshness, Ignored, ObserveOrder, Request, Response};
use util::*;

fn notification(kind: coap_lite::MessageType, message_id: u16, sequence: u8, value: &[u8]) -> Vec<u8> {
    message(kind, Code::CONTENT, message_id, b"obs", &[(OBSERVE, &[sequence])], value)
}

#[test]
fn newer_numbers_are_fresh_across_the_wrap_and_after_a_pause() {
    let now = start();
    let mut order = ObserveOrder::default();
    let mut judge = |after, sequence| order.accept(now + after, sequence);
    assert_eq!(judge(secs(0), 0x00ff_fffe), Freshness::Fresh);
    assert_eq!(judge(secs(1), 0x00ff_fffe), Freshness::Stale);
    assert_eq!(judge(secs(1), 0x00ff_fffd), Freshness::Stale);
    assert_eq!(judge(secs(2), 0x00ff_ffff), Freshness::Fresh);
    assert_eq!(judge(secs(3), 3), Freshness::Fresh);
    assert_eq!(judge(secs(4), 0x00ff_ffff), Freshness::Stale);
    assert_eq!(judge(secs(4), 3 + (1 << 23)), Freshness::Stale);
    assert_eq!(judge(secs(4), 2 + (1 << 23)), Freshness::Fresh);
    assert_eq!(judge(secs(4 + 128), 5), Freshness::Stale);
    assert_eq!(judge(secs(4 + 129), 5), Freshness::Fresh);
}

#[test]
fn a_notification_waits_for_its_acknowledgement_and_is_raised_once() {
    let mut bench = Bench::new();
    let datagram = notification(CON, 9, 5, b"80");
    assert_eq!(bench.put(&datagram), Fate::Notification);
    match bench.event() {
        Event::Notification {
            token: t,
            message_id: 9,
            confirmable: true,
            observe: Some(5),
            response,
            more,
        } => {
            assert_eq!((t, more), (token(b"obs"), false));
            assert_eq!(response.payload, b"80");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.put(&datagram), Fate::Duplicate);
    assert!(bench.events().is_empty() && bench.sent().is_empty());
    assert!(bench.peer.acknowledge(bench.now, 9));
    assert_eq!(bench.sent(), [empty(ACK, 9)]);
    assert!(!bench.peer.acknowledge(bench.now, 9));
    assert_eq!(bench.put(&datagram), Fate::Duplicate);
    assert_eq!(bench.sent(), [empty(ACK, 9)]);
}

#[test]
fn a_notification_is_refused_by_a_reset() {
    let mut bench = Bench::new();
    let datagram = notification(CON, 9, 5, b"80");
    bench.put(&datagram);
    assert!(bench.peer.reset(bench.now, 9));
    assert_eq!(bench.sent(), [empty(RST, 9)]);
    bench.put(&datagram);
    assert_eq!(bench.sent(), [empty(RST, 9)]);
    bench.put(&notification(NON, 10, 6, b"80"));
    assert!(bench.peer.reset(bench.now, 10));
    assert_eq!(bench.sent(), [empty(RST, 10)]);
    assert!(!bench.peer.reset(bench.now, 11));
}

#[test]
fn undecided_notifications_are_bounded_and_silent() {
    let mut bench = Bench::new();
    for message_id in 0..32 {
        assert_eq!(bench.put(&notification(CON, message_id, 1, b"")), Fate::Notification);
    }
    assert_eq!(bench.put(&notification(CON, 32, 1, b"")), Fate::Ignored(Ignored::Overload));
    assert_eq!(bench.events().len(), 32);
    assert!(bench.sent().is_empty());
    bench.peer.acknowledge(bench.now, 0);
    assert_eq!(bench.put(&notification(CON, 32, 1, b"")), Fate::Notification);
}

#[test]
fn the_first_response_to_an_observe_request_is_its_response() {
    let mut bench = Bench::new();
    bench.peer.request(bench.now, token(b"obs"), Request::get("3/0/9").observe(0), true).unwrap();
    let request = bench.sent_one();
    assert_eq!(number(&request, OBSERVE), Some(0));
    bench.put(&message(ACK, Code::CONTENT, 0x3000, b"obs", &[(OBSERVE, &[4])], b"80"));
    assert_eq!(bench.response().observe, Some(4));
    assert_eq!(bench.put(&notification(NON, 1, 5, b"79")), Fate::Notification);
}

#[test]
fn a_notification_that_answers_its_request_waits_for_its_acknowledgement() {
    let mut bench = Bench::new();
    bench.peer.request(bench.now, token(b"obs"), Request::get("3/0/9").observe(0), true).unwrap();
    bench.sent();
    let datagram = notification(CON, 9, 4, b"80");
    assert_eq!(bench.put(&datagram), Fate::Response);
    let events = bench.events();
    let [
        Event::Response { response, notified: true, .. },
        Event::Notification { message_id: 9, confirmable: true, observe: Some(4), response: same, .. },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((&response.payload[..], &same.payload[..]), (&b"80"[..], &b"80"[..]));
    assert_eq!(bench.put(&datagram), Fate::Duplicate);
    assert!(bench.sent().is_empty() && bench.events().is_empty(), "nobody has decided on it yet");
    assert!(bench.peer.acknowledge(bench.now, 9));
    assert_eq!(bench.sent(), [empty(ACK, 9)]);
    // The answer that it has overtaken belongs to nothing open.
    bench.put(&message(ACK, Code::CONTENT, 0x3000, b"obs", &[(OBSERVE, &[3])], b"81"));
    assert!(bench.events().is_empty() && bench.pass(secs(300)).is_empty());
}

#[test]
fn a_notification_in_blocks_that_answers_its_request_is_acknowledged_at_once() {
    let mut bench = Bench::new();
    bench.peer.request(bench.now, token(b"obs"), Request::get("3/0/9").observe(0), true).unwrap();
    bench.sent();
    let first: &[(u16, &[u8])] = &[(OBSERVE, &[4]), (BLOCK2, &[0x08])];
    bench.put(&message(CON, Code::CONTENT, 9, b"obs", first, &[b'8'; 16]));
    let sent = bench.sent();
    assert_eq!(sent[0], empty(ACK, 9));
    let next = coap_lite::Packet::from_bytes(&sent[1]).unwrap();
    assert_eq!(number(&next, BLOCK2), Some(0x10));
    let second: &[(u16, &[u8])] = &[(BLOCK2, &[0x10])];
    bench.put(&message(ACK, Code::CONTENT, next.header.message_id, next.get_token(), second, b"9"));
    let Event::Response { response, notified: false, .. } = bench.event() else { panic!() };
    assert_eq!(response.payload.len(), 17);
}

#[test]
fn a_notification_that_crosses_a_cancellation_is_not_its_response() {
    let mut bench = Bench::new();
    bench.peer.request(bench.now, token(b"obs"), Request::get("3/0/9").observe(1), true).unwrap();
    bench.sent();
    assert_eq!(bench.put(&notification(CON, 1, 5, b"79")), Fate::Notification);
    bench.event();
    assert_eq!(bench.put(&message(CON, Code::CONTENT, 2, b"obs", &[], b"79")), Fate::Response);
    assert_eq!(bench.response().observe, None);
}

#[test]
fn a_notification_of_ours_is_reported_when_it_is_acknowledged() {
    let mut bench = Bench::new();
    let response = || Response::new(Code::CONTENT).observe(7).payload("80");
    let exchange = bench.peer.notify(bench.now, token(b"obs"), response(), true).unwrap();
    let sent = bench.sent_one();
    assert_eq!((sent.header.get_type(), number(&sent, OBSERVE)), (CON, Some(7)));
    assert_eq!(bench.put(&empty(ACK, 0x3000)), Fate::Acknowledgement);
    assert_eq!(bench.event(), Event::Acknowledged { exchange });
    bench.peer.notify(bench.now, token(b"obs"), response(), false).unwrap();
    assert_eq!(bench.sent_one().header.get_type(), NON);
    assert!(bench.peer.is_idle());
}
