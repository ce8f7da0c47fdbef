//! Abbreviated handshakes: which sessions may be resumed, and what stays of them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use std::time::Duration;

use godwit_dtls::{
    CloseReason, HandshakeFailure, Numbering, Sent, Stage,
    alert::{Alert, AlertDescription},
    message::MessageType,
    record::ContentType,
    suite::CipherSuite,
};
use kit::{
    credentials::{CREDENTIALS, IDENTITY, KEY, signing_key},
    hand::{CID, EMS, ETM, Hand, MFL, Offer, SNI},
    server::{Event, Server},
    start,
};

/// A session made with this offer, its association gone; and what resumes it.
fn session(offer: Offer) -> (Server, Hand, Vec<u8>) {
    let now = start();
    let (mut server, mut hand) = (Server::new(now), Hand::new(now, offer));
    server.echoes = true;
    hand.establish_psk(&mut server, IDENTITY, KEY);
    server.association = None;
    server.events.clear();
    let id = hand.agreed.as_ref().unwrap().session_id.clone();
    (server, hand, id)
}

fn resume(server: &mut Server, hand: &Hand, offer: Offer) -> Hand {
    let mut again = hand.again(offer);
    again.greet(server);
    again
}

fn assert_resumes(server: &mut Server, mut hand: Hand) -> Hand {
    hand.complete_resumption(server);
    assert!(server.take_events().contains(&Event::Established { resumed: true }));
    hand.say(server, b"again");
    assert_eq!(hand.application, [b"again"]);
    hand
}

/// The server answered with a full handshake and another id.
fn assert_full(server: &mut Server, mut hand: Hand) {
    assert_eq!(hand.kinds(), [MessageType::SERVER_HELLO, MessageType::SERVER_HELLO_DONE]);
    assert_ne!(hand.agreed.as_ref().unwrap().session_id, hand.offer.session_id);
    hand.complete_psk(server, IDENTITY, KEY);
    assert!(server.take_events().contains(&Event::Established { resumed: false }));
}

#[test]
fn a_session_is_resumed_by_its_id_as_often_as_wanted() {
    let (mut server, mut hand, id) = session(Offer::psk());
    for _ in 0..3 {
        let again = resume(&mut server, &hand, Offer::psk().resuming(&id));
        assert_eq!(again.agreed.as_ref().unwrap().session_id, id);
        hand = assert_resumes(&mut server, again);
        server.association = None;
    }
    assert_eq!((server.sessions.len(), server.provisional.len()), (1, 0));
}

#[test]
fn sessions_of_every_mode_and_suite_are_resumed() {
    let device = &CREDENTIALS.device;
    for suite in CipherSuite::ALL {
        for offer in [Offer::psk(), Offer::raw_public_key(), Offer::x509()] {
            let psk = matches!(suite, CipherSuite::PskAes128Ccm8 | CipherSuite::PskAes128Cbc);
            let raw = offer.extensions.as_ref().unwrap().len() > 1;
            if psk != (offer.suites == Offer::psk().suites) {
                continue;
            }
            for etm in [false, true] {
                let offer = offer.clone().suites(&[suite]).with(CID, &[2, 5, 5]);
                let offer = if etm { offer.with(ETM, &[]) } else { offer };
                let now = start();
                let (mut server, mut hand) = (Server::new(now), Hand::new(now, offer.clone()));
                server.echoes = true;
                hand.greet(&mut server);
                if psk {
                    hand.complete_psk(&mut server, IDENTITY, KEY);
                } else {
                    hand.complete_ecdhe(&mut server, device, &signing_key(device), raw);
                }
                server.association = None;
                let id = hand.agreed.clone().unwrap().session_id;
                let again = resume(&mut server, &hand, offer.resuming(&id));
                let agreed = again.agreed.clone().unwrap();
                assert_eq!(agreed.encrypt_then_mac, etm && suite.is_cbc());
                let first = hand.agreed.as_ref().unwrap().connection_id.clone();
                assert_ne!(agreed.connection_id, first, "a connection id is agreed anew, as Scandium does");
                assert_eq!(agreed.connection_id.map(|cid| cid.len()), Some(8));
                assert_resumes(&mut server, again);
            }
        }
    }
}

#[test]
fn resumption_needs_a_cookie_as_well() {
    let (mut server, hand, id) = session(Offer::psk());
    let mut again = hand.again(Offer::psk().resuming(&id));
    let hello = again.hello();
    let answer = server.exchange(again.now, &hello);
    assert!(server.association.is_none(), "nothing is looked up for a stranger");
    assert_eq!(answer.len(), 1);
    again.handle(&answer);
    assert!(again.agreed.is_none() && !again.cookie.is_empty(), "a HelloVerifyRequest and nothing else");
}

#[test]
fn the_extended_master_secret_must_stay_as_it_was() {
    let (mut server, hand, id) = session(Offer::psk());
    let without = resume(&mut server, &hand, Offer::psk().without(EMS).resuming(&id));
    assert_eq!(without.alerts, [(0, Alert::fatal(AlertDescription::HANDSHAKE_FAILURE))], "RFC 7627 §5.3");
    assert_eq!(
        server.take_events(),
        [Event::Closed(CloseReason::Handshake(HandshakeFailure::DroppedExtendedMasterSecret))]
    );
    let again = resume(&mut server, &hand, Offer::psk().resuming(&id));
    assert_resumes(&mut server, again);

    let (mut server, hand, id) = session(Offer::psk().without(EMS));
    let gained = resume(&mut server, &hand, Offer::psk().resuming(&id));
    assert_full(&mut server, gained);
    let (mut server, hand, id) = session(Offer::psk().without(EMS));
    let neither = resume(&mut server, &hand, Offer::psk().without(EMS).resuming(&id));
    assert_resumes(&mut server, neither);
}

#[test]
fn another_server_name_means_a_full_handshake() {
    let name = |name: &[u8]| {
        let len = name.len() as u8;
        [&[0, len + 3, 0, 0, len], name].concat()
    };
    let (mut server, hand, id) = session(Offer::psk().with(SNI, &name(b"one.example")));
    for offer in [Offer::psk(), Offer::psk().with(SNI, &name(b"two.example"))] {
        let other = resume(&mut server, &hand, offer.resuming(&id));
        assert_full(&mut server, other);
        server.association = None;
    }
    let (mut server, hand, id) = session(Offer::psk().with(SNI, &name(b"one.example")));
    let same = resume(&mut server, &hand, Offer::psk().with(SNI, &name(b"one.example")).resuming(&id));
    assert_resumes(&mut server, same);
}

#[test]
fn the_largest_plaintext_is_kept() {
    let (mut server, hand, id) = session(Offer::psk().with(MFL, &[1]));
    let again = resume(&mut server, &hand, Offer::psk().with(MFL, &[1]).resuming(&id));
    assert_eq!(again.agreed.as_ref().unwrap().max_fragment_length, Some(512));
    assert_resumes(&mut server, again);
    assert_eq!(server.association.as_ref().unwrap().max_plaintext(), 512);
    server.association = None;
    let other = resume(&mut server, &hand, Offer::psk().with(MFL, &[2]).resuming(&id));
    assert_full(&mut server, other);
}

#[test]
fn a_session_whose_suite_is_not_offered_is_not_resumed() {
    let (mut server, hand, id) = session(Offer::psk());
    let offer = Offer::psk().suites(&[CipherSuite::PskAes128Cbc]).resuming(&id);
    let other = resume(&mut server, &hand, offer);
    assert_full(&mut server, other);
}

#[test]
fn a_session_that_is_not_given_out_means_a_full_handshake() {
    let (mut server, hand, id) = session(Offer::psk());
    // As a node does when the credential has changed since.
    server.sessions.clear();
    let other = resume(&mut server, &hand, Offer::psk().resuming(&id));
    assert_full(&mut server, other);
}

#[test]
fn close_notify_does_not_forbid_resumption_and_a_fatal_alert_does() {
    for (alert, resumable) in
        [(Alert::CLOSE_NOTIFY, true), (Alert::fatal(AlertDescription::INTERNAL_ERROR), false)]
    {
        let now = start();
        let (mut server, mut hand) = (Server::new(now), Hand::new(now, Offer::psk()));
        server.echoes = true;
        hand.establish_psk(&mut server, IDENTITY, KEY);
        let goodbye = hand.sealed(ContentType::Alert, &alert.to_bytes());
        hand.tell(&mut server, &goodbye);
        assert!(server.association.is_none(), "{alert:?}");
        let answered = if resumable { vec![(1, Alert::CLOSE_NOTIFY)] } else { Vec::new() };
        assert_eq!(hand.alerts, answered);
        server.events.clear();
        let id = hand.agreed.clone().unwrap().session_id;
        let again = resume(&mut server, &hand, Offer::psk().resuming(&id));
        if resumable {
            assert_resumes(&mut server, again);
        } else {
            assert_full(&mut server, again);
        }
    }
}

#[test]
fn a_wrong_client_finished_resumes_nothing_and_spoils_nothing() {
    let (mut server, hand, id) = session(Offer::psk());
    let mut wrong = resume(&mut server, &hand, Offer::psk().resuming(&id));
    let mut verify_data = wrong.verify_data();
    verify_data[0] ^= 0x80;
    let finished = wrong.finished_with(&verify_data);
    wrong.tell(&mut server, &finished);
    assert!(!server.take_events().contains(&Event::Established { resumed: true }));
    assert!(!server.is_established());
    server.association = None;
    let again = resume(&mut server, &hand, Offer::psk().resuming(&id));
    assert_resumes(&mut server, again);
}

#[test]
fn who_does_not_hold_the_master_secret_resumes_nothing() {
    let (mut server, hand, id) = session(Offer::psk());
    let mut thief = Hand::new(hand.now, Offer::psk().resuming(&id));
    thief.master = Some(godwit_dtls::prf::MasterSecret::new([7; 48]));
    let first = thief.hello();
    thief.tell(&mut server, &first);
    let second = thief.hello();
    thief.tell(&mut server, &second);
    for datagram in [thief.finished(), thief.sealed(ContentType::ApplicationData, b"let me in")] {
        thief.tell(&mut server, &datagram);
    }
    assert!(!server.is_established() && server.take_events().is_empty());
    // The thief never goes on: the handshake ends, the session stays.
    while let Some(due) = server.poll_timeout() {
        server.handle_timeout(due);
        server.sent.clear();
    }
    assert!(server.association.is_none());
    assert_eq!(server.sessions.len(), 1);
    let again = resume(&mut server, &hand, Offer::psk().resuming(&id));
    assert_resumes(&mut server, again);
}

#[test]
fn the_server_repeats_its_abbreviated_flight_until_the_clients_finished() {
    let (mut server, hand, id) = session(Offer::psk());
    let mut again = resume(&mut server, &hand, Offer::psk().resuming(&id));
    let mut waits = Vec::new();
    let mut now = again.now;
    for _ in 0..3 {
        let due = server.poll_timeout().unwrap();
        waits.push((due - now).as_secs());
        now = due;
        server.handle_timeout(now);
        let repeated: Vec<_> = server.sent.drain(..).collect();
        assert!(!repeated.is_empty());
        again.handle(&repeated);
    }
    assert_eq!(waits, [2, 4, 8]);
    assert_eq!(server.association.as_mut().unwrap().take_sent(), Sent { alerts: 0, repeats: 3 });
    assert!(server.association.as_ref().unwrap().is_resuming());
    again.now = now;
    assert_resumes(&mut server, again);
    assert!(
        server.poll_timeout().is_none_or(|due| due - now >= Duration::from_secs(59)),
        "the timer stopped"
    );
}

#[test]
fn application_data_promotes_a_session_whose_finished_was_lost() {
    let (mut server, hand, id) = session(Offer::psk());
    let mut again = resume(&mut server, &hand, Offer::psk().resuming(&id));
    let _lost = (again.change_cipher_spec(), again.finished());
    assert_eq!(server.provisional.len(), 1);
    again.say(&mut server, b"on we go");
    assert_eq!(again.application, [b"on we go"]);
    assert_eq!(
        server.take_events(),
        [Event::Established { resumed: true }, Event::Application(b"on we go".to_vec())]
    );
    assert!(server.provisional.is_empty());
}

/// The client is done: it would speak under keys that nobody honours until it gives up.
#[test]
fn a_promotion_that_is_not_stored_is_asked_for_again_by_what_the_client_says_next() {
    let (mut server, hand, id) = session(Offer::psk());
    let mut again = resume(&mut server, &hand, Offer::psk().resuming(&id));
    server.store_fails = true;
    again.complete_resumption(&mut server);
    again.say(&mut server, b"unheard");
    assert_eq!((server.take_events(), server.provisional.len()), (Vec::new(), 1));
    server.store_fails = false;
    again.say(&mut server, b"repeated");
    assert_eq!(
        server.take_events(),
        [Event::Established { resumed: true }, Event::Application(b"repeated".to_vec())]
    );
    assert_eq!(again.application, [b"repeated"]);
}

#[test]
fn another_node_completes_an_abbreviated_handshake() {
    let (mut server, hand, id) = session(Offer::psk());
    let mut again = resume(&mut server, &hand, Offer::psk().resuming(&id));
    let stored = server.provisional.values().next().unwrap().clone();
    assert!(matches!(stored.numbers.stage, Stage::Provisional(_)));
    server.take_over(stored, Numbering::Jump);
    for datagram in [again.change_cipher_spec(), again.finished()] {
        again.tell(&mut server, &datagram);
    }
    assert!(server.take_events().contains(&Event::Established { resumed: true }));
    again.say(&mut server, b"at another node");
    assert_eq!(again.application, [b"at another node"]);
}

#[test]
fn the_old_session_lives_until_the_resumed_one_is_proved() {
    let now = start();
    let (mut server, mut old) = (Server::new(now), Hand::new(now, Offer::psk()));
    server.echoes = true;
    old.establish_psk(&mut server, IDENTITY, KEY);
    let id = old.agreed.clone().unwrap().session_id;
    let again = resume(&mut server, &old, Offer::psk().resuming(&id));
    old.say(&mut server, b"old");
    assert_eq!(old.application, [b"old"]);
    server.events.clear();
    let mut again = assert_resumes(&mut server, again);
    old.say(&mut server, b"too old");
    assert_eq!(old.application, [b"old"], "the old keys are gone");
    again.say(&mut server, b"new");
    assert_eq!(again.application, [&b"again"[..], b"new"]);
}

#[test]
fn a_finished_without_its_connection_id_counts_and_data_without_it_does_not() {
    let (mut server, hand, id) = session(Offer::psk().with(CID, &[1, 7]));
    let mut again = resume(&mut server, &hand, Offer::psk().with(CID, &[1, 7]).resuming(&id));
    let cid = again.agreed.as_mut().unwrap().connection_id.take();
    let finished = again.finished();
    again.tell(&mut server, &finished);
    assert_eq!(server.take_events(), [Event::Established { resumed: true }]);
    again.say(&mut server, b"nameless");
    assert!(server.take_events().is_empty() && again.application.is_empty());
    again.agreed.as_mut().unwrap().connection_id = cid;
    again.say(&mut server, b"again");
    assert_eq!(again.application, [b"again"]);
}
