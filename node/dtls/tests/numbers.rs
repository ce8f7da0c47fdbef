//! When record numbers are handed up to be stored, how they go on after an owner's death, and where they end.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use std::time::Duration;

use godwit_dtls::{Association, CloseReason, Numbering, Numbers, StoredSession};
use kit::{
    hand::{CID, Offer},
    live,
    server::{Event, Server},
};

fn numbers(server: &Server) -> Numbers {
    server.association.as_ref().and_then(Association::export).unwrap().numbers
}

/// As a store gives a session back.
fn through_bytes(server: &Server) -> StoredSession {
    let stored = server.association.as_ref().and_then(Association::export).unwrap();
    StoredSession::decode(&stored.encode_secrets(), &stored.numbers.encode()).unwrap()
}

#[test]
fn they_are_handed_up_after_64_received_records() {
    let (mut server, mut hand) = live(Offer::psk());
    let first = numbers(&server).write_mark;
    (0..63).for_each(|_| hand.say(&mut server, b"x"));
    assert_eq!(numbers(&server).write_mark, first);
    hand.say(&mut server, b"x");
    // Our Finished and 63 answers had left when the last record came.
    assert_eq!(numbers(&server).write_mark, 64 + (1 << 16));
}

#[test]
fn they_are_handed_up_a_minute_after_they_moved_and_then_no_more() {
    let (mut server, mut hand) = live(Offer::psk());
    hand.say(&mut server, b"x");
    let first = numbers(&server).write_mark;
    let due = server.poll_timeout().unwrap();
    assert!(due <= hand.now + Duration::from_secs(60));
    server.handle_timeout(due);
    assert!(numbers(&server).write_mark > first);
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn the_mark_stays_ahead_of_what_is_sent() {
    let (mut server, mut hand) = live(Offer::psk());
    let mut stored = through_bytes(&server);
    stored.numbers.write_next = stored.numbers.write_mark - 3;
    server.take_over(stored, Numbering::Exact);
    for _ in 0..10 {
        hand.say(&mut server, b"x");
        let numbers = numbers(&server);
        assert!(numbers.write_next < numbers.write_mark, "{numbers:?}");
    }
}

#[test]
fn ten_crashes_in_a_row_are_ten_jumps_and_no_handshake() {
    for offer in [Offer::psk(), Offer::psk().with(CID, &[2, 4, 4])] {
        let (mut server, mut hand) = live(offer);
        for crash in 1..=10 {
            let stored = through_bytes(&server);
            server.take_over(stored, Numbering::Jump);
            // What a claim writes: without it the next crash would come back to the same numbers.
            server.association.as_mut().and_then(Association::numbers).unwrap();
            assert_eq!(numbers(&server).write_next, (crash << 20) + 3);
            let before = hand.application.len();
            hand.say(&mut server, b"still here");
            assert_eq!(hand.application.len(), before + 1);
        }
        assert!(!server.take_events().iter().any(|event| matches!(event, Event::Established { .. })));
    }
}

#[test]
fn an_exact_hand_over_leaves_no_gap() {
    let (mut server, mut hand) = live(Offer::psk());
    hand.say(&mut server, b"x");
    let next = numbers(&server).write_next;
    let stored = through_bytes(&server);
    server.take_over(stored, Numbering::Exact);
    hand.say(&mut server, b"y");
    assert_eq!(numbers(&server).write_next, next + 1);
}

#[test]
fn the_session_ends_before_numbers_that_scandium_cannot_read() {
    let (mut server, mut hand) = live(Offer::psk());
    let mut stored = through_bytes(&server);
    stored.numbers.write_next = (1 << 40) - 1;
    server.take_over(stored, Numbering::Exact);
    server.send(hand.now, b"the last one");
    hand.say(&mut server, b"one that is not answered");
    assert!(server.take_events().contains(&Event::Closed(CloseReason::NumbersUsedUp)));
}
