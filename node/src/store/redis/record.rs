//! A device's record as the fields of a hash, and back.
//!
//! ```text
//! h                header (store/header.rs)
//! s                what follows from the other fields, for scripts (lua/record.lua)
//! d                version (1), revision, created at, updated at (8 each), Device
//! r, a             version (2), length and text of the registration's id, Registration or Applied without it
//! c:<association>  session (store/session.rs)
//! o:<token>        version (2), Observation without its token
//! q:<id>, x:<id>   version (1), due at (8), StoredOperation or StoredEvent
//! ```

use prost::Message;
use redis::Value;

use crate::store::{APPLIED_FOR_MS, DeviceRecord, Header, StoreError, header, session, value};

const VERSION: u8 = 1;
/// Of `r`, `a` and `o`: their messages leave out what the field says before them or in its name. In version 1 they had it.
const LEAN: u8 = 2;
/// Where the sessions begin in the field `s`.
const STATE: usize = 40;

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Stored {
    pub(super) record: DeviceRecord,
    /// A tombstone: the device is gone, and writes of its former owners are refused.
    pub(super) removed: bool,
    /// When something is to be done; 0: never.
    pub(super) due: u64,
    /// Until when nothing but the header is kept; 0: there is more.
    bare: u64,
}

impl Stored {
    /// Reads a hash; `None` if there is none. Observations by token, sessions by the time at which they were established.
    pub(super) fn read(fields: Fields) -> Result<Option<Self>, StoreError> {
        if fields.0.is_empty() {
            return Ok(None);
        }
        let mut stored = Self::default();
        let record = &mut stored.record;
        for (name, value) in &fields.0 {
            match (name.as_slice(), name.get(2..)) {
                (b"h", _) => (record.header, stored.removed) = header::decode(value)?,
                (b"s", _) => (stored.due, stored.bare) = read_state(value)?,
                (b"d", _) => record.document = Some(document(value)?),
                (b"r", _) => record.registration = Some(registration(value)?),
                (b"a", _) => record.applied = Some(applied(value)?),
                ([b'c', b':', ..], Some(key)) => record.sessions.push(session::decode(key, value)?),
                ([b'o', b':', ..], Some(token)) => record.observations.push(observation(token, value)?),
                ([b'q', b':', ..], _) => record.operations.push(behind(VERSION, 9, value, "operation")?),
                ([b'x', b':', ..], _) => record.events.push(behind(VERSION, 9, value, "event")?),
                _ => return Err(StoreError::Unreadable { what: "field", version: 0 }),
            }
        }
        record.sessions.sort_by_key(|session| (session.established_at, *session.association.as_bytes()));
        record.observations.sort_by(|a, b| a.token.cmp(&b.token));
        record.operations.sort_by(|a, b| (a.order, &a.id).cmp(&(b.order, &b.id)));
        record.events.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        Ok(Some(stored))
    }

    /// The record without what is over by now, as a script would leave it; `None` if nothing remains.
    pub(super) fn at(mut self, now: u64) -> Option<Self> {
        let was_bare = self.is_bare();
        let record = &mut self.record;
        record.sessions.retain(|session| !session.has_expired(now));
        if record.registration.is_none() && record.applied.as_ref().is_some_and(|it| applied_until(it) <= now)
        {
            record.applied = None;
        }
        let over = self.is_bare() && (!was_bare || self.bare <= now);
        (!over).then_some(self)
    }

    /// The class by which lists have it.
    pub(super) fn class(&self) -> Option<u8> {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let class = bit(self.record.document.is_some(), 1) | bit(self.record.registration.is_some(), 2);
        (!self.removed).then_some(class)
    }

    fn is_bare(&self) -> bool {
        let DeviceRecord {
            header: _,
            document,
            registration,
            applied,
            sessions,
            observations: _,
            operations,
            events,
        } = &self.record;
        let lists = sessions.is_empty() && operations.is_empty() && events.is_empty();
        lists && document.is_none() && registration.is_none() && applied.is_none()
    }
}

/// Until when the answer of an applied request counts.
pub(super) fn applied_until(applied: &value::Applied) -> u64 {
    applied.time.saturating_add(APPLIED_FOR_MS).max(1)
}

/// Names and values of a hash.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(Vec<u8>, Vec<u8>)>);

impl Fields {
    /// From the answer to HGETALL.
    pub(super) fn of(answer: Value) -> Result<Self, StoreError> {
        let flat: Vec<Vec<u8>> = super::answer::list(answer)?;
        let pairs = flat.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        Ok(Self(pairs.collect()))
    }
}

/// The due time in the field `s`.
pub(super) fn read_due(state: &[u8]) -> Result<u64, StoreError> {
    Ok(read_state(state)?.0)
}

fn read_state(bytes: &[u8]) -> Result<(u64, u64), StoreError> {
    let version = bytes.first().copied().unwrap_or(0);
    if version != VERSION || bytes.len() < STATE {
        return Err(StoreError::Unreadable { what: "device", version });
    }
    let number = |at: usize| bytes[at..at + 6].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Ok((number(2), number(8)))
}

/// A document that begins with its revision and times, which its message leaves to them.
pub(super) fn document(bytes: &[u8]) -> Result<value::Device, StoreError> {
    let mut document: value::Device = behind(VERSION, 25, bytes, "device document")?;
    let number =
        |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("invariant: eight bytes"));
    (document.revision, document.created_at, document.updated_at) = (number(1), number(9), number(17));
    Ok(document)
}

/// A registration as its field has it.
pub(super) fn of_registration(registration: &value::Registration) -> Vec<u8> {
    with_id(&registration.id, &value::Registration { id: String::new(), ..registration.clone() })
}

fn registration(bytes: &[u8]) -> Result<value::Registration, StoreError> {
    let (id, message) = behind_id(bytes, "registration")?;
    Ok(value::Registration { id, ..message })
}

/// An applied request as its field has it.
pub(super) fn of_applied(applied: &value::Applied) -> Vec<u8> {
    with_id(&applied.registration, &value::Applied { registration: String::new(), ..applied.clone() })
}

fn applied(bytes: &[u8]) -> Result<value::Applied, StoreError> {
    let (registration, message) = behind_id(bytes, "applied request")?;
    Ok(value::Applied { registration, ..message })
}

/// An observation as its field has it.
pub(super) fn of_observation(observation: &value::Observation) -> Vec<u8> {
    let message = value::Observation { token: Vec::new(), ..observation.clone() };
    encode(vec![LEAN], &message)
}

fn observation(token: &[u8], bytes: &[u8]) -> Result<value::Observation, StoreError> {
    let message: value::Observation = behind(LEAN, 1, bytes, "observation")?;
    Ok(value::Observation { token: token.to_vec(), ..message })
}

fn with_id(id: &str, message: &impl Message) -> Vec<u8> {
    let id = id.as_bytes();
    let length = u8::try_from(id.len()).expect("invariant: ids of registrations were read as such");
    encode([&[LEAN, length], id].concat(), message)
}

fn behind_id<M: Message + Default>(bytes: &[u8], what: &'static str) -> Result<(String, M), StoreError> {
    let end = 2 + usize::from(bytes.get(1).copied().unwrap_or(0));
    let message = behind(LEAN, end, bytes, what)?;
    let id = std::str::from_utf8(&bytes[2..end]);
    let id = id.map_err(|_| StoreError::Unreadable { what, version: bytes[0] })?;
    Ok((id.to_owned(), message))
}

/// What is queued: version, the time at which it is due, the message.
pub(super) fn queued(due_at: u64, message: &impl Message) -> Vec<u8> {
    encode([&[VERSION][..], &due_at.to_be_bytes()].concat(), message)
}

fn encode(mut bytes: Vec<u8>, message: &impl Message) -> Vec<u8> {
    message.encode(&mut bytes).expect("invariant: a Vec grows");
    bytes
}

/// Decodes what lies behind the first bytes, in this version or an earlier one.
fn behind<M: Message + Default>(
    newest: u8,
    skip: usize,
    bytes: &[u8],
    what: &'static str,
) -> Result<M, StoreError> {
    let version = bytes.first().copied().unwrap_or(0);
    let rest = bytes.get(skip..).filter(|_| (1..=newest).contains(&version));
    let message = rest.and_then(|rest| M::decode(rest).ok());
    message.ok_or(StoreError::Unreadable { what, version })
}

/// A header as a script answers it; `None` for none.
pub(super) fn read_header(bytes: &[u8]) -> Result<Option<Header>, StoreError> {
    if bytes.len() < 2 { Ok(None) } else { header::decode(bytes).map(|(header, _)| Some(header)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &[u8], value: &[u8]) -> Result<DeviceRecord, StoreError> {
        let fields = Fields(vec![(name.to_vec(), value.to_vec())]);
        Stored::read(fields).map(|stored| stored.unwrap_or_default().record)
    }

    /// What the older version had in the message is the same as what the field says.
    #[test]
    fn fields_of_both_versions_are_read_and_newer_ones_are_not() {
        let id = "0123456789ab".to_owned();
        let registration = value::Registration { id: id.clone(), lifetime: 5, ..Default::default() };
        let applied = value::Applied { registration: id.clone(), code: 0x41, ..Default::default() };
        let observation = value::Observation { token: vec![7; 8], state: 1, ..Default::default() };
        let older = |head: &[u8], message: Vec<u8>| [head, &message].concat();
        let head = [b"\x01\x0c", id.as_bytes()].concat();
        let of_field = |registration, applied, observation: Option<_>| DeviceRecord {
            registration,
            applied,
            observations: observation.into_iter().collect(),
            ..DeviceRecord::default()
        };
        for (name, newer, older, expected) in [
            (
                &b"r"[..],
                of_registration(&registration),
                older(&head, registration.encode_to_vec()),
                of_field(Some(registration.clone()), None, None),
            ),
            (
                b"a",
                of_applied(&applied),
                older(&head, applied.encode_to_vec()),
                of_field(None, Some(applied.clone()), None),
            ),
            (
                b"o:\x07\x07\x07\x07\x07\x07\x07\x07",
                of_observation(&observation),
                older(&[1], observation.encode_to_vec()),
                of_field(None, None, Some(observation.clone())),
            ),
        ] {
            assert!(newer.len() < older.len());
            for value in [&newer, &older] {
                assert_eq!(read(name, value).as_ref(), Ok(&expected));
            }
            let unknown = [&[3], &newer[1..]].concat();
            assert!(matches!(read(name, &unknown), Err(StoreError::Unreadable { version: 3, .. })));
        }
    }
}
