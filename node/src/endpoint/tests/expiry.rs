//! What ends by the clock: registrations, and commands that wait.

use super::*;

#[test]
fn a_registration_whose_update_is_being_written_does_not_end_meanwhile() {
    let mut bench = Bench::registered("default", "lt=60");
    bench.pass(Duration::from_secs(89));
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    assert_eq!(bench.writes.len(), 1);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.writes.len(), 1, "its time is over by what is on record");
    let (id, _) = bench.writes.remove(0);
    bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("down".into()))));
    bench.pass(Duration::ZERO);
    assert!(matches!(bench.writes[0].1[0], Change::Event(_)), "the update was not written");
}

#[test]
fn a_lifetime_that_is_over_ends_the_registration_with_one_event() {
    let mut bench = Bench::registered("default", "lt=60");
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.writes.len(), 0, "the grace is not over");
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.publications.len(), 0, "the event is published after its write");
    bench.write_all();
    let (id, records) = bench.publications.remove(0);
    assert_eq!(records[0].id.label, "expired");
    assert_eq!(bench.stopped(), None);
    bench.apply(Input::Published(id, Ok(())));
    assert!(bench.others.iter().any(|effect| matches!(effect, Effect::RemoveEvent(_))));
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Ended));
}

#[test]
fn a_queued_command_expires_with_its_ttl() {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1&Q");
    bench.pass(Duration::from_secs(100));
    bench.submit("a", read("/3/0/0"), true);
    bench.write_all();
    // The endpoint is passivated meanwhile or not: either way the deadline is the operation's.
    bench.core.active = bench.now.now + Duration::from_secs(7200);
    bench.pass(Duration::from_secs(3600));
    bench.write_all();
    assert_eq!(bench.ended()[0].0, State::Expired);
}

#[test]
fn a_command_whose_time_is_over_while_its_attempt_is_written_never_leaves() {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1");
    bench.submit("a", execute("/3/0/4"), true);
    bench.pass(Duration::from_secs(3600));
    bench.write_all();
    assert_eq!((bench.ended()[0].0, bench.requests().len()), (State::Expired, 0));
}

/// A deadline in the past would be armed, fire and be armed again without end.
fn no_deadline_has_passed(bench: &Bench) {
    let due = bench.core.poll_timeout(bench.now);
    assert!(due.is_none_or(|due| due > bench.now.now), "{:?} ago", due.map(|due| bench.now.now - due));
}

#[test]
fn a_request_under_way_longer_than_its_ttl_or_the_idle_time_arms_no_past_deadline() {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1");
    bench.apply(Input::Submit(Box::new(NewOperation {
        id: "a".to_owned(),
        command: Command { kind: Some(read("/3/0/0")) },
        ttl: Duration::from_secs(1),
        queue: false,
        at_least_once: false,
    })));
    bench.write_all();
    for _ in 0..3 {
        bench.pass(Duration::from_secs(2));
        no_deadline_has_passed(&bench);
    }
    bench.pass(Duration::from_secs(700));
    no_deadline_has_passed(&bench);
    assert_eq!(bench.ended(), []);
}

#[test]
fn an_expiry_that_is_being_written_arms_no_past_deadline() {
    let mut bench = Bench::registered("default", "lt=60&lwm2m=1.1&Q");
    bench.pass(Duration::from_secs(89));
    bench.apply(Input::Submit(Box::new(NewOperation {
        id: "a".to_owned(),
        command: Command { kind: Some(read("/3/0/0")) },
        ttl: Duration::from_secs(1),
        queue: true,
        at_least_once: false,
    })));
    let (id, _) = bench.writes.remove(0);
    bench.apply(Input::Persisted(id, Ok(())));
    bench.fail(FailReason::Timeout);
    bench.write_all();
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.writes.len(), 1, "the expiry");
    no_deadline_has_passed(&bench);
}

#[test]
fn a_registration_after_an_expiry_expires_too() {
    let mut bench = Bench::registered("default", "lt=60");
    bench.pass(Duration::from_secs(90));
    bench.write_all();
    bench.register("lt=60");
    bench.write_all();
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Ok(())));
    assert_eq!(bench.stopped(), None);
    bench.pass(Duration::from_secs(90));
    assert!(bench.writes.iter().any(|(_, changes)| changes.contains(&Change::RemoveRegistration)));
}

#[test]
fn an_operation_whose_time_is_over_before_its_attempt_is_stored_is_not_sent() {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1");
    bench.apply(Input::Submit(Box::new(NewOperation {
        id: "a".to_owned(),
        command: Command { kind: Some(execute("/3/0/4")) },
        ttl: Duration::from_secs(1),
        queue: true,
        at_least_once: false,
    })));
    bench.pass(Duration::from_secs(2));
    bench.write_all();
    assert_eq!(bench.requests().len(), 0);
    assert_eq!(bench.ended()[0].0, State::Expired);
}
