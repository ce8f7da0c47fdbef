//! What operators provision.

use super::*;
use crate::store::{Change, Counts, DeviceFilter, DocumentKey, DocumentKind, Expect, PageRequest};

fn profile(name: &str) -> DocumentKey {
    DocumentKey::Profile(name.into())
}

fn page(token: Option<String>, limit: usize) -> PageRequest {
    PageRequest { token, limit }
}

pub(super) fn a_device_changes_only_from_the_expected_revision(subject: &mut dyn Subject) {
    let put = |subject: &dyn Subject, profile: &str, expect| {
        let document = value::Device {
            endpoint: "ep".into(),
            profile: profile.into(),
            revision: 77,
            ..Default::default()
        };
        wait(subject.store().put_device(document, expect))
    };
    assert_eq!(put(subject, "a", Expect::Revision(1)), Err(StoreError::Conflict { found: 0 }));
    let first = put(subject, "a", Expect::Absent).unwrap();
    assert_eq!((first.created_at, first.updated_at), (START, START));
    assert_eq!(put(subject, "b", Expect::Absent), Err(StoreError::Conflict { found: first.revision }));
    subject.advance(5_000);
    let second = put(subject, "b", Expect::Revision(first.revision)).unwrap();
    assert!(second.revision > first.revision);
    assert_eq!((second.created_at, second.updated_at), (START, START + 5_000));
    let stale = Expect::Revision(first.revision);
    assert_eq!(put(subject, "c", stale), Err(StoreError::Conflict { found: second.revision }));
    let removal = |expect| wait(subject.store().remove_device(device("ep"), expect, None));
    assert_eq!(removal(stale), Err(StoreError::Conflict { found: second.revision }));
    let stored = wait(subject.store().load(device("ep"))).unwrap().unwrap().document;
    assert_eq!(stored, Some(second.clone()));
    assert_eq!(removal(Expect::Revision(second.revision)), Ok(()));
}

pub(super) fn a_document_changes_only_from_the_expected_revision(subject: &mut dyn Subject) {
    let put = |body: &[u8], expect| wait(subject.store().put_document(profile("p"), body.to_vec(), expect));
    let first = put(b"one", Expect::Absent).unwrap();
    assert_eq!(put(b"two", Expect::Absent), Err(StoreError::Conflict { found: first.revision }));
    let second = put(b"two", Expect::Revision(first.revision)).unwrap();
    let third = put(b"three", Expect::Any).unwrap();
    assert!(first.revision < second.revision && second.revision < third.revision);
    assert_eq!(wait(subject.store().document(profile("p"))), Ok(Some(third.clone())));
    assert_eq!(wait(subject.store().document(profile("other"))), Ok(None));
    let removal = |expect| wait(subject.store().remove_document(profile("p"), expect));
    assert_eq!(
        removal(Expect::Revision(second.revision)),
        Err(StoreError::Conflict { found: third.revision })
    );
    assert_eq!(removal(Expect::Revision(third.revision)), Ok(()));
    assert_eq!(removal(Expect::Any), Ok(()), "gone is gone");
    assert_eq!(removal(Expect::Revision(1)), Err(StoreError::Conflict { found: 0 }));
}

pub(super) fn a_revision_is_never_used_again(subject: &mut dyn Subject) {
    let put = |subject: &dyn Subject| {
        wait(subject.store().put_document(profile("p"), vec![1], Expect::Absent)).unwrap().revision
    };
    let before = put(subject);
    wait(subject.store().remove_document(profile("p"), Expect::Any)).unwrap();
    subject.advance(1);
    assert!(put(subject) > before);
}

pub(super) fn documents_are_listed_by_kind_in_pages(subject: &mut dyn Subject) {
    let model =
        |profile: &str, object| DocumentKey::Model { profile: profile.into(), object, version: "1.0".into() };
    let keys = [profile("a"), profile("b"), profile("c"), model("", 3), model("", 300), model("a", 3)];
    for key in keys.iter().rev() {
        wait(subject.store().put_document(key.clone(), b"x".to_vec(), Expect::Absent)).unwrap();
    }
    subject.reopen();
    let store = subject.store();
    let list = |kind, token, limit| {
        let page = wait(store.list_documents(kind, page(token, limit))).unwrap();
        (page.items.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), page.next)
    };
    let (first, next) = list(DocumentKind::Profile, None, 2);
    assert_eq!(first, keys[..2]);
    let (second, end) = list(DocumentKind::Profile, next.clone(), 2);
    assert_eq!((second.as_slice(), end), (&keys[2..3], None));
    assert_eq!(
        list(DocumentKind::Model, None, 3),
        (keys[3..].to_vec(), None),
        "a full last page is the last"
    );
    for token in [next, Some("!".into()), Some(String::new())] {
        let list = store.list_documents(DocumentKind::Model, page(token, 2));
        assert_eq!(wait(list), Err(StoreError::BadPageToken));
    }
}

pub(super) fn devices_are_listed_in_pages_by_filter(subject: &mut dyn Subject) {
    let a = owner("a");
    for n in 0..10_u8 {
        let endpoint = format!("ep{n}");
        if n % 2 == 0 {
            let profile = if n < 4 { "" } else { "p" };
            let document =
                value::Device { endpoint: endpoint.clone(), profile: profile.into(), ..Default::default() };
            wait(subject.store().put_device(document, Expect::Absent)).unwrap();
        }
        if n >= 5 {
            let fence = fence(&a, &claim(subject, &endpoint, &a));
            let registration = value::Registration { profile: "p".into(), ..registration(&endpoint, n) };
            let changes =
                vec![Change::Registration(Box::new(registration)), Change::Event(event("e", START))];
            wait(subject.store().commit(device(&endpoint), fence, changes)).unwrap();
        }
    }
    wait(subject.store().remove_device(device("ep0"), Expect::Any, Some(event("e", START)))).unwrap();
    let store = subject.store();
    let all = |filter: DeviceFilter, limit| {
        let mut seen = Vec::new();
        let mut token = None;
        loop {
            let page = wait(store.list(filter.clone(), page(token, limit))).unwrap();
            assert!(page.items.len() <= limit);
            for (id, record) in page.items {
                assert!(record.events.is_empty(), "lists leave out what is queued");
                let registered = record.registration.map(|registration| registration.endpoint);
                let endpoint = registered.or(record.document.map(|document| document.endpoint)).unwrap();
                assert_eq!(id, device(&endpoint));
                seen.push(endpoint);
            }
            token = page.next;
            if token.is_none() {
                seen.sort();
                return seen.concat().replace("ep", "");
            }
        }
    };
    let profile = |name: &str| DeviceFilter { profile: Some(name.into()), ..Default::default() };
    assert_eq!(all(DeviceFilter::default(), 1), "2456789");
    assert_eq!(all(DeviceFilter { registered: Some(true), ..Default::default() }, 3), "56789");
    assert_eq!(all(DeviceFilter { registered: Some(false), ..Default::default() }, 100), "24");
    assert_eq!(all(DeviceFilter { provisioned: Some(true), ..Default::default() }, 2), "2468");
    assert_eq!(all(profile("p"), 2), "456789");
    assert_eq!(all(profile("default"), 2), "2");
    assert_eq!(wait(store.counts()), Ok(Counts { provisioned: 4, registered: 5 }));
    let odd = store.list(DeviceFilter::default(), page(Some("odd".into()), 1));
    assert_eq!(wait(odd), Err(StoreError::BadPageToken));
    subject.reopen();
    assert_eq!(wait(subject.store().counts()), Ok(Counts { provisioned: 4, registered: 5 }));
}

pub(super) fn what_cannot_be_stored_is_refused(subject: &mut dyn Subject) {
    let store = subject.store();
    let nameless = wait(store.put_device(value::Device::default(), Expect::Any));
    assert!(matches!(nameless, Err(StoreError::Invalid { .. })));
    for key in [profile(""), profile("a\0b")] {
        let put = wait(store.put_document(key, vec![], Expect::Any));
        assert!(matches!(put, Err(StoreError::Invalid { .. })));
    }
}
