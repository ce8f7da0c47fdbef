//! What other nodes have to tell a run of a node when no link leads there: a list for each run.

use redis::{Cmd, Value};

use super::{Link, Shared, answer};
use crate::{
    identity::{DeviceId, Owner},
    store::StoreError,
};

/// Word that is kept for one run at most; what is older, the fence tells it.
const KEPT: i32 = 100_000;
/// Seconds for which it is kept: a run that does not take it for so long is dead.
const KEPT_FOR: u32 = 300;
/// Taken at once.
const BATCH: u32 = 500;

fn key(shared: &Shared, owner: &Owner) -> Vec<u8> {
    shared.client.key(format!("inbox:{}:{:016x}", owner.node, owner.boot))
}

/// Leaves word that this device was claimed from that run.
pub(super) async fn put(
    shared: &Shared,
    link: &Link,
    owner: &Owner,
    device: DeviceId,
) -> Result<(), StoreError> {
    let key = key(shared, owner);
    let (mut push, mut expire, mut trim) = (Cmd::new(), Cmd::new(), Cmd::new());
    push.arg("RPUSH").arg(&key).arg(device.as_bytes());
    expire.arg("EXPIRE").arg(&key).arg(KEPT_FOR);
    trim.arg("LTRIM").arg(&key).arg(-KEPT).arg(-1);
    for command in [push, expire, trim] {
        link.send(command).await?;
    }
    Ok(())
}

/// Takes what was left for a run.
pub(super) async fn take(shared: &Shared, link: &Link, owner: &Owner) -> Result<Vec<DeviceId>, StoreError> {
    let mut pop = Cmd::new();
    pop.arg("LPOP").arg(key(shared, owner)).arg(BATCH);
    let found = match link.send(pop).await? {
        Value::Nil => Vec::new(),
        found => answer::list(found)?,
    };
    let device = |bytes: &Vec<u8>| Some(DeviceId::from_bytes(bytes.as_slice().try_into().ok()?));
    Ok(found.iter().filter_map(device).collect())
}
