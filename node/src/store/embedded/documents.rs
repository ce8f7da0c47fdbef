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
    let key = key.encode()?;
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
    let key = key.encode()?;
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

/// Where a kind's keys begin and end.
pub(super) fn range(kind: DocumentKind) -> (&'static [u8], &'static [u8]) {
    match kind {
        DocumentKind::Profile => (b"p", b"q"),
        DocumentKind::Model => (b"m", b"n"),
    }
}
