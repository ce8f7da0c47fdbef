//! Requests by a session: what their writes carry, their order, and the session that the device is reached by.

use super::*;

#[test]
fn the_numbers_of_sessions_in_use_ride_on_every_write() {
    let (mut bench, links) = established(1);
    links.numbers.borrow_mut().push((secured(1).connection, association(1), at(65_536)));
    bench.register_in(1, 1);
    let written = bench.write_all();
    assert_eq!(marks(&written, 1), [at(65_536)]);
    assert!(written.iter().any(|change| matches!(change, Change::Marks { keep_answer: false, .. })));
    let address = written.iter().find_map(|change| match change {
        Change::Address { peer, by_address, .. } => Some((*peer, *by_address)),
        _ => None,
    });
    assert_eq!(address, Some((Some(secured(1).remote), false)), "the session finds it, not the address");
}

#[test]
fn a_registration_says_how_its_device_proved_its_name() {
    let mut bench = established(1).0;
    bench.register_in(1, 5);
    let written = bench.write_all();
    let registration = written.iter().find_map(|change| match change {
        Change::Registration(registration) => Some(registration),
        _ => None,
    });
    let registration = registration.unwrap();
    assert_eq!((registration.security_mode, registration.credential_version), (Mode::Psk as u32, 3));
    assert_eq!(registration.session, [1; 8]);
    let applied = written.iter().find_map(|change| match change {
        Change::Applied(applied) => Some(applied),
        _ => None,
    });
    let applied = applied.unwrap();
    assert_eq!((&*applied.source, &*applied.association, applied.number), (&[1; 8][..], &[1; 8][..], 5));
}

#[test]
fn an_equal_request_gets_its_answer_and_an_overtaken_one_none() {
    let mut bench = established(1).0;
    let call = Call { number: 5, ..bench.call() };
    let register = || Uplink::Register { call, registration: registration("lt=600&lwm2m=1.1") };
    bench.hear(secured(1), register());
    bench.write_all();
    bench.forget_all();
    bench.hear(secured(1), register());
    assert_eq!((bench.replies(), bench.writes.len()), (vec![Code::CREATED], 0), "from what was stored");
    bench.forget_all();
    let overtaken = Call { number: 4, ..bench.call() };
    let registration = bench.registration_id();
    bench.hear(secured(1), Uplink::Deregister { call: overtaken, registration });
    assert!(bench.replies().is_empty() && bench.writes.is_empty());
    assert!(bench.said(|downlink| matches!(downlink, Downlink::Forget { .. })));
    let late = Call { number: 6, ..overtaken };
    bench.hear(secured(1), Uplink::Deregister { call: late, registration });
    bench.write_all();
    assert_eq!(bench.replies(), [Code::DELETED]);
}

#[test]
fn the_newest_request_that_changes_something_wins() {
    let mut bench = established(2).0;
    bench.register_in(1, 1);
    bench.write_all();
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.hear(secured(2), Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    let written = bench.write_all();
    assert!(written.iter().any(|change| matches!(change, Change::Registration(_))), "{written:?}");
    assert_eq!(bench.core.link.map(|link| link.connection), Some(secured(2).connection));
    assert!(!bench.events().contains(&"updated"), "nothing that it said has changed");
}

#[test]
fn a_return_to_a_session_that_was_left_is_told_at_times() {
    let mut bench = established(2).0;
    let mut told = Vec::new();
    for (step, (n, minutes)) in
        [(1, 1), (2, 1), (2, 1), (1, 1), (2, 5), (1, 5), (2, 1)].into_iter().enumerate()
    {
        bench.forget_all();
        bench.register_in(n, step as u64 + 1);
        bench.write_all();
        told.push(bench.events().contains(&"session_taken_over"));
        bench.pass(Duration::from_secs(60 * minutes));
        bench.write_all();
    }
    // At first it is a device that has lost its session; from the fourth on, each comes back to one that was left.
    assert_eq!(told, [false, false, false, true, false, false, true], "every ten minutes");
}

/// Two holders of one credential may come to different nodes.
#[test]
fn a_return_is_told_by_a_node_that_did_not_see_the_session_left() {
    let mut record = record_of(&registered());
    let mut told = Vec::new();
    for (step, n) in [1, 2, 1, 2].into_iter().enumerate() {
        let (mut bench, _) = bench(record, true);
        bench.register_in(n, step as u64 + 2);
        bench.write_all();
        told.push(bench.events().contains(&"session_taken_over"));
        record = record_of(&bench);
    }
    assert_eq!(told, [false, false, true, false], "and every ten minutes");
}
