//! Bytes that are no message, messages that ask for what is not there, and every published vector.

#![allow(clippy::unwrap_used, reason = "a test")]

mod util;

use coap_lite::Packet;
use godwit_coap::{
    Code, Config, Event, FailReason, Fate, Ignored, Malformed, Peer, Request, Response, Token,
};
use proptest::prelude::*;
use serde_json::Value;
use util::*;

/// What a server without anything open must do with a vector.
#[derive(Debug, PartialEq)]
enum Treatment {
    Reset,
    Answer(Code),
    Raise,
    Silence,
}

fn treat(bytes: &[u8]) -> (Fate, Treatment) {
    let mut bench = Bench::new();
    let fate = bench.put(bytes);
    let raised = !bench.events().is_empty();
    let sent = bench.sent();
    let treatment = match (raised, sent.as_slice()) {
        (true, []) => Treatment::Raise,
        (false, []) => Treatment::Silence,
        (false, [sent]) if sent[0] & 0x30 == 0x30 => {
            assert_eq!(sent[..], [0x70, 0, bytes[2], bytes[3]]);
            Treatment::Reset
        }
        (false, [sent]) => Treatment::Answer(Code(sent[1])),
        other => panic!("{other:?}"),
    };
    (fate, treatment)
}

fn published() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("vectors/coap.json")).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

/// By the type in the first byte: a confirmable one is reset, others are met by silence.
fn rejected(bytes: &[u8]) -> Treatment {
    if bytes[0] & 0x30 == 0 { Treatment::Reset } else { Treatment::Silence }
}

#[test]
fn every_published_vector_is_treated_as_it_says() {
    for vector in published() {
        let id = vector["id"].as_str().unwrap();
        let bytes = hex(vector["hex"].as_str().unwrap());
        let (fate, treatment) = treat(&bytes);
        let expected = match (vector["expect"].as_str().unwrap(), id) {
            // Version other than 1 is ignored (§3); Wakaama tells its caller of a bad request instead.
            ("ignore", _) => Treatment::Silence,
            ("format-error", _) => rejected(&bytes),
            (_, "californium-class-1") => Treatment::Reset,
            (_, "californium-rst-code" | "ack-request") => Treatment::Silence,
            (_, "californium-code-0.08") => Treatment::Answer(Code::METHOD_NOT_ALLOWED),
            (_, "californium-uri-port-long" | "californium-critical-25" | "uri-port-twice") => {
                Treatment::Answer(Code::BAD_OPTION)
            }
            // Wakaama answers 4.02 to Proxy-Scheme; we follow §5.10.2, as with Proxy-Uri: 5.05.
            (_, "californium-elective-24" | "wakaama-critical-39") => {
                Treatment::Answer(Code::PROXYING_NOT_SUPPORTED)
            }
            // An acknowledgement of nothing that is open, whatever its options.
            (_, "wakaama-content-format-3") => Treatment::Silence,
            // Read as bytes only. Class 3 is reserved (§3), and a non-confirmable one is dropped (§4.3).
            (_, "libcoap-token" | "libcoap-zero-delta") => Treatment::Silence,
            // A ping.
            (_, "go-coap-empty") => Treatment::Reset,
            // These carry the option alone, without the bytes that it announces.
            (_, "rfc7959-block1-0-1-128" | "rfc7959-block1-1-1-128" | "rfc7959-block1-0-1-32") => {
                Treatment::Answer(Code::BAD_REQUEST)
            }
            (_, "rfc7959-block1-2-0-128") => Treatment::Answer(Code::REQUEST_ENTITY_INCOMPLETE),
            (_, "rfc7959-block1-1048575-1-1024") => Treatment::Answer(Code::BAD_REQUEST),
            _ => by_rule(&vector, &bytes),
        };
        assert_eq!(treatment, expected, "{id}: {fate:?}");
    }
}

/// What §4.2, §4.3 and §5.4.1 say of a well-formed message.
fn by_rule(vector: &Value, bytes: &[u8]) -> Treatment {
    let message = &vector["message"];
    let code = message["code"].as_str().unwrap();
    let kind = message["type"].as_str().unwrap();
    let exchange = vector["exchange"].as_str().unwrap_or_default();
    if matches!(kind, "ACK" | "RST") {
        return Treatment::Silence;
    }
    if exchange.starts_with("rfc7959") && code == "0.03" {
        let first = vector["id"].as_str().unwrap().ends_with("-1");
        return Treatment::Answer(if first { Code::CONTINUE } else { Code::REQUEST_ENTITY_INCOMPLETE });
    }
    let known = [1, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 17, 20, 23, 27, 28, 35, 39, 60];
    let unknown_critical = message["options"].as_array().unwrap().iter().any(|option| {
        let number = option[0].as_u64().unwrap();
        number % 2 == 1 && !known.contains(&number)
    });
    match (unknown_critical, bytes[0] & 0x30 == 0) {
        (true, true) => Treatment::Answer(Code::BAD_OPTION),
        (true, false) => Treatment::Silence,
        (false, _) => Treatment::Raise,
    }
}

#[test]
fn every_well_formed_request_among_the_vectors_is_read_as_it_says() {
    let mut read = 0;
    for vector in published() {
        let id = vector["id"].as_str().unwrap();
        let mut bench = Bench::new();
        bench.put(&hex(vector["hex"].as_str().unwrap()));
        let Some(Event::Request { request, token, message_id, confirmable, .. }) = bench.events().pop()
        else {
            continue;
        };
        read += 1;
        let message = &vector["message"];
        assert_eq!(u64::from(message_id), message["mid"].as_u64().unwrap(), "{id}");
        assert_eq!(token.to_string(), message["token"].as_str().unwrap(), "{id}");
        assert_eq!(confirmable, message["type"] == "CON", "{id}");
        assert_eq!(request.method.code().to_string(), message["code"].as_str().unwrap(), "{id}");
        assert_eq!(request.payload, hex(message["payload"].as_str().unwrap_or_default()), "{id}");
        let of = |wanted: u64| -> Vec<Vec<u8>> {
            let options = message["options"].as_array().unwrap().iter();
            options
                .filter(|option| option[0] == wanted)
                .map(|option| hex(option[1].as_str().unwrap()))
                .collect()
        };
        let strings =
            |values: &[String]| values.iter().map(|value| value.clone().into_bytes()).collect::<Vec<_>>();
        let uint = |values: Vec<Vec<u8>>| {
            values.first().map(|value| value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
        };
        assert_eq!(strings(&request.uri_path), of(11), "{id}");
        assert_eq!(strings(&request.uri_query), of(15), "{id}");
        assert_eq!(request.accept.map(u32::from), uint(of(17)), "{id}");
        assert_eq!(request.content_format.map(u32::from), uint(of(12)), "{id}");
        assert_eq!(request.observe, uint(of(6)), "{id}");
        assert_eq!(request.if_none_match, !of(5).is_empty(), "{id}");
        assert_eq!(
            request.if_match.iter().map(|tag| tag.as_bytes().to_vec()).collect::<Vec<_>>(),
            of(1),
            "{id}"
        );
    }
    assert!(read > 30, "{read}");
}

#[test]
fn the_exchanges_of_rfc_7252_and_7641_are_reproduced_in_both_roles() {
    let separate = ["rfc7252-fig20", "rfc7252-fig21"];
    let others = ["rfc7252-fig16", "rfc7252-fig17", "rfc7252-fig18", "rfc7252-fig19", "rfc7252-fig22"];
    for name in separate.into_iter().chain(others) {
        let messages = vectors(name);
        let client_id = Packet::from_bytes(&messages[0].2).unwrap().header.message_id;
        let answer = messages.iter().rfind(|(_, from, bytes)| from == "server" && bytes.len() > 4).unwrap();
        let answer = Packet::from_bytes(&answer.2).unwrap();
        let mut now = start();
        let mut client = Peer::new(Config::default().into(), client_id, 1);
        let mut server = Peer::new(Config::default().into(), answer.header.message_id, 1);
        let t = Token::new(answer.get_token()).unwrap();
        let confirmable = messages[0].2[0] & 0x30 == 0;
        client.request(now, t, Request::get("temperature"), confirmable).unwrap();
        let mut asked = None;
        for (id, from, bytes) in &messages {
            if from == "client" {
                if id == "rfc7252-fig21-4" {
                    // There the client has lost its memory.
                    client = Peer::new(Config::default().into(), 0, 1);
                    client.handle_datagram(now, &messages[2].2);
                    client.poll_event();
                    client.reset(now, answer.header.message_id);
                }
                assert_eq!(client.poll_transmit().as_ref(), Some(bytes), "{id}");
                server.handle_datagram(now, bytes);
                if let Some(Event::Request { id, .. }) = server.poll_event() {
                    asked = Some(id);
                }
                if separate.contains(&name) {
                    now += secs(1);
                    server.handle_timeout(now);
                }
            } else {
                if bytes.len() > 4 {
                    let response = Response::new(Code::CONTENT).payload(answer.payload.clone());
                    server.respond(now, asked.unwrap(), response).unwrap();
                }
                assert_eq!(server.poll_transmit().as_ref(), Some(bytes), "{id}");
                client.handle_datagram(now, bytes);
            }
        }
        assert!(server.poll_transmit().is_none() && server.is_settled());
        if name != "rfc7252-fig21" {
            assert!(matches!(client.poll_event(), Some(Event::Response { .. })), "{name}");
        }
    }
    let observed = vectors("rfc7641-a1");
    let mut bench = Bench::new();
    bench.peer = Peer::new(Config::default().into(), 0x1633, 1);
    bench.peer.request(bench.now, token(b"J"), Request::get("temperature").observe(0), true).unwrap();
    assert_eq!(bench.sent(), [observed[0].2.clone()]);
    let fates: Vec<_> = observed[1..4].iter().map(|(_, _, bytes)| bench.put(bytes)).collect();
    assert_eq!(fates, [Fate::Response, Fate::Notification, Fate::Notification]);
}

#[test]
fn a_ping_is_answered_by_a_reset() {
    let mut bench = Bench::new();
    assert_eq!(bench.put(&empty(CON, 7)), Fate::Ping);
    assert_eq!(bench.sent(), [empty(RST, 7)]);
    assert_eq!(bench.put(&[0x50, 0, 0, 7]), Fate::Malformed(Malformed::Code));
    assert!(bench.sent().is_empty() && bench.peer.is_idle());
}

#[test]
fn a_path_that_is_no_text_is_a_bad_option() {
    for value in [&[0xff, 0xfe][..], &[0xc3], &[b'x'; 256]] {
        let mut bench = Bench::new();
        let datagram = message(CON, Code(1), 1, b"t", &[(URI_PATH, value)], &[]);
        assert_eq!(bench.put(&datagram), Fate::Refused(Code::BAD_OPTION));
        assert_eq!(bench.put(&datagram), Fate::Duplicate);
        assert_eq!(bench.sent().len(), 2);
    }
}

#[test]
fn thousands_of_empty_segments_are_a_bad_option() {
    let mut bench = Bench::new();
    let mut datagram = vec![0x40, 1, 0, 1, 0xb0];
    datagram.resize(4000, 0);
    assert_eq!(bench.put(&datagram), Fate::Refused(Code::BAD_OPTION));
}

#[test]
fn a_datagram_over_the_limit_is_told_to_be_too_large() {
    let mut bench = Bench::new();
    let datagram = message(CON, Code(2), 1, b"t", &[(URI_PATH, b"rd")], &[0; 5000]);
    assert_eq!(bench.put(&datagram), Fate::Malformed(Malformed::Size));
    let answer = bench.sent_one();
    assert_eq!((code(&answer), answer.get_token()), (Code::REQUEST_ENTITY_TOO_LARGE, b"t".as_slice()));
    assert_eq!(number(&answer, SIZE1), Some(1024));
    bench.put(&message(NON, Code(2), 1, b"t", &[(URI_PATH, b"rd")], &[0; 5000]));
    assert!(bench.sent().is_empty());
}

#[test]
fn a_response_with_an_unknown_critical_option_fails_its_request() {
    for kind in [ACK, CON, NON] {
        let mut bench = Bench::new();
        let exchange = bench.peer.request(bench.now, token(b"a"), Request::get("3"), true).unwrap();
        bench.sent();
        let id = if kind == ACK { 0x3000 } else { 5 };
        let fate = bench.put(&message(kind, Code::CONTENT, id, b"a", &[(9, b"x")], &[]));
        assert_eq!(fate, Fate::Ignored(Ignored::CriticalOption));
        let expected: &[Vec<u8>] = if kind == CON { &[empty(RST, 5)] } else { &[] };
        assert_eq!(bench.sent(), expected);
        assert_eq!(
            bench.event(),
            Event::Failed { exchange, token: token(b"a"), reason: FailReason::BadOption }
        );
    }
}

#[test]
fn a_format_of_the_wrong_length_in_a_response_is_left_out() {
    let mut bench = Bench::new();
    bench.peer.request(bench.now, token(b"a"), Request::get("3"), true).unwrap();
    bench.sent();
    bench.put(&message(ACK, Code::FORBIDDEN, 0x3000, b"a", &[(12, &[0xfd, 0xe8, 0xe8])], &[]));
    let response = bench.response();
    assert_eq!((response.code, response.content_format), (Code::FORBIDDEN, None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_peer_panic_or_answer_more_than_three_times_their_size(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..20),
    ) {
        let mut bench = Bench::new();
        bench.peer.request(bench.now, token(b"a"), Request::get("3"), true).unwrap();
        bench.sent();
        for mut datagram in datagrams {
            if let Some(first) = datagram.first_mut() {
                *first = *first & 0x3f | 0x40;
            }
            let kind = datagram.first().map_or(0, |first| first >> 4 & 3);
            bench.put(&datagram);
            let answered: usize = bench.sent().iter().map(Vec::len).sum();
            // A diagnostic is the largest thing that leaves unasked; nothing answers an ACK or RST.
            prop_assert!(answered <= 3 * datagram.len() + 64);
            prop_assert!(kind < 2 || answered == 0);
            bench.events();
        }
        bench.pass(secs(2000));
        prop_assert!(bench.peer.is_idle());
    }
}
