//! Lanes of the one process that a folder has at a time: lane = shard.
//!
//! What counts is the highest second that any process may have opened: the next process begins above it, and above its
//! own clock. So a clock that was set back, by whatever span, never has a second opened twice.

use super::{engine::Table, txn::Txn};
use crate::{
    identity::Owner,
    store::{LANES, Lane, StoreError, lane::AHEAD},
};

/// Where the lanes lie in [`Table::Meta`].
const LANES_KEY: &[u8] = b"lanes";
const VERSION: u8 = 1;

/// Version (1), the last second that may be opened (4), the holder's boot id (8), its node name.
struct Held {
    until: u32,
    boot: u64,
    node: Vec<u8>,
}

pub(super) fn take(txn: &mut Txn<'_>, owner: &Owner, count: u16) -> Result<Vec<Lane>, StoreError> {
    if count > LANES {
        return Err(StoreError::Invalid { what: "more lanes than there are" });
    }
    let spent = StoreError::Invalid { what: "a lane after the year 2106" };
    let free = match read(txn)? {
        Some(held) => held.until.checked_add(1).ok_or(spent.clone())?,
        None => 0,
    };
    let from = u32::try_from(txn.now / 1000).map_err(|_| spent)?.max(free);
    let until = from.saturating_add(AHEAD);
    write(txn, owner, until);
    Ok((0..count).map(|number| Lane { number, from, until }).collect())
}

pub(super) fn extend(txn: &mut Txn<'_>, owner: &Owner, second: u32) -> Result<u32, StoreError> {
    let held = read(txn)?.ok_or(StoreError::LanesLost)?;
    if held.boot != owner.boot || held.node != owner.node.as_bytes() {
        return Err(StoreError::LanesLost);
    }
    let until = held.until.max(second.saturating_add(AHEAD));
    write(txn, owner, until);
    Ok(until)
}

fn read(txn: &Txn<'_>) -> Result<Option<Held>, StoreError> {
    let Some(bytes) = txn.get(Table::Meta, LANES_KEY)? else { return Ok(None) };
    let version = bytes.first().copied().unwrap_or(0);
    let held = parse(&bytes).filter(|_| version == VERSION);
    held.map(Some).ok_or(StoreError::Unreadable { what: "lane", version })
}

fn parse(bytes: &[u8]) -> Option<Held> {
    let (until, rest) = bytes.get(1..)?.split_first_chunk::<4>()?;
    let (boot, node) = rest.split_first_chunk::<8>()?;
    Some(Held { until: u32::from_be_bytes(*until), boot: u64::from_be_bytes(*boot), node: node.to_vec() })
}

fn write(txn: &mut Txn<'_>, owner: &Owner, until: u32) {
    let mut bytes = vec![VERSION];
    bytes.extend(until.to_be_bytes());
    bytes.extend(owner.boot.to_be_bytes());
    bytes.extend(owner.node.as_bytes());
    txn.put(Table::Meta, LANES_KEY.to_vec(), bytes);
}
