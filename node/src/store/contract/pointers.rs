//! What finds a device.

use std::net::SocketAddr;

use super::*;
use crate::store::{Change, Expect, Pointer};

fn owned(subject: &dyn Subject, endpoint: &str) -> Fence {
    let a = owner("a");
    fence(&a, &claim(subject, endpoint, &a))
}

fn registers(subject: &dyn Subject, endpoint: &str, fence: &Fence, n: u8) -> Result<(), StoreError> {
    let changes = vec![Change::Registration(Box::new(registration(endpoint, n))), Change::Activated];
    wait(subject.store().commit(device(endpoint), fence.clone(), changes))
}

fn found(subject: &dyn Subject, pointer: Pointer) -> Option<DeviceId> {
    let store = subject.store();
    let found = wait(store.resolve(pointer.clone())).unwrap();
    let expected = found.map(|device| (device, wait(store.load(device)).unwrap().unwrap()));
    assert_eq!(wait(store.find(pointer)).unwrap(), expected, "the same, with its record");
    found
}

pub(super) fn a_registration_id_leads_to_its_device_until_it_is_replaced(subject: &mut dyn Subject) {
    let fence = owned(subject, "ep");
    let rd = |n| Pointer::Registration(registration_id(n));
    assert_eq!(registers(subject, "ep", &fence, 1), Ok(()));
    assert_eq!(found(subject, rd(1)), Some(device("ep")));
    assert_eq!(registers(subject, "ep", &fence, 1), Ok(()), "an update");
    assert_eq!(registers(subject, "ep", &fence, 2), Ok(()));
    assert_eq!((found(subject, rd(1)), found(subject, rd(2))), (None, Some(device("ep"))));
    wait(subject.store().commit(device("ep"), fence, vec![Change::RemoveRegistration])).unwrap();
    assert_eq!(found(subject, rd(2)), None, "an expired registration has no tombstone");
}

pub(super) fn a_registration_id_belongs_to_one_device(subject: &mut dyn Subject) {
    let (one, two) = (owned(subject, "one"), owned(subject, "two"));
    registers(subject, "one", &one, 1).unwrap();
    let pointer = Pointer::Registration(registration_id(1));
    let taken = StoreError::Taken { pointer: pointer.clone(), device: device("one") };
    assert_eq!(registers(subject, "two", &two, 1), Err(taken));
    assert_eq!(found(subject, pointer), Some(device("one")));
    let record = wait(subject.store().load(device("two"))).unwrap().unwrap();
    assert!(record.registration.is_none() && !record.header.activated);
    let odd = value::Registration { id: "not one of ours".into(), ..registration("two", 2) };
    let odd = vec![Change::Registration(Box::new(odd))];
    assert_eq!(
        wait(subject.store().commit(device("two"), two, odd)),
        Err(StoreError::Invalid { what: "a registration id" })
    );
}

pub(super) fn of_two_registrations_in_one_commit_the_last_counts(subject: &mut dyn Subject) {
    let (one, two) = (owned(subject, "one"), owned(subject, "two"));
    registers(subject, "one", &one, 1).unwrap();
    let changes = [1, 2].map(|n| Change::Registration(Box::new(registration("two", n)))).to_vec();
    assert_eq!(wait(subject.store().commit(device("two"), two, changes)), Ok(()));
    let rd = |n| Pointer::Registration(registration_id(n));
    assert_eq!((found(subject, rd(1)), found(subject, rd(2))), (Some(device("one")), Some(device("two"))));
}

pub(super) fn a_psk_identity_belongs_to_one_device(subject: &mut dyn Subject) {
    let put = |endpoint: &str, identity: &[u8]| {
        let credential = value::Credential { psk_identity: identity.to_vec(), ..Default::default() };
        let document =
            value::Device { endpoint: endpoint.into(), credential: Some(credential), ..Default::default() };
        wait(subject.store().put_device(document, Expect::Any)).map(|_| ())
    };
    let psk = |identity: &[u8]| Pointer::PskIdentity(identity.to_vec());
    assert_eq!(put("one", b"x"), Ok(()));
    assert_eq!(put("two", b""), Ok(()));
    assert_eq!(put("three", b""), Ok(()), "no identity is nobody's");
    assert_eq!(put("two", b"x"), Err(StoreError::Taken { pointer: psk(b"x"), device: device("one") }));
    assert_eq!(put("one", b"y"), Ok(()));
    assert_eq!(put("two", b"x"), Ok(()));
    assert_eq!(
        (found(subject, psk(b"x")), found(subject, psk(b"y"))),
        (Some(device("two")), Some(device("one")))
    );
    wait(subject.store().remove_device(device("one"), Expect::Any, None)).unwrap();
    assert_eq!(found(subject, psk(b"y")), None);
}

pub(super) fn an_address_belongs_to_the_last_who_came_from_it(subject: &mut dyn Subject) {
    let (one, two) = (owned(subject, "one"), owned(subject, "two"));
    let (x, y): (SocketAddr, SocketAddr) = ("127.0.0.9:1".parse().unwrap(), "127.0.0.9:2".parse().unwrap());
    let moves = |endpoint: &str, fence: &Fence, peer, by_address| {
        let changes = vec![Change::Address { peer: Some(peer), local: None, by_address }];
        wait(subject.store().commit(device(endpoint), fence.clone(), changes)).unwrap();
    };
    moves("one", &one, x, true);
    assert_eq!(found(subject, Pointer::Address(x)), Some(device("one")));
    moves("two", &two, x, true);
    assert_eq!(found(subject, Pointer::Address(x)), Some(device("two")));
    moves("one", &one, x, true);
    assert_eq!(
        found(subject, Pointer::Address(x)),
        Some(device("one")),
        "it was there before, and is there again"
    );
    moves("two", &two, x, true);
    moves("one", &one, y, true);
    assert_eq!(
        found(subject, Pointer::Address(x)),
        Some(device("two")),
        "no longer the first one's to remove"
    );
    assert_eq!(found(subject, Pointer::Address(y)), Some(device("one")));
    moves("one", &one, y, false);
    assert_eq!(found(subject, Pointer::Address(y)), None, "it is no longer found by its address");
}

pub(super) fn what_a_credential_names_belongs_to_one_device(subject: &mut dyn Subject) {
    let put = |endpoint: &str, credential: value::Credential| {
        let document =
            value::Device { endpoint: endpoint.into(), credential: Some(credential), ..Default::default() };
        wait(subject.store().put_device(document, Expect::Any)).map(|_| ())
    };
    let key = value::Credential { public_key: b"spki".to_vec(), ..Default::default() };
    let certificate = value::Credential { certificate: b"der".to_vec(), ..Default::default() };
    let name = value::Credential { common_name: "cn".into(), ..Default::default() };
    let cases = [
        (key, Pointer::public_key(b"spki")),
        (certificate, Pointer::certificate(b"der")),
        (name, Pointer::CommonName("cn".into())),
    ];
    for (credential, pointer) in cases {
        assert_eq!(put("one", credential.clone()), Ok(()));
        assert_eq!(found(subject, pointer.clone()), Some(device("one")));
        let taken = StoreError::Taken { pointer: pointer.clone(), device: device("one") };
        assert_eq!(put("two", credential), Err(taken));
        assert_eq!(put("one", value::Credential::default()), Ok(()));
        assert_eq!(found(subject, pointer), None);
    }
}
