//! Commands from their submission to their end, at one owner.

use super::*;

#[test]
fn a_command_is_on_record_before_it_is_sent_and_its_end_before_the_caller_hears() {
    let mut bench = Bench::registered("default", "lt=60&lwm2m=1.1");
    bench.submit("a", read("/3/0/0"), false);
    assert_eq!(bench.requests().len(), 0);
    let written = bench.write_all();
    let Change::Operation(stored) = &written[0] else { panic!("{written:?}") };
    assert_eq!(stored.operation.as_ref().unwrap().state(), State::Sent);
    assert!(!stored.token.is_empty());
    assert_eq!(bench.requests()[0].1, "Get /3/0/0");
    bench.respond(Response::new(Code::CONTENT).content(0, "Godwit"));
    assert_eq!(bench.ended(), []);
    bench.write_all();
    assert_eq!(bench.ended(), [(State::Succeeded, String::new())]);
}

#[test]
fn a_command_that_is_handed_in_again_is_the_same_until_its_record_goes() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    let submit = |bench: &mut Bench| {
        bench.submit("a", execute("/3/0/4"), false);
        bench.write_all();
        match bench.others.drain(..).find(|effect| matches!(effect, Effect::Submitted(..))) {
            Some(Effect::Submitted(_, taken)) => taken.map(|operation| operation.state()),
            _ => panic!("neither taken nor refused"),
        }
    };
    assert_eq!(submit(&mut bench), Ok(State::Sent));
    assert_eq!(submit(&mut bench), Ok(State::Sent));
    assert_eq!(bench.requests().len(), 1);
    bench.respond(Response::new(Code::CHANGED));
    bench.write_all();
    assert_eq!(submit(&mut bench), Err(SubmitError::Ended));
    assert_eq!(bench.requests().len(), 1, "nor is it sent again then");
}

#[test]
fn commands_go_out_in_order_one_at_a_time() {
    let mut bench = Bench::registered("default", "lt=60&lwm2m=1.1");
    for (id, path) in [("a", "/3/0/0"), ("b", "/3/0/1"), ("c", "/3/0/2")] {
        bench.submit(id, read(path), true);
    }
    bench.write_all();
    for expected in ["Get /3/0/0", "Get /3/0/1", "Get /3/0/2"] {
        assert_eq!(bench.requests().last().unwrap().1, expected);
        bench.respond(Response::new(Code::CONTENT).content(0, "x"));
        bench.write_all();
    }
    assert_eq!(bench.requests().len(), 3);
}

#[test]
fn a_queued_command_waits_for_a_device_that_does_not_answer() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    bench.submit("a", read("/3/0/0"), true);
    bench.write_all();
    bench.fail(FailReason::Timeout);
    bench.write_all();
    assert_eq!(bench.ended(), []);
    assert_eq!(bench.requests().len(), 1, "not again before it is heard");
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    bench.write_all();
    assert_eq!(bench.requests().len(), 2);
}

#[test]
fn an_execute_without_an_answer_is_not_repeated() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    bench.submit("a", execute("/3/0/4"), true);
    bench.write_all();
    bench.fail(FailReason::Timeout);
    bench.write_all();
    assert_eq!(bench.ended()[0].0, State::Aborted);
}

#[test]
fn a_caller_who_waits_hears_of_a_timeout() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    bench.fail(FailReason::Timeout);
    bench.write_all();
    assert_eq!(bench.ended(), [(State::Failed, "the device did not answer in time".to_owned())]);
}

#[test]
fn a_sleeping_device_gets_its_commands_at_its_next_uplink() {
    let mut bench = Bench::registered("default", "lt=6000&lwm2m=1.1&Q");
    bench.pass(Duration::from_secs(93));
    assert_eq!(bench.events(), ["asleep"]);
    bench.submit("a", read("/3/0/0"), true);
    bench.write_all();
    assert_eq!(bench.requests().len(), 0);
    bench.submit("b", read("/3/0/0"), false);
    assert!(matches!(bench.others.last(), Some(Effect::Submitted(_, Err(SubmitError::Asleep)))));
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    bench.write_all();
    assert_eq!(bench.events(), ["asleep", "awake"]);
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn more_commands_than_the_limit_are_refused() {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1&Q");
    bench.pass(Duration::from_secs(100));
    for n in 0..65 {
        bench.submit(&n.to_string(), read("/3/0/0"), true);
        bench.write_all();
    }
    let refused = bench.others.last();
    assert!(matches!(
        refused,
        Some(Effect::Submitted(_, Err(SubmitError::QueueFull { queued: 64, limit: 64 })))
    ));
}

#[test]
fn a_command_that_no_device_can_do_is_refused_at_once() {
    let mut bench = Bench::registered("default", "lt=60&lwm2m=1.1");
    bench.submit("a", read("/3/0/4"), true);
    let Some(Effect::Submitted(_, Err(SubmitError::InvalidCommand(text)))) = bench.others.last() else {
        panic!("{:?}", bench.others)
    };
    assert!(text.contains("/3/0/4"), "{text}");
    assert_eq!(bench.writes.len(), 0);
}

#[test]
fn an_answer_is_taken_however_much_is_outstanding_or_while_leaving() {
    let (mut bench, token) = observed();
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    for n in 0..10 {
        bench.notify(token, 100 + n, 10 + u32::from(n), "1");
    }
    assert_eq!(bench.publications.len(), 8);
    bench.apply(Input::Release(StopReason::Bound));
    bench.respond(Response::new(Code::CONTENT).content(0, "Godwit"));
    bench.write_all();
    assert_eq!(bench.ended(), [(State::Succeeded, String::new())]);
}

#[test]
fn a_request_ends_with_its_connection() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    bench.apply(Input::Unlinked(link(1000).connection));
    bench.write_all();
    assert_eq!(bench.ended()[0].0, State::Failed);
    assert!(bench.core.downlinks.flight.is_none());
}

#[test]
fn a_store_that_cannot_write_is_not_tried_again_and_again() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    bench.submit("a", read("/3/0/0"), true);
    let mut failed = 0;
    while let Some((id, _)) = (!bench.writes.is_empty()).then(|| bench.writes.remove(0)) {
        bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("disk".into()))));
        failed += 1;
        assert!(failed < 10, "an endless loop");
    }
    bench.submit("b", read("/3/0/0"), true);
    bench.submit("c", read("/3/0/0"), true);
    while let Some((id, _)) = (!bench.writes.is_empty()).then(|| bench.writes.remove(0)) {
        bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("disk".into()))));
        failed += 1;
        assert!(failed < 10, "an endless loop");
    }
}
