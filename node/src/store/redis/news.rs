//! The stream of what operators have changed, which every node follows.

use redis::{Cmd, Value};

use super::{Link, Shared, answer};
use crate::{
    identity::DeviceId,
    store::{Changed, Changes, Cursor, DocumentKey, StoreError},
};

/// Changes that are kept, about so many.
const KEPT: u32 = 100_000;
/// Changes of one answer.
const BATCH: u32 = 500;
/// Before the first change.
const BEGINNING: &str = "0-0";

fn key(shared: &Shared) -> Vec<u8> {
    shared.client.key("changes")
}

/// Adds a change that was made.
pub(super) async fn add(shared: &Shared, link: &Link, changed: &Changed) -> Result<(), StoreError> {
    let (field, what) = match changed {
        Changed::Device(device) => ("d", device.as_bytes().to_vec()),
        Changed::Document(key) => ("k", key.encode()?),
    };
    let mut add = Cmd::new();
    add.arg("XADD").arg(key(shared)).arg("MAXLEN").arg("~").arg(KEPT).arg("*").arg(field).arg(what);
    link.send(add).await.map(drop)
}

/// What comes behind `after`; without it, where the stream ends.
pub(super) async fn read(shared: &Shared, link: &Link, after: Option<Cursor>) -> Result<Changes, StoreError> {
    let range = |verb: &str, from: &str, to: &str, count: u32| {
        let mut range = Cmd::new();
        range.arg(verb).arg(key(shared)).arg(from).arg(to).arg("COUNT").arg(count);
        range
    };
    let Some(Cursor(after)) = after else {
        let last = entries(link.send(range("XREVRANGE", "+", "-", 1)).await?)?;
        let id = last.into_iter().next().map_or_else(|| BEGINNING.to_owned(), |(id, _)| id);
        return Ok(Changes { cursor: Some(Cursor(id)), ..Changes::default() });
    };
    let found = entries(link.send(range("XRANGE", &format!("({after}"), "+", BATCH)).await?)?;
    let Some((last, _)) = found.last() else {
        return Ok(Changes { cursor: Some(Cursor(after)), ..Changes::default() });
    };
    let cursor = Some(Cursor(last.clone()));
    let first = entries(link.send(range("XRANGE", "-", "+", 1)).await?)?;
    let gap = after != BEGINNING && first.first().is_some_and(|(id, _)| order(id) > order(&after));
    let changes = found.into_iter().filter_map(|(_, changed)| changed).collect();
    Ok(Changes { cursor, changes, gap })
}

fn order(id: &str) -> Option<(u64, u64)> {
    let (ms, number) = id.split_once('-')?;
    Some((ms.parse().ok()?, number.parse().ok()?))
}

/// The entries of a range: their ids, and what they say, unless a newer version wrote it.
fn entries(value: Value) -> Result<Vec<(String, Option<Changed>)>, StoreError> {
    let entries = answer::parts(value)?.into_iter().map(|entry| {
        let mut parts = answer::parts(entry)?.into_iter();
        let id = answer::bytes(parts.next().unwrap_or(Value::Nil))?;
        let fields = answer::list(parts.next().unwrap_or(Value::Nil))?;
        Ok((String::from_utf8_lossy(&id).into_owned(), changed(&fields)))
    });
    entries.collect()
}

fn changed(fields: &[Vec<u8>]) -> Option<Changed> {
    let [field, what, ..] = fields else { return None };
    match field.as_slice() {
        b"d" => what.as_slice().try_into().ok().map(|id| Changed::Device(DeviceId::from_bytes(id))),
        b"k" => DocumentKey::decode(what).map(Changed::Document),
        _ => None,
    }
}
