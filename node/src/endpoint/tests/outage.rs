//! An endpoint whose node does not see the store, or may be the only one that doesn't.

use super::*;
use crate::ownership::Validity;

impl Bench {
    fn stands(&self, validity: Validity, may_expire: bool) {
        self.core.services.standing.set(validity, may_expire);
    }

    fn update(&mut self, request: Request) {
        let (call, registration) = (self.call(), self.registration_id());
        self.say(Uplink::Update { call, registration, request: Box::new(request) });
    }
}

fn forgotten(bench: &Bench) -> usize {
    bench.downlinks.iter().filter(|it| matches!(it, Downlink::Forget { .. })).count()
}

#[test]
fn an_update_of_the_lifetime_alone_is_answered_and_written_when_the_store_is_back() {
    let mut bench = Bench::registered("default", "lt=1000");
    bench.stands(Validity::Outage, false);
    bench.pass(Duration::from_secs(400));
    bench.update(Request::post("rd"));
    assert_eq!((bench.replies(), bench.writes.len()), (vec![Code::CHANGED], 0));
    // What changes something waits for its write, as ever.
    bench.update(Request::post("rd").query("lt=2000"));
    assert_eq!((bench.replies().len(), bench.writes.len()), (1, 1));
    let (id, _) = bench.writes.remove(0);
    bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("down".into()))));
    assert_eq!((bench.replies().len(), forgotten(&bench)), (1, 1));

    for _ in 0..5 {
        bench.pass(Duration::from_secs(2));
        assert_eq!(bench.writes.len(), 0, "there is nothing to write it to");
    }
    bench.stands(Validity::Valid, true);
    bench.pass(Duration::from_secs(2));
    let (id, changes) = bench.writes.remove(0);
    // 1,000 s and the grace of 30 s from the update on, and a quarter of the lifetime to spare.
    let deadline = bench.now.unix_ms - 12_000 + 1_280_000;
    assert_eq!(changes, [Change::Deadline(Some(deadline))]);
    // It fails once more, and is tried once more.
    bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("down".into()))));
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.write_all(), [Change::Deadline(Some(deadline))]);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.writes.len(), 0, "it is paid");
}

#[test]
fn a_device_that_is_given_up_takes_the_owed_deadline_along() {
    let mut bench = Bench::registered("default", "lt=1000");
    bench.stands(Validity::Outage, false);
    bench.pass(Duration::from_secs(400));
    bench.update(Request::post("rd"));
    bench.stands(Validity::Valid, true);
    bench.apply(Input::Release(StopReason::Drain));
    let written = bench.write_all();
    let deadline = Change::Deadline(Some(bench.now.unix_ms + 1_280_000));
    assert!(written.contains(&deadline) && written.contains(&Change::Passive), "{written:?}");
}

#[test]
fn a_registration_that_is_over_does_not_end_before_it_may() {
    let mut bench = Bench::registered("default", "lt=60");
    bench.stands(Validity::Outage, false);
    for _ in 0..100 {
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!(bench.writes.len(), 0);
    // Back, and the device has as long as the outage took to say that it is there.
    bench.stands(Validity::Valid, false);
    bench.update(Request::post("rd"));
    assert!(matches!(bench.write_all()[..], [Change::Deadline(Some(_))]));
    bench.stands(Validity::Valid, true);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.writes.len(), 0);
    bench.pass(Duration::from_secs(31));
    assert!(matches!(bench.writes[0].1[0], Change::Event(_)));
}

#[test]
fn a_node_that_may_have_been_replaced_answers_no_update() {
    let mut bench = Bench::registered("default", "lt=1000");
    bench.stands(Validity::Isolated, false);
    bench.update(Request::post("rd"));
    assert_eq!((bench.replies(), bench.writes.len(), forgotten(&bench)), (Vec::new(), 0, 1));
    bench.stands(Validity::Valid, true);
    bench.update(Request::post("rd"));
    assert_eq!(bench.replies(), [Code::CHANGED]);
}

#[test]
fn an_idle_device_is_not_given_up_while_that_could_not_be_written() {
    let mut bench = Bench::registered("default", "lt=86400");
    bench.stands(Validity::Outage, false);
    let idle = bench.core.services.process.config.limits.passivate_after;
    bench.pass(idle);
    assert_eq!(bench.writes.len(), 0);
    bench.stands(Validity::Valid, true);
    bench.pass(idle);
    assert!(bench.write_all().contains(&Change::Passive));
}

fn down() -> Result<(), StoreError> {
    Err(StoreError::Unavailable("down".into()))
}

/// What the record says of a command.
fn state_on_record(written: &[Change]) -> Option<State> {
    written.iter().find_map(|change| match change {
        Change::Operation(stored) => Some(stored.operation.as_ref()?.state()),
        _ => None,
    })
}

/// A command whose answer comes in an outage.
fn answered_in_an_outage() -> Bench {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1");
    bench.submit("a", execute("/3/0/4"), true);
    bench.write_all();
    bench.stands(Validity::Outage, false);
    bench.respond(Response::new(Code::CHANGED));
    let (id, _) = bench.writes.remove(0);
    bench.apply(Input::Persisted(id, down()));
    bench
}

#[test]
fn the_end_of_a_command_in_an_outage_is_told_at_once_and_written_when_the_store_is_back() {
    let mut bench = answered_in_an_outage();
    assert_eq!(bench.ended()[0].0, State::Succeeded);
    for _ in 0..5 {
        bench.pass(Duration::from_secs(2));
        assert_eq!(bench.writes.len(), 0, "there is nothing to write it to");
    }
    bench.stands(Validity::Valid, true);
    bench.pass(Duration::from_secs(2));
    let (id, _) = bench.writes.remove(0);
    // It fails once more, and is tried once more.
    bench.apply(Input::Persisted(id, down()));
    bench.pass(Duration::from_secs(2));
    assert_eq!(state_on_record(&bench.write_all()), Some(State::Succeeded));
    bench.pass(Duration::from_secs(10));
    assert_eq!((bench.writes.len(), bench.ended().len()), (0, 1), "it is written and told once");
}

#[test]
fn a_device_that_is_given_up_takes_the_ends_of_its_commands_along() {
    let mut bench = answered_in_an_outage();
    bench.stands(Validity::Valid, true);
    bench.apply(Input::Release(StopReason::Drain));
    let written = bench.write_all();
    assert_eq!(state_on_record(&written), Some(State::Succeeded));
    assert!(written.contains(&Change::Passive));
}

#[test]
fn the_record_of_a_command_that_expires_in_an_outage_goes_when_the_store_is_back() {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1&Q");
    bench.pass(Duration::from_secs(100));
    bench.submit("a", read("/3/0/0"), true);
    bench.write_all();
    bench.core.active = bench.now.now + Duration::from_secs(7200);
    bench.stands(Validity::Outage, false);
    bench.pass(Duration::from_secs(3600));
    while let Some((id, _)) = bench.writes.pop() {
        bench.apply(Input::Persisted(id, down()));
    }
    assert_eq!(bench.ended()[0].0, State::Expired);
    bench.stands(Validity::Valid, true);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.write_all(), [Change::RemoveOperation("a".into())]);
}

#[test]
fn a_command_whose_cancellation_is_not_on_record_waits_again() {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1&Q");
    bench.pass(Duration::from_secs(100));
    for id in ["a", "b"] {
        bench.submit(id, execute("/3/0/4"), true);
        bench.write_all();
    }
    bench.apply(Input::Cancel("a".into()));
    let (id, _) = bench.writes.remove(0);
    bench.apply(Input::Persisted(id, down()));
    assert!(matches!(bench.others.last(), Some(Effect::NotCancelled(_, SubmitError::Store(_)))));
    assert_eq!(bench.ended(), []);
    let waiting = bench.core.downlinks.operations.iter().map(|stored| stored.id.as_str());
    assert_eq!(waiting.collect::<Vec<_>>(), ["a", "b"]);
    bench.apply(Input::Cancel("a".into()));
    bench.write_all();
    assert_eq!(bench.ended()[0].0, State::Cancelled);
}
