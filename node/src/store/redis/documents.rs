//! Profiles and models: each a key, and a sorted set of the keys of each kind.
//!
//! A key is in its set before it is there and until after it is gone; a set's member without its key is passed over.

use std::sync::LazyLock;

use data_encoding::BASE32_NOPAD;
use futures_util::future::try_join_all;
use redis::Cmd;

use super::{Client, Link, Script, Shared, answer, device::expected};
use crate::store::{
    DocumentKey, DocumentKind, Expect, Page, PageRequest, StoreError, page::PAGE_LIMIT, value,
};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(&[include_str!("lua/document.lua")]));

const VERSION: u8 = 1;

fn name(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::Profile => "profile",
        DocumentKind::Model => "model",
    }
}

/// The key of a document, its member in its set, and the key of that.
struct Place {
    key: Vec<u8>,
    member: Vec<u8>,
    set: Vec<u8>,
}

fn place(client: &Client, key: &DocumentKey) -> Result<Place, StoreError> {
    let member = key.encode()?;
    let kind = name(key.kind());
    let key = client.key([kind.as_bytes(), b":", &member[1..]].concat());
    Ok(Place { key, member, set: client.key(format!("{kind}s")) })
}

pub(super) async fn read(
    client: &Client,
    link: &Link,
    key: &DocumentKey,
) -> Result<Option<value::Document>, StoreError> {
    let mut get = Cmd::new();
    get.arg("GET").arg(place(client, key)?.key);
    answer::maybe(link.send(get).await?)?.map(|bytes| decode(&bytes)).transpose()
}

pub(super) async fn put(
    shared: &Shared,
    link: &Link,
    key: &DocumentKey,
    body: &[u8],
    expect: Expect,
) -> Result<value::Document, StoreError> {
    let place = place(&shared.client, key)?;
    let mut add = Cmd::new();
    add.arg("ZADD").arg(&place.set).arg(0).arg(&place.member);
    link.send(add).await?;
    let (now, expect) = (shared.now_arg(), expected(expect));
    let args: [&[u8]; 4] = [&now, b"put", &expect, body];
    let mut reply = answer::verdict(link.script(&SCRIPT, &place.key, &args).await?)?.done()?;
    let document = decode(&reply.bytes()?)?;
    link.wait_for_replicas(&shared.client, &place.key).await?;
    Ok(document)
}

/// Answers when that was, in the place of a revision.
pub(super) async fn remove(
    shared: &Shared,
    link: &Link,
    key: &DocumentKey,
    expect: Expect,
) -> Result<u64, StoreError> {
    let place = place(&shared.client, key)?;
    let (now, expect) = (shared.now_arg(), expected(expect));
    let args: [&[u8]; 4] = [&now, b"remove", &expect, b""];
    let removed = answer::verdict(link.script(&SCRIPT, &place.key, &args).await?)?.done()?.time()?;
    let mut remove = Cmd::new();
    remove.arg("ZREM").arg(&place.set).arg(&place.member);
    link.send(remove).await?;
    // Somebody may have made it anew in between.
    let mut exists = Cmd::new();
    exists.arg("EXISTS").arg(&place.key);
    if answer::number(link.send(exists).await?)? != 0 {
        let mut add = Cmd::new();
        add.arg("ZADD").arg(&place.set).arg(0).arg(&place.member);
        link.send(add).await?;
    }
    Ok(removed)
}

pub(super) async fn list(
    client: &Client,
    link: &Link,
    kind: DocumentKind,
    page: &PageRequest,
) -> Result<Page<(DocumentKey, value::Document)>, StoreError> {
    let limit = page.limit.clamp(1, PAGE_LIMIT);
    let from = match &page.token {
        None => b"-".to_vec(),
        Some(token) => {
            let member = BASE32_NOPAD.decode(token.as_bytes()).map_err(|_| StoreError::BadPageToken)?;
            let of_kind = DocumentKey::decode(&member).is_some_and(|key| key.kind() == kind);
            if !of_kind {
                return Err(StoreError::BadPageToken);
            }
            [b"(", member.as_slice()].concat()
        }
    };
    let mut range = Cmd::new();
    range.arg("ZRANGEBYLEX").arg(client.key(format!("{}s", name(kind)))).arg(from).arg("+");
    range.arg("LIMIT").arg(0).arg(limit + 1);
    let mut members = answer::list(link.send(range).await?)?;
    let more = members.len() > limit;
    members.truncate(limit);
    let next = members.last().filter(|_| more).map(|member| BASE32_NOPAD.encode(member));
    let keys = members.iter().map(|member| {
        DocumentKey::decode(member).ok_or(StoreError::Unreadable { what: "document key", version: 0 })
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let documents = try_join_all(keys.iter().map(|key| read(client, link, key))).await?;
    let items = keys.into_iter().zip(documents).filter_map(|(key, document)| Some((key, document?)));
    Ok(Page { items: items.collect(), next })
}

fn decode(bytes: &[u8]) -> Result<value::Document, StoreError> {
    let version = bytes.first().copied().unwrap_or(0);
    let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let document = || {
        let (revision, created_at, updated_at) = (number(1)?, number(9)?, number(17)?);
        Some(value::Document { body: bytes[25..].to_vec(), revision, created_at, updated_at })
    };
    let document = if version == VERSION { document() } else { None };
    document.ok_or(StoreError::Unreadable { what: "document", version })
}
