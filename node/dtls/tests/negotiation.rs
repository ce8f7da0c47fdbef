//! What hellos agree on, and how a server says no.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use godwit_dtls::{
    CidPolicy, CloseReason, Ems, HandshakeFailure, Modes,
    alert::{Alert, AlertDescription},
    message::{CertificateRequest, CertificateType, ClientKeyExchange, MessageType, ServerHello},
    suite::CipherSuite,
};
use kit::{
    credentials::{CREDENTIALS, IDENTITY, KEY, signing_key},
    hand::{
        CID, CLIENT_TYPES, EMS, ETM, Hand, MFL, Offer, RENEGOTIATION_INFO, SERVER_TYPES, SNI,
        SUPPORTED_VERSIONS,
    },
    server::{Event, Server},
    start,
};

const GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;

/// A full PSK handshake and one record each way.
fn succeed(server: &mut Server, offer: Offer) -> Hand {
    let mut hand = Hand::new(start(), offer);
    hand.establish_psk(server, IDENTITY, KEY);
    assert!(server.take_events().contains(&Event::Established { resumed: false }));
    talk(server, &mut hand);
    hand
}

fn talk(server: &mut Server, hand: &mut Hand) {
    server.echoes = true;
    hand.say(server, b"there and back");
    assert_eq!(hand.application.last().map(Vec::as_slice), Some(&b"there and back"[..]));
    assert!(server.take_events().contains(&Event::Application(b"there and back".to_vec())));
}

/// The fatal alert that both hellos bring; nothing of the handshake may be left.
fn refuse(server: &mut Server, offer: Offer) -> AlertDescription {
    let mut hand = Hand::new(start(), offer);
    hand.greet(server);
    refused(server, &hand)
}

fn refused(server: &mut Server, hand: &Hand) -> AlertDescription {
    let events = server.take_events();
    assert!(matches!(events[..], [Event::Closed(CloseReason::Handshake(_))]), "{events:?}");
    assert!(server.association.is_none() && server.open_questions() == 0);
    match hand.alerts[..] {
        [(0, alert)] if alert.is_fatal() => alert.description,
        ref other => panic!("not one fatal alert: {other:?}"),
    }
}

fn server() -> Server {
    Server::new(start())
}

#[test]
fn every_suite_in_every_mode_serves_with_and_without_connection_ids() {
    let device = &CREDENTIALS.device;
    let key = signing_key(device);
    for suite in CipherSuite::ALL {
        for cid in [None, Some(&b""[..]), Some(b"abc")] {
            for etm in [false, true] {
                let with_cid = |offer: Offer| match cid {
                    Some(cid) => offer.with(CID, &[&[cid.len() as u8], cid].concat()),
                    None => offer,
                };
                let with_etm = |offer: Offer| if etm { offer.with(ETM, &[]) } else { offer };
                let mut server = server();
                if matches!(suite, CipherSuite::PskAes128Ccm8 | CipherSuite::PskAes128Cbc) {
                    let hand = succeed(&mut server, with_etm(with_cid(Offer::psk().suites(&[suite]))));
                    assert_eq!(hand.agreed.as_ref().unwrap().suite, suite.id());
                    continue;
                }
                for (offer, raw) in [(Offer::raw_public_key(), true), (Offer::x509(), false)] {
                    let mut hand = Hand::new(start(), with_etm(with_cid(offer.suites(&[suite]))));
                    hand.greet(&mut server);
                    hand.complete_ecdhe(&mut server, device, &key, raw);
                    assert!(server.is_established(), "{suite:?}, {:?}: {:?}", hand.offer, hand.alerts);
                    talk(&mut server, &mut hand);
                    server = self::server();
                }
            }
        }
    }
}

#[test]
fn aead_comes_before_cbc_whatever_the_client_prefers() {
    let offer = Offer::psk().suites(&[CipherSuite::PskAes128Cbc, CipherSuite::PskAes128Ccm8]);
    let hand = succeed(&mut server(), offer);
    assert_eq!(hand.agreed.unwrap().suite, CipherSuite::PskAes128Ccm8.id());
}

#[test]
fn suites_that_nobody_here_knows_are_passed_over() {
    // Scandium's order: ECDHE_PSK first.
    let mut offer = Offer::psk();
    offer.suites = vec![0xd005, 0xd001, 0xc037, 0xc0a8, 0x00ff];
    assert_eq!(succeed(&mut server(), offer).agreed.unwrap().suite, 0xc0a8);
}

#[test]
fn a_client_of_cbc_alone_is_served_unless_cbc_is_off() {
    let offer = Offer::psk().suites(&[CipherSuite::PskAes128Cbc]);
    succeed(&mut server(), offer.clone());
    let mut server = server();
    server.config.suites.retain(|suite| !suite.is_cbc());
    assert_eq!(refuse(&mut server, offer), AlertDescription::HANDSHAKE_FAILURE);
}

#[test]
fn a_mode_that_is_off_is_not_served() {
    let mut server = server();
    server.config.modes = Modes { psk: false, raw_public_key: true, x509: true };
    assert_eq!(refuse(&mut server, Offer::psk()), AlertDescription::HANDSHAKE_FAILURE);
    server.config.modes = Modes { psk: true, raw_public_key: false, x509: false };
    refuse(&mut server, Offer::x509());
    server.config.identity = None;
    server.config.modes = Modes { psk: true, raw_public_key: true, x509: true };
    assert_eq!(refuse(&mut server, Offer::x509()), AlertDescription::HANDSHAKE_FAILURE);
}

#[test]
fn dtls_1_2_is_chosen_though_the_client_also_speaks_1_3() {
    let offer = Offer::psk().with(SUPPORTED_VERSIONS, &[4, 0xfe, 0xfc, 0xfe, 0xfd]);
    let hand = succeed(&mut server(), offer);
    assert_eq!(hand.messages[0].body[..2], [0xfe, 0xfd]);
}

#[test]
fn a_client_of_dtls_1_0_is_told_the_version() {
    let offer = Offer { version: 0xfeff, ..Offer::psk() };
    assert_eq!(refuse(&mut server(), offer), AlertDescription::PROTOCOL_VERSION);
}

#[test]
fn a_hello_without_extensions_gets_a_hello_without_extensions() {
    let offer = Offer { extensions: None, ..Offer::psk() };
    let hand = succeed(&mut server(), offer);
    let hello = hand.body(MessageType::SERVER_HELLO);
    assert_eq!(hello.len(), 2 + 32 + 1 + 32 + 2 + 1, "no extension block, not even an empty one");
    assert_eq!(hand.kinds()[..2], [MessageType::SERVER_HELLO, MessageType::SERVER_HELLO_DONE], "no hint");
}

#[test]
fn a_session_id_that_nobody_knows_means_a_full_handshake() {
    for id in [&[7][..], &[8; 32]] {
        let hand = succeed(&mut server(), Offer::psk().resuming(id));
        let given = hand.agreed.unwrap().session_id;
        assert_eq!(given.len(), 32);
        assert_ne!(given, id);
    }
}

#[test]
fn bytes_after_a_hello_are_refused_and_nothing_breaks() {
    for trailing in 1..8 {
        let offer = Offer { trailing: vec![0; trailing], ..Offer::psk() };
        assert_eq!(refuse(&mut server(), offer), AlertDescription::DECODE_ERROR, "{trailing}");
        let bare = Offer { trailing: vec![9; trailing], extensions: None, ..Offer::psk() };
        assert_eq!(refuse(&mut server(), bare), AlertDescription::DECODE_ERROR, "{trailing}");
    }
}

#[test]
fn an_extension_sent_twice_is_illegal() {
    let offer = Offer::psk().with(EMS, &[]);
    assert_eq!(refuse(&mut server(), offer), AlertDescription::ILLEGAL_PARAMETER);
}

#[test]
fn renegotiation_is_signalled_as_the_client_does_it_and_never_in_a_first_hello() {
    let silent = succeed(&mut server(), Offer::psk());
    assert_eq!(silent.agreed.unwrap().renegotiation_info, None, "silence is answered with silence");
    let extension = succeed(&mut server(), Offer::psk().with(RENEGOTIATION_INFO, &[0]));
    assert_eq!(extension.agreed.unwrap().renegotiation_info, Some(vec![]));
    let mut offer = Offer::psk();
    offer.suites.push(0x00ff);
    let signalling = succeed(&mut server(), offer);
    assert_eq!(signalling.agreed.unwrap().renegotiation_info, Some(vec![]));
    let full = Offer::psk().with(RENEGOTIATION_INFO, &[12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(refuse(&mut server(), full), AlertDescription::HANDSHAKE_FAILURE);
}

#[test]
fn encrypt_then_mac_is_agreed_for_cbc_and_never_for_aead() {
    let aead = succeed(&mut server(), Offer::psk().with(ETM, &[]));
    assert!(!aead.agreed.unwrap().encrypt_then_mac);
    let cbc = Offer::psk().suites(&[CipherSuite::PskAes128Cbc]);
    let plain = succeed(&mut server(), cbc.clone());
    assert!(!plain.agreed.unwrap().encrypt_then_mac);
    let with = succeed(&mut server(), cbc.with(ETM, &[]).with(CID, &[2, 7, 7]));
    let agreed = with.agreed.unwrap();
    assert!(agreed.encrypt_then_mac && agreed.connection_id.is_some(), "with a connection id as well");
}

#[test]
fn the_largest_plaintext_is_agreed_kept_and_reported() {
    for (code, bytes) in [(1, 512), (2, 1024), (3, 2048), (4, 4096)] {
        let mut server = server();
        let hand = succeed(&mut server, Offer::psk().with(MFL, &[code]));
        assert_eq!(hand.agreed.unwrap().max_fragment_length, Some(bytes));
        assert_eq!(server.association.unwrap().max_plaintext(), bytes);
    }
    assert_eq!(refuse(&mut server(), Offer::psk().with(MFL, &[5])), AlertDescription::ILLEGAL_PARAMETER);
}

#[test]
fn a_server_name_may_be_an_address() {
    succeed(&mut server(), Offer::psk().with(SNI, b"\0\x0c\0\0\x09127.0.0.1"));
}

#[test]
fn all_that_mbed_tls_says_at_once_is_answered() {
    const SESSION_TICKET: u16 = 35;
    let mut offer = Offer::psk()
        .with(SNI, b"\0\x0c\0\0\x09127.0.0.1")
        .with(SIGNATURE_ALGORITHMS, &[0, 4, 4, 3, 4, 1])
        .with(GROUPS, &[0, 4, 0, 29, 0, 23])
        .with(POINT_FORMATS, &[1, 0])
        .with(MFL, &[2])
        .with(CID, &[4, 1, 2, 3, 4])
        .with(ETM, &[])
        .with(SESSION_TICKET, &[]);
    offer.suites = vec![0x00ae, 0x008c, 0x00ff];
    let agreed = succeed(&mut server(), offer).agreed.unwrap();
    assert_eq!(agreed.suite, CipherSuite::PskAes128Cbc.id());
    assert!(agreed.encrypt_then_mac && agreed.extended_master_secret && !agreed.server_name);
    assert_eq!(agreed.max_fragment_length, Some(1024));
    assert_eq!(
        (agreed.connection_id.map(|cid| cid.len()), agreed.renegotiation_info),
        (Some(8), Some(vec![]))
    );
}

#[test]
fn connection_ids_are_eight_bytes_here_and_any_length_there() {
    for len in [0, 1, 8, 32] {
        let cid = vec![7; len];
        let hand = succeed(&mut server(), Offer::psk().with(CID, &[&[len as u8], &cid[..]].concat()));
        assert_eq!(hand.agreed.unwrap().connection_id.unwrap().len(), 8);
    }
    let long = Offer::psk().with(CID, &[&[33][..], &[7; 33]].concat());
    assert_eq!(refuse(&mut server(), long), AlertDescription::ILLEGAL_PARAMETER);
    let without = succeed(&mut server(), Offer::psk());
    assert_eq!(without.agreed.unwrap().connection_id, None, "not asked for");

    let mut server = server();
    server.config.cid = CidPolicy::Off;
    let one_way = succeed(&mut server, Offer::psk().with(CID, &[3, 1, 2, 3]));
    assert_eq!(one_way.agreed.unwrap().connection_id, Some(vec![]), "the client's is used, none is given");
}

#[test]
fn the_extended_master_secret_is_used_where_offered_and_can_be_required() {
    assert!(succeed(&mut server(), Offer::psk()).agreed.unwrap().extended_master_secret);
    let without = Offer::psk().without(EMS);
    assert!(!succeed(&mut server(), without.clone()).agreed.unwrap().extended_master_secret);
    let mut server = server();
    server.config.ems = Ems::Require;
    assert_eq!(refuse(&mut server, without), AlertDescription::HANDSHAKE_FAILURE);
    succeed(&mut server, Offer::psk());
}

#[test]
fn raw_public_keys_are_bare_and_no_authority_is_named() {
    let mut server = server();
    let mut hand = Hand::new(start(), Offer::raw_public_key());
    hand.greet(&mut server);
    assert_eq!(
        hand.kinds(),
        [
            MessageType::SERVER_HELLO,
            MessageType::CERTIFICATE,
            MessageType::SERVER_KEY_EXCHANGE,
            MessageType::CERTIFICATE_REQUEST,
            MessageType::SERVER_HELLO_DONE
        ]
    );
    let shown = hand.body(MessageType::CERTIFICATE);
    assert_eq!(shown[..3], [0, 0, 91]);
    assert_eq!(&shown[3..], CREDENTIALS.server.spki());
    let request = CertificateRequest::parse(hand.body(MessageType::CERTIFICATE_REQUEST)).unwrap();
    assert!(request.authorities.is_empty() && request.schemes.contains(0x0403));
    let hello = ServerHello::parse(hand.body(MessageType::SERVER_HELLO)).unwrap();
    assert_eq!(hello.extensions.client_certificate_type, Some(CertificateType::RawPublicKey));
    assert_eq!(hello.extensions.server_certificate_type, Some(CertificateType::RawPublicKey));
}

#[test]
fn no_common_certificate_type_is_alert_43() {
    let offer = || Offer::x509().without(CLIENT_TYPES).without(SERVER_TYPES);
    for types in [(CLIENT_TYPES, [1, 1]), (SERVER_TYPES, [1, 3])] {
        let mut server = server();
        assert_eq!(
            refuse(&mut server, offer().with(types.0, &types.1)),
            AlertDescription::UNSUPPORTED_CERTIFICATE
        );
    }
    let mut server = server();
    server.config.modes.x509 = false;
    assert_eq!(refuse(&mut server, Offer::x509()), AlertDescription::UNSUPPORTED_CERTIFICATE, "X.509 alone");
    server.config.modes = Modes { psk: true, raw_public_key: false, x509: true };
    let raw = Offer::raw_public_key();
    assert_eq!(refuse(&mut server, raw), AlertDescription::UNSUPPORTED_CERTIFICATE, "raw keys alone");
}

#[test]
fn a_client_that_lacks_our_curve_format_or_scheme_is_refused() {
    for (code, bytes) in
        [(GROUPS, &[0, 2, 0, 29][..]), (POINT_FORMATS, &[1, 1]), (SIGNATURE_ALGORITHMS, &[0, 2, 4, 1])]
    {
        let description = refuse(&mut server(), Offer::x509().with(code, bytes));
        assert!(
            matches!(description, AlertDescription::HANDSHAKE_FAILURE | AlertDescription::ILLEGAL_PARAMETER),
            "extension {code}: {description}"
        );
        // They say nothing about pre-shared keys.
        succeed(&mut server(), Offer::psk().with(code, bytes));
    }
}

#[test]
fn a_client_that_can_do_psk_gets_it_when_its_certificate_type_does_not_fit() {
    let mut offer = Offer::psk().with(CLIENT_TYPES, &[1, 1]);
    offer.suites.insert(0, CipherSuite::EcdheEcdsaAes128Ccm8.id());
    let hand = succeed(&mut server(), offer);
    assert_eq!(hand.agreed.unwrap().suite, CipherSuite::PskAes128Ccm8.id());
}

#[test]
fn identities_have_up_to_128_bytes_of_any_kind_and_keys_up_to_64() {
    for (identity, key) in [(vec![0xff; 128], vec![1; 64]), (vec![0], vec![0]), (Vec::new(), vec![5; 16])] {
        let mut server = server();
        server.psks.insert(identity.clone(), key.clone());
        let mut hand = Hand::new(start(), Offer::psk());
        hand.establish_psk(&mut server, &identity, &key);
    }
    let mut server = server();
    let mut hand = Hand::new(start(), Offer::psk());
    hand.greet(&mut server);
    let mut body = Vec::new();
    ClientKeyExchange::Psk(&[7; 129]).encode(&mut body);
    let exchange = hand.message(MessageType::CLIENT_KEY_EXCHANGE, body);
    hand.tell(&mut server, &exchange);
    assert_eq!(refused(&mut server, &hand), AlertDescription::ILLEGAL_PARAMETER);
}

#[test]
fn the_server_hello_has_the_record_and_message_numbers_of_the_second_hello() {
    let mut server = server();
    let mut hand = Hand::new(start(), Offer::psk());
    hand.numbers[0] = 41;
    let first = hand.hello();
    hand.tell(&mut server, &first);
    hand.numbers[0] = 77;
    let second = hand.hello();
    let answer = server.exchange(hand.now, &second);
    assert_eq!(answer[0][3..11], [0, 0, 0, 0, 0, 0, 0, 77], "epoch and record number");
    assert_eq!(answer[0][17..19], [0, 1], "message number");
    hand.handle(&answer);
    hand.complete_psk(&mut server, IDENTITY, KEY);
}

#[test]
fn a_hello_in_fragments_passes_the_gate_by_its_first() {
    let mut server = server();
    let mut hand = Hand::new(start(), Offer::psk());
    let first = hand.hello();
    hand.tell(&mut server, &first);
    let whole = hand.hello();
    let fragment = godwit_dtls::message::Fragments::parse(&whole[13..]).next().unwrap().unwrap();
    let message = godwit_dtls::message::Message {
        kind: fragment.kind,
        seq: fragment.seq,
        body: fragment.bytes.to_vec(),
    };
    let parts = hand.fragmented(&message, 60);
    assert_eq!(parts.len(), 2);
    // The second overtakes, and is lost on a server that keeps nothing for strangers.
    for part in [&parts[1], &parts[0], &parts[1]] {
        hand.tell(&mut server, part);
    }
    hand.complete_psk(&mut server, IDENTITY, KEY);
}

#[test]
fn a_refusal_is_an_alert_that_names_no_secret() {
    let mut server = server();
    let mut hand = Hand::new(start(), Offer { suites: vec![0x1301], ..Offer::psk() });
    hand.greet(&mut server);
    assert_eq!(hand.alerts, [(0, Alert::fatal(AlertDescription::HANDSHAKE_FAILURE))]);
    assert_eq!(
        server.take_events(),
        [Event::Closed(CloseReason::Handshake(HandshakeFailure::NothingCommon("cipher suite")))]
    );
}

#[test]
fn while_a_key_takes_the_place_of_another_both_are_good_and_no_third() {
    for (key, good) in [(KEY, true), (&b"the key before"[..], true), (b"the key before that", false)] {
        let now = start();
        let (mut server, mut hand) = (Server::new(now), Hand::new(now, Offer::psk()));
        server.former_psks.insert(IDENTITY.to_vec(), b"the key before".to_vec());
        hand.greet(&mut server);
        let exchange = hand.psk_key_exchange(IDENTITY, key);
        hand.tell(&mut server, &exchange);
        let finished = hand.finished();
        hand.tell(&mut server, &finished);
        assert_eq!(server.is_established(), good);
        if good {
            server.echoes = true;
            hand.say(&mut server, b"alive");
            assert_eq!(hand.application, [b"alive"]);
        }
    }
}
