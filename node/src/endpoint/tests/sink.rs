//! A sink that takes values late, or not at all.

use super::*;
use crate::telemetry::SinkError;

/// What a sink says that takes nothing more.
const FULL: SinkError = SinkError::QueueFull { queued: 1, limit: 1 };

#[test]
fn a_notification_is_acknowledged_once_it_is_durable() {
    let (mut bench, token) = observed();
    bench.notify(token, 77, 2, "94");
    assert!(bench.downlinks.is_empty());
    let (id, records) = bench.publications.remove(0);
    assert_eq!(records.len(), 1);
    bench.apply(Input::Published(id, Ok(())));
    assert!(matches!(bench.downlinks[..], [Downlink::Acknowledge { message_id: 77 }]));
}

#[test]
fn a_notification_that_answers_its_request_is_acknowledged_once_it_is_durable() {
    let mut bench = Bench::claimed("demo", DeviceRecord::default());
    bench.register("lt=60&lwm2m=1.1");
    bench.write_all();
    let token = bench.requests()[0].0;
    let response = Box::new(Response::new(Code::CONTENT).content(0, "95").observe(1));
    bench.say(Uplink::Response { token, response, notified: true });
    assert!(bench.write_all().iter().any(|change| matches!(change, Change::Observation(_))));
    bench.forget_all();
    bench.notify(token, 77, 1, "95");
    assert!(bench.downlinks.is_empty());
    let (id, records) = bench.publications.remove(0);
    assert_eq!((records.len(), records[0].stale), (1, false));
    assert!(bench.publications.is_empty(), "once");
    bench.apply(Input::Published(id, Ok(())));
    assert!(matches!(bench.downlinks[..], [Downlink::Acknowledge { message_id: 77 }]));
}

#[test]
fn a_notification_that_the_sink_does_not_take_is_left_without_acknowledgement() {
    let (mut bench, token) = observed();
    bench.notify(token, 77, 2, "94");
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Err(SinkError::QueueFull { queued: 2, limit: 1 })));
    assert!(matches!(bench.downlinks[..], [Downlink::ForgetNotification { message_id: 77 }]));
}

#[test]
fn a_notification_that_the_sink_refused_is_not_stale_when_it_is_repeated() {
    let (mut bench, token) = observed();
    let stale = |bench: &Bench| bench.publications.last().unwrap().1[0].stale;
    bench.notify(token, 50, 9, "95");
    let (id, _) = bench.publications[0];
    bench.apply(Input::Published(id, Err(FULL)));
    bench.notify(token, 51, 9, "95");
    assert!(!stale(&bench));
    bench.notify(token, 52, 8, "94");
    assert!(stale(&bench), "an older one is");
}

#[test]
fn the_last_value_of_an_observation_is_not_lost_when_the_sink_refuses_it() {
    let (mut bench, token) = observed();
    let last = |message_id| {
        Uplink::Notification(Box::new(Notification {
            token,
            message_id,
            confirmable: true,
            observe: None,
            response: Response::new(Code::CONTENT).content(0, "95"),
            more: false,
        }))
    };
    bench.say(last(50));
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Err(FULL)));
    assert!(matches!(bench.downlinks.last(), Some(Downlink::ForgetNotification { message_id: 50 })));
    bench.say(last(51));
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Ok(())));
    assert!(matches!(bench.downlinks.last(), Some(Downlink::Acknowledge { message_id: 51 })));
    let removed = Change::RemoveObservation(token.as_bytes().to_vec());
    assert!(bench.write_all().contains(&removed));
}

#[test]
fn what_the_sink_did_not_take_is_observed_again_when_the_device_has_given_up() {
    let (mut bench, token) = observed();
    bench.notify(token, 1, 2, "94");
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Err(SinkError::QueueFull { queued: 2, limit: 1 })));
    let written = bench.write_all();
    assert!(matches!(written[..], [Change::Observation(_)]), "a later owner knows of it");
    bench.pass(Duration::from_secs(20));
    let update = |bench: &mut Bench| {
        let (call, registration) = (bench.call(), bench.registration_id());
        bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
        bench.write_all();
    };
    update(&mut bench);
    assert_eq!(bench.requests().len(), 0, "it still repeats the notification");
    bench.pass(Duration::from_secs(60));
    update(&mut bench);
    bench.pass(Duration::from_secs(30));
    update(&mut bench);
    assert_eq!(bench.requests(), [(token, "Get /3/0/9".to_owned())]);
    assert!(bench.events().contains(&"observation_suspect"));
    bench.respond(Response::new(Code::CONTENT).content(0, "95").observe(9));
    bench.write_all();
    // One that comes through after a failure is no suspect.
    for result in [Err(SinkError::QueueFull { queued: 2, limit: 1 }), Ok(())] {
        bench.notify(token, 3, 10, "96");
        let (id, _) = bench.publications.remove(0);
        bench.apply(Input::Published(id, result));
        bench.write_all();
    }
    bench.pass(Duration::from_secs(80));
    bench.forget_all();
    update(&mut bench);
    bench.pass(Duration::from_secs(40));
    update(&mut bench);
    assert_eq!(bench.requests().len(), 0);
}

#[test]
fn a_sink_that_takes_nothing_holds_up_values_and_nothing_else() {
    let (mut bench, token) = observed();
    for n in 0..10 {
        bench.notify(token, 100 + n, 10 + u32::from(n), "1");
    }
    let call = bench.call();
    let request = Request::post("dp").content(110, r#"[{"n":"/3/0/9","v":1}]"#);
    bench.say(Uplink::Send { call, request: Box::new(request) });
    assert_eq!(bench.publications.len(), 8, "what comes beyond is not taken");
    bench.forget_all();
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd").query("lt=7000")) });
    bench.write_all();
    assert_eq!(bench.replies(), [Code::CHANGED]);
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    bench.respond(Response::new(Code::CONTENT).content(0, "Godwit"));
    bench.write_all();
    assert_eq!(bench.ended(), [(State::Succeeded, String::new())]);
}

#[test]
fn what_devices_do_not_go_on_with_is_not_waited_for() {
    let (mut bench, token) = observed();
    for n in 0..8 {
        bench.notify(token, 100 + n, 10 + u32::from(n), "1");
    }
    bench.pass(Duration::from_secs(50));
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    bench.write_all();
    bench.forget_all();
    bench.pass(Duration::from_secs(42));
    assert!(bench.downlinks.is_empty() && bench.writes.is_empty());
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.downlinks.len(), 8);
    assert!(bench.downlinks.iter().all(|it| matches!(it, Downlink::ForgetNotification { .. })));
    let written = bench.write_all();
    assert!(matches!(written[..], [Change::Observation(_)]), "a later owner knows of it");
    // Their reports, when they come, mean nothing any more.
    bench.forget_all();
    for (id, _) in std::mem::take(&mut bench.publications) {
        bench.apply(Input::Published(id, Ok(())));
    }
    assert!(bench.downlinks.is_empty() && bench.writes.is_empty());
    bench.apply(Input::Release(StopReason::Drain));
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Drain), "nothing holds the device back");
}

#[test]
fn what_was_durable_too_late_is_observed_again() {
    let (mut bench, token) = observed();
    bench.notify(token, 1, 2, "94");
    let (id, _) = bench.publications.remove(0);
    // As long as Kafka was away. The device gave up after 93 s.
    let update = |bench: &mut Bench| {
        let (call, registration) = (bench.call(), bench.registration_id());
        bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
        bench.write_all();
    };
    bench.pass(Duration::from_secs(50));
    update(&mut bench);
    bench.pass(Duration::from_secs(44));
    bench.apply(Input::Published(id, Ok(())));
    bench.write_all();
    update(&mut bench);
    assert_eq!(bench.requests(), [(token, "Get /3/0/9".to_owned())]);
    assert!(bench.events().contains(&"observation_suspect"));
}
