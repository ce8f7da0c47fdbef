//! New sessions: on record before they are used, and at most two of them.

use super::*;

#[test]
fn a_handshake_ends_only_when_its_session_is_on_record() {
    let (mut bench, _) = bench(DeviceRecord::default(), true);
    bench.establish(session(1));
    assert!(!bench.said(stored));
    let written = bench.write_all();
    let Change::Session(written) = &written[0] else { panic!("{written:?}") };
    assert_eq!(written.heard_at, bench.now.unix_ms);
    assert_eq!(written.expires_at, bench.now.unix_ms + 30 * 24 * 3_600_000);
    assert!(bench.said(stored));
}

#[test]
fn a_session_that_was_not_stored_is_refused() {
    let (mut bench, _) = bench(DeviceRecord::default(), true);
    bench.establish(session(1));
    let (id, _) = bench.writes.remove(0);
    bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("disk".into()))));
    assert_eq!(bench.refusal(), Some(Refusal::Unavailable));
    bench.hear(secured(1), Uplink::SessionClaim { association: association(1) });
    assert!(bench.write_all().is_empty(), "and it is not held");
}

#[test]
fn a_session_of_an_earlier_credential_is_refused() {
    let (mut bench, _) = bench(DeviceRecord::default(), true);
    bench.establish(Session { credential_version: 2, ..session(1) });
    assert_eq!(bench.refusal(), Some(Refusal::Revoked));
    assert!(bench.writes.is_empty());
    bench.forget_all();
    bench.establish(Session { mode: Mode::Rpk, ..session(1) });
    assert_eq!(bench.refusal(), Some(Refusal::Revoked), "not a mode of its credential");
}

#[test]
fn a_third_session_takes_the_place_of_the_one_longest_not_heard() {
    let (mut bench, _) = bench(DeviceRecord::default(), true);
    for n in 1..=2 {
        bench.establish(session(n));
        bench.write_all();
        bench.pass(Duration::from_secs(1));
    }
    bench.register_in(1, 1);
    bench.write_all();
    bench.forget_all();
    bench.pass(Duration::from_secs(1));
    bench.establish(session(3));
    let written = bench.write_all();
    assert_eq!(written[0], Change::RemoveSession(association(2)));
    assert!(bench.said(|downlink| matches!(downlink, Downlink::Close)), "its connection ends");
    assert!(bench.core.link.is_some(), "that of the registration stays");
}

#[test]
fn the_use_of_a_rotated_secret_drops_the_one_before() {
    for rotated in [false, true] {
        let (mut bench, _) = bench(DeviceRecord::default(), true);
        let session = Box::new(session(1));
        bench.hear(secured(1), Uplink::SessionEstablished { session, rotated });
        assert!(bench.others.is_empty(), "not before it is established");
        bench.write_all();
        assert_eq!(bench.others.iter().any(|it| matches!(it, Effect::SettleRotation)), rotated);
    }
}
