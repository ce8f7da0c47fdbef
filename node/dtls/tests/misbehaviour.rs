//! Clients that do what no client may, and faults that other servers shipped with.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use std::time::{Duration, Instant};

use godwit_dtls::{
    CloseReason, HandshakeFailure,
    alert::{Alert, AlertDescription},
    message::{Chain, MessageType},
    record::ContentType,
};
use kit::{
    credentials::{CREDENTIALS, Device, IDENTITY, KEY, signing_key},
    hand::{Hand, Offer},
    server::{Event, Server},
    start,
};

fn greeted(offer: Offer) -> (Server, Hand) {
    let now = start();
    let (mut server, mut hand) = (Server::new(now), Hand::new(now, offer));
    hand.greet(&mut server);
    (server, hand)
}

/// The handshake ended with this alert, nothing was stored, and nothing is left.
fn assert_refused(server: &mut Server, hand: &Hand, description: AlertDescription) {
    assert_eq!(hand.alerts, [(0, Alert::fatal(description))]);
    let events = server.take_events();
    assert!(matches!(events[..], [Event::Closed(CloseReason::Handshake(_))]), "{events:?}");
    assert!(server.association.is_none() && server.sessions.is_empty() && server.open_questions() == 0);
}

/// Steps time until the handshake ends by itself; how long that took.
fn wait_for_the_end(server: &mut Server, began: Instant) -> Duration {
    let mut now = began;
    while let Some(due) = server.poll_timeout() {
        now = now.max(due);
        server.handle_timeout(now);
        server.sent.clear();
    }
    assert!(server.association.is_none());
    now - began
}

#[test]
fn a_wrong_client_finished_is_refused() {
    let (mut server, mut hand) = greeted(Offer::psk());
    let exchange = hand.psk_key_exchange(IDENTITY, KEY);
    hand.tell(&mut server, &exchange);
    let mut wrong = hand.verify_data();
    wrong[11] ^= 1;
    let finished = hand.finished_with(&wrong);
    hand.tell(&mut server, &finished);
    assert_refused(&mut server, &hand, AlertDescription::DECRYPT_ERROR);
}

#[test]
fn a_finished_over_another_transcript_is_refused() {
    let (mut server, mut hand) = greeted(Offer::psk());
    let exchange = hand.psk_key_exchange(IDENTITY, KEY);
    hand.tell(&mut server, &exchange);
    hand.transcript.add(&hand.messages[0].clone());
    let finished = hand.finished();
    hand.tell(&mut server, &finished);
    assert_refused(&mut server, &hand, AlertDescription::DECRYPT_ERROR);
}

#[test]
fn an_unsigned_key_exchange_is_refused() {
    let device = &CREDENTIALS.device;
    for raw in [true, false] {
        let (mut server, mut hand) = greeted(if raw { Offer::raw_public_key() } else { Offer::x509() });
        let (certificate, exchange) = (hand.certificate(device, raw), hand.ecdhe_key_exchange());
        hand.tell(&mut server, &certificate);
        hand.tell(&mut server, &exchange);
        // No CertificateVerify: straight on to the keys.
        for datagram in [hand.change_cipher_spec(), hand.finished()] {
            hand.tell(&mut server, &datagram);
        }
        assert!(!server.is_established() && server.sessions.is_empty());
        wait_for_the_end(&mut server, hand.now);
        assert!(matches!(server.take_events()[..], [Event::Closed(CloseReason::Handshake(_))]));
    }
}

#[test]
fn a_signature_by_another_key_over_other_bytes_or_of_zeros_is_refused() {
    let (device, stranger) = (&CREDENTIALS.device, &CREDENTIALS.stranger);
    for case in 0..6 {
        let (mut server, mut hand) = greeted(Offer::raw_public_key());
        let (certificate, exchange) = (hand.certificate(device, true), hand.ecdhe_key_exchange());
        hand.tell(&mut server, &certificate);
        hand.tell(&mut server, &exchange);
        let verify = match case {
            0 => hand.certificate_verify(&signing_key(stranger)),
            1 => {
                hand.transcript.add(&hand.messages[0].clone());
                hand.certificate_verify(&signing_key(device))
            }
            2 => hand.certificate_verify_with(&[0x30, 6, 2, 1, 0, 2, 1, 0]),
            3 => hand.certificate_verify_with(&[0x30, 6, 2, 1, 0, 2, 1, 1]),
            4 => hand.certificate_verify_with(&[0x30, 6, 2, 1, 1, 2, 1, 0]),
            _ => hand.certificate_verify_with(&[]),
        };
        hand.tell(&mut server, &verify);
        assert_refused(&mut server, &hand, AlertDescription::DECRYPT_ERROR);
    }
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    for raw in [true, false] {
        let (mut server, mut hand) = greeted(if raw { Offer::raw_public_key() } else { Offer::x509() });
        let mut body = Vec::new();
        Chain(Vec::new()).encode(&mut body);
        let certificate = hand.message(MessageType::CERTIFICATE, body);
        hand.tell(&mut server, &certificate);
        assert_refused(&mut server, &hand, AlertDescription::HANDSHAKE_FAILURE);
    }
}

#[test]
fn strangers_are_told_why_and_release_everything() {
    let stranger = &CREDENTIALS.stranger;
    let complete = |raw, device: &Device, expected| {
        let (mut server, mut hand) = greeted(if raw { Offer::raw_public_key() } else { Offer::x509() });
        hand.complete_ecdhe(&mut server, device, &signing_key(device), raw);
        assert_refused(&mut server, &hand, expected);
    };
    complete(true, stranger, AlertDescription::CERTIFICATE_UNKNOWN);
    complete(false, stranger, AlertDescription::UNKNOWN_CA);
}

#[test]
fn an_unknown_identity_ends_as_a_wrong_key_does() {
    let attempt = |identity: &[u8], key: &[u8]| {
        let (mut server, mut hand) = greeted(Offer::psk());
        let mut sent = Vec::new();
        for datagram in [hand.psk_key_exchange(identity, key), hand.change_cipher_spec(), hand.finished()] {
            sent.extend(server.exchange(hand.now, &datagram));
        }
        let taken = wait_for_the_end(&mut server, hand.now);
        (sent, taken, server.take_events())
    };
    let (wrong, unknown) = (attempt(IDENTITY, b"another key"), attempt(b"nobody", b"another key"));
    assert_eq!(wrong.0, unknown.0, "what is sent");
    assert_eq!(wrong.1, unknown.1, "how long it takes");
    assert_eq!(wrong.2, unknown.2, "what is said of it");
    assert!(matches!(
        wrong.2[..],
        [Event::Closed(CloseReason::Handshake(HandshakeFailure::TimedOut { unreadable: 1 }))]
    ));
}

#[test]
fn messages_out_of_their_order_are_refused() {
    let device = &CREDENTIALS.device;
    let key = signing_key(device);
    let (mut server, mut hand) = greeted(Offer::raw_public_key());
    let exchange = hand.ecdhe_key_exchange();
    hand.tell(&mut server, &exchange);
    assert_refused(&mut server, &hand, AlertDescription::UNEXPECTED_MESSAGE);

    let (mut server, mut hand) = greeted(Offer::raw_public_key());
    let (certificate, verify) = (hand.certificate(device, true), hand.certificate_verify(&key));
    hand.tell(&mut server, &certificate);
    hand.tell(&mut server, &verify);
    assert_refused(&mut server, &hand, AlertDescription::UNEXPECTED_MESSAGE);

    let (mut server, mut hand) = greeted(Offer::psk());
    let certificate = hand.certificate(device, false);
    hand.tell(&mut server, &certificate);
    assert_refused(&mut server, &hand, AlertDescription::UNEXPECTED_MESSAGE);
}

#[test]
fn a_finished_in_the_clear_finishes_nothing() {
    let (mut server, mut hand) = greeted(Offer::psk());
    let exchange = hand.psk_key_exchange(IDENTITY, KEY);
    hand.tell(&mut server, &exchange);
    let verify_data = hand.verify_data();
    let finished = hand.message(MessageType::FINISHED, verify_data.to_vec());
    hand.tell(&mut server, &finished);
    assert!(!server.is_established() && server.sessions.is_empty());
}

#[test]
fn an_empty_identity_or_point_in_the_wrong_shape_is_refused() {
    for (offer, bodies) in [
        (Offer::psk(), vec![&[][..], &[0], &[0, 5, 1], &[0, 1, 7, 7]]),
        (Offer::raw_public_key(), vec![&[][..], &[0], &[65, 4, 1], &[1, 4, 4], &[2, 4, 4]]),
    ] {
        for body in bodies {
            let (mut server, mut hand) = greeted(offer.clone());
            if offer.suites != Offer::psk().suites {
                let certificate = hand.certificate(&CREDENTIALS.device, true);
                hand.tell(&mut server, &certificate);
            }
            let exchange = hand.message(MessageType::CLIENT_KEY_EXCHANGE, body.to_vec());
            hand.tell(&mut server, &exchange);
            let (_, alert) = hand.alerts[0];
            assert!(alert.is_fatal(), "{body:?}");
            assert!(
                matches!(
                    alert.description,
                    AlertDescription::DECODE_ERROR | AlertDescription::ILLEGAL_PARAMETER
                ),
                "{body:?}: {alert:?}"
            );
            assert!(server.association.is_none());
        }
    }
}

#[test]
fn a_mismatched_handshake_poisons_nothing_for_the_next() {
    let now = start();
    let mut server = Server::new(now);
    let key = signing_key(&CREDENTIALS.device);
    for round in 0..4 {
        for offer in [
            Offer { suites: vec![0x1301], ..Offer::psk() },
            Offer { version: 0xfeff, ..Offer::psk() },
            Offer { trailing: vec![1, 2, 3], ..Offer::psk() },
        ] {
            Hand::new(now, offer).greet(&mut server);
            assert!(server.association.is_none());
        }
        let mut hand = Hand::new(now, Offer::raw_public_key());
        hand.greet(&mut server);
        hand.complete_ecdhe(&mut server, &CREDENTIALS.stranger, &key, true);
        assert!(server.association.is_none());

        let mut good = Hand::new(now, Offer::psk());
        good.establish_psk(&mut server, IDENTITY, KEY);
        let mut good = Hand::new(now, Offer::raw_public_key());
        good.greet(&mut server);
        good.complete_ecdhe(&mut server, &CREDENTIALS.device, &key, true);
        assert!(server.is_established(), "round {round}");
        server.association = None;
        server.events.clear();
    }
}

#[test]
fn half_open_handshakes_do_not_cost_a_live_session() {
    let now = start();
    let mut server = Server::new(now);
    server.echoes = true;
    let mut live = Hand::new(now, Offer::psk());
    live.establish_psk(&mut server, IDENTITY, KEY);
    for round in 0..200 {
        let mut half = Hand::new(now, Offer::psk());
        half.greet(&mut server);
        assert_eq!(half.kinds().last(), Some(&MessageType::SERVER_HELLO_DONE), "round {round}");
        live.say(&mut server, b"still here");
        assert_eq!(live.application.len(), round + 1);
    }
    let mut now = now;
    while let Some(due) = server.poll_timeout() {
        now = now.max(due);
        server.handle_timeout(now);
        server.sent.clear();
        if now - live.now > Duration::from_secs(600) {
            break;
        }
    }
    live.say(&mut server, b"after all of them");
    assert_eq!(live.application.last().unwrap(), b"after all of them");
}

#[test]
fn strangers_without_a_cookie_allocate_nothing() {
    let now = start();
    let mut server = Server::new(now);
    for _ in 0..1000 {
        let mut hand = Hand::new(now, Offer::psk());
        let hello = hand.hello();
        let answer = server.exchange(now, &hello);
        assert!(answer.len() == 1 && answer[0].len() <= hello.len());
        assert!(server.association.is_none());
    }
}

#[test]
fn a_cookie_of_another_hello_or_a_made_up_one_admits_nobody() {
    let now = start();
    let mut server = Server::new(now);
    let mut honest = Hand::new(now, Offer::psk());
    let hello = honest.hello();
    honest.tell(&mut server, &hello);
    for cookie in [honest.cookie.clone(), vec![0; 16], vec![7; 32], vec![1]] {
        let mut thief = Hand::new(now, Offer::psk());
        thief.cookie = cookie;
        let hello = thief.hello();
        thief.tell(&mut server, &hello);
        assert!(server.association.is_none() && thief.agreed.is_none());
    }
}

#[test]
fn two_early_records_wait_for_their_keys_and_no_third() {
    let (mut server, mut hand) = greeted(Offer::psk());
    server.echoes = true;
    let exchange = hand.psk_key_exchange(IDENTITY, KEY);
    let finished = hand.finished();
    // All overtake the key exchange.
    hand.tell(&mut server, &finished);
    let garbage: Vec<u8> = finished.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at > 20)).collect();
    for _ in 0..5 {
        hand.tell(&mut server, &garbage);
    }
    assert!(server.sent.is_empty());
    hand.tell(&mut server, &exchange);
    assert!(server.is_established(), "{:?}", server.events);
    hand.say(&mut server, b"early");
    assert_eq!(hand.application, [b"early"]);
}

#[test]
fn forged_alerts_in_epoch_0_end_no_handshake() {
    let (mut server, mut hand) = greeted(Offer::psk());
    for alert in [Alert::fatal(AlertDescription::HANDSHAKE_FAILURE), Alert::CLOSE_NOTIFY] {
        let datagram = hand.plain(ContentType::Alert, &alert.to_bytes());
        hand.tell(&mut server, &datagram);
    }
    hand.complete_psk(&mut server, IDENTITY, KEY);
}

#[test]
fn a_message_larger_than_any_is_refused_without_being_kept() {
    let (mut server, mut hand) = greeted(Offer::psk());
    let mut fragment = Vec::new();
    godwit_dtls::message::Fragment {
        kind: MessageType::CLIENT_KEY_EXCHANGE,
        total: 0xff_ffff,
        seq: hand.seq,
        offset: 0,
        bytes: &[7; 400],
    }
    .encode(&mut fragment);
    let datagram = hand.plain(ContentType::Handshake, &fragment);
    hand.tell(&mut server, &datagram);
    wait_for_the_end(&mut server, hand.now);
    assert!(matches!(server.take_events()[..], [Event::Closed(CloseReason::Handshake(_))]));
}

#[test]
fn a_store_that_fails_ends_the_handshake_in_silence() {
    let (mut server, mut hand) = greeted(Offer::psk());
    server.store_fails = true;
    for datagram in [hand.psk_key_exchange(IDENTITY, KEY), hand.change_cipher_spec(), hand.finished()] {
        hand.tell(&mut server, &datagram);
    }
    assert!(hand.alerts.is_empty() && hand.change_cipher_specs == 0);
    assert_eq!(server.take_events(), [Event::Closed(CloseReason::Handshake(HandshakeFailure::NotStored))]);
    server.store_fails = false;
    Hand::new(hand.now, Offer::psk()).establish_psk(&mut server, IDENTITY, KEY);
}
