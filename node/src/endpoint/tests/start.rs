//! What the profile asks of a device that has registered.

use super::*;

#[test]
fn start_actions_follow_the_answer_one_by_one() {
    let mut bench = Bench::claimed("demo", DeviceRecord::default());
    bench.register("lt=60&lwm2m=1.1");
    let written = bench.write_all();
    let pending = written.iter().filter(|change| matches!(change, Change::Observation(_))).count();
    assert_eq!(pending, 2, "observations are on record before they are requested");
    assert_eq!(bench.replies(), [Code::CREATED]);
    assert_eq!(bench.requests().len(), 1, "NSTART");
    assert_eq!(bench.requests()[0].1, "Get /3/0/9");
    bench.respond(Response::new(Code::CONTENT).content(0, "95").observe(1));
    bench.write_all();
    assert_eq!(bench.requests()[1].1, "Get /3303/0/5700");
    assert!(bench.events().contains(&"telemetry"));
    // A refusal stops nothing.
    bench.respond(Response::new(Code::NOT_FOUND));
    bench.write_all();
    assert!(bench.events().contains(&"action_failed"));
    assert_eq!(bench.core.observations.len(), 1);
}

#[test]
fn a_refused_format_is_followed_by_the_next_one() {
    let mut bench = Bench::claimed("demo", DeviceRecord::default());
    bench.register("lt=60&lwm2m=1.1");
    bench.write_all();
    bench.respond(Response::new(Code::NOT_ACCEPTABLE));
    let accept = |downlink: &Downlink| match downlink {
        Downlink::Request { request, .. } => request.accept,
        _ => None,
    };
    let asked: Vec<_> = bench.downlinks.iter().filter_map(accept).collect();
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0], asked[1]);
}

#[test]
fn start_actions_wait_while_the_shard_asks_as_many_devices_as_it_may() {
    let mut bench = Bench::claimed("demo", DeviceRecord::default());
    let starts = bench.core.services.starts.clone();
    let other = starts.enter().unwrap();
    bench.register("lt=60&lwm2m=1.1");
    bench.write_all();
    assert_eq!(bench.replies(), [Code::CREATED], "a register does not wait");
    assert_eq!(bench.requests(), []);
    let awaits =
        |bench: &Bench| bench.others.iter().filter(|effect| matches!(effect, Effect::AwaitStart)).count();
    assert_eq!(awaits(&bench), 1);

    bench.submit("a", read("/3/0/0"), true);
    bench.write_all();
    assert_eq!(bench.requests().last().unwrap().1, "Get /3/0/0", "nor does a command");
    bench.respond(Response::new(Code::CONTENT).content(0, "Godwit"));
    bench.write_all();
    assert_eq!(awaits(&bench), 1, "one place is enough");

    drop(other);
    bench.apply(Input::Start(starts.enter().unwrap()));
    assert_eq!(bench.requests().last().unwrap().1, "Get /3/0/9");
    assert!(starts.enter().is_none(), "the place is kept while the request is under way");
    bench.respond(Response::new(Code::CONTENT).content(0, "95").observe(1));
    bench.write_all();
    assert_eq!(bench.requests().last().unwrap().1, "Get /3303/0/5700");
    bench.fail(FailReason::Timeout);
    assert!(starts.enter().is_some(), "who does not answer keeps nobody waiting");
}

#[test]
fn a_changed_profile_is_applied_as_a_difference() {
    let (mut bench, token) = observed();
    bench.apply(Input::Profile(profile("default")));
    bench.write_all();
    assert_eq!(bench.requests(), [(token, "Get /3/0/9".to_owned())], "cancelled under its token");
    bench.respond(Response::new(Code::CONTENT).content(0, "95"));
    bench.apply(Input::Profile(profile("demo")));
    bench.write_all();
    assert_eq!(bench.requests()[1].1, "Get /3/0/9");
}
