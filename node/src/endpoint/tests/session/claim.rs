//! Sessions on record that a connection asks for.

use super::*;
use crate::seal::Sealer;

#[test]
fn all_sessions_of_a_connection_that_is_gone_can_be_claimed() {
    let mut bench = registered();
    let resumed = Session { id: session(1).id, provisional: true, resumed: true, ..session(2) };
    bench.hear(secured(1), Uplink::SessionEstablished { session: Box::new(resumed), rotated: false });
    bench.write_all();
    bench.apply(Input::Unlinked(secured(1).connection));
    bench.write_all();
    bench.forget_all();
    for n in 1..=2 {
        bench.hear(shaking(2 + n), Uplink::SessionClaim { association: association(n) });
    }
    assert_eq!(bench.refusal(), None);
}

#[test]
fn a_stored_session_goes_on_exactly_or_with_a_jump() {
    let whole = Session { numbers: at(10), expires_at: u64::MAX, ..session(1) };
    let record = || DeviceRecord { sessions: vec![whole.clone()], ..DeviceRecord::default() };
    for (exact, next) in [(true, 10), (false, (1 << 20) + 3)] {
        let (mut bench, _) = bench(record(), exact);
        bench.hear(secured(1), Uplink::SessionClaim { association: association(1) });
        let given = |bench: &Bench| {
            bench.downlinks.iter().find_map(|downlink| match downlink {
                Downlink::SessionClaimed { session, exact } => Some((session.numbers, *exact)),
                _ => None,
            })
        };
        assert_eq!(given(&bench).is_some(), exact, "a jump waits for the store");
        let written = marks(&bench.write_all(), 1);
        assert_eq!(given(&bench), Some((at(next), exact)));
        assert_eq!(written.is_empty(), exact, "a jump is on record before another crash repeats it");
    }
}

#[test]
fn a_session_whose_jump_is_not_on_record_is_not_given_out() {
    let whole = Session { numbers: at(10), expires_at: u64::MAX, ..session(1) };
    let (mut bench, _) = bench(DeviceRecord { sessions: vec![whole], ..DeviceRecord::default() }, false);
    bench.apply(Input::Deadline);
    bench.write_all();
    let claim = || Uplink::SessionClaim { association: association(1) };
    bench.hear(secured(1), claim());
    let (id, written) = bench.writes.pop().unwrap();
    assert_eq!(marks(&written, 1), [at((1 << 20) + 3)]);
    bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("disk".into()))));
    assert_eq!(bench.refusal(), Some(Refusal::Unavailable));
    assert!(!bench.said(|downlink| matches!(downlink, Downlink::SessionClaimed { .. })));
    bench.forget_all();
    bench.hear(secured(2), claim());
    assert_eq!(marks(&bench.write_all(), 1), [at((1 << 20) + 3)], "nobody has used them");
    assert!(bench.said(|downlink| matches!(downlink, Downlink::SessionClaimed { exact: false, .. })));
    assert_eq!(bench.refusal(), None);
}

#[test]
fn a_claim_seals_anew_what_lies_under_an_older_key() {
    let (device, keys) = (DeviceId::of(NAME), b"keys");
    let sealed = Sealer::new(&[9; 32]).seal_session(device, association(1), keys);
    let record = DeviceRecord {
        sessions: vec![Session { sealed, expires_at: u64::MAX, ..session(1) }],
        ..DeviceRecord::default()
    };
    let (mut bench, _) = bench(record, true);
    bench.apply(Input::Deadline);
    let written = bench.write_all();
    let Some(Change::Session(written)) = written.first() else { panic!("{written:?}") };
    let opened = Sealer::new(&[1; 32]).open_session(device, association(1), &written.sealed);
    assert_eq!(opened, Ok(keys.to_vec()));
}

#[test]
fn a_session_that_is_gone_closed_or_revoked_is_not_given_out() {
    let record = DeviceRecord {
        sessions: vec![
            Session { closed: true, ..session(1) },
            Session { credential_version: 2, ..session(2) },
            Session { expires_at: 1, ..session(3) },
        ],
        ..DeviceRecord::default()
    };
    let (mut bench, _) = bench(record, true);
    for (n, refusal) in [(1, Refusal::Unknown), (2, Refusal::Unknown), (3, Refusal::Unknown)] {
        bench.forget_all();
        bench.hear(secured(n), Uplink::SessionClaim { association: association(n) });
        assert_eq!(bench.refusal(), Some(refusal), "{n}");
    }
    let written = bench.write_all();
    for n in 2..=3 {
        assert!(written.contains(&Change::RemoveSession(association(n))), "the claim has cleared it away");
    }
}

/// Its connection begins anew with the session, and would forget a request that it was given before.
#[test]
fn what_was_under_way_at_a_crash_is_repeated_once_the_session_goes_on() {
    let mut first = registered();
    first.submit("a", execute("/3/0/4"), true);
    let written = first.write_all();
    let Some(Downlink::Request { token, message_id, .. }) = first.downlinks.last() else { panic!() };
    let operation = written.iter().find_map(|change| match change {
        Change::Operation(operation) => Some((**operation).clone()),
        _ => None,
    });
    let record = DeviceRecord { operations: operation.into_iter().collect(), ..record_of(&first) };
    let (mut later, _) = bench(record, false);
    later.write_all();
    later.hear(secured(1), Uplink::SessionClaim { association: association(1) });
    later.apply(Input::Deadline);
    assert!(later.downlinks.is_empty(), "the jump is not on record");
    later.write_all();
    let [
        Downlink::SessionClaimed { .. },
        Downlink::Link { .. },
        Downlink::Request { token: again, message_id: id, .. },
    ] = &later.downlinks[..]
    else {
        panic!("{:?}", later.downlinks)
    };
    assert_eq!((again, id), (token, message_id));
    later.respond_over(secured(1), Response::new(Code::CHANGED));
    later.write_all();
    assert_eq!(later.ended()[0].0, State::Succeeded);
}

#[test]
fn a_session_that_is_being_read_for_one_connection_is_not_opened_by_another() {
    let (mut bench, _) = passive();
    let claim = |bench: &mut Bench, n| {
        let link = Link { connection: link(n).connection, ..secured(1) };
        bench.hear(link, Uplink::SessionClaim { association: association(1) });
        link
    };
    let first = claim(&mut bench, 11);
    assert!(bench.said(|downlink| matches!(downlink, Downlink::SessionClaimed { .. })));
    bench.apply(Input::Unlinked(first.connection));
    bench.write_all();
    bench.forget_all();
    let second = claim(&mut bench, 12);
    assert!(matches!(bench.others[..], [Effect::ReadSession(..)]));
    bench.submit("a", read("/3/0/0"), true);
    bench.write_all();
    assert!(!bench.others.iter().any(|effect| matches!(effect, Effect::ReachSession { .. })));
    claim(&mut bench, 13);
    assert_eq!(bench.refusal(), Some(Refusal::Unavailable));
    bench.apply(Input::SessionRead(second, association(1), Some(Box::new(session(1)))));
    bench.write_all();
    assert_eq!(bench.core.link.map(|link| link.connection), Some(second.connection));
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn a_session_that_is_read_while_its_device_is_given_up_is_not_opened() {
    let (mut bench, _) = passive();
    let claim = |bench: &mut Bench, n| {
        let link = Link { connection: link(n).connection, ..secured(1) };
        bench.hear(link, Uplink::SessionClaim { association: association(1) });
        link
    };
    let first = claim(&mut bench, 11);
    bench.apply(Input::Unlinked(first.connection));
    bench.write_all();
    bench.forget_all();
    let second = claim(&mut bench, 12);
    assert!(matches!(bench.others[..], [Effect::ReadSession(..)]));
    bench.apply(Input::Release(StopReason::Idle));
    assert!(bench.writes.iter().any(|(_, changes)| changes.contains(&Change::Passive)));
    bench.apply(Input::SessionRead(second, association(1), Some(Box::new(session(1)))));
    assert!(!bench.said(|downlink| matches!(downlink, Downlink::SessionClaimed { .. })));
    assert_eq!(bench.refusal(), Some(Refusal::Unavailable));
}

#[test]
fn a_command_is_repeated_over_the_session_that_it_went_over_and_no_other() {
    let mut before = registered();
    before.submit("a", execute("/3/0/4"), true);
    let written = before.write_all();
    assert_eq!(before.requests().len(), 1);
    let operations = written.iter().filter_map(|change| match change {
        Change::Operation(stored) => Some((**stored).clone()),
        _ => None,
    });
    let mut record = DeviceRecord {
        registration: Some(before.core.registered.as_ref().unwrap().to_stored(NAME)),
        operations: operations.collect(),
        sessions: vec![
            Session { expires_at: u64::MAX, ..session(1) },
            Session { expires_at: u64::MAX, ..session(2) },
        ],
        ..DeviceRecord::default()
    };
    record.header.deadline = Some(before.now.unix_ms + 600_000);
    for (by, ended, requests) in [(1, vec![], 1), (2, vec![State::Aborted], 0)] {
        let mut bench = bench(record.clone(), false).0;
        bench.hear(secured(by), Uplink::SessionClaim { association: association(by) });
        bench.write_all();
        let (call, registration) = (Call { number: 9, ..bench.call() }, bench.registration_id());
        let request = Box::new(Request::post("rd"));
        bench.hear(secured(by), Uplink::Update { call, registration, request });
        bench.write_all();
        let states: Vec<_> = bench.ended().into_iter().map(|(state, _)| state).collect();
        assert_eq!((states, bench.requests().len()), (ended, requests), "by session {by}");
    }
}
