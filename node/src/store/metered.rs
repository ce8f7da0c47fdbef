//! A store that times what it is asked, whatever store does it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use super::{
    Beat, Change, Changes, Claim, Claimed, Counts, Cursor, DeviceFilter, DeviceRecord, DocumentKey,
    DocumentKind, Due, Expect, Fence, Lane, Member, Page, PageRequest, Pointer, Rewritten, StateStore,
    StoreError, StoreFuture, value,
};
use crate::{
    clock,
    health::{Hold, Readiness},
    identity::{DeviceId, Owner},
    metrics::{self, labels::StoreCall},
};

/// Passes every call on, and counts its seconds and its failure. Costs two clock readings and an allocation. What
/// [`counts`](StateStore::counts) answers is exported too, so somebody has to ask for it now and then; while the store
/// can't write, that also tries whether it can again.
#[derive(Clone)]
pub struct Metered {
    inner: Arc<dyn StateStore>,
    metrics: Arc<metrics::Store>,
    writes: Arc<Writes>,
}

/// Whether devices' changes can be written. While they can't, a node with a store of its own is not ready. Of one that
/// shares its store the heartbeat judges that, by whether others serve better ([`Fitness`](crate::cluster::fitness::Fitness)).
#[derive(Debug)]
struct Writes {
    shared: bool,
    readiness: Readiness,
    failing: AtomicBool,
    /// One has failed since the last look.
    failed: AtomicBool,
    hold: Mutex<Option<Hold>>,
}

impl Writes {
    fn ended<T>(&self, result: &Result<T, StoreError>) {
        match result {
            Err(StoreError::Unavailable(reason)) => self.fail(reason),
            // Of several masters one may be away: then some succeed all the time.
            Ok(_) if !self.shared => self.mend(),
            _ => {}
        }
    }

    fn fail(&self, reason: &str) {
        self.failed.store(true, Ordering::Relaxed);
        if self.failing.swap(true, Ordering::Relaxed) {
            return;
        }
        if self.shared {
            tracing::error!(reason, "the store can't write: devices' changes get no answer until it can");
        } else {
            tracing::error!(reason, "the store can't write: this node is not ready until it can");
            self.set_hold(Some(self.readiness.hold("store")));
        }
    }

    fn mend(&self) {
        if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the store can write again");
            self.set_hold(None);
        }
    }

    fn set_hold(&self, hold: Option<Hold>) {
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = hold;
    }

    /// Tries whether it can write again, while it can't.
    fn look(self: Arc<Self>, inner: &dyn StateStore) -> Option<impl Future<Output = ()> + use<>> {
        if !self.failing.load(Ordering::Relaxed) {
            return None;
        }
        let failed = self.failed.swap(false, Ordering::Relaxed);
        let probe = inner.probe();
        Some(async move {
            match probe.await {
                Err(StoreError::Unavailable(reason)) => self.fail(&reason),
                Ok(()) if !(self.shared && failed) => self.mend(),
                _ => {}
            }
        })
    }
}

impl Metered {
    /// Around a store; make it after [`metrics::install`]. Holds `readiness` while devices' changes can't be written, unless
    /// the store is shared.
    pub fn new(inner: impl StateStore, readiness: Readiness) -> Self {
        let writes = Writes {
            shared: inner.is_shared(),
            readiness,
            failing: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            hold: Mutex::new(None),
        };
        Self { inner: Arc::new(inner), metrics: Arc::default(), writes: Arc::new(writes) }
    }

    /// `answer` comes from the inner store, which was asked already: requests keep their order.
    fn time<T: 'static>(&self, call: StoreCall, answer: StoreFuture<T>) -> StoreFuture<T> {
        let metrics = self.metrics.clone();
        let writes = matches!(call, StoreCall::Claim | StoreCall::Commit).then(|| self.writes.clone());
        let asked = clock::now();
        Box::pin(async move {
            let answer = answer.await;
            if let Some(writes) = writes {
                writes.ended(&answer);
            }
            metrics.seconds[call].record(clock::now() - asked);
            if let Err(StoreError::Overloaded | StoreError::Unavailable(_) | StoreError::Unreadable { .. }) =
                answer
            {
                metrics.errors[call].increment(1);
            }
            answer
        })
    }
}

impl StateStore for Metered {
    fn load(&self, device: DeviceId) -> StoreFuture<Option<DeviceRecord>> {
        self.time(StoreCall::Load, self.inner.load(device))
    }

    fn claim(&self, device: DeviceId, owner: &Owner, claim: Claim) -> StoreFuture<Claimed> {
        self.time(StoreCall::Claim, self.inner.claim(device, owner, claim))
    }

    fn commit(&self, device: DeviceId, fence: Fence, changes: Vec<Change>) -> StoreFuture<()> {
        self.time(StoreCall::Commit, self.inner.commit(device, fence, changes))
    }

    fn resolve(&self, pointer: Pointer) -> StoreFuture<Option<DeviceId>> {
        self.time(StoreCall::Resolve, self.inner.resolve(pointer))
    }

    fn find(&self, pointer: Pointer) -> StoreFuture<Option<(DeviceId, DeviceRecord)>> {
        self.time(StoreCall::Find, self.inner.find(pointer))
    }

    fn due(&self, now_ms: u64, after: Option<Due>, limit: usize) -> StoreFuture<Vec<Due>> {
        self.time(StoreCall::Due, self.inner.due(now_ms, after, limit))
    }

    fn list(&self, filter: DeviceFilter, page: PageRequest) -> StoreFuture<Page<(DeviceId, DeviceRecord)>> {
        self.time(StoreCall::List, self.inner.list(filter, page))
    }

    fn counts(&self) -> StoreFuture<Counts> {
        let metrics = self.metrics.clone();
        metrics.memory.set(self.inner.memory() as f64);
        let counts = self.time(StoreCall::List, self.inner.counts());
        // A node that is not ready gets no traffic, so no write of a device's would show that it can write again.
        let look = self.writes.clone().look(&*self.inner);
        Box::pin(async move {
            if let Some(look) = look {
                look.await;
            }
            let counts = counts.await?;
            metrics.devices.set(counts.provisioned as f64);
            metrics.registrations.set(counts.registered as f64);
            Ok(counts)
        })
    }

    fn take_lanes(&self, owner: &Owner, count: u16) -> StoreFuture<Vec<Lane>> {
        self.time(StoreCall::Lane, self.inner.take_lanes(owner, count))
    }

    fn extend_lanes(&self, owner: &Owner, second: u32) -> StoreFuture<u32> {
        self.time(StoreCall::Lane, self.inner.extend_lanes(owner, second))
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn heartbeat(&self, member: Member, ttl: Duration) -> StoreFuture<Beat> {
        self.time(StoreCall::Heartbeat, self.inner.heartbeat(member, ttl))
    }

    fn losses(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        self.inner.losses()
    }

    fn rewrite(&self) -> StoreFuture<Rewritten> {
        self.time(StoreCall::Commit, self.inner.rewrite())
    }

    fn changes(&self, after: Option<Cursor>) -> StoreFuture<Changes> {
        self.time(StoreCall::Changes, self.inner.changes(after))
    }

    fn tell(&self, owner: &Owner, device: DeviceId) -> StoreFuture<()> {
        self.time(StoreCall::Changes, self.inner.tell(owner, device))
    }

    fn told(&self, owner: &Owner) -> StoreFuture<Vec<DeviceId>> {
        self.time(StoreCall::Changes, self.inner.told(owner))
    }

    fn probe(&self) -> StoreFuture<()> {
        self.inner.probe()
    }

    fn memory(&self) -> u64 {
        self.inner.memory()
    }

    fn put_device(&self, device: value::Device, expect: Expect) -> StoreFuture<value::Device> {
        self.time(StoreCall::Device, self.inner.put_device(device, expect))
    }

    fn remove_device(
        &self,
        device: DeviceId,
        expect: Expect,
        event: Option<value::StoredEvent>,
    ) -> StoreFuture<()> {
        self.time(StoreCall::Device, self.inner.remove_device(device, expect, event))
    }

    fn events(&self, device: DeviceId) -> StoreFuture<Vec<value::StoredEvent>> {
        self.time(StoreCall::Event, self.inner.events(device))
    }

    fn remove_event(&self, device: DeviceId, event: String) -> StoreFuture<()> {
        self.time(StoreCall::Event, self.inner.remove_event(device, event))
    }

    fn document(&self, key: DocumentKey) -> StoreFuture<Option<value::Document>> {
        self.time(StoreCall::Document, self.inner.document(key))
    }

    fn put_document(&self, key: DocumentKey, body: Vec<u8>, expect: Expect) -> StoreFuture<value::Document> {
        self.time(StoreCall::Document, self.inner.put_document(key, body, expect))
    }

    fn remove_document(&self, key: DocumentKey, expect: Expect) -> StoreFuture<()> {
        self.time(StoreCall::Document, self.inner.remove_document(key, expect))
    }

    fn list_documents(
        &self,
        kind: DocumentKind,
        page: PageRequest,
    ) -> StoreFuture<Page<(DocumentKey, value::Document)>> {
        self.time(StoreCall::Document, self.inner.list_documents(kind, page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::rendered, store::embedded::Embedded};

    #[test]
    fn calls_are_timed_and_only_faults_of_the_store_count_as_errors() {
        let text = rendered(|| {
            let store = Metered::new(
                Embedded::in_memory(crate::store::embedded::Options::default()).unwrap(),
                Readiness::new(),
            );
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let device = DeviceId::of("urn:dev:1");
            assert_eq!(runtime.block_on(store.load(device)).unwrap(), None);
            let missing = runtime.block_on(store.remove_device(device, Expect::Any, None));
            assert_eq!(missing, Err(StoreError::NoSuchDevice));
        });
        for line in [
            r#"godwit_store_call_seconds_count{call="load"} 1"#,
            r#"godwit_store_call_seconds_count{call="device"} 1"#,
            r#"godwit_store_errors_total{call="device"} 0"#,
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn a_node_whose_store_cannot_write_is_not_ready_until_it_can() {
        let readiness = Readiness::new();
        let store = Metered::new(
            Embedded::in_memory(crate::store::embedded::Options::default()).unwrap(),
            readiness.clone(),
        );
        for _ in 0..2 {
            store.writes.ended::<()>(&Err(StoreError::Unavailable("disk".into())));
            assert_eq!(readiness.report().waiting_for, ["store"]);
        }
        store.writes.ended::<()>(&Err(StoreError::Overloaded));
        assert_eq!(readiness.report().state, "waiting");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let owner = Owner { node: "n".into(), boot: 1 };
        let claim = store.claim(DeviceId::of("a"), &owner, Claim { create: true, seen: None });
        runtime.block_on(claim).unwrap();
        assert_eq!(readiness.report().state, "ready");

        // Without a device that writes.
        store.writes.ended::<()>(&Err(StoreError::Unavailable("disk".into())));
        assert_eq!(readiness.report().state, "waiting");
        runtime.block_on(store.counts()).unwrap();
        assert_eq!(readiness.report().state, "ready");
    }

    #[test]
    fn a_node_whose_shared_store_cannot_write_stays_ready_and_looks_until_no_write_fails() {
        let readiness = Readiness::new();
        let store = Metered::new(
            Embedded::in_memory(crate::store::embedded::Options::default()).unwrap(),
            readiness.clone(),
        );
        let writes = Arc::new(Writes {
            shared: true,
            readiness: readiness.clone(),
            failing: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            hold: Mutex::new(None),
        });
        let failing = || writes.failing.load(Ordering::Relaxed);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        writes.ended::<()>(&Err(StoreError::Unavailable("a master is away".into())));
        assert_eq!(readiness.report().state, "ready");
        writes.ended(&Ok(()));
        assert!(failing(), "another master's device");
        runtime.block_on(writes.clone().look(&store).unwrap());
        assert!(failing(), "one has failed since the last look");
        runtime.block_on(writes.clone().look(&store).unwrap());
        assert!(!failing() && writes.clone().look(&store).is_none());
    }
}
