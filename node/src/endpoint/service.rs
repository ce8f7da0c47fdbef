//! The endpoints of the whole process, as other rooms use them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use godwit_proto::v1::Operation;
use tokio::sync::{broadcast, oneshot};

use super::{
    handle::{Endpoints, NewOperation, RegistrationChange, SubmitError, Submitted},
    orphan,
    services::{Process, ShardMessage},
};
use crate::{identity::DeviceId, profile::LoadError, store::value};

/// Hands what is asked to the shard that has the device, or else to the one that is to activate it.
#[derive(Clone)]
pub struct Service {
    process: Arc<Process>,
}

impl Service {
    /// Over the endpoints of this process.
    pub fn new(process: Arc<Process>) -> Self {
        Self { process }
    }

    fn send(&self, device: DeviceId, message: ShardMessage) {
        let process = &self.process;
        let shard = process.directory.find(device).unwrap_or_else(|| process.inboxes.usual(device));
        process.inboxes.of(shard).push(message);
    }

    /// Ends the sessions that the device's credential, as it is now, does not carry any more, on every shard.
    async fn revoke(&self, device: DeviceId) {
        let document = match self.process.store.load(device).await {
            Ok(record) => record.and_then(|record| record.document),
            // What can't be read is no revocation; the version is compared whenever a session is used anew.
            Err(error) => return tracing::warn!(%device, %error, "a changed credential could not be read"),
        };
        let credential =
            document.filter(|document| !document.disabled).and_then(|document| document.credential);
        let version = credential.map(|credential| credential.version);
        for shard in 0..self.process.inboxes.shards() {
            self.process.inboxes.of(shard as u16).push(ShardMessage::Revoked { device, version });
        }
    }

    fn send_to_all(&self, message: impl Fn(oneshot::Sender<()>) -> ShardMessage) -> BoxFuture<'static, ()> {
        let waits: Vec<_> = (0..self.process.inboxes.shards())
            .map(|shard| {
                let (done, told) = oneshot::channel();
                self.process.inboxes.of(shard as u16).push(message(done));
                told
            })
            .collect();
        Box::pin(async move {
            for told in waits {
                // Answered by being dropped.
                drop(told.await);
            }
        })
    }

    /// Gives all devices of this process up with exact state.
    pub fn drain(&self) -> BoxFuture<'static, ()> {
        self.send_to_all(|done| ShardMessage::Drain { done })
    }
}

impl Endpoints for Service {
    fn submit(
        &self,
        device: DeviceId,
        operation: NewOperation,
    ) -> BoxFuture<'static, Result<Submitted, SubmitError>> {
        let (reply, answer) = oneshot::channel();
        self.send(device, ShardMessage::Submit { device, operation: Box::new(operation), reply });
        Box::pin(async move { answer.await.unwrap_or(Err(SubmitError::Overloaded)) })
    }

    fn cancel(
        &self,
        device: DeviceId,
        operation: String,
    ) -> BoxFuture<'static, Result<Operation, SubmitError>> {
        let (reply, answer) = oneshot::channel();
        self.send(device, ShardMessage::Cancel { device, operation, reply });
        Box::pin(async move { answer.await.unwrap_or(Err(SubmitError::Overloaded)) })
    }

    fn device_changed(&self, device: DeviceId) -> BoxFuture<'static, ()> {
        let service = self.clone();
        Box::pin(async move {
            service.revoke(device).await;
            let (done, told) = oneshot::channel();
            service.send(device, ShardMessage::DeviceChanged { device, done });
            // Answered by being dropped.
            drop(told.await);
        })
    }

    fn deletion(&self, document: &value::Device) -> value::StoredEvent {
        orphan::deletion(&self.process, DeviceId::of(&document.endpoint), document)
    }

    fn reclaim(&self, device: DeviceId) -> BoxFuture<'static, ()> {
        let service = self.clone();
        Box::pin(async move {
            if let Some(holder) = service.process.directory.find(device) {
                let (done, freed) = oneshot::channel();
                service.process.inboxes.of(holder).push(ShardMessage::Release { device, done });
                // Answered by being dropped.
                drop(freed.await);
            }
            service.send(device, ShardMessage::Due(vec![device]));
        })
    }

    fn profile_changed(&self, profile: &str) -> BoxFuture<'static, ()> {
        let service = self.clone();
        let name: Arc<str> = profile.into();
        Box::pin(async move {
            match service.process.profiles.reload(&name).await {
                Ok(_) => {
                    service
                        .send_to_all(|done| ShardMessage::ProfileChanged { name: name.clone(), done })
                        .await;
                }
                Err(LoadError::Unknown(_)) => {}
                Err(error) => tracing::error!(profile = %name, %error, "a changed profile can't be used"),
            }
        })
    }

    fn models_changed(&self) -> BoxFuture<'static, ()> {
        self.process.models.refresh();
        self.send_to_all(|done| ShardMessage::ModelsChanged { done })
    }

    fn watch(&self) -> broadcast::Receiver<RegistrationChange> {
        self.process.changes.subscribe()
    }

    fn watch_operations(&self) -> broadcast::Receiver<Arc<Operation>> {
        self.process.operations.subscribe()
    }
}
