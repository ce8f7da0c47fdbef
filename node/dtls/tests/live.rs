//! A live session: what may touch it, and what a new handshake beside it does.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use std::time::Duration;

use godwit_dtls::{
    CloseReason, Dropped, HandshakeFailure, Numbering, Stage,
    alert::{Alert, AlertDescription},
    message::{Message, MessageType},
    record::{ContentType, Records},
};
use kit::{
    credentials::{IDENTITY, KEY},
    hand::{CID, Hand, Offer, RENEGOTIATION_INFO},
    live,
    server::{Event, Server},
    start,
};

fn assert_lives(server: &mut Server, hand: &mut Hand) {
    let before = hand.application.len();
    hand.say(server, b"alive");
    assert_eq!(hand.application.len(), before + 1, "{:?}", server.events);
}

#[test]
fn alerts_and_stray_messages_in_epoch_0_are_dropped() {
    let (mut server, mut hand) = live(Offer::psk());
    let finished = Message { kind: MessageType::FINISHED, seq: hand.seq, body: vec![0; 12] };
    let exchange = Message { kind: MessageType::CLIENT_KEY_EXCHANGE, seq: 2, body: vec![0, 0] };
    for (content_type, plaintext) in [
        (ContentType::Alert, Alert::CLOSE_NOTIFY.to_bytes().to_vec()),
        (ContentType::Alert, Alert::fatal(AlertDescription::INTERNAL_ERROR).to_bytes().to_vec()),
        (ContentType::Handshake, finished.to_bytes()),
        (ContentType::Handshake, exchange.to_bytes()),
        (ContentType::ApplicationData, b"plain".to_vec()),
        (ContentType::ChangeCipherSpec, vec![1]),
    ] {
        let datagram = hand.plain(content_type, &plaintext);
        let answer = server.exchange(hand.now, &datagram);
        assert!(answer.is_empty() && server.take_events().is_empty(), "{content_type:?}");
    }
    assert_lives(&mut server, &mut hand);
}

#[test]
fn records_that_do_not_authenticate_are_dropped_and_end_nothing() {
    for offer in [Offer::psk(), Offer::psk().with(CID, &[1, 9])] {
        let (mut server, mut hand) = live(offer);
        let good = hand.sealed(ContentType::ApplicationData, b"good");
        for at in 11..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let answer = server.exchange(hand.now, &bad);
            assert!(answer.is_empty() && server.take_events().is_empty(), "byte {at}");
        }
        hand.tell(&mut server, &good);
        assert_eq!(server.take_events(), [Event::Application(b"good".to_vec())]);
        hand.tell(&mut server, &good);
        assert!(server.take_events().is_empty(), "a replay");
        assert_lives(&mut server, &mut hand);
    }
}

#[test]
fn records_may_overtake_within_the_window_of_64() {
    let (mut server, mut hand) = live(Offer::psk());
    let records: Vec<_> = (0..70_u8).map(|at| hand.sealed(ContentType::ApplicationData, &[at])).collect();
    for record in records.iter().rev() {
        hand.tell(&mut server, record);
    }
    let taken = server.take_events().iter().filter(|event| matches!(event, Event::Application(_))).count();
    assert_eq!(taken, 64);
}

#[test]
fn renegotiation_is_refused_and_the_session_goes_on() {
    let (mut server, mut hand) = live(Offer::psk().with(RENEGOTIATION_INFO, &[0]));
    let mut inner = Hand::new(hand.now, Offer::psk());
    let hello = inner.hello();
    for plaintext in [&hello[13..], &[]] {
        let sealed = hand.sealed(ContentType::Handshake, plaintext);
        hand.tell(&mut server, &sealed);
    }
    assert_eq!(hand.alerts[0], (1, Alert::warning(AlertDescription::NO_RENEGOTIATION)));
    assert!(server.take_events().is_empty());
    assert_lives(&mut server, &mut hand);
}

#[test]
fn a_new_handshake_takes_the_old_ones_place_when_it_is_done() {
    let (mut server, mut old) = live(Offer::psk());
    let mut new = Hand::new(old.now, Offer::psk());
    new.greet(&mut server);
    assert_lives(&mut server, &mut old);
    let exchange = new.psk_key_exchange(IDENTITY, KEY);
    new.tell(&mut server, &exchange);
    assert_lives(&mut server, &mut old);
    let finished = new.finished();
    new.tell(&mut server, &finished);
    assert!(server.take_events().contains(&Event::Established { resumed: false }));
    assert_lives(&mut server, &mut new);
    old.say(&mut server, b"late");
    assert!(!server.take_events().contains(&Event::Application(b"late".to_vec())), "keys that are gone");
}

#[test]
fn a_handshake_that_fails_leaves_the_live_session() {
    let (mut server, mut hand) = live(Offer::psk());
    for round in 0..3 {
        let mut wrong = Hand::new(hand.now, Offer::psk());
        wrong.greet(&mut server);
        let exchange = wrong.psk_key_exchange(IDENTITY, KEY);
        wrong.tell(&mut server, &exchange);
        let finished = wrong.finished_with(&[round; 12]);
        wrong.tell(&mut server, &finished);
        assert_eq!(server.take_events(), [Event::HandshakeFailed(HandshakeFailure::WrongFinished)]);
        assert_lives(&mut server, &mut hand);
        server.events.clear();
    }
    let mut nobody = Hand::new(hand.now, Offer { suites: vec![0x1301], ..Offer::psk() });
    nobody.greet(&mut server);
    assert!(matches!(server.take_events()[..], [Event::HandshakeFailed(HandshakeFailure::NothingCommon(_))]));
    assert_lives(&mut server, &mut hand);
}

#[test]
fn a_handshake_with_another_key_leaves_the_live_session() {
    let (mut server, mut hand) = live(Offer::psk());
    let mut thief = Hand::new(hand.now, Offer::psk());
    thief.greet(&mut server);
    for datagram in [thief.psk_key_exchange(IDENTITY, b"guess"), thief.finished()] {
        thief.tell(&mut server, &datagram);
    }
    assert_lives(&mut server, &mut hand);
    let mut now = hand.now;
    while let Some(due) = server.poll_timeout().filter(|due| *due < hand.now + Duration::from_secs(300)) {
        now = now.max(due);
        server.handle_timeout(now);
        server.sent.clear();
    }
    assert!(server.events.iter().any(|event| matches!(
        event,
        Event::HandshakeFailed(HandshakeFailure::TimedOut { unreadable: 1.. })
    )));
    assert_lives(&mut server, &mut hand);
}

#[test]
fn a_late_copy_of_the_hello_begins_nothing() {
    let now = start();
    let (mut server, mut hand) = (Server::new(now), Hand::new(now, Offer::psk()));
    server.echoes = true;
    let mut hellos = Vec::new();
    for _ in 0..2 {
        let hello = hand.hello();
        hand.tell(&mut server, &hello);
        hellos.push(hello);
    }
    hand.complete_psk(&mut server, IDENTITY, KEY);
    assert_lives(&mut server, &mut hand);
    assert!(server.exchange(now, &hellos[1]).is_empty());
    // A device that draws the same random after its restart is heard later.
    assert!(!server.exchange(now + Duration::from_secs(60), &hellos[1]).is_empty());

    let id = hand.agreed.clone().unwrap().session_id;
    let mut again = hand.again(Offer::psk().resuming(&id));
    let first = again.hello();
    again.tell(&mut server, &first);
    let second = again.hello();
    again.tell(&mut server, &second);
    again.complete_resumption(&mut server);
    assert!(server.exchange(now, &second).is_empty(), "an abbreviated handshake's");
    assert_eq!(server.provisional.len(), 0);
    assert_lives(&mut server, &mut again);
}

#[test]
fn early_records_beside_a_live_session_wait_as_well() {
    let (mut server, mut old) = live(Offer::psk());
    let mut new = Hand::new(old.now, Offer::psk());
    new.greet(&mut server);
    let (exchange, finished) = (new.psk_key_exchange(IDENTITY, KEY), new.finished());
    // Its number is one that the live session has seen.
    new.tell(&mut server, &finished);
    assert_lives(&mut server, &mut old);
    new.tell(&mut server, &exchange);
    assert!(server.take_events().contains(&Event::Established { resumed: false }));
    assert_lives(&mut server, &mut new);
}

#[test]
fn a_repeated_finished_is_answered_once_a_second() {
    let (mut server, mut hand) = live(Offer::psk());
    let mut body = Vec::new();
    body.extend(hand.master.clone().unwrap().verify_data(godwit_dtls::prf::Side::Client, &[0; 32]));
    let finished = Message { kind: MessageType::FINISHED, seq: 3, body };
    let mut answers = Vec::new();
    for (later, expected) in [(0, 0), (999, 0), (1000, 1), (1500, 0), (2000, 1), (250_000, 0)] {
        let repeated = hand.sealed(ContentType::Handshake, &finished.to_bytes());
        let now = hand.now + Duration::from_millis(later);
        let answer = server.exchange(now, &repeated);
        assert_eq!(answer.len(), expected, "after {later} ms");
        answers.extend(answer);
    }
    let numbers: Vec<_> = answers
        .iter()
        .flat_map(|datagram| Records::parse(datagram, 0).map(|record| record.unwrap()))
        .map(|record| (record.epoch, record.number))
        .collect();
    let mut unique = numbers.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), numbers.len(), "a number used twice: {numbers:?}");
}

#[test]
fn an_heir_answers_a_repeated_finished() {
    let now = start();
    let (mut server, mut hand) = (Server::new(now), Hand::new(now, Offer::psk()));
    server.echoes = true;
    hand.greet(&mut server);
    let exchange = hand.psk_key_exchange(IDENTITY, KEY);
    hand.tell(&mut server, &exchange);
    let first = hand.finished();
    // Its answer is lost, and so is its owner.
    server.exchange(now, &first);
    let stored = server.sessions.values().next().unwrap().clone();
    assert!(matches!(stored.numbers.stage, Stage::Answer(_)));
    for numbering in [Numbering::Exact, Numbering::Jump] {
        server.take_over(stored.clone(), numbering);
        let mut body = Vec::new();
        body.extend(hand.verify_data());
        let finished = Message { kind: MessageType::FINISHED, seq: hand.seq - 1, body };
        let repeated = hand.sealed(ContentType::Handshake, &finished.to_bytes());
        hand.tell(&mut server, &repeated);
        assert_eq!(hand.kinds().last(), Some(&MessageType::FINISHED));
        assert_lives(&mut server, &mut hand);
    }
}

#[test]
fn numbers_go_on_after_a_take_over_and_none_comes_twice() {
    let (mut server, mut hand) = live(Offer::psk());
    assert_lives(&mut server, &mut hand);
    let stored = server.association.as_ref().unwrap().export().unwrap();
    let next = |server: &mut Server, hand: &Hand| {
        server.send(hand.now, b"next");
        let datagram = server.sent.pop_back().unwrap();
        Records::parse(&datagram, 0).next().unwrap().unwrap().number
    };
    let last = next(&mut server, &hand);
    server.take_over(stored.clone(), Numbering::Jump);
    let first = next(&mut server, &hand);
    assert!(first > last && first % (1 << 20) == 3, "{last} then {first}");
    assert_lives(&mut server, &mut hand);
    let exact = server.association.as_ref().unwrap().export().unwrap();
    server.take_over(exact, Numbering::Exact);
    assert_eq!(next(&mut server, &hand), first + 2, "dense through an exact hand-over");
    assert_lives(&mut server, &mut hand);
}

#[test]
fn what_was_received_stays_received_after_a_take_over() {
    let (mut server, mut hand) = live(Offer::psk());
    let seen = hand.sealed(ContentType::ApplicationData, b"once");
    hand.tell(&mut server, &seen);
    let stored = server.association.as_ref().unwrap().export().unwrap();
    assert_eq!(stored.authenticate(&seen), Err(Dropped::Replayed));
    let fresh = hand.sealed(ContentType::ApplicationData, b"fresh");
    assert!(stored.authenticate(&fresh).is_ok());
    server.take_over(stored, Numbering::Exact);
    server.events.clear();
    hand.tell(&mut server, &seen);
    assert!(server.take_events().is_empty());
    hand.tell(&mut server, &fresh);
    assert_eq!(server.take_events(), [Event::Application(b"fresh".to_vec())]);
}

#[test]
fn authentic_alerts_count() {
    let (mut server, mut hand) = live(Offer::psk());
    let warning =
        hand.sealed(ContentType::Alert, &Alert::warning(AlertDescription::NO_RENEGOTIATION).to_bytes());
    hand.tell(&mut server, &warning);
    assert_lives(&mut server, &mut hand);
    server.events.clear();
    let fatal = Alert::fatal(AlertDescription::BAD_RECORD_MAC);
    let fatal = hand.sealed(ContentType::Alert, &fatal.to_bytes());
    hand.tell(&mut server, &fatal);
    assert_eq!(server.take_events(), [Event::Closed(CloseReason::PeerAlert(20))]);
    assert!(server.association.is_none());
}

#[test]
fn with_a_connection_id_agreed_records_without_it_are_dropped() {
    let (mut server, mut hand) = live(Offer::psk().with(CID, &[0]));
    let cid = hand.agreed.as_mut().unwrap().connection_id.take().unwrap();
    let bare = hand.sealed(ContentType::ApplicationData, b"bare");
    hand.tell(&mut server, &bare);
    let mut other = cid.clone();
    other[7] ^= 1;
    hand.agreed.as_mut().unwrap().connection_id = Some(other);
    let strange = hand.sealed(ContentType::ApplicationData, b"strange");
    hand.tell(&mut server, &strange);
    assert!(server.take_events().is_empty());
    hand.agreed.as_mut().unwrap().connection_id = Some(cid);
    assert_lives(&mut server, &mut hand);
}
