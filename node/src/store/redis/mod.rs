//! The store that the nodes of a cluster share: a Redis, one server, behind Sentinels, or a Redis Cluster.
//!
//! ```text
//! client      connections by thread, the keys' prefix
//! link        one connection, made anew when it is lost
//! topology    single, Sentinel, cluster; TLS and users
//! script      what Redis runs, by its hash; lua/
//! startup     what a Redis must be like
//! answer      reading what Redis answers
//!
//! turns       requests for one device, one after the other
//! record      a record as a hash, and back
//! change      changes as a script takes them
//! device      claims, commits, provisioning, and what follows from them
//! pointers    what finds a device
//! index       what is due, which devices there are
//! known       what need not be asked of them
//! documents   profiles and models
//! lanes       shares of the nonce space
//! beats       heartbeats of the nodes
//! news        the stream of what operators have changed
//! rewrite     what a Redis forgot, written again
//! provisions  the same of what operators provisioned
//! ```
//! A record is one hash and every script on it names that key alone, so Redis Cluster may move it at any time. All else lies
//! elsewhere: pointers are made before the record that they lead to and believed only after a look at it, indexes are told
//! afterwards and set right when they are read. docs/redis.md lists the keys.

mod answer;
mod beats;
mod change;
mod client;
mod device;
mod documents;
mod inbox;
mod index;
mod known;
mod lanes;
mod link;
mod news;
mod pointers;
mod provisions;
mod record;
mod rewrite;
mod script;
mod startup;
#[cfg(test)]
mod tests;
mod topology;
mod turns;

use std::{
    collections::HashSet,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use change::Changes;
pub use client::{Client, Purpose};
use device::Device;
use futures_util::future::try_join_all;
use index::Indexes;
use known::Known;
pub use link::Link;
use provisions::{Provision, Provisions};
pub use script::Script;
pub use startup::OpenError;
use tokio::sync::watch;
pub use topology::SettingsError;
use turns::Turns;

use super::{
    Beat, Change, Changed, Claim, Claimed, Counts, Cursor, DeviceFilter, DeviceRecord, DocumentKey,
    DocumentKind, Due, Expect, Fence, Lane, Member, Page, PageRequest, Pointer, Rewritten, StateStore,
    StoreError, StoreFuture, page::PAGE_LIMIT, recent::Recent, value,
};
use crate::{
    clock,
    config::Redis,
    identity::{DeviceId, Owner},
};

/// Records that one page of a filtered list reads at most.
const PAGE_READS: usize = 4_000;
/// Devices that are looked at with each count, whether they are gone.
const SWEPT: usize = 20;

/// A clock, Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The Redis store. A clone is the same store.
#[derive(Clone)]
pub struct RedisStore(Arc<Shared>);

/// What all requests share.
struct Shared {
    client: Client,
    turns: Arc<Turns>,
    /// Number of the last write: a later one has a higher number.
    writes: AtomicU64,
    /// How far Redis's clock is ahead of ours, in milliseconds.
    ahead: AtomicI64,
    /// In place of Redis's clock, for tests.
    clock: Option<Clock>,
    /// A Redis without data may be used.
    allow_empty: bool,
    /// Devices of which a write was not answered.
    unsure: Mutex<HashSet<DeviceId>>,
    /// Lanes that owners in this process hold, and the last second that they were granted.
    held: Mutex<Vec<(Owner, u16, u32)>>,
    /// Which processes of Redis answered heartbeats.
    process: Mutex<Processes>,
    /// What this process wrote lately.
    recent: Mutex<Recent>,
    /// What it knows of the indexes.
    known: Arc<Known>,
    /// What operators provisioned lately by this process.
    provisions: Mutex<Provisions>,
    /// Where the search for gone devices goes on: part, and behind which device.
    swept: Mutex<(u8, Vec<u8>)>,
}

/// Which processes of Redis answered heartbeats. Claims are made of one alone whose heartbeat the node has seen.
#[derive(Debug, Default)]
struct Processes {
    /// The node knows what it may have forgotten.
    known: Option<Arc<str>>,
    last: Option<Arc<str>>,
}

impl Processes {
    /// A heartbeat was answered. Another process is known with its second answer: by then the node has taken the first in.
    fn answered(&mut self, process: Arc<str>) {
        let last = self.last.replace(process);
        if self.known.is_none() || last == self.last {
            self.known.clone_from(&self.last);
        }
    }
}

impl Shared {
    /// What scripts are given as the time: nothing, they ask Redis.
    fn now_arg(&self) -> Vec<u8> {
        self.clock.as_ref().map(|clock| clock().to_string().into_bytes()).unwrap_or_default()
    }

    /// Redis's clock, as far as it is known here.
    fn now(&self) -> u64 {
        match &self.clock {
            Some(clock) => clock(),
            None => clock::shared_ms().unwrap_or_else(|| {
                clock::wall_ms().saturating_add_signed(self.ahead.load(Ordering::Relaxed))
            }),
        }
    }

    fn set_clock(&self, now: u64) {
        let ahead = i64::try_from(now).unwrap_or(0) - i64::try_from(clock::wall_ms()).unwrap_or(0);
        self.ahead.store(ahead, Ordering::Relaxed);
    }

    fn unsure(&self) -> MutexGuard<'_, HashSet<DeviceId>> {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_unsure(&self, device: DeviceId) -> bool {
        self.unsure().contains(&device)
    }

    fn set_unsure(&self, device: DeviceId, unsure: bool) {
        let mut devices = self.unsure();
        if unsure {
            devices.insert(device)
        } else {
            devices.remove(&device)
        };
    }

    fn held(&self) -> MutexGuard<'_, Vec<(Owner, u16, u32)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self) -> MutexGuard<'_, Processes> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn provisions(&self) -> MutexGuard<'_, Provisions> {
        self.provisions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn indexes(&self, link: &Link) -> Indexes {
        Indexes { client: self.client.clone(), link: link.clone(), known: Arc::clone(&self.known) }
    }
}

/// The key of a device's record. In a Redis Cluster the braces say where it lies.
fn device_key(client: &Client, device: DeviceId) -> Vec<u8> {
    client.key(format!("{{{device}}}"))
}

impl RedisStore {
    /// A store on the Redis of these settings, which is asked what it is like. `allow_empty`: it may have no data, and be used.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(settings: &Redis, allow_empty: bool) -> Result<Self, OpenError> {
        let client = Client::new(settings)?;
        let now = startup::check(&client).await?;
        let store = Self::with(client, None, allow_empty);
        *store.0.recent() = Recent::new(settings.remember);
        *store.0.provisions() = Provisions::new(settings.remember);
        store.0.set_clock(now);
        Ok(store)
    }

    /// The way to its Redis, for what else nodes share there.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// A store whose Redis is not asked what it is like. `clock`: in place of Redis's.
    pub(super) fn with(client: Client, clock: Option<Clock>, allow_empty: bool) -> Self {
        Self(Arc::new(Shared {
            client,
            turns: Arc::default(),
            // Above those of an earlier store in this process.
            writes: AtomicU64::new(clock::unix_ms().saturating_mul(64)),
            ahead: AtomicI64::new(0),
            clock,
            allow_empty,
            unsure: Mutex::default(),
            held: Mutex::default(),
            process: Mutex::default(),
            recent: Mutex::new(Recent::new(Redis::default().remember)),
            known: Arc::new(Known::new()),
            provisions: Mutex::new(Provisions::new(Redis::default().remember)),
            swept: Mutex::default(),
        }))
    }

    /// Runs a request.
    fn run<T, F>(&self, request: impl FnOnce(Arc<Shared>, Link) -> F) -> StoreFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let shared = Arc::clone(&self.0);
        self.0.client.run(Purpose::Requests, move |link| request(shared, link))
    }

    /// Runs a request for one device, after those before it. `weighty`: replicas are to have it.
    fn run_for<T, F>(
        &self,
        device: DeviceId,
        weighty: bool,
        request: impl FnOnce(Device) -> F + Send + 'static,
    ) -> StoreFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let shared = Arc::clone(&self.0);
        let mut turn = shared.turns.take(device);
        let purpose = if weighty { shared.client.weighty() } else { Purpose::Requests };
        self.0.client.run(purpose, move |link| async move {
            turn.come().await;
            // The turn ends when this is done, not before.
            request(Device { shared, link, id: device }).await
        })
    }

    async fn read_list(
        shared: &Arc<Shared>,
        link: &Link,
        filter: &DeviceFilter,
        page: &PageRequest,
    ) -> Result<Page<(DeviceId, DeviceRecord)>, StoreError> {
        let mut from = match &page.token {
            None => None,
            Some(token) => Some(token.parse::<DeviceId>().map_err(|_| StoreError::BadPageToken)?),
        };
        let limit = page.limit.clamp(1, PAGE_LIMIT);
        let is = |wanted: Option<bool>, set| wanted.is_none_or(|wanted| wanted == set);
        let classes: Vec<u8> = (0..4)
            .filter(|class| is(filter.provisioned, class & 1 != 0) && is(filter.registered, class & 2 != 0))
            .collect();
        let indexes = shared.indexes(link);
        let mut items = Vec::new();
        let mut read = 0;
        for part in from.map_or(0, index::part)..index::PARTS {
            loop {
                let start = from.filter(|from| index::part(*from) == part);
                let start = start.as_ref().map_or(&[][..], |from| from.as_bytes().as_slice());
                let wanted = (limit - items.len()).clamp(16, 256);
                let (devices, end) = indexes.devices(part, &classes, start, wanted).await?;
                let records = devices.iter().map(|(id, _)| {
                    let device = Device { shared: Arc::clone(shared), link: link.clone(), id: *id };
                    async move { device.current().await }
                });
                let records = try_join_all(records).await?;
                for ((id, class), stored) in devices.into_iter().zip(records) {
                    read += 1;
                    match stored.filter(|stored| stored.class() == Some(class)) {
                        Some(stored) if has_profile(&stored.record, filter) => {
                            let (operations, events) = (Vec::new(), Vec::new());
                            items.push((id, DeviceRecord { operations, events, ..stored.record }));
                        }
                        Some(_) => {}
                        None => indexes.correct(id, class).await?,
                    }
                    if items.len() == limit || read >= PAGE_READS {
                        return Ok(Page { items, next: Some(id.to_string()) });
                    }
                }
                match end {
                    Some(end) => from = Some(end),
                    None => break,
                }
            }
        }
        Ok(Page { items, next: None })
    }

    /// Looks at a few devices of which nothing may be left, each time at others.
    async fn sweep(shared: &Shared, link: &Link) -> Result<(), StoreError> {
        let at = || shared.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let (part, from) = at().clone();
        let end = shared.indexes(link).sweep(part, &from, SWEPT).await?;
        *at() = match end {
            Some(end) => (part, end.as_bytes().to_vec()),
            None => ((part + 1) % index::PARTS, Vec::new()),
        };
        Ok(())
    }
}

/// Whether a list of one profile shows this record.
fn has_profile(record: &DeviceRecord, filter: &DeviceFilter) -> bool {
    let Some(wanted) = &filter.profile else { return true };
    let profile = match (&record.document, &record.registration) {
        (Some(document), _) => &document.profile,
        (None, Some(registration)) => &registration.profile,
        (None, None) => return false,
    };
    wanted == if profile.is_empty() { "default" } else { profile }
}

/// Where probes are written.
const PROBE: &str = "probe";

impl StateStore for RedisStore {
    fn load(&self, device: DeviceId) -> StoreFuture<Option<DeviceRecord>> {
        self.run_for(device, false, |device| async move {
            let stored = device.current().await?.filter(|stored| !stored.removed);
            Ok(stored.map(|stored| stored.record))
        })
    }

    fn claim(&self, device: DeviceId, owner: &Owner, claim: Claim) -> StoreFuture<Claimed> {
        let owner = owner.clone();
        self.run_for(device, false, move |device| async move {
            let claimed = device.claim(&owner, claim).await?;
            let fence = Fence { owner, term: claimed.term, claims: claimed.claims };
            device.shared.recent().note_claim(clock::boot(), device.id, fence, &claimed.record);
            Ok(claimed)
        })
    }

    fn commit(&self, device: DeviceId, fence: Fence, changes: Vec<Change>) -> StoreFuture<()> {
        match Changes::of(&changes) {
            Ok(written) => self.run_for(device, written.weighty, move |device| async move {
                device.commit(&fence, &written).await?;
                device.shared.recent().note(clock::boot(), device.id, &fence, changes);
                Ok(())
            }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn resolve(&self, pointer: Pointer) -> StoreFuture<Option<DeviceId>> {
        self.run(|shared, link| async move {
            let Some(id) = pointers::read(&shared.client, &link, &pointer).await? else { return Ok(None) };
            let device = Device { shared: Arc::clone(&shared), link, id };
            let stored = device.current().await?;
            Ok(stored.filter(|stored| device::is_led_to(stored, &pointer, shared.now())).map(|_| id))
        })
    }

    fn find(&self, pointer: Pointer) -> StoreFuture<Option<(DeviceId, DeviceRecord)>> {
        self.run(|shared, link| async move {
            let Some(id) = pointers::read(&shared.client, &link, &pointer).await? else { return Ok(None) };
            let mut turn = shared.turns.take(id);
            turn.come().await;
            let device = Device { shared: Arc::clone(&shared), link, id };
            let stored = device.current().await?;
            let stored = stored.filter(|stored| device::is_led_to(stored, &pointer, shared.now()));
            Ok(stored.map(|stored| (id, stored.record)))
        })
    }

    fn due(&self, now_ms: u64, after: Option<Due>, limit: usize) -> StoreFuture<Vec<Due>> {
        self.run(move |shared, link| async move { shared.indexes(&link).due(now_ms, after, limit).await })
    }

    fn list(&self, filter: DeviceFilter, page: PageRequest) -> StoreFuture<Page<(DeviceId, DeviceRecord)>> {
        self.run(move |shared, link| async move { Self::read_list(&shared, &link, &filter, &page).await })
    }

    fn counts(&self) -> StoreFuture<Counts> {
        self.run(|shared, link| async move {
            Self::sweep(&shared, &link).await?;
            shared.indexes(&link).counts().await
        })
    }

    fn take_lanes(&self, owner: &Owner, count: u16) -> StoreFuture<Vec<Lane>> {
        let owner = owner.clone();
        self.run(move |shared, link| async move { lanes::take(&shared, &link, &owner, count).await })
    }

    fn extend_lanes(&self, owner: &Owner, second: u32) -> StoreFuture<u32> {
        let owner = owner.clone();
        self.run(move |shared, link| async move { lanes::extend(&shared, &link, &owner, second).await })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn heartbeat(&self, member: Member, ttl: Duration) -> StoreFuture<Beat> {
        let sent = clock::boot();
        self.run(move |shared, link| async move {
            let beat = beats::beat(&shared, &link, &member, ttl, shared.allow_empty).await?;
            shared.set_clock(beat.time_ms);
            if member.restored == beat.back_ms {
                shared.recent().forget(sent);
                shared.provisions().forget(sent);
            } else {
                shared.known.forget();
            }
            Ok(beat)
        })
    }

    fn losses(&self) -> Option<watch::Receiver<u64>> {
        Some(self.0.client.losses())
    }

    fn rewrite(&self) -> StoreFuture<Rewritten> {
        let store = self.clone();
        self.run(|_, _| async move { store.rewrite_all().await })
    }

    fn changes(&self, after: Option<Cursor>) -> StoreFuture<super::Changes> {
        self.run(move |shared, link| async move { news::read(&shared, &link, after).await })
    }

    fn tell(&self, owner: &Owner, device: DeviceId) -> StoreFuture<()> {
        let owner = owner.clone();
        self.run(move |shared, link| async move { inbox::put(&shared, &link, &owner, device).await })
    }

    fn told(&self, owner: &Owner) -> StoreFuture<Vec<DeviceId>> {
        let owner = owner.clone();
        self.run(move |shared, link| async move { inbox::take(&shared, &link, &owner).await })
    }

    fn probe(&self) -> StoreFuture<()> {
        self.run(|shared, link| async move {
            let mut set = ::redis::Cmd::new();
            set.arg("SET").arg(shared.client.key(PROBE)).arg(shared.now());
            link.send(set).await.map(drop)
        })
    }

    fn put_device(&self, document: value::Device, expect: Expect) -> StoreFuture<value::Device> {
        let id = DeviceId::of(&document.endpoint);
        self.run_for(id, true, move |device| async move {
            let document = device.put_device(document, expect).await?;
            let put = Provision::Put(Box::new(document.clone()));
            device.shared.provisions().note_device(clock::boot(), id, put);
            news::add(&device.shared, &device.link, &Changed::Device(id)).await?;
            Ok(document)
        })
    }

    fn remove_device(
        &self,
        device: DeviceId,
        expect: Expect,
        event: Option<value::StoredEvent>,
    ) -> StoreFuture<()> {
        self.run_for(device, true, move |device| async move {
            let removed = Provision::Removed(device.remove_device(expect, event).await?);
            device.shared.recent().drop_device(device.id);
            device.shared.provisions().note_device(clock::boot(), device.id, removed);
            news::add(&device.shared, &device.link, &Changed::Device(device.id)).await
        })
    }

    fn events(&self, device: DeviceId) -> StoreFuture<Vec<value::StoredEvent>> {
        self.run_for(device, false, |device| async move {
            Ok(device.read().await?.map(|stored| stored.record.events).unwrap_or_default())
        })
    }

    fn remove_event(&self, device: DeviceId, event: String) -> StoreFuture<()> {
        self.run_for(device, false, move |device| async move {
            device.remove_event(&event).await?;
            device.shared.recent().note_event_removed(device.id, &event);
            Ok(())
        })
    }

    fn document(&self, key: DocumentKey) -> StoreFuture<Option<value::Document>> {
        self.run(move |shared, link| async move { documents::read(&shared.client, &link, &key).await })
    }

    fn put_document(&self, key: DocumentKey, body: Vec<u8>, expect: Expect) -> StoreFuture<value::Document> {
        self.run(move |shared, link| async move {
            let document = documents::put(&shared, &link, &key, &body, expect).await?;
            let put = Provision::Put(Box::new(document.clone()));
            shared.provisions().note_document(clock::boot(), key.clone(), put);
            news::add(&shared, &link, &Changed::Document(key)).await?;
            Ok(document)
        })
    }

    fn remove_document(&self, key: DocumentKey, expect: Expect) -> StoreFuture<()> {
        self.run(move |shared, link| async move {
            let removed = Provision::Removed(documents::remove(&shared, &link, &key, expect).await?);
            shared.provisions().note_document(clock::boot(), key.clone(), removed);
            news::add(&shared, &link, &Changed::Document(key)).await
        })
    }

    fn list_documents(
        &self,
        kind: DocumentKind,
        page: PageRequest,
    ) -> StoreFuture<Page<(DocumentKey, value::Document)>> {
        self.run(move |shared, link| async move { documents::list(&shared.client, &link, kind, &page).await })
    }
}
