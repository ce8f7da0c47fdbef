//! Lanes of the nonce space, which all nodes of a Redis share: a shard has one from its start to its end.
//!
//! A lane is granted for half a minute at a time and must have rested for a minute before another takes it, who begins above
//! all seconds that were granted before. Redis may forget a grant: then its holder writes it anew when it extends it.

use std::sync::LazyLock;

use super::{Link, Script, Shared, answer};
use crate::{
    identity::Owner,
    store::{LANES, Lane, StoreError, lane::SHARED_AHEAD},
};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(&[include_str!("lua/lanes.lua")]));

async fn run(
    shared: &Shared,
    link: &Link,
    owner: &Owner,
    verb: &[u8],
    args: &[Vec<u8>],
) -> Result<answer::Reply, StoreError> {
    let (now, ahead) = (shared.now_arg(), SHARED_AHEAD.to_string());
    let boot = owner.boot.to_be_bytes();
    let mut all: Vec<&[u8]> = vec![&now, owner.node.as_bytes(), &boot, ahead.as_bytes(), verb];
    all.extend(args.iter().map(Vec::as_slice));
    let key = shared.client.key("lane");
    answer::verdict(link.script(&SCRIPT, &key, &all).await?)?.done()
}

/// Takes lanes, and remembers that they are held.
pub(super) async fn take(
    shared: &Shared,
    link: &Link,
    owner: &Owner,
    count: u16,
) -> Result<Vec<Lane>, StoreError> {
    if count > LANES {
        return Err(StoreError::Invalid { what: "more lanes than there are" });
    }
    let mut reply = run(shared, link, owner, b"take", &[count.to_string().into_bytes()]).await?;
    let odd = || StoreError::Unreadable { what: "lane", version: 0 };
    let mut lanes = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let mut second = || reply.time().and_then(|second| u32::try_from(second).map_err(|_| odd()));
        let number = u16::try_from(second()?).map_err(|_| odd())?;
        lanes.push(Lane { number, from: second()?, until: second()? });
    }
    shared.held().extend(lanes.iter().map(|lane| (owner.clone(), lane.number, lane.until)));
    Ok(lanes)
}

/// Extends the owner's lanes, also those that Redis has forgotten.
pub(super) async fn extend(
    shared: &Shared,
    link: &Link,
    owner: &Owner,
    second: u32,
) -> Result<u32, StoreError> {
    let mut args = vec![second];
    let of_owner = |lane: &&(Owner, u16, u32)| lane.0 == *owner;
    args.extend(shared.held().iter().filter(of_owner).flat_map(|lane| [lane.1.into(), lane.2]));
    let args: Vec<Vec<u8>> = args.into_iter().map(|number| number.to_string().into_bytes()).collect();
    let until = run(shared, link, owner, b"extend", &args).await?.time()?;
    let until = u32::try_from(until).map_err(|_| StoreError::Unreadable { what: "lane", version: 0 })?;
    shared.held().iter_mut().filter(|lane| lane.0 == *owner).for_each(|lane| lane.2 = lane.2.max(until));
    Ok(until)
}
