//! What other rooms may ask of endpoints, wherever in the process they live.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use godwit_proto::v1::{Command, Operation};
use thiserror::Error;
use tokio::sync::{broadcast, oneshot};

use crate::{identity::DeviceId, store::value};

/// A command as a caller hands it in.
#[derive(Debug, Clone)]
pub struct NewOperation {
    /// UUIDv7 text; made by the caller, so that a repeated request can be recognised.
    pub id: String,
    /// What the device is to do.
    pub command: Command,
    /// How long the operation may wait for the device before it ends as EXPIRED.
    pub ttl: Duration,
    /// Whether it waits when the device sleeps or can't be reached. If not, it ends as FAILED at once or
    /// after one transmission.
    pub queue: bool,
    /// See `Operation.at_least_once`.
    pub at_least_once: bool,
}

/// An operation that the endpoint has taken and written to the store.
#[derive(Debug)]
pub struct Submitted {
    /// The record as written.
    pub operation: Operation,
    /// Answers once, when the operation has ended. Dropping it does not cancel the operation. An error: whoever had the
    /// device has it no more, and its next owner goes on with the operation.
    pub ended: oneshot::Receiver<Operation>,
}

/// Why an endpoint did not take a command.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// No device of this id is registered, and the command may not be queued.
    #[error("the device is not registered")]
    NotRegistered,
    /// The device is in queue mode and out of its awake window, and the command may not be queued.
    #[error("the device sleeps; queue the command to have it sent when it wakes")]
    Asleep,
    /// `limits.queued_operations` is reached.
    #[error("{queued} operations wait for this device already, the limit is {limit}")]
    QueueFull {
        /// Operations that wait.
        queued: usize,
        /// The configured limit.
        limit: usize,
    },
    /// The command can't be sent to this device; the text names the path and the reason.
    #[error("{0}")]
    InvalidCommand(String),
    /// An operation of this id was handed in before, and has ended: its record says how.
    #[error("the operation has ended")]
    Ended,
    /// No operation of this id.
    #[error("no such operation")]
    NoSuchOperation,
    /// The operation has ended, or was sent and can't be taken back.
    #[error("the operation can't be cancelled any more")]
    NotCancellable,
    /// The store did not answer or refused.
    #[error("the store is unavailable: {0}")]
    Store(String),
    /// Too much waits already; try again later.
    #[error("the node is overloaded")]
    Overloaded,
    /// Another node has the device, or took it just now.
    #[error("another node has the device")]
    Elsewhere,
}

/// What watchers are told.
#[derive(Debug, Clone)]
pub enum Told<C> {
    /// A change.
    Change(C),
    /// Some of another node were lost before what comes next.
    Lost,
}

/// A change of a registration, as `RegistrationService.Watch` shows it.
#[derive(Debug, Clone)]
pub struct RegistrationChange {
    /// The device.
    pub device: DeviceId,
    /// Its endpoint name.
    pub endpoint: Arc<str>,
    /// What happened.
    pub kind: RegistrationChangeKind,
    /// Unix time in milliseconds.
    pub at: u64,
    /// It happened at this node.
    pub here: bool,
}

/// A change of an operation, as `OperationService.WatchOperations` shows it.
#[derive(Debug, Clone)]
pub struct OperationChange {
    /// The operation, as its record says.
    pub operation: Arc<Operation>,
    /// It happened at this node.
    pub here: bool,
}

/// What happened to a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationChangeKind {
    /// A new registration, also one that replaces an earlier one.
    Registered,
    /// An update that the device sent.
    Updated,
    /// The device de-registered.
    Deregistered,
    /// The lifetime and its grace passed.
    Expired,
}

/// Endpoints of this node, and through it of the whole cluster.
pub trait Endpoints: Send + Sync + 'static {
    /// Hands in a command. The future ends when the operation record is written. Handing in the same operation again is
    /// harmless.
    fn submit(
        &self,
        device: DeviceId,
        operation: NewOperation,
    ) -> BoxFuture<'static, Result<Submitted, SubmitError>>;

    /// Cancels an operation that still waits.
    fn cancel(
        &self,
        device: DeviceId,
        operation: String,
    ) -> BoxFuture<'static, Result<Operation, SubmitError>>;

    /// Tells that a device's record (profile, credential, enabled) was changed or deleted in the store. Its
    /// live actors follow: a new profile is applied as a difference, a revoked credential ends the session.
    fn device_changed(&self, device: DeviceId) -> BoxFuture<'static, ()>;

    /// The event that a device is deleted, to be left in its outbox; [`Self::reclaim`] has it published.
    fn deletion(&self, document: &value::Device) -> value::StoredEvent;

    /// Has a device given up and claimed anew, which writes what only its owner may: sessions under an older store key
    /// are sealed anew soon after. Its sessions go on.
    fn reclaim(&self, device: DeviceId) -> BoxFuture<'static, ()>;

    /// Tells that a profile was changed in the store. Connected devices get the difference.
    fn profile_changed(&self, profile: &str) -> BoxFuture<'static, ()>;

    /// Tells that the object models changed.
    fn models_changed(&self) -> BoxFuture<'static, ()>;

    /// Changes of registrations from now on, in the order in which they were stored. A receiver that lags is
    /// told how much it missed.
    fn watch(&self) -> broadcast::Receiver<Told<RegistrationChange>>;

    /// Operations as they are taken, sent and ended from now on at any node, each as it was stored. A receiver that lags
    /// is told how much it missed.
    fn watch_operations(&self) -> broadcast::Receiver<Told<OperationChange>>;
}
