//! What operators provisioned lately by this process, to be provisioned again where a Redis forgot it.
//!
//! Revisions are times, so whoever was later wins: what another node has provisioned since stays.

use std::{collections::HashMap, time::Duration};

use super::{Device, RedisStore, documents, news};
use crate::{
    clock::Boot,
    identity::DeviceId,
    store::{Changed, DocumentKey, Expect, StoreError, StoreFuture, value},
};

/// The last that was said of each.
#[derive(Debug)]
pub(super) struct Provisions {
    keep: Duration,
    devices: HashMap<DeviceId, (Boot, Provision<Box<value::Device>>)>,
    documents: HashMap<DocumentKey, (Boot, Provision<Box<value::Document>>)>,
}

#[derive(Debug, Clone)]
pub(super) enum Provision<T> {
    Put(T),
    /// At this time of Redis's, in the place of a revision.
    Removed(u64),
}

impl Provisions {
    /// See [`Recent::new`](crate::store::recent::Recent::new).
    pub(super) fn new(keep: Duration) -> Self {
        Self { keep, devices: HashMap::new(), documents: HashMap::new() }
    }

    pub(super) fn note_device(
        &mut self,
        now: Boot,
        device: DeviceId,
        provision: Provision<Box<value::Device>>,
    ) {
        self.devices.insert(device, (now, provision));
    }

    pub(super) fn note_document(
        &mut self,
        now: Boot,
        key: DocumentKey,
        provision: Provision<Box<value::Document>>,
    ) {
        self.documents.insert(key, (now, provision));
    }

    pub(super) fn forget(&mut self, now: Boot) {
        let keep = self.keep;
        self.devices.retain(|_, (at, _)| now.since(*at) <= keep);
        self.documents.retain(|_, (at, _)| now.since(*at) <= keep);
    }
}

impl RedisStore {
    /// Devices and documents that were provisioned again.
    pub(super) async fn provision_again(&self) -> Result<u64, StoreError> {
        let (devices, documents) = {
            let provisions = self.0.provisions();
            let devices: Vec<_> =
                provisions.devices.iter().map(|(id, (_, provision))| (*id, provision.clone())).collect();
            let documents: Vec<_> = provisions
                .documents
                .iter()
                .map(|(key, (_, provision))| (key.clone(), provision.clone()))
                .collect();
            (devices, documents)
        };
        let mut again = 0;
        for (id, provision) in devices {
            again += u64::from(or_overtaken(self.provision_device(id, provision).await)?);
        }
        for (key, provision) in documents {
            again += u64::from(or_overtaken(self.provision_document(key, provision).await)?);
        }
        Ok(again)
    }

    fn provision_device(&self, id: DeviceId, provision: Provision<Box<value::Device>>) -> StoreFuture<bool> {
        self.run_for(id, true, |device| async move { device.provision_again(provision).await })
    }

    fn provision_document(
        &self,
        key: DocumentKey,
        provision: Provision<Box<value::Document>>,
    ) -> StoreFuture<bool> {
        self.run(move |shared, link| async move {
            let stored = documents::read(&shared.client, &link, &key).await?;
            let found = stored.map(|document| document.revision);
            match (provision, found) {
                (Provision::Put(document), found) if found.unwrap_or(0) < document.revision => {
                    let expect = found.map_or(Expect::Absent, Expect::Revision);
                    documents::put(&shared, &link, &key, &document.body, expect).await?;
                }
                (Provision::Removed(at), Some(found)) if found <= at => {
                    documents::remove(&shared, &link, &key, Expect::Revision(found)).await?;
                }
                _ => return Ok(false),
            }
            news::add(&shared, &link, &Changed::Document(key)).await?;
            Ok(true)
        })
    }
}

impl Device {
    async fn provision_again(&self, provision: Provision<Box<value::Device>>) -> Result<bool, StoreError> {
        let stored = self.read().await?;
        // A removed device keeps the time of that as its term.
        let removed = stored.as_ref().filter(|stored| stored.removed).map(|stored| stored.record.header.term);
        let stored = stored.filter(|stored| !stored.removed).and_then(|stored| stored.record.document);
        let found = stored.map(|document| document.revision);
        match (provision, found) {
            (Provision::Put(document), found) if found.or(removed).unwrap_or(0) < document.revision => {
                let expect = found.map_or(Expect::Absent, Expect::Revision);
                self.put_device(*document, expect).await?;
            }
            (Provision::Removed(at), Some(found)) if found <= at => {
                self.remove_device(Expect::Revision(found), None).await?;
            }
            _ => return Ok(false),
        }
        news::add(&self.shared, &self.link, &Changed::Device(self.id)).await?;
        Ok(true)
    }
}

/// Whoever was faster knew more.
fn or_overtaken(done: Result<bool, StoreError>) -> Result<bool, StoreError> {
    match done {
        Err(error @ (StoreError::Unavailable(_) | StoreError::Overloaded)) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "what an operator provisioned and Redis forgot is not provisioned again");
            Ok(false)
        }
        done => done,
    }
}
