//! Random requests against a model that keeps everything in plain maps.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::store::{
    APPLIED_FOR_MS, Change, Counts, DeviceFilter, DeviceRecord, Due, Expect, PageRequest, Pointer, Refused,
    SESSIONS,
};

const DEVICES: [&str; 3] = ["one", "two", "three"];
const OWNERS: [&str; 2] = ["a", "b"];

#[derive(Debug, Clone)]
enum Step {
    Claim {
        device: usize,
        owner: usize,
        create: bool,
    },
    /// A commit in the term that the device was last given to this owner, moved by `ahead`.
    Commit {
        device: usize,
        owner: usize,
        ahead: u64,
        changes: Vec<Change>,
    },
    Provision {
        device: usize,
        identity: u8,
        activate_by: u64,
    },
    Remove {
        device: usize,
        event: bool,
    },
    RemoveEvent {
        device: usize,
        id: u8,
    },
    Advance {
        seconds: u64,
    },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let device = || 0..DEVICES.len();
    let owner = || 0..OWNERS.len();
    let step = prop_oneof![
        3 => (device(), owner(), any::<bool>())
            .prop_map(|(device, owner, create)| Step::Claim { device, owner, create }),
        8 => (device(), owner(), prop_oneof![9 => Just(0), 1 => 1..3_u64], prop::collection::vec(change(), 0..4))
            .prop_map(|(device, owner, ahead, changes)| Step::Commit { device, owner, ahead, changes }),
        2 => (device(), 0..3_u8, 0..200_u64)
            .prop_map(|(device, identity, activate_by)| Step::Provision { device, identity, activate_by }),
        1 => (device(), any::<bool>()).prop_map(|(device, event)| Step::Remove { device, event }),
        1 => (device(), 0..3_u8).prop_map(|(device, id)| Step::RemoveEvent { device, id }),
        1 => (1..200_u64).prop_map(|seconds| Step::Advance { seconds }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

fn change() -> impl Strategy<Value = Change> {
    let address = |n: u8| format!("127.0.0.{n}:5683").parse().ok();
    prop_oneof![
        (1..5_u8).prop_map(|n| Change::Registration(Box::new(registration("ep", n)))),
        Just(Change::RemoveRegistration),
        (1..5_u8, 0..300_000_u64).prop_map(|(n, ms)| Change::Applied(applied(n, START + ms))),
        (0..4_u8, any::<bool>()).prop_map(|(n, composite)| {
            Change::Observation(value::Observation { token: vec![n], composite, ..Default::default() })
        }),
        (0..4_u8).prop_map(|n| Change::RemoveObservation(vec![n])),
        Just(Change::ClearObservations),
        (0..3_u8, 0..9_u64, 0..200_u64).prop_map(|(n, order, due)| Change::Operation(Box::new(operation(
            &n.to_string(),
            order,
            due
        )))),
        (0..3_u8).prop_map(|n| Change::RemoveOperation(n.to_string())),
        (0..3_u8, 1..200_u64).prop_map(|(n, time)| Change::Event(event(&n.to_string(), time))),
        (1..4_u8, any::<bool>()).prop_map(move |(n, by_address)| Change::Address {
            peer: address(n),
            local: None,
            by_address
        }),
        prop_oneof![Just(None), (1..200_u64).prop_map(Some)].prop_map(Change::Deadline),
        session_change(),
        Just(Change::Activated),
        Just(Change::Passive),
    ]
}

fn session_change() -> impl Strategy<Value = Change> {
    let address = |n: u8| format!("127.0.0.{n}:5684").parse().ok();
    let expires = || prop_oneof![Just(0), (1..300_000_u64).prop_map(|ms| START + ms)];
    let new = (1..6_u8, 1..4_u8, any::<bool>(), any::<bool>(), expires());
    prop_oneof![
        4 => new.prop_map(move |(n, id, provisional, by_cid, expires_at)| {
            let id = SessionId::from_bytes([id; 32]);
            let cid = if by_cid { vec![n; 8] } else { Vec::new() };
            let new = Session { id, provisional, cid, expires_at, peer: address(n), ..session(n) };
            Change::Session(Box::new(new))
        }),
        1 => (1..6_u8, expires())
            .prop_map(|(n, expires_at)| Change::Promote { association: association(n), expires_at }),
        1 => (1..6_u8).prop_map(|n| Change::CloseSession(association(n))),
        1 => (1..6_u8).prop_map(|n| Change::RemoveSession(association(n))),
        1 => (1..6_u8, 0..9_u64, expires()).prop_map(|(n, number, expires_at)| Change::Marks {
            association: association(n),
            numbers: Numbers { write_mark: number, read_floor: number, read_window: number },
            heard_at: number,
            expires_at,
            keep_answer: number % 2 == 0,
        }),
        1 => (1..6_u8, 1..4_u8).prop_map(move |(n, at)| Change::SessionAddress {
            association: association(n),
            peer: address(at),
            local: None,
        }),
    ]
}

/// What is known of one device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) record: DeviceRecord,
    removed: bool,
    /// Since when there is nothing in it but the header.
    bare_since: Option<u64>,
}

impl Known {
    fn revive(&mut self) {
        if std::mem::take(&mut self.removed) {
            self.bare_since = None;
        }
    }
}

/// A store in plain maps. The cluster's simulation puts its failures around it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) devices: BTreeMap<DeviceId, Known>,
    addresses: BTreeMap<Pointer, DeviceId>,
    pub(crate) now: u64,
}

impl Model {
    pub(crate) fn claim(
        &mut self,
        device: DeviceId,
        owner: Owner,
        create: bool,
    ) -> Result<(u64, u32, bool), StoreError> {
        if !create && self.load(device).is_none() {
            return Err(StoreError::NoSuchDevice);
        }
        let now = self.now;
        let known = self.devices.entry(device).or_default();
        known.revive();
        let header = &mut known.record.header;
        let exact = header.owner.is_none() || header.passive;
        header.owner = Some(owner);
        header.passive = false;
        header.term = now.max(header.term + 1);
        header.claims += 1;
        let answer = (header.term, header.claims, exact);
        self.settle(device);
        Ok(answer)
    }

    pub(crate) fn commit(
        &mut self,
        device: DeviceId,
        fence: &Fence,
        changes: &[Change],
    ) -> Result<(), StoreError> {
        let mut next = self.clone();
        let known = next.devices.entry(device).or_default();
        let header = &mut known.record.header;
        let stored = header.owner.clone();
        if header.term > fence.term || header.term == fence.term && stored.as_ref() != Some(&fence.owner) {
            let owner = stored.unwrap_or(Owner { node: "".into(), boot: 0 });
            return Err(Refused { term: header.term, owner }.into());
        }
        header.owner = Some(fence.owner.clone());
        header.term = fence.term;
        header.claims = header.claims.max(fence.claims);
        header.passive = false;
        known.revive();
        let before = addresses(&known.record);
        for change in changes {
            apply(&mut known.record, change.clone())?;
        }
        let after = addresses(&known.record);
        let plain = |change: &Change| matches!(change, Change::Address { by_address: true, .. });
        let mut there: BTreeSet<_> =
            known.record.sessions.iter().map(|session| session.association).collect();
        let mut moved = |change: &Change| match change {
            Change::Session(session) => {
                there.insert(session.association);
                true
            }
            Change::Promote { association, .. } => there.contains(association),
            change => matches!(change, Change::SessionAddress { .. }),
        };
        let arrived = (changes.iter().any(plain), changes.iter().filter(|change| moved(change)).count() > 0);
        next.readdress(device, &before, &after, arrived);
        next.check_unique(device)?;
        next.settle(device);
        *self = next;
        Ok(())
    }

    pub(crate) fn provision(&mut self, document: value::Device) -> Result<u64, StoreError> {
        let mut next = self.clone();
        let device = DeviceId::of(&document.endpoint);
        let known = next.devices.entry(device).or_default();
        let (found, created_at) =
            known.record.document.as_ref().map_or((0, next.now), |old| (old.revision, old.created_at));
        let revision = next.now.max(found + 1);
        known.revive();
        known.record.document =
            Some(value::Device { revision, created_at, updated_at: next.now, ..document });
        next.check_unique(device)?;
        next.settle(device);
        *self = next;
        Ok(revision)
    }

    fn remove(&mut self, device: DeviceId, event: Option<value::StoredEvent>) -> Result<(), StoreError> {
        let now = self.now;
        let Some(known) = self.devices.get_mut(&device).filter(|known| !known.removed) else {
            return Err(StoreError::NoSuchDevice);
        };
        let header = &known.record.header;
        let before = addresses(&known.record);
        let term = now.max(header.term + 1);
        let mut record =
            DeviceRecord { events: std::mem::take(&mut known.record.events), ..Default::default() };
        record.header.term = term;
        if let Some(event) = event {
            apply(&mut record, Change::Event(event))?;
        }
        *known = Known { record, removed: true, bare_since: None };
        self.readdress(device, &before, &BTreeSet::new(), (false, false));
        self.settle(device);
        Ok(())
    }

    fn remove_event(&mut self, device: DeviceId, id: &str) {
        if let Some(known) = self.devices.get_mut(&device) {
            known.record.events.retain(|event| event.id != id);
            self.settle(device);
        }
    }

    /// Gives a device the addresses that are new to it, and those of a kind by which it has just arrived.
    fn readdress(
        &mut self,
        device: DeviceId,
        before: &BTreeSet<Pointer>,
        after: &BTreeSet<Pointer>,
        (plain, session): (bool, bool),
    ) {
        for gone in before.difference(after) {
            if self.addresses.get(gone) == Some(&device) {
                self.addresses.remove(gone);
            }
        }
        for pointer in after {
            let arrived = if matches!(pointer, Pointer::Address(_)) { plain } else { session };
            if arrived || !before.contains(pointer) {
                self.addresses.insert(pointer.clone(), device);
            }
        }
    }

    /// Pointers that are one device's alone, by device.
    fn unique(&self) -> BTreeSet<(Pointer, DeviceId)> {
        let mut pointers = BTreeSet::new();
        for (device, known) in &self.devices {
            let record = &known.record;
            let ids = [
                record.registration.as_ref().map(|registration| &registration.id),
                record.applied.as_ref().map(|applied| &applied.registration),
            ];
            let ids = ids.into_iter().flatten();
            pointers
                .extend(ids.map(|id| (Pointer::Registration(RegistrationId::parse(id).unwrap()), *device)));
            let ids = record.sessions.iter().map(|session| (Pointer::Session(session.id), *device));
            pointers.extend(ids);
            let cids = record.sessions.iter().filter(|session| session.is_live() && !session.cid.is_empty());
            pointers.extend(cids.map(|session| (Pointer::Cid(session.cid.clone()), *device)));
            let credential = record.document.as_ref().and_then(|document| document.credential.as_ref());
            let identity = credential.map(|credential| credential.psk_identity.clone());
            let identity = identity.filter(|identity| !identity.is_empty());
            pointers.extend(identity.map(|identity| (Pointer::PskIdentity(identity), *device)));
        }
        pointers
    }

    /// The device that a pointer leads to.
    pub(crate) fn resolve(&self, pointer: &Pointer) -> Option<DeviceId> {
        let unique = || self.unique().into_iter().find(|(it, _)| it == pointer).map(|(_, device)| device);
        self.addresses.get(pointer).copied().or_else(unique)
    }

    fn check_unique(&self, device: DeviceId) -> Result<(), StoreError> {
        let all = self.unique();
        let mine = all.iter().filter(|(_, holder)| *holder == device);
        for (pointer, _) in mine {
            if let Some((_, other)) = all.iter().find(|(it, holder)| it == pointer && *holder != device) {
                return Err(StoreError::Taken { pointer: pointer.clone(), device: *other });
            }
        }
        Ok(())
    }

    fn settle(&mut self, device: DeviceId) {
        let now = self.now;
        let known = self.devices.get_mut(&device).unwrap();
        let bare = is_bare(&known.record);
        known.bare_since = bare.then(|| known.bare_since.unwrap_or(now));
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        self.now += ms;
        let now = self.now;
        for device in self.devices.keys().copied().collect::<Vec<_>>() {
            let known = self.devices.get_mut(&device).unwrap();
            let record = &mut known.record;
            let (before, was_bare) = (addresses(record), is_bare(record));
            record.sessions.retain(|session| !session.has_expired(now));
            let over = |applied: &value::Applied| applied.time + APPLIED_FOR_MS <= now;
            if record.registration.is_none() && record.applied.as_ref().is_some_and(over) {
                record.applied = None;
            }
            let after = addresses(record);
            let gone = match (was_bare, is_bare(record)) {
                (false, bare) => bare,
                (true, _) => known.bare_since.is_some_and(|since| since + APPLIED_FOR_MS <= now),
            };
            self.readdress(device, &before, &after, (false, false));
            if gone {
                self.devices.remove(&device);
                self.addresses.retain(|_, holder| *holder != device);
            }
        }
    }

    pub(crate) fn load(&self, device: DeviceId) -> Option<DeviceRecord> {
        self.devices.get(&device).filter(|known| !known.removed).map(|known| known.record.clone())
    }

    fn due(&self) -> Vec<Due> {
        let mut all = Vec::new();
        for (device, known) in &self.devices {
            let record = &known.record;
            let mut times: Vec<u64> = record.events.iter().map(|event| event.time).collect();
            times.extend(record.operations.iter().map(|operation| operation.due_at));
            times.extend(record.registration.as_ref().and(record.header.deadline));
            let document = record.document.as_ref().filter(|_| !record.header.activated);
            times.extend(document.map(|document| document.activate_by));
            all.extend(times.into_iter().filter(|at| *at != 0).min().map(|at| Due { at, device: *device }));
        }
        all.sort();
        all
    }
}

/// The addresses that find a device.
fn addresses(record: &DeviceRecord) -> BTreeSet<Pointer> {
    let header = &record.header;
    let plain = header.by_address.then_some(header.peer).flatten().map(Pointer::Address);
    let by_address = record.sessions.iter().filter(|session| session.is_live() && session.cid.is_empty());
    let sessions = by_address.filter_map(|session| session.peer.map(Pointer::SessionAddress));
    plain.into_iter().chain(sessions).collect()
}

fn is_bare(record: &DeviceRecord) -> bool {
    let nothing = (&record.document, &record.registration, &record.applied) == (&None, &None, &None);
    nothing && record.sessions.is_empty() && record.operations.is_empty() && record.events.is_empty()
}

fn put_session(sessions: &mut Vec<Session>, new: Session) -> Result<(), StoreError> {
    let alike = |old: &&Session| old.association != new.association && old.provisional == new.provisional;
    if sessions.iter().filter(alike).count() >= SESSIONS {
        return Err(StoreError::Invalid { what: "one more session of a device" });
    }
    match sessions.iter_mut().find(|old| old.association == new.association) {
        Some(old) => *old = new,
        None => sessions.push(new),
    }
    Ok(())
}

fn apply(record: &mut DeviceRecord, change: Change) -> Result<(), StoreError> {
    let sessions = &mut record.sessions;
    let nth = |sessions: &[Session], it| sessions.iter().position(|session| session.association == it);
    match change {
        Change::Registration(registration) => record.registration = Some(*registration),
        Change::RemoveRegistration => {
            record.registration = None;
            record.observations.clear();
        }
        Change::Applied(applied) => record.applied = Some(applied),
        Change::Observation(new) => match record.observations.iter_mut().find(|old| old.token == new.token) {
            Some(old) => *old = new,
            None => record.observations.push(new),
        },
        Change::RemoveObservation(token) => record.observations.retain(|old| old.token != token),
        Change::ClearObservations => record.observations.clear(),
        Change::Operation(new) => {
            record.operations.retain(|old| old.id != new.id);
            record.operations.push(*new);
            record.operations.sort_by_key(|operation| (operation.order, operation.id.clone()));
        }
        Change::RemoveOperation(id) => record.operations.retain(|old| old.id != id),
        Change::Event(new) => {
            record.events.retain(|old| old.id != new.id);
            record.events.push(new);
            record.events.sort_by_key(|event| (event.time, event.id.clone()));
        }
        Change::Address { peer, local, by_address } => {
            let header = &mut record.header;
            (header.peer, header.local, header.by_address) = (peer, local, by_address);
        }
        Change::PathNode(node) => record.header.path_node = Some(node),
        Change::Deadline(deadline) => record.header.deadline = deadline,
        Change::Session(session) => put_session(sessions, *session)?,
        Change::Promote { association, expires_at } => {
            if let Some(at) = nth(sessions, association) {
                let promoted = Session { provisional: false, expires_at, ..sessions[at].clone() };
                sessions.retain(|old| old.association == association || old.id != promoted.id);
                put_session(sessions, promoted)?;
            }
        }
        Change::CloseSession(association) => {
            if let Some(at) = nth(sessions, association) {
                sessions[at].closed = true;
            }
        }
        Change::RemoveSession(association) => sessions.retain(|old| old.association != association),
        Change::Marks { association, numbers, heard_at, expires_at, keep_answer } => {
            if let Some(at) = nth(sessions, association) {
                let session = &mut sessions[at];
                (session.numbers, session.heard_at, session.expires_at) = (numbers, heard_at, expires_at);
                if !keep_answer {
                    session.answer.clear();
                }
            }
        }
        Change::SessionAddress { association, peer, local } => {
            if let Some(at) = nth(sessions, association) {
                (sessions[at].peer, sessions[at].local) = (peer, local);
            }
        }
        Change::Activated => record.header.activated = true,
        Change::Passive => record.header.passive = true,
    }
    Ok(())
}

/// With sessions by the time at which they were established and observations by token: their order is no store's promise
/// beyond that.
fn sorted(mut record: DeviceRecord) -> DeviceRecord {
    record.sessions.sort_by_key(|session| (session.established_at, *session.association.as_bytes()));
    record.observations.sort_by(|a, b| a.token.cmp(&b.token));
    record
}

/// The change with its times as far ahead of `now` as they are of [`START`]. What is over already when it is written one
/// store clears away at once and another a second later.
fn at(now: u64, mut change: Change) -> Change {
    let shift = |at: &mut u64| *at = if *at == 0 { 0 } else { *at + (now - START) };
    match &mut change {
        Change::Applied(applied) => shift(&mut applied.time),
        Change::Session(session) => shift(&mut session.expires_at),
        Change::Promote { expires_at, .. } | Change::Marks { expires_at, .. } => shift(expires_at),
        _ => {}
    }
    change
}

fn compare(subject: &dyn Subject, model: &Model) {
    let store = subject.store();
    for endpoint in DEVICES {
        let loaded = wait(store.load(device(endpoint))).unwrap().map(sorted);
        assert_eq!(loaded, model.load(device(endpoint)).map(sorted), "{endpoint}");
        let events = model.devices.get(&device(endpoint)).map(|known| known.record.events.clone());
        assert_eq!(wait(store.events(device(endpoint))), Ok(events.unwrap_or_default()));
    }
    assert_eq!(wait(store.due(u64::MAX, None, 100)), Ok(model.due()));
    let mut pointers: BTreeMap<Pointer, DeviceId> = model.unique().into_iter().collect();
    pointers.extend(model.addresses.clone());
    let ids = (1..5).map(|n| Pointer::Registration(registration_id(n)));
    let identities = (1..3).map(|n| Pointer::PskIdentity(vec![n]));
    let addresses = (1..4).map(|n| Pointer::Address(format!("127.0.0.{n}:5683").parse().unwrap()));
    let sessions = (1..4).map(|n| Pointer::Session(SessionId::from_bytes([n; 32])));
    let cids = (1..6).map(|n| Pointer::Cid(vec![n; 8])).chain(sessions);
    let secure = (1..6).map(|n| Pointer::SessionAddress(format!("127.0.0.{n}:5684").parse().unwrap()));
    for pointer in ids.chain(identities).chain(addresses).chain(cids).chain(secure) {
        assert_eq!(wait(store.resolve(pointer.clone())), Ok(pointers.get(&pointer).copied()), "{pointer:?}");
    }
    let live: Vec<DeviceRecord> =
        DEVICES.iter().filter_map(|endpoint| model.load(device(endpoint))).collect();
    let counts = Counts {
        provisioned: live.iter().filter(|record| record.document.is_some()).count() as u64,
        registered: live.iter().filter(|record| record.registration.is_some()).count() as u64,
    };
    assert_eq!(wait(store.counts()), Ok(counts));
    let listed = wait(store.list(DeviceFilter::default(), PageRequest { token: None, limit: 100 })).unwrap();
    assert_eq!(listed.items.len(), live.len());
}

fn run(subject: &mut dyn Subject, model: &mut Model, step: Step) {
    let store = subject.store();
    let name = |n: usize| device(DEVICES[n]);
    match step {
        Step::Claim { device, owner: by, create } => {
            let claim = Claim { create, seen: None };
            let claimed = wait(store.claim(name(device), &owner(OWNERS[by]), claim));
            let expected = model.claim(name(device), owner(OWNERS[by]), create);
            assert_eq!(claimed.clone().map(|it| (it.term, it.claims, it.exact)), expected);
            if let Ok(claimed) = claimed {
                assert_eq!(Some(sorted(claimed.record)), model.load(name(device)).map(sorted));
            }
        }
        Step::Commit { device, owner: by, ahead, changes } => {
            let stored = model
                .devices
                .get(&name(device))
                .map_or((START, 0), |known| (known.record.header.term, known.record.header.claims));
            let fence = Fence { owner: owner(OWNERS[by]), term: stored.0 + ahead, claims: stored.1 };
            let changes: Vec<_> = changes.into_iter().map(|change| at(model.now, change)).collect();
            let expected = model.commit(name(device), &fence, &changes);
            assert_eq!(wait(store.commit(name(device), fence, changes)), expected);
        }
        Step::Provision { device, identity, activate_by } => {
            let identity = if identity == 0 { Vec::new() } else { vec![identity] };
            let credential = Some(value::Credential { psk_identity: identity, ..Default::default() });
            let endpoint = DEVICES[device].to_owned();
            let document = value::Device { endpoint, credential, activate_by, ..Default::default() };
            let put = wait(store.put_device(document.clone(), Expect::Any));
            assert_eq!(put.map(|document| document.revision), model.provision(document));
        }
        Step::Remove { device, event: with } => {
            let event = with.then(|| event("0", 7));
            let expected = model.remove(name(device), event.clone());
            assert_eq!(wait(store.remove_device(name(device), Expect::Any, event)), expected);
        }
        Step::RemoveEvent { device, id } => {
            wait(store.remove_event(name(device), id.to_string())).unwrap();
            model.remove_event(name(device), &id.to_string());
        }
        Step::Advance { seconds } => {
            subject.advance(seconds * 1_000);
            model.advance(seconds * 1_000);
        }
        Step::Reopen => {
            subject.reopen();
            // Opening looks for tombstones anew.
            subject.advance(1_000);
            model.advance(1_000);
        }
    }
}

pub(super) fn a_store_does_what_a_simple_model_does(subject: &mut dyn Subject) {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: subject.cases(),
        failure_persistence: None,
        ..Default::default()
    });
    let result = runner.run(&steps(), |steps| {
        let mut subject = subject.fresh();
        let mut model = Model { now: START, ..Default::default() };
        for step in steps {
            run(&mut *subject, &mut model, step);
            compare(&*subject, &model);
        }
        subject.reopen();
        compare(&*subject, &model);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
