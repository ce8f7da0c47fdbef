//! The store of a single node: a folder, or memory for tests.
//!
//! ```text
//! writer      the one thread that writes, batch by batch
//! txn         a request's view of a batch in the making
//! device      claims, commits, and what follows from them
//! documents   profiles and models
//! lanes       shares of the nonce space
//! beats       heartbeats, which are not kept
//! row         a device's row
//! due         reading the due index
//! engine      what is asked of a key-value engine; the one in memory
//! folder      the one in a folder, on fjall
//! ```
//! Reads go straight to the engine on the caller's thread (2 to 10 µs from memory, more from disk) and see all that
//! was answered. Writes go through one thread, which answers after the commit.

mod beats;
mod device;
mod documents;
mod due;
mod engine;
mod folder;
mod lanes;
mod row;
mod txn;
mod writer;

use std::{future::ready, path::Path, sync::Arc, time::Duration};

use beats::Beats;
use data_encoding::BASE32_NOPAD;
use device::DueList;
use engine::{Engine, Memory, Table};
use folder::Folder;
pub use folder::OpenError;
use row::{Kind, Row};
pub use writer::Clock;
use writer::{Durable, Writer};

use super::{
    Beat, Change, Claim, Claimed, Counts, DeviceFilter, DeviceRecord, DocumentKey, DocumentKind, Due, Expect,
    Fence, Lane, Member, Page, PageRequest, Pointer, StateStore, StoreError, StoreFuture, page::PAGE_LIMIT,
    value,
};
use crate::identity::{DeviceId, Owner};

/// Rows that one page of a filtered list reads at most.
const PAGE_READS: usize = 4_000;

/// How the embedded store is run.
#[derive(Clone)]
pub struct Options {
    /// Sync each batch before it is answered, so that it survives a power loss and not only the process. Claims
    /// alone are not synced: what a lost one would repeat, the next claim's higher term makes harmless.
    pub sync: bool,
    /// The wall clock.
    pub clock: Clock,
    /// Requests that may wait for the writer; beyond, they fail as [`StoreError::Overloaded`].
    pub waiting: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { sync: true, clock: Arc::new(crate::clock::unix_ms), waiting: 65_536 }
    }
}

/// The embedded store. Dropping it writes what was submitted and closes the folder.
pub struct Embedded {
    // Before the engine, so that the thread has ended when the folder closes.
    writer: Writer,
    engine: Arc<dyn Engine>,
    clock: Clock,
    beats: Beats,
}

impl Embedded {
    /// Opens the store in a folder, which is made if need be and locked: one process at a time.
    pub fn open(folder: &Path, options: Options) -> Result<Self, OpenError> {
        let engine = Arc::new(Folder::open(folder)?);
        Self::start(engine, options)
            .map_err(|error| OpenError::Database { path: folder.to_owned(), reason: error.to_string() })
    }

    /// A store that forgets at exit.
    pub fn in_memory(options: Options) -> Result<Self, StoreError> {
        Self::start(Arc::new(Memory::default()), options)
    }

    fn start(engine: Arc<dyn Engine>, options: Options) -> Result<Self, StoreError> {
        let clock = options.clock;
        let writer = Writer::start(Arc::clone(&engine), clock.clone(), options.sync, options.waiting)?;
        let beats = Beats::new(clock());
        Ok(Self { writer, engine, clock, beats })
    }

    fn read_record(&self, device: DeviceId) -> Result<Option<DeviceRecord>, StoreError> {
        let (from, to) = device::queue_range(device);
        let wants = |row: &[u8]| Row::decode(row).is_ok_and(|row| row.has_queue());
        let Some((row, queue)) = self.engine.row_and_queue(device.as_bytes(), &wants, &from, &to)? else {
            return Ok(None);
        };
        let row = Row::decode(&row)?;
        if row.removed { Ok(None) } else { device::record(row, queue).map(Some) }
    }

    fn read_due(&self, now: u64, after: Option<Due>, limit: usize) -> Result<Vec<Due>, StoreError> {
        let read = |from| device::due(&*self.engine, DueList::Due, from, now, after, limit);
        if after.is_some() || limit == 0 {
            return read(0);
        }
        self.writer.shared().due_floor.read(|from| {
            let due = read(from)?;
            let first = due.first().map_or(now.saturating_add(1), |due| due.at);
            Ok((due, first))
        })
    }

    fn read_list(
        &self,
        filter: &DeviceFilter,
        page: &PageRequest,
    ) -> Result<Page<(DeviceId, DeviceRecord)>, StoreError> {
        let mut from = match &page.token {
            None => Vec::new(),
            Some(token) => {
                let device: DeviceId = token.parse().map_err(|_| StoreError::BadPageToken)?;
                [device.as_bytes().as_slice(), &[0]].concat()
            }
        };
        let limit = page.limit.clamp(1, PAGE_LIMIT);
        let mut items = Vec::new();
        let mut read = 0;
        loop {
            let wanted = (limit - items.len()).max(64);
            let entries = self.engine.scan(Table::Device, &from, &[0xff; 11], wanted)?;
            let ended = entries.len() < wanted;
            for (key, row) in entries {
                let device = device::device_id(&key)?;
                let row = Row::decode(&row)?;
                read += 1;
                if matches(filter, &row)? {
                    items.push((device, device::record(row, Vec::new())?));
                }
                if items.len() == limit || read >= PAGE_READS {
                    return Ok(Page { items, next: Some(device.to_string()) });
                }
                from = [key.as_slice(), &[0]].concat();
            }
            if ended {
                return Ok(Page { items, next: None });
            }
        }
    }

    fn read_documents(
        &self,
        kind: DocumentKind,
        page: &PageRequest,
    ) -> Result<Page<(DocumentKey, value::Document)>, StoreError> {
        let (start, end) = documents::range(kind);
        let mut from = start.to_vec();
        if let Some(token) = &page.token {
            from = BASE32_NOPAD.decode(token.as_bytes()).map_err(|_| StoreError::BadPageToken)?;
            if !from.starts_with(start) {
                return Err(StoreError::BadPageToken);
            }
            from.push(0);
        }
        let limit = page.limit.clamp(1, PAGE_LIMIT);
        let mut entries = self.engine.scan(Table::Document, &from, end, limit + 1)?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|(key, _)| BASE32_NOPAD.encode(key));
        let items = entries.into_iter().map(|(key, bytes)| {
            let key = DocumentKey::decode(&key);
            let key = key.ok_or(StoreError::Unreadable { what: "document key", version: 0 })?;
            Ok((key, documents::decode(&bytes)?))
        });
        Ok(Page { items: items.collect::<Result<_, StoreError>>()?, next })
    }
}

/// Whether a list shows this row.
fn matches(filter: &DeviceFilter, row: &Row) -> Result<bool, StoreError> {
    let is = |wanted: Option<bool>, kind| wanted.is_none_or(|wanted| wanted == row.has(kind));
    if row.removed || !is(filter.provisioned, Kind::Document) || !is(filter.registered, Kind::Registration) {
        return Ok(false);
    }
    let Some(wanted) = &filter.profile else { return Ok(true) };
    let profile = match row.document()? {
        Some(document) => Some(document.profile),
        None => row.read::<value::Registration>(Kind::Registration)?.map(|registration| registration.profile),
    };
    Ok(profile
        .is_some_and(|profile| *wanted == if profile.is_empty() { "default".to_owned() } else { profile }))
}

/// Where probes lie in [`Table::Meta`].
const PROBE: &[u8] = b"probe";

fn answered<T: Send + 'static>(result: Result<T, StoreError>) -> StoreFuture<T> {
    Box::pin(ready(result))
}

impl StateStore for Embedded {
    fn load(&self, device: DeviceId) -> StoreFuture<Option<DeviceRecord>> {
        answered(self.read_record(device))
    }

    fn claim(&self, device: DeviceId, owner: &Owner, claim: Claim) -> StoreFuture<Claimed> {
        let owner = owner.clone();
        self.writer.submit(Durable::No, move |txn| device::claim(txn, device, owner, claim))
    }

    fn commit(&self, device: DeviceId, fence: Fence, changes: Vec<Change>) -> StoreFuture<()> {
        self.writer.submit(Durable::AsSet, move |txn| device::commit(txn, device, fence, changes))
    }

    fn resolve(&self, pointer: Pointer) -> StoreFuture<Option<DeviceId>> {
        let holder = self.engine.get(Table::Pointer, &pointer.key());
        answered(holder.and_then(|holder| holder.map(|bytes| device::device_id(&bytes)).transpose()))
    }

    fn find(&self, pointer: Pointer) -> StoreFuture<Option<(DeviceId, DeviceRecord)>> {
        let find = || {
            let Some(holder) = self.engine.get(Table::Pointer, &pointer.key())? else { return Ok(None) };
            let device = device::device_id(&holder)?;
            Ok(self.read_record(device)?.map(|record| (device, record)))
        };
        answered(find())
    }

    fn due(&self, now_ms: u64, after: Option<Due>, limit: usize) -> StoreFuture<Vec<Due>> {
        answered(self.read_due(now_ms, after, limit))
    }

    fn list(&self, filter: DeviceFilter, page: PageRequest) -> StoreFuture<Page<(DeviceId, DeviceRecord)>> {
        answered(self.read_list(&filter, &page))
    }

    fn counts(&self) -> StoreFuture<Counts> {
        answered(Ok(self.writer.shared().counts()))
    }

    fn take_lanes(&self, owner: &Owner, count: u16) -> StoreFuture<Vec<Lane>> {
        let owner = owner.clone();
        self.writer.submit(Durable::Always, move |txn| lanes::take(txn, &owner, count))
    }

    fn extend_lanes(&self, owner: &Owner, second: u32) -> StoreFuture<u32> {
        let owner = owner.clone();
        self.writer.submit(Durable::Always, move |txn| lanes::extend(txn, &owner, second))
    }

    fn heartbeat(&self, member: Member, ttl: Duration) -> StoreFuture<Beat> {
        answered(Ok(self.beats.beat((self.clock)(), member, ttl)))
    }

    fn probe(&self) -> StoreFuture<()> {
        self.writer.submit(Durable::AsSet, |txn| {
            txn.put(Table::Meta, PROBE.to_vec(), txn.now.to_be_bytes().to_vec());
            Ok(())
        })
    }

    fn memory(&self) -> u64 {
        self.engine.memory()
    }

    fn put_device(&self, device: value::Device, expect: Expect) -> StoreFuture<value::Device> {
        self.writer.submit(Durable::AsSet, move |txn| device::put_device(txn, device, expect))
    }

    fn remove_device(
        &self,
        device: DeviceId,
        expect: Expect,
        event: Option<value::StoredEvent>,
    ) -> StoreFuture<()> {
        self.writer.submit(Durable::AsSet, move |txn| device::remove_device(txn, device, expect, event))
    }

    fn events(&self, device: DeviceId) -> StoreFuture<Vec<value::StoredEvent>> {
        let (from, to) = device::queue_range(device);
        let queue = self.engine.scan(Table::Queue, &from, &to, usize::MAX);
        answered(queue.and_then(|queue| Ok(device::record(Row::default(), queue)?.events)))
    }

    fn remove_event(&self, device: DeviceId, event: String) -> StoreFuture<()> {
        // Lost with the power, the event goes out once more, under the same id.
        self.writer.submit(Durable::No, move |txn| device::remove_event(txn, device, &event))
    }

    fn document(&self, key: DocumentKey) -> StoreFuture<Option<value::Document>> {
        let read = || -> Result<Option<value::Document>, StoreError> {
            let bytes = self.engine.get(Table::Document, &key.encode()?)?;
            bytes.map(|bytes| documents::decode(&bytes)).transpose()
        };
        answered(read())
    }

    fn put_document(&self, key: DocumentKey, body: Vec<u8>, expect: Expect) -> StoreFuture<value::Document> {
        self.writer.submit(Durable::AsSet, move |txn| documents::put(txn, &key, body, expect))
    }

    fn remove_document(&self, key: DocumentKey, expect: Expect) -> StoreFuture<()> {
        self.writer.submit(Durable::AsSet, move |txn| documents::remove(txn, &key, expect))
    }

    fn list_documents(
        &self,
        kind: DocumentKind,
        page: PageRequest,
    ) -> StoreFuture<Page<(DocumentKey, value::Document)>> {
        answered(self.read_documents(kind, &page))
    }
}
