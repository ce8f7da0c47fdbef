//! Registers, updates and de-registers: what is written before each is answered.

use super::*;
use crate::{identity::Owner, store::Refused};

#[test]
fn a_register_is_answered_only_after_its_write() {
    let mut bench = Bench::claimed("default", DeviceRecord::default());
    bench.register("lt=60&lwm2m=1.1");
    assert_eq!(bench.replies(), []);
    assert!(bench.core.registered.is_none());
    let written = bench.write_all();
    assert!(written.iter().any(|change| matches!(change, Change::Applied(_))));
    assert_eq!(bench.replies(), [Code::CREATED]);
    assert_eq!(bench.events(), ["registered"]);
}

#[test]
fn a_register_whose_write_fails_is_not_answered_and_changes_nothing() {
    let mut bench = Bench::claimed("default", DeviceRecord::default());
    bench.register("lt=60");
    let (id, _) = bench.writes.remove(0);
    bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("gone".into()))));
    assert!(matches!(bench.downlinks[..], [Downlink::Forget { .. }]));
    assert!(bench.core.registered.is_none());
    assert_eq!(bench.stopped(), None);
}

#[test]
fn a_refused_write_stops_the_endpoint_without_an_answer() {
    let mut bench = Bench::claimed("default", DeviceRecord::default());
    bench.register("lt=60");
    let (id, _) = bench.writes.remove(0);
    let refused = Refused { term: 9, owner: Owner { node: "other".into(), boot: 2 } };
    bench.apply(Input::Persisted(id, Err(refused.into())));
    assert_eq!(bench.replies(), []);
    assert_eq!(bench.stopped(), Some(StopReason::Superseded));
}

#[test]
fn a_repeated_register_gets_the_stored_answer_from_a_later_owner() {
    let mut bench = Bench::claimed("default", DeviceRecord::default());
    bench.register("lt=60");
    let mut record = DeviceRecord::default();
    for change in bench.write_all() {
        match change {
            Change::Registration(registration) => record.registration = Some(*registration),
            Change::Applied(applied) => record.applied = Some(applied),
            _ => {}
        }
    }
    let id = bench.registration_id();
    let mut later = Bench::claimed("default", record);
    later.register("lt=60");
    assert_eq!(later.writes.len(), 0, "nothing is written again");
    let Some(Downlink::Reply { response, .. }) =
        later.downlinks.iter().find(|downlink| matches!(downlink, Downlink::Reply { .. }))
    else {
        panic!("not answered")
    };
    assert_eq!(response.location_path, ["rd", id.as_str()]);
}

#[test]
fn an_update_that_the_stored_deadline_covers_is_answered_at_once() {
    let mut bench = Bench::registered("default", "lt=1000");
    let registration = bench.registration_id();
    let update = |bench: &mut Bench, request: Request| {
        let call = bench.call();
        bench.say(Uplink::Update { call, registration, request: Box::new(request) });
    };
    bench.pass(Duration::from_secs(200));
    update(&mut bench, Request::post("rd"));
    assert_eq!((bench.replies(), bench.writes.len()), (vec![Code::CHANGED], 0));
    // A quarter of the lifetime is over: from here on each first update is written.
    bench.pass(Duration::from_secs(100));
    update(&mut bench, Request::post("rd"));
    assert_eq!(bench.replies().len(), 1);
    assert!(matches!(bench.writes[0].1[..], [Change::Deadline(Some(_))]));
    bench.write_all();
    assert_eq!(bench.replies().len(), 2);
    // A change is always written first.
    update(&mut bench, Request::post("rd").query("lt=2000"));
    assert_eq!(bench.replies().len(), 2);
    bench.write_all();
    assert_eq!(bench.replies().len(), 3);
    assert_eq!(bench.core.registered.as_ref().unwrap().client.lifetime, 2000);
}

#[test]
fn an_update_of_another_registration_is_not_this_devices() {
    let mut bench = Bench::registered("default", "lt=60");
    let call = bench.call();
    let registration = RegistrationId::parse("aaaaaaaaaaaa").unwrap();
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    assert!(matches!(bench.others[..], [Effect::Foreign(..)]));
}

#[test]
fn a_de_register_is_answered_after_its_write_and_ends_the_endpoint() {
    let mut bench = Bench::registered("default", "lt=60");
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Deregister { call, registration });
    assert_eq!(bench.replies(), []);
    bench.write_all();
    assert_eq!(bench.replies(), [Code::DELETED], "which waits for no sink");
    assert_eq!(bench.stopped(), None);
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Ok(())));
    assert!(bench.others.iter().any(|effect| matches!(effect, Effect::RemoveEvent(_))));
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Ended));
}

#[test]
fn a_device_that_registers_again_while_its_end_is_being_told_is_not_given_up() {
    let mut bench = Bench::registered("default", "lt=60");
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Deregister { call, registration });
    bench.write_all();
    bench.register("lt=60");
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Ok(())));
    bench.write_all();
    assert_eq!(bench.replies(), [Code::DELETED, Code::CREATED]);
    assert_eq!(bench.stopped(), None);
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn the_event_of_a_de_register_is_published_by_a_later_owner_should_the_first_die() {
    let mut bench = Bench::registered("default", "lt=60");
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Deregister { call, registration });
    let written = bench.write_all();
    let events = written.into_iter().filter_map(|change| match change {
        Change::Event(event) => Some(event),
        _ => None,
    });
    let record = DeviceRecord { events: events.collect(), ..DeviceRecord::default() };
    let mut later = Bench::claimed("default", record);
    later.apply(Input::Deadline);
    let published = |bench: &Bench| bench.publications[0].1[0].id.to_string();
    assert_eq!(published(&later), published(&bench), "one event, whoever publishes it");
}

#[test]
fn an_update_waits_for_the_one_before() {
    let mut bench = Bench::registered("default", "lt=60&lwm2m=1.1");
    let registration = bench.registration_id();
    for query in ["lt=2000", "b=UT"] {
        let call = bench.call();
        let request = Box::new(Request::post("rd").query(query));
        bench.say(Uplink::Update { call, registration, request });
    }
    assert_eq!(bench.writes.len(), 1, "made from the old registration, it would take the first one back");
    assert!(matches!(bench.downlinks.last(), Some(Downlink::Forget { .. })));
    bench.write_all();
    assert_eq!(bench.core.registered.as_ref().unwrap().client.lifetime, 2000);
}

#[test]
fn a_register_is_not_taken_for_the_update_that_was_answered_before() {
    let mut bench = Bench::registered("default", "lt=60&lwm2m=1.1");
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd").query("lt=70")) });
    bench.write_all();
    // The device has started over, and counts its messages from the beginning.
    bench.calls -= 1;
    bench.register("lt=60");
    assert_eq!(bench.writes.len(), 1);
}
