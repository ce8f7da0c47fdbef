//! Pointers: keys of their own, each elsewhere in a Redis Cluster than the record it leads to.
//!
//! ```text
//! one that must be unique   reserve (30 s) ── record written ──► keep ── record no longer needs it ──► free
//! an address                              record written ──► keep, whoever had it ─────────────────► free
//! ```
//! A crash in between leaves a pointer to a record that does not have it. So a pointer is only believed after a look at the
//! record, and one of those stands in nobody's way.

use std::{collections::BTreeMap, sync::LazyLock};

use redis::Cmd;

use super::{Client, Link, Script, answer, record::applied_until};
use crate::{
    identity::{DeviceId, RegistrationId},
    store::{DeviceRecord, Pointer, Session, StoreError, pointer::address_bytes},
};

static POINTER: LazyLock<Script> = LazyLock::new(|| Script::new(&[include_str!("lua/pointer.lua")]));

/// How long a reservation stands, in milliseconds.
const RESERVED: u64 = 30_000;
/// How long the address of a device that is not registered leads to it, in milliseconds.
const UNREGISTERED: u64 = 600_000;
const DAY: u64 = 86_400_000;

/// How long a pointer stays, in milliseconds; `None`: for good.
pub(super) type Life = Option<u64>;

/// What a pointer is called.
pub(super) fn key(client: &Client, pointer: &Pointer) -> Vec<u8> {
    let (kind, rest): (&str, Vec<u8>) = match pointer {
        Pointer::Registration(id) => ("rd", id.as_str().into()),
        Pointer::Address(address) => ("addr", address_bytes(*address)),
        Pointer::PskIdentity(identity) => ("psk", identity.clone()),
        Pointer::Cid(cid) => ("cid", cid.clone()),
        // Half of these random bytes tell sessions apart, and the record has them all.
        Pointer::Session(id) => ("session", id.as_bytes()[..16].to_vec()),
        Pointer::SessionAddress(address) => ("saddr", address_bytes(*address)),
        Pointer::PublicKey(digest) => ("spki", digest.to_vec()),
        Pointer::Certificate(digest) => ("cert", digest.to_vec()),
        Pointer::CommonName(name) => ("cn", name.clone().into_bytes()),
    };
    client.key([kind.as_bytes(), b":", &rest].concat())
}

/// What must find a device, and how long. The pointers of a session outlive it by a day or two, so that they need not be
/// renewed with each of its marks.
pub(super) fn of_record(record: &DeviceRecord, now: u64) -> BTreeMap<Pointer, Life> {
    let mut pointers = BTreeMap::new();
    if let Some(applied) = &record.applied
        && let Some(id) = RegistrationId::parse(&applied.registration)
    {
        let life = applied_until(applied).saturating_sub(now).max(1_000);
        pointers.insert(Pointer::Registration(id), Some(life));
    }
    if let Some(id) = record.registration.as_ref().and_then(|it| RegistrationId::parse(&it.id)) {
        pointers.insert(Pointer::Registration(id), None);
    }
    if record.header.by_address {
        let life = if record.registration.is_some() { None } else { Some(UNREGISTERED) };
        pointers.extend(record.header.peer.map(|peer| (Pointer::Address(peer), life)));
    }
    for session in &record.sessions {
        of_session(session, now, &mut pointers);
    }
    if let Some(credential) = record.document.as_ref().and_then(|document| document.credential.as_ref()) {
        pointers.extend(Pointer::of_credential(credential).into_iter().map(|pointer| (pointer, None)));
    }
    pointers
}

fn of_session(session: &Session, now: u64, pointers: &mut BTreeMap<Pointer, Life>) {
    let life = match session.expires_at {
        0 => None,
        at => Some((at / DAY + 2) * DAY - now.min(at)),
    };
    let mut put = |pointer| {
        // Several sessions of one id: as long as the last of them.
        let longest = match (pointers.get(&pointer), life) {
            (Some(None), _) | (_, None) => None,
            (Some(Some(other)), Some(life)) => Some(life.max(*other)),
            (None, life) => life,
        };
        pointers.insert(pointer, longest);
    };
    put(Pointer::Session(session.id));
    if session.is_live() {
        if !session.cid.is_empty() {
            put(Pointer::Cid(session.cid.clone()));
        } else if let Some(peer) = session.peer {
            put(Pointer::SessionAddress(peer));
        }
    }
}

/// The pointers of one device, over one link.
#[derive(Clone)]
pub(super) struct Pointers {
    pub(super) client: Client,
    pub(super) link: Link,
    pub(super) device: DeviceId,
}

/// What became of a reservation.
pub(super) enum Reservation {
    /// It is the device's already, for good.
    Mine,
    /// It is, for a while.
    Made,
    /// Another device points there, perhaps because it is about to write its record.
    Held {
        /// Whose it is.
        by: DeviceId,
        /// It is a reservation: its record need not have it yet.
        pending: bool,
    },
}

impl Pointers {
    /// Reserves a pointer, also over `stale`, a device that has turned out not to have it.
    pub(super) async fn reserve(
        &self,
        pointer: &Pointer,
        stale: Option<DeviceId>,
    ) -> Result<Reservation, StoreError> {
        let life = RESERVED.to_string();
        let stale = stale.map(|device| *device.as_bytes());
        let mut args: Vec<&[u8]> = vec![b"reserve", self.device.as_bytes(), life.as_bytes()];
        args.extend(stale.as_ref().map(<[u8; 10]>::as_slice));
        let key = key(&self.client, pointer);
        let mut reply = answer::parts(self.link.script(&POINTER, &key, &args).await?)?.into_iter();
        let mut next = || reply.next().unwrap_or(redis::Value::Nil);
        let (verdict, holder, left) =
            (answer::bytes(next())?, answer::bytes(next())?, answer::number(next())?);
        let pending = u64::try_from(left).is_ok_and(|left| left <= RESERVED);
        Ok(match verdict.as_slice() {
            b"mine" if !pending => Reservation::Mine,
            b"mine" | b"reserved" => Reservation::Made,
            _ => Reservation::Held { by: device_id(&holder)?, pending },
        })
    }

    /// Has a pointer lead to the device for so long. `take`: whoever had it.
    pub(super) async fn keep(&self, pointer: &Pointer, life: Life, take: bool) -> Result<(), StoreError> {
        let life = life.map_or(0, |life| life.max(1_000)).to_string();
        let take: &[u8] = if take { b"1" } else { b"0" };
        let args: [&[u8]; 4] = [b"keep", self.device.as_bytes(), life.as_bytes(), take];
        self.link.script(&POINTER, &key(&self.client, pointer), &args).await.map(drop)
    }

    /// Removes a pointer if it leads to the device.
    pub(super) async fn free(&self, pointer: &Pointer) -> Result<(), StoreError> {
        let args: [&[u8]; 2] = [b"free", self.device.as_bytes()];
        self.link.script(&POINTER, &key(&self.client, pointer), &args).await.map(drop)
    }
}

/// Where a pointer leads, believed or not.
pub(super) async fn read(
    client: &Client,
    link: &Link,
    pointer: &Pointer,
) -> Result<Option<DeviceId>, StoreError> {
    let mut get = Cmd::new();
    get.arg("GET").arg(key(client, pointer));
    answer::maybe(link.send(get).await?)?.map(|bytes| device_id(&bytes)).transpose()
}

/// A device's id that is a value or a member.
pub(super) fn device_id(bytes: &[u8]) -> Result<DeviceId, StoreError> {
    let bytes = bytes.try_into().map_err(|_| StoreError::Unreadable { what: "device id", version: 0 })?;
    Ok(DeviceId::from_bytes(bytes))
}
