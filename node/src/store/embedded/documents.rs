//! Profiles and models.

use prost::Message;

use super::{device::next_revision, engine::Table, txn::Txn};
use crate::store::{DocumentKey, DocumentKind, Expect, StoreError, value};

const VERSION: u8 = 1;

pub(super) fn put(
    txn: &mut Txn<'_>,
    key: &DocumentKey,
    body: Vec<u8>,
    expect: Expect,
) -> Result<value::Document, StoreError> {
    let key = encode_key(key)?;
    let old = txn.get(Table::Document, &key)?.map(|bytes| decode(&bytes)).transpose()?;
    let found = old.as_ref().map_or(0, |old| old.revision);
    expect.check(found)?;
    let created_at = old.map_or(txn.now, |old| old.created_at);
    let document =
        value::Document { body, revision: next_revision(found, txn.now), created_at, updated_at: txn.now };
    let mut bytes = Vec::with_capacity(1 + document.encoded_len());
    bytes.push(VERSION);
    document.encode(&mut bytes).expect("invariant: a Vec grows");
    txn.put(Table::Document, key, bytes);
    Ok(document)
}

pub(super) fn remove(txn: &mut Txn<'_>, key: &DocumentKey, expect: Expect) -> Result<(), StoreError> {
    let key = encode_key(key)?;
    let old = txn.get(Table::Document, &key)?.map(|bytes| decode(&bytes)).transpose()?;
    let found = old.map_or(0, |old| old.revision);
    expect.check(found)?;
    if found != 0 {
        txn.remove(Table::Document, key);
    }
    Ok(())
}

/// Version, then the message.
pub(super) fn decode(bytes: &[u8]) -> Result<value::Document, StoreError> {
    let version = bytes.first().copied().unwrap_or(0);
    let message = bytes.strip_prefix(&[VERSION]).and_then(|rest| value::Document::decode(rest).ok());
    message.ok_or(StoreError::Unreadable { what: "document", version })
}

/// A letter for the kind; a profile's name, or profile, 0, object (2 bytes big-endian), version. Keys sort as
/// [`DocumentKey`] does.
pub(super) fn encode_key(key: &DocumentKey) -> Result<Vec<u8>, StoreError> {
    let named = |name: &str| {
        if name.contains('\0') {
            Err(StoreError::Invalid { what: "a name with a zero byte" })
        } else {
            Ok(())
        }
    };
    match key {
        DocumentKey::Profile(name) if name.is_empty() => Err(StoreError::Invalid { what: "an empty name" }),
        DocumentKey::Profile(name) => named(name).map(|()| [b"p", name.as_bytes()].concat()),
        DocumentKey::Model { profile, object, version } => {
            named(profile)?;
            Ok([b"m", profile.as_bytes(), &[0], &object.to_be_bytes(), version.as_bytes()].concat())
        }
    }
}

pub(super) fn decode_key(bytes: &[u8]) -> Option<DocumentKey> {
    let (letter, rest) = bytes.split_first()?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    match letter {
        b'p' => Some(DocumentKey::Profile(text(rest)?)),
        b'm' => {
            let zero = rest.iter().position(|byte| *byte == 0)?;
            let (object, version) = rest[zero + 1..].split_first_chunk::<2>()?;
            let object = u16::from_be_bytes(*object);
            Some(DocumentKey::Model { profile: text(&rest[..zero])?, object, version: text(version)? })
        }
        _ => None,
    }
}

/// Where a kind's keys begin and end.
pub(super) fn range(kind: DocumentKind) -> (&'static [u8], &'static [u8]) {
    match kind {
        DocumentKind::Profile => (b"p", b"q"),
        DocumentKind::Model => (b"m", b"n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_names_and_come_back() {
        let model = |profile: &str, object, version: &str| DocumentKey::Model {
            profile: profile.into(),
            object,
            version: version.into(),
        };
        let keys = [
            DocumentKey::Profile("a".into()),
            DocumentKey::Profile("ab".into()),
            model("", 3, "1.0"),
            model("", 3, "1.1"),
            model("", 256, "1.0"),
            model("a", 1, "1.0"),
            model("ab", 0, "1.0"),
        ];
        for pair in keys.windows(2) {
            assert!(pair[0] < pair[1]);
            if !matches!((&pair[0], &pair[1]), (DocumentKey::Profile(_), DocumentKey::Model { .. })) {
                assert!(encode_key(&pair[0]).unwrap() < encode_key(&pair[1]).unwrap(), "{pair:?}");
            }
        }
        for key in keys {
            assert_eq!(decode_key(&encode_key(&key).unwrap()), Some(key));
        }
    }
}
