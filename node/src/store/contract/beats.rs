//! Signs of life.

use std::time::Duration;

use super::*;
use crate::store::{Beat, Member};

const TTL: Duration = Duration::from_secs(10);

fn member(node: &str, boot: u64) -> Member {
    Member {
        owner: Owner { boot, ..owner(node) },
        address: "10.0.0.1:5691".parse().unwrap(),
        listeners: Vec::new(),
        ready: true,
        draining: false,
        clock_ahead_ms: -3,
        restored: 7,
        beats: 0,
    }
}

fn beat(subject: &dyn Subject, member: Member) -> Beat {
    let mut beat = wait(subject.store().heartbeat(member, TTL)).unwrap();
    beat.members.sort_by(|a, b| (&a.owner.node, a.owner.boot).cmp(&(&b.owner.node, b.owner.boot)));
    beat
}

pub(super) fn whoever_beats_is_listed_for_its_time(subject: &mut dyn Subject) {
    assert_eq!(beat(subject, member("a", 1)).members, [member("a", 1)]);
    for _ in 0..2 {
        subject.advance(4_000);
        assert_eq!(beat(subject, member("b", 1)).members, [member("a", 1), member("b", 1)]);
    }
    subject.advance(4_000);
    assert_eq!(beat(subject, member("b", 1)).members, [member("b", 1)], "its time is over");
}

pub(super) fn a_member_is_what_it_said_last_and_another_run_is_another_member(subject: &mut dyn Subject) {
    beat(subject, member("a", 1));
    let draining = Member { draining: true, ready: false, ..member("a", 1) };
    assert_eq!(beat(subject, draining.clone()).members, std::slice::from_ref(&draining));
    assert_eq!(beat(subject, member("a", 2)).members, [draining, member("a", 2)]);
}

pub(super) fn a_heartbeat_tells_the_stores_time_and_since_when_it_is_there(subject: &mut dyn Subject) {
    let first = beat(subject, member("a", 1));
    subject.advance(3_000);
    let second = beat(subject, member("a", 1));
    assert!(first.back_ms <= first.time_ms && second.time_ms >= first.time_ms + 3_000);
    assert_eq!((second.back_ms, second.incarnation), (first.back_ms, first.incarnation));
}

pub(super) fn after_a_time_without_a_ready_member_nothing_expires_for_as_long(subject: &mut dyn Subject) {
    beat(subject, member("a", 1));
    subject.advance(60_000);
    // Who only starts serves nobody.
    let joining = beat(subject, Member { ready: false, ..member("b", 1) });
    assert!(joining.expires_from_ms >= joining.time_ms + 60_000);
    subject.advance(20_000);
    let serving = beat(subject, member("b", 1));
    assert!(serving.expires_from_ms >= serving.time_ms + 80_000);
    let again = beat(subject, member("b", 1));
    assert_eq!(again.expires_from_ms, serving.expires_from_ms, "an outage counts once");
    subject.advance(36_000_000);
    let later = beat(subject, member("b", 1));
    assert_eq!(later.expires_from_ms, later.time_ms + 3_600_000, "an hour at most");
    // A clock that was wrong postpones nothing for longer.
    subject.set_back(30_000_000);
    let right = beat(subject, member("b", 1));
    assert!(right.expires_from_ms <= right.time_ms + 3_600_000);
}
