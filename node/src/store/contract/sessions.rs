//! DTLS sessions of a device.

use std::net::SocketAddr;

use super::*;
use crate::store::{Change, Expect, Pointer};

fn owned(subject: &dyn Subject, endpoint: &str) -> Fence {
    let a = owner("a");
    fence(&a, &claim(subject, endpoint, &a))
}

fn commit(
    subject: &dyn Subject,
    endpoint: &str,
    fence: &Fence,
    changes: Vec<Change>,
) -> Result<(), StoreError> {
    wait(subject.store().commit(device(endpoint), fence.clone(), changes))
}

fn put(session: Session) -> Vec<Change> {
    vec![Change::Session(Box::new(session))]
}

fn sessions(subject: &dyn Subject, endpoint: &str) -> Vec<Session> {
    wait(subject.store().load(device(endpoint))).unwrap().unwrap_or_default().sessions
}

fn found(subject: &dyn Subject, pointer: Pointer) -> Option<DeviceId> {
    wait(subject.store().resolve(pointer)).unwrap()
}

fn cid(n: u8) -> Pointer {
    Pointer::Cid(vec![n; 8])
}

fn without_cid(n: u8, peer: SocketAddr) -> Session {
    Session { cid: Vec::new(), peer_cid: None, peer: Some(peer), ..session(n) }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn a_session_comes_back_whole_also_from_a_claim(subject: &mut dyn Subject) {
    let fence = owned(subject, "ep");
    let whole = Session { answer: vec![1; 30], resumed: true, expires_at: START + 90_000, ..session(1) };
    commit(subject, "ep", &fence, put(whole.clone())).unwrap();
    subject.reopen();
    let read = sessions(subject, "ep");
    assert_eq!(claim(subject, "ep", &owner("b")).record.sessions, read);
    assert_eq!(read, [whole]);
}

pub(super) fn a_psk_session_with_connection_ids_takes_at_most_400_bytes(_: &mut dyn Subject) {
    // What still answers a repeated Finished takes 31 bytes.
    let whole = Session { answer: vec![1; 31], ..session(1) };
    // As a field of a Redis hash: "c:", the association, and the value.
    let size = 2 + whole.association.as_bytes().len() + crate::store::session::encode(&whole).len();
    assert!(size <= 400, "{size} bytes");
}

pub(super) fn a_connection_id_belongs_to_one_session(subject: &mut dyn Subject) {
    let (one, two) = (owned(subject, "one"), owned(subject, "two"));
    commit(subject, "one", &one, put(session(1))).unwrap();
    assert_eq!(found(subject, cid(1)), Some(device("one")));
    let twin = Session { cid: session(1).cid, ..session(2) };
    let taken = StoreError::Taken { pointer: cid(1), device: device("one") };
    assert_eq!(commit(subject, "two", &two, put(twin.clone())), Err(taken));
    assert_eq!(sessions(subject, "two"), []);
    commit(subject, "one", &one, vec![Change::RemoveSession(association(1))]).unwrap();
    assert_eq!(found(subject, cid(1)), None);
    assert_eq!(commit(subject, "two", &two, put(twin)), Ok(()));
    assert_eq!(found(subject, cid(1)), Some(device("two")));
}

pub(super) fn a_session_without_connection_id_is_found_by_its_address(subject: &mut dyn Subject) {
    let (one, two) = (owned(subject, "one"), owned(subject, "two"));
    let (x, y) = (address("127.0.0.9:1"), address("127.0.0.9:2"));
    let at = |peer| Pointer::SessionAddress(peer);
    commit(subject, "one", &one, put(without_cid(1, x))).unwrap();
    assert_eq!(found(subject, at(x)), Some(device("one")));
    commit(subject, "two", &two, put(without_cid(2, x))).unwrap();
    assert_eq!(found(subject, at(x)), Some(device("two")), "the last from an address has it");
    let moved = Change::SessionAddress { association: association(1), peer: Some(y), local: None };
    commit(subject, "one", &one, vec![moved]).unwrap();
    assert_eq!(found(subject, at(x)), Some(device("two")), "no longer the first one's to remove");
    assert_eq!(found(subject, at(y)), Some(device("one")));
    let back = Change::SessionAddress { association: association(1), peer: Some(x), local: None };
    commit(subject, "one", &one, vec![back]).unwrap();
    assert_eq!((found(subject, at(x)), found(subject, at(y))), (Some(device("one")), None));
    commit(subject, "two", &two, vec![Change::RemoveSession(association(2))]).unwrap();
    assert_eq!(found(subject, at(x)), Some(device("one")));
}

pub(super) fn an_address_of_a_session_is_not_that_of_a_plain_device(subject: &mut dyn Subject) {
    let (one, two) = (owned(subject, "one"), owned(subject, "two"));
    let x = address("127.0.0.9:1");
    commit(subject, "one", &one, put(without_cid(1, x))).unwrap();
    let plain = Change::Address { peer: Some(x), local: None, by_address: true };
    commit(subject, "two", &two, vec![plain]).unwrap();
    assert_eq!(found(subject, Pointer::SessionAddress(x)), Some(device("one")), "nobody proved to own it");
    assert_eq!(found(subject, Pointer::Address(x)), Some(device("two")));
}

pub(super) fn a_device_has_at_most_two_sessions_and_two_provisional_ones(subject: &mut dyn Subject) {
    let fence = owned(subject, "ep");
    for n in 1..=4 {
        let new = Session { provisional: n > 2, ..session(n) };
        commit(subject, "ep", &fence, put(new)).unwrap();
    }
    for provisional in [false, true] {
        let refused = commit(subject, "ep", &fence, put(Session { provisional, ..session(5) }));
        assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    }
    assert_eq!(commit(subject, "ep", &fence, put(session(2))), Ok(()), "written again, not added");
    let mut room = vec![Change::RemoveSession(association(1))];
    room.extend(put(session(5)));
    assert_eq!(commit(subject, "ep", &fence, room), Ok(()));
    assert_eq!(sessions(subject, "ep").len(), 4);
}

pub(super) fn a_promoted_session_takes_the_place_of_the_one_that_it_resumed(subject: &mut dyn Subject) {
    let fence = owned(subject, "ep");
    let id = session(1).id;
    let resumed =
        |n| Session { id, provisional: true, resumed: true, expires_at: START + 60_000, ..session(n) };
    let mut changes = put(session(1));
    changes.extend(put(session(2)));
    changes.extend(put(resumed(3)));
    changes.extend(put(resumed(4)));
    commit(subject, "ep", &fence, changes).unwrap();
    assert_eq!((found(subject, cid(1)), found(subject, cid(3))), (Some(device("ep")), Some(device("ep"))));
    let promote = |n| vec![Change::Promote { association: association(n), expires_at: 0 }];
    commit(subject, "ep", &fence, promote(4)).unwrap();
    let expected = [session(2), Session { provisional: false, expires_at: 0, ..resumed(4) }];
    assert_eq!(sessions(subject, "ep"), expected);
    assert_eq!((found(subject, cid(1)), found(subject, cid(3))), (None, None));
    commit(subject, "ep", &fence, promote(3)).unwrap();
    assert_eq!(sessions(subject, "ep"), expected, "one that is gone is promoted to nothing");
}

pub(super) fn a_session_id_leads_to_its_device_as_long_as_one_association_has_it(subject: &mut dyn Subject) {
    let fence = owned(subject, "ep");
    let id = session(1).id;
    let mut changes = put(session(1));
    changes.extend(put(Session { id, provisional: true, ..session(2) }));
    commit(subject, "ep", &fence, changes).unwrap();
    commit(subject, "ep", &fence, vec![Change::CloseSession(association(1))]).unwrap();
    commit(subject, "ep", &fence, vec![Change::RemoveSession(association(2))]).unwrap();
    assert_eq!(found(subject, Pointer::Session(id)), Some(device("ep")), "what is closed may be resumed");
    commit(subject, "ep", &fence, vec![Change::RemoveSession(association(1))]).unwrap();
    assert_eq!(found(subject, Pointer::Session(id)), None);
}

pub(super) fn a_closed_session_is_found_no_longer_but_remains(subject: &mut dyn Subject) {
    let fence = owned(subject, "ep");
    commit(subject, "ep", &fence, put(session(1))).unwrap();
    commit(subject, "ep", &fence, vec![Change::CloseSession(association(1))]).unwrap();
    assert_eq!(found(subject, cid(1)), None);
    assert_eq!(sessions(subject, "ep"), [Session { closed: true, ..session(1) }]);
}

pub(super) fn marks_belong_to_a_session(subject: &mut dyn Subject) {
    let fence = owned(subject, "ep");
    let fresh = |n| Session { numbers: Numbers::default(), answer: vec![1], ..session(n) };
    let mut changes = put(fresh(1));
    changes.extend(put(fresh(2)));
    commit(subject, "ep", &fence, changes).unwrap();
    let marks = |n, write_mark, read_floor, keep_answer| Change::Marks {
        association: association(n),
        numbers: Numbers { write_mark, read_floor, read_window: read_floor },
        heard_at: START + 5,
        expires_at: START + 9_000,
        keep_answer,
    };
    commit(subject, "ep", &fence, vec![marks(1, 10, 20, true), marks(9, 1, 1, true)]).unwrap();
    assert_eq!(sessions(subject, "ep")[0].answer, [1]);
    commit(subject, "ep", &fence, vec![marks(1, 9, 21, false)]).unwrap();
    let read = sessions(subject, "ep");
    assert_eq!(read[0].numbers, Numbers { write_mark: 9, read_floor: 21, read_window: 21 }, "exact by now");
    assert_eq!((read[0].heard_at, read[0].expires_at), (START + 5, START + 9_000));
    assert!(read[0].answer.is_empty());
    assert_eq!(read[1], fresh(2), "another session counts apart");
}

pub(super) fn sessions_whose_time_is_over_are_cleared_away(subject: &mut dyn Subject) {
    let fence = owned(subject, "ep");
    let mut changes = put(Session { expires_at: START + 60_000, provisional: true, ..session(1) });
    changes.extend(put(Session { expires_at: START + 600_000, ..session(2) }));
    changes.push(Change::Registration(Box::new(registration("ep", 1))));
    commit(subject, "ep", &fence, changes).unwrap();
    subject.advance(59_000);
    assert_eq!(sessions(subject, "ep").len(), 2);
    subject.advance(1_000);
    assert_eq!(sessions(subject, "ep").len(), 1);
    assert_eq!((found(subject, cid(1)), found(subject, cid(2))), (None, Some(device("ep"))));
    subject.reopen();
    subject.advance(600_000);
    assert_eq!(sessions(subject, "ep"), []);
    let record = wait(subject.store().load(device("ep"))).unwrap().unwrap();
    assert!(record.registration.is_some(), "the end of a session is not that of a registration");
    commit(subject, "ep", &fence, vec![Change::RemoveRegistration]).unwrap();
    subject.advance(crate::store::APPLIED_FOR_MS + 1_000);
    assert_eq!(wait(subject.store().load(device("ep"))), Ok(None), "then nothing is left of it");
}

pub(super) fn sessions_survive_the_end_of_the_registration_but_not_of_the_device(subject: &mut dyn Subject) {
    let document = value::Device { endpoint: "ep".into(), ..Default::default() };
    wait(subject.store().put_device(document, Expect::Absent)).unwrap();
    let fence = owned(subject, "ep");
    let mut changes = put(session(1));
    changes.push(Change::Registration(Box::new(registration("ep", 1))));
    commit(subject, "ep", &fence, changes).unwrap();
    let ended = vec![Change::RemoveRegistration, Change::Applied(applied(1, START))];
    commit(subject, "ep", &fence, ended).unwrap();
    subject.advance(crate::store::APPLIED_FOR_MS + 1_000);
    assert_eq!(sessions(subject, "ep"), [session(1)]);
    wait(subject.store().remove_device(device("ep"), Expect::Any, None)).unwrap();
    assert_eq!((sessions(subject, "ep"), found(subject, cid(1))), (Vec::new(), None));
}
