//! A later owner and the command that the one before had sent.

use super::*;

#[test]
fn a_command_in_flight_at_a_crash_is_repeated_byte_for_byte() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    let registration = bench.core.registered.as_ref().unwrap().to_stored(NAME);
    bench.submit("a", execute("/3/0/4"), true);
    let written = bench.write_all();
    let Some(Downlink::Request { token, message_id, request }) = bench.downlinks.last() else { panic!() };
    let Change::Operation(stored) = &written[0] else { panic!() };
    let mut record = DeviceRecord {
        registration: Some(registration),
        operations: vec![(**stored).clone()],
        ..DeviceRecord::default()
    };
    record.header.deadline = Some(bench.now.unix_ms + 600_000);
    let mut later = Bench::claimed("default", record.clone());
    let (call, id) = (later.call(), later.registration_id());
    later.say(Uplink::Update { call, registration: id, request: Box::new(Request::post("rd")) });
    later.write_all();
    let again = later.downlinks.iter().find_map(|downlink| match downlink {
        Downlink::Request { token, message_id, request } => Some((token, message_id, request)),
        _ => None,
    });
    assert_eq!(again, Some((token, message_id, request)));
    // Too late for the device's de-duplication: its outcome is unknown.
    record.operations[0].first_sent -= 46_000;
    let mut late = Bench::claimed("default", record);
    late.apply(Input::Deadline);
    late.write_all();
    assert_eq!(late.ended()[0].0, State::Aborted);
}

/// A record with an Execute that was sent and not answered, and when that was.
fn record_with_sent() -> (DeviceRecord, Reading) {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1");
    let registration = bench.core.registered.as_ref().unwrap().to_stored(NAME);
    bench.submit("a", execute("/3/0/4"), true);
    let written = bench.write_all();
    assert_eq!(bench.requests().len(), 1);
    let Change::Operation(stored) = &written[0] else { panic!() };
    let mut record = DeviceRecord {
        registration: Some(registration),
        operations: vec![(**stored).clone()],
        ..DeviceRecord::default()
    };
    record.header.deadline = Some(bench.now.unix_ms + 86_400_000);
    (record, bench.now)
}

#[test]
fn a_command_that_an_earlier_owner_sent_is_not_called_expired() {
    let (mut record, now) = record_with_sent();
    record.operations[0].due_at = now.unix_ms + 5_000;
    let mut bench = Bench::claimed("default", record);
    bench.pass(Duration::from_secs(6));
    bench.write_all();
    assert_eq!(bench.ended()[0].0, State::Aborted);
}

#[test]
fn what_was_sent_before_a_device_registered_anew_is_not_repeated() {
    let (record, _) = record_with_sent();
    let mut bench = Bench::claimed("default", record);
    bench.register("lt=86400&lwm2m=1.1");
    bench.write_all();
    assert_eq!((bench.ended()[0].0, bench.requests().len()), (State::Aborted, 0));
}

#[test]
fn an_execute_of_an_earlier_owner_is_not_repeated_late() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    bench.submit("a", execute("/3/0/4"), true);
    let written = bench.write_all();
    let Change::Operation(stored) = &written[0] else { panic!() };
    let mut record = passive("lt=600&lwm2m=1.1");
    record.header.by_address = false;
    record.operations = vec![(**stored).clone()];
    let mut later = Bench::claimed("default", record);
    later.pass(Duration::from_secs(60));
    let (call, id) = (later.call(), later.registration_id());
    later.say(Uplink::Update { call, registration: id, request: Box::new(Request::post("rd")) });
    later.write_all();
    assert_eq!(later.requests().len(), 0);
    assert_eq!(later.ended()[0].0, State::Aborted);
}
