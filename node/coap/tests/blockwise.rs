//! Bodies of more than one message, in both directions and both roles.

#![allow(clippy::unwrap_used, reason = "a test")]

mod util;

use coap_lite::Packet;
use godwit_coap::{
    Block, BlockSize, BodyError, BodySink, BodySource, Code, Config, ETag, Event, FailReason, Fate, Method,
    Request, RequestOptions, Response, SendError,
};
use util::*;

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 256) as u8).collect()
}

fn block(packet: &Packet, option: u16) -> Option<Block> {
    packet.get_first_option(option.into()).map(|value| Block::decode(value).unwrap())
}

fn bits(number: u32, more: bool, exponent: u8) -> Vec<u8> {
    let block = Block::new(number, more, BlockSize::from_exponent(exponent).unwrap()).unwrap();
    let bytes = block.bits().to_be_bytes();
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}

fn put(message_id: u16, block1: &[u8], payload: &[u8]) -> Vec<u8> {
    message(CON, Code(3), message_id, b"t", &[(URI_PATH, b"options"), (BLOCK1, block1)], payload)
}

fn get(message_id: u16, block2: &[u8]) -> Vec<u8> {
    message(CON, Code(1), message_id, b"t", &[(URI_PATH, b"status"), (BLOCK2, block2)], &[])
}

/// Uploads `body` in blocks of `1 << exponent + 4` and gives the last answer.
fn upload(bench: &mut Bench, body: &[u8], exponent: u8) -> Option<Packet> {
    let size = 16 << exponent;
    let count = body.chunks(size).count();
    for (at, chunk) in body.chunks(size).enumerate() {
        let more = at + 1 < count;
        let fate = bench.put(&put(at as u16 + 100, &bits(at as u32, more, exponent), chunk));
        if fate == Fate::Request {
            return None;
        }
        let answer = bench.sent_one();
        if code(&answer) != Code::CONTINUE {
            return Some(answer);
        }
        assert_eq!(block(&answer, BLOCK1).unwrap().number(), at as u32);
    }
    panic!("no end");
}

#[test]
fn the_exchanges_of_rfc_7959_are_reproduced_at_the_server() {
    for name in ["simple-get", "early-negotiation", "atomic-put"] {
        let mut bench = Bench::with(Config {
            block_size: BlockSize::fitting(128).unwrap(),
            max_payload: 128,
            ..Config::default()
        });
        for (id, from, bytes) in vectors(&format!("rfc7959-{name}")) {
            // The figures carry no ETag; ours is left out of the comparison.
            let without_tag = |bytes: &[u8]| {
                let mut packet = Packet::from_bytes(bytes).unwrap();
                packet.clear_option(coap_lite::CoapOption::ETag);
                packet.clear_option(coap_lite::CoapOption::Size2);
                packet.to_bytes().unwrap()
            };
            if from == "client" {
                assert!(matches!(bench.put(&bytes), Fate::Request | Fate::Block), "{id}");
                match bench.events().pop() {
                    Some(Event::Request { id, request, .. }) if request.method == Method::Get => {
                        let len = if name == "simple-get" { 257 } else { 321 };
                        bench.respond(id, Response::new(Code::CONTENT).payload(vec![0; len]));
                    }
                    Some(Event::Request { id, request, .. }) => {
                        assert_eq!(request.payload, [0; 257]);
                        bench.respond(id, Response::new(Code::CHANGED));
                    }
                    _ => {}
                }
            } else {
                let sent = bench.sent().remove(0);
                assert_eq!(without_tag(&sent), bytes, "{id}");
            }
        }
    }
}

#[test]
fn the_exchanges_of_rfc_7959_are_reproduced_at_the_client() {
    for (name, len) in [("simple-get", 257), ("atomic-put", 257), ("block1-negotiation", 193)] {
        let now = start();
        // Blocks of 128 bytes; the figures negotiate nothing in their first request.
        let config =
            Config { block_size: BlockSize::fitting(128).unwrap(), max_payload: 128, ..Config::default() };
        let mut peer = godwit_coap::Peer::new(config.into(), 0x04d2, 1);
        let request = match name {
            "simple-get" => Request::get("status"),
            _ => Request::put("options").payload(vec![0; len]),
        };
        peer.request(now, godwit_coap::Token::EMPTY, request, true).unwrap();
        for (id, from, bytes) in vectors(&format!("rfc7959-{name}")) {
            if from == "client" {
                let sent = peer.poll_transmit().expect(&id);
                let mut packet = Packet::from_bytes(&sent).unwrap();
                packet.clear_option(coap_lite::CoapOption::Size1);
                if block(&packet, BLOCK2).is_some_and(|block| block.number() == 0) {
                    packet.clear_option(coap_lite::CoapOption::Block2);
                }
                assert_eq!(packet.to_bytes().unwrap(), bytes, "{id}");
            } else {
                assert_eq!(peer.handle_datagram(now, &bytes), Fate::Response, "{id}");
            }
        }
        match peer.poll_event() {
            Some(Event::Response { response, .. }) if name == "simple-get" => {
                assert_eq!(response.payload, vec![0; len]);
            }
            Some(Event::Response { response, .. }) => assert_eq!(response.code, Code::CHANGED),
            other => panic!("{other:?}"),
        }
        assert!(peer.is_idle());
    }
}

#[test]
fn an_uploaded_body_is_raised_whole() {
    let mut bench = Bench::new();
    for (len, exponent) in [(1, 0), (16, 0), (17, 0), (1024, 6), (1025, 6), (65_536, 6)] {
        assert!(upload(&mut bench, &body(len), exponent).is_none());
        let (id, request) = bench.request();
        assert_eq!(request.payload, body(len));
        bench.respond(id, Response::new(Code::CHANGED));
        let answer = bench.sent_one();
        assert!(!block(&answer, BLOCK1).unwrap().more());
        bench.pass(secs(300));
        assert!(bench.peer.is_idle());
    }
}

#[test]
fn a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
    let mut bench = Bench::new();
    bench.peer.limit_body(1024);
    assert!(upload(&mut bench, &body(1024), 4).is_none());
    bench.request();
    bench.pass(secs(300));
    let refusal = upload(&mut bench, &body(1025), 4).unwrap();
    assert_eq!(code(&refusal), Code::REQUEST_ENTITY_TOO_LARGE);
    assert_eq!(number(&refusal, SIZE1), Some(1024));
    // The same without blocks.
    let post = |id, len| message(CON, Code(2), id, b"t", &[(URI_PATH, b"rd")], &body(len));
    assert_eq!(bench.put(&post(1, 1024)), Fate::Request);
    assert_eq!(bench.put(&post(2, 1025)), Fate::Refused(Code::REQUEST_ENTITY_TOO_LARGE));
    assert_eq!(number(&bench.sent_one(), SIZE1), Some(1024));
}

#[test]
fn an_announced_size_over_the_limit_is_refused_at_the_first_block() {
    let mut bench = Bench::new();
    let first = message(
        CON,
        Code(3),
        1,
        b"t",
        &[(URI_PATH, b"5"), (BLOCK1, &bits(0, true, 0)), (SIZE1, &[1, 0, 1])],
        &[0; 16],
    );
    assert_eq!(bench.put(&first), Fate::Refused(Code::REQUEST_ENTITY_TOO_LARGE));
    bench.sent();
    assert!(bench.pass(secs(300)).is_empty() && bench.peer.is_idle());
}

#[test]
fn a_missing_block_is_told_and_the_body_can_start_over() {
    let mut bench = Bench::new();
    assert_eq!(bench.put(&put(1, &bits(0, true, 0), &[1; 16])), Fate::Block);
    assert_eq!(
        bench.put(&put(2, &bits(2, true, 0), &[1; 16])),
        Fate::Refused(Code::REQUEST_ENTITY_INCOMPLETE)
    );
    assert_eq!(bench.put(&put(3, &bits(0, true, 0), &[2; 16])), Fate::Block);
    assert_eq!(bench.put(&put(4, &bits(1, false, 0), &[3])), Fate::Request);
    let (_, request) = bench.request();
    assert_eq!(request.payload, [[2; 16].as_slice(), &[3]].concat());
}

#[test]
fn a_continuation_of_nothing_or_of_another_path_is_refused() {
    let mut bench = Bench::new();
    let incomplete = Fate::Refused(Code::REQUEST_ENTITY_INCOMPLETE);
    assert_eq!(bench.put(&put(1, &bits(1, false, 0), &[1])), incomplete);
    bench.put(&put(2, &bits(0, true, 0), &[1; 16]));
    let other = message(CON, Code(3), 3, b"t", &[(URI_PATH, b"x"), (BLOCK1, &bits(1, false, 0))], &[1]);
    assert_eq!(bench.put(&other), incomplete);
    // An abandoned body ends after a while.
    bench.pass(secs(247));
    assert_eq!(bench.put(&put(4, &bits(1, false, 0), &[1])), incomplete);
}

#[test]
fn a_block_of_another_size_than_it_says_is_bad() {
    let mut bench = Bench::new();
    for (id, payload) in [(1, 15), (2, 17), (3, 0)] {
        let fate = bench.put(&put(id, &bits(0, true, 0), &body(payload)));
        assert_eq!(fate, Fate::Refused(Code::BAD_REQUEST));
    }
    assert_eq!(bench.put(&put(4, &bits(0, false, 0), &body(17))), Fate::Refused(Code::BAD_REQUEST));
    assert_eq!(bench.put(&put(5, &[7], &body(17))), Fate::Refused(Code::BAD_REQUEST));
    assert!(bench.events().is_empty());
}

#[test]
fn a_repeated_block_is_answered_again_and_taken_once() {
    let mut bench = Bench::new();
    let first = put(1, &bits(0, true, 0), &[1; 16]);
    bench.put(&first);
    let answer = bench.sent();
    assert_eq!(bench.put(&first), Fate::Duplicate);
    assert_eq!(bench.sent(), answer);
    bench.put(&put(2, &bits(1, false, 0), &[1]));
    assert_eq!(bench.request().1.payload.len(), 17);
}

#[test]
fn a_smaller_block_size_of_ours_is_agreed_on() {
    let mut bench = Bench::with(Config { block_size: BlockSize::fitting(64).unwrap(), ..Config::default() });
    bench.put(&put(1, &bits(0, true, 6), &body(1024)));
    assert_eq!(block(&bench.sent_one(), BLOCK1).unwrap().size().bytes(), 64);
    bench.put(&put(2, &bits(16, false, 2), &body(1030)[1024..]));
    assert_eq!(bench.request().1.payload, body(1030));
}

/// Downloads everything in blocks of `1 << exponent + 4`; the first request asks for that size.
fn download(bench: &mut Bench, exponent: u8, mut answer: impl FnMut(&mut Bench, Event)) -> Vec<u8> {
    let mut gathered = Vec::new();
    let mut tag = None;
    for at in 0.. {
        bench.put(&get(1000 + at as u16, &bits(at, false, exponent)));
        for event in bench.events() {
            answer(bench, event);
        }
        let packet = bench.sent_one();
        assert_eq!(code(&packet), Code::CONTENT);
        let this = packet.get_first_option(ETAG.into()).cloned();
        assert_eq!(&this, tag.get_or_insert(this.clone()));
        let block = block(&packet, BLOCK2).unwrap();
        assert_eq!(block.offset(), gathered.len() as u64);
        gathered.extend_from_slice(&packet.payload);
        if !block.more() {
            break;
        }
    }
    gathered
}

#[test]
fn a_downloaded_body_is_served_without_asking_again() {
    let mut bench = Bench::new();
    let mut asked = 0;
    let gathered = download(&mut bench, 5, |bench, event| {
        let Event::Request { id, .. } = event else { panic!("{event:?}") };
        asked += 1;
        bench.respond(id, Response::new(Code::CONTENT).content(42, body(5000)));
    });
    assert_eq!((gathered, asked), (body(5000), 1));
    bench.pass(secs(300));
    assert!(bench.peer.is_idle());
}

#[test]
fn a_download_that_was_forgotten_is_cut_from_a_new_answer() {
    let mut bench = Bench::new();
    let gathered = download(&mut bench, 5, |bench, event| {
        let Event::Request { id, .. } = event else { panic!("{event:?}") };
        bench.respond(id, Response::new(Code::CONTENT).content(42, body(2000)));
        // As after a crash: what the peer keeps is gone, its id space goes on.
        let sent = bench.sent();
        bench.peer = godwit_coap::Peer::new(Config::default().into(), 0x4000, 1);
        let id = Packet::from_bytes(&sent[0]).unwrap().header.message_id;
        let again = get(id, &bits(u32::from(id) - 1000, false, 5));
        bench.put(&again);
        let (id, _) = bench.request();
        bench.respond(id, Response::new(Code::CONTENT).content(42, body(2000)));
    });
    assert_eq!(gathered, body(2000));
}

#[test]
fn a_block_beyond_the_end_is_a_bad_request() {
    let mut bench = Bench::new();
    bench.put(&get(1, &bits(9, false, 6)));
    let (id, _) = bench.request();
    bench.respond(id, Response::new(Code::CONTENT).payload(body(100)));
    assert_eq!(code(&bench.sent_one()), Code::BAD_REQUEST);
    // A POST is not carried out again for a block.
    let post = message(CON, Code(2), 2, b"t", &[(URI_PATH, b"x"), (BLOCK2, &bits(1, false, 6))], &[]);
    assert_eq!(bench.put(&post), Fate::Refused(Code::REQUEST_ENTITY_INCOMPLETE));
}

#[test]
fn a_body_that_fits_goes_out_whole_and_a_long_diagnostic_is_cut() {
    let mut bench = Bench::new();
    bench.put(&message(CON, Code(1), 1, b"t", &[], &[]));
    let (id, _) = bench.request();
    bench.respond(id, Response::new(Code::CONTENT).payload(body(1024)));
    let whole = bench.sent_one();
    assert_eq!((block(&whole, BLOCK2), whole.payload), (None, body(1024)));
    bench.put(&message(CON, Code(1), 2, b"t", &[], &[]));
    let (id, _) = bench.request();
    bench.respond(id, Response::diagnostic(Code::BAD_REQUEST, "é".repeat(1000)));
    let cut = bench.sent_one();
    assert_eq!(String::from_utf8(cut.payload).unwrap(), "é".repeat(512));
}

/// A source that makes its bytes up, of a size that it may keep to itself.
#[derive(Debug)]
struct Pattern(u64, bool);

impl BodySource for Pattern {
    fn size(&self) -> Option<u64> {
        self.1.then_some(self.0)
    }

    fn read(&mut self, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<(), BodyError> {
        let end = (offset + len as u64).min(self.0);
        out.extend((offset..end).map(|at| body(at as usize + 1)[at as usize]));
        Ok(())
    }
}

#[test]
fn a_source_is_read_block_by_block() {
    for told in [true, false] {
        let mut bench = Bench::new();
        let gathered = download(&mut bench, 3, |bench, event| {
            let Event::Request { id, .. } = event else { panic!("{event:?}") };
            let response = Response::new(Code::CONTENT).etag(ETag::from(5));
            bench.peer.respond_from(bench.now, id, response, Box::new(Pattern(700, told))).unwrap();
        });
        assert_eq!(gathered, body(700));
    }
}

/// Answers an upload of ours block by block until the last one, whose message id it returns.
fn accept_blocks(bench: &mut Bench, into: &mut Vec<u8>) -> Packet {
    loop {
        let sent = bench.sent_one();
        let block = block(&sent, BLOCK1).unwrap();
        assert_eq!(block.offset(), into.len() as u64);
        into.extend_from_slice(&sent.payload);
        if !block.more() {
            return sent;
        }
        let (id, value) = (sent.header.message_id, block.bits().to_be_bytes());
        let value: Vec<u8> = value.into_iter().skip_while(|byte| *byte == 0).collect();
        bench.put(&message(ACK, Code::CONTINUE, id, sent.get_token(), &[(BLOCK1, &value)], &[]));
    }
}

#[test]
fn a_large_payload_of_ours_goes_out_in_blocks() {
    for len in [1025, 2048, 5000] {
        let mut bench = Bench::new();
        let request = Request::put("5/0/0").content(42, body(len));
        let exchange = bench.peer.request(bench.now, token(b"a"), request, true).unwrap();
        let mut gathered = Vec::new();
        let last = accept_blocks(&mut bench, &mut gathered);
        assert_eq!(gathered, body(len));
        assert_eq!(bench.peer.exchange(exchange).unwrap().acknowledged, (len - 1) as u64 / 1024 * 1024);
        bench.put(&message(ACK, Code::CHANGED, last.header.message_id, b"a", &[], &[]));
        assert_eq!(bench.response().code, Code::CHANGED);
        assert!(bench.peer.is_idle());
    }
}

#[test]
fn a_body_of_ours_is_resumed_at_any_block() {
    let mut bench = Bench::new();
    let options =
        RequestOptions { source: Some(Box::new(Pattern(3000, false))), offset: 2048, ..Default::default() };
    bench.peer.request_with(bench.now, token(b"a"), Request::put("5/0/0"), options).unwrap();
    let mut gathered = body(2048);
    accept_blocks(&mut bench, &mut gathered);
    assert_eq!(gathered, body(3000));
}

#[test]
fn a_refusal_with_a_smaller_block_size_starts_over_in_that_size() {
    for len in [700, 3000] {
        let mut bench = Bench::new();
        bench.peer.request(bench.now, token(b"a"), Request::put("5/0/0").payload(body(len)), true).unwrap();
        let first = bench.sent_one();
        let smaller = bits(0, true, 2);
        let refusal = message(
            ACK,
            Code::REQUEST_ENTITY_TOO_LARGE,
            first.header.message_id,
            b"a",
            &[(BLOCK1, &smaller)],
            &[],
        );
        assert_eq!(bench.put(&refusal), Fate::Response);
        let mut gathered = Vec::new();
        let last = accept_blocks(&mut bench, &mut gathered);
        assert_eq!(gathered, body(len));
        assert_eq!(block(&last, BLOCK1).unwrap().size().bytes(), 64);
        // The same refusal again is the answer.
        let refusal = message(ACK, Code::REQUEST_ENTITY_TOO_LARGE, last.header.message_id, b"a", &[], &[]);
        bench.put(&refusal);
        assert_eq!(bench.response().code, Code::REQUEST_ENTITY_TOO_LARGE);
    }
}

#[test]
fn an_acknowledged_block_that_was_not_sent_fails_the_request() {
    let mut bench = Bench::new();
    let exchange =
        bench.peer.request(bench.now, token(b"a"), Request::put("5/0/0").payload(body(3000)), true).unwrap();
    bench.sent();
    bench.put(&message(ACK, Code::CONTINUE, 0x3000, b"a", &[(BLOCK1, &bits(1, true, 6))], &[]));
    assert_eq!(bench.event(), Event::Failed { exchange, token: token(b"a"), reason: FailReason::BadBlock });
}

/// Answers a download of ours from `body`, until nothing more is asked for.
fn serve_blocks(bench: &mut Bench, body: &[u8], etags: impl Fn(u32) -> u8) {
    loop {
        let mut sent = bench.sent();
        let Some(sent) = sent.pop() else { return };
        let sent = Packet::from_bytes(&sent).unwrap();
        let asked = block(&sent, BLOCK2).map_or(0, |block| block.offset() as usize);
        let end = (asked + 64).min(body.len());
        let number = asked as u32 / 64;
        let value = bits(number, end < body.len(), 2);
        let options: &[(u16, &[u8])] = &[(ETAG, &[etags(number)]), (BLOCK2, &value)];
        let (id, t) = (sent.header.message_id, sent.get_token());
        bench.put(&message(ACK, Code::CONTENT, id, t, options, &body[asked..end]));
    }
}

#[test]
fn a_response_in_blocks_is_raised_whole() {
    let mut bench = Bench::new();
    bench.peer.request(bench.now, token(b"a"), Request::get("3"), true).unwrap();
    serve_blocks(&mut bench, &body(1000), |_| 1);
    let response = bench.response();
    assert_eq!((response.payload, response.block2), (body(1000), None));
    assert!(bench.peer.is_idle());
}

#[test]
fn a_body_that_changes_or_is_too_large_fails_the_request() {
    let mut bench = Bench::new();
    let get =
        |bench: &mut Bench| bench.peer.request(bench.now, token(b"a"), Request::get("3"), true).unwrap();
    let exchange = get(&mut bench);
    serve_blocks(&mut bench, &body(1000), |number| u8::from(number < 5));
    assert_eq!(
        bench.event(),
        Event::Failed { exchange, token: token(b"a"), reason: FailReason::BodyChanged }
    );
    bench.peer.limit_body(999);
    let exchange = get(&mut bench);
    serve_blocks(&mut bench, &body(1000), |_| 1);
    assert_eq!(
        bench.event(),
        Event::Failed { exchange, token: token(b"a"), reason: FailReason::BodyTooLarge }
    );
    bench.peer.limit_body(1000);
    get(&mut bench);
    serve_blocks(&mut bench, &body(1000), |_| 1);
    assert_eq!(bench.response().payload.len(), 1000);
}

/// A sink that keeps only where it was written.
#[derive(Debug)]
struct Counter(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl BodySink for Counter {
    fn limit(&self) -> u64 {
        u64::MAX
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), BodyError> {
        self.0.store(offset + bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    fn take(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

#[test]
fn a_sink_takes_the_body_of_a_response() {
    let written = std::sync::Arc::default();
    let mut bench = Bench::new();
    let options = RequestOptions {
        sink: Some(Box::new(Counter(std::sync::Arc::clone(&written)))),
        ..Default::default()
    };
    bench.peer.request_with(bench.now, token(b"a"), Request::get("3"), options).unwrap();
    serve_blocks(&mut bench, &body(100_000), |_| 1);
    assert!(bench.response().payload.is_empty());
    assert_eq!(written.load(std::sync::atomic::Ordering::Relaxed), 100_000);
}

#[test]
fn the_rest_of_an_observed_body_is_fetched_under_another_token() {
    let mut bench = Bench::new();
    bench.peer.request(bench.now, token(b"a"), Request::get("3").observe(0), true).unwrap();
    bench.sent();
    let first: &[(u16, &[u8])] = &[(OBSERVE, &[5]), (BLOCK2, &bits(0, true, 0))];
    bench.put(&message(ACK, Code::CONTENT, 0x3000, b"a", first, &body(16)));
    let next = bench.sent_one();
    assert_ne!(next.get_token(), b"a");
    assert_eq!(number(&next, OBSERVE), None);
    // A notification under the observation's token is not mistaken for a block.
    let notified = message(NON, Code::CONTENT, 9, b"a", &[(OBSERVE, &[6])], b"x");
    assert_eq!(bench.put(&notified), Fate::Notification);
    bench.event();
    let last: &[(u16, &[u8])] = &[(BLOCK2, &bits(1, false, 0))];
    bench.put(&message(ACK, Code::CONTENT, next.header.message_id, next.get_token(), last, &[0xaa]));
    match bench.event() {
        Event::Response { token: t, response, .. } => {
            assert_eq!((t, response.observe), (token(b"a"), Some(5)));
            assert_eq!(response.payload.len(), 17);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_rest_of_a_notification_is_fetched_before_it_is_acknowledged() {
    let mut bench = Bench::new();
    let first: &[(u16, &[u8])] = &[(OBSERVE, &[5]), (BLOCK2, &bits(0, true, 0))];
    bench.put(&message(CON, Code::CONTENT, 9, b"obs", first, &body(16)));
    let Event::Notification { response, more: true, .. } = bench.event() else { panic!() };
    let request = || Request::get("3").observe(0);
    let whole = Response { block2: None, ..response.clone() };
    assert_eq!(
        bench.peer.continue_body(bench.now, token(b"f"), request(), whole),
        Err(SendError::NotFirstBlock)
    );
    bench.peer.continue_body(bench.now, token(b"f"), request(), response).unwrap();
    let next = bench.sent_one();
    assert_eq!((next.get_token(), number(&next, OBSERVE)), (b"f".as_slice(), None));
    assert_eq!(block(&next, BLOCK2).unwrap().number(), 1);
    let last: &[(u16, &[u8])] = &[(BLOCK2, &bits(1, false, 0))];
    bench.put(&message(ACK, Code::CONTENT, next.header.message_id, b"f", last, &[0xaa]));
    let response = bench.response();
    assert_eq!((response.observe, response.payload.len()), (Some(5), 17));
    assert!(bench.sent().is_empty());
    assert!(bench.peer.acknowledge(bench.now, 9));
}

#[test]
fn a_fetch_repeats_its_payload_for_every_block() {
    let mut bench = Bench::new();
    let fetch = Request::fetch("").content(112, [0x80]);
    bench.peer.request(bench.now, token(b"a"), fetch, true).unwrap();
    bench.sent();
    bench.put(&message(ACK, Code::CONTENT, 0x3000, b"a", &[(BLOCK2, &bits(0, true, 0))], &body(16)));
    assert_eq!(bench.sent_one().payload, [0x80]);
}
