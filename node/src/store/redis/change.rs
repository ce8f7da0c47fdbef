//! Changes as a script takes them: a letter and what belongs to it (lua/commit.lua).

use prost::Message;

use super::record::{applied_until, of_applied, of_observation, of_registration, queued};
use crate::{
    identity::RegistrationId,
    store::{Change, Numbers, Pointer, StoreError, pointer::address_bytes, session, value},
};

/// The changes of one commit.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What the script is given.
    pub(super) args: Vec<Vec<u8>>,
    /// Pointers that must be the device's before the record is written.
    pub(super) unique: Vec<Pointer>,
    /// The ids of the registration and of the answered request that remain: of several the last.
    registered: Option<Pointer>,
    applied: Option<Pointer>,
    /// Some of them are new for sure: they are reserved without asking the record first.
    pub(super) new: bool,
    /// The device is at its address now, whoever was there.
    pub(super) address_taken: bool,
    /// A session is, and others of the device may be.
    pub(super) session_moved: bool,
    /// Replicas are to have them, if that was asked for.
    pub(super) weighty: bool,
    /// The earliest time at which something in them is due; 0: never.
    pub(super) due: u64,
    /// What the commit holds, for fault points.
    pub(super) labels: Vec<&'static str>,
}

impl Changes {
    pub(super) fn of(changes: &[Change]) -> Result<Self, StoreError> {
        let mut all = Self::default();
        for change in changes {
            all.add(change)?;
        }
        let ids = [all.registered.take(), all.applied.take()];
        for pointer in ids.into_iter().flatten() {
            if !all.unique.contains(&pointer) {
                all.unique.push(pointer);
            }
        }
        Ok(all)
    }

    fn put(&mut self, letter: &str, args: impl IntoIterator<Item = Vec<u8>>) {
        self.args.push(letter.as_bytes().to_vec());
        self.args.extend(args);
    }

    fn due(&mut self, at: u64) {
        self.due = if self.due == 0 { at } else { at.min(self.due) };
    }

    fn registration_id(id: &str) -> Result<Option<Pointer>, StoreError> {
        if id.is_empty() {
            return Ok(None);
        }
        let id = RegistrationId::parse(id).ok_or(StoreError::Invalid { what: "a registration id" })?;
        Ok(Some(Pointer::Registration(id)))
    }

    fn add(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::Registration(registration) => {
                self.registered = Self::registration_id(&registration.id)?;
                let new = registration.registered_at == registration.updated_at;
                self.new |= new;
                self.labels.push(if new { "register" } else { "update" });
                self.weighty = true;
                let value = of_registration(registration);
                self.put("R", [registration.id.clone().into_bytes(), value]);
            }
            Change::RemoveRegistration => {
                self.registered = None;
                self.weighty = true;
                self.labels.push("deregister");
                self.put("r", []);
            }
            Change::Applied(applied) => {
                self.applied = Self::registration_id(&applied.registration)?;
                let until = applied_until(applied).to_be_bytes().to_vec();
                let id = applied.registration.clone().into_bytes();
                self.put("A", [id, until, of_applied(applied)]);
            }
            Change::Observation(observation) => {
                self.put("O", [observation.token.clone(), of_observation(observation)]);
            }
            Change::RemoveObservation(token) => self.put("o", [token.clone()]),
            Change::ClearObservations => self.put("Z", []),
            Change::Operation(operation) => {
                self.weighty = true;
                self.due(operation.due_at);
                let value = queued(operation.due_at, &**operation);
                self.put("Q", [operation.id.clone().into_bytes(), value]);
            }
            Change::RemoveOperation(id) => self.put("q", [id.clone().into_bytes()]),
            Change::Event(event) => {
                self.due(event.time);
                let value = queued(event.time, event);
                self.put("X", [event.id.clone().into_bytes(), value]);
            }
            Change::Address { peer, local, by_address } => {
                self.address_taken |= *by_address;
                let bytes = |address: Option<_>| address.map(address_bytes).unwrap_or_default();
                let peer = value::Header { peer: bytes(*peer), ..value::Header::default() };
                let local = value::Header { local: bytes(*local), ..value::Header::default() };
                let by_address = if *by_address { b"1" } else { b"0" };
                self.put("D", [peer.encode_to_vec(), local.encode_to_vec(), by_address.to_vec()]);
            }
            Change::PathNode(node) => {
                let node = value::Header { path_node: (**node).to_owned(), ..value::Header::default() };
                self.put("N", [node.encode_to_vec()]);
            }
            Change::Deadline(deadline) => {
                self.due(deadline.unwrap_or(0));
                self.put("L", [deadline.unwrap_or(0).to_be_bytes().to_vec()]);
            }
            Change::Session(session) => {
                self.unique.push(Pointer::Session(session.id));
                if session.is_live() && !session.cid.is_empty() {
                    self.unique.push(Pointer::Cid(session.cid.clone()));
                }
                self.new = true;
                self.session_moved |= session.peer.is_some();
                self.put("S", [session.association.as_bytes().to_vec(), session::encode(session)]);
            }
            Change::Promote { association, expires_at } => {
                self.session_moved = true;
                self.put("P", [association.as_bytes().to_vec(), expires_at.to_be_bytes().to_vec()]);
            }
            Change::CloseSession(association) => self.put("C", [association.as_bytes().to_vec()]),
            Change::RemoveSession(association) => self.put("c", [association.as_bytes().to_vec()]),
            Change::Marks { association, numbers, heard_at, expires_at, keep_answer } => {
                let Numbers { write_mark, read_floor, read_window } = *numbers;
                let numbers = [write_mark, read_floor, read_window, *heard_at, *expires_at];
                let numbers = numbers.map(u64::to_be_bytes).concat();
                let keep = if *keep_answer { b"1" } else { b"0" };
                self.put("M", [association.as_bytes().to_vec(), numbers, keep.to_vec()]);
            }
            Change::SessionAddress { association, peer, local } => {
                self.session_moved |= peer.is_some();
                let bytes = |address: Option<_>| address.map(address_bytes).unwrap_or_default();
                let peer = value::Session { peer: bytes(*peer), ..value::Session::default() };
                let local = value::Session { local: bytes(*local), ..value::Session::default() };
                let association = association.as_bytes().to_vec();
                self.put("E", [association, peer.encode_to_vec(), local.encode_to_vec()]);
            }
            Change::Activated => self.put("V", []),
            Change::Passive => self.put("W", []),
        }
        Ok(())
    }
}
