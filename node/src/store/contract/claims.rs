//! Ownership: claims, terms, fences.

use super::*;
use crate::store::{Change, Refused};

pub(super) fn a_term_is_above_the_clock_and_above_every_term_before(subject: &mut dyn Subject) {
    let (a, b) = (owner("a"), owner("b"));
    let first = claim(subject, "ep", &a);
    assert_eq!((first.term, first.claims), (START, 1));
    let second = claim(subject, "ep", &b);
    assert_eq!((second.term, second.claims), (START + 1, 2));
    assert_eq!(second.record.header.owner, Some(b));
    subject.advance(5_000);
    subject.reopen();
    let third = claim(subject, "ep", &a);
    assert_eq!((third.term, third.claims), (START + 5_000, 3));
}

pub(super) fn a_device_without_a_record_is_claimed_only_by_who_may_create_it(subject: &mut dyn Subject) {
    let (a, it) = (owner("a"), device("ep"));
    let store = subject.store();
    assert_eq!(wait(store.claim(it, &a, Claim::default())), Err(StoreError::NoSuchDevice));
    assert_eq!(wait(store.load(it)), Ok(None));
    claim(subject, "ep", &a);
    assert!(wait(store.claim(it, &a, Claim::default())).is_ok());
    assert_eq!(
        wait(store.claim(it, &owner(""), Claim::default())),
        Err(StoreError::Invalid { what: "a node name" })
    );
}

pub(super) fn a_claim_is_refused_if_somebody_claimed_since_it_was_seen(subject: &mut dyn Subject) {
    let (a, b) = (owner("a"), owner("b"));
    let seen = claim(subject, "ep", &a).term;
    let again = Claim { create: false, seen: Some(seen) };
    let won = wait(subject.store().claim(device("ep"), &b, again)).unwrap();
    assert_eq!(
        wait(subject.store().claim(device("ep"), &a, again)),
        Err(Refused { term: won.term, owner: b }.into())
    );
}

pub(super) fn a_write_is_fenced_by_term_and_owner(subject: &mut dyn Subject) {
    let (a, b) = (owner("a"), owner("b"));
    let old = fence(&a, &claim(subject, "ep", &a));
    let mark = |deadline| vec![Change::Deadline(Some(deadline))];
    let commit = |fence: &Fence, n| wait(subject.store().commit(device("ep"), fence.clone(), mark(n)));
    assert_eq!(commit(&old, 1), Ok(()));
    let new = fence(&b, &claim(subject, "ep", &b));
    let refused = Err(Refused { term: new.term, owner: b.clone() }.into());
    assert_eq!(commit(&old, 2), refused, "a higher term is stored");
    let twin = Fence { owner: a, ..new.clone() };
    assert_eq!(commit(&twin, 3), refused, "the stored term is equal, another's");
    let reborn = Fence { owner: Owner { boot: 2, ..b }, ..new.clone() };
    assert_eq!(commit(&reborn, 4), refused, "the same node, another boot");
    assert_eq!(commit(&new, 5), Ok(()));
    let ahead = Fence { term: new.term + 10, claims: 9, ..twin };
    assert_eq!(commit(&ahead, 6), Ok(()), "a lower term is overwritten");
    let header = wait(subject.store().load(device("ep"))).unwrap().unwrap().header;
    assert_eq!((header.term, header.claims, header.deadline), (ahead.term, 9, Some(6)));
    assert_eq!(header.owner, Some(ahead.owner));
}

pub(super) fn a_refused_commit_changes_nothing(subject: &mut dyn Subject) {
    let (a, b) = (owner("a"), owner("b"));
    let old = fence(&a, &claim(subject, "ep", &a));
    claim(subject, "ep", &b);
    let before = wait(subject.store().load(device("ep")));
    let changes = vec![
        Change::Registration(Box::new(registration("ep", 1))),
        Change::Operation(Box::new(operation("o", 1, START))),
        Change::Event(event("e", START)),
        Change::Address { peer: Some("127.0.0.9:1".parse().unwrap()), local: None, by_address: true },
        Change::Deadline(Some(START)),
    ];
    assert!(matches!(wait(subject.store().commit(device("ep"), old, changes)), Err(StoreError::Refused(_))));
    assert_eq!(wait(subject.store().load(device("ep"))), before);
    let id = crate::store::Pointer::Registration(registration_id(1));
    assert_eq!(wait(subject.store().resolve(id)), Ok(None));
    assert_eq!(wait(subject.store().due(u64::MAX, None, 9)), Ok(vec![]));
    assert_eq!(wait(subject.store().counts()).unwrap().registered, 0);
}

pub(super) fn an_owner_heals_a_store_that_forgot(subject: &mut dyn Subject) {
    let a = owner("a");
    let fence = Fence { owner: a.clone(), term: START + 7, claims: 3 };
    let changes = vec![Change::Registration(Box::new(registration("ep", 1)))];
    assert_eq!(wait(subject.store().commit(device("ep"), fence, changes)), Ok(()));
    let record = wait(subject.store().load(device("ep"))).unwrap().unwrap();
    assert_eq!((record.header.term, record.header.claims, record.header.owner), (START + 7, 3, Some(a)));
    assert_eq!(record.registration, Some(registration("ep", 1)));
}

pub(super) fn a_passive_record_is_exact_until_the_next_claim(subject: &mut dyn Subject) {
    let (a, b) = (owner("a"), owner("b"));
    let first = claim(subject, "ep", &a);
    assert!(first.exact, "nobody was ahead of a new record");
    let fence = fence(&a, &first);
    let passive = vec![Change::Activated, Change::Passive];
    wait(subject.store().commit(device("ep"), fence.clone(), passive.clone())).unwrap();
    assert!(wait(subject.store().load(device("ep"))).unwrap().unwrap().header.passive);
    let second = claim(subject, "ep", &b);
    assert!(second.exact && !second.record.header.passive);
    assert!(!claim(subject, "ep", &a).exact, "the owner before may have been ahead");
    let fence = Fence { term: START + 9, ..fence };
    wait(subject.store().commit(device("ep"), fence.clone(), passive)).unwrap();
    wait(subject.store().commit(device("ep"), fence, vec![])).unwrap();
    assert!(!claim(subject, "ep", &a).exact, "a commit took the record back");
}

pub(super) fn requests_take_effect_in_the_order_of_their_calls(subject: &mut dyn Subject) {
    let a = owner("a");
    let fence = fence(&a, &claim(subject, "ep", &a));
    let store = subject.store();
    let mut calls: Vec<_> = (0..2_000_u64)
        .map(|n| store.commit(device("ep"), fence.clone(), vec![Change::Deadline(Some(n + 1))]))
        .collect();
    wait(calls.pop().unwrap()).unwrap();
    assert_eq!(wait(store.load(device("ep"))).unwrap().unwrap().header.deadline, Some(2_000));
    for call in calls {
        assert_eq!(wait(call), Ok(()));
    }
}

pub(super) fn a_dropped_future_cancels_nothing(subject: &mut dyn Subject) {
    let a = owner("a");
    let fence = fence(&a, &claim(subject, "ep", &a));
    drop(subject.store().commit(device("ep"), fence.clone(), vec![Change::Activated]));
    wait(subject.store().commit(device("ep"), fence, vec![])).unwrap();
    assert!(wait(subject.store().load(device("ep"))).unwrap().unwrap().header.activated);
}
