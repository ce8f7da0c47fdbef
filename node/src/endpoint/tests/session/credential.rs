//! Credentials: what they refuse, and what a change of them ends.

use super::*;

#[test]
fn a_revoked_session_leaves_nothing_under_way() {
    let mut bench = registered();
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    bench.apply(Input::Access(Some(Access::of(&document(4), false)), None));
    bench.write_all();
    assert!(bench.core.downlinks.flight.is_none());
    assert_eq!(bench.ended()[0].0, State::Failed);
}

#[test]
fn a_changed_credential_ends_its_sessions_at_once() {
    let mut bench = registered();
    bench.apply(Input::Access(Some(Access::of(&document(4), false)), None));
    assert_eq!(bench.refusal(), Some(Refusal::Revoked));
    assert!(bench.write_all().contains(&Change::RemoveSession(association(1))));
    assert!(bench.core.link.is_none());
    assert_eq!(bench.events(), ["credential_changed"]);
    bench.forget_all();
    bench.register_in(1, 2);
    assert_eq!(bench.replies(), [Code::FORBIDDEN]);
}

#[test]
fn a_psk_device_is_refused_on_the_plain_port() {
    let (mut bench, _) = bench(DeviceRecord::default(), true);
    bench.register("lt=600&lwm2m=1.1");
    assert_eq!(bench.replies(), [Code::FORBIDDEN]);
    assert_eq!(bench.events(), ["refused"]);
}

#[test]
fn a_name_that_is_not_the_credentials_is_refused_with_an_event() {
    let mut bench = established(1).0;
    let mut other = registration("lt=60");
    other.endpoint = Some("urn:test:2".into());
    let call = bench.call();
    bench.hear(secured(1), Uplink::Register { call, registration: other });
    assert_eq!((bench.replies(), bench.events()), (vec![Code::FORBIDDEN], vec!["refused"]));
    assert!(bench.writes.is_empty() && bench.core.registered.is_none());
}
