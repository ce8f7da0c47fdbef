//! The due index.

use super::*;
use crate::store::{Change, Due, Expect};

fn owned(subject: &dyn Subject, endpoint: &str) -> Fence {
    let a = owner("a");
    fence(&a, &claim(subject, endpoint, &a))
}

fn commit(subject: &dyn Subject, endpoint: &str, fence: &Fence, changes: Vec<Change>) {
    wait(subject.store().commit(device(endpoint), fence.clone(), changes)).unwrap();
}

fn due(subject: &dyn Subject, now: u64) -> Vec<u64> {
    wait(subject.store().due(now, None, 100)).unwrap().into_iter().map(|due| due.at).collect()
}

pub(super) fn devices_are_due_by_their_deadline_in_pages(subject: &mut dyn Subject) {
    let deadlines = [50, 10, 40, 20, 30];
    for (n, at) in (1..).zip(deadlines) {
        let endpoint = format!("ep{at}");
        let fence = owned(subject, &endpoint);
        let registration = Change::Registration(Box::new(registration(&endpoint, n)));
        commit(subject, &endpoint, &fence, vec![registration, Change::Deadline(Some(at))]);
    }
    subject.reopen();
    assert_eq!(due(subject, 9), [0; 0]);
    assert_eq!(due(subject, 30), [10, 20, 30]);
    let first = wait(subject.store().due(100, None, 2)).unwrap();
    assert_eq!(first, [10, 20].map(|at| Due { at, device: device(&format!("ep{at}")) }));
    let then = wait(subject.store().due(100, Some(first[1]), 2)).unwrap();
    assert_eq!(then.iter().map(|due| due.at).collect::<Vec<_>>(), [30, 40]);
    let fence = owned(subject, "ep10");
    commit(subject, "ep10", &fence, vec![Change::Deadline(Some(35))]);
    assert_eq!(due(subject, 100), [20, 30, 35, 40, 50]);
    commit(subject, "ep10", &fence, vec![Change::Deadline(None)]);
    let fence = owned(subject, "ep20");
    commit(subject, "ep20", &fence, vec![Change::RemoveRegistration]);
    assert_eq!(due(subject, 100), [30, 40, 50]);
}

pub(super) fn an_unacknowledged_event_is_due_at_once(subject: &mut dyn Subject) {
    let fence = owned(subject, "ep");
    let changes = vec![
        Change::Registration(Box::new(registration("ep", 1))),
        Change::Deadline(Some(900)),
        Change::Event(event("e1", 20)),
        Change::Event(event("e2", 10)),
    ];
    commit(subject, "ep", &fence, changes);
    assert_eq!(due(subject, 1000), [10]);
    wait(subject.store().remove_event(device("ep"), "e2".into())).unwrap();
    assert_eq!(due(subject, 1000), [20]);
    commit(subject, "ep", &fence, vec![Change::RemoveRegistration]);
    assert_eq!(due(subject, 1000), [20], "the event outlives its registration");
    wait(subject.store().remove_event(device("ep"), "e1".into())).unwrap();
    assert_eq!(due(subject, 1000), [0; 0]);
}

pub(super) fn an_operation_is_due_when_its_time_is_over(subject: &mut dyn Subject) {
    let fence = owned(subject, "ep");
    let put = |due_at| vec![Change::Operation(Box::new(operation("o", 1, due_at)))];
    commit(subject, "ep", &fence, put(70));
    assert_eq!((due(subject, 69), due(subject, 70)), (vec![], vec![70]));
    commit(subject, "ep", &fence, put(90));
    assert_eq!(due(subject, 100), [90]);
    commit(subject, "ep", &fence, put(0));
    assert_eq!(due(subject, 100), [0; 0], "0 is never");
}

pub(super) fn a_device_that_was_not_activated_is_due(subject: &mut dyn Subject) {
    for endpoint in ["one", "two"] {
        let document = value::Device { endpoint: endpoint.into(), activate_by: 80, ..Default::default() };
        wait(subject.store().put_device(document, Expect::Absent)).unwrap();
    }
    assert_eq!(due(subject, 100), [80, 80]);
    let fence = owned(subject, "one");
    commit(subject, "one", &fence, vec![Change::Activated]);
    assert_eq!(due(subject, 100), [80]);
    wait(subject.store().remove_device(device("two"), Expect::Any, None)).unwrap();
    assert_eq!(due(subject, 100), [0; 0]);
}

pub(super) fn an_earlier_deadline_is_found_after_a_later_one(subject: &mut dyn Subject) {
    let fence = owned(subject, "ep");
    let registration = Change::Registration(Box::new(registration("ep", 1)));
    commit(subject, "ep", &fence, vec![registration, Change::Deadline(Some(500))]);
    assert_eq!(due(subject, 1000), [500]);
    assert_eq!(due(subject, 300), [0; 0]);
    for at in [200, 100, 250] {
        commit(subject, "ep", &fence, vec![Change::Deadline(Some(at))]);
        assert_eq!(due(subject, 300), [at]);
    }
}
