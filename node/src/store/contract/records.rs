//! What a record holds, and what remains of it.

use super::*;
use crate::store::{APPLIED_FOR_MS, Change, Expect, Pointer};

fn commit(subject: &dyn Subject, fence: &Fence, changes: Vec<Change>) {
    wait(subject.store().commit(device("ep"), fence.clone(), changes)).unwrap();
}

fn rd(subject: &dyn Subject, n: u8) -> Option<DeviceId> {
    wait(subject.store().resolve(Pointer::Registration(registration_id(n)))).unwrap()
}

fn provisioned() -> value::Device {
    value::Device { endpoint: "ep".into(), profile: "p".into(), ..Default::default() }
}

pub(super) fn a_record_comes_back_whole(subject: &mut dyn Subject) {
    let a = owner("a");
    let document = wait(subject.store().put_device(provisioned(), Expect::Absent)).unwrap();
    let fence = fence(&a, &claim(subject, "ep", &a));
    let observation = |token: u8, path: &str| value::Observation {
        token: vec![token; 8],
        paths: vec![path.into()],
        format: Some(112),
        sequence: Some(7),
        ..Default::default()
    };
    commit(
        subject,
        &fence,
        vec![
            Change::Registration(Box::new(registration("ep", 1))),
            Change::Applied(applied(1, START)),
            Change::Observation(observation(1, "/3/0/9")),
            Change::Observation(observation(2, "/3/0/1")),
            Change::Observation(observation(3, "/4/0/1")),
            Change::RemoveObservation(vec![2; 8]),
            Change::Operation(Box::new(operation("o", 1, START + 9))),
            Change::Event(event("e", START)),
            Change::Address {
                peer: Some("127.0.0.9:1".parse().unwrap()),
                local: Some("127.0.0.1:5683".parse().unwrap()),
                by_address: true,
            },
            Change::PathNode("n1".into()),
            Change::Deadline(Some(START + 400_000)),
            Change::Session(Box::new(session(1))),
            Change::Activated,
        ],
    );
    let before = wait(subject.store().load(device("ep"))).unwrap().unwrap();
    subject.reopen();
    let record = wait(subject.store().load(device("ep"))).unwrap().unwrap();
    assert_eq!(record, before);
    assert_eq!(record.document, Some(document));
    assert_eq!(record.registration, Some(registration("ep", 1)));
    assert_eq!(record.applied, Some(applied(1, START)));
    assert_eq!(record.observations, [observation(1, "/3/0/9"), observation(3, "/4/0/1")]);
    assert_eq!(record.operations, [operation("o", 1, START + 9)]);
    assert_eq!(record.events, [event("e", START)]);
    let header = &record.header;
    assert_eq!(header.peer, "127.0.0.9:1".parse().ok());
    assert_eq!(header.local, "127.0.0.1:5683".parse().ok());
    assert_eq!((header.path_node.as_deref(), header.deadline), (Some("n1"), Some(START + 400_000)));
    assert_eq!(record.sessions, [session(1)]);
    assert!(header.by_address && header.activated && !header.passive);
    assert_eq!(
        claim(subject, "ep", &a).record.operations,
        record.operations,
        "a claim returns the whole record"
    );
}

pub(super) fn operations_come_in_the_order_of_the_queue(subject: &mut dyn Subject) {
    let a = owner("a");
    let fence = fence(&a, &claim(subject, "ep", &a));
    let put = |id: &str, order| Change::Operation(Box::new(operation(id, order, START)));
    commit(subject, &fence, vec![put("x", 2), put("a", 3), put("m", 1), put("b", 4)]);
    commit(subject, &fence, vec![put("x", 5), Change::RemoveOperation("a".into())]);
    commit(subject, &fence, vec![Change::RemoveOperation("unknown".into())]);
    let record = wait(subject.store().load(device("ep"))).unwrap().unwrap();
    let ids: Vec<&str> = record.operations.iter().map(|operation| operation.id.as_str()).collect();
    assert_eq!(ids, ["m", "b", "x"]);
    let record = claim(subject, "ep", &a).record;
    assert_eq!(record.operations.len(), 3);
}

fn deregistered(subject: &mut dyn Subject) {
    let a = owner("a");
    let fence = fence(&a, &claim(subject, "ep", &a));
    commit(
        subject,
        &fence,
        vec![
            Change::Registration(Box::new(registration("ep", 1))),
            Change::Observation(value::Observation { token: vec![1], ..Default::default() }),
            Change::Deadline(Some(START + 400_000)),
        ],
    );
    assert_eq!(wait(subject.store().counts()).unwrap().registered, 1);
    commit(subject, &fence, vec![Change::RemoveRegistration, Change::Applied(applied(1, START))]);
    assert_eq!(wait(subject.store().counts()).unwrap().registered, 0);
    assert_eq!(wait(subject.store().due(u64::MAX, None, 9)), Ok(vec![]), "nothing is left to expire");
    subject.advance(APPLIED_FOR_MS - 1);
    assert_eq!(rd(subject, 1), Some(device("ep")), "a repeated de-register finds its answer");
    let record = wait(subject.store().load(device("ep"))).unwrap().unwrap();
    assert_eq!((record.registration, record.applied), (None, Some(applied(1, START))));
    assert!(record.observations.is_empty());
    subject.reopen();
    subject.advance(1_001);
    assert_eq!(rd(subject, 1), None);
}

pub(super) fn a_deregistered_device_leaves_a_tombstone_for_247_seconds(subject: &mut dyn Subject) {
    deregistered(subject);
    assert_eq!(wait(subject.store().load(device("ep"))), Ok(None));
}

pub(super) fn a_provisioned_device_outlives_its_tombstone(subject: &mut dyn Subject) {
    let document = wait(subject.store().put_device(provisioned(), Expect::Absent)).unwrap();
    deregistered(subject);
    let record = wait(subject.store().load(device("ep"))).unwrap().unwrap();
    assert_eq!((record.document, record.applied), (Some(document), None));
    assert_eq!(record.header.claims, 1, "its header goes on");
}

pub(super) fn a_claim_from_which_nothing_came_is_forgotten(subject: &mut dyn Subject) {
    let a = owner("a");
    let late = fence(&a, &claim(subject, "ep", &a));
    assert!(wait(subject.store().load(device("ep"))).unwrap().is_some());
    subject.advance(APPLIED_FOR_MS + 1_001);
    assert_eq!(wait(subject.store().load(device("ep"))), Ok(None));
    commit(subject, &late, vec![Change::Registration(Box::new(registration("ep", 1)))]);
    subject.advance(APPLIED_FOR_MS + 1_001);
    assert!(wait(subject.store().load(device("ep"))).unwrap().is_some());
}

pub(super) fn a_removed_device_leaves_nothing_but_its_event(subject: &mut dyn Subject) {
    let a = owner("a");
    let credential = value::Credential { psk_identity: b"me".to_vec(), ..Default::default() };
    let document = value::Device { credential: Some(credential), ..provisioned() };
    wait(subject.store().put_device(document, Expect::Absent)).unwrap();
    let fence = fence(&a, &claim(subject, "ep", &a));
    let address: std::net::SocketAddr = "127.0.0.9:1".parse().unwrap();
    let changes = vec![
        Change::Registration(Box::new(registration("ep", 1))),
        Change::Operation(Box::new(operation("o", 1, START + 9))),
        Change::Event(event("e1", START)),
        Change::Address { peer: Some(address), local: None, by_address: true },
    ];
    commit(subject, &fence, changes.clone());
    let store = subject.store();
    wait(store.remove_device(device("ep"), Expect::Any, Some(event("e2", START + 1)))).unwrap();
    assert_eq!(wait(store.load(device("ep"))), Ok(None));
    assert_eq!(wait(store.remove_device(device("ep"), Expect::Any, None)), Err(StoreError::NoSuchDevice));
    assert_eq!(wait(store.claim(device("ep"), &a, Claim::default())), Err(StoreError::NoSuchDevice));
    for pointer in [
        Pointer::Registration(registration_id(1)),
        Pointer::Address(address),
        Pointer::PskIdentity(b"me".to_vec()),
    ] {
        assert_eq!(wait(store.resolve(pointer)), Ok(None));
    }
    assert_eq!(wait(store.counts()).unwrap(), Default::default());
    let refused = wait(store.commit(device("ep"), fence, changes));
    assert!(
        matches!(&refused, Err(StoreError::Refused(refused)) if refused.owner.node.is_empty()),
        "{refused:?}"
    );
    assert_eq!(wait(store.events(device("ep"))), Ok(vec![event("e1", START), event("e2", START + 1)]));
    subject.advance(APPLIED_FOR_MS * 2);
    subject.reopen();
    let store = subject.store();
    assert_eq!(wait(store.due(u64::MAX, None, 9)).unwrap().len(), 1, "the events wait to be acknowledged");
    wait(store.remove_event(device("ep"), "e1".into())).unwrap();
    wait(store.remove_event(device("ep"), "e1".into())).unwrap();
    assert_eq!(wait(store.events(device("ep"))), Ok(vec![event("e2", START + 1)]));
    wait(store.remove_event(device("ep"), "e2".into())).unwrap();
    assert_eq!(wait(store.due(u64::MAX, None, 9)), Ok(vec![]));
}

pub(super) fn a_removed_device_may_be_provisioned_again(subject: &mut dyn Subject) {
    let a = owner("a");
    wait(subject.store().put_device(provisioned(), Expect::Absent)).unwrap();
    let late = fence(&a, &claim(subject, "ep", &a));
    wait(subject.store().remove_device(device("ep"), Expect::Any, None)).unwrap();
    wait(subject.store().put_device(provisioned(), Expect::Absent)).unwrap();
    let record = wait(subject.store().load(device("ep"))).unwrap().unwrap();
    assert!(record.document.is_some() && record.header.owner.is_none() && !record.header.activated);
    let refused = wait(subject.store().commit(device("ep"), late, vec![]));
    assert!(matches!(refused, Err(StoreError::Refused(_))), "the owner before the removal: {refused:?}");
    assert!(claim(subject, "ep", &a).term > START);
}

pub(super) fn many_tombstones_are_all_cleared_away(subject: &mut dyn Subject) {
    let a = owner("a");
    let endpoints: Vec<String> = (0..700).map(|n| format!("ep{n}")).collect();
    let store = subject.store();
    let claims: Vec<_> = endpoints
        .iter()
        .map(|endpoint| store.claim(device(endpoint), &a, Claim { create: true, seen: None }))
        .collect();
    for claim in claims {
        wait(claim).unwrap();
    }
    subject.advance(APPLIED_FOR_MS);
    for _ in 0..3 {
        subject.advance(1_000);
    }
    let left =
        endpoints.iter().filter(|endpoint| wait(subject.store().load(device(endpoint))).unwrap().is_some());
    assert_eq!(left.count(), 0);
}
