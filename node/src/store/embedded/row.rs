//! A device's row: its record as the embedded store keeps it, all but operations and events.
//!
//! ```text
//! version (1) · length of the header · header · due · sweep · operations · events · queue due
//! then fields: kind (1) · length of the key · key · length of the value · value (prost)
//! ```
//! Lengths, times and counters are varints. Fields are not decoded to change another one.

use prost::{
    Message,
    encoding::{decode_varint, encode_varint},
};

use crate::{
    identity::AssociationId,
    store::{Header, Session, StoreError, header, session, value},
};

const VERSION: u8 = 1;

/// What a field is, in the letters of a Redis record's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The device's document.
    Document,
    /// The registration.
    Registration,
    /// The last applied request.
    Applied,
    /// An observation, by token.
    Observation,
    /// A DTLS session, by association.
    Session,
}

impl Kind {
    fn letter(self) -> u8 {
        match self {
            Self::Document => b'd',
            Self::Registration => b'r',
            Self::Applied => b'a',
            Self::Observation => b'o',
            Self::Session => b'c',
        }
    }

    fn of(letter: u8) -> Option<Self> {
        [Self::Document, Self::Registration, Self::Applied, Self::Observation, Self::Session]
            .into_iter()
            .find(|kind| kind.letter() == letter)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    kind: Kind,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// A row, taken apart as far as a change needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Row {
    pub(super) header: Header,
    /// A tombstone: the device is gone, and writes of its former owners are refused.
    pub(super) removed: bool,
    /// Where the due index has it; 0: nowhere.
    pub(super) due: u64,
    /// When the store clears away its tombstones; 0: it has none.
    pub(super) sweep: u64,
    /// How many operations and events the queue table has, and the earliest time at which one is due (0: none).
    pub(super) operations: u64,
    pub(super) events: u64,
    pub(super) queue_due: u64,
    fields: Vec<Field>,
}

impl Row {
    pub(super) fn encode(&self) -> Vec<u8> {
        let header = header::encode(&self.header, self.removed);
        let size: usize = self.fields.iter().map(|field| field.key.len() + field.value.len() + 5).sum();
        let mut bytes = Vec::with_capacity(header.len() + size + 24);
        bytes.push(VERSION);
        put_bytes(&mut bytes, &header);
        for number in [self.due, self.sweep, self.operations, self.events, self.queue_due] {
            encode_varint(number, &mut bytes);
        }
        for field in &self.fields {
            bytes.push(field.kind.letter());
            put_bytes(&mut bytes, &field.key);
            put_bytes(&mut bytes, &field.value);
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let unreadable =
            || StoreError::Unreadable { what: "device", version: bytes.first().copied().unwrap_or(0) };
        let mut rest = bytes.strip_prefix(&[VERSION]).ok_or_else(unreadable)?;
        let (header, removed) = header::decode(take_bytes(&mut rest).ok_or_else(unreadable)?)?;
        let mut number = || decode_varint(&mut rest).map_err(|_| unreadable());
        let (due, sweep, operations, events, queue_due) =
            (number()?, number()?, number()?, number()?, number()?);
        let mut fields = Vec::new();
        while let Some((letter, tail)) = rest.split_first() {
            rest = tail;
            fields.push(take_field(*letter, &mut rest).ok_or_else(unreadable)?);
        }
        Ok(Self { header, removed, due, sweep, operations, events, queue_due, fields })
    }

    /// Whether anything of the device lies in the queue table.
    pub(super) fn has_queue(&self) -> bool {
        self.operations + self.events > 0
    }

    pub(super) fn has(&self, kind: Kind) -> bool {
        self.fields.iter().any(|field| field.kind == kind)
    }

    /// Decodes the one field of a kind.
    pub(super) fn read<M: Message + Default>(&self, kind: Kind) -> Result<Option<M>, StoreError> {
        self.read_all(kind).next().transpose()
    }

    /// Decodes all fields of a kind, in the order in which they were first written.
    pub(super) fn read_all<M: Message + Default>(
        &self,
        kind: Kind,
    ) -> impl Iterator<Item = Result<M, StoreError>> {
        self.fields.iter().filter(move |field| field.kind == kind).map(move |field| {
            let what = match kind {
                Kind::Document => "device document",
                Kind::Registration => "registration",
                Kind::Applied => "applied request",
                Kind::Observation => "observation",
                Kind::Session => "session",
            };
            M::decode(field.value.as_slice()).map_err(|_| StoreError::Unreadable { what, version: VERSION })
        })
    }

    pub(super) fn put(&mut self, kind: Kind, key: &[u8], message: &impl Message) {
        self.put_value(kind, key, message.encode_to_vec());
    }

    fn put_value(&mut self, kind: Kind, key: &[u8], value: Vec<u8>) {
        match self.fields.iter_mut().find(|field| field.kind == kind && field.key == key) {
            Some(field) => field.value = value,
            None => self.fields.push(Field { kind, key: key.to_vec(), value }),
        }
    }

    pub(super) fn remove(&mut self, kind: Kind, key: &[u8]) {
        self.fields.retain(|field| field.kind != kind || field.key != key);
    }

    pub(super) fn clear(&mut self, kind: Kind) {
        self.fields.retain(|field| field.kind != kind);
    }

    /// All sessions, in the order in which they were first written.
    pub(super) fn sessions(&self) -> Result<Vec<Session>, StoreError> {
        let fields = self.fields.iter().filter(|field| field.kind == Kind::Session);
        fields.map(|field| session::decode(&field.key, &field.value)).collect()
    }

    pub(super) fn session(&self, association: AssociationId) -> Result<Option<Session>, StoreError> {
        let key = association.as_bytes().as_slice();
        let field = self.fields.iter().find(|field| field.kind == Kind::Session && field.key == key);
        field.map(|field| session::decode(&field.key, &field.value)).transpose()
    }

    pub(super) fn put_session(&mut self, session: &Session) {
        self.put_value(Kind::Session, session.association.as_bytes(), session::encode(session));
    }

    /// The provisioned document.
    pub(super) fn document(&self) -> Result<Option<value::Device>, StoreError> {
        self.read(Kind::Document)
    }
}

fn put_bytes(bytes: &mut Vec<u8>, part: &[u8]) {
    encode_varint(part.len() as u64, bytes);
    bytes.extend(part);
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(rest).ok()?).ok()?;
    let (part, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(part)
}

fn take_field(letter: u8, rest: &mut &[u8]) -> Option<Field> {
    let kind = Kind::of(letter)?;
    let key = take_bytes(rest)?.to_vec();
    let value = take_bytes(rest)?.to_vec();
    Some(Field { kind, key, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Row {
        let mut row = Row { due: 300, sweep: 0, operations: 1, events: 2, queue_due: 5, ..Row::default() };
        row.header.term = 9;
        row.put(
            Kind::Registration,
            b"",
            &value::Registration { endpoint: "ep".into(), ..Default::default() },
        );
        row.put(
            Kind::Observation,
            b"\x01\x02",
            &value::Observation { token: vec![1, 2], ..Default::default() },
        );
        row
    }

    /// The bytes of version 1.
    #[test]
    fn version_1_stays_as_it_is() {
        let golden = concat!(
            "01",
            "1f",
            "0100000000000000000900000000",
            "0000000000000000",
            "0000000000000000",
            "00",
            "ac02",
            "00",
            "01",
            "02",
            "05",
            "72",
            "00",
            "04",
            "0a026570",
            "6f",
            "02",
            "0102",
            "04",
            "0a020102"
        );
        assert_eq!(data_encoding::HEXLOWER.encode(&full().encode()), golden);
        assert_eq!(Row::decode(&full().encode()), Ok(full()));
    }

    #[test]
    fn a_row_cut_anywhere_is_unreadable_or_shorter_but_never_a_panic() {
        let bytes = full().encode();
        for end in 0..bytes.len() {
            assert_ne!(Row::decode(&bytes[..end]), Ok(full()), "{end}");
        }
    }

    #[test]
    fn a_field_is_replaced_in_its_place_and_removed_alone() {
        let mut row = full();
        row.put(Kind::Observation, b"\x03", &value::Observation::default());
        row.put(
            Kind::Observation,
            b"\x01\x02",
            &value::Observation { composite: true, ..Default::default() },
        );
        let seen: Vec<value::Observation> = row.read_all(Kind::Observation).map(Result::unwrap).collect();
        assert_eq!(seen.iter().map(|observation| observation.composite).collect::<Vec<_>>(), [true, false]);
        row.remove(Kind::Observation, b"\x03");
        assert_eq!(row.read_all::<value::Observation>(Kind::Observation).count(), 1);
        row.clear(Kind::Observation);
        assert!(!row.has(Kind::Observation) && row.has(Kind::Registration));
    }
}
