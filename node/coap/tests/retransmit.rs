//! Confirmable requests that get no answer at first.

#![allow(clippy::unwrap_used, reason = "a test")]

mod util;

use godwit_coap::{Code, Config, Event, FailReason, Fate, Ignored, Request, RequestOptions, SendError};
use util::*;

fn ask(bench: &mut Bench, t: &[u8]) -> godwit_coap::ExchangeId {
    bench.peer.request(bench.now, token(t), Request::get("3/0/9"), true).unwrap()
}

#[test]
fn a_request_is_repeated_four_times_with_doubling_intervals() {
    let mut bench = Bench::new();
    let exchange = ask(&mut bench, b"a");
    let first = bench.sent().remove(0);
    let sent = bench.pass(secs(200));
    assert_eq!(sent.len(), 4);
    assert!(sent.iter().all(|(_, datagram)| *datagram == first));
    let interval = sent[0].0;
    assert!(interval >= secs(2) && interval <= secs(3), "{interval:?}");
    let multiples: Vec<u32> =
        sent.iter().map(|(at, _)| (at.as_micros() / interval.as_micros()) as u32).collect();
    assert_eq!(multiples, [1, 3, 7, 15]);
    assert_eq!(bench.event(), Event::Failed { exchange, token: token(b"a"), reason: FailReason::Timeout });
    assert!(bench.peer.is_idle());
}

#[test]
fn the_jitter_depends_on_the_seed() {
    let first_interval = |seed| {
        let now = start();
        let mut peer = godwit_coap::Peer::new(Config::default().into(), 0, seed);
        peer.request(now, token(b"a"), Request::get("3"), true).unwrap();
        peer.poll_timeout().unwrap() - now
    };
    let intervals: Vec<_> = (0..50).map(first_interval).collect();
    assert!(intervals.iter().all(|interval| (secs(2)..=secs(3)).contains(interval)));
    assert!(intervals.iter().max().unwrap().saturating_sub(*intervals.iter().min().unwrap()) > ms(500));
}

#[test]
fn an_answer_ends_the_repetitions() {
    let mut bench = Bench::new();
    ask(&mut bench, b"a");
    let request = bench.sent_one();
    let id = request.header.message_id;
    assert_eq!(id, 0x3000);
    assert_eq!(bench.put(&message(ACK, Code::CONTENT, id, b"a", &[], b"80")), Fate::Response);
    assert_eq!(bench.response().payload, b"80");
    assert!(bench.pass(secs(300)).is_empty());
    assert!(bench.peer.is_idle());
}

#[test]
fn an_acknowledgement_with_another_token_or_id_changes_nothing() {
    let mut bench = Bench::new();
    ask(&mut bench, b"a");
    bench.sent();
    let strange = message(ACK, Code::CONTENT, 0x3000, b"b", &[], b"80");
    assert_eq!(bench.put(&strange), Fate::Ignored(Ignored::TokenMismatch));
    let strange = message(ACK, Code::CONTENT, 0x3001, b"a", &[], b"80");
    assert_eq!(bench.put(&strange), Fate::Ignored(Ignored::Unmatched));
    assert_eq!(bench.put(&empty(ACK, 0x3001)), Fate::Ignored(Ignored::Unmatched));
    assert!(bench.events().is_empty() && bench.sent().is_empty());
    assert_eq!(bench.pass(secs(4)).len(), 1);
}

#[test]
fn a_reset_ends_a_request() {
    let mut bench = Bench::new();
    let exchange = ask(&mut bench, b"a");
    bench.sent();
    assert_eq!(bench.put(&empty(RST, 0x3000)), Fate::Reset);
    assert_eq!(bench.event(), Event::Failed { exchange, token: token(b"a"), reason: FailReason::Reset });
    assert_eq!(bench.put(&empty(RST, 0x3000)), Fate::Ignored(Ignored::Unmatched));
    assert!(bench.peer.is_idle());
}

#[test]
fn requests_wait_for_their_turn_in_order() {
    let mut bench = Bench::new();
    for t in [b"a", b"b", b"c"] {
        ask(&mut bench, t);
    }
    for (at, t) in [b"a", b"b", b"c"].into_iter().enumerate() {
        let request = bench.sent_one();
        assert_eq!(request.get_token(), t);
        assert_eq!(request.header.message_id, 0x3000 + at as u16);
        bench.put(&message(ACK, Code::CONTENT, request.header.message_id, t, &[], &[]));
        bench.response();
    }
    assert!(bench.sent().is_empty());
}

#[test]
fn a_failed_or_cancelled_request_lets_the_next_one_go() {
    let mut bench = Bench::new();
    let first = ask(&mut bench, b"a");
    ask(&mut bench, b"b");
    let third = ask(&mut bench, b"c");
    assert_eq!(bench.sent_one().get_token(), b"a");
    assert!(bench.peer.cancel(bench.now, first));
    assert!(!bench.peer.cancel(bench.now, first));
    assert_eq!(bench.sent_one().get_token(), b"b");
    let sent = bench.pass(secs(100));
    assert_eq!(&sent.last().unwrap().1[4..5], b"c");
    assert_eq!(bench.events().len(), 1);
    assert!(bench.peer.cancel(bench.now, third));
    assert!(bench.peer.is_idle());
}

#[test]
fn nstart_is_a_setting_and_does_not_hold_back_what_is_not_confirmable() {
    let mut bench = Bench::with(Config { nstart: 2, ..Config::default() });
    for t in [b"a", b"b", b"c"] {
        ask(&mut bench, t);
    }
    assert_eq!(bench.sent().len(), 2);
    bench.peer.request(bench.now, token(b"d"), Request::get("3"), false).unwrap();
    assert_eq!(bench.sent_one().header.get_type(), NON);
}

#[test]
fn a_non_confirmable_request_is_sent_once_and_ends_without_response() {
    let mut bench = Bench::new();
    let exchange = bench.peer.request(bench.now, token(b"a"), Request::get("3"), false).unwrap();
    bench.sent_one();
    assert!(bench.pass(secs(94)).is_empty());
    assert_eq!(bench.event(), Event::Failed { exchange, token: token(b"a"), reason: FailReason::Timeout });
    let exchange = bench.peer.request(bench.now, token(b"a"), Request::get("3"), false).unwrap();
    let id = bench.sent_one().header.message_id;
    bench.put(&empty(RST, id));
    assert_eq!(bench.event(), Event::Failed { exchange, token: token(b"a"), reason: FailReason::Reset });
}

#[test]
fn a_request_is_resumed_byte_for_byte() {
    let mut bench = Bench::new();
    let exchange = ask(&mut bench, b"abcdefgh");
    let status = bench.peer.exchange(exchange).unwrap();
    let first = bench.sent();
    let mut next = Bench::new();
    next.peer.resume(next.now, status.message_id, status.token, Request::get("3/0/9")).unwrap();
    assert_eq!(next.sent(), first);
    // Its id is not used for anything else.
    next.peer.cancel(next.now, exchange);
    ask(&mut next, b"b");
    assert_eq!(next.peer.next_message_id(), 0x3002);
}

#[test]
fn the_status_tells_id_and_time_of_sending() {
    let mut bench = Bench::new();
    let first = ask(&mut bench, b"a");
    let second = ask(&mut bench, b"b");
    assert_eq!(bench.peer.exchange(first).unwrap().first_sent, Some(bench.now));
    let waiting = bench.peer.exchange(second).unwrap();
    assert_eq!((waiting.message_id, waiting.first_sent), (0x3001, None));
    bench.now += secs(1);
    bench.put(&message(ACK, Code::CONTENT, 0x3000, b"a", &[], &[]));
    assert_eq!(bench.peer.exchange(second).unwrap().first_sent, Some(bench.now));
    assert_eq!(bench.peer.exchange(first), None);
}

#[test]
fn misuse_and_limits_are_told_apart() {
    let mut bench = Bench::with(Config { max_exchanges: 2, ..Config::default() });
    ask(&mut bench, b"a");
    let again = bench.peer.request(bench.now, token(b"a"), Request::get("3"), true);
    assert_eq!(again, Err(SendError::TokenInUse));
    let again = bench.peer.resume(bench.now, 0x3000, token(b"b"), Request::get("3"));
    assert_eq!(again, Err(SendError::MessageIdInUse(0x3000)));
    let long = Request::get("3").query("x".repeat(256));
    assert_eq!(bench.peer.request(bench.now, token(b"b"), long, true), Err(SendError::Unencodable));
    let odd = RequestOptions { offset: 100, ..RequestOptions::default() };
    let odd = bench.peer.request_with(bench.now, token(b"b"), Request::put("5/0/0"), odd);
    assert_eq!(odd, Err(SendError::Offset(100)));
    ask(&mut bench, b"b");
    let full = bench.peer.request(bench.now, token(b"c"), Request::get("3"), true);
    assert_eq!(full, Err(SendError::Full { limit: 2 }));
}
