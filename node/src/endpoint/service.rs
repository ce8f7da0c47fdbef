//! The endpoints of the whole process, as other rooms use them.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use godwit_proto::v1::Operation;
use tokio::sync::{broadcast, oneshot};

use super::{
    handle::{Endpoints, NewOperation, OperationChange, RegistrationChange, SubmitError, Submitted, Told},
    orphan,
    services::{Process, ShardMessage},
};
use crate::{
    clock,
    identity::DeviceId,
    ownership::Standing,
    profile::LoadError,
    store::{Member, value},
    telemetry::Event,
};

/// Nodes to which a device that moves is followed, and how long its record is left to change in between.
const FOLLOWS: u8 = 4;
const FOLLOW_AFTER: Duration = Duration::from_millis(50);

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

    /// What it hands things to.
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Hands in a command for a device that this node has, or is to claim.
    ///
    /// # Errors
    /// [`SubmitError::Elsewhere`]: another node has it.
    pub async fn submit_here(
        &self,
        device: DeviceId,
        operation: NewOperation,
    ) -> Result<Submitted, SubmitError> {
        let (reply, answer) = oneshot::channel();
        self.send(device, ShardMessage::Submit { device, operation: Box::new(operation), reply });
        answer.await.unwrap_or(Err(SubmitError::Overloaded))
    }

    /// Takes back a command of a device that this node has, or is to claim.
    ///
    /// # Errors
    /// [`SubmitError::Elsewhere`]: another node has it.
    pub async fn cancel_here(&self, device: DeviceId, operation: String) -> Result<Operation, SubmitError> {
        let (reply, answer) = oneshot::channel();
        self.send(device, ShardMessage::Cancel { device, operation, reply });
        answer.await.unwrap_or(Err(SubmitError::Overloaded))
    }

    /// The node that is to do something for a device; `None`: this one. A living owner, or, of a device that nobody has,
    /// the living node where it was last heard.
    async fn elsewhere(&self, device: DeviceId) -> Result<Option<Arc<Member>>, SubmitError> {
        let process = &self.process;
        let Some(membership) = process.neighbours.membership() else { return Ok(None) };
        if process.directory.find(device).is_some() {
            return Ok(None);
        }
        let loaded = process.store.load(device).await;
        let loaded = loaded.map_err(|error| SubmitError::Store(error.to_string()))?;
        let Some(header) = loaded.map(|record| record.header) else { return Ok(None) };
        let now = clock::boot();
        if header.passive {
            let path = header.path_node.filter(|node| *node != process.owner.node);
            let others = membership.others(now);
            let path = path.and_then(|path| others.into_iter().find(|member| member.owner.node == path));
            return Ok(path.filter(|member| !member.draining));
        }
        Ok(match header.owner.map(|owner| membership.standing(now, &owner)) {
            Some(Standing::Alive(member)) => Some(member),
            _ => None,
        })
    }

    /// Whether to look once more for a device that another node was said to have, after a moment.
    async fn follow(left: &mut u8) -> bool {
        *left = left.saturating_sub(1);
        tokio::time::sleep(FOLLOW_AFTER).await;
        *left > 0
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
        let service = self.clone();
        Box::pin(async move {
            let mut left = FOLLOWS;
            loop {
                let submitted = match service.elsewhere(device).await? {
                    Some(member) => {
                        service.process.neighbours.submit(&member, device, operation.clone()).await
                    }
                    None => service.submit_here(device, operation.clone()).await,
                };
                if !matches!(submitted, Err(SubmitError::Elsewhere)) || !Self::follow(&mut left).await {
                    return submitted;
                }
            }
        })
    }

    fn cancel(
        &self,
        device: DeviceId,
        operation: String,
    ) -> BoxFuture<'static, Result<Operation, SubmitError>> {
        let service = self.clone();
        Box::pin(async move {
            let mut left = FOLLOWS;
            loop {
                let cancelled = match service.elsewhere(device).await? {
                    Some(member) => {
                        service.process.neighbours.cancel(&member, device, operation.clone()).await
                    }
                    None => service.cancel_here(device, operation.clone()).await,
                };
                if !matches!(cancelled, Err(SubmitError::Elsewhere)) || !Self::follow(&mut left).await {
                    return cancelled;
                }
            }
        })
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
        orphan::deletion(&self.process, DeviceId::of(&document.endpoint), document, &Event::Deleted)
    }

    fn reclaim(&self, device: DeviceId) -> BoxFuture<'static, ()> {
        let service = self.clone();
        Box::pin(async move {
            if let Some(holder) = service.process.directory.find(device) {
                let (done, freed) = oneshot::channel();
                service.process.inboxes.of(holder).push(ShardMessage::Release { device, done });
                // Answered by being dropped.
                drop(freed.await);
            } else if let Ok(Some(member)) = service.elsewhere(device).await {
                // An owner that does not answer keeps it, and its sessions stay as they are.
                let _ = service.process.neighbours.release(&member, device, true).await;
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

    fn watch(&self) -> broadcast::Receiver<Told<RegistrationChange>> {
        self.process.changes.subscribe()
    }

    fn watch_operations(&self) -> broadcast::Receiver<Told<OperationChange>> {
        self.process.operations.subscribe()
    }
}
