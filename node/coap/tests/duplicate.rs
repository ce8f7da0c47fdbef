//! Messages that come more than once.

#![allow(clippy::unwrap_used, reason = "a test")]

mod util;

use godwit_coap::{Code, Config, Fate, Ignored, RespondError, Response};
use util::*;

fn get(message_id: u16) -> Vec<u8> {
    message(CON, Code(1), message_id, b"t", &[(URI_PATH, b"3")], &[])
}

#[test]
fn a_repeated_request_gets_the_stored_answer_and_raises_no_event() {
    let mut bench = Bench::new();
    assert_eq!(bench.put(&get(1)), Fate::Request);
    let (id, _) = bench.request();
    bench.respond(id, Response::new(Code::CONTENT).payload("a longer answer, kept on the heap"));
    let first = bench.sent();
    for _ in 0..3 {
        bench.pass(secs(60));
        assert_eq!(bench.put(&get(1)), Fate::Duplicate);
        assert_eq!(bench.sent(), first);
        assert!(bench.events().is_empty());
    }
}

#[test]
fn a_repetition_of_a_pending_request_attaches_to_it() {
    let mut bench = Bench::new();
    bench.put(&get(1));
    let (id, _) = bench.request();
    assert_eq!(bench.put(&get(1)), Fate::Duplicate);
    assert!(bench.events().is_empty() && bench.sent().is_empty());
    bench.respond(id, Response::new(Code::CHANGED));
    assert_eq!(bench.sent().len(), 1);
    assert_eq!(bench.peer.respond(bench.now, id, Response::new(Code::CHANGED)), Err(RespondError::Closed));
}

#[test]
fn a_forgotten_request_is_new_when_it_is_repeated() {
    let mut bench = Bench::new();
    bench.put(&get(1));
    let (id, _) = bench.request();
    assert!(bench.peer.forget(id));
    assert!(!bench.peer.forget(id));
    assert!(bench.sent().is_empty());
    assert_eq!(bench.put(&get(1)), Fate::Request);
    let (again, _) = bench.request();
    assert_ne!(again, id);
}

#[test]
fn a_message_id_is_free_after_its_lifetime() {
    let mut bench = Bench::new();
    bench.put(&get(1));
    let (id, _) = bench.request();
    bench.respond(id, Response::new(Code::CHANGED));
    bench.sent();
    bench.now += secs(247) - ms(1);
    assert_eq!(bench.put(&get(1)), Fate::Duplicate);
    bench.now += ms(1);
    assert_eq!(bench.put(&get(1)), Fate::Request);
}

#[test]
fn a_repeated_non_confirmable_request_is_answered_once() {
    let mut bench = Bench::new();
    let datagram = message(NON, Code(1), 1, b"t", &[(URI_PATH, b"3")], &[]);
    bench.put(&datagram);
    let (id, _) = bench.request();
    bench.respond(id, Response::new(Code::CONTENT));
    let answer = bench.sent_one();
    assert_eq!((answer.header.get_type(), answer.header.message_id), (NON, 0x3000));
    assert_eq!(bench.put(&datagram), Fate::Duplicate);
    assert!(bench.sent().is_empty());
    bench.now += secs(145);
    assert_eq!(bench.put(&datagram), Fate::Request);
}

#[test]
fn pending_requests_are_never_evicted_and_further_ones_are_dropped() {
    let mut bench = Bench::new();
    let mut ids = Vec::new();
    for message_id in 0..32 {
        assert_eq!(bench.put(&get(message_id)), Fate::Request);
        ids.push(bench.request().0);
    }
    assert_eq!(bench.put(&get(32)), Fate::Ignored(Ignored::Overload));
    assert!(bench.sent().is_empty());
    bench.respond(ids[5], Response::new(Code::CHANGED));
    assert_eq!(bench.put(&get(32)), Fate::Request);
    for id in ids.into_iter().filter(|id| bench.peer.forget(*id)).collect::<Vec<_>>() {
        assert_eq!(
            bench.peer.respond(bench.now, id, Response::new(Code::CHANGED)),
            Err(RespondError::Closed)
        );
    }
}

#[test]
fn the_oldest_answered_entry_makes_room() {
    let mut bench = Bench::new();
    for message_id in 0..33 {
        bench.put(&get(message_id));
        let (id, _) = bench.request();
        bench.respond(id, Response::new(Code::CHANGED));
    }
    assert_eq!(bench.put(&get(1)), Fate::Duplicate);
    assert_eq!(bench.put(&get(0)), Fate::Request);
}

#[test]
fn stored_answers_are_bounded_in_bytes() {
    let mut bench = Bench::with(Config { dedup_bytes: 4096, ..Config::default() });
    for message_id in 0..8 {
        bench.put(&get(message_id));
        let (id, _) = bench.request();
        bench.respond(id, Response::new(Code::CONTENT).payload([0; 1000]));
    }
    bench.sent();
    let kept = (0..8).filter(|id| bench.put(&get(*id)) == Fate::Duplicate).count();
    assert_eq!(kept, 4);
}

#[test]
fn another_message_under_a_used_id_is_no_repetition() {
    // A device that restarts may begin with the same id: RFC 7252 §4.5 speaks of the same message.
    let mut bench = Bench::new();
    bench.put(&get(1));
    let (id, _) = bench.request();
    bench.respond(id, Response::new(Code::CONTENT));
    let other = message(CON, Code(1), 1, b"u", &[(URI_PATH, b"3")], &[]);
    assert_eq!(bench.put(&other), Fate::Request);
}

#[test]
fn nothing_is_left_after_the_last_lifetime() {
    let mut bench = Bench::new();
    for message_id in 0..5 {
        bench.put(&get(message_id));
        let (id, _) = bench.request();
        bench.respond(id, Response::new(Code::CHANGED));
    }
    bench.put(&get(9));
    bench.event();
    bench.sent();
    assert!(!bench.peer.is_idle() && !bench.peer.is_settled());
    bench.pass(secs(247));
    assert!(bench.peer.is_idle() && bench.peer.is_settled());
    assert_eq!(bench.peer.poll_timeout(), None);
}
