//! What this process wrote lately: to be written again to a store that comes back with an older state.
//!
//! ```text
//!  a claim, a commit was acknowledged ─► Recent ─► the store went back ─► Again ─► over the stored record ─► one commit
//! ```
//! Of each device the last claim is kept with the whole record that it was answered with, for what others wrote before it can't
//! be told from what they forgot; and then what was changed, the last of its kind. All of it is written in one commit, fenced:
//! what another owner has claimed since is refused.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::{Change, DeviceRecord, Fence};
use crate::{clock::Boot, identity::DeviceId};

/// The acknowledged writes of a process.
#[derive(Debug)]
pub struct Recent {
    keep: Duration,
    devices: HashMap<DeviceId, Remembered>,
    /// When something was remembered of whom, in order.
    touched: VecDeque<(Boot, DeviceId)>,
}

/// What is known of one device.
#[derive(Debug)]
struct Remembered {
    fence: Fence,
    /// The record as of the last claim.
    whole: Option<(Boot, Box<DeviceRecord>)>,
    /// What was changed since, in order, without what was changed again.
    changes: Vec<(Boot, Change)>,
    /// The last commit gave the device up.
    passive: bool,
    touched: Boot,
}

/// What is to be written again of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Again {
    /// In which term.
    pub fence: Fence,
    /// The record as of a claim, if that was so lately that the store may have forgotten what it answered then.
    pub whole: Option<Box<DeviceRecord>>,
    /// What was changed since.
    pub changes: Vec<Change>,
}

impl Recent {
    /// Keeps what was acknowledged within `keep` before the last heartbeat that showed a store which has forgotten nothing: as
    /// long as the store may lose by a failure.
    #[must_use]
    pub fn new(keep: Duration) -> Self {
        Self { keep, devices: HashMap::new(), touched: VecDeque::new() }
    }

    /// A claim was acknowledged, with this record. Call it in the order of the acknowledgements, as [`note`](Self::note).
    pub fn note_claim(&mut self, now: Boot, device: DeviceId, fence: Fence, record: &DeviceRecord) {
        let whole = DeviceRecord { document: None, ..record.clone() };
        let whole = Some((now, Box::new(whole)));
        let remembered = Remembered { fence, whole, changes: Vec::new(), passive: false, touched: now };
        self.devices.insert(device, remembered);
        self.touched.push_back((now, device));
    }

    /// A commit was acknowledged.
    pub fn note(&mut self, now: Boot, device: DeviceId, fence: &Fence, changes: Vec<Change>) {
        let remembered = self.devices.entry(device).or_insert_with(|| Remembered {
            fence: fence.clone(),
            whole: None,
            changes: Vec::new(),
            passive: false,
            touched: now,
        });
        if remembered.fence.term > fence.term {
            return;
        }
        remembered.fence = fence.clone();
        remembered.passive = changes.contains(&Change::Passive);
        for change in changes {
            remembered.add(now, change);
        }
        remembered.touched = now;
        self.touched.push_back((now, device));
    }

    /// An event was taken out of the outbox.
    pub fn note_event_removed(&mut self, device: DeviceId, event: &str) {
        let Some(remembered) = self.devices.get_mut(&device) else { return };
        remembered.changes.retain(|(_, it)| !matches!(it, Change::Event(it) if it.id == event));
        if let Some((_, whole)) = &mut remembered.whole {
            whole.events.retain(|it| it.id != event);
        }
    }

    /// The device was removed, or is another's: nothing of it is written again.
    pub fn drop_device(&mut self, device: DeviceId) {
        self.devices.remove(&device);
    }

    /// A heartbeat has shown that the store, up to what it acknowledged at `now`, has forgotten nothing.
    pub fn forget(&mut self, now: Boot) {
        let old = |at: Boot| now.since(at) > self.keep;
        while let Some((_, device)) = self.touched.front().copied().filter(|(at, _)| old(*at)) {
            self.touched.pop_front();
            let Some(remembered) = self.devices.get_mut(&device) else { continue };
            if old(remembered.touched) {
                self.devices.remove(&device);
                continue;
            }
            remembered.changes.retain(|(at, _)| !old(*at));
            remembered.whole.take_if(|(at, _)| old(*at));
        }
    }

    /// Of whom there is something to be written again, in order of their ids. It stays: the store may fail once more.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceId> {
        let mut devices: Vec<_> = self.devices.keys().copied().collect();
        devices.sort_unstable();
        devices
    }

    /// What is to be written again of a device. Ask when nothing of it is under way to the store, and write it before anything
    /// else.
    #[must_use]
    pub fn again(&self, device: DeviceId) -> Option<Again> {
        let remembered = self.devices.get(&device)?;
        let mut changes: Vec<_> = remembered.changes.iter().map(|(_, change)| change.clone()).collect();
        if remembered.passive {
            changes.push(Change::Passive);
        }
        let whole = remembered.whole.as_ref().map(|(_, whole)| whole.clone());
        Some(Again { fence: remembered.fence.clone(), whole, changes })
    }

    /// Of how many devices something is kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }
}

impl Remembered {
    fn add(&mut self, now: Boot, mut change: Change) {
        if change == Change::Passive {
            return;
        }
        if let Change::Marks { association, keep_answer, .. } = &mut change {
            let of = *association;
            let before = self.changes.iter().find_map(|(_, it)| match it {
                Change::Marks { association, keep_answer, .. } if *association == of => Some(*keep_answer),
                _ => None,
            });
            // Once the answer is not needed, it is gone.
            *keep_answer &= before.unwrap_or(true);
        }
        self.changes.retain(|(_, earlier)| !is_undone(earlier, &change));
        self.changes.push((now, change));
    }
}

/// Whether nothing of an earlier change shows after a later one. What sessions do to each other depends on their order; all of
/// that stays.
fn is_undone(earlier: &Change, by: &Change) -> bool {
    use Change as C;
    match (by, earlier) {
        (C::Registration(_), C::Registration(_))
        | (C::RemoveRegistration, C::Registration(_) | C::RemoveRegistration)
        | (
            C::RemoveRegistration | C::ClearObservations,
            C::Observation(_) | C::RemoveObservation(_) | C::ClearObservations,
        )
        | (C::Applied(_), C::Applied(_))
        | (C::Address { .. }, C::Address { .. })
        | (C::PathNode(_), C::PathNode(_))
        | (C::Deadline(_), C::Deadline(_))
        | (C::Activated, C::Activated) => true,
        (C::Observation(_) | C::RemoveObservation(_), _) => {
            let token = token_of(earlier);
            token.is_some() && token == token_of(by)
        }
        (C::Operation(_) | C::RemoveOperation(_), _) => {
            let id = operation_of(earlier);
            id.is_some() && id == operation_of(by)
        }
        (C::Event(by), C::Event(earlier)) => by.id == earlier.id,
        (C::Marks { association: by, .. }, C::Marks { association: earlier, .. })
        | (C::SessionAddress { association: by, .. }, C::SessionAddress { association: earlier, .. }) => {
            by == earlier
        }
        _ => false,
    }
}

fn token_of(change: &Change) -> Option<&[u8]> {
    match change {
        Change::Observation(observation) => Some(&observation.token),
        Change::RemoveObservation(token) => Some(token),
        _ => None,
    }
}

fn operation_of(change: &Change) -> Option<&str> {
    match change {
        Change::Operation(operation) => Some(&operation.id),
        Change::RemoveOperation(id) => Some(id),
        _ => None,
    }
}

impl Again {
    /// The changes that bring what is stored to what was written; `None`: another owner has it, or it was removed.
    #[must_use]
    pub fn over(self, stored: Option<&DeviceRecord>) -> Option<Vec<Change>> {
        let none = DeviceRecord::default();
        let stored = stored.unwrap_or(&none);
        if !self.fence.outranks(&stored.header) {
            return None;
        }
        let mut changes = self.whole.map(|whole| bring_to(stored, *whole)).unwrap_or_default();
        changes.extend(self.changes);
        Some(changes)
    }

    /// [`over`](Self::over) for a store that went back further than what is remembered, whose sessions would be too many with
    /// those that were made since: the stored ones go, unless they are spoken of.
    #[must_use]
    pub fn instead_of_sessions(self, stored: Option<&DeviceRecord>) -> Option<Vec<Change>> {
        let sessions = stored.map(|stored| &stored.sessions[..]).unwrap_or_default();
        let gone: Vec<_> = sessions.iter().map(|it| Change::RemoveSession(it.association)).collect();
        let changes = self.over(stored)?;
        let spoken_of = |gone: &Change| match gone {
            Change::RemoveSession(gone) => changes.iter().any(|it| {
                matches!(it, Change::Marks { association, .. } | Change::Promote { association, .. }
                    if association == gone)
            }),
            _ => false,
        };
        let mut all: Vec<_> = gone.into_iter().filter(|it| !spoken_of(it)).collect();
        all.extend(changes);
        Some(all)
    }
}

/// What makes one record out of another. The outbox and the applied request only gain: both are told apart by their ids.
fn bring_to(stored: &DeviceRecord, whole: DeviceRecord) -> Vec<Change> {
    let mut changes = Vec::new();
    let header = &whole.header;
    let has_session =
        |it: &&crate::store::Session| whole.sessions.iter().any(|other| other.association == it.association);
    let surplus = stored.sessions.iter().filter(|it| !has_session(it));
    changes.extend(surplus.map(|it| Change::RemoveSession(it.association)));
    let has_operation =
        |it: &&crate::store::value::StoredOperation| whole.operations.iter().any(|other| other.id == it.id);
    let done = stored.operations.iter().filter(|it| !has_operation(it));
    changes.extend(done.map(|it| Change::RemoveOperation(it.id.clone())));
    changes.push(match &whole.registration {
        Some(_) => Change::ClearObservations,
        None => Change::RemoveRegistration,
    });
    changes.push(Change::Address { peer: header.peer, local: header.local, by_address: header.by_address });
    changes.extend(header.path_node.clone().map(Change::PathNode));
    changes.push(Change::Deadline(header.deadline));
    if header.activated {
        changes.push(Change::Activated);
    }
    changes.extend(whole.registration.map(|it| Change::Registration(Box::new(it))));
    changes.extend(whole.applied.map(Change::Applied));
    changes.extend(whole.sessions.into_iter().map(|it| Change::Session(Box::new(it))));
    changes.extend(whole.observations.into_iter().map(Change::Observation));
    changes.extend(whole.operations.into_iter().map(|it| Change::Operation(Box::new(it))));
    changes.extend(whole.events.into_iter().map(Change::Event));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::{AssociationId, Owner},
        store::{Header, Numbers, value},
    };

    fn at(seconds: u64) -> Boot {
        Boot::from_start(Duration::from_secs(seconds))
    }

    fn fence(term: u64) -> Fence {
        Fence { owner: Owner { node: "a".into(), boot: 1 }, term, claims: 1 }
    }

    fn device(name: &str) -> DeviceId {
        DeviceId::of(name)
    }

    fn recent() -> Recent {
        Recent::new(Duration::from_secs(60))
    }

    fn observation(token: u8, composite: bool) -> value::Observation {
        value::Observation { token: vec![token], composite, ..Default::default() }
    }

    fn marks(floor: u64, keep_answer: bool) -> Change {
        let association = AssociationId::from_bytes([1; 8]);
        let numbers = Numbers { read_floor: floor, ..Numbers::default() };
        Change::Marks { association, numbers, heard_at: 0, expires_at: 0, keep_answer }
    }

    fn registration(id: &str) -> value::Registration {
        value::Registration { id: id.into(), ..Default::default() }
    }

    #[test]
    fn the_last_of_each_kind_comes_again_in_the_order_of_the_writes() {
        let mut recent = recent();
        let all = [
            vec![
                Change::Registration(Box::new(registration("old"))),
                Change::Observation(observation(1, false)),
            ],
            vec![marks(64, false), Change::Deadline(Some(1)), Change::Observation(observation(2, false))],
            vec![marks(128, true), Change::RemoveObservation(vec![2]), Change::Deadline(Some(2))],
            vec![Change::RemoveRegistration, Change::Registration(Box::new(registration("new")))],
        ];
        for changes in all {
            recent.note(at(1), device("x"), &fence(5), changes);
        }
        let again = recent.again(device("x")).unwrap();
        let left = vec![
            marks(128, false),
            Change::Deadline(Some(2)),
            Change::RemoveRegistration,
            Change::Registration(Box::new(registration("new"))),
        ];
        assert_eq!(again, Again { fence: fence(5), whole: None, changes: left });
    }

    #[test]
    fn what_was_given_up_is_so_again_unless_it_was_taken_back() {
        let mut recent = recent();
        recent.note(at(1), device("x"), &fence(5), vec![marks(1, true), Change::Passive]);
        assert_eq!(recent.again(device("x")).unwrap().changes, [marks(1, true), Change::Passive]);
        recent.note(at(2), device("x"), &fence(5), vec![Change::Deadline(None)]);
        assert_eq!(recent.again(device("x")).unwrap().changes, [marks(1, true), Change::Deadline(None)]);
    }

    #[test]
    fn a_claim_takes_the_place_of_all_before_it_and_of_what_the_store_has_kept() {
        let mut recent = recent();
        recent.note(at(1), device("x"), &fence(5), vec![Change::Deadline(Some(9))]);
        let header = Header { deadline: Some(7), activated: true, ..Header::default() };
        let registered = DeviceRecord { header, registration: Some(registration("r")), ..Default::default() };
        recent.note_claim(at(2), device("x"), fence(6), &registered);
        recent.note(at(3), device("x"), &fence(6), vec![Change::Observation(observation(3, true))]);
        let older = DeviceRecord {
            operations: vec![value::StoredOperation { id: "done".into(), ..Default::default() }],
            observations: vec![observation(9, false)],
            ..Default::default()
        };
        let changes = recent.again(device("x")).unwrap().over(Some(&older)).unwrap();
        let wanted = vec![
            Change::RemoveOperation("done".into()),
            Change::ClearObservations,
            Change::Address { peer: None, local: None, by_address: false },
            Change::Deadline(Some(7)),
            Change::Activated,
            Change::Registration(Box::new(registration("r"))),
            Change::Observation(observation(3, true)),
        ];
        assert_eq!(changes, wanted);
    }

    #[test]
    fn a_late_acknowledgement_of_an_earlier_term_counts_for_nothing() {
        let mut recent = recent();
        recent.note_claim(at(1), device("x"), fence(6), &DeviceRecord::default());
        recent.note(at(2), device("x"), &fence(5), vec![Change::Deadline(Some(9))]);
        let again = recent.again(device("x")).unwrap();
        assert_eq!((again.fence, again.changes), (fence(6), Vec::new()));
    }

    #[test]
    fn nothing_is_written_over_another_owners_claim() {
        let mut recent = recent();
        recent.note(at(1), device("x"), &fence(5), vec![Change::Deadline(None)]);
        let again = recent.again(device("x")).unwrap();
        let by = |node: &str, term| {
            let owner = Some(Owner { node: node.into(), boot: 1 });
            DeviceRecord { header: Header { owner, term, ..Header::default() }, ..Default::default() }
        };
        assert_eq!(again.clone().over(Some(&by("b", 6))), None);
        assert_eq!(again.clone().over(Some(&by("b", 5))), None);
        let changes = Some(vec![Change::Deadline(None)]);
        assert_eq!(again.clone().over(Some(&by("a", 5))), changes);
        assert_eq!(again.clone().over(Some(&by("b", 4))), changes);
        assert_eq!(again.over(None), changes);
    }

    #[test]
    fn what_is_old_at_a_good_heartbeat_is_forgotten_and_in_an_outage_nothing() {
        let mut recent = recent();
        recent.note_claim(at(0), device("x"), fence(5), &DeviceRecord::default());
        recent.note(at(0), device("x"), &fence(5), vec![Change::Deadline(None)]);
        recent.note(at(0), device("y"), &fence(5), vec![Change::Deadline(None)]);
        recent.note(at(500), device("x"), &fence(5), vec![Change::Activated]);
        assert_eq!(recent.devices().len(), 2, "no heartbeat came");
        recent.forget(at(60));
        assert!(recent.again(device("x")).unwrap().whole.is_some());
        recent.forget(at(61));
        let again = recent.again(device("x")).unwrap();
        assert_eq!((again.whole, again.changes), (None, vec![Change::Activated]));
        assert_eq!(recent.devices(), [device("x")]);
        recent.forget(at(561));
        assert!(recent.is_empty() && recent.touched.is_empty());
    }

    #[test]
    fn an_event_that_was_taken_out_does_not_come_again() {
        let mut recent = recent();
        let event = |id: &str| value::StoredEvent { id: id.into(), ..Default::default() };
        let record = DeviceRecord { events: vec![event("1")], ..Default::default() };
        recent.note_claim(at(0), device("x"), fence(5), &record);
        recent.note(at(0), device("x"), &fence(5), vec![Change::Event(event("2"))]);
        recent.note_event_removed(device("x"), "1");
        recent.note_event_removed(device("x"), "2");
        let again = recent.again(device("x")).unwrap();
        assert_eq!((again.whole.unwrap().events, again.changes), (Vec::new(), Vec::new()));
    }
}
