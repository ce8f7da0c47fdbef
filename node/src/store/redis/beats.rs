//! Heartbeats of the nodes: one hash, which one script writes and reads.
//!
//! The same script notes which process of which history the Redis is, so that all nodes hear of a failover or a restart at the
//! same time, and when. In a Redis Cluster it is told the processes of all masters, for each may be replaced alone. A time in which nobody could beat shortens nobody's life: it is added to all.

use std::{collections::HashMap, net::SocketAddr, sync::LazyLock, time::Duration};

use prost::Message as _;

use super::{Link, Script, Shared, answer};
use crate::{
    entropy,
    identity::Owner,
    shard::listener::{Kind, Listener},
    store::{Beat, Member, StoreError, value},
};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(&[include_str!("lua/beat.lua")]));

/// Beats, and answers who else does. `allow_empty`: a Redis without data may be used.
pub(super) async fn beat(
    shared: &Shared,
    link: &Link,
    member: &Member,
    ttl: Duration,
    allow_empty: bool,
) -> Result<Beat, StoreError> {
    let now = shared.now_arg();
    let whose = [&member.owner.boot.to_be_bytes()[..], member.owner.node.as_bytes()].concat();
    let (says, ttl) = (encode(member, shared.known.changes()), ttl.as_millis().to_string());
    let mut name = if allow_empty { entropy::u64().to_be_bytes().to_vec() } else { Vec::new() };
    if allow_empty && shared.process().known.is_some() {
        // It has seen data before, which are gone.
        name.push(1);
    }
    let masters = link.masters().await;
    let ready: &[u8] = if member.ready { b"1" } else { b"" };
    let mut args: Vec<&[u8]> = vec![&now, &whose, &says, ttl.as_bytes(), &name, ready];
    args.extend(masters.iter().map(String::as_bytes));
    let key = shared.client.key("nodes");
    let mut reply = answer::verdict(link.script(&SCRIPT, &key, &args).await?)?.done()?;
    let time_ms = reply.time()?;
    let incarnation = <[u8; 8]>::try_from(reply.bytes()?).ok().map(u64::from_be_bytes);
    let back_ms = reply.time()?;
    let expires_from_ms = reply.time()?;
    let process = String::from_utf8(reply.bytes()?).ok().filter(|process| process.len() > 1);
    if let Some(process) = process {
        shared.process().answered(process.into());
    }
    let (mut members, mut changes) = (Vec::new(), HashMap::new());
    loop {
        let whose = reply.bytes()?;
        if whose.is_empty() {
            shared.known.hear(changes);
            return Ok(Beat { time_ms, incarnation, back_ms, expires_from_ms, members });
        }
        // One that can't be read is of a newer version, which the others know of.
        let Some((other, says)) = decode(&whose, &reply.bytes()?) else { continue };
        if other.owner != member.owner {
            changes.insert(other.owner.clone(), says);
        }
        members.push(other);
    }
}

fn encode(member: &Member, changes: Vec<u32>) -> Vec<u8> {
    let listeners = member.listeners.iter().map(|listener| value::member::Listener {
        address: listener.address.to_string(),
        dtls: listener.kind == Kind::Dtls,
    });
    let value = value::Member {
        address: member.address.to_string(),
        listeners: listeners.collect(),
        ready: member.ready,
        draining: member.draining,
        clock_ahead_ms: member.clock_ahead_ms,
        restored: member.restored,
        changes,
        beats: member.beats,
    };
    value.encode_to_vec()
}

/// A member, and how often it changed each part of the lists of devices.
fn decode(whose: &[u8], says: &[u8]) -> Option<(Member, Vec<u32>)> {
    let (boot, node) = whose.split_first_chunk::<8>()?;
    let owner = Owner { node: std::str::from_utf8(node).ok()?.into(), boot: u64::from_be_bytes(*boot) };
    let value = value::Member::decode(says).ok()?;
    let listener = |listener: &value::member::Listener| {
        let kind = if listener.dtls { Kind::Dtls } else { Kind::Plain };
        let address: SocketAddr = listener.address.parse().ok()?;
        Some(Listener { address, kind })
    };
    let member = Member {
        owner,
        address: value.address.parse().ok()?,
        listeners: value.listeners.iter().filter_map(listener).collect(),
        ready: value.ready,
        draining: value.draining,
        clock_ahead_ms: value.clock_ahead_ms,
        restored: value.restored,
        beats: value.beats,
    };
    Some((member, value.changes))
}
