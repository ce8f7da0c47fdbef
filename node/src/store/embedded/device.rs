//! Claims, commits, and what follows from a changed row: pointers, the due index, counters, tombstones.

use std::collections::BTreeSet;

use prost::Message;

use super::{
    engine::{Engine, Entry, Table},
    row::{Kind, Row},
    txn::Txn,
};
use crate::{
    identity::{AssociationId, DeviceId, Owner, RegistrationId},
    store::{
        APPLIED_FOR_MS, Change, Claim, Claimed, DeviceRecord, Due, Expect, Fence, Pointer, Refused, SESSIONS,
        Session, StoreError, header::NODE_NAME_LIMIT, value,
    },
};

const QUEUE_VERSION: u8 = 1;

/// A device's part of the queue table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queued {
    Operation,
    Event,
}

/// Which list of the due table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DueList {
    /// What callers ask for.
    Due = 0,
    /// Tombstones that the store itself clears away.
    Sweep = 1,
}

pub(super) fn claim(
    txn: &mut Txn<'_>,
    device: DeviceId,
    owner: Owner,
    claim: Claim,
) -> Result<Claimed, StoreError> {
    if owner.node.is_empty() || owner.node.len() >= NODE_NAME_LIMIT {
        return Err(StoreError::Invalid { what: "a node name" });
    }
    let mut edit = Edit::open(txn, device)?;
    if !claim.create && !edit.is_known() {
        return Err(StoreError::NoSuchDevice);
    }
    let row = &mut edit.row;
    if claim.seen.is_some_and(|seen| row.header.term > seen) {
        return Err(refused(row));
    }
    row.removed = false;
    let exact = row.header.passive || row.header.owner.is_none();
    row.header.passive = false;
    row.header.owner = Some(owner);
    row.header.term = row.header.term.saturating_add(1).max(edit.txn.now);
    row.header.claims = row.header.claims.wrapping_add(1);
    let row = edit.settle()?;
    let queue = if row.has_queue() { scan_queue(txn, device)? } else { Vec::new() };
    let (term, claims) = (row.header.term, row.header.claims);
    Ok(Claimed { term, claims, exact, record: record(row, queue)? })
}

pub(super) fn commit(
    txn: &mut Txn<'_>,
    device: DeviceId,
    fence: Fence,
    changes: Vec<Change>,
) -> Result<(), StoreError> {
    let mut edit = Edit::open(txn, device)?;
    let header = &mut edit.row.header;
    let other = header.owner.as_ref() != Some(&fence.owner);
    if header.term > fence.term || (header.term == fence.term && other) {
        return Err(refused(&edit.row));
    }
    header.claims = header.claims.max(fence.claims);
    header.term = fence.term;
    header.owner = Some(fence.owner);
    header.passive = false;
    edit.row.removed = false;
    for change in changes {
        edit.apply(change)?;
    }
    edit.settle().map(|_| ())
}

pub(super) fn put_device(
    txn: &mut Txn<'_>,
    mut document: value::Device,
    expect: Expect,
) -> Result<value::Device, StoreError> {
    if document.endpoint.is_empty() {
        return Err(StoreError::Invalid { what: "a device without an endpoint name" });
    }
    let mut edit = Edit::open(txn, DeviceId::of(&document.endpoint))?;
    let old = edit.row.document()?;
    let found = old.as_ref().map_or(0, |old| old.revision);
    expect.check(found)?;
    let now = edit.txn.now;
    document.revision = next_revision(found, now);
    document.created_at = old.map_or(now, |old| old.created_at);
    document.updated_at = now;
    edit.row.removed = false;
    edit.put(Kind::Document, b"", &document);
    edit.settle()?;
    Ok(document)
}

pub(super) fn remove_device(
    txn: &mut Txn<'_>,
    device: DeviceId,
    expect: Expect,
    event: Option<value::StoredEvent>,
) -> Result<(), StoreError> {
    let mut edit = Edit::open(txn, device)?;
    if !edit.is_known() {
        return Err(StoreError::NoSuchDevice);
    }
    expect.check(edit.row.document()?.map_or(0, |document| document.revision))?;
    let term = edit.row.header.term.saturating_add(1).max(edit.txn.now);
    for (key, _) in scan_queue(edit.txn, device)? {
        if Queued::of(&key) == Some(Queued::Operation) {
            edit.txn.remove(Table::Queue, key);
        }
    }
    edit.row = Row::default();
    edit.row.removed = true;
    edit.row.header.term = term;
    edit.pointers_stale = true;
    edit.queue_stale = true;
    if let Some(event) = event {
        edit.put_event(&event);
    }
    edit.settle().map(|_| ())
}

pub(super) fn remove_event(txn: &mut Txn<'_>, device: DeviceId, id: &str) -> Result<(), StoreError> {
    let key = Queued::Event.key(device, id);
    if txn.get(Table::Queue, &key)?.is_none() {
        return Ok(());
    }
    let mut edit = Edit::open(txn, device)?;
    edit.txn.remove(Table::Queue, key);
    edit.queue_stale = true;
    edit.settle().map(|_| ())
}

/// Clears away what is over: tombstones of a registration, of a device, of a claim from which nothing came; sessions
/// that were idle for long or never promoted.
pub(super) fn sweep(txn: &mut Txn<'_>, device: DeviceId) -> Result<(), StoreError> {
    let mut edit = Edit::open(txn, device)?;
    if edit.row.sweep == 0 || edit.row.sweep > edit.txn.now {
        return Ok(());
    }
    let now = edit.txn.now;
    for session in edit.row.sessions()?.into_iter().filter(|session| session.has_expired(now)) {
        edit.remove_session(session.association);
    }
    if !edit.row.has(Kind::Registration) && edit.applied_until()?.is_some_and(|until| until <= now) {
        edit.clear(Kind::Applied);
    }
    edit.swept = true;
    if is_bare(&edit.row) {
        // Its row goes, and with it what led to it.
        edit.row.header.by_address = false;
        edit.pointers_stale = true;
    }
    edit.settle().map(|_| ())
}

/// A revision above all that a document of this name ever had, also before it was removed and made again.
pub(super) fn next_revision(found: u64, now: u64) -> u64 {
    found.saturating_add(1).max(now)
}

impl Expect {
    /// Whether the expectation holds for the revision that was found (0: none).
    pub(super) fn check(self, found: u64) -> Result<(), StoreError> {
        match self {
            Self::Any => Ok(()),
            Self::Absent if found == 0 => Ok(()),
            Self::Revision(expected) if expected == found && found != 0 => Ok(()),
            Self::Absent | Self::Revision(_) => Err(StoreError::Conflict { found }),
        }
    }
}

/// A row being changed. [`Edit::settle`] brings everything that follows from the row in line with it.
struct Edit<'t, 'a> {
    txn: &'t mut Txn<'a>,
    device: DeviceId,
    row: Row,
    before: Option<Row>,
    pointers_stale: bool,
    /// The device is at its address now, whoever was there since it was last.
    address_taken: bool,
    /// The same of a session.
    session_moved: bool,
    queue_stale: bool,
    swept: bool,
}

impl<'t, 'a> Edit<'t, 'a> {
    fn open(txn: &'t mut Txn<'a>, device: DeviceId) -> Result<Self, StoreError> {
        let before =
            txn.get(Table::Device, device.as_bytes())?.map(|bytes| Row::decode(&bytes)).transpose()?;
        let row = before.clone().unwrap_or_default();
        Ok(Self {
            txn,
            device,
            row,
            before,
            pointers_stale: false,
            address_taken: false,
            session_moved: false,
            queue_stale: false,
            swept: false,
        })
    }

    fn is_known(&self) -> bool {
        self.before.as_ref().is_some_and(|row| !row.removed)
    }

    fn apply(&mut self, change: Change) -> Result<(), StoreError> {
        match change {
            Change::Registration(registration) => {
                let old: Option<value::Registration> = self.row.read(Kind::Registration)?;
                let new = old.is_none_or(|old| old.id != registration.id);
                self.txn.labels.push(if new { "register" } else { "update" });
                self.pointers_stale |= new;
                self.row.put(Kind::Registration, b"", &*registration);
            }
            Change::RemoveRegistration => {
                self.txn.labels.push("deregister");
                self.clear(Kind::Registration);
                self.row.clear(Kind::Observation);
            }
            Change::Applied(applied) => self.put(Kind::Applied, b"", &applied),
            Change::Observation(observation) => {
                self.row.put(Kind::Observation, &observation.token, &observation);
            }
            Change::RemoveObservation(token) => self.row.remove(Kind::Observation, &token),
            Change::ClearObservations => self.row.clear(Kind::Observation),
            Change::Operation(operation) => {
                let key = Queued::Operation.key(self.device, &operation.id);
                self.txn.put(Table::Queue, key, queue_value(operation.due_at, &*operation));
                self.queue_stale = true;
            }
            Change::RemoveOperation(id) => {
                self.txn.remove(Table::Queue, Queued::Operation.key(self.device, &id));
                self.queue_stale = true;
            }
            Change::Event(event) => self.put_event(&event),
            Change::Address { peer, local, by_address } => {
                let header = &mut self.row.header;
                self.pointers_stale |= by_address || header.peer != peer || header.by_address;
                self.address_taken |= by_address;
                (header.peer, header.local, header.by_address) = (peer, local, by_address);
            }
            Change::PathNode(node) => self.row.header.path_node = Some(node),
            Change::Deadline(deadline) => self.row.header.deadline = deadline,
            Change::Session(session) => self.put_session(&session)?,
            Change::Promote { association, expires_at } => self.promote(association, expires_at)?,
            Change::CloseSession(association) => {
                self.pointers_stale = true;
                self.change_session(association, |session| session.closed = true)?;
            }
            Change::RemoveSession(association) => self.remove_session(association),
            Change::Marks { association, numbers, heard_at, expires_at, keep_answer } => {
                self.change_session(association, |session| {
                    (session.numbers, session.heard_at, session.expires_at) = (numbers, heard_at, expires_at);
                    if !keep_answer {
                        session.answer.clear();
                    }
                })?;
            }
            Change::SessionAddress { association, peer, local } => {
                self.pointers_stale = true;
                self.session_moved |= peer.is_some();
                self.change_session(association, |session| (session.peer, session.local) = (peer, local))?;
            }
            Change::Activated => self.row.header.activated = true,
            Change::Passive => self.row.header.passive = true,
        }
        Ok(())
    }

    fn put(&mut self, kind: Kind, key: &[u8], message: &impl Message) {
        self.row.put(kind, key, message);
        self.pointers_stale = true;
    }

    fn clear(&mut self, kind: Kind) {
        self.row.clear(kind);
        self.pointers_stale = true;
    }

    fn put_session(&mut self, session: &Session) -> Result<(), StoreError> {
        let old = self.row.sessions()?;
        let alike = old.iter().filter(|old| old.association != session.association);
        if alike.filter(|old| old.provisional == session.provisional).count() >= SESSIONS {
            return Err(StoreError::Invalid { what: "one more session of a device" });
        }
        self.row.put_session(session);
        self.pointers_stale = true;
        self.session_moved |= session.peer.is_some();
        Ok(())
    }

    fn promote(&mut self, association: AssociationId, expires_at: u64) -> Result<(), StoreError> {
        let Some(mut session) = self.row.session(association)? else { return Ok(()) };
        let others = self.row.sessions()?.into_iter().filter(|old| old.association != association);
        for old in others.filter(|old| old.id == session.id) {
            self.remove_session(old.association);
        }
        (session.provisional, session.expires_at) = (false, expires_at);
        self.put_session(&session)
    }

    fn change_session(
        &mut self,
        association: AssociationId,
        change: impl FnOnce(&mut Session),
    ) -> Result<(), StoreError> {
        if let Some(mut session) = self.row.session(association)? {
            change(&mut session);
            self.row.put_session(&session);
        }
        Ok(())
    }

    fn remove_session(&mut self, association: AssociationId) {
        self.row.remove(Kind::Session, association.as_bytes());
        self.pointers_stale = true;
    }

    fn put_event(&mut self, event: &value::StoredEvent) {
        let key = Queued::Event.key(self.device, &event.id);
        self.txn.put(Table::Queue, key, queue_value(event.time, event));
        self.queue_stale = true;
    }

    fn settle(mut self) -> Result<Row, StoreError> {
        if self.queue_stale {
            self.count_queue()?;
        }
        if self.pointers_stale {
            self.point()?;
        }
        let old = self.before.take().unwrap_or_default();
        self.row.due = due_at(&self.row)?;
        let idle_since_before = self.row.removed == old.removed && is_bare(&old);
        self.row.sweep = self.sweep_at(if idle_since_before { old.sweep } else { 0 })?;
        self.index(DueList::Due, old.due, self.row.due);
        self.index(DueList::Sweep, old.sweep, self.row.sweep);
        let counts = &mut self.txn.counts;
        count(&mut counts.provisioned, old.has(Kind::Document), self.row.has(Kind::Document));
        count(&mut counts.registered, old.has(Kind::Registration), self.row.has(Kind::Registration));
        let key = self.device.as_bytes().to_vec();
        if self.swept && is_bare(&self.row) {
            self.txn.remove(Table::Device, key);
        } else {
            self.txn.put(Table::Device, key, self.row.encode());
        }
        Ok(self.row)
    }

    fn count_queue(&mut self) -> Result<(), StoreError> {
        (self.row.operations, self.row.events, self.row.queue_due) = (0, 0, 0);
        for (key, value) in scan_queue(self.txn, self.device)? {
            match Queued::of(&key) {
                Some(Queued::Operation) => self.row.operations += 1,
                Some(Queued::Event) => self.row.events += 1,
                None => {}
            }
            self.row.queue_due = earlier(self.row.queue_due, queue_due(&value)?);
        }
        Ok(())
    }

    /// Makes the pointers that the row needs now and removes those that only the old one needed.
    fn point(&mut self) -> Result<(), StoreError> {
        let me = self.device.as_bytes();
        let before = self.before.as_ref().map(pointers).transpose()?.unwrap_or_default();
        let after = pointers(&self.row)?;
        let taken = |pointer: &Pointer| match pointer {
            Pointer::Address(_) => self.address_taken,
            Pointer::SessionAddress(_) => self.session_moved,
            _ => false,
        };
        for pointer in after.iter().filter(|pointer| taken(pointer) || !before.contains(pointer)) {
            let key = pointer.key();
            let holder = if pointer.is_unique() { self.txn.get(Table::Pointer, &key)? } else { None };
            if let Some(holder) = holder.filter(|holder| holder != me) {
                return Err(StoreError::Taken { pointer: pointer.clone(), device: device_id(&holder)? });
            }
            self.txn.put(Table::Pointer, key, me.to_vec());
        }
        for pointer in before.iter().filter(|pointer| !after.contains(pointer)) {
            let key = pointer.key();
            // An address may be another's by now.
            if self.txn.get(Table::Pointer, &key)?.is_some_and(|holder| holder == me) {
                self.txn.remove(Table::Pointer, key);
            }
        }
        Ok(())
    }

    /// When something of the row is over; `before`: since when it is bare already, if it is.
    fn sweep_at(&self, before: u64) -> Result<u64, StoreError> {
        let row = &self.row;
        let sessions = row.sessions()?.iter().map(|session| session.expires_at).fold(0, earlier);
        if row.has(Kind::Registration) {
            return Ok(sessions);
        }
        if let Some(until) = self.applied_until()? {
            return Ok(earlier(sessions, until));
        }
        if self.swept || !is_bare(row) {
            return Ok(sessions);
        }
        Ok(if before == 0 { self.txn.now.saturating_add(APPLIED_FOR_MS) } else { before })
    }

    fn applied_until(&self) -> Result<Option<u64>, StoreError> {
        let applied: Option<value::Applied> = self.row.read(Kind::Applied)?;
        Ok(applied.map(|applied| applied.time.saturating_add(APPLIED_FOR_MS).max(1)))
    }

    fn index(&mut self, list: DueList, before: u64, after: u64) {
        if before == after {
            return;
        }
        if before != 0 {
            self.txn.remove(Table::Due, due_key(list, Due { at: before, device: self.device }));
        }
        if after != 0 {
            self.txn.put(Table::Due, due_key(list, Due { at: after, device: self.device }), Vec::new());
            let earliest = &mut self.txn.earliest[list as usize];
            *earliest = after.min(*earliest);
        }
    }
}

impl Queued {
    fn key(self, device: DeviceId, id: &str) -> Vec<u8> {
        let letter: &[u8] = match self {
            Self::Operation => b"q",
            Self::Event => b"x",
        };
        [device.as_bytes(), letter, id.as_bytes()].concat()
    }

    fn of(key: &[u8]) -> Option<Self> {
        match key.get(10)? {
            b'q' => Some(Self::Operation),
            b'x' => Some(Self::Event),
            _ => None,
        }
    }
}

/// Puts a record together from its row and its part of the queue.
pub(super) fn record(row: Row, queue: Vec<Entry>) -> Result<DeviceRecord, StoreError> {
    let mut record = DeviceRecord {
        document: row.document()?,
        registration: row.read(Kind::Registration)?,
        applied: row.read(Kind::Applied)?,
        sessions: row.sessions()?,
        observations: row.read_all(Kind::Observation).collect::<Result<_, _>>()?,
        header: row.header,
        operations: Vec::new(),
        events: Vec::new(),
    };
    for (key, value) in queue {
        match Queued::of(&key) {
            Some(Queued::Operation) => record.operations.push(read_queued(&value, "operation")?),
            Some(Queued::Event) => record.events.push(read_queued(&value, "event")?),
            None => return Err(StoreError::Unreadable { what: "queue entry", version: 0 }),
        }
    }
    record.operations.sort_by(|a, b| (a.order, &a.id).cmp(&(b.order, &b.id)));
    record.events.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    Ok(record)
}

/// Entries of the due table up to `now`, earliest first, from `floor` on and after `after`.
pub(super) fn due(
    engine: &dyn Engine,
    list: DueList,
    floor: u64,
    now: u64,
    after: Option<Due>,
    limit: usize,
) -> Result<Vec<Due>, StoreError> {
    let mut from = [&[list as u8][..], &floor.to_be_bytes()].concat();
    if let Some(after) = after {
        from = due_key(list, after);
        from.push(0);
    }
    let to = match now.checked_add(1) {
        Some(end) => [&[list as u8][..], &end.to_be_bytes()].concat(),
        None => vec![list as u8 + 1],
    };
    engine.scan(Table::Due, &from, &to, limit)?.iter().map(|(key, _)| read_due_key(key)).collect()
}

/// Where a device's part of the queue table begins and ends.
pub(super) fn queue_range(device: DeviceId) -> (Vec<u8>, Vec<u8>) {
    let id = device.as_bytes().as_slice();
    (id.to_vec(), [id, &[0xff]].concat())
}

/// A key of the due table.
fn due_key(list: DueList, due: Due) -> Vec<u8> {
    [&[list as u8][..], &due.at.to_be_bytes(), due.device.as_bytes()].concat()
}

/// The reverse of [`due_key`].
fn read_due_key(key: &[u8]) -> Result<Due, StoreError> {
    let parts = key.get(1..9).zip(key.get(9..));
    let (at, device) = parts.ok_or(StoreError::Unreadable { what: "due entry", version: 0 })?;
    Ok(Due {
        at: u64::from_be_bytes(at.try_into().expect("invariant: eight bytes")),
        device: device_id(device)?,
    })
}

/// A device id that is a value or the end of a key.
pub(super) fn device_id(bytes: &[u8]) -> Result<DeviceId, StoreError> {
    let bytes = bytes.try_into().map_err(|_| StoreError::Unreadable { what: "device id", version: 0 })?;
    Ok(DeviceId::from_bytes(bytes))
}

fn refused(row: &Row) -> StoreError {
    let owner = row.header.owner.clone().unwrap_or(Owner { node: "".into(), boot: 0 });
    Refused { term: row.header.term, owner }.into()
}

fn scan_queue(txn: &Txn<'_>, device: DeviceId) -> Result<Vec<Entry>, StoreError> {
    let (from, to) = queue_range(device);
    txn.scan(Table::Queue, &from, &to)
}

/// Version, the time at which it is due (8 bytes big-endian), the message.
fn queue_value(due_at: u64, message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + message.encoded_len());
    bytes.push(QUEUE_VERSION);
    bytes.extend(due_at.to_be_bytes());
    message.encode(&mut bytes).expect("invariant: a Vec grows");
    bytes
}

fn queue_due(value: &[u8]) -> Result<u64, StoreError> {
    let version = value.first().copied().unwrap_or(0);
    let at = value.get(1..9).filter(|_| version == QUEUE_VERSION);
    let at = at.ok_or(StoreError::Unreadable { what: "queue entry", version })?;
    Ok(u64::from_be_bytes(at.try_into().expect("invariant: eight bytes")))
}

fn read_queued<M: Message + Default>(value: &[u8], what: &'static str) -> Result<M, StoreError> {
    queue_due(value)?;
    M::decode(&value[9..]).map_err(|_| StoreError::Unreadable { what, version: QUEUE_VERSION })
}

/// What must find the device that this row is of.
fn pointers(row: &Row) -> Result<BTreeSet<Pointer>, StoreError> {
    let mut pointers = BTreeSet::new();
    let registration: Option<value::Registration> = row.read(Kind::Registration)?;
    let applied: Option<value::Applied> = row.read(Kind::Applied)?;
    let ids = [registration.map(|registration| registration.id), applied.map(|applied| applied.registration)];
    for id in ids.into_iter().flatten().filter(|id| !id.is_empty()) {
        let id = RegistrationId::parse(&id).ok_or(StoreError::Invalid { what: "a registration id" })?;
        pointers.insert(Pointer::Registration(id));
    }
    if row.header.by_address {
        pointers.extend(row.header.peer.map(Pointer::Address));
    }
    for session in row.sessions()? {
        pointers.insert(Pointer::Session(session.id));
        if !session.is_live() {
            continue;
        }
        if session.cid.is_empty() {
            pointers.extend(session.peer.map(Pointer::SessionAddress));
        } else {
            pointers.insert(Pointer::Cid(session.cid));
        }
    }
    if let Some(credential) = row.document()?.and_then(|document| document.credential) {
        pointers.extend(Pointer::of_credential(&credential));
    }
    Ok(pointers)
}

fn due_at(row: &Row) -> Result<u64, StoreError> {
    let mut due = row.queue_due;
    if row.has(Kind::Registration) {
        due = earlier(due, row.header.deadline.unwrap_or(0));
    }
    if !row.header.activated {
        due = earlier(due, row.document()?.map_or(0, |document| document.activate_by));
    }
    Ok(due)
}

/// The earlier of two times of which 0 means none.
fn earlier(a: u64, b: u64) -> u64 {
    if a == 0 || b == 0 { a.max(b) } else { a.min(b) }
}

/// Nothing in it but the header.
fn is_bare(row: &Row) -> bool {
    let holds = [Kind::Document, Kind::Registration, Kind::Applied, Kind::Session].map(|kind| row.has(kind));
    !row.has_queue() && !holds.contains(&true)
}

fn count(counter: &mut u64, before: bool, after: bool) {
    match (before, after) {
        (false, true) => *counter += 1,
        (true, false) => *counter = counter.saturating_sub(1),
        _ => {}
    }
}
