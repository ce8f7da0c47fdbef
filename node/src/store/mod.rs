//! What must outlive an actor, a process or a node.
//!
//! ```text
//! mod        the trait, and how to ask
//! record     one device's record, and the changes that an owner makes to it
//! session    a DTLS session in it
//! pointer    what finds a device: registration id, address, connection id, identity, key
//! lane       a shard's share of the nonce space
//! document   what operators provision: devices, profiles, models
//! beat       the heartbeats of nodes
//! recent     what was written lately, for a store that comes back with an older state
//! changes    what operators have changed, for other nodes
//! page       lists, page by page
//! error      what can go wrong, by fault
//! embedded   the store of a single node, in a folder or in memory
//! redis      the store that the nodes of a cluster share
//! metered    times what any of them is asked
//! ```
//!
//! There is one record per device, and one owner of it at a time. Who wants to own a device *claims* it and is
//! given a *term*, a number higher than all before; every later write names that term and is refused once
//! somebody claimed after. Reads need no claim and may be stale by the time they are used.
//!
//! Whatever a future of this trait has answered survives the death of the process; the embedded store with
//! `store.fsync = "group"` and a replicated one promise more. Requests for one device take effect in the order of the
//! calls, even before their futures are polled.

pub mod beat;
pub mod changes;
#[cfg(test)]
pub(crate) mod contract;
pub mod document;
pub mod embedded;
pub mod error;
mod header;
pub mod lane;
pub mod metered;
pub mod page;
pub mod pointer;
pub mod recent;
pub mod record;
pub mod redis;
pub mod session;

use std::{cmp::Ordering, future::Future, pin::Pin, time::Duration};

pub(crate) use beat::Served;
pub use beat::{Beat, Member};
pub use changes::{Changed, Changes, Cursor};
pub use document::{DocumentKey, DocumentKind, Expect};
pub use error::{Refused, StoreError};
/// The messages in which the store keeps things.
pub use godwit_proto::store::v1 as value;
pub use lane::{LANES, Lane};
pub use page::{DeviceFilter, Page, PageRequest};
pub use pointer::Pointer;
pub use record::{Change, DeviceRecord, Header};
pub use session::{Numbers, SESSIONS, Session};
use tokio::sync::watch;

use crate::identity::{DeviceId, Owner};

/// How long an answer to a state-changing request is kept, in milliseconds: EXCHANGE_LIFETIME (RFC 7252 §4.8.2).
/// A removed device or registration leaves its tombstone for as long.
pub const APPLIED_FOR_MS: u64 = 247_000;

/// A store's answer to come.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// The state store: records of devices, claims on them, and what operators provision.
///
/// The request is made by the call, not by the first poll, so a dropped future cancels nothing.
pub trait StateStore: Send + Sync + 'static {
    /// Reads a device's record. `None`: nothing is known of it, or it was removed.
    fn load(&self, device: DeviceId) -> StoreFuture<Option<DeviceRecord>>;

    /// Makes `owner` the owner of the device. The term is the higher of the stored one plus 1 and the store's
    /// clock in milliseconds. The actor must be built from this answer, never from an earlier [`load`](Self::load).
    ///
    /// Errors: [`StoreError::NoSuchDevice`] without a record unless `claim.create`; [`StoreError::Refused`] if the
    /// stored term is higher than `claim.seen`.
    fn claim(&self, device: DeviceId, owner: &Owner, claim: Claim) -> StoreFuture<Claimed>;

    /// Makes all changes or none. They are refused if the stored term is higher than the fence's, or equal with
    /// another owner; a lower one is overwritten, and so is a missing record: the owner's memory heals a store
    /// that went back in time.
    ///
    /// Errors: [`StoreError::Refused`]: stop, another owns the device, or it was removed.
    /// [`StoreError::Taken`]: a pointer that must be unique leads to another device.
    fn commit(&self, device: DeviceId, fence: Fence, changes: Vec<Change>) -> StoreFuture<()>;

    /// The device that a pointer leads to. The pointer is checked against the record it leads to, so a stale one
    /// answers `None`.
    fn resolve(&self, pointer: Pointer) -> StoreFuture<Option<DeviceId>>;

    /// The device that a pointer leads to, with its record, as [`load`](Self::load) would read it then. It costs no more than
    /// [`resolve`](Self::resolve).
    fn find(&self, pointer: Pointer) -> StoreFuture<Option<(DeviceId, DeviceRecord)>>;

    /// Devices that wait for something up to `now_ms`, earliest first, from after `after`: an expired
    /// registration, an event that no sink has acknowledged, an operation whose time is over, a device that was
    /// not activated in time. A device is listed until that is done, so page on with `after`; never a full scan.
    fn due(&self, now_ms: u64, after: Option<Due>, limit: usize) -> StoreFuture<Vec<Due>>;

    /// Records by device id, without their operations and events. A page may be short, even empty, and yet not be
    /// the last: a filter reads a bounded number of records per page.
    fn list(&self, filter: DeviceFilter, page: PageRequest) -> StoreFuture<Page<(DeviceId, DeviceRecord)>>;

    /// How many there are. Of a store that nodes share, other nodes' changes of the last seconds may be missing: a node says
    /// with its next heartbeat that it made some.
    fn counts(&self) -> StoreFuture<Counts>;

    /// Takes `count` lanes, for the shards of a process, from its start to its end. What is acknowledged is durable
    /// at once, whatever `store.fsync` says: a second opened twice would repeat nonces.
    ///
    /// Errors: [`StoreError::Invalid`] for more than [`LANES`].
    fn take_lanes(&self, owner: &Owner, count: u16) -> StoreFuture<Vec<Lane>>;

    /// Extends all lanes of `owner`, whose clock stands at `second`, and answers the last second that each may open
    /// now. Ask again when half of it is used.
    ///
    /// Errors: [`StoreError::LanesLost`]: another process has taken them; open no further second.
    fn extend_lanes(&self, owner: &Owner, second: u32) -> StoreFuture<u32>;

    /// Whether other nodes work on it too. Then it carries heartbeats and changes.
    fn is_shared(&self) -> bool {
        false
    }

    /// Says that a process lives, for a time from now, and answers who else does. One that says so again takes the place of
    /// what it said before; another run of the same node stands beside it until its own time is over.
    ///
    /// Errors: [`StoreError::Invalid`] from a store that has one process only, and knows.
    fn heartbeat(&self, _: Member, _: Duration) -> StoreFuture<Beat> {
        Box::pin(std::future::ready(Err(StoreError::Invalid { what: "a heartbeat" })))
    }

    /// Counts up whenever a connection to the store is lost, or made in the place of a lost one: what answers next may have
    /// forgotten something, which only a heartbeat shows. `None`: it has no connections.
    fn losses(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Writes again what this process wrote lately: the store may have forgotten it. A device that another has claimed since, or
    /// that was removed, stays as it is.
    ///
    /// Errors: [`StoreError::Unavailable`]: not all of it was written; ask again.
    fn rewrite(&self) -> StoreFuture<Rewritten> {
        Box::pin(std::future::ready(Ok(Rewritten::default())))
    }

    /// What was changed behind a place by [`put_device`](Self::put_device), [`remove_device`](Self::remove_device),
    /// [`put_document`](Self::put_document) and [`remove_document`](Self::remove_document), at any node. Without a place: nothing,
    /// but where the stream ends now. Answers at once, also where there is nothing.
    fn changes(&self, _: Option<Cursor>) -> StoreFuture<Changes> {
        Box::pin(std::future::ready(Ok(Changes::default())))
    }

    /// Leaves word for a run of another node that a device of its was claimed: it may live, and no link may lead there.
    fn tell(&self, _: &Owner, _: DeviceId) -> StoreFuture<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Takes some of the word that was left for this run, the oldest first.
    fn told(&self, _: &Owner) -> StoreFuture<Vec<DeviceId>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Writes a mark that nobody reads, to see whether it can write.
    fn probe(&self) -> StoreFuture<()>;

    /// Bytes of this process's memory that hold what was written lately and what was read: bounded, whatever is stored, and
    /// given back when nobody has written for some seconds.
    fn memory(&self) -> u64 {
        0
    }

    /// Provisions a device or changes what was provisioned. The store sets `revision`, `created_at` and
    /// `updated_at` and answers the document as it is then.
    ///
    /// Errors: [`StoreError::Conflict`] if `expect` does not hold, [`StoreError::Taken`] if PSK identity, key or
    /// certificate is another device's, [`StoreError::Invalid`] without an endpoint name.
    fn put_device(&self, device: value::Device, expect: Expect) -> StoreFuture<value::Device>;

    /// Removes a device with everything that belongs to it; its owner's next write is refused. The event, if any,
    /// stays in the outbox until it is taken out by [`remove_event`](Self::remove_event).
    ///
    /// Errors: [`StoreError::NoSuchDevice`], [`StoreError::Conflict`].
    fn remove_device(
        &self,
        device: DeviceId,
        expect: Expect,
        event: Option<value::StoredEvent>,
    ) -> StoreFuture<()>;

    /// Events that wait in a device's outbox, a removed device's too, oldest first.
    fn events(&self, device: DeviceId) -> StoreFuture<Vec<value::StoredEvent>>;

    /// Takes an event out of the outbox once a sink has acknowledged it. Needs no claim: it is done once whoever
    /// does it, and doing it twice is no error.
    fn remove_event(&self, device: DeviceId, event: String) -> StoreFuture<()>;

    /// Reads a document.
    fn document(&self, key: DocumentKey) -> StoreFuture<Option<value::Document>>;

    /// Writes a document; the store sets revision and times and answers the document.
    ///
    /// Errors: [`StoreError::Conflict`] if `expect` does not hold.
    fn put_document(&self, key: DocumentKey, body: Vec<u8>, expect: Expect) -> StoreFuture<value::Document>;

    /// Removes a document. Errors: [`StoreError::Conflict`], also if there is none and one is expected.
    fn remove_document(&self, key: DocumentKey, expect: Expect) -> StoreFuture<()>;

    /// Documents of one kind, by key.
    fn list_documents(
        &self,
        kind: DocumentKind,
        page: PageRequest,
    ) -> StoreFuture<Page<(DocumentKey, value::Document)>>;
}

/// How a device is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claim {
    /// Begin a record if there is none: a device that registers without having been provisioned.
    pub create: bool,
    /// The term in the record that led to this claim; refused if somebody claimed since. `None`: claim anyway.
    pub seen: Option<u64>,
}

/// A successful claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The fencing number of this ownership.
    pub term: u64,
    /// How often the device has been claimed. Its low 4 bits choose the slice of message ids.
    pub claims: u32,
    /// The record was passive: what it says is exact. Otherwise the last owner may have been ahead of it.
    pub exact: bool,
    /// The whole record, as of this claim.
    pub record: DeviceRecord,
}

/// What a process has written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rewritten {
    /// Devices and documents that operators provisioned, and that had been forgotten.
    pub provisions: u64,
    /// Devices whose record is again what it was.
    pub devices: u64,
    /// Devices that others have claimed or removed since.
    pub refused: u64,
    /// Devices that can't be brought to what was written: the store went back too far.
    pub failed: u64,
}

/// On whose behalf a write is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Who claimed.
    pub owner: Owner,
    /// The term of that claim.
    pub term: u64,
    /// The claim counter of that claim, written where the store knows a lower one.
    pub claims: u32,
}

impl Fence {
    /// Whether a write under it would be taken, by what the store says of the device.
    #[must_use]
    pub fn outranks(&self, header: &Header) -> bool {
        match header.term.cmp(&self.term) {
            Ordering::Less => true,
            Ordering::Equal => header.owner.as_ref() == Some(&self.owner),
            Ordering::Greater => false,
        }
    }
}

/// A device that waits for something to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Due {
    /// Unix time in milliseconds.
    pub at: u64,
    /// Whose record says what.
    pub device: DeviceId,
}

/// How many records there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Devices with a document.
    pub provisioned: u64,
    /// Devices with a registration.
    pub registered: u64,
}
