//! Devices that are given up, and how a command finds them again.

use super::*;

#[test]
fn an_idle_endpoint_is_given_up_with_its_record_exact() {
    let mut bench = Bench::registered("default", "lt=86400");
    bench.pass(Duration::from_secs(600));
    assert!(matches!(bench.writes[0].1[..], [Change::PathNode(_), Change::Passive]));
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Idle));
}

#[test]
fn nothing_is_given_up_while_an_effect_is_outstanding() {
    let (mut bench, token) = observed();
    bench.notify(token, 3, 9, "1");
    bench.apply(Input::Release(StopReason::Drain));
    assert_eq!(bench.writes.len(), 0);
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Ok(())));
    assert!(matches!(bench.downlinks[..], [Downlink::Acknowledge { .. }]));
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Drain));
}

#[test]
fn a_device_that_was_not_used_in_time_is_given_up_to_be_deleted() {
    let mut bench = Bench::claimed("default", DeviceRecord::default());
    bench.core.access.activate_by = bench.now.unix_ms + 1_000;
    bench.apply(Input::Deadline);
    assert_eq!(bench.writes.len(), 0, "not yet");
    bench.pass(Duration::from_secs(2));
    bench.apply(Input::Deadline);
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Ended));
    let mut bench = Bench::registered("default", "lt=60");
    bench.core.access.activate_by = 1;
    bench.apply(Input::Deadline);
    assert_eq!(bench.stopped(), None, "it was used");
}

#[test]
fn a_device_whose_credential_no_longer_fits_is_given_up() {
    let mut bench = Bench::registered("default", "lt=60");
    let access = Access::of(&Device { disabled: true, ..Device::default() }, true);
    bench.apply(Input::Access(Some(access), None));
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Ended));
    let mut bench = Bench::claimed("default", DeviceRecord::default());
    bench.core.access = Access::of(&Device::default(), false);
    bench.register("lt=60");
    assert_eq!(bench.replies(), [Code::FORBIDDEN]);
    assert_eq!(bench.events(), ["refused"]);
}

#[test]
fn a_command_for_a_passive_device_goes_to_its_address_on_record() {
    let mut bench = Bench::claimed("default", passive("lt=6000&lwm2m=1.1"));
    bench.submit("a", read("/3/0/0"), false);
    assert!(bench.others.iter().any(|effect| matches!(
        effect,
        Effect::Reach(address) if address.peer == link(1000).remote
    )));
    bench.write_all();
    assert_eq!(bench.requests().len(), 0);
    bench.apply(Input::Reached(Some(link(1000))));
    bench.write_all();
    assert!(matches!(bench.downlinks[0], Downlink::Link { .. }));
    assert_eq!(bench.requests().len(), 1);
    bench.respond(Response::new(Code::CONTENT).content(0, "Godwit"));
    bench.write_all();
    assert_eq!(bench.ended()[0].0, State::Succeeded);
    assert!(bench.core.link.is_none(), "before the next one it is asked whose the address is");
}

#[test]
fn a_command_for_a_device_whose_address_is_anothers_ends_at_once_or_waits() {
    let mut bench = Bench::claimed("default", passive("lt=6000&lwm2m=1.1"));
    bench.submit("a", read("/3/0/0"), false);
    bench.submit("b", read("/3/0/1"), true);
    bench.apply(Input::Reached(None));
    bench.write_all();
    assert_eq!(bench.ended().len(), 1);
    assert_eq!(bench.ended()[0].0, State::Failed);
    assert_eq!(bench.requests().len(), 0);
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    bench.write_all();
    assert_eq!(bench.requests()[0].1, "Get /3/0/1");
}

#[test]
fn a_passive_device_in_queue_mode_is_taken_to_be_asleep() {
    let mut bench = Bench::claimed("default", passive("lt=6000&lwm2m=1.1&Q"));
    bench.submit("a", read("/3/0/0"), false);
    assert!(matches!(bench.others[..], [Effect::Submitted(_, Err(SubmitError::Asleep))]));
}

#[test]
fn nothing_is_sent_to_a_passive_device_that_was_disabled() {
    let mut bench = Bench::claimed("default", passive("lt=6000&lwm2m=1.1"));
    bench.core.access.disabled = true;
    bench.submit("a", read("/3/0/0"), true);
    assert!(!bench.others.iter().any(|effect| matches!(effect, Effect::Reach(_))));
}
